"""How TFLite cuts a graph: maximal runs of one type in dependency order, found in one pass.

TFLite's partitioner works in epochs. Each epoch takes every node that is ready and of the epoch's type, again and again
until none is left, then the next epoch begins with the other type. Since operators are stored in an order of execution
and there are two types only, the epoch of a node follows from those of the nodes it waits for: the latest of them, or the
one after where the type is the other one. That is linear in nodes and edges, and equal to the repeated scan.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from nnapi_toolkit.delegate.graph import Subgraph
from nnapi_toolkit.schema.enums import BuiltinOperator, TensorType

_CONTROL_FLOW = frozenset({BuiltinOperator.IF, BuiltinOperator.WHILE, BuiltinOperator.CALL_ONCE})


@dataclass(frozen=True, slots=True)
class Epoch:
    """One set of nodes that can run together.

    Attributes:
        delegated: True for NNAPI, False for the CPU.
        nodes: Operator indices in order of execution.
    """

    delegated: bool
    nodes: tuple[int, ...]


def dependencies(subgraph: Subgraph, constants: frozenset[int] = frozenset()) -> list[list[int]]:
    """For each operator, the operators that must run before it: producers of its inputs, and the chain of side effects.

    Args:
        subgraph: The subgraph.
        constants: Tensors that are produced by an operator but known beforehand: nobody waits for them.
    """
    producer: dict[int, int] = {}
    result: list[list[int]] = []
    resources = {t.index for t in subgraph.tensors if t.type == TensorType.RESOURCE}
    last_effect = -1
    for operator in subgraph.operators:
        waits = [producer[t] for t in operator.inputs if t in producer]
        if operator.op in _CONTROL_FLOW or (resources and not resources.isdisjoint((*operator.inputs, *operator.outputs))):
            # The order of control flow, and of whatever touches a resource, must be kept.
            if last_effect >= 0:
                waits.append(last_effect)
            last_effect = operator.index
        result.append(waits)
        for tensor in operator.outputs:
            if tensor >= 0 and tensor not in constants:
                producer[tensor] = operator.index
    return result


def cut(waits: Sequence[Sequence[int]], delegated: Sequence[bool]) -> list[Epoch]:
    """Cuts nodes into epochs.

    Args:
        waits: For each node, the earlier nodes it waits for.
        delegated: For each node, whether it goes to NNAPI.

    Returns:
        The epochs in order of execution; types alternate.
    """
    if not waits:
        return []
    first = delegated[0]
    epochs: list[list[int]] = []
    of_node: list[int] = []
    for node, before in enumerate(waits):
        epoch = 0
        for earlier in before:
            if of_node[earlier] > epoch:
                epoch = of_node[earlier]
        if (delegated[node] == first) == bool(epoch & 1):
            epoch += 1
        of_node.append(epoch)
        while len(epochs) <= epoch:
            epochs.append([])
        epochs[epoch].append(node)
    return [Epoch(first != bool(number & 1), tuple(nodes)) for number, nodes in enumerate(epochs) if nodes]
