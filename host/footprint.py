"""How much memory a model needs, to hold what a device took against."""

from __future__ import annotations

from nnapi_toolkit.delegate.graph import Graph


def weight_bytes(graph: Graph) -> int:
    """Bytes of the constants that the operators of all subgraphs read (or that are outputs), as the file stores them.

    What several tensors share counts once; what nobody reads does not count.
    """
    spans = set()
    for subgraph in graph.subgraphs:
        read = {index for operator in subgraph.operators for index in operator.inputs if index >= 0} | set(subgraph.outputs)
        for index in read:
            tensor = subgraph.tensors[index]
            if tensor.data_offset is not None and tensor.data_length is not None:
                spans.add((tensor.data_offset, tensor.data_length))
    return sum(length for _, length in spans)


def live_bytes(graph: Graph) -> int:
    """The largest sum of activations that are alive at once, in bytes, when the main subgraph runs in the model's order.

    A tensor lives from the operator that writes it (an input: from the start) to the last that reads it (an output: to
    the end); each has memory of its own. Subgraphs that control flow calls are not looked into.
    """
    main = graph.subgraphs[0]
    last = {index: number for number, operator in enumerate(main.operators) for index in operator.inputs if index >= 0}
    alive = {index for index in main.inputs if not main.tensors[index].is_constant}
    peak = sum(main.tensors[index].byte_size for index in alive)
    for number, operator in enumerate(main.operators):
        alive.update(operator.outputs)
        peak = max(peak, sum(main.tensors[index].byte_size for index in alive))
        alive = {i for i in alive if last.get(i, -1) > number or i in main.outputs}
    return peak


def needed_bytes(graph: Graph) -> int:
    """Weights, and the largest sum of activations that are alive at once: what any run time keeps, in bytes."""
    return weight_bytes(graph) + live_bytes(graph)
