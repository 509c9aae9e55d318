"""The interpreter beside LiteRT's: same details, same results, errors that say what to do."""

from __future__ import annotations

import gc
from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter as LiteRT
from ai_edge_litert.interpreter import OpResolverType
from nnapi_toolkit import Interpreter
from nnapi_toolkit.errors import UsageError

from tests.conftest import Golden, catalogue, model_names, model_path
from tests.modelbuilder import ModelBuilder


def litert(path: Path) -> LiteRT:
    interpreter = LiteRT(str(path), experimental_op_resolver_type=OpResolverType.BUILTIN_REF)
    interpreter.allocate_tensors()
    return interpreter


@pytest.mark.parametrize("name", model_names())
def test_details_equal_those_of_litert(name: str) -> None:
    if catalogue()[name]["custom_ops"]:
        pytest.skip("LiteRT has no kernel for its custom operator")
    theirs = litert(model_path(name))
    with Interpreter(model_path(name), device="cpu") as ours:
        for mine, wanted in (
            (ours.get_input_details(), theirs.get_input_details()),
            (ours.get_output_details(), theirs.get_output_details()),
        ):
            assert [d["name"] for d in mine] == [d["name"] for d in wanted]
            for a, b in zip(mine, wanted, strict=True):
                assert a["index"] == b["index"]
                assert a["dtype"] == b["dtype"]
                assert list(a["shape_signature"]) == list(b["shape_signature"])
                assert a["quantization"] == pytest.approx(b["quantization"])
                np.testing.assert_array_equal(
                    a["quantization_parameters"]["scales"], b["quantization_parameters"]["scales"]
                )


@pytest.mark.parametrize("device", ["cpu", "local"])
def test_resized_inputs(device: str) -> None:
    if not catalogue():
        pytest.skip("no shared models")
    golden = Golden("dynamic_batch")
    with Interpreter(model_path("dynamic_batch"), device=device) as interpreter:
        index = interpreter.get_input_details()[0]["index"]
        for case in range(golden.cases):
            (values,), (expected,) = golden.inputs(case), golden.outputs(case)
            interpreter.resize_tensor_input(index, values.shape)
            interpreter.allocate_tensors()
            interpreter.set_tensor(index, values)
            interpreter.invoke()
            result = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
            np.testing.assert_allclose(result, expected, rtol=1e-5, atol=1e-6)
            if device != "cpu":
                assert interpreter.session.plan.summary()["delegated_nodes"] > 0


@pytest.mark.parametrize("device", ["cpu", "local"])
def test_signature_runner(device: str, tmp_path: Path) -> None:
    builder = ModelBuilder()
    a, b = (builder.tensor(name, "float32", (2, 3)) for name in ("a", "b"))
    y = builder.tensor("y", "float32", (2, 3))
    builder.op("ADD", [a, b], [y])
    builder.signature("add", {"left": a, "right": b}, {"sum": y})
    path = tmp_path / "signed.tflite"
    path.write_bytes(builder.build([a, b], [y]))
    theirs = LiteRT(str(path))
    left, right = np.arange(6, dtype=np.float32).reshape(2, 3), np.ones((2, 3), np.float32)
    with Interpreter(path, device=device) as ours:
        wanted = {"add": {"inputs": ["left", "right"], "outputs": ["sum"]}}
        assert ours.get_signature_list() == theirs.get_signature_list() == wanted
        for runner in (ours.get_signature_runner("add"), ours.get_signature_runner(), theirs.get_signature_runner("add")):
            np.testing.assert_array_equal(runner(left=left, right=right)["sum"], left + right)
        with pytest.raises(UsageError, match="right"):
            ours.get_signature_runner("add")(left=left)


@pytest.mark.parametrize("device", ["cpu", "local"])
def test_signatures_of_other_subgraphs_and_shapes(device: str, tmp_path: Path) -> None:
    """As LiteRT's runner: any subgraph, inputs of any shape, outputs whose shape depends on the data, shared variables."""
    builder = ModelBuilder()
    x, y = (builder.tensor(name, "float32", (2, 3)) for name in "xy")
    builder.op("NEG", [x], [y])
    other = builder.subgraph("other")
    u, v = (other.tensor(name, "float32", (1, 4)) for name in "uv")
    where, handle = other.tensor("where", "int64", (1, 2)), other.tensor("handle", "resource", (1,))
    other.op("EXP", [u], [v])
    other.op("WHERE", [u], [where])
    other.op("VAR_HANDLE", [], [handle], container="", shared_name="kept")
    axes, total = other.tensor("axes", "int32", (2,), data=np.array([0, 1], np.int32)), other.tensor("total", "float32", ())
    other.op("SUM", [v, axes], [total], keep_dims=False)
    other.op("ASSIGN_VARIABLE", [handle, total], [])
    other.interface([u], [v, where])
    again = builder.subgraph("again")
    kept, value = again.tensor("handle", "resource", (1,)), again.tensor("value", "float32", ())
    again.op("VAR_HANDLE", [], [kept], container="", shared_name="kept")
    again.op("READ_VARIABLE", [kept], [value])
    again.interface([], [value])
    builder.signature("negate", {"a": x}, {"b": y})
    builder.signature("exp", {"u": u}, {"v": v, "where": where}, other)
    builder.signature("last", {}, {"value": value}, again)
    path = tmp_path / "signed.tflite"
    path.write_bytes(builder.build([x], [y]))
    theirs = litert(path)
    with Interpreter(path, device=device) as ours:
        for rows in (1, 3):
            values = np.arange(12, dtype=np.float32).reshape(rows, -1)
            for key, inputs in (("negate", {"a": values}), ("exp", {"u": values}), ("last", {})):
                have, want = (i.get_signature_runner(key)(**inputs) for i in (ours, theirs))
                assert have.keys() == want.keys()
                for name in want:
                    assert (have[name].shape, have[name].dtype) == (want[name].shape, want[name].dtype)
                    np.testing.assert_allclose(have[name], want[name], rtol=1e-6)
        with pytest.raises(UsageError, match="dtype int32"):
            ours.get_signature_runner("exp")(u=np.ones((1, 4), np.int32))
        with pytest.raises(UsageError, match="u"):
            ours.get_signature_runner("exp")()


def test_resized_inputs_of_operators_whose_shapes_depend_on_data(tmp_path: Path) -> None:
    builder = ModelBuilder()
    x, where = builder.tensor("x", "float32", (2, 3)), builder.tensor("where", "int64", (1, 2))
    turned, axes = builder.tensor("turned", "int64", (2, 1)), builder.tensor("perm", "int32", (2,), data=np.array([1, 0], np.int32))
    builder.op("WHERE", [x], [where])
    builder.op("TRANSPOSE", [where, axes], [turned])
    path = tmp_path / "where.tflite"
    path.write_bytes(builder.build([x], [turned]))
    theirs = LiteRT(str(path), experimental_op_resolver_type=OpResolverType.BUILTIN_REF)
    with Interpreter(path, device="cpu") as ours:
        for shape in ((2, 3), (5, 1), (0, 4)):
            values = (np.arange(np.prod(shape)) % 3).astype(np.float32).reshape(shape)
            for interpreter in (ours, theirs):
                interpreter.resize_tensor_input(0, shape)
                interpreter.allocate_tensors()
                interpreter.set_tensor(0, values)
                interpreter.invoke()
            have = ours.get_tensor(ours.get_output_details()[0]["index"])
            np.testing.assert_array_equal(have, np.stack(np.nonzero(values)))
            if values.size:
                np.testing.assert_array_equal(have, theirs.get_tensor(theirs.get_output_details()[0]["index"]))


def test_from_bytes_and_intermediate_tensors(small_model: Path) -> None:
    values = np.random.default_rng(3).normal(size=(1, 16, 16, 3)).astype(np.float32)
    theirs = litert(small_model)
    theirs.set_tensor(theirs.get_input_details()[0]["index"], values)
    theirs.invoke()
    expected = theirs.get_tensor(theirs.get_output_details()[0]["index"])
    with Interpreter(model_content=small_model.read_bytes(), device="local,refuse=AVERAGE_POOL_2D") as ours:
        ours.allocate_tensors()
        ours.set_tensor(ours.get_input_details()[0]["index"], values)
        ours.invoke()
        np.testing.assert_allclose(ours.get_tensor(ours.get_output_details()[0]["index"]), expected, rtol=1e-5, atol=1e-6)


def test_misuse_is_named(small_model: Path) -> None:
    with pytest.raises(UsageError, match="exactly one"):
        Interpreter()
    with Interpreter(small_model, device="cpu") as ours:
        with pytest.raises(UsageError, match="never set"):
            ours.invoke()
        with pytest.raises(UsageError, match="not an input"):
            ours.set_tensor(1, np.zeros(3, np.float32))
        with pytest.raises(UsageError, match="dtype float64"):
            ours.set_tensor(0, np.zeros((1, 16, 16, 3)))
        with pytest.raises(UsageError, match="shape"):
            ours.set_tensor(0, np.zeros((1, 16, 16, 4), np.float32))
        with pytest.raises(UsageError, match="does not exist"):
            ours.get_tensor(99)
        with pytest.raises(UsageError, match="no value"):
            ours.get_tensor(4)
        with pytest.raises(UsageError, match="does not fit"):
            ours.resize_tensor_input(0, (2, 16, 16, 3), strict=True)
        with pytest.raises(UsageError, match="signature"):
            ours.get_signature_runner("missing")


def test_a_hundred_interpreters_leak_nothing(small_model: Path) -> None:
    def descriptors() -> int:
        gc.collect()  # a graph and its parts know each other
        return len(list(Path("/proc/self/fd").iterdir()))

    values = np.zeros((1, 16, 16, 3), np.float32)
    before = None
    for number in range(100):
        with Interpreter(small_model, device="local") as ours:
            ours.set_tensor(0, values)
            ours.invoke()
        if number == 5:
            before = descriptors()
    assert before is not None
    assert descriptors() <= before


@pytest.mark.parametrize("device", ["cpu", "local", "local,refuse=NEG"])
def test_a_partition_of_constants_alone(device: str, tmp_path: Path) -> None:
    """Nodes that read nothing but constants make a program without inputs."""
    builder = ModelBuilder()
    x = builder.tensor("x", "float32", (1, 4))
    given = np.arange(12, dtype=np.float32).reshape(3, 4) - 6
    c, a = builder.tensor("c", "float32", (3, 4), data=given), builder.tensor("a", "float32", (3, 4))
    axis, m = builder.tensor("axis", "int32", (1,), data=np.array([1], np.int32)), builder.tensor("m", "float32", (3,))
    y = builder.tensor("y", "float32", (1, 4))
    builder.op("ABS", [c], [a])
    builder.op("REDUCE_MAX", [a, axis], [m], keep_dims=False)
    builder.op("NEG", [x], [y])
    path = tmp_path / "constants.tflite"
    path.write_bytes(builder.build([x], [m, y]))
    with Interpreter(path, device=device) as interpreter:
        interpreter.allocate_tensors()
        interpreter.set_tensor(0, np.ones((1, 4), np.float32))
        interpreter.invoke()
        largest, negated = (interpreter.get_tensor(d["index"]) for d in interpreter.get_output_details())
        np.testing.assert_array_equal(largest, np.abs(given).max(axis=1))
        np.testing.assert_array_equal(negated, -np.ones((1, 4)))
