"""LSTM in integers, and the rule of LSTM: float (`lstm`), int8 as QUANTIZED_LSTM, basic uint8 as QUANTIZED_16BIT_LSTM.

Both integer operations are lowered where NNAPI's definition and LiteRT's kernel give the same bits. They part in corners, each
refused by name: a clip of the projection, peepholes beside a projection to another width, large layer normalisation weights, and
a basic cell whose accumulators are scaled down (NNAPI rounds twice, LiteRT once).
"""

from __future__ import annotations

from math import log2
from typing import TYPE_CHECKING, Any

import numpy as np
from nnapi_toolkit.delegate.fixed_point import quantize_multiplier
from nnapi_toolkit.delegate.nnapi import OperandCode
from nnapi_toolkit.delegate.ops import lstm, tflite
from nnapi_toolkit.delegate.ops.base import Case, Operand, OperatorRule
from nnapi_toolkit.delegate.ops.recurrent import check_shape, check_shapes, check_state
from nnapi_toolkit.schema.enums import LSTMKernelType, TensorType
from numpy.typing import NDArray

if TYPE_CHECKING:
    from nnapi_toolkit.delegate.program import ProgramBuilder

_SIGNED, _UNSIGNED = OperandCode.TENSOR_QUANT8_ASYMM_SIGNED, OperandCode.TENSOR_QUANT8_ASYMM
_INT32, _SYMMETRIC = OperandCode.TENSOR_INT32, OperandCode.TENSOR_QUANT8_SYMM
_SIXTEEN = OperandCode.TENSOR_QUANT16_SYMM

#: Positions of an int8 LSTM's inputs: 8-bit weights, and vectors of 16 bits (peepholes, layer normalisation); biases are the rest.
_WEIGHTS = frozenset({*range(1, 9), 16})
_VECTORS = frozenset({9, 10, 11, *range(20, 24)})
#: TFLite's intermediate tensors of an int8 LSTM with a 16-bit cell state: the sums of the four gates, and the hidden values.
_INTERMEDIATES, _HIDDEN = 5, 4
#: Scale of the gates' sums without layer normalisation (Q3.12), whatever the file says.
_GATE_SCALE = 2.0**-12


# -- QUANTIZED_LSTM -------------------------------------------------------------------------------------------------


def check_quantized_lstm(case: Case, rank: int) -> None:
    """The 20 or 24 inputs of an int8 LSTM, one step or a sequence, and what NNAPI computes as LiteRT does."""
    x, out = case.input(0, "input"), case.output()
    case.need_level(4, "the operation QUANTIZED_LSTM")
    case.known_shape(x)
    case.ranks(x, rank, rank, "QUANTIZED_LSTM")
    case.typed(x, TensorType.INT8)
    case.typed(out, TensorType.INT8)
    case.scaled(x)
    lstm.check_input_count(case)
    for position in range(1, case.input_count):
        if case.has_input(position) or position not in lstm.LSTM_OPTIONAL:
            _check_input(case, position)
    lstm.check_lstm_shapes(case, x, 0, 18)
    normalised = lstm.check_layer_norms(case)
    _check_intermediates(case, normalised)
    state = case.input(18, lstm.LSTM_ROLES[18])
    case.same_quantization(out, state, "QUANTIZED_LSTM")
    if case.has_input(16):
        _check_projection(case)
    else:
        hidden, wanted = _intermediate(case, _HIDDEN), case.scaled(state)
        case.need(
            hidden == wanted, "quantization", f"intermediate {_HIDDEN}", hidden, f"{wanted}, that of {state.label}"
        )


def _check_input(case: Case, position: int) -> None:
    if position in (18, 19):
        _check_state(case, position)
        return
    operand = case.input(position, lstm.LSTM_ROLES[position])
    wide = 2 if position in _WEIGHTS else 1
    case.ranks(operand, wide, wide, "QUANTIZED_LSTM")
    kind = TensorType.INT8 if position in _WEIGHTS else TensorType.INT16 if position in _VECTORS else TensorType.INT32
    case.typed(operand, kind)
    case.constant(operand)
    case.known_shape(operand)
    if kind != TensorType.INT32:
        _, zero_point = case.scaled(operand)
        case.need(zero_point == 0, "quantization", operand, f"of zero point {zero_point}", "symmetric")


def _check_state(case: Case, position: int) -> None:
    """A variable; the 16-bit one, of the cell, has a power of two for its scale."""
    kind = TensorType.INT8 if position == 18 else TensorType.INT16
    state = check_state(case, position, lstm.LSTM_ROLES[position], kind)
    scale, zero_point = case.scaled(state)
    if kind == TensorType.INT16:
        fits, found = (
            zero_point == 0 and log2(scale) in range(-15, -8),
            f"of scale {scale:g} and zero point {zero_point}",
        )
        case.need(fits, "quantization", state, found, "a power of two from 2^-15 to 2^-9")


def _intermediate(case: Case, number: int) -> tuple[float, int]:
    """Scale and zero point of an intermediate tensor."""
    index = case.node.operator.intermediates[number]
    return case.scaled(Operand(f"intermediate {number}", case.node.subgraph.tensors[index]))


def _check_intermediates(case: Case, normalised: bool) -> None:
    places = case.node.operator.intermediates
    case.need(
        len(places) == _INTERMEDIATES and min(places) >= 0,
        "operand-count",
        "the number of intermediate tensors",
        len(places),
        f"{_INTERMEDIATES}, those of a 16-bit cell state: NNAPI has no LSTM with an 8-bit one",
    )
    zero_point = _intermediate(case, _HIDDEN)[1]
    case.need(
        -128 <= zero_point <= 127, "quantization", f"intermediate {_HIDDEN}", zero_point, "a zero point of 8 bits"
    )
    for gate in range(0 if case.has_input(1) else 1, 4) if normalised else ():
        _intermediate(case, gate)
        norm = case.input(20 + gate, lstm.LSTM_ROLES[20 + gate])
        scale = case.scaled(norm)[0]
        # LiteRT puts max(1, 10000 * scale) in place of a variance below 1, NNAPI's executor never more than 1.
        case.need(
            int(np.float32(10000) * np.float32(scale)) <= 1,
            "quantization",
            norm,
            f"of scale {scale:g}",
            "of a scale below 0.0002: above it LiteRT limits the variance otherwise than NNAPI",
        )


def _check_projection(case: Case) -> None:
    projection, clip = case.input(16, lstm.LSTM_ROLES[16]), case.options.proj_clip
    case.need(
        not clip > 0,
        "option-value",
        "option proj_clip",
        f"{clip:g}",
        "0: TFLite counts the clip in steps of the output, NNAPI's executor in steps of the projection weights",
    )
    width, cells = projection.shape
    case.need(
        width == cells or not case.has_input(10),
        "operand-shape",
        projection,
        f"from {cells} cells to {width} outputs beside peepholes",
        f"{cells} outputs: with other numbers the peephole weights of TFLite and NNAPI go astray",
    )


def _described(builder: ProgramBuilder, case: Case, position: int) -> int:
    """The operand of a weight, vector or bias; an omitted one without a value."""
    code = _SYMMETRIC if position in _WEIGHTS else _SIXTEEN if position in _VECTORS else _INT32
    if not case.has_input(position):
        return builder.omitted(code, 2 if position in _WEIGHTS else 1)
    tensor = case.input(position).tensor
    found = tensor.quantization
    return builder.described(tensor, code, found.scale[0] if found is not None and len(found.scale) == 1 else 0.0)


def emit_quantized_step(
    builder: ProgramBuilder, case: Case, x: int, state: tuple[int, int], new_state: tuple[int, int], out: int
) -> None:
    """Adds one step of NNAPI's QUANTIZED_LSTM."""
    o, normalised = case.options, case.has_input(21)
    inputs = [x, *(_described(builder, case, p) for p in range(1, 18)), *state]
    inputs += [_described(builder, case, p) for p in range(20, 24)]
    inputs += [builder.float32(o.cell_clip), builder.float32(o.proj_clip)]
    for gate in range(4):
        there = normalised and (gate > 0 or case.has_input(1))
        inputs.append(builder.float32(_intermediate(case, gate)[0] if there else _GATE_SCALE))
    scale, zero_point = _intermediate(case, _HIDDEN)
    inputs += [builder.int32(zero_point), builder.float32(scale)]
    builder.operation("QUANTIZED_LSTM", inputs, [*new_state, out])


def quantized_states_back(builder: ProgramBuilder, case: Case) -> tuple[int, int]:
    """The operands that receive the new output state and cell state."""
    return (
        builder.state_output(case.input(18).tensor, _SIGNED),
        builder.state_output(case.input(19).tensor, _SIXTEEN),
    )


def _lower_quantized(builder: ProgramBuilder, case: Case) -> None:
    state = builder.tensor(case.input(18)), builder.tensor(case.input(19))
    new = quantized_states_back(builder, case)
    emit_quantized_step(builder, case, builder.tensor(case.input(0)), state, new, builder.tensor(case.output()))


# -- QUANTIZED_16BIT_LSTM -------------------------------------------------------------------------------------------

#: The gates' order in TFLite's matrix, for NNAPI's order: input, forget, cell, output.
_GATES = (0, 2, 1, 3)
_BASIC_ROLES = ("input", "prev_activation", "weights", "biases", "prev_state")


def check_basic(case: Case) -> None:
    """The five inputs of the basic uint8 kernel, without how its sums are rounded."""
    x, h, weights, biases, c = (case.input(p, role) for p, role in enumerate(_BASIC_ROLES))
    out, state = case.output(0, "activation"), case.output(1, "state")
    case.typed(x, TensorType.UINT8)
    case.need_level(3, "the operation QUANTIZED_16BIT_LSTM")
    for operand in (h, weights, out):
        case.typed(operand, TensorType.UINT8)
    for operand in (c, state):
        case.typed(operand, TensorType.INT16)
    case.typed(biases, TensorType.INT32)
    case.constant(weights)
    case.constant(biases)
    for operand in (x, h, weights, c):
        case.ranks(operand, 2, 2, "QUANTIZED_16BIT_LSTM")
        case.known_shape(operand)
    (batch, width), depth = x.shape, h.shape[1]
    check_shapes(case, {1: (batch, depth), 2: (4 * depth, width + depth), 3: (4 * depth,), 4: (batch, depth)})
    check_shape(case, out, batch, depth)
    check_shape(case, state, batch, depth)
    for operand in (x, h, out):
        found = case.scaled(operand)
        case.need(found == (1 / 128, 128), "quantization", operand, found, "scale 1/128, zero point 128")
    for operand in (c, state):
        found = case.scaled(operand)
        case.need(found == (1 / 2048, 0), "quantization", operand, found, "scale 1/2048, zero point 0")
    scale, bias_scale = case.scaled(weights)[0], case.scaled(biases)[0]
    case.need(
        bias_scale == scale / 128,
        "quantization",
        biases,
        f"of scale {bias_scale:g}",
        f"{scale / 128:g}, weights' / 128",
    )
    _check_outputs(case)


def _check_outputs(case: Case) -> None:
    """NNAPI gives activation and state; TFLite's two others are working memory that nobody may read."""
    graph = case.node.subgraph
    for position in range(2, len(case.node.operator.outputs)):
        operand = case.output(position)
        read = bool(graph.consumers(operand.tensor)) or operand.tensor.index in graph.outputs
        case.need(
            not read,
            "operand-missing",
            operand,
            "read, or a result of the model",
            "unused: QUANTIZED_16BIT_LSTM lacks it",
        )
    state, memory = case.output(1, "state"), case.input(4, "prev_state")
    read = bool(graph.consumers(state.tensor)) or state.tensor.index in graph.outputs
    if read and memory.tensor.is_variable:
        case.need_level(
            4, "CAST of TENSOR_QUANT16_SYMM, which gives the state to the variable and to its readers", state
        )


def _basic_rule(case: Case) -> None:
    """Where the accumulators are not scaled down, NNAPI and LiteRT round once, and alike."""
    check_basic(case)
    biases = case.input(3, _BASIC_ROLES[3])
    scale = case.scaled(biases)[0]
    case.need(
        quantize_multiplier(4096 * scale)[1] >= 0,
        "rounding",
        biases,
        f"of scale {scale:g}",
        f"at least {2.0**-13:g} (weights' scale 1/64): below it NNAPI rounds the gates' sums twice, LiteRT once",
        "rewrite lstm-rounded-twice",
    )


def _quarters(data: NDArray[Any]) -> list[NDArray[Any]]:
    """The four gates' rows in NNAPI's order."""
    parts = np.split(data, 4)
    return [np.ascontiguousarray(parts[g]) for g in _GATES]


def lower_basic(builder: ProgramBuilder, case: Case) -> None:
    """One matrix cut in eight and one bias in four; the new states go back to the variables."""
    x, h, c = (builder.tensor(case.input(p)) for p in (0, 1, 4))
    weights, biases = case.input(2), case.input(3)
    scale, zero_point = case.scaled(weights)
    width = case.input(0).shape[1]
    rows = _quarters(case.constant(weights))
    inputs = [x]
    for part in (slice(None, width), slice(width, None)):
        inputs += [
            builder.constant(w[:, part], _UNSIGNED, scale, zero_point, tensor=weights.tensor.index) for w in rows
        ]
    bias_scale = case.scaled(biases)[0]
    inputs += [
        builder.constant(b, _INT32, bias_scale, tensor=biases.tensor.index) for b in _quarters(case.constant(biases))
    ]
    inputs += [c, h]
    activation, state = case.output(0), case.output(1)
    new = [_basic_result(builder, case, 4, state, _SIXTEEN), _basic_result(builder, case, 1, activation, _UNSIGNED)]
    builder.operation("QUANTIZED_16BIT_LSTM", inputs, new)
    _give(builder, case, state, new[0], "CAST")
    _give(builder, case, activation, new[1], "RESHAPE")


def _basic_result(builder: ProgramBuilder, case: Case, memory: int, out: Operand, code: OperandCode) -> int:
    """What the operation writes: the variable's new value, or the output itself."""
    old = case.input(memory)
    return builder.state_output(old.tensor, code) if old.tensor.is_variable else builder.tensor(out)


def _give(builder: ProgramBuilder, case: Case, out: Operand, made: int, copy: str) -> None:
    """Copies a variable's new value to the output tensor, where somebody reads that."""
    graph = case.node.subgraph
    read = bool(graph.consumers(out.tensor)) or out.tensor.index in graph.outputs
    if not read or builder.operand(made).tensor == out.tensor.index:
        return
    inputs = [made, builder.int32_vector(builder.operand(made).dimensions)] if copy == "RESHAPE" else [made]
    builder.operation(copy, inputs, builder.tensor(out), since=4 if copy == "CAST" else 1)


# -- LSTM -----------------------------------------------------------------------------------------------------------


def is_basic(case: Case) -> bool:
    """The kernel of five inputs."""
    return bool(case.options.kernel_type == LSTMKernelType.BASIC) or case.input_count == 5


def _is_int8(case: Case) -> bool:
    return case.input(0, "input").tensor.type == TensorType.INT8


def _lstm_rule(case: Case) -> None:
    if is_basic(case):
        case.need(
            case.input_count == 5, "operand-count", "the number of inputs", case.input_count, "5 (the basic kernel)"
        )
        case.need(
            case.options.kernel_type == LSTMKernelType.BASIC,
            "option-value",
            "option kernel_type",
            "FULL",
            "BASIC with 5 inputs",
        )
        _basic_rule(case)
    elif _is_int8(case):
        check_quantized_lstm(case, 2)
    else:
        lstm.lstm_rule(case)


def _lower(builder: ProgramBuilder, case: Case) -> None:
    if is_basic(case):
        lower_basic(builder, case)
    elif _is_int8(case):
        _lower_quantized(builder, case)
    else:
        lstm.lower_lstm(builder, case)


def _lstm_tflite(case: Case) -> None:
    tflite.max_version(case, 3)
    tflite.min_level(case, 2)
    full = case.input_count in (20, 24)
    if case.level < 3 and full:
        case.need(not tflite.hybrid(case, 2), "hybrid-operator", case.input(2), "8-bit", "FLOAT32", "feature level 3")
    if case.input_count == 5:
        _basic_lstm_tflite(case)
        return
    if case.input_count == 24:
        tflite.min_level(case, 3)
    kinds = tflite.FLOAT_QUANT8 if case.level >= 4 else tflite.FLOAT_UINT8
    tflite.type_in(case, 4, kinds)


def _basic_lstm_tflite(case: Case) -> None:
    tflite.type_in(case, 2, frozenset({TensorType.UINT8}))
    for operand in (case.input(0), case.output(0)):
        found = tflite.legacy_scale(operand.tensor), tflite.legacy_zero_point(operand.tensor)
        case.need(found == (1 / 128, 128), "quantization", operand, found, "scale 1/128, zero point 128")
    cell = case.output(1)
    found = tflite.legacy_scale(cell.tensor), tflite.legacy_zero_point(cell.tensor)
    case.need(found[0] == 16 / 32768 or found[1] == 0, "quantization", cell, found, "scale 16/32768 or zero point 0")
    tflite.constant(case, 2)
    tflite.constant(case, 3)


RULES = (OperatorRule("LSTM", ("LSTM", "QUANTIZED_LSTM", "QUANTIZED_16BIT_LSTM"), 4, _lstm_rule, _lstm_tflite, _lower),)
