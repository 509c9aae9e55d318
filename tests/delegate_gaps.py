"""What TFLite's NNAPI delegate takes and the default strategy refuses: each such gap with a name, and variants of models to find them.

The delegate's checks are weaker than NNAPI's rules: it takes nodes that NNAPI then rejects, reads in another way, or rounds otherwise.
`GAPS` lists all of them that single operators have; `tests/differential/test_delegate_gaps.py` holds it against some ten thousand
variants of the operator cases.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tests.differential.litert import T, run_litert
from tests.operator_cases import OperatorCase

OPTIMISED = "BUILTIN_WITHOUT_DEFAULT_DELEGATES"
_EIGHT_BITS = ("uint8", "int8")
_EVERY = frozenset[str]()


@dataclass(frozen=True)
class Gap:
    """A kind of nodes that TFLite's delegate takes and that stay on the CPU here.

    Attributes:
        operators: Which ones; empty: any.
        rule: The rule that refuses them (a regular expression).
        says: What the refusal says (a regular expression, searched for).
        why: What would become of such a node.
        example: A variant that is refused: case, mutation and feature level.
    """

    operators: frozenset[str]
    rule: str
    says: str
    why: str
    example: tuple[str, str, int]

    @property
    def rule_name(self) -> str:
        """The rule for people."""
        return self.rule.replace("|", ", ")

    def covers(self, op: str, rule: str, text: str) -> bool:
        """Whether a refusal belongs here."""
        named = not self.operators or op in self.operators
        return named and re.fullmatch(self.rule, rule) is not None and re.search(self.says, text) is not None


def _gap(operators: str, rule: str, says: str, why: str, example: str) -> Gap:
    case, mutation, level = re.fullmatch(r"(.*)/(.*)@(\d)", example).groups()  # type: ignore[union-attr]
    return Gap(frozenset(operators.split()), rule, says, why, (case, mutation, int(level)))


GAPS: tuple[Gap, ...] = (
    # -- NNAPI rejects the node, or has no such thing
    _gap("", "fused-activation", "SIGN_BIT|TANH|RELU6 or TANH$",
         "NNAPI has no such fuse code (RNN and SVDF with TANH are lowered in single operations)", "ADD-float32/act4@1"),
    _gap("", "operand-rank", "of rank [056],", "NNAPI's operation has no such rank",
         "LOGISTIC-float32/in0up@1"),
    _gap("", "operand-type", "one of TENSOR_|a type that NNAPI has", "NNAPI's operation has no such type: the delegate looks at the first input "
         "only, or at none", "TRANSPOSE-int32/@4"),
    _gap("", "feature-level", "TENSOR_(BOOL8|FLOAT16)", "no BOOL and no float16 below feature level 3", "TRANSPOSE-float32/bool@2"),
    _gap("", "operand-type", "the type of input", "one operation with tensors of two types", "PRELU-float32/in1int8@3"),
    _gap("", "empty-tensor", "zero dimension", "NNAPI has no tensors without elements", "MAX_POOL_2D-float32-relu/filter_width5@1"),
    _gap("", "quantization", "which .* keeps", "NNAPI (or TFLite's kernel, which compares stored numbers) wants one scale and zero point for "
         "inputs and output", "RESHAPE-uint8/out0scale@1"),
    _gap("LOGISTIC TANH SOFTMAX", "quantization", "the only ones that", "NNAPI fixes the scale and zero point of these results",
         "LOGISTIC-uint8/out0zero@1"),
    _gap("CAST", "operand-type", "' is INT8, ", "NNAPI casts int8 to itself only", "CAST-float32-to-int32/int8@4"),
    _gap("LOCAL_RESPONSE_NORMALIZATION", "option-value", "bias", "NNAPI wants a bias that is not 0",
         "LOCAL_RESPONSE_NORMALIZATION-float32/bias0.0@1"),
    _gap("RESIZE_NEAREST_NEIGHBOR", "option-value", "both true", "NNAPI takes one of the two flags",
         "RESIZE_NEAREST_NEIGHBOR-float32-doubled-3/align_corners@4"),
    _gap("LSTM", "feature-level", "QUANTIZED_16BIT_LSTM", "the operation came with feature level 3", "LSTM-uint8/@2"),
    _gap("LSTM", "operand-missing", "lacks it", "NNAPI does not give the two working memories of the basic kernel", "LSTM-uint8-memory-read/@3"),
    _gap("LSTM", "feature-level", "CAST of TENSOR_QUANT16_SYMM", "nothing copies 16-bit numbers before feature level 4", "LSTM-uint8-state-read/@3"),
    _gap("UNIDIRECTIONAL_SEQUENCE_LSTM", "operand-type", "INT8, must be FLOAT32", "taken for the float operation; below feature level 4 NNAPI has no "
         "int8 LSTM, from there on it is unrolled", "UNIDIRECTIONAL_SEQUENCE_LSTM-int8/@3"),
    _gap("UNIDIRECTIONAL_SEQUENCE_LSTM BIDIRECTIONAL_SEQUENCE_LSTM", "feature-level", "state outputs", "the delegate does not bring the state "
         "back: a second run starts from the wrong one; sequences of up to 256 steps are unrolled, longer ones wait for feature level 4",
         "UNIDIRECTIONAL_SEQUENCE_LSTM-float32-long/@3"),
    _gap("PACK", "feature-level", "operation PACK", "more than 4 dimensions", "PACK-float32/rank4@4"),
    _gap("LSH_PROJECTION LSTM UNIDIRECTIONAL_SEQUENCE_LSTM FILL FULLY_CONNECTED DEQUANTIZE", "operand-type", ", must be (FLOAT|INT)",
         "NNAPI's operand has another type", "LSH_PROJECTION-int32-sparse/in0f16@3"),
    _gap("RSQRT", "operand-type", "INT8", "NNAPI computes 8-bit roots in float, TFLite in fixed point; the exact form, a table, has 4 dimensions "
         "at most", "RSQRT-int8/rank5@7"),
    # -- what the delegate reads while it builds, or leaves out
    _gap("", "constant-operand", "computed at run time", "NNAPI's operand is a constant, or the output's shape depends on it: TFLite's interpreter "
         "then has dynamic tensors and delegates nothing; or a filter that is computed at run time has a scale for each channel, or would have to be "
         "dequantised", "MEAN-float32/in1var@2"),
    _gap("STRIDED_SLICE", "option-value", "ellipsis|new_axis", "the delegate leaves these masks out (what can be said is lowered)",
         "STRIDED_SLICE-float32/ellipsis_mask3@2"),
    _gap("", "operand-value|operand-shape|operand-count", "between|values, must be at most|must be \\[|present", "operands that do not go together",
         "LSTM-float32-layer-norm/in21none@3"),
    # -- NNAPI computes something else
    _gap("AVERAGE_POOL_2D", "rounding", "even number", "int8 below feature level 3 travels as uint8, whose ties round upwards", "AVERAGE_POOL_2D-int8-even/@1"),
    _gap("L2_NORMALIZATION RESIZE_BILINEAR", "feature-level", "rounds otherwise", "int8 at feature level 3 travels as uint8, which rounds otherwise",
         "L2_NORMALIZATION-int8/@3"),
    _gap("HARD_SWISH", "feature-level", "operation HARD_SWISH", "the delegate's four 8-bit operations round in between", "HARD_SWISH-uint8/@1"),
    _gap("SQUARED_DIFFERENCE", "operand-type", "INT8", "the delegate's two 8-bit operations round in between", "SQUARED_DIFFERENCE-int8/@4"),
    _gap("LEAKY_RELU", "operand-type", "INT8", "8-bit PRELU rounds otherwise; the exact form, a table, has 4 dimensions at most", "LEAKY_RELU-uint8/in0up@3"),
    _gap("QUANTIZE", "quantization", "rounds otherwise", "8-bit to 8-bit through float rounds otherwise; the exact form, a table, has 4 dimensions at "
         "most", "QUANTIZE-uint8-rescaled-uint8/in0up5@3"),
    _gap("CAST", "operand-type", "must be UINT8", "NNAPI saturates at 0 and 255, TFLite wraps", "CAST-int32-to-float32/uint8@3"),
    _gap("COS", "operator", "loses digits", "SIN(pi/2 - x) loses digits of large numbers", "COS-float32/@3"),
    _gap("SPACE_TO_BATCH_ND", "feature-level", "zero point", "before feature level 3 NNAPI pads with an undefined value", "SPACE_TO_BATCH_ND-uint8/@2"),
    _gap("LSTM", "rounding", "twice", "the gates' sums of a basic cell with fine weights are rounded twice", "LSTM-uint8-fine/@3"),
    _gap("LSTM", "option-value", "proj_clip", "TFLite and NNAPI's executor count the clip in steps of different tensors", "LSTM-int8-proj-clip/@4"),
    _gap("LSTM", "operand-shape", "beside peepholes", "peephole weights go astray in both", "LSTM-int8-narrow-peephole/@4"),
    _gap("LSTM", "quantization", "variance", "the guard against small variances differs", "LSTM-int8-large-norm/@4"),
    _gap("LSTM", "quantization", "symmetric|must be .*weights' / 128|must be scale 1/128", "operands that are quantised otherwise than NNAPI defines them",
         "LSTM-int8/in3zero@4"),
    _gap("DEPTHWISE_CONV_2D TRANSPOSE_CONV CONV_2D", "quantization", "symmetric", "int8 filters of NNAPI have no zero point; LiteRT leaves it out",
         "DEPTHWISE_CONV_2D-uint8/int8@3"),
)


def gap_of(op: str, rule: str, text: str) -> Gap | None:
    """The gap that a refusal belongs to."""
    return next((gap for gap in GAPS if gap.covers(op, rule, text)), None)


# -- variants of a case ---------------------------------------------------------------------------------------------


def kind_of(t: T) -> str:
    """The tensor's type."""
    if t.dtype is not None:
        return t.dtype
    assert t.data is not None
    return t.data.dtype.name


def _eight_bits(data: np.ndarray, kind: str, scale: float) -> np.ndarray:
    zero, info = 128 if kind == "uint8" else 0, np.iinfo(kind)
    return np.clip(np.round(data / scale) + zero, info.min, info.max).astype(kind)


def _retyped(t: T | None, to: str) -> T | None:
    """The tensor with another type: 8-bit ones with the zero point moved, float ones quantised or rounded."""
    if t is None:
        return None
    kind = kind_of(t)
    if kind in _EIGHT_BITS and to in _EIGHT_BITS and kind != to:
        moved = 128 if to == "uint8" else -128
        if isinstance(t.zero_point, list):
            return t
        point = None if t.zero_point is None else int(t.zero_point) + moved  # type: ignore[call-overload]
        if t.data is None:
            return replace(t, dtype=to, zero_point=point)
        return replace(t, data=(t.data.view(np.uint8) ^ 0x80).view(to), zero_point=point)
    if kind != "float32":
        return t
    scale = {"uint8": 0.05, "int8": 0.05, "int16": 0.001}.get(to)
    described: dict[str, Any] = {} if scale is None else {"scale": scale, "zero_point": 128 if to == "uint8" else 0}
    if t.data is None:
        return replace(t, dtype=to, **described)
    if scale is None:
        return replace(t, data=t.data > 0 if to == "bool" else np.round(t.data).astype(to))
    return replace(t, data=_eight_bits(t.data, to, scale), **described)


#: Values that options are set to, one at a time.
_OPTIONS: dict[str, Sequence[Any]] = {
    "fused_activation_function": range(6),
    **dict.fromkeys(("begin_mask", "end_mask", "shrink_axis_mask", "ellipsis_mask", "new_axis_mask"), (1, 2, 3)),
    **dict.fromkeys(("radius", "axis", "batch_dims", "block_size"), (1, 2, -1)),
    **dict.fromkeys(("keep_num_dims", "align_corners", "half_pixel_centers", "adj_x", "adj_y", "keep_dims", "time_major"), (False, True)),
    **dict.fromkeys(("stride_w", "stride_h", "filter_width", "dilation_w_factor", "depth_multiplier"), (1, 2, 5)),
    "alpha": (-0.5, 0.0, 2.0),
    "beta": (0.5, 1.0, 2.0),
    "bias": (0.0, 2.0),
    "padding": (0, 1),
    "proj_clip": (0.5,),
}


def _of_options(case: OperatorCase) -> Iterator[tuple[str, OperatorCase]]:
    for name, values in _OPTIONS.items():
        for v in values:
            yield f"{_SHORT.get(name, name)}{'' if v is True else v}", replace(case, options={**case.options, name: v})


_SHORT = {"fused_activation_function": "act"}


def _of_types(case: OperatorCase) -> Iterator[tuple[str, OperatorCase]]:
    kinds = {kind_of(t) for t in (*case.inputs, *case.outputs) if t is not None}
    for to in ("uint8", "int8", "int16", "int32", "int64", "bool"):
        if "float32" in kinds or (to in _EIGHT_BITS and kinds & set(_EIGHT_BITS)):
            yield to, replace(case, inputs=[_retyped(t, to) for t in case.inputs], outputs=[_retyped(t, to) or t for t in case.outputs])


def _of_outputs(case: OperatorCase) -> Iterator[tuple[str, OperatorCase]]:
    for position, out in enumerate(case.outputs):
        if kind_of(out) not in _EIGHT_BITS or not isinstance(out.scale, float):
            continue
        for name, changed in (
            ("scale", replace(out, scale=out.scale * 0.37)),
            ("scaleup", replace(out, scale=out.scale * 2.7)),
            ("zero", replace(out, zero_point=int(out.zero_point or 0) + 3)),  # type: ignore[arg-type]
        ):
            yield f"out{position}{name}", replace(case, outputs=[changed if i == position else o for i, o in enumerate(case.outputs)])


def _of_inputs(case: OperatorCase) -> Iterator[tuple[str, OperatorCase]]:
    for position, t in enumerate(case.inputs):
        if t is None:
            continue
        for name, changed in (*_of_input(t), ("none", None)):
            yield f"in{position}{name}", replace(case, inputs=[changed if i == position else o for i, o in enumerate(case.inputs)])


def _of_input(t: T) -> Iterator[tuple[str, T]]:
    if kind_of(t) in _EIGHT_BITS and isinstance(t.zero_point, int) and isinstance(t.scale, float):
        yield "scale", replace(t, scale=t.scale * 0.6)
        yield "zero", replace(t, zero_point=t.zero_point + (4 if t.zero_point < 100 else -4))
    data = t.data
    if data is None:
        return
    yield ("var" if t.const else "const"), replace(t, const=not t.const)
    if 0 < data.ndim < 5:
        yield "up", replace(t, data=data[None])
        yield "up5", replace(t, data=data.reshape((1,) * (5 - data.ndim) + data.shape))
    if data.ndim > 1 and data.shape[0] == 1:
        yield "down", replace(t, data=data[0])
    yield "scalar", replace(t, data=data.reshape(-1)[0].reshape(()))
    if data.dtype == np.int32:
        yield "i64", replace(t, data=data.astype(np.int64))
    if data.dtype == np.float32:
        yield "f16", replace(t, data=data.astype(np.float16))
        for kind in _EIGHT_BITS if t.const else ():
            zero = 128 if kind == "uint8" else 0
            yield kind, T(_eight_bits(data, kind, 0.02), scale=0.02, zero_point=zero, const=True)


def _of_ranks(case: OperatorCase) -> Iterator[tuple[str, OperatorCase]]:
    first = case.inputs[0]
    if first is None or first.data is None or not first.data.ndim:
        return

    def raised(t: T | None, rank: int) -> T | None:
        if t is None or t.data is None or t.const or not t.data.ndim:
            return t
        return replace(t, data=t.data.reshape((1,) * max(0, rank - t.data.ndim) + t.data.shape))

    for rank in (3, 4, 5, 6):
        yield f"rank{rank}", replace(case, inputs=[raised(t, rank) for t in case.inputs])


def mutations(case: OperatorCase) -> Iterator[tuple[str, OperatorCase]]:
    """The case itself under the name "", then variants that differ in one thing."""
    yield "", case
    for version in (1, 2, 3, 4):
        if version != case.version:
            yield f"v{version}", replace(case, version=version)
    yield from _of_types(case)
    yield from _of_options(case)
    yield from _of_outputs(case)
    yield from _of_inputs(case)
    yield from _of_ranks(case)


def settled(case: OperatorCase) -> bytes:
    """The model with the output shapes that LiteRT finds.

    Raises:
        LiteRTError: LiteRT refuses the model.
    """
    model, values = case.model()
    made = run_litert(model, values, 1, OPTIMISED)
    outputs = [replace(o, shape=made[i].shape, dtype=kind_of(o)) if i < len(made) else o for i, o in enumerate(case.outputs)]
    return replace(case, outputs=outputs).model()[0]
