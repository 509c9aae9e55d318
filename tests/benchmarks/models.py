"""Whole models beside LiteRT, in one run, alternating: the figures of docs/benchmarks.md.

    scripts/bench [--rounds N] [--threads N] [--only NAME] [--write]

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
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from nnapi_toolkit.arrays import random_inputs
from nnapi_toolkit.session import Session

ROOT = Path(__file__).resolve().parents[2]
SHARED = Path(os.environ.get("NNAPI_TOOLKIT_SHARED", ROOT.parent / "shared"))
DOCUMENT = ROOT / "docs" / "benchmarks.md"
MODELS = [
    "mobilenet_v1_10_224_float",
    "mobilenet_v1_10_224_int8",
    "mobilenet_v1_10_224_quant_classic",
    "mobilenet_v2_10_224_int8",
    "mobilenet_v3_small_float",
    "mobilenet_v3_small_int8",
    "inception_v3_int8",
]


def machine() -> dict[str, str]:
    """What the figures were measured on."""
    cpu = "unknown"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            cpu = line.partition(":")[2].strip()
            break
    flags = Path("/proc/cpuinfo").read_text()
    extensions = [name for name in ("avx2", "avx512f", "avx512_vnni", "amx_int8") if f" {name} " in flags]
    return {
        "cpu": f"{cpu} ({', '.join(extensions)})",
        "cores": str(os.cpu_count()),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "litert": version("ai-edge-litert"),
        "numpy": version("numpy"),
        "toolkit": version("nnapi-toolkit"),
    }


@contextmanager
def model_file(name: str) -> Iterator[Path | None]:
    """The file of a model: of the demo, or of the shared models (unpacked if need be); None when it is not there."""
    demo = ROOT / "examples" / f"{name}.tflite"
    plain = SHARED / "models" / f"{name}.tflite"
    packed = plain.with_suffix(".tflite.xz")
    if demo.exists() or plain.exists():
        yield demo if demo.exists() else plain
    elif packed.exists():
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / plain.name
            path.write_bytes(lzma.decompress(packed.read_bytes()))
            yield path
    else:
        yield None


def litert(path: Path, arrays: list[np.ndarray], threads: int, reference: bool) -> Callable[[], int]:
    """A function that runs LiteRT once and returns nanoseconds."""
    kind = OpResolverType.BUILTIN_REF if reference else OpResolverType.AUTO
    interpreter = Interpreter(str(path), num_threads=threads, experimental_op_resolver_type=kind)
    interpreter.allocate_tensors()
    for detail, array in zip(interpreter.get_input_details(), arrays):
        interpreter.set_tensor(detail["index"], array)

    def once() -> int:
        begin = time.perf_counter_ns()
        interpreter.invoke()
        return time.perf_counter_ns() - begin

    return once


def measure(path: Path, rounds: int, threads: int, slow: bool) -> dict[str, Any]:
    """All contenders on one model, alternating. Times in microseconds."""
    with ExitStack() as stack:
        os.environ["SOFTNN_THREADS"] = str(threads)
        local = stack.enter_context(Session(path, "local"))
        virtual = stack.enter_context(Session(path, "virtual"))
        cpu = stack.enter_context(Session(path, "cpu"))
        arrays = random_inputs(local.input_tensors)
        contenders: dict[str, Callable[[], int]] = {"LiteRT XNNPACK": litert(path, arrays, threads, False)}
        samples: dict[str, list[float]] = {}

        def add(name: str, nanoseconds: int) -> None:
            samples.setdefault(name, []).append(nanoseconds / 1e3)

        def session(name: str, opened: Session) -> None:
            opened.run(arrays)
            stats = opened.last_stats
            assert stats is not None
            add(name, stats.device_ns + stats.cpu_ns)
            add(f"{name}, end to end", stats.wall_ns)
            add(f"{name}, host overhead", stats.host_overhead_ns)

        reference = litert(path, arrays, 1, True) if slow else None
        for once in contenders.values():
            once()
        for opened in (local, virtual, cpu):
            opened.run(arrays)
        for number in range(rounds):
            for name, once in contenders.items():
                add(name, once())
            session("softnn local", local)
            session("softnn virtual", virtual)
            if number < max(1, rounds // 5):
                session("CPU reference (numpy)", cpu)
                if reference is not None:
                    add("LiteRT BUILTIN_REF", reference())
        return {
            "rounds": rounds,
            "threads": threads,
            "compile_ms": sum(local.compile_ns) / 1e6,
            "p50_us": {name: statistics.median(values) for name, values in samples.items()},
            "min_us": {name: min(values) for name, values in samples.items()},
            "p90_us": {name: float(np.percentile(values, 90)) for name, values in samples.items()},
            "ratio_to_xnnpack": ratios(samples["softnn local"], samples["LiteRT XNNPACK"]),
        }


def ratios(ours: list[float], theirs: list[float]) -> dict[str, float]:
    """Round by round, ours over theirs: min, median, max."""
    each = [a / b for a, b in zip(ours, theirs)]
    return {"min": min(each), "median": statistics.median(each), "max": max(each)}


def markdown(document: dict[str, Any]) -> str:
    """The page, from the JSON document."""
    lines = [
        "# Benchmarks",
        "",
        "Written by `scripts/bench --write`; do not edit. Each round runs every contender once, alternating, on the machine",
        "named below. Times are medians in milliseconds; ratios are softnn over LiteRT with XNNPACK, round by round.",
        "",
        *(f"- {key}: {value}" for key, value in document["machine"].items()),
        f"- threads: {document['threads']}, rounds: {document['rounds']}",
        "",
        "## Inference",
        "",
        "| model | LiteRT XNNPACK | softnn (p50 / p90) | ratio min / median / max | LiteRT BUILTIN_REF | CPU reference |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for name, row in document["models"].items():
        p50, p90, ratio = row["p50_us"], row["p90_us"], row["ratio_to_xnnpack"]
        reference = p50.get("LiteRT BUILTIN_REF")
        lines.append(
            f"| {name} | {p50['LiteRT XNNPACK'] / 1e3:.2f} | {p50['softnn local'] / 1e3:.2f} / {p90['softnn local'] / 1e3:.2f} | "
            f"{ratio['min']:.2f} / {ratio['median']:.2f} / {ratio['max']:.2f} | "
            f"{'–' if reference is None else f'{reference / 1e3:.1f}'} | {p50['CPU reference (numpy)'] / 1e3:.1f} |"
        )
    lines += [
        "",
        "## The road between host and device",
        "",
        "Through the real adb server and the virtual device on loopback; overhead = end to end minus time on the device.",
        "",
        "| model | on device (p50 / p90) ms | end to end ms | host overhead, virtual ms | host overhead, local ms | compile ms |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for name, row in document["models"].items():
        p50, p90 = row["p50_us"], row["p90_us"]
        lines.append(
            f"| {name} | {p50['softnn virtual'] / 1e3:.2f} / {p90['softnn virtual'] / 1e3:.2f} | "
            f"{p50['softnn virtual, end to end'] / 1e3:.2f} | {p50['softnn virtual, host overhead'] / 1e3:.3f} | "
            f"{p50['softnn local, host overhead'] / 1e3:.3f} | {row['compile_ms']:.1f} |"
        )
    return "\n".join([*lines, ""])


def main() -> None:
    """Measures, prints JSON, and writes the page when asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--only", action="append", default=[], help="a model's name; may be repeated")
    parser.add_argument("--write", action="store_true", help="write docs/benchmarks.md")
    arguments = parser.parse_args()
    document: dict[str, Any] = {
        "machine": machine(),
        "threads": arguments.threads,
        "rounds": arguments.rounds,
        "models": {},
    }
    for name in arguments.only or ["efficientnet_lite0_int8", *MODELS]:
        with model_file(name) as path:
            if path is None:
                print(f"{name}: not below {SHARED}, left out", flush=True)
                continue
            document["models"][name] = measure(path, arguments.rounds, arguments.threads, slow=True)
            row = document["models"][name]
            print(f"{name}: {json.dumps(row['p50_us'])} ratio {row['ratio_to_xnnpack']['median']:.2f}", flush=True)
    if arguments.write:
        DOCUMENT.write_text(markdown(document))
        DOCUMENT.with_suffix(".json").write_text(json.dumps(document, indent=1) + "\n")
    else:
        print(json.dumps(document, indent=1))


if __name__ == "__main__":
    main()
