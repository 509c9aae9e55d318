"""The float32 twin of an int8 model: same graph, weights and biases dequantised. For benchmarks of the same network."""

from __future__ import annotations

import numpy as np
from nnapi_toolkit.delegate.graph import Graph, Tensor
from nnapi_toolkit.schema.enums import TensorType

from tests.modelbuilder import ModelBuilder


def _dequantized(tensor: Tensor) -> np.ndarray:
    quantization, data = tensor.quantization, tensor.data
    assert quantization is not None and data is not None
    shape = [1] * data.ndim
    if len(quantization.scale) > 1:
        shape[quantization.dimension] = -1
    scale = np.asarray(quantization.scale, np.float64).reshape(shape)
    zero = np.asarray(quantization.zero_point, np.float64)
    zero = zero.reshape(shape) if zero.size > 1 else zero.reshape([1] * data.ndim)
    return ((data - zero) * scale).astype(np.float32)


def float_twin(graph: Graph) -> bytes:
    """A model whose quantised tensors are float32.

    Raises:
        ValueError: The model quantises or dequantises inside: it has no such twin.
    """
    main, builder = graph.subgraphs[0], ModelBuilder()
    for tensor in main.tensors:
        quantised = tensor.quantization is not None and tensor.type in (
            TensorType.INT8, TensorType.UINT8, TensorType.INT32
        )  # fmt: skip
        kind = "float32" if quantised else tensor.type
        data = None
        if tensor.data is not None:
            data = _dequantized(tensor) if quantised else tensor.data
        builder.tensor(tensor.name, kind, tensor.shape, data=data)
    for operator in main.operators:
        if operator.name in ("QUANTIZE", "DEQUANTIZE"):
            raise ValueError(f"operator {operator.index} is {operator.name}")
        values = {name: value for name, value in operator.options.as_dict().items() if value not in (b"", ())}
        inputs = [None if index < 0 else index for index in operator.inputs]
        builder.op(operator.name, inputs, list(operator.outputs), version=1, **values)
    return builder.build(list(main.inputs), list(main.outputs))
