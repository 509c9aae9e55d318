"""FULLY_CONNECTED."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

from nnapi_toolkit.delegate.nnapi import QUANT8
from nnapi_toolkit.delegate.ops import tflite
from nnapi_toolkit.delegate.ops.base import Case, Operand, OperatorRule, float32_product, is_float
from nnapi_toolkit.delegate.ops.convolution import (
    check_bias_shape,
    check_weights,
    lower_bias,
    lower_weights,
    optional_bias,
)
from nnapi_toolkit.schema.enums import FullyConnectedOptionsWeightsFormat, TensorType

if TYPE_CHECKING:
    from nnapi_toolkit.delegate.program import ProgramBuilder


def operands(case: Case) -> tuple[Operand, Operand, Operand | None, Operand]:
    """Input, weights, bias (or None), output."""
    return case.input(0, "input"), case.input(1, "weights"), optional_bias(case, 2), case.output()


def check_operands(case: Case) -> None:
    """All but the ranks and the number of weight scales."""
    x, weights, bias, out = operands(case)
    case.known_shape(out)
    case.fuse()
    case.ranks(weights, 2, 2, "FULLY_CONNECTED")
    case.need(
        case.options.weights_format == FullyConnectedOptionsWeightsFormat.DEFAULT,
        "option-value",
        "option weights_format",
        int(case.options.weights_format),
        "DEFAULT: NNAPI has no shuffled weights",
    )
    units, depth = weights.shape
    case.need(
        depth > 0 and prod(x.shape) % depth == 0 and prod(out.shape) == prod(x.shape) // depth * units,
        "operand-shape",
        weights,
        f"of shape {list(weights.shape)}",
        f"[units, a divisor of the input's {prod(x.shape)} elements] for an output of shape {list(out.shape)}",
    )
    check_weights(case, x, weights, bias, out)
    check_bias_shape(case, bias, units)
    case.need(len(case.node.operator.outputs) == 1, "operand-count", "the number of outputs", "2", "1")


def rule(case: Case) -> None:
    """NNAPI: input of rank 2 to 4 (flattened), one scale for the weights, a two-dimensional output."""
    x, weights, _, out = operands(case)
    case.operation("FULLY_CONNECTED", x)
    check_operands(case)
    case.need(
        len(out.shape) == 2, "operand-rank", out, f"of rank {out.rank}", "of rank 2", "rewrite fully-connected-reshape"
    )
    case.ranks(x, 2, 4, "FULLY_CONNECTED")
    case.need(
        len(x.shape) >= 2, "operand-rank", x, f"of rank {x.rank}", "of rank 2 to 4", "rewrite fully-connected-reshape"
    )
    check_weight_scale(case, x, weights, out)


def check_weight_scale(case: Case, x: Operand, weights: Operand, out: Operand) -> None:
    """One scale for quantised weights; below feature level 3 the output's must be above the product."""
    if is_float(case.code(x)):
        return
    scale, _ = case.scaled(weights)
    if case.level < 3 and case.code(x) in QUANT8:
        product, mine = float32_product(case.scaled(x)[0], scale), case.scaled(out)[0]
        case.need(
            mine > product,
            "quantization",
            out,
            f"of scale {mine:g}",
            f"of a scale above {product:g} (input scale times weights scale) below feature level 3",
            "feature level 3",
        )


def emit(builder: ProgramBuilder, case: Case, source: int | None, target: int) -> None:
    """Adds FULLY_CONNECTED from `source` (None: the node's input) into an operand of shape [batch, units]."""
    x, weights, bias, _ = operands(case)
    if is_float(case.code(x)):
        first, filter_, biases = lower_weights(builder, case, x, weights, bias, 0)
    else:
        first, filter_ = builder.tensor(x), builder.tensor(weights)
        scale = float32_product(builder.operand(first).scale, builder.operand(filter_).scale)
        biases = lower_bias(builder, bias, weights.shape[0], scale)
    inputs = [first if source is None else source, filter_, biases, builder.int32(case.fuse())]
    builder.operation("FULLY_CONNECTED", inputs, target)


def lower(builder: ProgramBuilder, case: Case) -> None:
    """x, weights, bias (zeros where TFLite has none), fuse."""
    emit(builder, case, None, builder.tensor(case.output()))


def tflite_rule(case: Case) -> None:
    """TFLite's Validate: neither per-channel nor shuffled weights are refused."""
    tflite.max_version(case, 5)
    out = case.output()
    case.need(out.tensor.type != TensorType.INT16, "operand-type", out, "INT16", "another type")
    if case.level < 3:
        case.need(not tflite.hybrid(case, 1), "hybrid-operator", case.input(1, "weights"), "8-bit", "FLOAT32")
        tflite.type_in(case, 0, tflite.FLOAT_UINT8)
        if tflite.tensor(case, 0).type == TensorType.UINT8:
            tflite.restricted_scales(case)
    if case.options.keep_num_dims:
        tflite.min_level(case, 4)


RULES = (OperatorRule("FULLY_CONNECTED", ("FULLY_CONNECTED",), 14, rule, tflite_rule, lower),)
