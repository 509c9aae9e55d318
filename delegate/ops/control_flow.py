"""IF, WHILE: the called subgraphs become models of the same program."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nnapi_toolkit.delegate.graph import Subgraph
from nnapi_toolkit.delegate.ops.base import Case, Operand, OperatorRule, operand_code
from nnapi_toolkit.schema.enums import TensorType

if TYPE_CHECKING:
    from nnapi_toolkit.delegate.program import ProgramBuilder

#: Deepest nesting of subgraphs that is looked into.
DEEPEST = 8


def _called(case: Case, name: str) -> Subgraph:
    index = int(getattr(case.options, name))
    subgraphs = case.node.graph.subgraphs
    case.need(
        0 < index < len(subgraphs), "option-value", f"option {name}", index, f"a subgraph from 1 to {len(subgraphs) - 1}"
    )
    return subgraphs[index]


def _check_callable(case: Case, name: str) -> Subgraph:
    """Every operator of a called subgraph has an NNAPI form for the same target."""
    from nnapi_toolkit.delegate.decide import decide

    called = _called(case, name)
    case.need(
        case.depth < DEEPEST, "nesting", f"option {name}", "nested too deeply", f"at most {DEEPEST} levels of subgraphs"
    )
    for node in case.node.graph.nodes(called.index):
        if all(called.tensors[t].is_constant for t in node.operator.outputs):
            continue  # folded
        reason = decide(node, case.target, case.depth + 1).reason
        if reason is not None:
            case.refuse(
                "subgraph",
                f"operator {node.index} ({node.name}) of subgraph {called.index}",
                f"refused ({reason})",
                "accepted: a called subgraph is delegated as a whole",
                reason.lifted_by,
            )
    for index in (*called.inputs, *called.outputs):
        operand = Operand(f"tensor {index} of subgraph {called.index}", called.tensors[index])
        operand_code(operand, case.target)
        case.known_shape(operand)
        case.need(not operand.tensor.is_variable, "operand-value", operand, "a variable", "no variable")
    return called


def _same(case: Case, outer: Operand, inner: Subgraph, index: int) -> None:
    """A tensor and its counterpart inside are described alike."""
    tensor = inner.tensors[index]
    case.known_shape(outer)
    alike = outer.tensor.type == tensor.type and (outer.shape or (1,)) == (tensor.shape or (1,))
    case.need(
        alike,
        "operand-shape",
        outer,
        f"{outer.tensor.type.name} {list(outer.shape)}",
        f"{tensor.type.name} {list(tensor.shape)} as in subgraph {inner.index}",
    )
    mine, theirs = outer.tensor.quantization, tensor.quantization
    if case.code(outer).name.startswith("TENSOR_QUANT8"):
        same = (mine and (mine.scale, mine.zero_point)) == (theirs and (theirs.scale, theirs.zero_point))
        case.need(bool(same), "quantization", outer, mine, theirs)


def _arguments(case: Case, first: int) -> list[Operand]:
    return [case.input(p) for p in range(first, case.input_count)]


def _if_rule(case: Case) -> None:
    """NNAPI: feature level 4, both branches wholly expressible."""
    case.need_level(4, "the operation IF")
    condition = case.input(0, "condition")
    case.typed(condition, TensorType.BOOL)
    case.need(condition.tensor.element_count == 1, "operand-shape", condition, list(condition.shape), "one element")
    outputs = [case.output(i) for i in range(len(case.node.operator.outputs))]
    case.need(bool(outputs), "operand-count", "the number of outputs", 0, "at least 1")
    for name in ("then_subgraph_index", "else_subgraph_index"):
        branch = _check_callable(case, name)
        for outer, index in zip(_arguments(case, 1), branch.inputs):
            _same(case, outer, branch, index)
        for outer, index in zip(outputs, branch.outputs):
            _same(case, outer, branch, index)


def _lower_if(builder: ProgramBuilder, case: Case) -> None:
    models = [builder.submodel(_called(case, name)) for name in ("then_subgraph_index", "else_subgraph_index")]
    inputs = [builder.tensor(case.input(0)), *models, *(builder.tensor(o) for o in _arguments(case, 1))]
    outputs = [builder.tensor(case.output(i)) for i in range(len(case.node.operator.outputs))]
    builder.operation("IF", inputs, outputs)


def _while_rule(case: Case) -> None:
    """NNAPI: feature level 4, condition and body wholly expressible; all values go round the loop."""
    case.need_level(4, "the operation WHILE")
    condition = _check_callable(case, "cond_subgraph_index")
    body = _check_callable(case, "body_subgraph_index")
    case.need(
        case.input_count > 0 and len(case.node.operator.outputs) == case.input_count,
        "operand-count",
        "the number of outputs",
        len(case.node.operator.outputs),
        case.input_count,
    )
    for position, outer in enumerate(_arguments(case, 0)):
        _same(case, outer, condition, condition.inputs[position])
        _same(case, outer, body, body.inputs[position])
        _same(case, case.output(position), body, body.outputs[position])
    verdict = Operand("the condition", condition.tensors[condition.outputs[0]])
    case.typed(verdict, TensorType.BOOL)


def _lower_while(builder: ProgramBuilder, case: Case) -> None:
    models = [builder.submodel(_called(case, name)) for name in ("cond_subgraph_index", "body_subgraph_index")]
    inputs = [*models, *(builder.tensor(o) for o in _arguments(case, 0))]
    outputs = [builder.tensor(case.output(i)) for i in range(case.input_count)]
    builder.operation("WHILE", inputs, outputs)


RULES = (
    OperatorRule("IF", ("IF",), 1, _if_rule, None, _lower_if),
    OperatorRule("WHILE", ("WHILE",), 1, _while_rule, None, _lower_while),
)
