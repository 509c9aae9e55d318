"""Why a node is not delegated: a `Reason` is the answer of every support rule that says no."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Reason:
    """One refusal.

    Attributes:
        rule: Stable identifier of the rule, for example ``operand-type`` or ``feature-level``.
        operand: The operand at fault: ``input 1 (filter)``, ``option fused_activation_function``, ``the operator``.
        tensor: Name of the TFLite tensor behind the operand, or None.
        actual: The value found.
        required: The value that the rule wants.
        lifted_by: What would make it accepted: ``feature level 3``, ``a fixed shape``, a rewrite; None where the rule does not
            know (`remedies.complete` then says who can change it).
        op: The operator, where it is known.
    """

    rule: str
    operand: str
    actual: str
    required: str
    tensor: str | None = None
    lifted_by: str | None = None
    op: str | None = None

    def __str__(self) -> str:
        where = self.operand if self.tensor is None else f"{self.operand} '{self.tensor}'"
        if self.op is not None and self.op != self.actual:
            where += f" {self.op}" if self.operand == "the operator" else f" of {self.op}"
        lift = f"; lifted by {self.lifted_by}" if self.lifted_by else ""
        return f"{self.rule}: {where} is {self.actual}, must be {self.required}{lift}"
