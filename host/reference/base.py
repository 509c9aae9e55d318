"""The registry of reference kernels and what a kernel may ask of the run that calls it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NoReturn, Protocol, TypeVar

import numpy as np
from nnapi_toolkit.delegate.errors import ModelError
from nnapi_toolkit.delegate.graph import Node, Tensor
from nnapi_toolkit.reference.blocks import in_blocks
from numpy.typing import NDArray

Array = NDArray[Any]
Value = TypeVar("Value")


class Runtime(Protocol):
    """What a kernel may ask of its run: subgraphs for control flow, variables that outlive one invocation."""

    def invoke_subgraph(self, index: int, inputs: Sequence[Array]) -> list[Array]:
        """Runs subgraph `index`; arrays in its input order, results in its output order."""
        ...

    def variable(self, tensor_index: int) -> Array:
        """The current value of a variable tensor of the node's subgraph (zeros at first)."""
        ...

    def set_variable(self, tensor_index: int, value: Array) -> None:
        """Stores the new value of a variable tensor."""
        ...

    @property
    def resources(self) -> dict[Any, Any]:
        """Resource variables and hash tables of this interpreter, by (container, name)."""
        ...

    @property
    def reference_order(self) -> bool:
        """Form float32 sums in the order of LiteRT's reference kernels, so that they agree to the bit."""
        ...

    def memo(self, node: Node, key: str, build: Callable[[], Value], size: int = 0) -> Value:
        """`build()`, or what it gave before for this node and key, as far as `size` bytes fit the run's budget.

        For values that depend on constants only, such as the sums of a layer's weights.
        """
        ...


Kernel = Callable[[Node, Sequence[Array | None], Runtime], Sequence[Array]]

KERNELS: dict[str, Kernel] = {}
CUSTOM_KERNELS: dict[str, Kernel] = {}


def kernel(*names: str, elementwise: bool = False) -> Callable[[Kernel], Kernel]:
    """Registers a function as the reference kernel of the named builtin operators ("CONV_2D").

    Args:
        names: Of the operators.
        elementwise: Each element of the one output depends on the elements at its place alone, after broadcasting: large
            operands are handed over in blocks.
    """

    def register(function: Kernel) -> Kernel:
        for name in names:
            if name in KERNELS:
                raise ValueError(f"operator {name} has two reference kernels")
            KERNELS[name] = in_blocks(function) if elementwise else function
        return function

    return register


def custom_op(name: str, *, replace: bool = False) -> Callable[[Kernel], Kernel]:
    """Registers a function as the kernel of the custom operator `name`, for every session of this process.

    The function has the form of a builtin's kernel: `(node, inputs, runtime) -> outputs`, where
    `node.operator.custom_options` holds the options' bytes; `nnapi_toolkit.reference.custom.flexbuffer` decodes the
    usual form.

    Args:
        name: The custom code of the operator, as `nnapi inspect` shows it.
        replace: Take the place of a kernel that is there already.

    Raises:
        ValueError: The name has a kernel and `replace` is False.
    """

    def register(function: Kernel) -> Kernel:
        if name in CUSTOM_KERNELS and not replace:
            raise ValueError(f"custom operator {name} has a kernel already: pass replace=True to take its place")
        CUSTOM_KERNELS[name] = function
        return function

    return register


def fail(node: Node, what: str, value: object, rule: object) -> NoReturn:
    """Refuses a node: names the operator, the attribute or operand, its value and what it must be.

    Raises:
        ModelError: Always.
    """
    operator = node.operator
    where = f"subgraphs[{node.subgraph.index}].operators[{operator.index}]"
    raise ModelError(where, f"{operator.name}: {what} is {value}, must be {rule}")


def operand(node: Node, inputs: Sequence[Array | None], index: int, name: str) -> Array:
    """Input `index` of the node, which must be there.

    Raises:
        ModelError: It is omitted.
    """
    value = inputs[index] if index < len(inputs) else None
    if value is None:
        fail(node, f"input {index} ({name})", "omitted", "given")
    return value


def require_shape(node: Node, value: Array | None, what: str, *shape: int) -> None:
    """Refuses a given operand of another shape.

    Raises:
        ModelError: It has another shape.
    """
    if value is not None and value.shape != shape:
        fail(node, f"shape of {what}", list(value.shape), list(shape))


def optional(inputs: Sequence[Array | None], index: int) -> Array | None:
    """Input `index`, or None when it is omitted or past the end of the list."""
    return inputs[index] if index < len(inputs) else None


def tensor_in(node: Node, index: int) -> Tensor:
    """The tensor of input `index`, which must be there."""
    tensor = node.input(index)
    if tensor is None:
        fail(node, f"input {index}", "omitted", "given")
    return tensor


def from_constants(node: Node, *positions: int) -> bool:
    """True when all given inputs (omitted ones count) are constants of the model."""
    for position in positions:
        if position < len(node.operator.inputs):
            tensor = node.input(position)
            if tensor is not None and not tensor.is_constant:
                return False
    return True


def axis_of(node: Node, axis: int, rank: int, what: str = "axis") -> int:
    """A possibly negative axis as an index below `rank`.

    Raises:
        ModelError: Past the rank.
    """
    wanted = axis + rank if axis < 0 else axis
    if not 0 <= wanted < rank:
        fail(node, what, axis, f"from {-rank} to {rank - 1} (rank {rank})")
    return wanted


def require_type(node: Node, value: Array, what: str, *dtypes: type[np.generic]) -> None:
    """Refuses an operand whose dtype is not in the list."""
    if value.dtype.type not in dtypes:
        names = ", ".join(np.dtype(d).name for d in dtypes)
        fail(node, what, value.dtype.name, f"one of {names}")


MAX_ELEMENTS = 2**31 - 1


def check_shape(node: Node, shape: Sequence[int], what: str = "output shape") -> tuple[int, ...]:
    """Returns the shape, or refuses negative dimensions and more elements than an int32 counts."""
    total = 1
    for size in shape:
        if size < 0:
            fail(node, what, list(shape), "without negative dimensions")
        total *= int(size)
    if total > MAX_ELEMENTS:
        fail(node, what, list(shape), f"of at most {MAX_ELEMENTS} elements")
    return tuple(int(size) for size in shape)
