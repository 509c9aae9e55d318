"""int8 convolutions below feature level 3, where NNAPI has uint8 with one scale: one convolution for each run of equal scales.

TFLite scales the sums of int8 convolutions by a product formed in double, NNAPI those of uint8 ones by a product in float32. So
the filter scale of the uint8 form is chosen among the neighbours of the true one such that both round every sum that can occur
alike; where no neighbour does, the node is refused. A sum is a whole number, so the two functions are equal when they step from
one result to the next at the same sums: 255 steps are looked at, not millions of sums.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np
from nnapi_toolkit.delegate.fixed_point import Int64, multiply, quantize_multiplier
from nnapi_toolkit.delegate.nnapi import OperandCode
from nnapi_toolkit.delegate.ops import convolution
from nnapi_toolkit.delegate.ops.base import Case, Operand, float32_product
from nnapi_toolkit.delegate.ops.gather import AxisSlice, emit_strided
from nnapi_toolkit.delegate.rewrites.base import Rewrite
from nnapi_toolkit.schema.enums import TensorType
from numpy.typing import NDArray

if TYPE_CHECKING:
    from nnapi_toolkit.delegate.program import ProgramBuilder

_UINT8, _INT32 = OperandCode.TENSOR_QUANT8_ASYMM, OperandCode.TENSOR_INT32
#: Most convolutions that one becomes: each reads the whole input again, and the more there are, the rarer all have an exact scale.
MOST = 8
#: How many float32 neighbours on each side of the true scale are tried.
NEIGHBOURS = 8
#: Sums looked at around each step, on each side: both functions step within two of the true place.
_AROUND = np.arange(-4, 5, dtype=np.int64)


# -- a scale that rounds alike --------------------------------------------------------------------------------------


@lru_cache(maxsize=8192)
def exact_scale(
    input_scale: float, filter_scale: float, output_scale: float, zero_point: int, bound: int
) -> float | None:
    """A filter scale for NNAPI's uint8 convolution that rounds as TFLite's int8 one does with the true scale.

    Args:
        input_scale, filter_scale, output_scale: Those of the int8 convolution.
        zero_point: The output's, as int8.
        bound: No sum is larger in magnitude.

    Returns:
        None where none of the neighbours does.
    """
    wide = input_scale * filter_scale / output_scale
    exact = quantize_multiplier(wide)
    levels = np.arange(-128 - zero_point, 128 - zero_point, dtype=np.int64)
    steps = np.floor((levels[1:] - 0.5) / wide)
    near = steps[np.abs(steps) <= bound + 8].astype(np.int64)
    sums = near[:, None] + _AROUND
    wanted = multiply(sums, *exact)
    if not _steps_inside(wanted):
        return None
    for scale in _neighbours(filter_scale):
        product = float32_product(input_scale, scale)
        if not product < output_scale:
            continue
        found = multiply(sums, *quantize_multiplier(product / output_scale))
        if np.array_equal(found, wanted):
            return scale
    return None


def _steps_inside(results: Int64) -> bool:
    """Whether every row rises: the step that it is there for lies within."""
    return bool((results[:, -1] > results[:, 0]).all())


def _neighbours(scale: float) -> Iterator[float]:
    """The float32 value itself, then the next ones in turn above and below."""
    up = down = np.float32(scale)
    yield float(up)
    for _ in range(NEIGHBOURS):
        up, down = np.nextafter(up, np.float32(np.inf)), np.nextafter(down, np.float32(0))
        yield float(up)
        yield float(down)


# -- the convolution in runs ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Run:
    """Output channels from `first` to before `end`, and the scale of their uint8 filter."""

    first: int
    end: int
    scale: float


def _operands(case: Case) -> tuple[Operand, Operand, Operand | None, Operand]:
    return case.input(0, "input"), case.input(1, "filter"), convolution.optional_bias(case, 2), case.output()


def _is_depthwise(case: Case) -> bool:
    return case.node.operator.name == "DEPTHWISE_CONV_2D"


def _filter(case: Case) -> NDArray[Any]:
    """The filter with the output channels in front."""
    data = case.constant(case.input(1, "filter"))
    return np.moveaxis(data, 3, 0) if _is_depthwise(case) else data


def _scales(case: Case) -> tuple[float, ...]:
    """One scale for each output channel."""
    weights = case.input(1, "filter")
    convolution.check_scales(case, weights)
    q = weights.tensor.quantization
    assert q is not None
    case.need(not any(q.zero_point), "quantization", weights, "with a zero point", "symmetric (zero point 0)")
    channel = 3 if _is_depthwise(case) else 0
    case.need(
        len(q.scale) == 1 or q.dimension == channel,
        "quantization",
        weights,
        f"per slice of axis {q.dimension}",
        f"axis {channel}",
    )
    return q.scale * weights.shape[channel] if len(q.scale) == 1 else q.scale


def _bounds(case: Case, scales: tuple[float, ...]) -> list[tuple[int, int]]:
    """First and end of the runs of equal scales; those of a depthwise convolution stay within one input channel, unless
    all scales are equal."""
    multiplier = len(scales) // case.input(0).shape[3]
    alike = len(set(scales)) == 1
    keys = [(0 if alike or not _is_depthwise(case) else c // multiplier, scale) for c, scale in enumerate(scales)]
    bounds, first = [], 0
    for _, group in groupby(keys):
        end = first + len(list(group))
        bounds.append((first, end))
        first = end
    return bounds


def _runs(case: Case) -> list[_Run]:
    """The runs with their scales; refuses what has no exact one."""
    x, weights, bias, out = _operands(case)
    scales = _scales(case)
    bounds = _bounds(case, scales)
    case.need(
        len(bounds) <= MOST,
        "per-channel-quantization",
        weights,
        f"{len(bounds)} runs of equal scales",
        f"at most {MOST}",
    )
    (input_scale, _), (output_scale, zero_point) = case.scaled(x), case.scaled(out)
    case.constant(weights)
    largest = 255 * 128 * (prod(weights.shape) // len(scales))
    if bias is not None:
        largest += int(np.abs(case.constant(bias).astype(np.int64)).max())
    bound = 1 << largest.bit_length()  # a power of two, so that what is found serves other layers, too
    runs = []
    for first, end in bounds:
        scale = exact_scale(input_scale, scales[first], output_scale, zero_point, bound)
        if scale is None:
            wanted = "of a scale beside which some uint8 scale rounds all sums like the int8 form"
            case.refuse(
                "quantization", weights, f"of scale {scales[first]:g} in channel {first}", wanted, "feature level 3"
            )
        runs.append(_Run(first, end, scale))
    return runs


def _rule(case: Case) -> None:
    x, weights, bias, out = _operands(case)
    name = case.node.operator.name
    case.need(case.level < 3, "feature-level", "the operator", f"for feature level {case.level}", "for one below 3")
    case.typed(x, TensorType.INT8)
    q = weights.tensor.quantization
    distinct = len(set(q.scale)) if q is not None else 0
    case.need(distinct <= MOST, "per-channel-quantization", weights, f"{distinct} scales", f"at most {MOST}")
    case.operation(name, x)
    case.operation("CONCATENATION", out)
    case.ranks(weights, 4, 4, name)
    case.positive("stride_w", "stride_h", "dilation_w_factor", "dilation_h_factor")
    case.need(
        not convolution.is_dilated(case),
        "option-value",
        "option dilation_w_factor, dilation_h_factor",
        "dilated",
        "1, 1",
    )
    convolution.padding_code(case)
    case.fuse()
    convolution.check_weights(case, x, weights, bias, out)
    if _is_depthwise(case):
        fits = weights.shape[0] == 1 and weights.shape[3] % x.shape[3] == 0
        case.need(fits, "operand-shape", weights, list(weights.shape), "[1, height, width, channels]")
        if len(set(_scales(case))) > 1:
            case.operation("STRIDED_SLICE", x)
    else:
        groups = convolution.conv_groups(case, x, weights)
        case.need(groups == 1, "operand-shape", weights, f"{groups} groups", "one group")
    convolution.check_bias_shape(case, bias, weights.shape[3 if _is_depthwise(case) else 0])
    _runs(case)


def _lower(builder: ProgramBuilder, case: Case) -> None:
    x, _, _, out = _operands(case)
    runs, source, target = _runs(case), builder.tensor(x), builder.tensor(out)
    parts = []
    for run in runs:
        width = run.end - run.first
        part = target if len(runs) == 1 else builder.temporary_like(target, (*out.shape[:3], width))
        _emit_run(builder, case, run, source, part)
        parts.append(part)
    if len(parts) > 1:
        builder.operation("CONCATENATION", [*parts, builder.int32(3)], target)


def _emit_run(builder: ProgramBuilder, case: Case, run: _Run, source: int, part: int) -> None:
    """The convolution of one run; a depthwise one reads a slice of its input channel."""
    x, weights, bias, _ = _operands(case)
    o, depthwise = case.options, _is_depthwise(case)
    count, channels = len(_scales(case)), x.shape[3]
    multiplier = count // channels if depthwise else 1
    if depthwise and run.end - run.first < count:
        channel, multiplier = run.first // multiplier, run.end - run.first
        piece = builder.temporary_like(source, (*x.shape[:3], 1))
        bounds = [AxisSlice(0, size, 1, False) for size in x.shape[:3]]
        emit_strided(builder, source, [*bounds, AxisSlice(channel, channel + 1, 1, False)], piece)
        source = piece
    values = _filter(case)[run.first : run.end]
    values = np.ascontiguousarray(np.moveaxis(values, 0, 3) if depthwise else values).view(np.uint8) ^ np.uint8(0x80)
    filter_ = builder.constant(values, _UINT8, run.scale, 128, tensor=weights.tensor.index)
    numbers = np.zeros(count, np.int32) if bias is None else case.constant(bias).reshape(-1)
    bias_scale = float32_product(case.scaled(x)[0], run.scale)
    biases = builder.constant(np.ascontiguousarray(numbers[run.first : run.end]), _INT32, bias_scale)
    options = [
        convolution.padding_code(case),
        o.stride_w,
        o.stride_h,
        *((multiplier,) if depthwise else ()),
        case.fuse(),
    ]
    builder.operation(case.node.operator.name, [source, filter_, biases, *map(builder.int32, options)], part)


REWRITES = (
    Rewrite(
        "convolution-by-scale",
        ("CONV_2D", "DEPTHWISE_CONV_2D"),
        f"an int8 convolution as uint8 ones, one for each of up to {MOST} runs of equal scales, where a uint8 scale rounds all "
        "sums alike, and CONCATENATION (below feature level 3)",
        True,
        _rule,
        _lower,
    ),
)
