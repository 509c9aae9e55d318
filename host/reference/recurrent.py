"""RNN, UNIDIRECTIONAL_SEQUENCE_RNN, BIDIRECTIONAL_SEQUENCE_RNN, SVDF: float32, hybrid; SVDF also int8.

Semantics: LiteRT's kernels. States are variable tensors of the model: zero at first, kept between runs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from nnapi_toolkit.delegate.graph import Node
from nnapi_toolkit.reference.activation import logistic_of
from nnapi_toolkit.reference.base import (
    Array,
    Runtime,
    fail,
    kernel,
    operand,
    optional,
    require_shape,
    require_type,
    tensor_in,
)
from nnapi_toolkit.reference.fixed_point import Multiplier, multiply_by_quantized_multiplier, wrap32
from nnapi_toolkit.reference.hybrid import quantize_rows_asymmetric, quantize_rows_symmetric
from nnapi_toolkit.reference.quantized import TANH, activate_float, scale_of, zero_point_of
from nnapi_toolkit.reference.sums import Matrix, add_product_by_four
from nnapi_toolkit.reference.window import exact_dtype
from numpy.typing import NDArray

Float32 = NDArray[np.float32]
#: What adds the product of some rows [batch, columns] to sums [batch, units].
Product = Callable[[Float32, Float32], Float32]


def logistic32(values: Float32) -> Float32:
    """Sigmoid of float32 values, rounded once."""
    return logistic_of(values.astype(np.float64)).astype(np.float32)


#: tanh(x) is about (x + x^3 P(x^2)) / Q(x^2) in float32: coefficients from the highest power down.
_TANH_P = (1.394553628e-8, 2.102733560e-5, 3.520756727e-3, 1.340216100e-1)
_TANH_Q = (8.015776984e-7, 3.326951409e-4, 2.597254514e-2, 4.673548340e-1, 1.0)

#: From here on the quotient is 1.
_TANH_LARGEST = np.float32(7.90738964080810547)


def tanh32(values: Float32) -> Float32:
    """tanh as the recurrent kernels of LiteRT compute it: a quotient of polynomials, each step rounded to float32."""
    x = np.clip(values, -_TANH_LARGEST, _TANH_LARGEST)
    square = x * x
    upper, lower = (np.full_like(x, series[0]) for series in (_TANH_P, _TANH_Q))
    for coefficient in _TANH_P[1:]:
        upper = upper * square + np.float32(coefficient)
    for coefficient in _TANH_Q[1:]:
        lower = lower * square + np.float32(coefficient)
    return np.asarray((square * x * upper + x) / lower)


def activate(values: Float32, activation: int) -> Float32:
    """A fused activation of a recurrent kernel."""
    if int(activation) == TANH:
        return tanh32(values)
    return activate_float(values, int(activation))


def product(
    node: Node, inputs: Sequence[Array | None], index: int, asymmetric: bool, rows: int, columns: int
) -> Product | None:
    """What adds rows times the transposed weights [rows, columns] of input `index` to sums; None when they are omitted.

    Float weights multiply (a vector is a diagonal matrix); weights of 8 bits meet rows that are quantised one by one.
    """
    weights = optional(inputs, index)
    if weights is None:
        return None
    diagonal = weights.ndim == 1 and weights.dtype == np.float32 and rows == columns
    require_shape(node, weights, f"input {index} (weights)", *((rows,) if diagonal else (rows, columns)))
    if weights.dtype == np.float32:
        if weights.ndim == 1:
            return lambda total, rows: total + rows * weights
        return lambda total, rows: add_product_by_four(total, rows, weights)
    require_type(node, weights, f"type of input {index}", np.int8, np.uint8)
    numbers_of_weights = weights.view(np.int8)
    matrix = Matrix(numbers_of_weights.T, np.dtype(exact_dtype(128 * 128 * columns)))
    scale = np.float32(scale_of(node, tensor_in(node, index)))
    sums_of_weights = numbers_of_weights.sum(axis=1, dtype=np.int64)

    def multiply(total: Float32, rows: Float32) -> Float32:
        if asymmetric:
            numbers, scales, zeros = quantize_rows_asymmetric(rows)
        else:
            numbers, scales = quantize_rows_symmetric(rows)
            zeros = np.zeros(len(rows), np.int32)
        sums = matrix.times(numbers).astype(np.int64)
        sums -= zeros[:, None].astype(np.int64) * sums_of_weights
        return total + sums.astype(np.float32) * (scales * scale)[:, None]

    return multiply


def needed(node: Node, function: Product | None, what: str) -> Product:
    """The product, or a refusal when its weights are omitted."""
    if function is None:
        fail(node, what, "omitted", "given")
    return function


def state_of(node: Node, inputs: Sequence[Array | None], index: int, shape: tuple[int, ...]) -> Array:
    """The state tensor at input `index`, which must have the given shape."""
    state = operand(node, inputs, index, "state")
    if state.shape != shape:
        fail(node, f"shape of input {index} (state)", list(state.shape), f"{list(shape)}")
    return state


def keep_state(node: Node, runtime: Runtime, index: int, value: Array) -> None:
    """Stores the state tensor at input `index`."""
    runtime.set_variable(node.operator.inputs[index], value)


def sequence(node: Node, values: Array, time_major: bool) -> Array:
    """A batch of sequences as [time, batch, ...]."""
    if values.ndim != 3:
        fail(node, "rank of input 0", values.ndim, "3")
    return values if time_major else values.swapaxes(0, 1)


def rnn_steps(
    node: Node,
    inputs: Sequence[Array | None],
    steps: Float32,
    first: int,
    activation: int,
    asymmetric: bool,
    aux: tuple[Float32, Product] | None = None,
    backwards: bool = False,
) -> tuple[Float32, Float32]:
    """A plain recurrent layer over time.

    Args:
        node: For messages.
        inputs: Of the node.
        steps: [time, batch, input].
        first: Index of the input weights; recurrent weights, bias and state follow.
        activation: Fused activation.
        asymmetric: How hybrid products quantise their rows.
        aux: A second input [time, batch, input] and its product.
        backwards: Last step first.

    Returns:
        Outputs [time, batch, units], and the last state.
    """
    bias = operand(node, inputs, first + 2, "bias")
    units = bias.size
    from_input = needed(
        node, product(node, inputs, first, asymmetric, units, steps.shape[2]), f"input {first} (weights)"
    )
    from_state = needed(
        node, product(node, inputs, first + 1, asymmetric, units, units), f"input {first + 1} (recurrent weights)"
    )
    require_shape(node, bias, f"input {first + 2} (bias)", units)
    state = state_of(node, inputs, first + 3, (steps.shape[1], bias.size))
    outputs = np.empty((steps.shape[0], steps.shape[1], bias.size), np.float32)
    order = range(len(steps))
    for index in reversed(order) if backwards else order:
        total = from_input(np.broadcast_to(bias, state.shape), steps[index])
        if aux is not None:
            total = aux[1](total, aux[0][index])
        state = activate(from_state(total, state), activation)
        outputs[index] = state
    return outputs, state


@kernel("RNN")
def rnn(node: Node, inputs: Sequence[Array | None], runtime: Runtime) -> Sequence[Array]:
    """One step: activation(x W + h R + bias). Inputs: x [batch, input], W, R, bias, state h (variable).

    float32; float32 with int8 or uint8 weights (hybrid). Output [batch, units].
    """
    values, options = operand(node, inputs, 0, "input"), node.operator.options
    require_type(node, values, "type of input 0", np.float32)
    if values.ndim != 2:
        fail(node, "rank of input 0", values.ndim, "2")
    outputs, state = rnn_steps(
        node, inputs, values[None], 1, options.fused_activation_function, options.asymmetric_quantize_inputs
    )
    keep_state(node, runtime, 4, state)
    return [outputs[0]]


@kernel("UNIDIRECTIONAL_SEQUENCE_RNN")
def sequence_rnn(node: Node, inputs: Sequence[Array | None], runtime: Runtime) -> Sequence[Array]:
    """RNN over the steps of a sequence [batch, time, input], or [time, batch, input] when `time_major`.

    float32; float32 with int8 or uint8 weights (hybrid). Output: the last dimension is the units.
    """
    values, options = operand(node, inputs, 0, "input"), node.operator.options
    require_type(node, values, "type of input 0", np.float32)
    steps = sequence(node, values, options.time_major)
    outputs, state = rnn_steps(
        node, inputs, steps, 1, options.fused_activation_function, options.asymmetric_quantize_inputs
    )
    keep_state(node, runtime, 4, state)
    return [np.ascontiguousarray(outputs if options.time_major else outputs.swapaxes(0, 1))]


@kernel("BIDIRECTIONAL_SEQUENCE_RNN")
def bidirectional_rnn(node: Node, inputs: Sequence[Array | None], runtime: Runtime) -> Sequence[Array]:
    """Two RNNs, one from the end; their outputs side by side, or in two tensors unless `merge_outputs`.

    Inputs: x, forward W, R, bias, state, backward W, R, bias, state, auxiliary input and its two weights. Without
    auxiliary weights the auxiliary input is the backward layer's input.

    float32; float32 with int8 or uint8 weights (hybrid). x as in UNIDIRECTIONAL_SEQUENCE_RNN.
    """
    values, options = operand(node, inputs, 0, "input"), node.operator.options
    require_type(node, values, "type of input 0", np.float32)
    asymmetric = options.asymmetric_quantize_inputs
    steps = sequence(node, values, options.time_major)
    second = optional(inputs, 9)
    width = 0 if second is None else second.shape[-1]
    extra = [
        product(node, inputs, index, asymmetric, operand(node, inputs, first + 2, "bias").size, width)
        for index, first in ((10, 1), (11, 5))
    ]
    backward_steps = steps
    aux: list[tuple[Float32, Product] | None] = [None, None]
    if second is not None:
        other = sequence(node, second, options.time_major)
        require_shape(node, other[..., 0], "input 9 (auxiliary input), its time and batch", *steps.shape[:2])
        if extra[0] is None or extra[1] is None:
            backward_steps = other
        else:
            aux = [(other, extra[0]), (other, extra[1])]
    activation = options.fused_activation_function
    forward, state = rnn_steps(node, inputs, steps, 1, activation, asymmetric, aux[0])
    backward, last = rnn_steps(node, inputs, backward_steps, 5, activation, asymmetric, aux[1], backwards=True)
    keep_state(node, runtime, 4, state)
    keep_state(node, runtime, 8, last)
    return two_directions(forward, backward, options.merge_outputs, options.time_major)


def two_directions(forward: Array, backward: Array, merge: bool, time_major: bool) -> list[Array]:
    """The outputs of a bidirectional layer: one tensor, or one each."""
    if not time_major:
        forward, backward = forward.swapaxes(0, 1), backward.swapaxes(0, 1)
    if merge:
        return [np.concatenate([forward, backward], axis=2)]
    return [np.ascontiguousarray(forward), np.ascontiguousarray(backward)]


@kernel("SVDF")
def svdf(node: Node, inputs: Sequence[Array | None], runtime: Runtime) -> Sequence[Array]:
    """A fully connected layer over a memory of the last steps, of low rank.

    Inputs: x [batch, input], feature weights [filters, input], time weights [filters, memory], bias [units] or none,
    state [batch, memory * filters] (variable); filters = units * rank.

    float32; float32 with int8 or uint8 weights (hybrid); int8 with an int16 state. Output [batch, units].
    """
    values, features = operand(node, inputs, 0, "input"), operand(node, inputs, 1, "weights_feature")
    times, bias = operand(node, inputs, 2, "weights_time"), optional(inputs, 3)
    rank = node.operator.options.rank
    if values.ndim != 2 or features.ndim != 2 or features.shape[1] != values.shape[1]:
        fail(node, "shapes of input and weights_feature", (list(values.shape), list(features.shape)), "[n, i], [f, i]")
    filters = features.shape[0]
    if rank < 1 or filters % rank:
        fail(node, "rank", rank, f"a divisor of the {filters} filters")
    if times.ndim != 2 or times.shape[0] != filters:
        fail(node, "shape of weights_time", list(times.shape), f"[{filters}, memory]")
    require_type(node, values, "type of input 0", np.float32, np.int8)
    require_shape(node, bias, "input 3 (bias)", filters // rank)
    memory = times.shape[1]
    state = state_of(node, inputs, 4, (values.shape[0], memory * filters))
    history = state.reshape(values.shape[0], filters, memory)
    if values.dtype == np.int8:
        output, history = _svdf_int8(node, values, features, times, bias, history)
    else:
        output, history = _svdf_float(node, inputs, values, times, bias, history)
    keep_state(node, runtime, 4, history.reshape(state.shape))
    return [output]


def _svdf_float(
    node: Node, inputs: Sequence[Array | None], values: Array, times: Array, bias: Array | None, history: Array
) -> tuple[Array, Array]:
    options = node.operator.options
    if times.dtype != np.float32:
        times = times.astype(np.float32) * np.float32(scale_of(node, tensor_in(node, 2)))
    from_input = product(node, inputs, 1, options.asymmetric_quantize_inputs, history.shape[1], values.shape[1])
    nothing = np.zeros(history.shape[:2], np.float32)
    newest = needed(node, from_input, "weights_feature")(nothing, values)
    history = np.concatenate([history[..., 1:], newest[..., None]], axis=2).astype(np.float32)
    sums = (history * times).sum(axis=2, dtype=np.float32)
    output = sums.reshape(len(values), -1, options.rank).sum(axis=2, dtype=np.float32)
    if bias is not None:
        output = output + bias
    return activate(output, options.fused_activation_function), history


def _svdf_int8(
    node: Node, values: Array, features: Array, times: Array, bias: Array | None, history: Array
) -> tuple[Array, Array]:
    scales = [np.float32(scale_of(node, tensor_in(node, index))) for index in (0, 1, 4, 2)]
    target = node.output(0)
    first = Multiplier.of(float(scales[0] * scales[1] / scales[2]))
    second = Multiplier.of(float(scales[2] * scales[3] / np.float32(scale_of(node, target))))
    centred: Any = values.astype(np.int64) - zero_point_of(tensor_in(node, 0))
    newest = multiply_by_quantized_multiplier(wrap32(centred @ features.astype(np.int64).T), first)
    newest = np.clip(newest, -32768, 32767).astype(np.int16)
    history = np.concatenate([history[..., 1:], newest[..., None]], axis=2)
    sums = (history.astype(np.int64) * times.astype(np.int64)).sum(axis=2)
    output = sums.reshape(len(values), -1, node.operator.options.rank).sum(axis=2)
    if bias is not None:
        output = output + bias.astype(np.int64)
    scaled = multiply_by_quantized_multiplier(wrap32(output), second) + zero_point_of(target)
    return np.clip(scaled, -128, 127).astype(np.int8), history
