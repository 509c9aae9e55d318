"""The record of a rewrite."""

from __future__ import annotations

from dataclasses import dataclass

from nnapi_toolkit.delegate.ops.base import Case, CheckFunction, LowerFunction, Refusal
from nnapi_toolkit.delegate.reason import Reason


@dataclass(frozen=True, slots=True)
class Rewrite:
    """Another way to lower some operators, tried when their own rule says no.

    Attributes:
        name: Stable name, as in `lifted by rewrite NAME`.
        ops: The TFLite operators that it speaks for.
        summary: One line for people.
        exact: Quantised and integer results are bit for bit those of TFLite, float results differ by rounding only.
        rule: When it applies, as statements about a case.
        lowering: Says the node in NNAPI operations; reached through a passed rule only.
    """

    name: str
    ops: tuple[str, ...]
    summary: str
    exact: bool
    rule: CheckFunction
    lowering: LowerFunction

    def check(self, case: Case) -> Reason | None:
        """None when the rewrite applies, else why not."""
        try:
            self.rule(case)
            case.outputs_fit()
        except Refusal as refusal:
            return refusal.reason
        return None
