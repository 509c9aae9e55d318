"""What would lift a refusal where no feature level and no rewrite does: the answer of last resort, by rule.

A rule knows best what is wrong and says it in `Reason.required`; here stands who can change it: whoever converts the model, or
whoever asked for the plan.
"""

from __future__ import annotations

from dataclasses import replace

from nnapi_toolkit.delegate.reason import Reason

#: Rule -> what lifts it; `{operand}` and `{required}` are the reason's own.
_BY_RULE: dict[str, str] = {
    "operand-type": "a model with another type at {operand}",
    "operand-rank": "a model that reshapes {operand}",
    "operand-shape": "a model with other fixed shapes",
    "operand-size": "a model that splits the tensor",
    "operand-count": "a model with other operands",
    "operand-missing": "a model with other operands",
    "operand-value": "a model with another value at {operand}",
    "option-value": "a model with another value of {operand}",
    "empty-tensor": "a fixed shape without a zero dimension",
    "constant-operand": "a constant value",
    "quantization": "a conversion that quantises {operand} as it must be",
    "per-channel-quantization": "a conversion with one scale for {operand}",
    "rounding": "a conversion with other scales, or with float32",
    "precision": "a plan without --allow-fp16",
    "fused-activation": "the activation as an operator of its own",
    "hybrid-operator": "float32 weights",
    "grouped-convolution": "a convolution without groups",
    "feature-level": "a higher feature level and other operands",
    "operator": "a model that says it in other operators",
    "operator-version": "a converter setting that writes an older operator version",
    "unresolved-operator": "registering the operator with the interpreter",
    "dynamic-shape": "a fixed shape (--freeze-shapes)",
    "float16": "float32 weights, or a model that is supported as a whole",
    "constant": "nothing: the CPU needs the value",
    "device": "a device that supports it",
    "excluded": "the node off the list of --exclude",
    "not-included": "the node on the list of --include",
    "partition-cost": "more supported neighbours",
    "partition-inputs": "a neighbour that takes an input of the model",
    "partition-limit": "a higher --max-partitions",
    "partition-size": "a lower --min-nodes",
}


def complete(reason: Reason, op: str) -> Reason:
    """The reason with the operator's name and, where nothing better is known, the remedy of last resort."""
    lifted = reason.lifted_by
    if not lifted:
        text = _BY_RULE.get(reason.rule, "a model in which {operand} is {required}")
        lifted = text.format(operand=reason.operand, required=reason.required)
    return replace(reason, op=op, lifted_by=lifted)
