"""One node, one target: is it delegated, how, and if not, why and what would lift it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from nnapi_toolkit.delegate.errors import UnsupportedError
from nnapi_toolkit.delegate.graph import Node
from nnapi_toolkit.delegate.ops import rule_of
from nnapi_toolkit.delegate.ops.base import Case, OperatorRule
from nnapi_toolkit.delegate.reason import Reason
from nnapi_toolkit.delegate.rewrites import ALL, BY_OPERATOR
from nnapi_toolkit.delegate.rewrites.base import Rewrite
from nnapi_toolkit.delegate.target import FEATURE_LEVELS, Target

if TYPE_CHECKING:
    from nnapi_toolkit.delegate.program import ProgramBuilder


@dataclass(frozen=True, slots=True)
class Decision:
    """The answer for one node.

    Attributes:
        reason: None when the node can be delegated.
        rule: The operator's rule.
        rewrite: The rewrite that makes the node acceptable; None when it is accepted as it stands, or refused.
    """

    reason: Reason | None
    rule: OperatorRule
    rewrite: Rewrite | None = None

    def lower(self, builder: ProgramBuilder, node: Node, target: Target) -> None:
        """Adds the node to a program.

        Raises:
            UnsupportedError: The decision was no.
        """
        if self.reason is not None:
            raise UnsupportedError(node.operator.name, node.operator.index, str(self.reason))
        if self.rewrite is not None:
            self.rewrite.lowering(builder, Case(node, target))
        else:
            self.rule.lower(builder, node, target)


def decide(node: Node, target: Target, depth: int = 0) -> Decision:
    """Asks the operator's rule, then the rewrites that the target allows.

    Args:
        node: The node.
        target: The target.
        depth: How many called subgraphs the node is inside of.
    """
    rule = rule_of(node.operator)
    case = Case(node, target, depth)
    reason = rule.check_case(case)
    if reason is None:
        return Decision(None, rule)
    for rewrite in BY_OPERATOR.get(node.operator.name, ()):
        if rewrite.name in target.rewrites and rewrite.check(case) is None:
            return Decision(None, rule, rewrite)
    return Decision(reason, rule)


def with_remedy(node: Node, target: Target, reason: Reason) -> Reason:
    """The reason with what would lift it: a rewrite that is switched off, else the lowest feature level that accepts."""
    everything = replace(target, rewrites=ALL)
    found = decide(node, everything)
    if found.reason is None:
        needed = [name for name in sorted(ALL - target.rewrites) if _helps(node, target, name)]
        name = found.rewrite.name if found.rewrite is not None else needed[0] if needed else None
        if name is not None:
            return replace(reason, lifted_by=f"rewrite {name}")
    for level in range(target.feature_level + 1, max(FEATURE_LEVELS) + 1):
        higher = Target(level, device_selected=target.device_selected, rewrites=target.rewrites)
        if decide(node, higher).reason is None:
            return replace(reason, lifted_by=f"feature level {level}")
    lift = reason.lifted_by or ""
    if lift.startswith("feature level") or lift.removeprefix("rewrite ") in target.rewrites:
        return replace(reason, lifted_by=None)  # lifts this rule, not the refusal
    return reason


def _helps(node: Node, target: Target, name: str) -> bool:
    return decide(node, replace(target, rewrites=target.rewrites | {name})).reason is None
