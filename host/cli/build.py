"""`nnapi build`: the native parts for one target."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
from nnapi_toolkit.cli.common import JSON, emit

_LEVELS = range(1, 9)


@click.command()
@click.option(
    "--target",
    default="host",
    show_default=True,
    type=click.Choice(["host", "arm64-v8a", "armeabi-v7a", "x86_64", "x86"]),
)
@click.option(
    "--for-model",
    "models",
    multiple=True,
    metavar="MODEL",
    type=click.Path(path_type=Path),
    help="Software NNAPI with the operations of this model only, at any feature level. May be given several times.",
)
@click.option(
    "--toolchain",
    default="zig",
    show_default=True,
    type=click.Choice(["zig", "ndk"]),
    help="The compiler that came with the toolkit, or the NDK that ANDROID_NDK_HOME names.",
)
@JSON
def build(target: str, models: tuple[Path, ...], toolchain: str, as_json: bool) -> int:
    """Build the shim and software NNAPI for a target; cached by the hash of the sources."""
    from nnapi_toolkit.android.build import build as build_target

    operations = operations_of(models) if models else None
    result = build_target(target, operations=operations, toolchain=toolchain)
    document: dict[str, Any] = {
        "target": result.target,
        "shim": str(result.shim),
        "libneuralnetworks": str(result.libneuralnetworks),
        "sizes": result.sizes,
        "source_hash": result.source_hash,
    }
    if operations is not None:
        document["operations"] = sorted(operations)
    if as_json:
        emit(document)
        return 0
    for key in ("shim", "libneuralnetworks"):
        click.echo(f"{key}: {document[key]} ({result.sizes[key]} bytes)")
    if operations is not None:
        click.echo(f"operations: {', '.join(document['operations'])}")
    return 0


def operations_of(models: Sequence[Path]) -> frozenset[str]:
    """The NNAPI operations (`CONV_2D`, ...) that the plans of these models use, over all feature levels.

    Rewrites say the same in other operations at other levels, so each level's plan counts, with and without
    them; submodels of IF and WHILE too.

    Raises:
        ModelError: A file does not verify.
        click.UsageError: None of the models has anything for NNAPI.
    """
    from nnapi_toolkit.delegate.graph import Graph
    from nnapi_toolkit.delegate.nnapi import operation_name
    from nnapi_toolkit.delegate.partition import PlanOptions, make_plan
    from nnapi_toolkit.delegate.target import Target
    from nnapi_toolkit.schema import program_generated as wire

    codes: set[int] = set()
    for path in models:
        graph = Graph.open(path)
        for level in _LEVELS:
            plans = (make_plan(graph, Target(level), PlanOptions(rewrites=rewrites)) for rewrites in (True, False))
            for lowered in (program for plan in plans for program in plan.lower()):
                program = wire.Program.GetRootAs(lowered.data)
                for model in map(program.Models, range(program.ModelsLength())):
                    codes.update(model.Operations(i).Code() for i in range(model.OperationsLength()))
    if not codes:
        names = ", ".join(map(str, models))
        raise click.UsageError(f"--for-model: NNAPI takes nothing of {names} at any feature level (see nnapi partition)")
    return frozenset(map(operation_name, codes))
