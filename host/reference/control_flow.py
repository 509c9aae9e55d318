"""IF, WHILE, CALL_ONCE, STABLEHLO_COMPOSITE; VAR_HANDLE, READ_VARIABLE, ASSIGN_VARIABLE.

Semantics: LiteRT's kernels. Subgraphs take their inputs and give their outputs by position.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from nnapi_toolkit.delegate.graph import Node
from nnapi_toolkit.reference.base import Array, Runtime, fail, kernel, operand, require_type


def _subgraph(node: Node, what: str, index: int, inputs: int | None = None) -> int:
    """Checks a subgraph index of the options and how many inputs that subgraph takes."""
    subgraphs = node.graph.subgraphs
    if not 0 <= index < len(subgraphs):
        fail(node, what, index, f"below the model's {len(subgraphs)} subgraphs")
    if inputs is not None and len(subgraphs[index].inputs) != inputs:
        fail(node, f"inputs of {what} {index}", len(subgraphs[index].inputs), f"{inputs}")
    return index


def _condition(node: Node, value: Array, what: str) -> bool:
    require_type(node, value, f"type of {what}", np.bool_)
    if value.size != 1:
        fail(node, f"elements of {what}", value.size, "1")
    return bool(value.reshape(-1)[0])


@kernel("IF")
def if_(node: Node, inputs: Sequence[Array | None], runtime: Runtime) -> Sequence[Array]:
    """Runs one of two subgraphs on inputs 1 and on, chosen by the bool in input 0."""
    options = node.operator.options
    condition = _condition(node, operand(node, inputs, 0, "condition"), "input 0 (condition)")
    arguments = [operand(node, inputs, i, "argument") for i in range(1, len(inputs))]
    name = "then_subgraph_index" if condition else "else_subgraph_index"
    return runtime.invoke_subgraph(_subgraph(node, name, getattr(options, name), len(arguments)), arguments)


@kernel("WHILE")
def while_(node: Node, inputs: Sequence[Array | None], runtime: Runtime) -> Sequence[Array]:
    """Runs the body on its own results for as long as the condition subgraph says true.

    Loop variables of any dtype and shape, which may change from turn to turn; the condition is one bool.
    """
    options = node.operator.options
    values = [operand(node, inputs, i, "loop variable") for i in range(len(inputs))]
    condition = _subgraph(node, "cond_subgraph_index", options.cond_subgraph_index, len(values))
    body = _subgraph(node, "body_subgraph_index", options.body_subgraph_index, len(values))
    while _condition(node, runtime.invoke_subgraph(condition, values)[0], "the condition"):
        values = runtime.invoke_subgraph(body, values)
    return values


@kernel("CALL_ONCE")
def call_once(node: Node, inputs: Sequence[Array | None], runtime: Runtime) -> Sequence[Array]:
    """Runs the initialisation subgraph the first time that this interpreter comes by."""
    index = _subgraph(node, "init_subgraph_index", node.operator.options.init_subgraph_index, 0)
    key = ("call_once", index)
    if key not in runtime.resources:
        runtime.resources[key] = True
        runtime.invoke_subgraph(index, [])
    return []


@kernel("STABLEHLO_COMPOSITE")
def composite(node: Node, inputs: Sequence[Array | None], runtime: Runtime) -> Sequence[Array]:
    """Runs the subgraph that decomposes the named operation.

    Arguments and results of any dtype and shape, by position.
    """
    arguments = [operand(node, inputs, i, "argument") for i in range(len(inputs))]
    index = node.operator.options.decomposition_subgraph_index
    return runtime.invoke_subgraph(
        _subgraph(node, "decomposition_subgraph_index", index, len(arguments)), arguments
    )


@kernel("VAR_HANDLE")
def var_handle(node: Node, inputs: Sequence[Array | None], runtime: Runtime) -> Sequence[Array]:
    """A handle: the (container, name) under which the variable's value is kept.

    Output: one resource, shape [1].
    """
    options = node.operator.options
    handle = np.empty((1,), object)
    handle[0] = ("variable", str(options.container), str(options.shared_name))
    return [handle]


def _handle(node: Node, value: Array) -> object:
    if value.dtype != object or value.size != 1:
        fail(node, "input 0 (handle)", f"{value.dtype}{list(value.shape)}", "a resource made by VAR_HANDLE")
    return value.reshape(-1)[0]


@kernel("READ_VARIABLE")
def read_variable(node: Node, inputs: Sequence[Array | None], runtime: Runtime) -> Sequence[Array]:
    """The value last assigned to the variable.

    Any dtype and shape: those of the value that was assigned.
    """
    key = _handle(node, operand(node, inputs, 0, "handle"))
    if key not in runtime.resources:
        fail(node, f"variable {key}", "unassigned", "assigned before it is read")
    return [runtime.resources[key]]


@kernel("ASSIGN_VARIABLE")
def assign_variable(node: Node, inputs: Sequence[Array | None], runtime: Runtime) -> Sequence[Array]:
    """Keeps input 1 as the variable's value until the next assignment.

    Any dtype and shape; the variable takes both.
    """
    key = _handle(node, operand(node, inputs, 0, "handle"))
    runtime.resources[key] = operand(node, inputs, 1, "value").copy()
    return []
