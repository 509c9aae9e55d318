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
#: Rewrites that are not for single operators.
_FOR_ALL = ALL - {rewrite.name for rewrites in BY_OPERATOR.values() for rewrite in rewrites}


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
    if reason.rule == "operator-version":
        return Decision(reason, rule)
    for rewrite in BY_OPERATOR.get(node.operator.name, ()):
        if rewrite.name in target.rewrites and rewrite.check(case) is None:
            return Decision(None, rule, rewrite)
    return Decision(reason, rule)


def with_remedy(node: Node, target: Target, reason: Reason) -> Reason:
    """The reason with what would lift the refusal, tried out: rewrites that are not in use, else the lowest feature level that
    accepts, else that level with rewrites. Other remedies (a constant, a fixed shape) are the rule's own word."""
    if rule_of(node.operator).lowering is None and node.operator.name not in BY_OPERATOR:
        return reason  # no form at any level
    helping = _rewrites_for(node, target)
    if helping:
        return replace(reason, lifted_by=helping)
    higher = [replace(target, feature_level=level, api_level=0) for level in range(target.feature_level + 1, _HIGHEST + 1)]
    # A higher level never takes less: where the highest says no, all do, and its reason is what is in the way.
    last = decide(node, replace(higher[-1], rewrites=ALL)).reason if higher else reason
    if last is None:
        for candidate in higher:
            if decide(node, candidate).reason is None:
                return replace(reason, lifted_by=f"feature level {candidate.feature_level}")
        for candidate in higher:
            helping = _rewrites_for(node, candidate)
            if helping:
                return replace(reason, lifted_by=f"feature level {candidate.feature_level} and {helping}")
    elif reason.rule == "feature-level":
        reason = last
    own = reason.lifted_by or ""
    if own.startswith(("feature level", "rewrite")):
        return replace(reason, lifted_by=None)  # it lifts this rule, but not the refusal
    return reason


def _rewrites_for(node: Node, target: Target) -> str:
    """Rewrites that are not in use and together make the node acceptable, none of them idle; empty without any."""
    if decide(node, replace(target, rewrites=ALL)).reason is not None:
        return ""
    own = {rewrite.name for rewrite in BY_OPERATOR.get(node.operator.name, ())}
    needed = (own | _FOR_ALL) - target.rewrites
    for name in sorted(needed):
        fewer = replace(target, rewrites=target.rewrites | (needed - {name}))
        if decide(node, fewer).reason is None:
            needed.discard(name)
    return f"{'rewrite' if len(needed) == 1 else 'rewrites'} {', '.join(sorted(needed))}" if needed else ""
