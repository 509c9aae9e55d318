"""`nnapi run`: one inference on a device, or on all of them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from nnapi_toolkit.cli.common import (
    EXIT_NEGATIVE,
    FREEZE,
    JSON,
    MODEL,
    REQUIRE,
    emit,
    open_graph,
    parse_percent,
    push_progress,
)
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

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nnapi_toolkit.arrays import Array
    from nnapi_toolkit.session import Session


@click.command()
@MODEL
@DEVICE_OR_ALL
@click.option(
    "--inputs",
    type=click.Path(path_type=Path),
    default=None,
    help="npz: tensor names or input_0, input_1, …; without it: random inputs.",
)
@click.option(
    "--outputs",
    type=click.Path(path_type=Path),
    default=None,
    help="npz to write: output_0, … and tensor names. With --device all: one file per device, named by its serial.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of random inputs.")
@FREEZE
@session_options
@REQUIRE
@adb_options
@JSON
def run(
    model: Path,
    device: str,
    inputs: Path | None,
    outputs: Path | None,
    seed: int,
    freeze: str | None,
    require_delegated: str | None,
    adb_host: str | None,
    adb_port: int | None,
    as_json: bool,
    **given: Any,
) -> int:
    """Run a model once on a device, and say what ran where."""
    from nnapi_toolkit.arrays import load_inputs, random_inputs, save_outputs
    from nnapi_toolkit.session import Session

    required = parse_percent(require_delegated)
    main = open_graph(model, freeze).subgraphs[0]
    tensors = [main.tensors[index] for index in main.inputs]
    arrays = load_inputs(inputs, tensors) if inputs is not None else random_inputs(tensors, seed)
    if inputs is None and not as_json:
        click.echo(f"no --inputs: random inputs of seed {seed}", err=True)
    options = make_session_options(given)
    server = adb_server(adb_host, adb_port)

    def work(target: Any, path: Path | None, progress: Any = None, show: bool = False) -> dict[str, Any]:
        with Session(open_graph(model, freeze), target, options, progress) as session:
            results = session.run(arrays)
            if path is not None:
                save_outputs(path, session.output_tensors, results)
            if show:
                _print(session, model)
            return _document(session, model, results)

    def enough(row: dict[str, Any]) -> bool:
        return required is None or _share(row["summary"]) >= required

    if device == ALL:
        rows = on_all_devices(server, lambda serial, found: work(found, path_for(outputs, serial)))
        if as_json:
            emit(rows)
        else:
            _print_rows(rows, model)
        for row in rows:
            if "error" not in row and not enough(row):
                _too_little(row, required, model)
        return exit_code(rows, enough)
    with push_progress(not as_json) as progress, opened(device, server, progress) as target:
        row = work(target, outputs, progress, not as_json)
    if as_json:
        emit(row)
    if not enough(row):
        _too_little(row, required, model)
        return EXIT_NEGATIVE
    return 0


def _document(session: Session, model: Path, results: Sequence[Array]) -> dict[str, Any]:
    """The stable form of `nnapi run --json`."""
    assert session.last_stats is not None
    return {
        "model": str(model),
        "device": session.device_name,
        "summary": session.summary(),
        "stats": session.last_stats.to_json(),
        "compile_ms": sum(session.compile_ns) / 1e6,
        "pushed_bytes": session.pushed_bytes,
        "outputs": [
            {"name": t.name, "shape": list(r.shape), "dtype": str(r.dtype)}
            for t, r in zip(session.output_tensors, results)
        ],
        "failures": [failure.to_json() for failure in session.failures],
    }


def _print(session: Session, model: Path) -> None:
    from nnapi_toolkit.report import print_failures, print_plan, print_run

    print_plan(session.plan, model.name)
    print_run(session)
    print_failures(session.failures, session.summary())


def _print_rows(rows: list[dict[str, Any]], model: Path) -> None:
    from nnapi_toolkit.report import console, share, table

    out = table(f"{model.name}, one inference each", "device", ">delegated", ">total ms", ">device ms", ">compile ms", "state")
    out.columns[0].no_wrap = out.columns[-1].no_wrap = True
    for row in rows:
        if "error" in row:
            out.add_row(row["device"], "", "", "", "", row["error"]["type"])
            continue
        summary, stats = row["summary"], row["stats"]
        failed = len(summary["failed_partitions"])
        out.add_row(
            row["device"],
            share(summary["delegated_macs"], summary["macs"]),
            f"{stats['wall_us'] / 1e3:.2f}",
            f"{stats['device_us'] / 1e3:.2f}",
            f"{row['compile_ms']:.1f}",
            "ok" if not failed else f"{failed} partitions failed",
        )
    console.print(out)
    print_errors(rows)


def path_for(outputs: Path | None, serial: str) -> Path | None:
    """`out.npz` -> `out.SERIAL.npz`, with what file names do not like replaced."""
    if outputs is None:
        return None
    return outputs.with_name(f"{outputs.stem}.{re.sub(r'[^A-Za-z0-9._-]', '_', serial)}{outputs.suffix or '.npz'}")


def _share(summary: dict[str, Any]) -> float:
    return 100.0 * summary["delegated_macs"] / summary["macs"] if summary["macs"] else 100.0


def _too_little(row: dict[str, Any], required: float | None, model: Path) -> None:
    click.echo(
        f"nnapi: {_share(row['summary']):.1f}% of the multiply-accumulates are delegated on {row['device']}, "
        f"--require-delegated wants {required:g}%: `nnapi partition {model} --device ...` says why",
        err=True,
    )
