"""Plans that a device accepts as they are, and the subgraphs that a session walks itself."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from nnapi_toolkit.delegate.graph import Graph, Operator
from nnapi_toolkit.delegate.nnapi import operation_name
from nnapi_toolkit.delegate.partition import Plan, PlanOptions, Supports, make_plan
from nnapi_toolkit.delegate.program import LoweredProgram
from nnapi_toolkit.delegate.reason import Reason
from nnapi_toolkit.delegate.selection import NodeSelection
from nnapi_toolkit.delegate.target import Target


def plan_for_device(graph: Graph, target: Target, options: PlanOptions, supports: Supports) -> Plan:
    """A plan whose partitions the device supports as they come out.

    Planning asks the device about all candidates together. A driver may judge an operation by its neighbours, so the
    partitions that came out are asked about once more, until nothing of them is refused. (TFLite's delegate does not ask again:
    its strategy is left as it is.)

    Args:
        graph: The model.
        target: The device as the rules see it.
        options: Of the planner.
        supports: Asks the device which operations of a program it takes.
    """
    answers: dict[bytes, Sequence[bool]] = {}
    refused: dict[tuple[int, int], Reason] = {}

    def ask(program: LoweredProgram) -> Sequence[bool]:
        if program.data not in answers:
            answers[program.data] = supports(program)
        return answers[program.data]

    exclude = options.exclude
    while True:
        plan = make_plan(graph, target, replace(options, exclude=exclude), supports=ask)
        for verdict in (v for verdicts in plan.verdicts for v in verdicts):
            verdict.refusal = refused.get((verdict.subgraph, verdict.index), verdict.refusal)
        if options.strategy == "tflite" or not _refused_again(plan, ask, refused):
            plan.options = options
            return plan
        exclude = _also(options.exclude, refused)


def _refused_again(plan: Plan, ask: Supports, refused: dict[tuple[int, int], Reason]) -> bool:
    """Adds nodes of the plan's partitions that the device refuses; whether there were any."""
    before, walked = len(refused), walked_subgraphs(plan)
    for partition, program in zip(plan.partitions, plan.lower()):
        if partition.subgraph not in walked:
            continue
        for node, code, takes in zip(program.operation_nodes, program.operation_codes, ask(program)):
            if not takes:
                what = f"NNAPI operation {operation_name(code)}"
                reason = Reason("device", what, "refused by the device in its partition", "supported")
                refused.setdefault((partition.subgraph, node), reason)
    return len(refused) > before


def _also(selection: NodeSelection | None, nodes: Iterable[tuple[int, int]]) -> NodeSelection:
    """A selection with further nodes, by subgraph and index."""
    selection = selection or NodeSelection()
    return replace(selection, ranges=(*selection.ranges, *((subgraph, node, node) for subgraph, node in nodes)))


def plan_for_nothing(graph: Graph, options: PlanOptions, target: Target | None = None) -> Plan:
    """The plan for a device that has nothing but NNAPI's own CPU, which the session's options do not allow.

    Args:
        graph: The model.
        options: Of the planner.
        target: The device all the same, where the plan is to be given a fallback (`delegate.fallback`).
    """
    nothing = options if target is None else replace(options, strategy="cost", include=NodeSelection())
    plan = make_plan(graph, target, nothing)
    plan.options = options
    reason = Reason(
        "device", "NNAPI", "without a device but its own CPU (nnapi-reference)", "with an accelerator",
        lifted_by="disallow_nnapi_cpu=False (--allow-nnapi-cpu)",
    )  # fmt: skip
    for verdict in (v for verdicts in plan.verdicts for v in verdicts):
        verdict.refusal = reason
    return plan


def called_subgraphs(operator: Operator) -> tuple[int, ...]:
    """The subgraphs that an operator (IF, WHILE, CALL_ONCE, ...) calls."""
    if not operator.options.present:
        return ()
    return tuple(int(v) for name, v in operator.options.as_dict().items() if name.endswith("subgraph_index"))


def walked_subgraphs(plan: Plan) -> set[int]:
    """The main subgraph, and those that operators on the CPU call: in the others nothing is run by itself."""
    found, todo = {0}, [0]
    while todo:
        number = todo.pop()
        operators = plan.graph.subgraphs[number].operators
        on_cpu = (index for step in plan.steps(number) if step.partition is None for index in step.nodes)
        for called in {c for index in on_cpu for c in called_subgraphs(operators[index])}:
            if called not in found and 0 <= called < len(plan.graph.subgraphs):
                found.add(called)
                todo.append(called)
    return found
