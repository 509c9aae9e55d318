"""What a plan leaves to the CPU, on software NNAPI on the device itself: its tensors then never cross the cable.

The second planning. Each CPU step of a finished plan is cut once more, into what software NNAPI can run (feature level 8, every
operation) and what only the host's CPU reference can. The order of the steps stays as it was: nothing has to be judged again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from nnapi_toolkit.delegate.decide import decide
from nnapi_toolkit.delegate.epochs import Epoch, cut, dependencies
from nnapi_toolkit.delegate.graph import Subgraph
from nnapi_toolkit.delegate.partition import Partition, Plan, Step, Supports, Verdict, boundary
from nnapi_toolkit.delegate.program import lower_partition
from nnapi_toolkit.delegate.rewrites import EXACT
from nnapi_toolkit.delegate.target import FEATURE_LEVELS, Target

#: (subgraph, operator) -> the rewrite that makes it acceptable, None where it is as it stands.
Accepted = dict[tuple[int, int], str | None]


def with_softnn(plan: Plan, supports: Supports | None = None) -> Plan:
    """The same plan, with partitions for software NNAPI on the device (`target` is `softnn`) out of its CPU steps.

    Whatever the reason that a node is on the CPU for, it may go there; `Verdict.refusal` keeps the reason. Only rewrites that
    leave results as they are bit for bit are used. Partitions are numbered anew, in order of execution. One between nodes that only
    the host has stays there, if it multiplies nothing and its tensors would cross the cable more on the device.

    Args:
        plan: A finished plan.
        supports: Asks software NNAPI on the device which operations of a program it takes; without it, all.
    """
    target = Target(
        max(FEATURE_LEVELS),
        allow_fp16=plan.target is not None and plan.target.allow_fp16,
        rewrites=plan.options.rewrite_names & EXACT,
    )
    accepted = _accepted(plan, target)
    while True:
        result = _refined(plan, target, accepted)
        left = _detours(result) or _refused(result, supports)
        if not left:
            return result
        for node in left:
            accepted.pop(node, None)


def _accepted(plan: Plan, target: Target) -> Accepted:
    """Nodes on the CPU that the rules let through; folded ones, which do nothing, left out."""
    found: Accepted = {}
    for verdict in (v for verdicts in plan.verdicts for v in verdicts):
        if verdict.target == "cpu" and verdict.index not in plan.folded[verdict.subgraph]:
            decision = decide(plan.view.nodes(verdict.subgraph)[verdict.index], target)
            if decision.reason is None:
                rewrite = None if decision.rewrite is None else decision.rewrite.name
                found[verdict.subgraph, verdict.index] = rewrite
    return found


def _refused(plan: Plan, supports: Supports | None) -> set[tuple[int, int]]:
    """Nodes that software NNAPI itself does not take."""
    found: set[tuple[int, int]] = set()
    if supports is None:
        return found
    for partition in plan.partitions:
        if partition.target == "softnn":
            program = lower_partition(plan, partition)
            answers = zip(program.operation_nodes, supports(program))
            found |= {(partition.subgraph, node) for node, takes in answers if not takes}
    return found


def _detours(plan: Plan) -> set[tuple[int, int]]:
    """Nodes of the first partition in each subgraph that would only send tensors to the device and back."""
    found: set[tuple[int, int]] = set()
    for subgraph in plan.view.subgraphs:
        where = {node: step.partition for step in plan.steps(subgraph.index) for node in step.nodes}
        for partition in plan.partitions:
            own = partition.target == "softnn" and partition.subgraph == subgraph.index
            if own and not any(plan.cost(subgraph.index, n).macs for n in partition.nodes) and _detour(subgraph, partition, where):
                found |= {(subgraph.index, node) for node in partition.nodes}
                break  # the others have new neighbours now
    return found


def _detour(subgraph: Subgraph, partition: Partition, where: Mapping[int, int | None]) -> bool:
    """Whether more bytes cross with the partition on the device than without it, for the sake of nodes on the host."""
    there = here = 0
    to_host = False
    for index in partition.inputs:
        tensor = subgraph.tensors[index]
        producer = subgraph.producer(index)
        others = [where.get(user.index) for user in subgraph.consumers(index) if user.index not in partition.nodes]
        made_there = producer is not None and where.get(producer.index) is not None
        if tensor.is_variable:
            there += 2 * tensor.byte_size  # its value lives on the host
        elif made_there:
            here += tensor.byte_size if None not in others and index not in subgraph.outputs else 0
        else:
            there += tensor.byte_size if all(other is None for other in others) else 0
            to_host = to_host or producer is not None
    for index in partition.outputs:
        users = [where.get(user.index) for user in subgraph.consumers(index) if user.index not in partition.nodes]
        to_host = to_host or None in users
        there += subgraph.tensors[index].byte_size if None in users or index in subgraph.outputs else 0
        here += subgraph.tensors[index].byte_size if any(user is not None for user in users) else 0
    return to_host and there > here


def _refined(plan: Plan, target: Target, accepted: Accepted) -> Plan:
    partitions: list[Partition] = []
    steps = []
    for subgraph in plan.graph.subgraphs:
        own: list[Step] = []
        for step in _steps(plan, subgraph.index, accepted):
            if isinstance(step, Partition):
                partitions.append(replace(step, index=len(partitions)))
                own.append(Step(partitions[-1].index, step.nodes))
            else:
                own.append(Step(None, step.nodes))
        steps.append(tuple(own))
    place = {(p.subgraph, node): p for p in partitions for node in p.nodes}
    verdicts = tuple(tuple(_verdict(v, plan, place, accepted) for v in row) for row in plan.verdicts)
    return replace(
        plan, verdicts=verdicts, partitions=tuple(partitions), softnn_target=target, _steps=tuple(steps), _programs=None
    )


def _verdict(verdict: Verdict, plan: Plan, place: Mapping[tuple[int, int], Partition], accepted: Accepted) -> Verdict:
    node = (verdict.subgraph, verdict.index)
    partition = place.get(node)
    if partition is None:
        return replace(verdict)
    moved = replace(verdict, partition=partition.index, target=partition.target)
    if verdict.target == "cpu" and verdict.index in plan.folded[verdict.subgraph]:
        moved.refusal = None  # it came along with its consumers: it is no constant that the CPU needs any more
    moved.rewrite = accepted.get(node, verdict.rewrite)
    return moved


def _steps(plan: Plan, subgraph: int, accepted: Accepted) -> list[Partition | Epoch]:
    """The steps of a subgraph; partitions in the place of those that stay, and of what software NNAPI takes of CPU steps."""
    folded = plan.folded[subgraph]
    operators = plan.view.subgraphs[subgraph].operators
    waits = dependencies(plan.view.subgraphs[subgraph], frozenset(t for n in folded for t in operators[n].outputs))
    found: list[Partition | Epoch] = []
    for step in plan.steps(subgraph):
        if step.partition is not None:
            found.append(plan.partitions[step.partition])
        else:
            found += _cut(plan, subgraph, step, waits, accepted)
    return _place_folded(plan, subgraph, found)


def _cut(plan: Plan, subgraph: int, step: Step, waits: list[list[int]], accepted: Accepted) -> list[Partition | Epoch]:
    """One CPU step in parts. What takes no tensor that is made at run time stays: an NNAPI model has an input."""
    folded = plan.folded[subgraph]
    real = [node for node in step.nodes if node not in folded]
    place = {node: position for position, node in enumerate(real)}
    compact = [[place[w] for w in waits[node] if w in place] for node in real]
    taken = [(subgraph, node) in accepted for node in real]
    view = plan.view.subgraphs[subgraph]
    while True:
        epochs = [Epoch(e.delegated, tuple(real[n] for n in e.nodes)) for e in cut(compact, taken)]
        found: list[Partition | Epoch] = []
        for epoch in epochs:
            partition = boundary(view, epoch.nodes)
            if epoch.delegated and not partition.inputs:
                for node in epoch.nodes:
                    taken[place[node]] = False
                break
            found.append(replace(partition, target="softnn") if epoch.delegated else epoch)
        else:
            rest = tuple(node for node in step.nodes if node in folded)
            return [Epoch(False, rest), *found] if rest else found


def _place_folded(plan: Plan, subgraph: int, steps: list[Partition | Epoch]) -> list[Partition | Epoch]:
    """Folded nodes that no CPU step needs any more go to the partition that uses them."""
    view = plan.view.subgraphs[subgraph]
    home = {node: number for number, step in enumerate(steps) for node in step.nodes}
    for node in sorted(plan.folded[subgraph], reverse=True):
        operator = view.operators[node]
        users = {home[user.index] for t in operator.outputs for user in view.consumers(t)}
        visible = any(t in view.outputs for t in operator.outputs)
        unneeded = isinstance(steps[home[node]], Epoch) and users and not visible
        if unneeded and all(isinstance(steps[user], Partition) for user in users):
            home[node] = min(users)
    moved: list[Partition | Epoch] = []
    for number, step in enumerate(steps):
        nodes = tuple(sorted(node for node, at in home.items() if at == number))
        if nodes:
            moved.append(replace(step, nodes=nodes))
    return moved
