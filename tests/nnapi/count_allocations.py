"""Prints the number of allocations in each run of some executions; under the preloaded counter of test_execution.

python -m tests.nnapi.count_allocations LIBRARY          # small models, one count a run
python -m tests.nnapi.count_allocations LIBRARY cases    # the shared cases that still allocate in their third run
"""

from __future__ import annotations

import ctypes as C
import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from .cases import CaseRun, case_files, jobs
from .client import (
    INT32,
    MODEL,
    SCALARS,
    TENSOR_BOOL8,
    TENSOR_FLOAT16,
    TENSOR_FLOAT32,
    Array,
    Compilation,
    Execution,
    Model,
    Nnapi,
    OperandType,
)
from .world import ADD

SOFTMAX, CONV_2D, LESS, IF, WHILE = 25, 3, 58, 96, 97
FLOATS, TRUTH = OperandType(TENSOR_FLOAT32, (1,)), OperandType(TENSOR_BOOL8, (1,))
#: Calls Execution_compute once; how many allocations this thread made meanwhile.
Count = Callable[[Execution], int]


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


def unary(api: Nnapi, code: int, value: float, result: OperandType = FLOATS) -> Model:
    """x -> code(x, value)."""
    model = Model(api)
    x, out = model.operand(FLOATS), model.operand(result)
    inputs = [x, model.constant(FLOATS, [value])]
    model.operation(code, [*inputs, model.constant(OperandType(INT32), 0)] if code == ADD else inputs, [out])
    model.identify([x], [out])
    model.finish()
    return model


def control_flow_model(api: Nnapi) -> Model:
    """x grows by 1 while it is below 10; then by 2 or 3, by a condition that is an input."""
    model = Model(api)
    x, truth, grown, result = (model.operand(type_) for type_ in (FLOATS, TRUTH, FLOATS, FLOATS))
    parts = []
    for part in (unary(api, LESS, 10, TRUTH), unary(api, ADD, 1), unary(api, ADD, 2), unary(api, ADD, 3)):
        parts.append(model.operand(OperandType(MODEL)))
        api.check("Model_setOperandValueFromModel", model.handle, parts[-1], part.handle)
    model.operation(WHILE, [*parts[:2], x], [grown])
    model.operation(IF, [truth, *parts[2:], grown], [result])
    model.identify([x, truth], [result])
    model.finish()
    return model


def count_by_preloaded(api: Nnapi) -> Count:
    """By the library that test_execution preloads."""
    counted = C.CDLL(None).counted
    counted.restype = C.c_long
    compute = C.cast(api.Execution_compute, C.c_void_p)

    def count(execution: Execution) -> int:
        code = C.c_int(-1)
        allocations = int(counted(compute, execution.handle, C.byref(code)))
        assert code.value == 0
        return allocations

    return count


def small_models(api: Nnapi, count: Count) -> None:
    """Three runs of a float32, a float16 and a control flow model, each with an execution of its own."""
    images: list[tuple[Model, list[Array], Array]] = []
    for code, dtype in ((TENSOR_FLOAT32, np.float32), (TENSOR_FLOAT16, np.float16)):
        image = [np.ones((1, 8, 8, 4), dtype)]
        images.append((convolution_model(api, code), image, np.zeros((1, 8, 8, 6), dtype)))
    images.append((control_flow_model(api), [np.zeros(1, np.float32), np.zeros(1, np.bool_)], np.zeros(1, np.float32)))
    for model, inputs, result in images:
        compilation = Compilation(model)
        for _ in range(3):
            execution = Execution(compilation)
            for index, value in enumerate(inputs):
                execution.input(index, value)
            execution.output(0, result)
            print(count(execution))
    assert result[0] == 13


class Counted(CaseRun):
    """A case run three times by a reusable execution."""

    count: Count

    def execute(self, compilation: Compilation, example: dict[str, Any]) -> str | None:
        with Execution(compilation) as execution:
            self.api.check("Execution_setReusable", execution.handle, True)
            self.bind(execution, example)
            counts = [self.count(execution) for _ in range(3)]
        return f"{counts} allocations" if counts[-1] else None


def grows(case: dict[str, Any]) -> bool:
    """Has it a loop over tensors of open dimensions? Those change from round to round, and so does the plan."""
    operands = (operand for model in case["models"] for operand in model["operands"])
    open_ = any(operand["type_code"] not in SCALARS and 0 in (operand["dims"] or [0]) for operand in operands)
    return open_ and "WHILE" in case["ops"]


def cases(api: Nnapi, count: Count) -> None:
    """Blocks for shapes that depend on values may come in the first two runs (results take turns); then all are there."""
    api.configure(feature_level=8, threads=2)
    for job in jobs(case_files()):
        run = Counted(api, job)
        run.count = count
        if run.case["lifetime_variation"] or run.case["expect_failure"] or grows(run.case):
            continue
        message = run.failure()
        if message:
            print(f"{job.title}: {message}")


if __name__ == "__main__":
    nnapi = Nnapi(sys.argv[1])
    (cases if sys.argv[2:] == ["cases"] else small_models)(nnapi, count_by_preloaded(nnapi))
