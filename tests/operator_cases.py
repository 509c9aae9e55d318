"""One small model for each operator and type that NNAPI has a form for: rules and lowerings are tested on all of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from flatbuffers import flexbuffers
from nnapi_toolkit.schema.enums import (
    ActivationFunctionType,
    FullyConnectedOptionsWeightsFormat,
    LSHProjectionType,
    MirrorPadMode,
    Padding,
    TensorType,
)

from tests import recurrent_cases
from tests.differential.litert import T, floats, integers, rng, single

Array = np.ndarray
SAME, VALID = Padding.SAME, Padding.VALID
RELU, RELU6 = ActivationFunctionType.RELU, ActivationFunctionType.RELU6


@dataclass
class OperatorCase:
    """A model of one operator.

    Attributes:
        op: The operator, or a custom code.
        kind: Which type of data, as in the facts about the TFLite delegate ("float32", "int8", "hybrid", ...).
        inputs, outputs: Its tensors.
        options: Its options.
        version: Its version.
        custom: Options of a custom operator.
        note: Tells variants of one operator and kind apart.
        relative: Tolerance of float results, relative to the largest of them.
        runs: How often it runs in a row (state).
        results: How many of the outputs are results of the model; None: all.
    """

    op: str
    kind: str
    inputs: Sequence[T | None]
    outputs: Sequence[T]
    options: dict[str, Any] = field(default_factory=dict)
    version: int = 1
    custom: bytes | None = None
    note: str = ""
    relative: float = 2e-6
    runs: int = 1
    intermediates: Sequence[T] = ()
    results: int | None = None

    @property
    def name(self) -> str:
        """For test ids."""
        return "-".join(filter(None, (self.op, self.kind, self.note)))

    def model(self, inputs: Sequence[T | None] | None = None) -> tuple[bytes, list[Array]]:
        """The model, with other inputs if given, and the values of its inputs."""
        return single(
            self.op, self.inputs if inputs is None else inputs, self.outputs, version=self.version, custom=self.custom,
            intermediates=self.intermediates, results=self.results, **self.options,
        )  # fmt: skip


CASES: list[OperatorCase] = []
_QUANTIZED = {"uint8": np.uint8, "int8": np.int8}


def case(op: str, kind: str, inputs: Sequence[T | None], outputs: Sequence[T], **more: Any) -> None:
    """Adds a case; unknown keywords are options of the operator."""
    known = {k: more.pop(k) for k in ("version", "custom", "note", "relative", "runs", "intermediates", "results") if k in more}
    CASES.append(OperatorCase(op, kind, inputs, outputs, more, **known))


def _seed(*words: object) -> np.random.Generator:
    return rng(sum(map(ord, "".join(map(str, words)))))


def value(
    kind: str, shape: Sequence[int], seed: object = 0, scale: float = 0.05, zero: int | None = None, const: bool = False
) -> T:
    """A tensor with data of a kind: float32, uint8, int8, int32, bool."""
    generator = _seed(kind, shape, seed)
    if kind in _QUANTIZED:
        point = zero if zero is not None else 117 if kind == "uint8" else -9
        return T(integers(generator, _QUANTIZED[kind], shape), scale=scale, zero_point=point, const=const)
    if kind == "int32":
        return T(generator.integers(-50, 50, shape).astype(np.int32), const=const)
    if kind == "bool":
        return T(generator.random(shape) < 0.5, const=const)
    if kind == "float16":
        return T(floats(generator, shape).astype(np.float16), const=const)
    return T(floats(generator, shape), const=const)


def result(kind: str, shape: Sequence[int], scale: float = 0.05, zero: int | None = None) -> T:
    """An output of a kind."""
    if kind in _QUANTIZED:
        point = zero if zero is not None else 117 if kind == "uint8" else -9
        return T(dtype=kind, shape=shape, scale=scale, zero_point=point)
    return T(dtype=kind, shape=shape)


def ints(*values: Any, dtype: Any = np.int32) -> T:
    """A constant of integers."""
    return T(np.array(values[0] if len(values) == 1 and isinstance(values[0], list) else values, dtype), const=True)


def scalar(number: Any, dtype: Any = np.int32) -> T:
    """A constant of rank 0."""
    return T(np.array(number, dtype), const=True)


# -- convolutions, fully connected ----------------------------------------------------------------------------------


def _weights(kind: str, shape: Sequence[int], channels: int, axis: int, per_channel: bool = False) -> T:
    generator = _seed("w", kind, shape, per_channel)
    if kind == "uint8":
        return T(integers(generator, np.uint8, shape), scale=0.02, zero_point=131, const=True)
    if kind == "int8":
        data = np.maximum(integers(generator, np.int8, shape), -127)
        if per_channel:
            scales = (0.01 + 0.03 * generator.random(channels)).astype(np.float32)
            return T(data, scale=scales.tolist(), zero_point=[0] * channels, dimension=axis, const=True)
        return T(data, scale=0.02, zero_point=0, const=True)
    return T(floats(generator, shape, 0.5), const=True)


def _bias(kind: str, count: int, weights: T, input_scale: float = 0.05) -> T:
    generator = _seed("b", kind, count)
    if kind in _QUANTIZED:
        scale = np.atleast_1d(np.asarray(weights.scale, np.float32)) * np.float32(input_scale)
        data = generator.integers(-3000, 3000, count).astype(np.int32)
        return T(data, scale=scale.tolist(), zero_point=[0] * len(scale), const=True)
    return T(floats(generator, (count,)), const=True)


def _convolutions() -> None:
    plain = {"stride_w": 1, "stride_h": 1, "dilation_w_factor": 1, "dilation_h_factor": 1}
    for kind in ("float32", "uint8", "int8"):
        for per_channel in (False, True) if kind == "int8" else (False,):
            w = _weights(kind, (6, 3, 3, 4), 6, 0, per_channel)
            name = "int8_per_channel_filter" if per_channel else kind
            wide = {"scale": 1.3}
            x = value(kind, (2, 8, 7, 4))
            conv = [x, w, _bias(kind, 6, w)]
            case("CONV_2D", name, conv, [result(kind, (2, 8, 7, 6), **wide)], padding=SAME, **plain, version=3)
            strided = {**plain, "stride_w": 2, "stride_h": 2, "fused_activation_function": RELU6}
            case("CONV_2D", name, conv, [result(kind, (2, 3, 3, 6), **wide)], padding=VALID, **strided, note="strided")
            d = _weights(kind, (1, 3, 3, 8), 8, 3, per_channel)
            deep = {"depth_multiplier": 2, **plain}
            out = [result(kind, (2, 8, 7, 8), scale=0.7)]
            case("DEPTHWISE_CONV_2D", name, [x, d, _bias(kind, 8, d)], out, padding=SAME, **deep)
            dilated = {**plain, "dilation_w_factor": 2, "dilation_h_factor": 2}
            case("CONV_2D", name, conv, [result(kind, (2, 8, 7, 6), **wide)], padding=SAME, **dilated, note="dilated")
            case("CONV_2D", name, conv, [result(kind, (2, 4, 3, 6), **wide)], padding=VALID, **dilated, note="dilated-valid")
            deep_dilated = {"depth_multiplier": 2, **dilated}
            case("DEPTHWISE_CONV_2D", name, [x, d, _bias(kind, 8, d)], out, padding=SAME, **deep_dilated, note="dilated")
            g = _weights(kind, (6, 3, 3, 2), 6, 0, per_channel)
            out = [result(kind, (2, 8, 7, 6), **wide)]
            case("CONV_2D", name, [x, g, _bias(kind, 6, g)], out, padding=SAME, **plain, note="grouped", version=6)
            t = _weights(kind, (5, 3, 3, 4), 5, 0, per_channel)
            shape = ints(2, 16, 14, 5)
            upsample = {"padding": SAME, "stride_w": 2, "stride_h": 2}
            out = [result(kind, (2, 16, 14, 5), scale=0.9)]
            case("TRANSPOSE_CONV", name, [shape, t, x], out, **upsample, version=2)
            case("TRANSPOSE_CONV", name, [shape, t, x, _bias(kind, 5, t)], out, **upsample, version=3, note="bias")
    for note, kernel, padding, shape in (
        ("valid", (3, 3), VALID, (1, 11, 9, 5)),
        ("even", (4, 4), SAME, (1, 10, 8, 5)),
        ("odd", (5, 2), SAME, (1, 9, 7, 5)),
        ("small", (2, 2), VALID, (1, 10, 8, 5)),
    ):
        t = _weights("float32", (5, *kernel, 4), 5, 0)
        case("TRANSPOSE_CONV", "float32", [ints(*shape), t, value("float32", (1, 5, 4, 4))], [result("float32", shape)],
             padding=padding, stride_w=2, stride_h=2, note=note, relative=1e-5, version=2)
    w8 = _weights("int8", (6, 3, 3, 4), 6, 0)
    bias = _bias("float32", 6, w8)
    hybrid = [value("float32", (1, 8, 7, 4)), w8, bias]
    case("CONV_2D", "hybrid", hybrid, [result("float32", (1, 8, 7, 6))], padding=SAME, **plain, relative=0.02, version=2)
    f = _weights("float32", (7, 12), 7, 0)
    case("FULLY_CONNECTED", "hybrid", [value("float32", (3, 12)), _weights("int8", (7, 12), 7, 0), _bias("float32", 7, f)],
         [result("float32", (3, 7))], relative=0.02, version=3)
    for kind in ("float32", "uint8", "int8"):
        w = _weights(kind, (7, 12), 7, 0)
        x = value(kind, (3, 12))
        out = [result(kind, (3, 7), scale=0.9)]
        fmt = {"weights_format": FullyConnectedOptionsWeightsFormat.DEFAULT}
        version = {"float32": 1, "uint8": 2, "int8": 4}[kind]
        case("FULLY_CONNECTED", kind, [x, w, _bias(kind, 7, w)], out, **fmt, version=version)
        case("FULLY_CONNECTED", kind, [x, w, None], out, fused_activation_function=RELU, **fmt, note="no-bias", version=version)
        image = value(kind, (1, 3, 2, 6))
        case("FULLY_CONNECTED", kind, [image, w, _bias(kind, 7, w)], out, **fmt, note="image", version=version)
        long = value(kind, (2, 3, 12))
        kept = [result(kind, (2, 3, 7), scale=0.9)]
        case("FULLY_CONNECTED", kind, [long, w, _bias(kind, 7, w)], kept, keep_num_dims=True, **fmt, note="kept", version=5)
    w = _weights("int8", (7, 12), 7, 0, True)
    case("FULLY_CONNECTED", "int8", [value("int8", (3, 12)), w, _bias("int8", 7, w)], [result("int8", (3, 7), scale=0.9)],
         weights_format=FullyConnectedOptionsWeightsFormat.DEFAULT, note="per-channel", version=12)
    w = _weights("int8", (16, 48), 16, 0, True)
    case("FULLY_CONNECTED", "int8", [value("int8", (150, 48)), w, _bias("int8", 16, w)], [result("int8", (150, 16), scale=0.9)],
         weights_format=FullyConnectedOptionsWeightsFormat.DEFAULT, note="per-channel-many", version=12)


def _pools() -> None:
    for kind in ("float32", "uint8", "int8"):
        for op in ("AVERAGE_POOL_2D", "MAX_POOL_2D", "L2_POOL_2D"):
            if op == "L2_POOL_2D" and kind != "float32":
                continue
            windows = (("odd", 3, VALID, (2, 3, 3, 5)), ("even", 2, VALID, (2, 4, 3, 5)), ("edge", 3, SAME, (2, 4, 4, 5)))
            for note, size, pad, out in windows:
                options = {"stride_w": 2, "stride_h": 2, "filter_width": size, "filter_height": size, "padding": pad}
                version = 2 if kind == "int8" else 1
                case(op, kind, [value(kind, (2, 8, 7, 5))], [result(kind, out)], **options, note=note, version=version)
            options = {"stride_w": 1, "stride_h": 1, "filter_width": 2, "filter_height": 2, "padding": VALID}
            case(op, kind, [value(kind, (1, 4, 4, 3))], [result(kind, (1, 3, 3, 3))], fused_activation_function=RELU,
                 **options, note="relu", version=2 if kind == "int8" else 1)


# -- elementwise ----------------------------------------------------------------------------------------------------


def _elementwise() -> None:
    for op in ("ADD", "SUB", "MUL"):
        for kind in ("float32", "uint8", "int8", "int32"):
            scale = 0.4 if op == "MUL" else 0.1
            version = 2 if kind == "int8" else 1
            pair = [value(kind, (2, 3, 4, 5)), value(kind, (2, 3, 4, 5), 1, 0.03)]
            case(op, kind, pair, [result(kind, (2, 3, 4, 5), scale=scale)], version=version)
            wide = [value(kind, (2, 1, 4, 5)), value(kind, (3, 1, 5), 1, 0.03)]
            case(op, kind, wide, [result(kind, (2, 3, 4, 5), scale=scale)], version=version, note="broadcast")
            single = [value(kind, (2, 5)), value(kind, (), 1, 0.03, const=True)]
            case(op, kind, single, [result(kind, (2, 5), scale=scale)], version=version, note="scalar")
            fused = [result(kind, (2, 3, 4, 5), scale=scale)]
            case(op, kind, pair, fused, fused_activation_function=RELU6, version=version, note="relu6")
    pair = [value("float32", (2, 3, 4)), T(np.abs(value("float32", (2, 3, 4), 1).data) + 0.5)]
    case("DIV", "float32", pair, [result("float32", (2, 3, 4))])
    case("FLOOR_DIV", "float32", pair, [result("float32", (2, 3, 4))], version=1)
    divisors = T(np.array([3, -4, 7, -2, 5, 9], np.int32).reshape(2, 3))
    case("FLOOR_DIV", "int32", [value("int32", (2, 3)), divisors], [result("int32", (2, 3))])
    case("POW", "float32", [T(np.abs(pair[0].data) + 0.1), value("float32", (1, 3, 1), 2)], [result("float32", (2, 3, 4))],
         relative=1e-5)
    for kind in ("float32", "int32", "uint8", "int8"):
        pair = [value(kind, (2, 3, 4)), value(kind, (2, 3, 4), 1)]
        version = 2 if kind == "int8" else 1
        for op in ("MAXIMUM", "MINIMUM"):
            case(op, kind, pair, [result(kind, (2, 3, 4))], version=version)
            one = [value(kind, (2, 3)), value(kind, (), 1, const=True)]
            case(op, kind, one, [result(kind, (2, 3))], version=version, note="scalar")
    for kind in ("float32", "int32", "int8"):
        pair = [value(kind, (2, 3, 4)), value(kind, (2, 3, 4), 1)]
        case("SQUARED_DIFFERENCE", kind, pair, [result(kind, (2, 3, 4), scale=1.5)], version=2 if kind == "int8" else 1)
    case("SQUARE", "float32", [value("float32", (2, 3))], [result("float32", (2, 3))])
    for kind in ("float32", "int32"):
        case("ADD_N", kind, [value(kind, (2, 3), i) for i in range(3)], [result(kind, (2, 3))])


def _unary() -> None:
    positive = T(np.abs(value("float32", (2, 3, 4)).data) + 0.01)
    plain = value("float32", (2, 3, 4))
    for op in ("ABS", "EXP", "SIN", "NEG", "FLOOR", "CEIL", "ELU", "COS"):
        case(op, "float32", [plain], [result("float32", (2, 3, 4))], relative=5e-6)
    for op in ("LOG", "SQRT", "RSQRT"):
        case(op, "float32", [positive], [result("float32", (2, 3, 4))], relative=5e-6)
    roots = T(np.arange(-100, 128, dtype=np.int8).reshape(4, 57), scale=0.04, zero_point=-100)
    case("RSQRT", "int8", [roots], [result("int8", (4, 57), 0.03, -90)], version=2)
    case("NEG", "int32", [value("int32", (2, 3))], [result("int32", (2, 3))])
    case("ABS", "int32", [value("int32", (2, 3))], [result("int32", (2, 3))], version=3)
    for exact in (False, True):
        case("GELU", "float32", [plain], [result("float32", (2, 3, 4))], approximate=not exact, note="erf" if exact else "tanh",
             relative=1e-5)


def _activations() -> None:
    shape = (2, 3, 4, 5)
    for kind in ("float32", "uint8", "int8"):
        version = 2 if kind == "int8" else 1
        x = value(kind, shape)
        for op in ("RELU", "RELU6", "RELU_N1_TO_1"):
            newer = 1 if op == "RELU_N1_TO_1" else version
            case(op, kind, [x], [result(kind, shape)], version=newer)
            if kind != "float32":
                case(op, kind, [x], [result(kind, shape, 0.031, -100 if kind == "int8" else 3)], version=newer,
                     note="rescaled")
        case("HARD_SWISH", kind, [x], [result(kind, shape, 0.04, -100 if kind == "int8" else 20)])
        signed = kind == "int8"
        case("LOGISTIC", kind, [x], [result(kind, shape, 1 / 256, -128 if signed else 0)], version=version)
        case("TANH", kind, [x], [result(kind, shape, 1 / 128, 0 if signed else 128)], version=version)
        case("LEAKY_RELU", kind, [x], [result(kind, shape, 0.03)], alpha=0.2, version=2 if signed else 1)
        alpha = T(np.abs(value(kind, (1, 1, 5), 3).data) if kind == "float32" else value(kind, (1, 1, 5), 3).data,
                  scale=None if kind == "float32" else 0.004, zero_point=None if kind == "float32" else 0 if signed else 128,
                  const=True)
        case("PRELU", kind, [x, alpha], [result(kind, shape, 0.03)])
        flat = value(kind, (3, 10), 5)
        case("SOFTMAX", kind, [flat], [result(kind, (3, 10), 1 / 256, -128 if signed else 0)], beta=1.0, version=version)
        cube = value(kind, (2, 3, 10), 5)
        case("SOFTMAX", kind, [cube], [result(kind, (2, 3, 10), 1 / 256, -128 if signed else 0)], beta=0.7,
             version=2 if signed else 1, note="rank3")
        case("L2_NORMALIZATION", kind, [value(kind, (2, 2, 3, 6))],
             [result(kind, (2, 2, 3, 6), 1 / 128, 0 if signed else 128)], version=version)
    case("RELU_0_TO_1", "float32", [value("float32", shape)], [result("float32", shape)])
    case("LOG_SOFTMAX", "float32", [value("float32", (3, 10))], [result("float32", (3, 10))], relative=1e-5)
    case("LOCAL_RESPONSE_NORMALIZATION", "float32", [value("float32", (1, 2, 3, 8))], [result("float32", (1, 2, 3, 8))],
         radius=2, bias=1.5, alpha=0.3, beta=0.6, relative=1e-5)


# -- moving data ----------------------------------------------------------------------------------------------------


def _moves() -> None:
    for kind in ("float32", "uint8", "int8", "int32"):
        shape = (2, 3, 4, 6)
        x = value(kind, shape)
        versions = {"int8": 2}
        v = versions.get(kind, 1)
        case("RESHAPE", kind, [x, ints(6, 24)], [result(kind, (6, 24))], new_shape=[6, 24])
        case("SQUEEZE", kind, [value(kind, (1, 3, 1, 4))], [result(kind, (3, 4))], squeeze_dims=[0, 2])
        case("SQUEEZE", kind, [value(kind, (1, 3, 1, 4))], [result(kind, (3, 4))], note="all")
        case("EXPAND_DIMS", kind, [value(kind, (3, 4)), scalar(-1)], [result(kind, (3, 4, 1))])
        case("TRANSPOSE", kind, [x, ints(0, 3, 1, 2)], [result(kind, (2, 6, 3, 4))], version=v)
        case("SLICE", kind, [x, ints(0, 1, 0, 2), ints(2, 2, -1, 3)], [result(kind, (2, 2, 4, 3))], version=v)
        case("STRIDED_SLICE", kind, [x, ints(0, -1, 3, 5), ints(2, 0, 0, 0), ints(1, 1, -1, -2)], [result(kind, (2, 4, 3))],
             end_mask=12, shrink_axis_mask=2, version=v)
        bounds = [ints(0, 0, 1), ints(0, 2, 3), ints(1, 1, 1)]
        case("STRIDED_SLICE", kind, [value(kind, (2, 3, 6)), *bounds], [result(kind, (2, 3, 1, 2))],
             ellipsis_mask=1, new_axis_mask=2, version=v, note="new-axis")
        case("STRIDED_SLICE", kind, [x, ints(0, 1), ints(0, 2), ints(1, 1)], [result(kind, (4, 6))], begin_mask=0,
             shrink_axis_mask=3, version=v, note="short")
        case("TILE", kind, [value(kind, (2, 3)), ints(2, 3)], [result(kind, (4, 9))])
        case("BROADCAST_TO", kind, [value(kind, (3, 1)), ints(2, 3, 4)], [result(kind, (2, 3, 4))], version=3)
        case("GATHER", kind, [x, ints(2, 0, 1, 2)], [result(kind, (2, 4, 4, 6))], axis=1, version=v)
        case("GATHER", kind, [value(kind, (3, 4)), scalar(2)], [result(kind, (4,))], axis=0, version=v, note="scalar")
        case("SPLIT", kind, [scalar(3), x], [result(kind, (2, 3, 4, 2))] * 3, num_splits=3, version=v)
        case("SPLIT_V", kind, [x, ints(1, -1, 2), scalar(3)], [result(kind, (2, 3, 4, n)) for n in (1, 3, 2)], num_splits=3,
             version=v)
        case("PACK", kind, [value(kind, (2, 3), i) for i in range(3)], [result(kind, (2, 3, 3))], values_count=3, axis=1, version=v)
        case("PACK", kind, [value(kind, (2, 3), i) for i in range(3)], [result(kind, (2, 3, 3))], values_count=3, axis=-1,
             version=v, note="last")
        case("UNPACK", kind, [value(kind, (3, 2, 4))], [result(kind, (2, 4))] * 3, num=3, axis=0, version=v)
        case("UNPACK", kind, [value(kind, (3, 2))], [result(kind, (3,))] * 2, num=2, axis=-1, version=v, note="last")
        case("TOPK_V2", kind, [value(kind, (3, 8)), scalar(4)], [result(kind, (3, 4)), result("int32", (3, 4))], version=v)
        ties = value(kind, (3, 8), "ties")
        ties.data[:, 1::2] = ties.data[:, ::2]
        case("TOPK_V2", kind, [ties, scalar(5)], [result(kind, (3, 5)), result("int32", (3, 5))], version=v, note="ties")
        case("REVERSE_V2", kind, [x, ints(2)], [result(kind, shape)], version=v)
        case("REVERSE_V2", kind, [x, ints(2, 1)], [result(kind, shape)], version=v, note="two-axes")
        case("MIRROR_PAD", kind, [value(kind, (3, 4)), ints([[1, 2], [2, 1]])], [result(kind, (6, 7))],
             mode=MirrorPadMode.REFLECT, version=v)
        if kind == "int32":
            continue
        case("CONCATENATION", kind, [value(kind, (2, 3, n), n) for n in (2, 4, 1)], [result(kind, (2, 3, 7))], axis=-1, version=v)
        case("PAD", kind, [value(kind, (2, 3, 4)), ints([[0, 0], [1, 2], [3, 0]])], [result(kind, (2, 6, 7))], version=v)
        case("PADV2", kind, [value(kind, (2, 3)), ints([[1, 0], [0, 2]]), value(kind, (), 4, const=True)],
             [result(kind, (3, 5))], version=v)
        case("SPACE_TO_DEPTH", kind, [value(kind, (1, 4, 6, 3))], [result(kind, (1, 2, 3, 12))], block_size=2, version=v)
        case("DEPTH_TO_SPACE", kind, [value(kind, (1, 2, 3, 12))], [result(kind, (1, 4, 6, 3))], block_size=2)
        case("SPACE_TO_BATCH_ND", kind, [value(kind, (1, 4, 5, 3)), ints(2, 3), ints([[0, 0], [1, 0]])],
             [result(kind, (6, 2, 2, 3))], version=v)
        case("BATCH_TO_SPACE_ND", kind, [value(kind, (6, 2, 2, 3)), ints(2, 3), ints([[0, 0], [0, 0]])],
             [result(kind, (1, 4, 6, 3))], version=v)
        case("BATCH_TO_SPACE_ND", kind, [value(kind, (6, 2, 2, 3)), ints(2, 3), ints([[0, 0], [1, 0]])],
             [result(kind, (1, 4, 5, 3))], version=v, note="crops")
        for op in ("RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR"):
            version = 2 if kind == "int8" else 1
            case(op, kind, [value(kind, (1, 3, 4, 2)), ints(6, 6)], [result(kind, (1, 6, 6, 2))], version=version, relative=1e-5)
            for size in (3, 4):
                case(op, kind, [value(kind, (2, 3, size, 2)), ints(6, 2 * size)], [result(kind, (2, 6, 2 * size, 2))], version=3,
                     note=f"doubled-{size}", relative=1e-5, half_pixel_centers=True)
            for flag in ("align_corners", "half_pixel_centers"):
                case(op, kind, [value(kind, (1, 3, 4, 2)), ints(5, 7)], [result(kind, (1, 5, 7, 2))], version=3,
                     note=flag.split("_")[0], relative=1e-5, **{flag: True})
    case("CONCATENATION", "uint8", [value("uint8", (2, 3), 0, 0.05), value("uint8", (2, 3), 1, 0.02, 3)],
         [result("uint8", (4, 3), 0.05)], axis=0, note="rescaled")


def _reductions() -> None:
    for kind in ("float32", "uint8", "int8"):
        x = value(kind, (2, 4, 5, 3))
        version = 2 if kind == "int8" else 1
        case("MEAN", kind, [x, ints(1, 2)], [result(kind, (2, 3))], version=version)
        case("MEAN", kind, [x, ints(1, 2)], [result(kind, (2, 1, 1, 3))], keep_dims=True, version=version, note="kept")
        case("MEAN", kind, [x, ints(0, 1, 2, 3)], [result(kind, ())], version=version, note="all")
        if kind != "float32":
            case("MEAN", kind, [x, ints(1, 2)], [result(kind, (2, 3), 0.011, 4)], version=version, note="rescaled")
            case("MEAN", kind, [x, ints(3, 0)], [result(kind, (4, 5), 0.011, 4)], version=version, note="rescaled-others")
            case("MEAN", kind, [value(kind, (1, 4, 4, 3)), ints(1, 2)], [result(kind, (1, 3), 0.02, 4)], version=version,
                 note="rescaled-square")
        for op in ("REDUCE_MAX", "REDUCE_MIN"):
            case(op, kind, [x, ints(-1)], [result(kind, (2, 4, 5))], version=version)
    for op in ("SUM", "REDUCE_PROD"):
        case(op, "float32", [value("float32", (2, 4, 5)), ints(0, 2)], [result("float32", (4,))], relative=1e-5)
        case(op, "float32", [value("float32", (2, 4)), ints(0, 1)], [result("float32", ())], relative=1e-5, note="all")
    for op in ("REDUCE_ANY", "REDUCE_ALL"):
        case(op, "bool", [value("bool", (2, 3, 4)), ints(1)], [result("bool", (2, 1, 4))], keep_dims=True)
    for kind in ("float32", "uint8", "int8", "int32"):
        for op in ("ARG_MAX", "ARG_MIN"):
            case(op, kind, [value(kind, (3, 5, 4)), scalar(1)], [result("int32", (3, 4))], output_type=TensorType.INT32,
                 version=2 if kind == "int8" else 1)


def _logic() -> None:
    for op in ("EQUAL", "NOT_EQUAL", "LESS", "LESS_EQUAL", "GREATER", "GREATER_EQUAL"):
        for kind in ("float32", "uint8", "int8", "int32"):
            pair = [value(kind, (2, 3, 4)), value(kind, (3, 1), 1, 0.03, const=True)]
            case(op, kind, pair, [result("bool", (2, 3, 4))], version=2 if kind == "int8" else 1)
    for op in ("EQUAL", "NOT_EQUAL"):
        case(op, "bool", [value("bool", (2, 3)), value("bool", (2, 3), 1)], [result("bool", (2, 3))])
    for op in ("LOGICAL_AND", "LOGICAL_OR"):
        case(op, "bool", [value("bool", (2, 3)), value("bool", (1, 3), 1)], [result("bool", (2, 3))])
    case("LOGICAL_NOT", "bool", [value("bool", (2, 3))], [result("bool", (2, 3))])
    for kind in ("float32", "uint8", "int8", "int32"):
        three = [value("bool", (2, 3)), value(kind, (2, 3)), value(kind, (2, 3), 1)]
        case("SELECT", kind, three, [result(kind, (2, 3))])
        case("SELECT_V2", kind, three, [result(kind, (2, 3))])
        spread = [value("bool", (2, 3)), value(kind, (1, 3)), value(kind, (2, 1), 1)]
        case("SELECT_V2", kind, spread, [result(kind, (2, 3))], note="broadcast")


def _conversions() -> None:
    for kind in ("uint8", "int8"):
        case("QUANTIZE", "float32", [value("float32", (2, 3, 4))], [result(kind, (2, 3, 4))], note=f"to-{kind}")
        for other in ("uint8", "int8"):
            same = 117 if kind == "uint8" else -9
            moved = same + (0 if kind == other else 128 if other == "uint8" else -128)
            if -128 <= moved <= 255 and kind != other:
                case("QUANTIZE", kind, [value(kind, (2, 3))], [result(other, (2, 3), 0.05, moved)], note=f"relabelled-{other}")
            case("QUANTIZE", kind, [value(kind, (2, 30))], [result(other, (2, 30), 0.031, 5)], note=f"rescaled-{other}")
        case("DEQUANTIZE", kind, [value(kind, (2, 3, 4))], [result("float32", (2, 3, 4))], version=2 if kind == "int8" else 1)
    case("DEQUANTIZE", "float16", [value("float16", (2, 3))], [result("float32", (2, 3))], version=3)
    for low, high, bits in ((-1.0, 1.0, 8), (0.0, 6.0, 8), (-0.7, 3.1, 8), (-4.0, 0.0, 4), (-2.0, 2.0, 16)):
        scale = np.float32((high - low) / (2**bits - 1))
        ties = (np.arange(-12, 12, dtype=np.float32) * np.float32(0.5)) * scale  # on a step, or between two
        x = T(np.concatenate([ties, floats(rng(bits), (24,)), np.nextafter(ties, np.float32(9))]).reshape(4, 18))
        case("FAKE_QUANT", "float32", [x], [result("float32", (4, 18))], min=low, max=high, num_bits=bits, relative=0.0,
             note=f"{low:g}-{high:g}-{bits}")
    case("CAST", "float32", [value("float32", (2, 3))], [result("int32", (2, 3))], note="to-int32")
    case("CAST", "int32", [value("int32", (2, 3))], [result("float32", (2, 3))], note="to-float32")
    case("CAST", "uint8", [T(integers(rng(3), np.uint8, (2, 3)))], [result("float32", (2, 3))], note="to-float32")
    case("CAST", "uint8", [T(integers(rng(3), np.uint8, (2, 3)))], [result("int32", (2, 3))], note="to-int32")
    case("CAST", "bool", [value("bool", (2, 3))], [result("float32", (2, 3))], note="to-float32")
    case("CAST", "int32", [T(np.array([[0, 1, 2], [-1, 0, 7]], np.int32))], [result("bool", (2, 3))], note="to-bool")


def _lookups() -> None:
    rows = T(np.array([3, 0, 2], np.int32))
    case("EMBEDDING_LOOKUP", "float32", [rows, value("float32", (4, 5), const=True)], [result("float32", (3, 5))])
    case("HASHTABLE_LOOKUP", "float32", [T(np.array([3, 9, 5], np.int32)), ints(1, 3, 5, 7), value("float32", (4, 2), const=True)],
         [result("float32", (3, 2)), T(dtype="uint8", shape=(3,))])
    hashes = T(floats(rng(7), (3, 2)), const=True)
    for kind, count in ((LSHProjectionType.SPARSE, 3), (LSHProjectionType.DENSE, 6)):
        case("LSH_PROJECTION", "int32", [hashes, value("int32", (5, 2))], [result("int32", (count,))], type=kind,
             note=kind.name.lower())
    picked = [T(np.array([[0, 2], [4, 1]], np.int32)), scalar(4)]
    case("ONE_HOT", "float32", [*picked, scalar(2.5, np.float32), scalar(-1, np.float32)],
         [result("float32", (2, 4, 2))], axis=1)
    picked = [T(np.array([0, 2, 7], np.int32)), scalar(3)]
    case("ONE_HOT", "int32", [*picked, scalar(1), scalar(0)], [result("int32", (3, 3))], axis=-1)
    case("FILL", "float32", [ints(2, 3), scalar(1.5, np.float32)], [result("float32", (2, 3))])
    case("FILL", "int32", [ints(2, 3), scalar(7)], [result("int32", (2, 3))])
    for kind in ("float32", "int8"):
        a, b = value(kind, (2, 3, 4, 5)), value(kind, (2, 3, 5, 6), 1)
        case("BATCH_MATMUL", kind, [a, b], [result(kind, (2, 3, 4, 6), 0.8)], relative=1e-5, version=2 if kind == "int8" else 1)
        turned = value(kind, (2, 3, 6, 5), 1)
        case("BATCH_MATMUL", kind, [a, turned], [result(kind, (2, 3, 4, 6), 0.8)], adj_y=True, relative=1e-5, note="turned",
             version=2 if kind == "int8" else 1)
    case("BATCH_MATMUL", "float32", [value("float32", (2, 3, 4, 5)), value("float32", (5, 6), 1)],
         [result("float32", (2, 3, 4, 6))], relative=1e-5, note="broadcast")
    case("BATCH_MATMUL", "float32", [value("float32", (2, 4, 5)), value("float32", (5, 6), 1, const=True)],
         [result("float32", (2, 4, 6))], relative=1e-5, note="constant")


def _detection() -> None:
    generator = rng(11)
    anchors = np.stack([generator.uniform(0.1, 0.9, 12) for _ in range(2)] + [np.full(12, 0.2)] * 2, 1).astype(np.float32)
    scores = generator.permutation(np.linspace(0.05, 0.95, 12 * 4)).reshape(1, 12, 4).astype(np.float32)
    boxes = T(floats(generator, (1, 12, 4), 0.3))
    # LiteRT leaves the rows behind the last detection of the fast form as they were: no case with few of them.
    for regular, threshold in ((False, 0.1), (True, 0.1), (True, 0.85)):
        options = flexbuffers.Dumps(
            {
                "max_detections": 4, "max_classes_per_detection": 1, "detections_per_class": 4, "use_regular_nms": regular,
                "nms_score_threshold": threshold, "nms_iou_threshold": 0.5, "num_classes": 3,
                "y_scale": 10.0, "x_scale": 10.0, "h_scale": 5.0, "w_scale": 5.0,
            }
        )  # fmt: skip
        outputs = [T(dtype="float32", shape=shape) for shape in ((1, 4, 4), (1, 4), (1, 4), (1,))]
        case("TFLite_Detection_PostProcess", "float32", [boxes, T(scores), T(anchors, const=True)], outputs,
             custom=bytes(options), note=f"{'regular' if regular else 'fast'}{'-few' if threshold > 0.5 else ''}", relative=1e-5)


for _add in (_convolutions, _pools, _elementwise, _unary, _activations, _moves, _reductions, _logic, _conversions, _lookups,
             _detection):
    _add()
recurrent_cases.add(case)

NAMES = [c.name for c in CASES]
assert len(set(NAMES)) == len(NAMES), "two cases of one name"
