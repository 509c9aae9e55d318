"""How fast is it, where does the time go: compile, first, steady; device, CPU steps, the road between."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from nnapi_toolkit.arrays import random_inputs
from nnapi_toolkit.delegate.graph import Graph
from nnapi_toolkit.device import Device
from nnapi_toolkit.session import RunStats, Session, SessionOptions


def percentiles(nanoseconds: Sequence[int]) -> dict[str, float]:
    """p50, p90, min, max and mean in microseconds, and the number of samples; zeros without samples."""
    if not nanoseconds:
        return {"p50": 0.0, "p90": 0.0, "min": 0.0, "max": 0.0, "mean": 0.0, "count": 0}
    values = np.asarray(nanoseconds, np.float64) / 1e3
    return {
        "p50": float(np.percentile(values, 50)),
        "p90": float(np.percentile(values, 90)),
        "min": float(values.min()),
        "max": float(values.max()),
        "mean": float(values.mean()),
        "count": len(values),
    }


@dataclass(slots=True)
class BenchResult:
    """Samples of one benchmark; `to_json` is the stable form of `nnapi bench --json`."""

    model: str
    device: str
    open_ns: int
    compile_ns: int
    first: RunStats
    runs: list[RunStats] = field(default_factory=list)
    partitions: list[dict[str, Any]] = field(default_factory=list)
    summary: dict[str, Any] = field(default_factory=dict)
    threads: int = 1

    def to_json(self) -> dict[str, Any]:
        """Times in microseconds ("latency_us": inside NNAPI by the device's clock plus CPU steps; "wall_us": end to end)."""
        return {
            "model": self.model,
            "device": self.device,
            "threads": self.threads,
            "latency_us": percentiles([r.device_ns + r.cpu_ns for r in self.runs]),
            "device_us": percentiles([r.device_ns for r in self.runs]),
            "cpu_us": percentiles([r.cpu_ns for r in self.runs]),
            "wall_us": percentiles([r.wall_ns for r in self.runs]),
            "host_overhead_us": percentiles([r.host_overhead_ns for r in self.runs]),
            "first_us": self.first.wall_ns / 1e3,
            "open_ms": self.open_ns / 1e6,
            "compile_ms": self.compile_ns / 1e6,
            "partitions": self.partitions,
            "summary": self.summary,
        }


def bench_model(
    model: str | Path | Graph,
    device: str | Device,
    *,
    runs: int = 50,
    warmup: int = 5,
    threads: int = 1,
    seed: int = 0,
    options: SessionOptions | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> BenchResult:
    """Measures a model on a device with random inputs.

    Args:
        runs: Measured inferences, at least 1.
        warmup: Inferences before them that are not measured (the first is reported apart).
        threads: Threads of software NNAPI (a phone's driver decides for itself).
        progress: Called with (done, total) inferences.

    Raises:
        ModelError, UsageError, DeviceError, ShimError, DriverError: As `Session`.
    """
    graph = model if isinstance(model, Graph) else Graph.open(model)
    begin = time.perf_counter_ns()
    with Session(graph, device, options) as session:
        opened = time.perf_counter_ns() - begin
        inputs = random_inputs(session.input_tensors, seed)
        total = 1 + max(0, warmup) + max(1, runs)
        samples: list[RunStats] = []
        for done in range(total):
            session.run(inputs)
            assert session.last_stats is not None
            samples.append(session.last_stats)
            if progress is not None:
                progress(done + 1, total)
        steady = samples[1 + max(0, warmup) :]
        return BenchResult(
            model=str(graph.path),
            device=session.device_name,
            open_ns=opened,
            compile_ns=sum(session.compile_ns),
            first=samples[0],
            runs=steady,
            partitions=_partitions(session, steady),
            summary=session.summary(),
            threads=threads,
        )


def _partitions(session: Session, runs: Sequence[RunStats]) -> list[dict[str, Any]]:
    rows = []
    for number, partition in enumerate(session.plan.partitions):
        steps = [s for r in runs for s in r.steps if s.partition == number]
        rows.append(
            {
                "index": number,
                "nodes": len(partition.nodes),
                "compile_ms": session.compile_ns[number] / 1e6 if number < len(session.compile_ns) else 0.0,
                "device_us": percentiles([s.device_ns for s in steps]),
                "bytes_to_device": steps[0].bytes_to_device if steps else 0,
                "bytes_from_device": steps[0].bytes_from_device if steps else 0,
            }
        )
    return rows
