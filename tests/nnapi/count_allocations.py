"""Prints the number of allocations in each run of some executions; under the preloaded counter of test_execution."""

from __future__ import annotations

import ctypes as C
import sys

import numpy as np

from .client import INT32, TENSOR_FLOAT16, TENSOR_FLOAT32, Compilation, Execution, Model, Nnapi, OperandType
from .world import ADD

SOFTMAX, CONV_2D = 25, 3


def convolution_model(api: Nnapi, tensor: int) -> Model:
    """Convolution, addition of itself, softmax."""
    model = Model(api)
    scalar = OperandType(INT32)
    dtype = np.float16 if tensor == TENSOR_FLOAT16 else np.float32
    x = model.operand(OperandType(tensor, (1, 8, 8, 4)))
    weights = model.constant(OperandType(tensor, (6, 3, 3, 4)), np.full((6, 3, 3, 4), 0.1, dtype))
    bias = model.constant(OperandType(tensor, (6,)), np.zeros(6, dtype))
    one, none = model.constant(scalar, 1), model.constant(scalar, 0)
    convolved, added, result = (model.operand(OperandType(tensor, (1, 8, 8, 6))) for _ in range(3))
    beta = model.constant(OperandType(10 if tensor == TENSOR_FLOAT16 else 0), dtype(1))
    model.operation(CONV_2D, [x, weights, bias, one, one, one, none], [convolved])
    model.operation(ADD, [convolved, convolved, none], [added])
    model.operation(SOFTMAX, [added, beta], [result])
    model.identify([x], [result])
    model.finish()
    return model


def main(library: str) -> None:
    """Three runs of a float32 and of a float16 model, each with an execution of its own."""
    api = Nnapi(library)
    counted = C.CDLL(None).counted
    counted.restype = C.c_long
    compute = C.cast(api.Execution_compute, C.c_void_p)
    for tensor, dtype in ((TENSOR_FLOAT32, np.float32), (TENSOR_FLOAT16, np.float16)):
        compilation = Compilation(convolution_model(api, tensor))
        for _ in range(3):
            execution = Execution(compilation)
            execution.input(0, np.ones((1, 8, 8, 4), dtype))
            execution.output(0, np.zeros((1, 8, 8, 6), dtype))
            code = C.c_int(-1)
            print(counted(compute, execution.handle, C.byref(code)))
            assert code.value == 0


if __name__ == "__main__":
    main(sys.argv[1])
