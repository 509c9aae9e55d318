"""IF, WHILE and RANDOM_MULTINOMIAL beyond the shared cases: shapes that depend on values, nesting, loops that never end."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack

import numpy as np
import pytest

from .client import (
    BAD_DATA,
    INT32,
    MISSED_DEADLINE_PERSISTENT,
    MISSED_DEADLINE_TRANSIENT,
    MODEL,
    OP_FAILED,
    TENSOR_BOOL8,
    TENSOR_FLOAT32,
    TENSOR_INT32,
    Array,
    Compilation,
    Execution,
    Model,
    Nnapi,
    NnapiError,
    OperandType,
)
from .operation import FORMS, ints, run, scalar, tensor

ADD, CONCATENATION, MUL, LESS, RANDOM_MULTINOMIAL, IF, WHILE = 0, 2, 18, 58, 74, 96, 97
FLOATS, OPEN = OperandType(TENSOR_FLOAT32, (2,)), OperandType(TENSOR_FLOAT32, (0,))
COUNT, TRUTH = OperandType(TENSOR_INT32, (1,)), OperandType(TENSOR_BOOL8, (1,))


class Builder:
    """Models that refer to each other, freed together."""

    def __init__(self, api: Nnapi) -> None:
        self.api = api
        self.stack = ExitStack()
        self.outputs: dict[Model, int] = {}

    def interface(self, model: Model, inputs: Sequence[int], output: int) -> None:
        model.identify(inputs, [output])
        self.outputs[model] = output

    def model(self) -> Model:
        return self.stack.enter_context(Model(self.api))

    def refer(self, model: Model, to: Model) -> int:
        index = model.operand(OperandType(MODEL))
        self.api.check("Model_setOperandValueFromModel", model.handle, index, to.handle)
        return index

    def binary(self, code: int, type_: OperandType, value: Array, result: OperandType | None = None) -> Model:
        """x -> code(x, value)."""
        model = self.model()
        x = model.operand(type_)
        constant = model.constant(OperandType(type_.type, tuple(value.shape)), value)
        out = model.operand(result or type_)
        model.operation(code, [x, constant, model.constant(OperandType(INT32), 0)], [out])
        model.identify([x], [out])
        model.finish()
        return model

    def twice(self) -> Model:
        """x -> x after x."""
        model = self.model()
        x, out = model.operand(OPEN), model.operand(OPEN)
        model.operation(CONCATENATION, [x, x, model.constant(OperandType(INT32), 0)], [out])
        model.identify([x], [out])
        model.finish()
        return model

    def execute(self, model: Model, inputs: Sequence[Array], loop_timeout: int = 0) -> Array:
        """The output for these inputs."""
        model.finish()
        dims = model.operands[self.outputs[model]].dims
        room = 64 if 0 in (dims or (0,)) else int(np.prod(dims))
        with Compilation(model) as compilation, Execution(compilation) as execution:
            if loop_timeout:
                self.api.check("Execution_setLoopTimeout", execution.handle, loop_timeout)
            for position, value in enumerate(inputs):
                spec = OperandType(TENSOR_FLOAT32, value.shape) if value.dtype == np.float32 else None
                execution.input(position, value, spec)
            buffer = np.zeros(room, np.float32)
            execution.output(0, buffer)
            execution.compute()
            shape = execution.dims(0)
            return buffer[: int(np.prod(shape))].reshape(shape)


@pytest.fixture
def builder(api: Nnapi) -> Iterator[Builder]:
    b = Builder(api)
    with b.stack:
        yield b


X = np.array([3, 4], np.float32)


@pytest.mark.parametrize("constant", [False, True])
@pytest.mark.parametrize("condition", [False, True])
@pytest.mark.parametrize("declared", [OPEN, OperandType(TENSOR_FLOAT32)])
@pytest.mark.parametrize("given", [FLOATS, OPEN], ids=["known", "open"])
def test_branches_of_different_shapes(
    builder: Builder, constant: bool, condition: bool, declared: OperandType, given: OperandType
) -> None:
    then, otherwise = builder.twice(), builder.binary(MUL, OPEN, np.array([10, 100], np.float32))
    model = builder.model()
    value = np.array([condition])
    flag = model.constant(TRUTH, value) if constant else model.operand(TRUTH)
    x, out = model.operand(given), model.operand(declared)
    model.operation(IF, [flag, builder.refer(model, then), builder.refer(model, otherwise), x], [out])
    builder.interface(model, [x] if constant else [flag, x], out)
    result = builder.execute(model, [X] if constant else [value, X])
    np.testing.assert_array_equal(result, [3, 4, 3, 4] if condition else [30, 400])


def test_branches_within_branches(builder: Builder) -> None:
    inner = builder.model()
    flag, x, out = inner.operand(TRUTH), inner.operand(FLOATS), inner.operand(FLOATS)
    branches = [builder.refer(inner, builder.binary(ADD, FLOATS, np.array([n, n], np.float32))) for n in (1, 2)]
    inner.operation(IF, [flag, *branches, x], [out])
    inner.identify([flag, x], [out])
    inner.finish()
    other = builder.model()
    unused, y = other.operand(TRUTH), other.operand(FLOATS)
    result = other.operand(FLOATS)
    other.operation(MUL, [y, y, other.constant(OperandType(INT32), 0)], [result])
    other.identify([unused, y], [result])
    other.finish()
    for a in (False, True):
        for b in (False, True):
            model = builder.model()
            first, second, x, out = (model.operand(t) for t in (TRUTH, TRUTH, FLOATS, FLOATS))
            model.operation(IF, [first, builder.refer(model, inner), builder.refer(model, other), second, x], [out])
            builder.interface(model, [first, second, x], out)
            have = builder.execute(model, [np.array([a]), np.array([b]), X])
            np.testing.assert_array_equal(have, X + (1 if b else 2) if a else X * X)


def loop(
    builder: Builder, type_: OperandType, grow: Callable[[Model, int], int], limit: int, always: bool = False
) -> tuple[Model, list[Model]]:
    """WHILE counter < limit: x = grow(x), counter += 1. Inputs x and the counter; output x. `always`: the counter stands still."""
    condition = builder.model()
    condition.operand(type_)
    counter, most = condition.operand(COUNT), condition.constant(COUNT, [limit])
    answer = condition.operand(TRUTH)
    condition.operation(LESS, [counter, most], [answer])
    condition.identify([0, counter], [answer])
    condition.finish()
    body = builder.model()
    x, counter = body.operand(type_), body.operand(COUNT)
    grown = grow(body, x)
    following = body.operand(COUNT)
    step = body.constant(COUNT, [0 if always else 1])
    body.operation(ADD, [counter, step, body.constant(OperandType(INT32), 0)], [following])
    body.identify([x, counter], [grown, following])
    body.finish()
    return condition, [body]


def add_one(model: Model, x: int) -> int:
    out = model.operand(FLOATS)
    model.operation(ADD, [x, model.constant(FLOATS, [1, 2]), model.constant(OperandType(INT32), 0)], [out])
    return out


def double(model: Model, x: int) -> int:
    out = model.operand(OPEN)
    model.operation(CONCATENATION, [x, x, model.constant(OperandType(INT32), 0)], [out])
    return out


def looped(
    builder: Builder, models: tuple[Model, list[Model]], result: OperandType, given: OperandType = FLOATS
) -> Model:
    condition, (body,) = models
    model = builder.model()
    x, counter, out = model.operand(given), model.operand(COUNT), model.operand(result)
    model.operation(WHILE, [builder.refer(model, condition), builder.refer(model, body), x, counter], [out])
    builder.interface(model, [x, counter], out)
    return model


@pytest.mark.parametrize("rounds", [0, 1, 2, 7])
def test_loop_with_state(builder: Builder, rounds: int) -> None:
    """The counter is state: it goes round, but is no output."""
    model = looped(builder, loop(builder, FLOATS, add_one, rounds), FLOATS)
    np.testing.assert_array_equal(builder.execute(model, [X, np.zeros(1, np.int32)]), X + rounds * np.array([1, 2]))


@pytest.mark.parametrize("rounds", [0, 1, 2, 4])
@pytest.mark.parametrize("declared", [OPEN, OperandType(TENSOR_FLOAT32)])
@pytest.mark.parametrize("given", [FLOATS, OPEN, OperandType(TENSOR_FLOAT32)], ids=["known", "open", "no rank"])
def test_loop_that_grows(builder: Builder, rounds: int, declared: OperandType, given: OperandType) -> None:
    """Also where the model's own inputs get their shapes with the execution: its steps are prepared before there is data."""
    model = looped(builder, loop(builder, OPEN, double, rounds), declared, given)
    np.testing.assert_array_equal(builder.execute(model, [X, np.zeros(1, np.int32)]), np.tile(X, 2**rounds))


def test_endless_loop_is_stopped(builder: Builder) -> None:
    model = looped(builder, loop(builder, FLOATS, add_one, 5, always=True), FLOATS)
    with pytest.raises(NnapiError) as caught:
        builder.execute(model, [X, np.zeros(1, np.int32)], loop_timeout=20_000_000)
    assert caught.value.code in (MISSED_DEADLINE_TRANSIENT, MISSED_DEADLINE_PERSISTENT)


def test_models_that_do_not_fit_are_refused(builder: Builder) -> None:
    wrong = [
        builder.binary(ADD, OperandType(TENSOR_FLOAT32, (3,)), np.ones(3, np.float32)),  # another shape
        builder.binary(ADD, OperandType(TENSOR_INT32, (2,)), np.ones(2, np.int32)),  # another type
    ]
    right = builder.binary(ADD, FLOATS, np.ones(2, np.float32))
    for other in wrong:
        for branches in ((right, other), (other, right)):
            model = builder.model()
            flag, x, out = model.operand(TRUTH), model.operand(FLOATS), model.operand(FLOATS)
            places = [builder.refer(model, branch) for branch in branches]
            with pytest.raises(NnapiError) as caught:
                model.operation(IF, [flag, *places, x], [out])
            assert caught.value.code == BAD_DATA


@pytest.mark.parametrize("constant", [True, False])
def test_a_condition_cannot_be_omitted(builder: Builder, constant: bool) -> None:
    """Not by the model, nor by an execution."""
    branches = [builder.binary(code, FLOATS, np.ones(2, np.float32)) for code in (ADD, MUL)]
    model = builder.model()
    flag, x, out = model.operand(TRUTH), model.operand(FLOATS), model.operand(FLOATS)
    inputs = [flag, *(builder.refer(model, branch) for branch in branches), x]
    if constant:
        model.value(flag, None)
        with pytest.raises(NnapiError) as caught:
            model.operation(IF, inputs, [out])
        assert caught.value.code == BAD_DATA
        return
    model.operation(IF, inputs, [out])
    model.identify([flag, x], [out])
    model.finish()
    with Compilation(model) as compilation, Execution(compilation) as execution:
        execution.input(0, None)
        execution.input(1, X)
        execution.output(0, np.zeros(2, np.float32))
        with pytest.raises(NnapiError) as caught:
            execution.compute()
        assert caught.value.code in (BAD_DATA, OP_FAILED)


def test_shares_of_random_samples(api: Nnapi) -> None:
    """Each class as often as its probability says; the same seeds give the same samples, other seeds others."""
    logits = np.log(np.array([[0.5, 0.25, 0.125, 0.125], [0.1, 0.1, 0.1, 0.7]], np.float32)) + 3
    count = 20_000
    expected = tensor(np.zeros((2, count), np.int32))
    samples = []
    for seeds in ([1, 2], [1, 2], [3, 2], [0, 0], [0, 0]):
        (have,) = run(api, RANDOM_MULTINOMIAL, [tensor(logits), scalar(count), ints(seeds)], [expected], FORMS[0])
        samples.append(have)
        shares = np.stack([np.bincount(row, minlength=4) / count for row in have])
        np.testing.assert_allclose(shares, [[0.5, 0.25, 0.125, 0.125], [0.1, 0.1, 0.1, 0.7]], atol=0.02)
    assert (samples[0] == samples[1]).all()
    assert (samples[0] != samples[2]).any() and (samples[3] != samples[4]).any()
    assert abs(np.corrcoef(samples[0][0, :-1], samples[0][0, 1:])[0, 1]) < 0.03
