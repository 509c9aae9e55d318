"""`nnapi inspect`: what is in a model."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import click
from nnapi_toolkit.cli.common import JSON, MODEL, emit


@click.command()
@MODEL
@JSON
def inspect(model: Path, as_json: bool) -> int:
    """Show what is in a model: inputs, outputs, operators, multiply-accumulates, signatures."""
    from nnapi_toolkit.delegate.graph import Graph

    document = describe(Graph.open(model), model)
    if as_json:
        emit(document)
        return 0
    from nnapi_toolkit.report import console, size, table

    console.print(
        f"[bold]{model}[/bold]: {size(document['bytes'])}, {document['subgraphs']} subgraph(s), "
        f"{document['operators_total']} operators, {document['macs'] / 1e6:.1f} M MACs"
    )
    for kind in ("inputs", "outputs"):
        out = table(kind, ">#", "name", "type", "shape", "quantization")
        for position, row in enumerate(document[kind]):
            quantization = row["quantization"]
            text = (
                f"scale {quantization['scale'][0]:.6g}, zero point {quantization['zero_point'][0]}"
                if quantization
                else ""
            )
            out.add_row(str(position), row["name"], row["type"], "x".join(map(str, row["shape"])), text)
        console.print(out)
    out = table("operators", "operator", ">count")
    for name, count in document["operators"].items():
        out.add_row(name, str(count))
    console.print(out)
    return 0


def describe(graph: Any, model: Path) -> dict[str, Any]:
    """The stable form of `nnapi inspect --json`."""
    from nnapi_toolkit.delegate.cost import macs

    main = graph.subgraphs[0]

    def row(index: int) -> dict[str, Any]:
        tensor = main.tensors[index]
        quantization = tensor.quantization
        return {
            "name": tensor.name,
            "index": tensor.index,
            "type": tensor.type.name,
            "shape": list(tensor.shape),
            "shape_signature": list(tensor.shape_signature or tensor.shape),
            "quantization": None
            if quantization is None
            else {
                "scale": list(quantization.scale),
                "zero_point": list(quantization.zero_point),
                "dimension": quantization.dimension,
            },
        }

    counts = Counter(op.name for subgraph in graph.subgraphs for op in subgraph.operators)
    return {
        "model": str(model),
        "bytes": len(graph.data),
        "sha256": graph.sha256,
        "description": graph.description,
        "subgraphs": len(graph.subgraphs),
        "inputs": [row(index) for index in main.inputs],
        "outputs": [row(index) for index in main.outputs],
        "operators": dict(sorted(counts.items(), key=lambda item: (-item[1], item[0]))),
        "operators_total": sum(counts.values()),
        "macs": sum(macs(node) for node in graph.nodes(0)),
        "signatures": [
            {"key": s.key, "subgraph": s.subgraph, "inputs": dict(s.inputs), "outputs": dict(s.outputs)}
            for s in graph.signatures
        ],
    }
