"""`nnapi verify`: a device, or all of them, beside the CPU reference."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from nnapi_toolkit.cli.common import EXIT_NEGATIVE, FREEZE, JSON, MODEL, emit, open_graph, push_progress
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

_PATH = click.Path(path_type=Path)


@click.command()
@MODEL
@DEVICE_OR_ALL
@click.option("--inputs", type=_PATH, multiple=True, help="npz with one set of inputs; may stand several times.")
@click.option(
    "--calibration",
    type=_PATH,
    multiple=True,
    help="Sets of inputs: a folder of npz files, or a text file that names one a line.",
)
@click.option("--runs", type=click.IntRange(min=1), default=1, show_default=True, help="Random inputs to try without files.")
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of the first random inputs.")
@click.option("--atol", type=float, default=1e-6, show_default=True, help="Absolute bound for floats.")
@click.option("--rtol", type=float, default=1e-5, show_default=True, help="Relative bound for floats.")
@click.option(
    "--steps", type=click.IntRange(min=0), default=0, show_default=True, help="Bound for integers, in raw steps."
)
@click.option(
    "--per-node", is_flag=True, help="Also hold each delegated node to the bound, alone, on the reference's tensors."
)
@click.option(
    "--save-reproducer",
    type=_PATH,
    default=None,
    metavar="NPZ",
    help="Write the inputs that show the first node over the bound, and that node's tensors.",
)
@FREEZE
@session_options
@adb_options
@JSON
def verify(
    model: Path,
    device: str,
    inputs: tuple[Path, ...],
    calibration: tuple[Path, ...],
    runs: int,
    seed: int,
    atol: float,
    rtol: float,
    steps: int,
    per_node: bool,
    save_reproducer: Path | None,
    freeze: str | None,
    adb_host: str | None,
    adb_port: int | None,
    as_json: bool,
    **given: Any,
) -> int:
    """Compare a device's outputs with the CPU reference's, and find the node where they part.

    Exit code 1 when a bound is exceeded.
    """
    from nnapi_toolkit.arrays import Tolerance
    from nnapi_toolkit.verify import calibration_inputs, verify_model

    main = open_graph(model, freeze).subgraphs[0]
    sources = [*inputs, *calibration]
    arrays = calibration_inputs(sources, [main.tensors[index] for index in main.inputs]) if sources else None
    options = make_session_options(given)
    server = adb_server(adb_host, adb_port)

    def work(target: Any, reproducer: Path | None, progress: Any = None) -> dict[str, Any]:
        found = verify_model(
            open_graph(model, freeze),
            target,
            arrays,
            runs=runs,
            seed=seed,
            tolerance=Tolerance(atol, rtol, steps),
            options=options,
            per_node=per_node,
            reproducer=reproducer,
            progress=progress,
        )
        return {"model": str(model), **found.to_json()}

    if device == ALL:
        from nnapi_toolkit.cli.run import path_for

        rows = on_all_devices(server, lambda serial, found: work(found, path_for(save_reproducer, serial)))
        if as_json:
            emit(rows)
        else:
            _print_rows(rows)
        return exit_code(rows, lambda row: bool(row["within"]))
    with push_progress(not as_json) as progress, opened(device, server, progress) as target:
        row = work(target, save_reproducer, progress)
    if as_json:
        emit(row)
    else:
        from nnapi_toolkit.report import print_verification

        print_verification(row)
    return 0 if row["within"] else EXIT_NEGATIVE


def _print_rows(rows: list[dict[str, Any]]) -> None:
    from nnapi_toolkit.report import console, print_finding, table

    out = table("against the CPU reference", "device", ">runs", ">max abs", ">steps", "verdict")
    out.columns[0].no_wrap = out.columns[-1].no_wrap = True
    for row in rows:
        if "error" in row:
            out.add_row(row["device"], "", "", "", row["error"]["type"])
            continue
        outputs = [output for run in row["runs"] for output in run]
        worst = max((output["max_abs"] for output in outputs), default=0.0)
        raw = max((output["steps"] or 0 for output in outputs), default=0)
        out.add_row(
            row["device"], str(len(row["runs"])), f"{worst:.3g}", str(raw), "within" if row["within"] else "[red]differs[/red]"
        )
    console.print(out)
    for row in rows:
        if row.get("node"):
            console.print(f"[bold]{row['device']}[/bold]")
            print_finding(row["node"])
    print_errors(rows)
