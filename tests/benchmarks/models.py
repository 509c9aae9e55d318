"""Whole models beside LiteRT, in one run, alternating: the figures of docs/benchmarks.md.

    scripts/bench [--rounds N] [--threads 1,2] [--only NAME] [--write]
    scripts/bench --instructions [--write]

Each round runs every contender once, so that what disturbs the machine disturbs all of them. Ratios are to LiteRT with
XNNPACK, its default, with the same number of threads.
"""

from __future__ import annotations

import argparse
import json
import lzma
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from nnapi_toolkit.arrays import random_inputs
from nnapi_toolkit.bench import open_with_threads
from nnapi_toolkit.delegate.graph import Graph
from nnapi_toolkit.footprint import needed_bytes
from nnapi_toolkit.session import Session, SessionOptions

from tests.benchmarks import instructions, planning
from tests.benchmarks.float_twin import float_twin
from tests.benchmarks.memory import growth_kib

ROOT = Path(__file__).resolve().parents[2]
SHARED = Path(os.environ.get("NNAPI_TOOLKIT_SHARED", ROOT.parent / "shared"))
DOCUMENT = ROOT / "docs" / "benchmarks.md"
#: The contender whose float32 sums are fused multiply-adds, as XNNPACK's are.
SUSTAINED = "softnn, sustained speed"
#: Where memory is measured: without the dynamic linker and the C library of this Linux, which no phone has.
STATIC = "virtual,build=static"
#: Name in the table -> file; "float of" = its float32 twin.
MODELS = {
    "MobileNetV1 1.0 224 float32": "mobilenet_v1_10_224_float",
    "MobileNetV1 1.0 224 int8": "mobilenet_v1_10_224_int8",
    "MobileNetV1 1.0 224 uint8 (2018)": "mobilenet_v1_10_224_quant_classic",
    "MobileNetV2 1.0 224 float32": "float of mobilenet_v2_10_224_int8",
    "MobileNetV2 1.0 224 int8": "mobilenet_v2_10_224_int8",
    "MobileNetV3-Small float32": "mobilenet_v3_small_float",
    "MobileNetV3-Small int8": "mobilenet_v3_small_int8",
    "InceptionV3 float32": "float of inception_v3_int8",
    "InceptionV3 int8": "inception_v3_int8",
    "EfficientNet-Lite0 int8": "efficientnet_lite0_int8",
}


def machine() -> dict[str, str]:
    """What the figures were measured on."""
    info = Path("/proc/cpuinfo").read_text()
    cpu = next((line.partition(":")[2].strip() for line in info.splitlines() if line.startswith("model name")), "unknown")
    extensions = [name for name in ("avx2", "avx512f", "avx512_vnni", "amx_int8") if f" {name} " in info]
    return {
        "cpu": f"{cpu} ({', '.join(extensions)})",
        "cores": str(os.cpu_count()),
        "load before": f"{os.getloadavg()[0]:.1f}",
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "litert": version("ai-edge-litert"),
        "numpy": version("numpy"),
        "toolkit": version("nnapi-toolkit"),
    }


@contextmanager
def model_file(name: str) -> Iterator[Path | None]:
    """The file of a model: of the demo, of the shared models (unpacked if need be), or a twin; None when not there."""
    with tempfile.TemporaryDirectory() as folder:
        if name.startswith("float of "):
            with model_file(name.removeprefix("float of ")) as source:
                if source is None:
                    yield None
                    return
                path = Path(folder) / "float.tflite"
                path.write_bytes(float_twin(Graph.open(source)))
                yield path
            return
        demo = ROOT / "examples" / f"{name}.tflite"
        plain = SHARED / "models" / f"{name}.tflite"
        packed = plain.with_suffix(".tflite.xz")
        if demo.exists() or plain.exists():
            yield demo if demo.exists() else plain
        elif packed.exists():
            path = Path(folder) / plain.name
            path.write_bytes(lzma.decompress(packed.read_bytes()))
            yield path
        else:
            yield None


class LiteRT:
    """LiteRT with one model and one set of inputs. `first_ns`: creation, allocation and the first invocation."""

    def __init__(self, path: Path, arrays: list[np.ndarray], threads: int, *, reference: bool = False) -> None:
        """Creates, allocates, and runs once."""
        kind = OpResolverType.BUILTIN_REF if reference else OpResolverType.AUTO
        begin = time.perf_counter_ns()
        self._interpreter = Interpreter(str(path), num_threads=threads, experimental_op_resolver_type=kind)
        self._interpreter.allocate_tensors()
        for detail, array in zip(self._interpreter.get_input_details(), arrays):
            self._interpreter.set_tensor(detail["index"], array)
        self._interpreter.invoke()
        self.first_ns = time.perf_counter_ns() - begin

    def once(self) -> int:
        """Nanoseconds of one invocation."""
        begin = time.perf_counter_ns()
        self._interpreter.invoke()
        return time.perf_counter_ns() - begin


class Samples:
    """Times of named contenders, in microseconds."""

    def __init__(self) -> None:
        """Empty."""
        self.all: dict[str, list[float]] = {}

    def add(self, name: str, nanoseconds: float) -> None:
        """One sample."""
        self.all.setdefault(name, []).append(nanoseconds / 1e3)

    def session(self, name: str, session: Session, arrays: list[np.ndarray]) -> None:
        """One inference: time on the device, end to end, and between."""
        session.run(arrays)
        stats = session.last_stats
        assert stats is not None
        self.add(name, stats.device_ns + stats.cpu_ns)
        self.add(f"{name}, end to end", stats.wall_ns)
        self.add(f"{name}, overhead", stats.host_overhead_ns)


def ratios(ours: list[float], theirs: list[float]) -> dict[str, float]:
    """Round by round, ours over theirs: min, median, max; and of the best rounds of each."""
    each = [a / b for a, b in zip(ours, theirs)]
    return {"min": min(each), "median": statistics.median(each), "max": max(each), "best": min(ours) / min(theirs)}


def steady(path: Path, rounds: int, threads: int) -> dict[str, Any]:
    """softnn in process and LiteRT with XNNPACK, alternating; float32 also as the preference for sustained speed has it."""
    with ExitStack() as stack:
        device = stack.enter_context(open_with_threads("local", threads))
        ours = {"softnn": stack.enter_context(Session(path, device))}
        if any(tensor.dtype == np.float32 for tensor in ours["softnn"].input_tensors):
            ours[SUSTAINED] = stack.enter_context(Session(path, device, SessionOptions(preference="sustained-speed")))
        arrays = random_inputs(ours["softnn"].input_tensors)
        theirs = LiteRT(path, arrays, threads)
        samples = Samples()
        for _ in range(3):
            for session in ours.values():
                session.run(arrays)
            theirs.once()
        for _ in range(rounds):
            samples.add("LiteRT XNNPACK", theirs.once())
            for name, session in ours.items():
                samples.session(name, session, arrays)
        return {
            "p50_us": {name: statistics.median(values) for name, values in samples.all.items()},
            "p90_us": {name: float(np.percentile(values, 90)) for name, values in samples.all.items()},
            "ratio": {name: ratios(samples.all[name], samples.all["LiteRT XNNPACK"]) for name in ours},
        }


def compilation(path: Path, rounds: int) -> dict[str, float]:
    """Medians of alternating rounds: all partitions built and compiled; LiteRT created, allocated and invoked once."""
    ours, theirs = [], []
    for _ in range(rounds):
        with open_with_threads("local", 1) as device, Session(path, device) as session:
            ours.append(sum(session.compile_ns) / 1e6)
            arrays = random_inputs(session.input_tensors)
        theirs.append(LiteRT(path, arrays, 1).first_ns / 1e6)
    return {"compile_ms": statistics.median(ours), "litert_first_ms": statistics.median(theirs)}


def reference(path: Path, rounds: int) -> dict[str, Any]:
    """The numpy reference beside LiteRT's reference kernels; one BLAS thread (set by `scripts/bench`)."""
    with Session(path, "cpu") as ours:
        arrays = random_inputs(ours.input_tensors)
        theirs = LiteRT(path, arrays, 1, reference=True)
        samples = Samples()
        ours.run(arrays)
        for _ in range(rounds):
            samples.add("LiteRT BUILTIN_REF", theirs.once())
            samples.session("reference", ours, arrays)
        return {
            "p50_us": {name: statistics.median(values) for name, values in samples.all.items()},
            "ratio": ratios(samples.all["reference"], samples.all["LiteRT BUILTIN_REF"]),
            "peak_kib": {contender: growth_kib(path, contender) for contender in ("litert", "reference")},
            "needed_kib": needed_bytes(ours.graph) / 1024,
        }


def road(path: Path, rounds: int) -> dict[str, Any]:
    """Through real adb and the virtual device, beside an echo of the same bytes through the same stream."""
    with Session(path, "virtual") as session:
        arrays = random_inputs(session.input_tensors)
        device = session.device_session
        assert device is not None
        payload = b"".join(a.tobytes() for a in arrays)
        samples = Samples()
        for _ in range(3):
            session.run(arrays)
        for _ in range(rounds):
            samples.session("virtual", session, arrays)
            begin = time.perf_counter_ns()
            device.client.echo(payload)
            samples.add("echo", time.perf_counter_ns() - begin)
        begin = time.perf_counter_ns()
        for future in [session.submit(arrays) for _ in range(rounds)]:
            future.result()
        samples.add("two under way", (time.perf_counter_ns() - begin) / rounds)
        return {
            "p50_us": {name: statistics.median(values) for name, values in samples.all.items()},
            "p90_us": {name: float(np.percentile(values, 90)) for name, values in samples.all.items()},
            "input_bytes": len(payload),
            "resident_kib": peak_kib(path),
            "needed_kib": needed_bytes(session.graph) / 1024,
            "compile_ms": sum(session.compile_ns) / 1e6,
        }


def peak_kib(path: Path) -> int:
    """The most that the program on the device has had resident after three inferences."""
    with Session(path, STATIC) as session:
        for _ in range(3):
            session.run(random_inputs(session.input_tensors))
        assert session.device_session is not None
        return session.device_session.client.stats().max_resident_kib


def markdown(document: dict[str, Any]) -> str:
    """The page, from the JSON document."""
    lines = [
        "# Benchmarks",
        "",
        "Written by `scripts/bench --write`; do not edit. Each round runs every contender once, alternating, on the machine named",
        "below. Times are medians in milliseconds. Ratios are ours over theirs, round by round: below 1 is faster than LiteRT.",
        "The other tables: [what is delegated, and how long planning takes](reference/delegation.md).",
        "",
        *(f"- {key}: {value}" for key, value in document["machine"].items()),
        f"- rounds: {document['rounds']}",
    ]
    for threads in document["threads"]:
        lines += [
            "",
            f"## Steady-state inference, {threads} thread{'s' if threads > 1 else ''}",
            "",
            "softnn in process (`--device local`) and LiteRT with XNNPACK, its default. Rows of float32 come twice: by default softnn adds in",
            "the reference kernels' order and rounds every product, so that results equal theirs; with `--preference sustained-speed` it fuses",
            "multiplication and addition, as XNNPACK does.",
            "",
            "| model | LiteRT XNNPACK | softnn p50 / p90 | ratio min / median / max | of the best rounds |",
            "|---|---:|---:|---:|---:|",
        ]
        for name, row in document["models"].items():
            found = row["steady"][str(threads)]
            p50, p90 = found["p50_us"], found["p90_us"]
            for contender, ratio in found["ratio"].items():
                label = name + contender.removeprefix("softnn")
                lines.append(
                    f"| {label} | {p50['LiteRT XNNPACK'] / 1e3:.2f} | {p50[contender] / 1e3:.2f} / {p90[contender] / 1e3:.2f} | "
                    f"{ratio['min']:.2f} / {ratio['median']:.2f} / {ratio['max']:.2f} | {ratio['best']:.2f} |"
                )
    lines += [
        "",
        "## The road between host and device",
        "",
        "Through the real adb server and the virtual device on loopback. Overhead = end to end minus time on the device; echo = the",
        "input's bytes sent and returned through the same stream. Resident = peak of the program's process after three inferences, of the static",
        "one (`virtual,build=static`: a dynamic linker and a C library, which all processes of a phone share, would add 2 MiB); needed =",
        "weights and the largest sum of activations alive at once. Two under way: the time for each inference when `session.submit` keeps two in flight.",
        "",
        "| model | input KiB | on device p50 / p90 | end to end | overhead | echo | two under way | resident / needed MiB | ratio |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for name, row in document["models"].items():
        found = row["road"]
        p50, p90 = found["p50_us"], found["p90_us"]
        lines.append(
            f"| {name} | {found['input_bytes'] / 1024:.0f} | {p50['virtual'] / 1e3:.2f} / {p90['virtual'] / 1e3:.2f} | "
            f"{p50['virtual, end to end'] / 1e3:.2f} | {p50['virtual, overhead'] / 1e3:.3f} | {p50['echo'] / 1e3:.3f} | "
            f"{p50['two under way'] / 1e3:.2f} | "
            f"{found['resident_kib'] / 1024:.1f} / {found['needed_kib'] / 1024:.1f} | "
            f"{found['resident_kib'] / found['needed_kib']:.2f} |"
        )
    lines += [
        "",
        "## Compilation",
        "",
        "Building and compiling all partitions, beside LiteRT's creation, allocation and first invocation: medians of alternating rounds.",
        "",
        "| model | softnn ms | LiteRT ms | ratio |",
        "|---|---:|---:|---:|",
    ]
    for name, row in document["models"].items():
        found = row["compilation"]
        lines.append(
            f"| {name} | {found['compile_ms']:.1f} | {found['litert_first_ms']:.1f} | "
            f"{found['compile_ms'] / found['litert_first_ms']:.2f} |"
        )
    lines += [
        "",
        "## The CPU reference",
        "",
        "numpy with one BLAS thread, beside LiteRT's reference kernels (BUILTIN_REF), one thread. Memory: each in a fresh process,",
        "how far the peak of resident memory (VmHWM) rises above what is resident after the imports, while the model is opened and",
        "run three times; pages of the model's file that were read count. Needed = weights, and the largest sum of activations",
        "alive at once. What the reference has beyond that are Python's objects for the graph, its kernels' code, BLAS's buffers",
        "and at most 4 MiB for blocks of windows and converted weights.",
        "",
        "| model | LiteRT BUILTIN_REF | CPU reference | ratio min / median / max | needed MiB | peak MiB LiteRT | peak MiB reference | ratio |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for name, row in document["models"].items():
        found = row["reference"]
        p50, ratio, peak = found["p50_us"], found["ratio"], found["peak_kib"]
        lines.append(
            f"| {name} | {p50['LiteRT BUILTIN_REF'] / 1e3:.1f} | {p50['reference'] / 1e3:.1f} | "
            f"{ratio['min']:.2f} / {ratio['median']:.2f} / {ratio['max']:.2f} | {found['needed_kib'] / 1024:.1f} | "
            f"{peak['litert'] / 1024:.1f} | {peak['reference'] / 1024:.1f} | {peak['reference'] / peak['litert']:.2f} |"
        )
    rows = {name: row["planning"] for name, row in document["models"].items()}
    return "\n".join([*lines, *planning.markdown(rows | document["growth"]), ""])


def measure(path: Path, rounds: int, threads: list[int]) -> dict[str, Any]:
    """Every table's row of one model."""
    return {
        "steady": {str(count): steady(path, rounds, count) for count in threads},
        "compilation": compilation(path, max(3, rounds // 3)),
        "road": road(path, rounds),
        "reference": reference(path, max(3, rounds // 8)),
        "planning": planning.times(path),
    }


def main() -> None:
    """Measures, prints JSON, and writes the page when asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--threads", default="1,2", help="comma-separated numbers of threads")
    parser.add_argument("--only", action="append", default=[], help="part of a model's name; may be repeated")
    parser.add_argument("--write", action="store_true", help="write docs/benchmarks.md")
    parser.add_argument("--instructions", action="store_true", help="count instructions of single operations instead (valgrind)")
    arguments = parser.parse_args()
    if arguments.instructions:
        sys.exit(instructions.main(arguments.write))
    threads = [int(count) for count in arguments.threads.split(",")]
    document: dict[str, Any] = {"machine": machine(), "threads": threads, "rounds": arguments.rounds, "models": {}}
    with ExitStack() as stack:
        for name, file in MODELS.items():
            if arguments.only and not any(part.lower() in name.lower() for part in arguments.only):
                continue
            path = stack.enter_context(model_file(file))
            if path is None:
                print(f"{name}: not below {SHARED}, left out", flush=True)
                continue
            document["models"][name] = row = measure(path, arguments.rounds, threads)
            shown = {count: [f"{ratio['median']:.2f}" for ratio in found["ratio"].values()] for count, found in row["steady"].items()}
            print(f"{name}: ratio to XNNPACK by threads {shown}", flush=True)
    document["growth"] = planning.growth()
    if arguments.write:
        DOCUMENT.write_text(markdown(document))
        DOCUMENT.with_suffix(".json").write_text(json.dumps(document, indent=1) + "\n")
    else:
        print(json.dumps(document, indent=1))


if __name__ == "__main__":
    main()
