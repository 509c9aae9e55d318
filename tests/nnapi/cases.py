"""Runs the shared NNAPI cases against a libneuralnetworks.so.

    python -m tests.nnapi.cases --op CONV_2D        # all cases about an operation, sync, constants copied
    python -m tests.nnapi.cases conv_float -k nchw  # files by a part of their name, cases by a part of theirs
    python -m tests.nnapi.cases --modes sync,async,burst --constants copied,memory --table

Cases run in a process of their own, so a crash is one failed case. The library is built from the tree unless
--library names one.
"""

from __future__ import annotations

import argparse
import json
import os
import select
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from .client import (
    DTYPES,
    NO_ERROR,
    SCALARS,
    Array,
    Compilation,
    Execution,
    Memory,
    Model,
    Nnapi,
    NnapiError,
    OperandType,
)
from .variants import VARIANTS

ROOT = Path(__file__).resolve().parents[2]
SHARED = Path(os.environ.get("NNAPI_TOOLKIT_SHARED", ROOT.parent / "shared"))
CASES = SHARED / "nnapi_cases"
#: A case that takes longer has failed.
CASE_SECONDS = 60.0
LOOP_TIMEOUT_NS = 50_000_000


@dataclass(frozen=True)
class Job:
    """One case in one way of running it. `level`: feature level that the run time is set to, 0 = the newest; `variant`: of
    variants.VARIANTS, "" as it stands in the file."""

    file: str
    index: int
    name: str
    ops: tuple[str, ...]
    mode: str = "sync"
    constants: str = "copied"
    level: int = 0
    variant: str = ""

    @property
    def title(self) -> str:
        file = Path(self.file)
        how = [self.mode, self.constants, *([self.variant] if self.variant else [])]
        return f"{file.parent.name}/{file.stem}:{self.name} [{', '.join(how)}]"


@dataclass(frozen=True)
class Outcome:
    """`status`: passed, failed, crashed, or missing (an operation is not there)."""

    job: Job
    status: str
    message: str = ""


@lru_cache(maxsize=4)
def load(file: str) -> tuple[dict[str, Any], dict[str, Array]]:
    """(meta, arrays) of a case file."""
    with np.load(file) as data:
        meta = json.loads(str(data["meta"]))
        return meta, {key: data[key] for key in data.files if key != "meta"}


def case_files(root: Path = CASES) -> list[Path]:
    """All case files, sorted."""
    return sorted(root.glob("*/*.npz"))


#: Feature level that brought the interface which a folder's cases are written for. A case states the lowest level of a
#: *driver* that must run it: the run time leaves off trailing default arguments for old drivers, a client cannot.
FOLDER_LEVELS = {"V1_0": 1, "V1_1": 2, "V1_2": 3, "V1_3": 4, "V1_3_cts_only": 4, "AIDL_V2": 6, "AIDL_V3": 7}


def jobs(
    files: Iterable[Path],
    *,
    op: str | None = None,
    pattern: str = "",
    modes: Sequence[str] = ("sync",),
    constants: Sequence[str] = ("copied",),
    own_level: bool = False,
    variant: str = "",
) -> Iterator[Job]:
    """The cases of the files that match, in every mode; with a variant those that can be put so, but for failing ones."""
    for file in files:
        meta, arrays = load(str(file))
        for index, case in enumerate(meta["cases"]):
            if (op and op not in case["ops"]) or pattern not in case["name"]:
                continue
            if variant and (case["expect_failure"] or VARIANTS[variant](case, arrays) is None):
                continue
            level = max(case["feature_level"], FOLDER_LEVELS[file.parent.name]) if own_level else 0
            for mode in modes:
                if level and level < {"async": 1, "fenced": 4}.get(mode, 3):
                    continue
                for kind in constants:
                    yield Job(str(file), index, case["name"], tuple(case["ops"]), mode, kind, level, variant)


# --- one case


class CaseRun:
    """Builds, compiles and runs one case; `failure` is None when everything is as it should be."""

    def __init__(self, api: Nnapi, job: Job) -> None:
        self.api, self.job = api, job
        meta, self.arrays = load(job.file)
        self.case = meta["cases"][job.index]
        if job.variant:
            changed = VARIANTS[job.variant](self.case, self.arrays)
            assert changed is not None
            self.case, self.arrays = changed
        self.models: list[Model] = []
        self.memories: list[Memory] = []

    def failure(self) -> str | None:
        try:
            message = self.run()
        except NnapiError as error:
            return None if self.case["expect_failure"] else str(error)
        finally:
            for owner in [*reversed(self.models), *self.memories]:
                owner.close()
        if self.case["expect_failure"]:
            return "every call succeeded, but the case expects a failure"
        return message

    def run(self) -> str | None:
        built: dict[int, Model] = {}
        main = self.build(0, built)
        with Compilation(main) as compilation:
            for example in self.case["examples"]:
                message = self.execute(compilation, example)
                if message:
                    return message
        return None

    def build(self, index: int, built: dict[int, Model]) -> Model:
        spec = self.case["models"][index]
        for operand in spec["operands"]:
            if operand["lifetime"] == "subgraph_ref" and operand["subgraph"] not in built:
                self.build(operand["subgraph"], built)
        model = built[index] = Model(self.api)
        self.models.append(model)
        for operand in spec["operands"]:
            self.add_operand(model, operand, built)
        for operation in spec["operations"]:
            model.operation(operation["code"], operation["inputs"], operation["outputs"])
        model.identify(spec["inputs"], spec["outputs"])
        if index == 0 and self.case["relaxed"]:
            self.api.check("Model_relaxComputationFloat32toFloat16", model.handle, True)
        model.finish()
        return model

    def add_operand(self, model: Model, operand: dict[str, Any], built: dict[int, Model]) -> None:
        index = model.operand(
            OperandType(operand["type_code"], tuple(operand["dims"]), operand["scale"], operand["zero_point"])
        )
        if operand["per_channel"]:
            model.channels(index, operand["per_channel"]["axis"], operand["per_channel"]["scales"])
        if operand["lifetime"] == "const":
            value = self.arrays[operand["data"]]
            if (self.job.constants == "memory" and operand["dims"]) or operand.get("shared_memory"):
                memory = Memory(self.api, value.tobytes(), protect=1)
                self.memories.append(memory)
                call = "Model_setOperandValueFromMemory"
                self.api.check(call, model.handle, index, memory.handle, 0, memory.size)
            else:
                model.value(index, value)
        elif operand["lifetime"] == "no_value":
            model.value(index, None)
        elif operand["lifetime"] == "subgraph_ref":
            call = "Model_setOperandValueFromModel"
            self.api.check(call, model.handle, index, built[operand["subgraph"]].handle)

    def execute(self, compilation: Compilation, example: dict[str, Any]) -> str | None:
        with Execution(compilation) as execution:
            if self.case.get("endless_loop"):
                self.api.check("Execution_setLoopTimeout", execution.handle, LOOP_TIMEOUT_NS)
            outputs = self.bind(execution, example)
            execution.compute(self.job.mode)
            return self.compare(execution, self.case["models"][0], example, outputs)

    def bind(self, execution: Execution, example: dict[str, Any]) -> list[Array | None]:
        """Gives the example's inputs, and buffers for the outputs, which are the answer."""
        spec = self.case["models"][0]
        for position, (operand, key) in enumerate(zip(spec["inputs"], example["inputs"], strict=True)):
            value = None if key is None else np.ascontiguousarray(self.arrays[key])
            execution.input(position, value, self.run_type(spec["operands"][operand], value))
        outputs = []
        for position, (operand, key) in enumerate(zip(spec["outputs"], example["outputs"], strict=True)):
            buffer = self.output_buffer(spec["operands"][operand], None if key is None else self.arrays[key])
            outputs.append(buffer)
            execution.output(position, buffer)
        return outputs

    @staticmethod
    def run_type(operand: dict[str, Any], value: Array | None) -> OperandType | None:
        """A type for an input whose dimensions the model leaves open."""
        if value is None or operand["type_code"] in SCALARS or (operand["dims"] and 0 not in operand["dims"]):
            return None
        return OperandType(operand["type_code"], value.shape, operand["scale"], operand["zero_point"])

    @staticmethod
    def output_buffer(operand: dict[str, Any], expected: Array | None) -> Array | None:
        dtype = DTYPES[operand["type_code"]]
        if expected is not None:
            size = max(expected.size, 1)
        elif operand["dims"] and 0 not in operand["dims"]:
            size = int(np.prod(operand["dims"]))
        else:
            return None
        buffer = np.empty(size, dtype)
        buffer.view(np.uint8)[:] = 0xA5
        return buffer

    def compare(
        self, execution: Execution, spec: dict[str, Any], example: dict[str, Any], outputs: list[Array | None]
    ) -> str | None:
        for position, key in enumerate(example["outputs"]):
            rule = self.case["output_tolerance"][position]
            if key is None or rule["rule"] == "ignored":
                continue
            expected, buffer = self.arrays[key], outputs[position]
            assert buffer is not None
            if not self.job.level or self.job.level >= 3:
                dims = execution.dims(position)
                if dims != expected.shape:
                    return f"output {position} has dimensions {dims}, not {expected.shape}"
            actual = buffer[: expected.size].reshape(expected.shape)
            message = (
                compare_multinomial(actual, self.arrays[example["inputs"][-1]], rule["atol"])
                if rule["rule"] == "multinomial"
                else compare_values(actual, expected, rule)
            )
            if message:
                return f"output {position}: {message}"
        return None


def compare_values(actual: Array, expected: Array, rule: dict[str, Any]) -> str | None:
    """None when within tolerance; else the worst element."""
    if rule["rule"] == "equal" or expected.dtype == np.bool_:
        wrong = actual != expected
        error = wrong.astype(np.float64)
    else:
        a, e = actual.astype(np.float64), expected.astype(np.float64)
        with np.errstate(invalid="ignore"):
            error = np.abs(a - e) - (rule["atol"] + rule["rtol"] * np.abs(e))
        same = (a == e) | (np.isnan(a) & np.isnan(e))
        wrong = ~(same | (error <= 0))
    if not wrong.any():
        return None
    worst = int(np.argmax(np.where(wrong, np.nan_to_num(error, nan=np.inf), -np.inf)))
    at = tuple(int(i) for i in np.unravel_index(worst, expected.shape))
    count = f"{int(wrong.sum())} of {expected.size} elements differ"
    return f"{count}; at {list(at)} {actual[at]} instead of {expected[at]}"


def compare_multinomial(actual: Array, logits: Array, atol: float) -> str | None:
    """Shares of the classes among the samples against softmax."""
    weights = np.exp(logits.astype(np.float64) - logits.max(axis=-1, keepdims=True))
    wanted = weights / weights.sum(axis=-1, keepdims=True)
    for batch in range(actual.shape[0]):
        if actual[batch].min() < 0 or actual[batch].max() >= wanted.shape[1]:
            return f"batch {batch}: a class out of range"
        shares = np.bincount(actual[batch], minlength=wanted.shape[1]) / actual.shape[1]
        if np.abs(shares - wanted[batch]).max() > atol:
            return f"batch {batch}: shares {shares}, wanted {wanted[batch]}"
    return None


# --- the process that runs cases


def serve(library: str) -> None:
    """Reads jobs as JSON lines, answers each with a line. What the library logs ends up in the messages."""
    log = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the process
    os.dup2(log.fileno(), 2)
    os.environ["SOFTNN_VLOG"] = "1"
    try:
        api = Nnapi(library)
    except OSError as error:
        sys.stdout.write(json.dumps({"error": str(error)}) + "\n")
        return
    ours = hasattr(api.library, "softnn_configure")
    known = {}
    for line in sys.stdin:
        job = Job(**json.loads(line))
        job = Job(**{**asdict(job), "ops": tuple(job.ops)})
        level = job.level or 8
        if ours:
            for op in (*job.ops, "ADD"):
                if op not in known:
                    known[op] = api.configure(refuse=op) == NO_ERROR
            api.configure(feature_level=level, verbose=1, threads=int(os.environ.get("SOFTNN_THREADS", "1")))
        log.seek(0)
        log.truncate()
        missing = [op for op in job.ops if not known.get(op, True)]
        if missing:
            answer = {"status": "missing", "message": f"{', '.join(missing)} not there"}
        else:
            message = CaseRun(api, job).failure()
            if message:
                log.seek(0)
                reasons = log.read().decode(errors="replace").splitlines()
                message = "\n    ".join([message, *reasons[-4:]])
            answer = {"status": "failed" if message else "passed", "message": message or ""}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


class Worker:
    """The process on the other end, restarted after a crash."""

    def __init__(self, library: Path, environment: dict[str, str] | None = None) -> None:
        self.library, self.environment = library, environment
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> subprocess.Popen[bytes]:
        if self.process is None:
            command = [sys.executable, "-m", "tests.nnapi.cases", "--serve", "--library", str(self.library)]
            environment = {**os.environ, **(self.environment or {})}
            self.process = subprocess.Popen(
                command, cwd=ROOT, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
            )
        return self.process

    def run(self, job: Job) -> Outcome:
        process = self.start()
        assert process.stdin and process.stdout
        try:
            process.stdin.write(json.dumps(asdict(job)).encode() + b"\n")
            answer = self.read_line(process)
        except BrokenPipeError:
            answer = b""
        if answer:
            fields = json.loads(answer)
            if "error" in fields:
                raise RuntimeError(fields["error"])
            return Outcome(job, **fields)
        timed_out = process.poll() is None
        self.close()
        reason = f"no answer within {CASE_SECONDS:.0f} s" if timed_out else f"exit code {process.returncode}"
        return Outcome(job, "crashed", reason)

    @staticmethod
    def read_line(process: subprocess.Popen[bytes]) -> bytes:
        assert process.stdout
        line = b""
        while not line.endswith(b"\n"):
            ready, _, _ = select.select([process.stdout], [], [], CASE_SECONDS)
            piece = os.read(process.stdout.fileno(), 65536) if ready else b""
            if not piece:
                if ready:
                    process.wait(CASE_SECONDS)
                return b""
            line += piece
        return line

    def close(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            for pipe in (self.process.stdin, self.process.stdout):
                if pipe:
                    pipe.close()
            self.process = None

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def run_jobs(library: Path, work: Iterable[Job], environment: dict[str, str] | None = None) -> Iterator[Outcome]:
    """Runs jobs one after the other."""
    with Worker(library, environment) as worker:
        for job in work:
            yield worker.run(job)


def build_library(sanitize: bool = False) -> Path:
    """libneuralnetworks.so from the tree, or the one that $NNAPI_TEST_LIBRARY names."""
    if given := os.environ.get("NNAPI_TEST_LIBRARY"):
        return Path(given)
    from nnapi_toolkit.android.build import build

    return Path(build(sanitize=sanitize).libneuralnetworks)


# --- command line


def print_table(outcomes: Sequence[Outcome]) -> None:
    """Counts by operation."""
    counts: dict[str, Counter[str]] = {}
    for outcome in outcomes:
        for op in outcome.job.ops or ("-",):
            counts.setdefault(op, Counter())[outcome.status] += 1
    print(f"{'operation':34}{'passed':>8}{'failed':>8}{'crashed':>9}{'missing':>9}")
    for op in sorted(counts):
        c = counts[op]
        print(f"{op:34}{c['passed']:8}{c['failed']:8}{c['crashed']:9}{c['missing']:9}")


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; 1 when a case failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.nnapi.cases", description="Run NNAPI cases.")
    parser.add_argument("files", nargs="*", help="parts of file names; all files without")
    parser.add_argument("--op", help="only cases about this operation")
    parser.add_argument("-k", "--pattern", default="", help="only cases whose name contains this")
    parser.add_argument("--modes", default="sync", help="sync,async,fenced,burst")
    parser.add_argument("--constants", default="copied", help="copied,memory")
    parser.add_argument("--variant", default="", choices=["", *VARIANTS], help="put each case in another way")
    parser.add_argument("--own-level", action="store_true", help="run each case at its own feature level")
    parser.add_argument("--library", type=Path, help="a libneuralnetworks.so; else the one of this tree is built")
    parser.add_argument("--sanitize", action="store_true", help="build with UBSan")
    parser.add_argument("--cases", type=Path, default=CASES, help="folder of case files")
    parser.add_argument("--table", action="store_true", help="print counts by operation")
    parser.add_argument("-x", type=int, default=20, help="print that many failures (20)")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.serve:
        serve(str(options.library))
        return 0
    files = [f for f in case_files(options.cases) if not options.files or any(part in f.stem for part in options.files)]
    library = options.library or build_library(options.sanitize)
    work = jobs(
        files, op=options.op, pattern=options.pattern, modes=options.modes.split(","),
        constants=options.constants.split(","), own_level=options.own_level, variant=options.variant,
    )  # fmt: skip
    outcomes = []
    for outcome in run_jobs(library, work):
        outcomes.append(outcome)
        bad = outcome.status in ("failed", "crashed")
        if bad and sum(o.status in ("failed", "crashed") for o in outcomes) <= options.x:
            print(f"{outcome.status.upper()} {outcome.job.title}\n    {outcome.message}", flush=True)
    if options.table:
        print_table(outcomes)
    totals = Counter(outcome.status for outcome in outcomes)
    print(", ".join(f"{totals[status]} {status}" for status in ("passed", "failed", "crashed", "missing")))
    return 1 if totals["failed"] or totals["crashed"] or not outcomes else 0


if __name__ == "__main__":
    sys.exit(main())
