"""Which tensors TFLite's interpreter holds for dynamic: of a shape that it learns only while running.

An interpreter takes no static delegate once it has met such a tensor. A tensor becomes dynamic where an operator's output
shape depends on an input that is neither a constant nor "persistent": computed while preparing, because everything behind it
was known. The table says which inputs those are, operator by operator.
"""

from __future__ import annotations

from nnapi_toolkit.delegate.graph import Graph, Operator, Subgraph
from nnapi_toolkit.schema.enums import TensorType

#: Inputs that must be known while preparing, or the outputs are dynamic.
_SHAPE_INPUTS: dict[str, tuple[int, ...]] = {
    "ARG_MAX": (1,),
    "ARG_MIN": (1,),
    "BATCH_TO_SPACE_ND": (1, 2),
    "BROADCAST_TO": (1,),
    "CONV_3D_TRANSPOSE": (0,),
    "DILATE": (1,),
    "EXPAND_DIMS": (1,),
    "FILL": (0,),
    "MEAN": (1,),
    "MIRROR_PAD": (1,),
    "MULTINOMIAL": (0, 1),
    "NON_MAX_SUPPRESSION_V4": (2,),
    "NON_MAX_SUPPRESSION_V5": (2,),
    "ONE_HOT": (1,),
    "PAD": (1,),
    "PADV2": (1,),
    "RANDOM_STANDARD_NORMAL": (0,),
    "RANDOM_UNIFORM": (0,),
    "RANGE": (0, 1, 2),
    "REDUCE_ALL": (1,),
    "REDUCE_ANY": (1,),
    "REDUCE_MAX": (1,),
    "REDUCE_MIN": (1,),
    "REDUCE_PROD": (1,),
    "RESHAPE": (1,),
    "RESIZE_BILINEAR": (1,),
    "RESIZE_NEAREST_NEIGHBOR": (1,),
    "RFFT2D": (1,),
    "SCATTER_ND": (2,),
    "SEGMENT_SUM": (0, 1),
    "SLICE": (1, 2),
    "SPACE_TO_BATCH_ND": (1, 2),
    "SPARSE_TO_DENSE": (1,),
    "SPLIT": (0,),
    "SPLIT_V": (1, 2),
    "STRIDED_SLICE": (1, 2, 3),
    "SUM": (1,),
    "TILE": (1,),
    "TOPK_V2": (1,),
    "TRANSPOSE": (1,),
    "TRANSPOSE_CONV": (0,),
    "UNSORTED_SEGMENT_MAX": (1, 2),
    "UNSORTED_SEGMENT_MIN": (1, 2),
    "UNSORTED_SEGMENT_PROD": (1, 2),
    "UNSORTED_SEGMENT_SUM": (1, 2),
    "WHERE": (0,),
}

#: Operators whose outputs are always dynamic.
_ALWAYS = frozenset({"UNIQUE", "EMBEDDING_LOOKUP_SPARSE"})

#: Operators that are computed while preparing when all their inputs are known: the output is persistent.
_PERSISTENT = frozenset(
    {
        "BROADCAST_ARGS",
        "CONCATENATION",
        "GATHER",
        "MUL",
        "RANGE",
        "REDUCE_PROD",
        "RESHAPE",
        "STRIDED_SLICE",
        "TILE",
    }
)

#: Operators that look at their input's shape only.
_SHAPE_ONLY = frozenset({"SHAPE", "RANK"})

#: Operators whose outputs are dynamic when the model leaves a dimension of input 0 open.
_NEED_SIGNATURE = frozenset({"SLICE", "TOPK_V2"})

_DYNAMIC_TYPES = frozenset({TensorType.STRING, TensorType.RESOURCE, TensorType.VARIANT})


def dynamic_tensor(graph: Graph, subgraph: Subgraph) -> int | None:
    """The first tensor, in order of execution, that TFLite makes dynamic; None when all shapes are known beforehand."""
    return _Preparation(graph, subgraph, frozenset()).find()


class _Preparation:
    """TFLite's preparation of one subgraph, as far as dynamic tensors go."""

    def __init__(self, graph: Graph, subgraph: Subgraph, above: frozenset[int]) -> None:
        self.graph = graph
        self.subgraph = subgraph
        self.above = above | {subgraph.index}
        self.known = {t.index for t in subgraph.tensors if t.is_constant}

    def find(self) -> int | None:
        """The first dynamic tensor."""
        tensors = self.subgraph.tensors
        for index in self.subgraph.outputs:
            if tensors[index].type in _DYNAMIC_TYPES and index not in self.known:
                return index
        for operator in self.subgraph.operators:
            if self._makes_dynamic(operator):
                return next((t for t in operator.outputs if t >= 0), None)
            for index in operator.outputs:
                if index >= 0 and tensors[index].type in _DYNAMIC_TYPES:
                    return index
            name = operator.name
            if name in _SHAPE_ONLY or (name in _PERSISTENT and self._all_known(operator)):
                self.known.update(t for t in operator.outputs if t >= 0)
        return None

    def _all_known(self, operator: Operator) -> bool:
        return all(t in self.known for t in operator.inputs if t >= 0)

    def _makes_dynamic(self, operator: Operator) -> bool:
        name, inputs = operator.name, operator.inputs
        if operator.custom_code is not None or not operator.outputs:
            return False
        if name in _ALWAYS:
            return True
        if name == "IF":
            return self._if_is_dynamic(operator)
        if name == "WHILE":
            return self._while_is_dynamic(operator)
        tensors = self.subgraph.tensors
        if name == "READ_VARIABLE":
            return not tensors[operator.outputs[0]].shape
        if name in ("PAD", "PADV2") and not tensors[inputs[0]].shape:
            return True
        if name in _NEED_SIGNATURE and -1 in (tensors[inputs[0]].shape_signature or ()):
            return True
        positions = _SHAPE_INPUTS.get(name, ())
        if name == "STRIDED_SLICE" and operator.options.offset:
            positions = (3,)
        return any(p < len(inputs) and inputs[p] >= 0 and inputs[p] not in self.known for p in positions)

    def _has_dynamic(self, index: int) -> bool:
        """True when a called subgraph has a dynamic tensor itself."""
        if not 0 <= index < len(self.graph.subgraphs) or index in self.above:
            return False
        return _Preparation(self.graph, self.graph.subgraphs[index], self.above).find() is not None

    def _if_is_dynamic(self, operator: Operator) -> bool:
        branches = operator.options.then_subgraph_index, operator.options.else_subgraph_index
        if any(self._has_dynamic(b) for b in branches):
            return True
        then, other = (self.graph.subgraphs[b] for b in branches)
        return any(then.tensors[a].shape != other.tensors[b].shape for a, b in zip(then.outputs, other.outputs))

    def _while_is_dynamic(self, operator: Operator) -> bool:
        index = operator.options.body_subgraph_index
        if self._has_dynamic(index):
            return True
        body = self.graph.subgraphs[index]
        for before, after in zip(body.inputs, body.outputs):
            old, new = body.tensors[before].shape, body.tensors[after].shape
            if old != new and (old[0] if old else 0) + (new[0] if new else 0) != 1:
                return True
        return False
