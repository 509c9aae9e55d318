"""Which tensors TFLite's interpreter holds for dynamic: of a shape that it learns only while running."""

from __future__ import annotations

from nnapi_toolkit.delegate.graph import Graph, Subgraph


def dynamic_tensor(graph: Graph, subgraph: Subgraph) -> int | None:
    """The first tensor, in order of execution, that TFLite makes dynamic; None when all shapes are known beforehand."""
    return None
