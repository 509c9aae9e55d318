"""The feature level that each operation needs, by data type and form: one level below it is refused, it is not."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pytest

from tests.conftest import shared_path

from .client import BAD_DATA, INT32, MODEL, TENSOR_BOOL8, TENSOR_FLOAT32, Model, Nnapi, NnapiError, OperandType
from .operation import FORMS as WAYS
from .operation import Operand, ints, omitted, per_channel, run, scalar, tensor

Form = tuple[list[Operand], list[Operand]]
NAMES = {
    "f32": "float32", "f16": "float16", "u8": "uint8", "s8": "int8", "i32": "int32", "b8": "bool", "q16a": "uint16",
    "q16s": "int16", "s8sym": "int8",
}  # fmt: skip


def like(type_: str, *shape: int, scale: float = 0.5, zero: int = 0) -> Operand:
    """A tensor of a type."""
    if type_ == "pc":
        return per_channel(shape, 0)
    value = np.zeros(shape, NAMES[type_])
    if type_ == "s8sym":
        return tensor(value, scale, type=13)
    return tensor(value, scale, zero) if type_ in ("u8", "s8", "q16a", "q16s") else tensor(value)


def number(type_: str, value: float) -> Operand:
    """A float scalar that goes with a type."""
    return scalar(np.float16(value)) if type_ == "f16" else scalar(float(value))


def box(type_: str, *shape: int) -> Operand:
    """Boxes that go with scores of a type."""
    return like("q16a", *shape, scale=0.125) if type_ in ("u8", "s8") else like(type_, *shape)


def bounded(type_: str, *shape: int, scale: float, unsigned: int, signed: int) -> Operand:
    """A result whose quantisation NNAPI fixes."""
    return like(type_, *shape, scale=scale, zero=unsigned if type_ == "u8" else signed if type_ == "s8" else 0)


def bias(type_: str, size: int, scale: float = 0.25) -> Operand:
    """Beside an input and a filter of scale 0.5."""
    return tensor(np.zeros(size, np.int32), scale) if type_ in ("u8", "s8") else like(type_, size)


def convolution(type_: str, shape: Sequence[int], axis: int, *options: Operand, out: Sequence[int]) -> Form:
    """Of [1, 4, 4, 4]; pc_filter: a filter with scales per channel, pc_filter_s8: beside a signed input."""
    data = {"pc_filter": "u8", "pc_filter_s8": "s8"}.get(type_, type_)
    own = data == type_
    filter_ = like(type_, *shape) if own else per_channel(shape, axis)
    operands = [like(data, 1, 4, 4, 4), filter_, bias(data, shape[axis], 0.25 if own else 0.0), *options]
    return operands, [like(data, *out)]


def window(type_: str, *options: Operand, out: Sequence[int]) -> Form:
    return [like(type_, 1, 4, 4, 4), *options], [like(type_, *out)]


def whole(*numbers: int) -> list[Operand]:
    return [scalar(number) for number in numbers]


def same(type_: str, *more: Operand) -> Form:
    """An input, more, and a result like the input."""
    return [like(type_, 1, 2, 2, 2), *more], [like(type_, 1, 2, 2, 2)]


def two(type_: str, *more: Operand) -> Form:
    """Two inputs and a result alike."""
    return [like(type_, 2), like(type_, 2), *more], [like(type_, 2)]


def basic_quantized_lstm(_: str) -> Form:
    state, cell = like("u8", 1, 2, scale=1 / 128, zero=128), like("q16s", 1, 2, scale=1 / 2048)
    weights = [like("u8", 2, 3)] * 4 + [like("u8", 2, 2)] * 4 + [tensor(np.zeros(2, np.int32), 0.5 / 128)] * 4
    return [like("u8", 1, 3, scale=1 / 128, zero=128), *weights, cell, state], [cell, state]


def quantized_lstm(_: str) -> Form:
    state, cell = like("s8", 1, 2), like("q16s", 1, 2, scale=2.0**-11)
    weights = [like("s8sym", 2, 3)] * 4 + [like("s8sym", 2, 2)] * 4 + [omitted(7)] * 3
    biases = [tensor(np.zeros(2, np.int32), 0.25)] * 4 + [omitted(13), omitted(4)]
    options = [scalar(0.0)] * 2 + [scalar(2.0**-12)] * 4 + [scalar(0), scalar(0.5)]
    return [like("s8", 1, 3), *weights, *biases, state, cell, *[omitted(7)] * 4, *options], [state, cell, state]


def lstm_cell(type_: str) -> list[Operand]:
    weights = [like(type_, 2, 3)] * 4 + [like(type_, 2, 2)] * 4 + [omitted(like(type_, 1).type.type)] * 3
    return weights + [like(type_, 2)] * 4 + [omitted(like(type_, 1).type.type)] * 2


def lstm(type_: str, *norm: Operand) -> Form:
    options = [scalar(4), number(type_, 0), number(type_, 0)]
    operands = [like(type_, 1, 3), *lstm_cell(type_), like(type_, 1, 2), like(type_, 1, 2), *options, *norm]
    return operands, [like(type_, 1, 8), *[like(type_, 1, 2)] * 3]


def sequence_lstm(type_: str, states: bool = False) -> Form:
    none = omitted(like(type_, 1).type.type)
    options = [scalar(4), number(type_, 0), number(type_, 0), scalar(False)]
    operands = [like(type_, 1, 4, 3), *lstm_cell(type_), like(type_, 1, 2), like(type_, 1, 2), *options, *[none] * 4]
    return operands, [like(type_, 1, 4, 2), *([like(type_, 1, 2)] * 2 if states else [])]


def bidirectional_lstm(type_: str, states: bool = False) -> Form:
    none = omitted(like(type_, 1).type.type)
    options = [scalar(4), number(type_, 0), number(type_, 0), scalar(True), scalar(False)]
    operands = [like(type_, 1, 4, 3), *lstm_cell(type_), *lstm_cell(type_), *[like(type_, 1, 2)] * 4]
    operands += [*[none] * 9, *options, *[none] * 8]
    return operands, [like(type_, 1, 4, 4), *([like(type_, 1, 2)] * 4 if states else [])]


def rnn(type_: str, *leading: int) -> list[Operand]:
    return [like(type_, *leading, 3), like(type_, 2, 3), like(type_, 2, 2), like(type_, 2), like(type_, 1, 2)]


def bidirectional_rnn(type_: str, states: bool = False) -> Form:
    none = omitted(like(type_, 1).type.type)
    options = [scalar(0), scalar(False), scalar(True)]
    operands = [*rnn(type_, 1, 4), *rnn(type_)[1:], *[none] * 3, *options]
    return operands, [like(type_, 1, 4, 4), *([like(type_, 1, 2)] * 2 if states else [])]


def pair(type_: str) -> Form:
    return [like(type_, 2), like(type_, 2)], [like("b8", 2)]


def reduction(type_: str) -> Form:
    return [like(type_, 2, 3), ints([1]), scalar(False)], [like(type_, 2)]


def arg(type_: str) -> Form:
    return [like(type_, 2, 3), scalar(1)], [like("i32", 2)]


def resize(type_: str, *flags: Operand, scaled: bool = False) -> Form:
    size = [number(type_, 2.0)] * 2 if scaled else [scalar(4), scalar(4)]
    return [like(type_, 1, 2, 2, 1), *size, *flags], [like(type_, 1, 4, 4, 1)]


def roi(type_: str, *more: Operand) -> Form:
    operands = [
        like(type_, 1, 4, 4, 1),
        box(type_, 2, 4),
        ints([0, 0]),
        scalar(2),
        scalar(2),
        number(type_, 1),
        number(type_, 1),
    ]
    return [*operands, *more, scalar(False)], [like(type_, 2, 2, 2, 1)]


def image(type_: str, *more: Operand, out: Sequence[int]) -> Form:
    return [like(type_, 1, 4, 4, 4), *more], [like(type_, *out)]


POOLS = [("AVERAGE_POOL_2D", 1, "f32 1 u8 1 f16 3 s8 4"), ("L2_POOL_2D", 12, "f32 1 f16 3"),
         ("MAX_POOL_2D", 17, "f32 1 u8 1 f16 3 s8 4")]  # fmt: skip
CONVOLUTION = "f32 1 u8 1 f16 3 pc_filter 3 s8 4 pc_filter_s8 4"
GROUPED = "f32 3 u8 3 f16 3 pc_filter 3 s8 4 pc_filter_s8 4"

#: name, code, types with their levels, an operation of a type (and, where a form has its own level, that form).
OPERATIONS: list[tuple[str, int, str, Callable[[str], Form]]] = [
    ("ADD", 0, "f32 1 u8 1 f16 3 s8 4 i32 4", lambda t: two(t, scalar(0))),
    *[(name, code, levels, lambda t: window(t, *whole(1, 1, 1, 2, 2, 0), out=(1, 4, 4, 4))) for name, code, levels in POOLS],
    *[(f"{name} explicit", code, levels, lambda t: window(t, *whole(0, 0, 0, 0, 1, 1, 2, 2, 0), out=(1, 3, 3, 4)))
      for name, code, levels in POOLS],
    *[(f"{name} with layout", code, "f32 3 f16 3",
       lambda t: window(t, *whole(1, 1, 1, 2, 2, 0), scalar(False), out=(1, 4, 4, 4))) for name, code, _ in POOLS],
    ("CONV_2D", 3, CONVOLUTION, lambda t: convolution(t, (2, 2, 2, 4), 0, *whole(1, 1, 1, 0), out=(1, 4, 4, 2))),
    ("CONV_2D explicit", 3, CONVOLUTION,
     lambda t: convolution(t, (2, 2, 2, 4), 0, *whole(0, 0, 0, 0, 1, 1, 0), out=(1, 3, 3, 2))),
    ("CONV_2D dilated", 3, "f32 3 u8 3 f16 3 s8 4",
     lambda t: convolution(t, (2, 2, 2, 4), 0, *whole(1, 1, 1, 0), scalar(False), *whole(2, 2), out=(1, 4, 4, 2))),
    ("DEPTHWISE_CONV_2D", 4, CONVOLUTION,
     lambda t: convolution(t, (1, 2, 2, 4), 3, *whole(1, 1, 1, 1, 0), out=(1, 4, 4, 4))),
    ("DEPTHWISE_CONV_2D explicit", 4, CONVOLUTION,
     lambda t: convolution(t, (1, 2, 2, 4), 3, *whole(0, 0, 0, 0, 1, 1, 1, 0), out=(1, 3, 3, 4))),
    ("DEQUANTIZE", 6, "u8 1 s8sym 3 pc 3 s8 4", lambda t: ([like(t, 2)], [like("f32", 2)])),
    ("DEQUANTIZE to float16", 6, "u8 3 s8sym 3 pc 3 s8 4", lambda t: ([like(t, 2)], [like("f16", 2)])),
    ("FLOOR", 8, "f32 1 f16 3", same),
    ("FULLY_CONNECTED", 9, "f32 1 u8 1 f16 3 s8 4",
     lambda t: ([like(t, 1, 3), like(t, 2, 3), bias(t, 2), scalar(0)], [like(t, 1, 2)])),
    ("L2_NORMALIZATION", 11, "f32 1 u8 3 f16 3 s8 4",
     lambda t: ([like(t, 1, 2, 2, 2)], [bounded(t, 1, 2, 2, 2, scale=1 / 128, unsigned=128, signed=0)])),
    ("L2_NORMALIZATION of rank 2", 11, "f32 3 f16 3", lambda t: ([like(t, 2, 2)], [like(t, 2, 2)])),
    ("LOCAL_RESPONSE_NORMALIZATION", 13, "f32 1 f16 3", lambda t: same(t, scalar(1), *[number(t, 1)] * 3)),
    ("LOCAL_RESPONSE_NORMALIZATION with axis", 13, "f32 3 f16 3",
     lambda t: same(t, scalar(1), *[number(t, 1)] * 3, scalar(1))),
    ("LOGISTIC", 14, "f32 1 u8 1 f16 3 s8 4",
     lambda t: ([like(t, 2)], [bounded(t, 2, scale=1 / 256, unsigned=0, signed=-128)])),
    ("MUL", 18, "f32 1 u8 1 f16 3 s8 4 i32 4", lambda t: two(t, scalar(0))),
    *[(name, code, "f32 1 u8 1 f16 3 s8 4", same) for name, code in [("RELU", 19), ("RELU1", 20), ("RELU6", 21)]],
    ("SOFTMAX", 25, "f32 1 u8 1 f16 3 s8 4",
     lambda t: ([like(t, 1, 2), number(t, 1)], [bounded(t, 1, 2, scale=1 / 256, unsigned=0, signed=-128)])),
    ("SOFTMAX with axis", 25, "f32 3 u8 3 s8 4",
     lambda t: ([like(t, 1, 2), number(t, 1), scalar(0)], [bounded(t, 1, 2, scale=1 / 256, unsigned=0, signed=-128)])),
    ("SOFTMAX of rank 3", 25, "f32 3 f16 3", lambda t: ([like(t, 1, 2, 2), number(t, 1)], [like(t, 1, 2, 2)])),
    ("TANH", 28, "f32 1 u8 3 f16 3 s8 4",
     lambda t: ([like(t, 2)], [bounded(t, 2, scale=1 / 128, unsigned=128, signed=0)])),
    ("DIV", 30, "f32 2 f16 3 i32 4", lambda t: two(t, scalar(0))),
    ("SUB", 36, "f32 2 u8 3 f16 3 s8 4 i32 4", lambda t: two(t, scalar(0))),
    ("ABS", 38, "f32 3 f16 3 i32 4", same),
    *[(f"CAST to {to}", 45, "f32 3 f16 3 i32 3 u8 3", lambda t, to=to: ([like(t, 2)], [like(to, 2)]))
      for to in ("f32", "f16", "i32", "u8")],
    ("CAST to itself", 45, "f32 3 u8 3 s8 4 b8 4 q16s 4 q16a 4 s8sym 4", same),
    *[(name, code, "f32 3 f16 3", same)
      for name, code in [("EXP", 49), ("LOG", 60), ("SIN", 85), ("SQRT", 88)]],
    ("GROUPED_CONV_2D", 55, GROUPED,
     lambda t: convolution(t, (2, 2, 2, 2), 0, *whole(1, 1, 1, 2, 0), scalar(False), out=(1, 4, 4, 2))),
    ("GROUPED_CONV_2D explicit", 55, GROUPED,
     lambda t: convolution(t, (2, 2, 2, 2), 0, *whole(0, 0, 0, 0, 1, 1, 2, 0), scalar(False), out=(1, 3, 3, 2))),
    ("INSTANCE_NORMALIZATION", 57, "f32 3 f16 3", lambda t: same(t, *[number(t, 1)] * 3, scalar(False))),
    ("LOGICAL_NOT", 62, "b8 3", same),
    ("LOG_SOFTMAX", 64, "f32 3 f16 3", lambda t: same(t, number(t, 1), scalar(0))),
    *[(name, code, "f32 3 f16 3 u8 3 i32 3 s8 4", two) for name, code in [("MAXIMUM", 65), ("MINIMUM", 66)]],
    ("NEG", 67, "f32 3 f16 3 i32 3", same),
    ("POW", 70, "f32 3 f16 3", two),
    ("PRELU", 71, "f32 3 f16 3 u8 3 s8 4", two),
    ("QUANTIZE", 72, "f32 3 f16 3", lambda t: ([like(t, 2)], [like("u8", 2)])),
    ("QUANTIZE to signed", 72, "f32 4 f16 4", lambda t: ([like(t, 2)], [like("s8", 2)])),
    ("QUANTIZED_16BIT_LSTM", 73, "u8 3 q16s 3", basic_quantized_lstm),
    ("RSQRT", 83, "f32 3 f16 3 u8 7 s8 7", same),
    ("TRANSPOSE_CONV_2D", 91, GROUPED,
     lambda t: convolution(t, (2, 2, 2, 4), 0, ints([1, 4, 4, 2]), *whole(1, 1, 1, 0), scalar(False), out=(1, 4, 4, 2))),
    ("TRANSPOSE_CONV_2D explicit", 91, GROUPED,
     lambda t: convolution(t, (2, 2, 2, 4), 0, *whole(0, 0, 0, 0, 1, 1, 0), scalar(False), out=(1, 5, 5, 2))),
    ("QUANTIZED_LSTM", 95, "s8 4 s8sym 4 q16s 4", quantized_lstm),
    ("ELU", 98, "f32 4 f16 4", lambda t: same(t, number(t, 1))),
    ("HARD_SWISH", 99, "f32 4 f16 4 u8 4 s8 4", same),
    ("BATCH_MATMUL", 102, "f32 6 f16 6 s8 6 i32 6",
     lambda t: ([like(t, 2, 3), like(t, 3, 2), scalar(False), scalar(False)], [like(t, 2, 2)])),
    ("CONCATENATION", 2, "f32 1 u8 1 f16 3 s8 4", lambda t: ([like(t, 2), like(t, 2), scalar(0)], [like(t, 4)])),
    ("CONCATENATION requantised", 2, "u8 3 s8 4", lambda t: ([like(t, 2), like(t, 2, scale=2), scalar(0)], [like(t, 4)])),
    ("DEPTH_TO_SPACE", 5, "f32 1 u8 1 f16 3 s8 4", lambda t: image(t, scalar(2), out=(1, 8, 8, 1))),
    ("DEPTH_TO_SPACE with layout", 5, "f32 3 u8 3 s8 4", lambda t: image(t, scalar(2), scalar(False), out=(1, 8, 8, 1))),
    ("EMBEDDING_LOOKUP", 7, "f32 1 i32 3 u8 3 f16 4 s8 4", lambda t: ([ints([0]), like(t, 2, 2)], [like(t, 1, 2)])),
    ("HASHTABLE_LOOKUP", 10, "f32 1 i32 1 u8 1",
     lambda t: ([ints([0]), ints([0, 1]), like(t, 2, 2)], [like(t, 1, 2), like("u8", 1, scale=1)])),
    ("LSH_PROJECTION", 15, "f32 1 i32 1 u8 1 f16 3",
     lambda t: ([like("f32", 2, 3), like(t, 2), like("f32", 2), scalar(2)], [like("i32", 6)])),
    ("LSH_PROJECTION sparse", 15, "f32 3 i32 3 u8 3",
     lambda t: ([like("f32", 2, 3), like(t, 2), omitted(3), scalar(3)], [like("i32", 2)])),
    ("LSTM", 16, "f32 1 f16 3", lstm),
    ("LSTM with normalisation", 16, "f32 3 f16 3", lambda t: lstm(t, *[omitted(like(t, 1).type.type)] * 4)),
    ("RESHAPE", 22, "f32 1 u8 1 f16 3 s8 4 i32 6", lambda t: ([like(t, 4), ints([2, 2])], [like(t, 2, 2)])),
    ("RESIZE_BILINEAR", 23, "f32 1 u8 3 f16 3 s8 4", resize),
    ("RESIZE_BILINEAR by a factor", 23, "f32 3 u8 3 f16 3 s8 4", lambda t: resize(t, scaled=True)),
    ("RESIZE_BILINEAR with layout", 23, "f32 3 u8 3 s8 4", lambda t: resize(t, scalar(False))),
    ("RESIZE_BILINEAR with align_corners", 23, "f32 4 u8 4", lambda t: resize(t, scalar(False), scalar(True))),
    ("RNN", 24, "f32 1 f16 3", lambda t: ([*rnn(t, 1), scalar(0)], [like(t, 1, 2)] * 2)),
    ("SPACE_TO_DEPTH", 26, "f32 1 u8 1 f16 3 s8 4", lambda t: image(t, scalar(2), out=(1, 2, 2, 16))),
    ("SVDF", 27, "f32 1 f16 3",
     lambda t: ([like(t, 1, 3), like(t, 2, 3), like(t, 2, 4), like(t, 2), like(t, 1, 8), scalar(1), scalar(0)],
                [like(t, 1, 8), like(t, 1, 2)])),
    ("BATCH_TO_SPACE_ND", 29, "f32 2 u8 2 f16 3 s8 4", lambda t: ([like(t, 4, 1, 1, 1), ints([2, 2])], [like(t, 1, 2, 2, 1)])),
    ("MEAN", 31, "f32 2 u8 2 f16 3 s8 4", lambda t: ([like(t, 2, 3), ints([1]), scalar(0)], [like(t, 2)])),
    ("PAD", 32, "f32 2 u8 2 f16 3 s8 4", lambda t: ([like(t, 2), ints(np.array([[1, 1]]))], [like(t, 4)])),
    ("PAD with a zero point", 32, "u8 3 s8 4", lambda t: ([like(t, 2, zero=9), ints(np.array([[1, 1]]))], [like(t, 4, zero=9)])),
    ("SPACE_TO_BATCH_ND", 33, "f32 2 u8 2 f16 3 s8 4",
     lambda t: image(t, ints([2, 2]), ints(np.zeros((2, 2))), out=(4, 2, 2, 4))),
    ("SQUEEZE", 34, "f32 2 u8 2 f16 3 s8 4", lambda t: ([like(t, 2, 1), ints([1])], [like(t, 2)])),
    ("STRIDED_SLICE", 35, "f32 2 u8 2 f16 3 s8 4",
     lambda t: ([like(t, 4), ints([0]), ints([2]), ints([1]), scalar(0), scalar(0), scalar(0)], [like(t, 2)])),
    ("TRANSPOSE", 37, "f32 2 u8 2 f16 3 s8 4", lambda t: ([like(t, 2, 3), ints([1, 0])], [like(t, 3, 2)])),
    ("ARGMAX", 39, "f32 3 f16 3 i32 3 u8 3 s8 4", arg),
    ("ARGMIN", 40, "f32 3 f16 3 i32 3 u8 3 s8 4", arg),
    ("AXIS_ALIGNED_BBOX_TRANSFORM", 41, "f32 3 f16 3",
     lambda t: ([like(t, 2, 4), like(t, 2, 4), ints([0, 0]), like(t, 1, 2)], [like(t, 2, 4)])),
    *[(f"AXIS_ALIGNED_BBOX_TRANSFORM with deltas {deltas}", 41, f"q16a {level}",
       lambda _, d=deltas: ([box(d, 2, 4), like(d, 2, 4), ints([0, 0]), box(d, 1, 2)], [box(d, 2, 4)]))
      for deltas, level in (("u8", 3), ("s8", 4))],
    ("BIDIRECTIONAL_SEQUENCE_LSTM", 42, "f32 3 f16 3", bidirectional_lstm),
    ("BIDIRECTIONAL_SEQUENCE_LSTM with states", 42, "f32 4 f16 4", lambda t: bidirectional_lstm(t, True)),
    ("BIDIRECTIONAL_SEQUENCE_RNN", 43, "f32 3 f16 3", bidirectional_rnn),
    ("BIDIRECTIONAL_SEQUENCE_RNN with states", 43, "f32 4 f16 4", lambda t: bidirectional_rnn(t, True)),
    ("BOX_WITH_NMS_LIMIT", 44, "f32 3 f16 3 u8 3 s8 4",
     lambda t: ([like(t, 3, 2), box(t, 3, 8), ints([0, 0, 0]), number(t, 0.1), scalar(-1), scalar(0), *[number(t, 0.5)] * 3],
                [like(t, 3), box(t, 3, 4), like("i32", 3), like("i32", 3)])),
    ("CHANNEL_SHUFFLE", 46, "f32 3 f16 3 u8 3 s8 4", lambda t: ([like(t, 4), scalar(2), scalar(0)], [like(t, 4)])),
    ("DETECTION_POSTPROCESSING", 47, "f32 3 f16 3",
     lambda t: ([like(t, 1, 3, 2), like(t, 1, 3, 4), like(t, 3, 4), *[number(t, 1)] * 4, scalar(False), scalar(2), scalar(1),
                 scalar(1), number(t, 0.5), number(t, 0.5), scalar(False)],
                [like(t, 1, 2), like(t, 1, 2, 4), like("i32", 1, 2), like("i32", 1)])),
    *[(name, code, "b8 3 f32 3 f16 3 i32 3 u8 3 s8 4", pair)
      for name, code in [("EQUAL", 48), ("GREATER", 53), ("GREATER_EQUAL", 54)]],
    *[(name, code, "b8 3 f32 3 f16 3 i32 3 u8 3 s8 4", pair)
      for name, code in [("LESS", 58), ("LESS_EQUAL", 59), ("NOT_EQUAL", 68)]],
    ("EXPAND_DIMS", 50, "f32 3 f16 3 i32 3 u8 3 s8 4", lambda t: ([like(t, 2), scalar(0)], [like(t, 1, 2)])),
    ("GATHER", 51, "f32 3 f16 3 i32 3 u8 3 s8 4", lambda t: ([like(t, 2), scalar(0), ints([1])], [like(t, 1)])),
    ("GENERATE_PROPOSALS", 52, "f32 3 f16 3 u8 3 s8 4",
     lambda t: ([like(t, 1, 2, 2, 1), like(t, 1, 2, 2, 4),
                 tensor(np.zeros((1, 4), np.int16), 0.125) if t in ("u8", "s8") else like(t, 1, 4), box(t, 1, 2),
                 number(t, 1), number(t, 1), scalar(-1), scalar(-1), number(t, 0.5), number(t, 1), scalar(False)],
                [like(t, 4), box(t, 4, 4), like("i32", 4)])),
    ("HEATMAP_MAX_KEYPOINT", 56, "f32 3 f16 3 u8 3 s8 4",
     lambda t: ([like(t, 1, 2, 2, 1), box(t, 1, 4), scalar(False)], [like(t, 1, 1), box(t, 1, 1, 2)])),
    ("LOGICAL_AND", 61, "b8 3", pair),
    ("LOGICAL_OR", 63, "b8 3", pair),
    ("PAD_V2", 69, "f32 3 f16 3 u8 3 s8 4",
     lambda t: ([like(t, 2), ints(np.array([[1, 1]])), scalar(0) if t in ("u8", "s8") else number(t, 0)], [like(t, 4)])),
    ("RANDOM_MULTINOMIAL", 74, "f32 3 f16 3", lambda t: ([like(t, 1, 2), scalar(3), ints([1, 2])], [like("i32", 1, 3)])),
    *[(name, code, "b8 3", reduction) for name, code in [("REDUCE_ALL", 75), ("REDUCE_ANY", 76)]],
    *[(name, code, "f32 3 f16 3 u8 3 s8 4", reduction) for name, code in [("REDUCE_MAX", 77), ("REDUCE_MIN", 78)]],
    *[(name, code, "f32 3 f16 3", reduction) for name, code in [("REDUCE_PROD", 79), ("REDUCE_SUM", 80)]],
    ("ROI_ALIGN", 81, "f32 3 f16 3 u8 3 s8 4", lambda t: roi(t, scalar(0), scalar(0))),
    ("ROI_POOLING", 82, "f32 3 f16 3 u8 3 s8 4", roi),
    ("SELECT", 84, "f32 3 f16 3 i32 3 u8 3 s8 4", lambda t: ([like("b8", 2), like(t, 2), like(t, 2)], [like(t, 2)])),
    ("SLICE", 86, "f32 3 f16 3 i32 3 u8 3 s8 4", lambda t: ([like(t, 4), ints([0]), ints([2])], [like(t, 2)])),
    ("SPLIT", 87, "f32 3 f16 3 i32 3 u8 3 s8 4", lambda t: ([like(t, 4), scalar(0), scalar(2)], [like(t, 2)] * 2)),
    ("TILE", 89, "f32 3 f16 3 i32 3 u8 3 s8 4", lambda t: ([like(t, 2), ints([2])], [like(t, 4)])),
    ("TOPK_V2", 90, "f32 3 f16 3 i32 3 u8 3 s8 4", lambda t: ([like(t, 4), scalar(2)], [like(t, 2), like("i32", 2)])),
    ("UNIDIRECTIONAL_SEQUENCE_LSTM", 92, "f32 3 f16 3", sequence_lstm),
    ("UNIDIRECTIONAL_SEQUENCE_LSTM with states", 92, "f32 4 f16 4", lambda t: sequence_lstm(t, True)),
    ("UNIDIRECTIONAL_SEQUENCE_RNN", 93, "f32 3 f16 3", lambda t: ([*rnn(t, 1, 4), scalar(0), scalar(0)], [like(t, 1, 4, 2)])),
    ("UNIDIRECTIONAL_SEQUENCE_RNN with state", 93, "f32 4 f16 4",
     lambda t: ([*rnn(t, 1, 4), scalar(0), scalar(0)], [like(t, 1, 4, 2), like(t, 1, 2)])),
    ("RESIZE_NEAREST_NEIGHBOR", 94, "f32 3 f16 3 u8 3 s8 4", lambda t: resize(t, scalar(False))),
    ("RESIZE_NEAREST_NEIGHBOR with align_corners", 94, "f32 4 u8 4", lambda t: resize(t, scalar(False), scalar(True))),
    ("FILL", 100, "f32 4 f16 4 i32 4", lambda t: ([ints([2]), scalar(0) if t == "i32" else number(t, 0)], [like(t, 2)])),
    ("RANK", 101, "f32 4 f16 4 i32 4 u8 4 s8 4 b8 4 q16a 4 q16s 4 pc 4 s8sym 4",
     lambda t: ([like(t, 2)], [scalar(1)])),
    ("PACK", 103, "f32 6 f16 6 u8 6 s8 6 i32 6", lambda t: ([scalar(0), like(t, 2), like(t, 2)], [like(t, 2, 2)])),
    ("MIRROR_PAD", 104, "f32 7 f16 7 u8 7 s8 7 i32 7", lambda t: ([like(t, 2), ints(np.array([[1, 1]])), scalar(0)], [like(t, 4)])),
    ("REVERSE", 105, "f32 7 f16 7 u8 7 s8 7 i32 7", lambda t: ([like(t, 2), ints([0])], [like(t, 2)])),
]  # fmt: skip


def needed(api: Nnapi, code: int, form: Form) -> int:
    """The lowest level at which the operation can be added; 9 when at none."""
    for level in range(1, 9):
        assert api.configure(feature_level=level) == 0
        with Model(api) as model:
            try:
                places = [model.operand(operand.type) for operand in form[0]]
                for place, operand in zip(places, form[0]):
                    if operand.channels is not None:
                        model.channels(place, *operand.channels)
                results = [model.operand(operand.type) for operand in form[1]]
                for place, operand in zip(places, form[0]):
                    if operand.value is None or operand.constant:
                        model.value(place, operand.value)
                model.operation(code, places, results)
                return level
            except NnapiError as error:
                assert error.code == BAD_DATA, str(error)
    return 9


def rows() -> Iterator[Any]:
    for name, code, levels, build in OPERATIONS:
        words = levels.split()
        yield pytest.param(code, dict(zip(words[::2], map(int, words[1::2]))), build, id=name)


@pytest.mark.parametrize(("code", "levels", "build"), list(rows()))
def test_level(api: Nnapi, code: int, levels: dict[str, int], build: Callable[[str], Form]) -> None:
    have = {type_: needed(api, code, build(type_)) for type_ in levels}
    assert have == levels


#: How many results there are depends on values.
COUNTED = {44, 52}


@pytest.mark.parametrize(("code", "levels", "build"), list(rows()))
def test_every_form_runs(api: Nnapi, code: int, levels: dict[str, int], build: Callable[[str], Form]) -> None:
    """In each data type, with constants and with inputs, with known and unknown result shapes: the results have the form's shapes."""
    for type_ in levels:
        inputs, outputs = build(type_)
        for way in WAYS:
            if code in COUNTED and way.shapes == "known":
                continue
            results = run(api, code, inputs, outputs, way)
            if code not in COUNTED:
                assert [r.shape for r in results] == [o.type.dims for o in outputs], f"{type_}, {way}"


def test_the_table_is_complete() -> None:
    """Each operation in each data type, with the level that NNAPI's documentation gives it."""
    documented = json.loads(shared_path("facts", "nnapi_ops.json").read_text())
    wanted: dict[int, dict[str, int]] = {}
    for entry in documented.values():
        wanted[entry["code"]] = {type_: level_of(constant) for type_, constant in entry["types"].items()}
    assert wanted.pop(96) == wanted.pop(97) == {}  # IF, WHILE: below
    have: dict[int, dict[str, int]] = {code: {} for code in wanted}
    for _, code, levels, _ in OPERATIONS:
        words = levels.split()
        for type_, level in zip(words[::2], map(int, words[1::2])):
            if type_ != "pc_filter_s8":
                have[code][type_] = min(level, have[code].get(type_, 9))
    assert have == wanted


def level_of(constant: int) -> int:
    """27 -> 1, 1000008 -> 8."""
    return constant - 26 if constant < 1000 else constant - 1000000


def add_control_flow(api: Nnapi, code: int) -> None:
    """IF or WHILE of models that take a float and give it back, or say that it is below itself."""
    floats, truth = OperandType(TENSOR_FLOAT32, (1,)), OperandType(TENSOR_BOOL8, (1,))
    with Model(api) as test, Model(api) as step, Model(api) as model:
        for part, result, operation in ((test, truth, 58), (step, floats, 0)):
            x, out = part.operand(floats), part.operand(result)
            part.operation(operation, [x, x, *([] if part is test else [part.constant(OperandType(INT32), 0)])], [out])
            part.identify([x], [out])
            part.finish()
        first, second = model.operand(OperandType(MODEL)), model.operand(OperandType(MODEL))
        for place, part in ((first, test if code == 97 else step), (second, step)):
            api.check("Model_setOperandValueFromModel", model.handle, place, part.handle)
        condition, x, out = model.operand(truth), model.operand(floats), model.operand(floats)
        model.operation(code, [first, second, x] if code == 97 else [condition, first, second, x], [out])


@pytest.mark.parametrize("code", [96, 97])
def test_control_flow_comes_with_level_4(api: Nnapi, code: int) -> None:
    for level in range(1, 9):
        assert api.configure(feature_level=level) == 0
        if level >= 4:
            add_control_flow(api, code)
        else:
            with pytest.raises(NnapiError):
                add_control_flow(api, code)


#: Operations that have no data type, or whose operands' types are fixed for a part.
FIXED = {15, 41, 73, 95}
#: With another type here, it is the operation's other form.
OTHER_FORM = {("CONV_2D explicit", 7), ("DEPTHWISE_CONV_2D explicit", 8)}


@pytest.mark.parametrize(("code", "levels", "build"), list(rows()))
def test_other_types_are_refused(api: Nnapi, code: int, levels: dict[str, int], build: Callable[[str], Form]) -> None:
    """Of the common types, those that no form of the operation lists."""
    names = {type_ for _, c, row, _ in OPERATIONS if c == code for type_ in row.split()[::2]}
    for type_ in {"f32", "f16", "u8", "s8", "i32", "b8"} - names:
        if code in FIXED:
            continue
        assert needed(api, code, build(type_)) == 9, type_


@pytest.mark.parametrize(("code", "levels", "build"), list(rows()))
def test_wrong_counts_are_refused(
    api: Nnapi, code: int, levels: dict[str, int], build: Callable[[str], Form], request: pytest.FixtureRequest
) -> None:
    """One operand fewer or more than any form has, or of another type."""
    inputs, outputs = build(next(iter(levels)))
    extra = like("f32", 2, 2)
    assert needed(api, code, ([*inputs, *[extra] * 30], outputs)) == 9 or code == 103  # PACK takes any number
    assert needed(api, code, (inputs[:1], outputs)) == 9 or len(inputs) == 1
    assert needed(api, code, (inputs, [*outputs, *[scalar(1)] * 7])) == 9
    other = {0: 1, 1: 6, 6: 0, 10: 1}
    for position, operand in enumerate(inputs):
        if operand.scalar:
            wrong = scalar({1: 1, 6: True, 0: 1.0}[other[operand.type.type]])
        else:
            shape = operand.type.dims or 1
            wrong = tensor(np.zeros(shape, np.float16 if code in (73, 95) else np.int16))
        if code == 101 or (request.node.callspec.id, position) in OTHER_FORM:
            continue
        changed = [*inputs[:position], wrong, *inputs[position + 1 :]]
        assert needed(api, code, (changed, outputs)) == 9, f"input {position}"
