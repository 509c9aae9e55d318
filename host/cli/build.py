"""`nnapi build`: the native parts for one target."""

from __future__ import annotations

import click
from nnapi_toolkit.cli.common import JSON, emit


@click.command()
@click.option(
    "--target",
    default="host",
    show_default=True,
    type=click.Choice(["host", "arm64-v8a", "armeabi-v7a", "x86_64", "x86"]),
)
@JSON
def build(target: str, as_json: bool) -> int:
    """Build the shim and software NNAPI for a target; cached by the hash of the sources."""
    from nnapi_toolkit.android.build import build as build_target

    result = build_target(target)
    document = {
        "target": result.target,
        "shim": str(result.shim),
        "libneuralnetworks": str(result.libneuralnetworks),
        "sizes": result.sizes,
        "source_hash": result.source_hash,
    }
    if as_json:
        emit(document)
    else:
        for key in ("shim", "libneuralnetworks"):
            click.echo(f"{key}: {document[key]} ({result.sizes[key]} bytes)")
    return 0
