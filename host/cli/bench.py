"""`nnapi bench`: how fast is a device, or all of them."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
from nnapi_toolkit.cli.common import FREEZE, JSON, MODEL, emit, open_graph
from nnapi_toolkit.cli.options import make_session_options, session_options
from nnapi_toolkit.cli.targets import (
    ALL,
    DEVICE_OR_ALL,
    adb_options,
    adb_server,
    exit_code,
    on_all_devices,
    opened,
    print_errors,
)


@click.command()
@MODEL
@DEVICE_OR_ALL
@click.option("--threads", type=click.IntRange(min=1), default=1, show_default=True, help="Threads of software NNAPI.")
@click.option("--runs", type=click.IntRange(min=1), default=50, show_default=True, help="Measured inferences.")
@click.option("--warmup", type=click.IntRange(min=0), default=5, show_default=True, help="Inferences before them.")
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of the random inputs.")
@FREEZE
@session_options
@adb_options
@JSON
def bench(
    model: Path,
    device: str,
    threads: int,
    runs: int,
    warmup: int,
    seed: int,
    freeze: str | None,
    adb_host: str | None,
    adb_port: int | None,
    as_json: bool,
    **given: Any,
) -> int:
    """Measure on-device latency, host overhead and compile time with random inputs."""
    from nnapi_toolkit.bench import bench_model

    options = make_session_options(given)
    server = adb_server(adb_host, adb_port)

    def work(target: Any, progress: Callable[[int, int], None] | None = None) -> dict[str, Any]:
        return bench_model(
            open_graph(model, freeze),
            target,
            runs=runs,
            warmup=warmup,
            threads=threads,
            seed=seed,
            options=options,
            progress=progress,
        ).to_json()

    if device == ALL:
        rows = on_all_devices(server, lambda serial, found: work(found))
        if as_json:
            emit(rows)
        else:
            _print_rows(rows, model)
        return exit_code(rows)
    with _bar(not as_json) as progress, opened(device, server) as target:
        row = work(target, progress)
    if as_json:
        emit(row)
    else:
        from nnapi_toolkit.report import print_bench

        print_bench(row)
    return 0


@contextlib.contextmanager
def _bar(enabled: bool) -> Iterator[Callable[[int, int], None] | None]:
    """A progress bar of inferences, on a terminal only."""
    if not enabled or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("inferences", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _print_rows(rows: list[dict[str, Any]], model: Path) -> None:
    from nnapi_toolkit.report import console, share, table

    out = table(
        f"{model.name}, microseconds", "device", ">p50", ">p90", ">min", ">end to end p50", ">compile ms", ">delegated MACs"
    )
    out.columns[0].no_wrap = out.columns[-1].no_wrap = True
    for row in rows:
        if "error" in row:
            out.add_row(row["device"], *[""] * 5, row["error"]["type"])
            continue
        latency = row["latency_us"]
        out.add_row(
            row["device"],
            *(f"{latency[key]:.0f}" for key in ("p50", "p90", "min")),
            f"{row['wall_us']['p50']:.0f}",
            f"{row['compile_ms']:.1f}",
            share(row["summary"]["delegated_macs"], row["summary"]["macs"]),
        )
    console.print(out)
    print_errors(rows)
