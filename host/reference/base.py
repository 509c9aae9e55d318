"""The registry of reference kernels and what a kernel may ask of the run that calls it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from nnapi_toolkit.delegate.graph import Node

Array = NDArray[Any]


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


Kernel = Callable[[Node, Sequence[Array | None], Runtime], Sequence[Array]]

KERNELS: dict[str, Kernel] = {}


def kernel(*names: str) -> Callable[[Kernel], Kernel]:
    """Registers a function as the reference kernel of the named builtin operators ("CONV_2D")."""

    def register(function: Kernel) -> Kernel:
        for name in names:
            if name in KERNELS:
                raise ValueError(f"operator {name} has two reference kernels")
            KERNELS[name] = function
        return function

    return register
