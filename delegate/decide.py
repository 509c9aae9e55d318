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


_HIGHEST = max(FEATURE_LEVELS)


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
    """The reason with what would lift the refusal, tried out: a rewrite that is not in use, else the lowest feature level that
    accepts, else that level with a rewrite. Other remedies (a constant, a fixed shape) are the rule's own word."""
    helping = _rewrite_for(node, target)
    if helping is not None:
        return replace(reason, lifted_by=f"rewrite {helping}")
    higher = [replace(target, feature_level=level, api_level=0) for level in range(target.feature_level + 1, _HIGHEST + 1)]
    for candidate in higher:
        if decide(node, candidate).reason is None:
            return replace(reason, lifted_by=f"feature level {candidate.feature_level}")
    for candidate in higher:
        helping = _rewrite_for(node, candidate)
        if helping is not None:
            return replace(reason, lifted_by=f"feature level {candidate.feature_level} and rewrite {helping}")
    own = reason.lifted_by or ""
    if own.startswith(("feature level", "rewrite")):
        return replace(reason, lifted_by=None)  # it lifts this rule, but not the refusal
    return reason


def _rewrite_for(node: Node, target: Target) -> str | None:
    """A rewrite that is not in use and makes the node acceptable, alone or with others; None without one."""
    found = decide(node, replace(target, rewrites=ALL))
    if found.reason is not None:
        return None
    if found.rewrite is not None and found.rewrite.name not in target.rewrites:
        return found.rewrite.name
    unused = sorted(ALL - target.rewrites)
    alone = [name for name in unused if decide(node, replace(target, rewrites=target.rewrites | {name})).reason is None]
    return next(iter(alone or unused), None)
