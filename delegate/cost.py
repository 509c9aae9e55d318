"""What a plan costs, roughly: multiply-accumulates, bytes that cross a boundary, and time estimated from both.

The numbers of the model are not measurements. They order plans: a plan with fewer multiply-accumulates on the CPU, fewer
boundaries and fewer bytes across them costs less.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod

from nnapi_toolkit.delegate.graph import Node, Tensor

#: Microseconds per multiply-accumulate on the host's CPU and on an accelerator.
CPU_US_PER_MAC = 1 / 2_000
DEVICE_US_PER_MAC = 1 / 20_000
#: Microseconds per byte read or written by a node on the CPU, and per byte that crosses between host and device.
CPU_US_PER_BYTE = 1 / 2_000
DEVICE_US_PER_BYTE = 1 / 8_000
BOUNDARY_US_PER_BYTE = 1 / 500
#: Microseconds that each partition costs whatever it holds.
PARTITION_US = 60.0
#: Microseconds that each node costs on the CPU whatever it does.
CPU_NODE_US = 30.0


def _shape(tensor: Tensor | None) -> tuple[int, ...]:
    return tensor.shape if tensor is not None else ()


def _convolution(node: Node) -> int:
    kernel = _shape(node.input(1))
    return prod(node.output(0).shape) * prod(kernel[1:]) if len(kernel) == 4 else 0


def _depthwise(node: Node) -> int:
    kernel = _shape(node.input(1))
    return prod(node.output(0).shape) * prod(kernel[1:3]) if len(kernel) == 4 else 0


def _transposed(source: int) -> Callable[[Node], int]:
    def count(node: Node) -> int:
        kernel = _shape(node.input(1))
        return prod(_shape(node.input(source))) * prod(kernel[:3]) if len(kernel) == 4 else 0

    return count


def _convolution_3d(node: Node) -> int:
    kernel = _shape(node.input(1))
    return prod(node.output(0).shape) * prod(kernel[:4]) if len(kernel) == 5 else 0


def _fully_connected(node: Node) -> int:
    weights = _shape(node.input(1))
    return prod(node.output(0).shape) * weights[1] if len(weights) == 2 else 0


def _matmul(node: Node) -> int:
    left = _shape(node.input(0))
    if len(left) < 2:
        return 0
    return prod(node.output(0).shape) * (left[-2] if node.options.adj_x else left[-1])


def _recurrent(node: Node) -> int:
    """All matrices of a recurrent operator once per batch item and time step."""
    x = _shape(node.input(0))
    weights = [t for t in node.inputs[1:] if t is not None and len(t.shape) == 2 and t.is_constant]
    steps = prod(x[:-1]) if x else 0
    return steps * sum(prod(t.shape) for t in weights)


_COUNTERS: dict[str, Callable[[Node], int]] = {
    "CONV_2D": _convolution,
    "DEPTHWISE_CONV_2D": _depthwise,
    "TRANSPOSE_CONV": _transposed(2),
    "Convolution2DTransposeBias": _transposed(0),
    "CONV_3D": _convolution_3d,
    "FULLY_CONNECTED": _fully_connected,
    "BATCH_MATMUL": _matmul,
    "LSTM": _recurrent,
    "UNIDIRECTIONAL_SEQUENCE_LSTM": _recurrent,
    "BIDIRECTIONAL_SEQUENCE_LSTM": _recurrent,
    "RNN": _recurrent,
    "UNIDIRECTIONAL_SEQUENCE_RNN": _recurrent,
    "BIDIRECTIONAL_SEQUENCE_RNN": _recurrent,
    "SVDF": _recurrent,
}


def macs(node: Node) -> int:
    """Multiply-accumulates of a node's matrix products and convolutions; 0 for everything else."""
    counter = _COUNTERS.get(node.operator.name)
    return counter(node) if counter is not None else 0


def moved_bytes(node: Node) -> int:
    """Bytes that a node reads and writes, constants left out."""
    tensors = {t.index: t for t in (*node.inputs, *node.outputs) if t is not None and not t.is_constant}
    return sum(t.byte_size for t in tensors.values())


@dataclass(frozen=True, slots=True)
class NodeCost:
    """Estimated microseconds of a node here and there, and its multiply-accumulates."""

    macs: int
    cpu_us: float
    device_us: float


#: How often the body of a WHILE is taken to run.
LOOP_RUNS = 8


def node_cost(node: Node, depth: int = 0) -> NodeCost:
    """The estimate for one node; IF counts its dearer branch, WHILE some runs of its condition and body."""
    count, moved = macs(node), moved_bytes(node)
    cpu = CPU_NODE_US + count * CPU_US_PER_MAC + moved * CPU_US_PER_BYTE
    device = count * DEVICE_US_PER_MAC + moved * DEVICE_US_PER_BYTE
    if node.operator.name in ("IF", "WHILE") and node.operator.custom_code is None and depth < 4:
        o = node.options
        if node.operator.name == "IF":
            branches = [_subgraph_us(node, i, depth) for i in (o.then_subgraph_index, o.else_subgraph_index)]
            extra = max(branches)
        else:
            parts = [_subgraph_us(node, i, depth) for i in (o.cond_subgraph_index, o.body_subgraph_index)]
            extra = LOOP_RUNS * sum(p[0] for p in parts), LOOP_RUNS * sum(p[1] for p in parts)
        cpu, device = cpu + extra[0], device + extra[1]
    return NodeCost(count, cpu, device)


def _subgraph_us(node: Node, index: int, depth: int) -> tuple[float, float]:
    if not 0 <= index < len(node.graph.subgraphs):
        return 0.0, 0.0
    costs = [node_cost(inner, depth + 1) for inner in node.graph.nodes(index)]
    return sum(c.cpu_us for c in costs), sum(c.device_us for c in costs)


def partition_us(boundary_bytes: int) -> float:
    """What one partition costs beside its nodes."""
    return PARTITION_US + boundary_bytes * BOUNDARY_US_PER_BYTE


def boundary_bytes(tensors: Sequence[Tensor]) -> int:
    """Bytes of the tensors that a partition takes and gives."""
    return sum(t.byte_size for t in tensors)
