"""The executor beside its kernels: liveness, variables, options, custom operators, threads."""

from __future__ import annotations

import numpy as np
import pytest
from nnapi_toolkit.delegate.errors import ModelError
from nnapi_toolkit.delegate.graph import Graph
from nnapi_toolkit.reference.base import CUSTOM_KERNELS, custom_op
from nnapi_toolkit.reference.blas import _functions, blas_threads
from nnapi_toolkit.reference.executor import ReferenceExecutor

from tests.differential.litert import T, floats, rng, run_litert, run_ours, single
from tests.modelbuilder import ModelBuilder


def chain(*ops):
    """A model of unary operators one after the other."""
    builder = ModelBuilder()
    tensors = [builder.tensor(f"t{n}", "float32", (2, 3)) for n in range(len(ops) + 1)]
    for n, op in enumerate(ops):
        builder.op(op, [tensors[n]], [tensors[n + 1]])
    return Graph.from_bytes(builder.build([tensors[0]], [tensors[-1]]))


def test_tensors_are_dropped_after_their_last_use():
    executor = ReferenceExecutor(chain("ABS", "NEG", "SQUARE"))
    values = {0: floats(rng(1), (2, 3))}
    executor.begin(0, values)
    executor.run_operators(0, [0, 1], values)
    assert set(values) == {0, 2}
    executor.run_operators(0, [2], values)
    assert set(values) == {0, 3}
    np.testing.assert_allclose(values[3], values[0] ** 2, rtol=1e-6)


def test_intermediates_stay_on_request():
    executor = ReferenceExecutor(chain("ABS", "NEG", "SQUARE"), keep_intermediates=True)
    values = {0: floats(rng(1), (2, 3))}
    executor.begin(0, values)
    executor.run_operators(0, [0, 1, 2], values)
    assert set(values) == {0, 1, 2, 3}


def test_an_operator_whose_input_nothing_made_is_named():
    executor = ReferenceExecutor(chain("ABS", "NEG"))
    values = {0: floats(rng(1), (2, 3))}
    executor.begin(0, values)
    with pytest.raises(ModelError, match=r"subgraphs\[0\].operators\[1\].inputs\[0\].*'t1' is used before"):
        executor.run_operators(0, [1], values)


def test_wrong_number_of_inputs():
    with pytest.raises(ModelError, match=r"subgraphs\[0\].*takes 1 inputs, 2 were given"):
        ReferenceExecutor(chain("ABS")).run(0, [np.zeros((2, 3), np.float32)] * 2)


def test_no_subgraph_of_that_number():
    with pytest.raises(ModelError, match=r"subgraphs\[4\].*the model has 1"):
        ReferenceExecutor(chain("ABS")).run(4, [])


def state_model():
    """SVDF over two steps of memory: its state is a variable tensor."""
    generator = rng(7)
    tensors = [T(floats(generator, (1, 3))), T(floats(generator, (2, 3)), const=True),
               T(floats(generator, (2, 2)), const=True), None, T(dtype="float32", shape=(1, 4), variable=True)]  # fmt: skip
    return single("SVDF", tensors, [T(shape=(1, 2))], rank=1)


def test_variables_live_from_run_to_run_until_reset():
    model, inputs = state_model()
    executor = ReferenceExecutor(Graph.from_bytes(model))
    first, second = executor.run(0, inputs)[0], executor.run(0, inputs)[0]
    np.testing.assert_allclose(second, run_litert(model, inputs, runs=2)[0], rtol=1e-5)
    assert (first != second).any()
    executor.reset()
    np.testing.assert_array_equal(executor.run(0, inputs)[0], first)


def product_model(rows, depth, columns):
    generator = rng(3)
    tensors = [T(floats(generator, (rows, depth))), T(floats(generator, (columns, depth)), const=True), None]
    return single("FULLY_CONNECTED", tensors, [T(shape=(rows, columns))])


@pytest.mark.parametrize(("rows", "depth", "columns"), [(1, 300, 70), (9, 65, 3), (200, 17, 5), (1, 400, 1), (2, 1, 2)])
def test_sums_in_order_are_the_reference_s_to_the_bit(rows, depth, columns):
    model, inputs = product_model(rows, depth, columns)
    graph, want = Graph.from_bytes(model), run_litert(model, inputs)[0]
    np.testing.assert_array_equal(ReferenceExecutor(graph, reference_order=True).run(0, inputs)[0], want)
    blas = ReferenceExecutor(graph, reference_order=False).run(0, inputs)[0]
    np.testing.assert_allclose(blas, want, rtol=1e-4, atol=1e-4)


def test_no_memory_for_laid_out_weights_changes_no_result():
    model, inputs = product_model(4, 50, 6)
    graph = Graph.from_bytes(model)
    lean, usual = (ReferenceExecutor(graph, memo_bytes=limit) for limit in (0, 1 << 20))
    for _ in range(2):
        np.testing.assert_array_equal(lean.run(0, inputs)[0], usual.run(0, inputs)[0])


@pytest.fixture
def twice():
    """A custom operator for the time of a test."""

    @custom_op("TestTwice")
    def kernel(node, inputs, runtime):
        """Doubles; the options hold a number to add."""
        return [inputs[0] * 2 + node.operator.custom_options[0]]

    yield kernel
    del CUSTOM_KERNELS["TestTwice"]


def test_custom_operator(twice):
    model, inputs = single("TestTwice", [T(floats(rng(2), (2, 2)))], [T(shape=(2, 2))], custom=bytes([7]))
    np.testing.assert_array_equal(run_ours(model, inputs)[0], inputs[0] * 2 + 7)


def test_a_custom_operator_is_registered_once_or_replaced(twice):
    with pytest.raises(ValueError, match=r"TestTwice has a kernel already: pass replace=True"):
        custom_op("TestTwice")(twice)

    @custom_op("TestTwice", replace=True)
    def other(node, inputs, runtime):
        return [inputs[0]]

    model, inputs = single("TestTwice", [T(floats(rng(2), (2, 2)))], [T(shape=(2, 2))], custom=bytes([7]))
    np.testing.assert_array_equal(run_ours(model, inputs)[0], inputs[0])


def test_errors_of_custom_operators_come_through():
    @custom_op("TestFails")
    def fails(node, inputs, runtime):
        raise IndexError("my own")

    model, inputs = single("TestFails", [T(floats(rng(2), (2, 2)))], [T(shape=(2, 2))], custom=b"")
    try:
        with pytest.raises(IndexError, match="my own"):
            run_ours(model, inputs)
    finally:
        del CUSTOM_KERNELS["TestFails"]


def test_threads_of_matrix_products_are_as_before_afterwards():
    functions = _functions()
    if functions is None:
        pytest.skip("numpy came without OpenBLAS")
    before = functions[0]()
    with blas_threads(1):
        assert functions[0]() == 1
        with blas_threads(1):
            pass
        assert functions[0]() == 1
    assert functions[0]() == before
    with blas_threads(None):
        assert functions[0]() == before
