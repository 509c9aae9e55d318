"""Runs subgraphs, or some of their operators, on the reference kernels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, MutableMapping, Sequence
from typing import Any

import numpy as np
from nnapi_toolkit.delegate.errors import ModelError, UnsupportedError
from nnapi_toolkit.delegate.graph import Graph, Node, Subgraph, Tensor
from nnapi_toolkit.reference import find_custom_kernel, find_kernel
from nnapi_toolkit.reference.base import Array, Kernel, Value
from nnapi_toolkit.reference.blas import blas_threads
from nnapi_toolkit.reference.quantized import zero_point_of

#: Subgraphs that call each other deeper than this do so without end.
MAX_DEPTH = 64

#: Bytes of what an executor keeps between runs because it follows from constants; past it, it is made anew each time.
MEMO_BYTES = 16 << 20


class ReferenceExecutor:
    """The CPU reference for one graph: holds its variables, resources, and what it keeps of constants.

    Two ways to use it: `run` for a whole subgraph; `begin` and `run_operators` for a caller that walks a plan and keeps
    the values itself. Not for several threads at once.

    Args:
        graph: The model.
        keep_intermediates: Leave all tensors in the caller's dict, instead of dropping each after its last use.
        memo_bytes: Limit for what is kept between runs because it follows from constants: sums of weights, dequantised
            constants. Weights themselves are read from the mapped file.
        reference_order: True forms float32 sums in the order of LiteRT's reference kernels, so that convolutions
            and their like agree with them to the bit; False leaves the order to BLAS, which takes a quarter of the
            time for large products.
        blas_threads: Threads for matrix products; None leaves the number as it is.
    """

    def __init__(
        self,
        graph: Graph,
        *,
        keep_intermediates: bool = False,
        memo_bytes: int = MEMO_BYTES,
        reference_order: bool = True,
        blas_threads: int | None = 1,
    ) -> None:
        self.graph = graph
        self.reference_order = reference_order
        self.keep_intermediates = keep_intermediates
        self.blas_threads = blas_threads
        self.resources: dict[Any, Any] = {}
        self._variables: dict[tuple[int, int], Array] = {}
        self._memo: dict[tuple[int, int, str], Any] = {}
        self._memo_left = memo_bytes
        self._nodes: dict[tuple[int, int], tuple[Node, Kernel]] = {}
        self._frames: dict[int, _Frame] = {}
        self._depth = 0

    def reset(self) -> None:
        """Sets variable tensors back to zero and forgets resource variables and hash tables."""
        self._variables.clear()
        self.resources.clear()

    def run(self, subgraph: int, inputs: Sequence[Array]) -> list[Array]:
        """Runs a whole subgraph.

        Args:
            subgraph: Its index.
            inputs: Arrays in its input order; shapes may differ from the file's where the model allows it.

        Returns:
            Arrays in its output order.

        Raises:
            ModelError: An attribute or operand is out of the range that its operator takes.
            UnsupportedError: No kernel for an operator.
        """
        graph = self._subgraph(subgraph)
        if len(inputs) != len(graph.inputs):
            raise ModelError(
                f"subgraphs[{subgraph}]", f"takes {len(graph.inputs)} inputs, {len(inputs)} were given"
            )
        if self._depth >= MAX_DEPTH:
            raise ModelError(f"subgraphs[{subgraph}]", f"is called more than {MAX_DEPTH} subgraphs deep")
        values: dict[int, Array] = dict(zip(graph.inputs, inputs))
        frame = _Frame(self, graph)
        self._depth += 1
        try:
            with blas_threads(self.blas_threads):
                frame.run((operator.index for operator in graph.operators), values)
        finally:
            self._depth -= 1
        return [frame.value(values, index, f"outputs[{place}]") for place, index in enumerate(graph.outputs)]

    def begin(self, subgraph: int, values: MutableMapping[int, Array]) -> None:
        """Starts one inference that `run_operators` carries out: from here the uses of each tensor are counted.

        Args:
            subgraph: Its index.
            values: The dict that will be handed to `run_operators`, with the inputs in it.
        """
        self._frames[subgraph] = _Frame(self, self._subgraph(subgraph))

    def run_operators(
        self, subgraph: int, operators: Iterable[int], values: MutableMapping[int, Array]
    ) -> None:
        """Runs the given operators in the given order.

        Reads and writes `values` (tensor index to array); constants and variables need not be there. A tensor whose
        consumers have all run here is dropped, unless it is an input or output of the subgraph.

        Raises:
            ModelError, UnsupportedError: As `run`.
        """
        frame = self._frames.get(subgraph)
        if frame is None:
            frame = self._frames[subgraph] = _Frame(self, self._subgraph(subgraph))
        with blas_threads(self.blas_threads):
            frame.run(operators, values)

    # -- what frames ask for ------------------------------------------------------------------------------------

    def _subgraph(self, index: int) -> Subgraph:
        if not 0 <= index < len(self.graph.subgraphs):
            raise ModelError(
                f"subgraphs[{index}]", f"does not exist: the model has {len(self.graph.subgraphs)}"
            )
        return self.graph.subgraphs[index]

    def node(self, subgraph: Subgraph, index: int) -> tuple[Node, Kernel]:
        """The node and its kernel, looked up once."""
        key = (subgraph.index, index)
        if key not in self._nodes:
            operator = subgraph.operators[index]
            found = (
                find_custom_kernel(operator.custom_code)
                if operator.custom_code
                else find_kernel(operator.name)
            )
            if found is None:
                kind = "custom operator: register one with @custom_op" if operator.custom_code else "operator"
                raise UnsupportedError(operator.name, index, f"no reference kernel for this {kind}")
            self._nodes[key] = (Node(self.graph, subgraph, operator), found)
        return self._nodes[key]

    def variable(self, tensor: Tensor, subgraph: int) -> Array:
        """The value of a variable tensor; what stands for zero at first (for int8 the zero point)."""
        key = (subgraph, tensor.index)
        if key not in self._variables:
            start = zero_point_of(tensor) if tensor.dtype == np.int8 else 0
            self._variables[key] = np.full(tensor.shape, start, tensor.dtype)
        return self._variables[key]

    def set_variable(self, subgraph: int, tensor: int, value: Array) -> None:
        """Keeps the value of a variable tensor."""
        self._variables[subgraph, tensor] = value

    def memo(self, node: Node, key: str, build: Callable[[], Value], size: int) -> Value:
        """`build()`, kept as long as the budget of this executor allows."""
        where = (node.subgraph.index, node.operator.index, key)
        if where in self._memo:
            found: Value = self._memo[where]
            return found
        value = build()
        if size <= self._memo_left:
            self._memo_left -= size
            self._memo[where] = value
        return value


class _Frame:
    """One run through one subgraph: what kernels see as their `Runtime`."""

    def __init__(self, executor: ReferenceExecutor, subgraph: Subgraph) -> None:
        self._executor = executor
        self._subgraph = subgraph
        uses: Counter[int] = Counter()
        for operator in subgraph.operators:
            uses.update(operator.inputs)
        uses.update(subgraph.inputs)
        uses.update(subgraph.outputs)
        self._uses = uses

    def run(self, operators: Iterable[int], values: MutableMapping[int, Array]) -> None:
        """Runs operators by index, dropping what no later one needs."""
        drop = not self._executor.keep_intermediates
        for index in operators:
            node, function = self._executor.node(self._subgraph, index)
            operator = node.operator
            inputs = [
                None if tensor < 0 else self.value(values, tensor, f"operators[{index}].inputs[{place}]")
                for place, tensor in enumerate(operator.inputs)
            ]
            outputs = self._call(node, function, inputs)
            del inputs
            for tensor, array in zip(operator.outputs, outputs):
                if tensor >= 0 and (self._uses[tensor] or not drop):
                    values[tensor] = array
            if drop:
                self._release(operator.inputs, values)

    def _call(self, node: Node, function: Kernel, inputs: Sequence[Array | None]) -> Sequence[Array]:
        """The kernel's outputs.

        Raises:
            ModelError: Its operands do not fit each other in a way that the kernel has no message of its own for.
        """
        try:
            return function(node, inputs, self)
        except (ValueError, IndexError, TypeError, ArithmeticError) as error:
            if node.operator.custom_code:  # the author of the operator wants to see the error as it is
                raise
            where = f"subgraphs[{self._subgraph.index}].operators[{node.operator.index}]"
            given = ", ".join("none" if a is None else f"{a.dtype}{list(a.shape)}" for a in inputs)
            raise ModelError(where, f"{node.operator.name}: inputs {given} do not fit: {error}") from error

    def _release(self, tensors: Sequence[int], values: MutableMapping[int, Array]) -> None:
        for tensor in tensors:
            self._uses[tensor] -= 1
            if self._uses[tensor] == 0:
                values.pop(tensor, None)

    def value(self, values: MutableMapping[int, Array], index: int, where: str) -> Array:
        """The value of a tensor: computed, variable or constant.

        Raises:
            ModelError: Nothing has computed it.
        """
        if index in values:
            return values[index]
        tensor = self._subgraph.tensors[index]
        if tensor.is_variable:
            return self._executor.variable(tensor, self._subgraph.index)
        data = tensor.data
        if data is None:
            path = f"subgraphs[{self._subgraph.index}].{where}"
            raise ModelError(path, f"tensor {index} '{tensor.name}' is used before anything has computed it")
        return data

    # -- Runtime ------------------------------------------------------------------------------------------------

    def invoke_subgraph(self, index: int, inputs: Sequence[Array]) -> list[Array]:
        """Runs another subgraph."""
        return self._executor.run(index, inputs)

    def variable(self, tensor_index: int) -> Array:
        """The value of a variable tensor of this subgraph."""
        return self._executor.variable(self._subgraph.tensors[tensor_index], self._subgraph.index)

    def set_variable(self, tensor_index: int, value: Array) -> None:
        """Keeps the value of a variable tensor of this subgraph."""
        self._executor.set_variable(self._subgraph.index, tensor_index, value)

    @property
    def resources(self) -> dict[Any, Any]:
        """Resource variables and hash tables of this executor."""
        return self._executor.resources

    @property
    def reference_order(self) -> bool:
        """Whether float sums take the reference's order."""
        return self._executor.reference_order

    def memo(self, node: Node, key: str, build: Callable[[], Value], size: int = 0) -> Value:
        """`build()`, or what it gave before."""
        return self._executor.memo(node, key, build, size)
