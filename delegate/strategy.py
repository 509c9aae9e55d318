"""The cost strategy: which of the acceptable nodes to delegate, judged by multiply-accumulates and boundary bytes.

All acceptable nodes are delegated, cut as TFLite cuts. Then:

* with a limit on the number of partitions, those that save most are kept (not those with most nodes);
* without one, a partition is dropped only when that is clearly right: it holds no multiply-accumulate at all, other partitions
  remain, TFLite's delegate would not take it either, and its boundary costs several times what its nodes would cost on the CPU;
* whatever TFLite's own choice would be on the same nodes is estimated too, and taken where it is estimated lower; if it holds
  fewer multiply-accumulates, partitions that lose time and that it has not are dropped until the estimate is as low: the
  result is never predicted to be slower, and never has fewer multiply-accumulates.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from nnapi_toolkit.delegate.cost import NodeCost, partition_us
from nnapi_toolkit.delegate.epochs import Epoch, cut
from nnapi_toolkit.delegate.reason import Reason

#: A partition without multiply-accumulates goes when its boundary costs so many times what its nodes save.
CLEARLY = 4.0


@dataclass(frozen=True, slots=True)
class Part:
    """What a partition's boundary amounts to.

    Attributes:
        boundary_bytes: Bytes of the tensors that go in and out.
        inputs: Number of tensors that go in.
    """

    boundary_bytes: int
    inputs: int = 1


@dataclass(frozen=True, slots=True)
class Choice:
    """The epochs chosen, and the acceptable nodes that were left out, with the reason."""

    epochs: list[Epoch]
    dropped: dict[int, Reason]


Measure = Callable[[Sequence[int]], Part]


def saving_us(nodes: Sequence[int], costs: Sequence[NodeCost], part: Part) -> float:
    """Estimated microseconds that a partition saves; negative when it costs."""
    return sum(costs[n].cpu_us - costs[n].device_us for n in nodes) - partition_us(part.boundary_bytes)


def predicted_us(epochs: Sequence[Epoch], costs: Sequence[NodeCost], measure: Measure) -> float:
    """Estimated microseconds of one inference."""
    total = sum(cost.cpu_us for cost in costs)
    return total - sum(saving_us(e.nodes, costs, measure(e.nodes)) for e in epochs if e.delegated)


def choose(
    waits: Sequence[Sequence[int]],
    accepted: frozenset[int],
    costs: Sequence[NodeCost],
    measure: Measure,
    *,
    limit: int | None,
    min_nodes: int,
    rivals: Sequence[frozenset[int]],
) -> Choice:
    """Chooses among acceptable nodes.

    Args:
        waits: For each node, the earlier nodes it waits for.
        accepted: Nodes that can be delegated.
        costs: Estimates for each node.
        measure: Tells the boundary of a set of nodes.
        limit: Highest number of partitions; None: no limit.
        min_nodes: Smallest partition in nodes.
        rivals: Other choices to beat: sets of acceptable nodes.
    """
    dropped: dict[int, Reason] = {}
    nodes = set(accepted)
    _drop_sourceless(waits, nodes, measure, dropped)
    if min_nodes > 1:
        _drop_small(waits, nodes, min_nodes, dropped)
    if limit is not None:
        _keep_best(waits, nodes, costs, measure, limit, dropped)
    else:
        kept = frozenset(n for rival in rivals for n in rival)
        _drop_burdens(waits, nodes, costs, measure, dropped, kept)
    epochs = cut(waits, [n in nodes for n in range(len(waits))])
    for rival in rivals:
        if rival == nodes:
            continue
        other = cut(waits, [n in rival for n in range(len(waits))])
        if not _allowed(other, limit, min_nodes):
            continue
        fewer_macs = sum(costs[n].macs for n in rival) < sum(costs[n].macs for n in nodes)
        if not fewer_macs and predicted_us(other, costs, measure) < predicted_us(epochs, costs, measure):
            reason = Reason("partition-cost", "the node", "dearer to delegate than to keep", "worth its boundary")
            dropped = {n: dropped.get(n, reason) for n in accepted - rival}
            epochs, nodes = other, set(rival)
        elif fewer_macs and min_nodes <= 1:
            bound = predicted_us(other, costs, measure)
            _drop_losses(waits, nodes, costs, measure, dropped, rival, bound)
            epochs = cut(waits, [n in nodes for n in range(len(waits))])
    return Choice(epochs, dropped)


def _drop_losses(
    waits: Sequence[Sequence[int]],
    nodes: set[int],
    costs: Sequence[NodeCost],
    measure: Measure,
    dropped: dict[int, Reason],
    rival: frozenset[int],
    bound: float,
) -> None:
    """While a choice with fewer multiply-accumulates is estimated to be faster: drops partitions that lose time and share nothing
    with that choice, the worst first and no more than needed. Dropping some may merge others, so look again."""
    while (excess := predicted_us(found := cut(waits, [n in nodes for n in range(len(waits))]), costs, measure) - bound) > 0:
        gains = [(saving_us(e.nodes, costs, measure(e.nodes)), e) for e in found if e.delegated and rival.isdisjoint(e.nodes)]
        losses = sorted(((gain, e) for gain, e in gains if gain < 0), key=lambda pair: pair[0])
        if not losses:
            return
        for gain, epoch in losses:
            actual = f"estimated to cost {-gain:.0f} us more than it saves"
            reason = Reason("partition-cost", "its partition", actual, "worth its boundary", None, "more supported neighbours")
            nodes.difference_update(epoch.nodes)
            dropped.update(dict.fromkeys(epoch.nodes, reason))
            excess += gain
            if excess <= 0:
                break


def _allowed(epochs: Sequence[Epoch], limit: int | None, min_nodes: int) -> bool:
    sizes = [len(e.nodes) for e in epochs if e.delegated]
    return (limit is None or len(sizes) <= limit) and min(sizes, default=min_nodes) >= min_nodes


def _partitions(waits: Sequence[Sequence[int]], nodes: set[int]) -> list[Epoch]:
    return [e for e in cut(waits, [n in nodes for n in range(len(waits))]) if e.delegated]


def _drop_sourceless(
    waits: Sequence[Sequence[int]], nodes: set[int], measure: Measure, dropped: dict[int, Reason]
) -> None:
    """Drops partitions that take no input: an NNAPI model has at least one."""
    reason = Reason("partition-inputs", "its partition", "without a run-time input", "fed by at least one tensor")
    while found := [e for e in _partitions(waits, nodes) if not measure(e.nodes).inputs]:
        for epoch in found:
            nodes.difference_update(epoch.nodes)
            dropped.update(dict.fromkeys(epoch.nodes, reason))


def _drop_small(
    waits: Sequence[Sequence[int]], nodes: set[int], min_nodes: int, dropped: dict[int, Reason]
) -> None:
    while small := [e for e in _partitions(waits, nodes) if len(e.nodes) < min_nodes]:
        for epoch in small:
            reason = Reason("partition-size", "its partition", f"{len(epoch.nodes)} nodes", f"at least {min_nodes} nodes")
            nodes.difference_update(epoch.nodes)
            dropped.update(dict.fromkeys(epoch.nodes, reason))


def _keep_best(
    waits: Sequence[Sequence[int]],
    nodes: set[int],
    costs: Sequence[NodeCost],
    measure: Measure,
    limit: int,
    dropped: dict[int, Reason],
) -> None:
    """Keeps the partitions that save most. Dropping one may merge others, so look again until the number fits."""
    while len(found := _partitions(waits, nodes)) > limit:
        ranked = sorted(found, key=lambda e: -saving_us(e.nodes, costs, measure(e.nodes)))
        for rank, epoch in enumerate(ranked[limit:], limit + 1):
            reason = Reason("partition-limit", "its partition", f"number {rank} by estimated saving", f"among the first {limit}")
            nodes.difference_update(epoch.nodes)
            dropped.update(dict.fromkeys(epoch.nodes, reason))


def _drop_burdens(
    waits: Sequence[Sequence[int]],
    nodes: set[int],
    costs: Sequence[NodeCost],
    measure: Measure,
    dropped: dict[int, Reason],
    kept: frozenset[int],
) -> None:
    """Drops partitions that hold no multiply-accumulate and clearly cost more than they save, as long as others
    remain; never those of `kept`."""
    found = _partitions(waits, nodes)
    burdens = []
    for epoch in found:
        if any(costs[n].macs or n in kept for n in epoch.nodes):
            continue
        gain = sum(costs[n].cpu_us - costs[n].device_us for n in epoch.nodes)
        price = partition_us(measure(epoch.nodes).boundary_bytes)
        if price > CLEARLY * gain:
            burdens.append((epoch, gain, price))
    if len(burdens) == len(found):
        return
    for epoch, gain, price in burdens:
        actual = f"without multiply-accumulates, estimated to save {gain:.0f} us and to cost {price:.0f} us"
        reason = Reason("partition-cost", "its partition", actual, "worth its boundary", None, "more supported neighbours")
        nodes.difference_update(epoch.nodes)
        dropped.update(dict.fromkeys(epoch.nodes, reason))
