"""`nnapi bench`: how fast is a device, or all of them."""

from __future__ import annotations

import contextlib
import os
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
    print_errors,
)


@click.command()
@MODEL
@DEVICE_OR_ALL
@click.option(
    "--threads",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Threads of software NNAPI and of CPU steps; the driver of a phone decides for itself.",
)
@click.option(
    "--cores", "core_list", default=None, metavar="LIST", help="Cores, below 32, that software NNAPI's threads stay on: 0,1"
)
@click.option("--runs", type=click.IntRange(min=1), default=50, show_default=True, help="Measured inferences.")
@click.option("--warmup", type=click.IntRange(min=0), default=5, show_default=True, help="Inferences before them.")
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of the random inputs.")
@click.option(
    "--vs", default=None, metavar="SPEC", help="Measure a second device in turns with the first: cpu, local, a serial, ..."
)
@click.option(
    "--vs-accelerator", default=None, metavar="NAME", help="NNAPI device of the second one; without --vs: of the same phone."
)
@click.option(
    "--sustained",
    type=click.FloatRange(min=0, min_open=True),
    default=None,
    metavar="MINUTES",
    help="Go on for so long, with the median of each minute.",
)
@click.option(
    "--wait-cool", type=float, default=None, metavar="CELSIUS", help="Wait first until the phone is at most so warm."
)
@click.option(
    "--wait-limit",
    type=click.FloatRange(min=0),
    default=300.0,
    show_default=True,
    metavar="SECONDS",
    help="The longest wait of --wait-cool.",
)
@click.option("--no-compile-cache", is_flag=True, help="Do not compile again with NNAPI's cache, cold and warm.")
@FREEZE
@session_options
@adb_options
@JSON
def bench(
    model: Path,
    device: str,
    threads: int,
    core_list: str | None,
    runs: int,
    warmup: int,
    seed: int,
    vs: str | None,
    vs_accelerator: str | None,
    sustained: float | None,
    wait_cool: float | None,
    wait_limit: float,
    no_compile_cache: bool,
    freeze: str | None,
    adb_host: str | None,
    adb_port: int | None,
    as_json: bool,
    **given: Any,
) -> int:
    """Measure latency on the device, the host's overhead, compilation and what the phone is like meanwhile."""
    _limit_blas_threads(threads)
    from nnapi_toolkit.bench import bench_model, open_with_threads

    options = make_session_options(given)
    cores = _cores(core_list, device)
    server = adb_server(adb_host, adb_port)

    def work(
        target: Any, rival: Any = None, rival_options: Any = None, progress: Callable[[int, int], None] | None = None
    ) -> dict[str, Any]:
        return bench_model(
            open_graph(model, freeze),
            target,
            runs=runs,
            warmup=warmup,
            threads=threads,
            seed=seed,
            options=options,
            versus=rival,
            versus_options=rival_options,
            sustained_minutes=sustained or 0.0,
            wait_cool_celsius=wait_cool,
            wait_limit_seconds=wait_limit,
            compile_cache=not no_compile_cache,
            progress=progress,
        ).to_json()

    rival_options = None
    if vs_accelerator is not None:
        rival_options = make_session_options(given | {"accelerator": vs_accelerator, "cache_directory": None})
        vs = vs or (device if device != ALL else None)
    if device == ALL:
        if vs is not None or vs_accelerator is not None:
            raise click.UsageError("--vs compares two devices: name the first with --device, not all")
        rows = on_all_devices(server, lambda serial, found: work(found))
        if as_json:
            emit(rows)
        else:
            _print_rows(rows, model)
        return exit_code(rows)
    with contextlib.ExitStack() as stack:
        progress = stack.enter_context(_bar(not as_json))
        target, rival = (
            spec if spec in (None, "cpu") else stack.enter_context(open_with_threads(spec, threads, server, cores))
            for spec in (device, vs)
        )
        row = work(target, rival, rival_options, progress)
    if as_json:
        emit(row)
    else:
        from nnapi_toolkit.report import print_bench

        print_bench(row)
    return 0


def _cores(text: str | None, device: str | None) -> tuple[int, ...]:
    if text is None:
        return ()
    parts = text.split(",")
    if not all(part.isascii() and part.isdigit() and int(part) < 32 for part in parts):
        raise click.BadParameter(f"'{text}' is no list of cores from 0 to 31, like 0,1", param_hint="--cores")
    if device in (ALL, "cpu", None):
        raise click.UsageError("--cores is for software NNAPI: choose --device local or virtual")
    return tuple(map(int, parts))


def _limit_blas_threads(threads: int) -> None:
    """CPU steps compute on as many threads as software NNAPI; numpy's libraries read this when they are loaded."""
    for variable in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(variable, str(threads))


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
