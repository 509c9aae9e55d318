"""The node where a device parts from the reference is found: reference kernels are bent on purpose, one at a time."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from nnapi_toolkit.arrays import Tolerance, random_inputs
from nnapi_toolkit.cli import main
from nnapi_toolkit.delegate.graph import Graph
from nnapi_toolkit.errors import UsageError
from nnapi_toolkit.reference import find_kernel
from nnapi_toolkit.reference.base import KERNELS
from nnapi_toolkit.schema.enums import Padding
from nnapi_toolkit.session import Session, SessionOptions
from nnapi_toolkit.verify import calibration_inputs, verify_model

from tests.conftest import model_names, model_path
from tests.modelbuilder import ModelBuilder

Bend = Callable[[str, int, Callable[[np.ndarray], np.ndarray]], None]


@pytest.fixture
def bend(monkeypatch: pytest.MonkeyPatch) -> Bend:
    """Changes what the reference computes for one node, so that the device seems to be wrong there."""

    def change(op: str, index: int, how: Callable[[np.ndarray], np.ndarray]) -> None:
        right = find_kernel(op)
        assert right is not None

        def wrong(node: Any, inputs: Sequence[Any], runtime: Any) -> Sequence[np.ndarray]:
            outputs = right(node, inputs, runtime)
            if node.operator.index != index or node.subgraph.index != 0:
                return outputs
            return [how(np.array(outputs[0])), *outputs[1:]]

        monkeypatch.setitem(KERNELS, op, wrong)

    return change


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve nodes in two branches that meet: float additions and tangents, a convolution at the head."""
    random = np.random.default_rng(11)
    builder = ModelBuilder()
    shape = (1, 6, 6, 4)
    x = builder.tensor("x", "float32", shape)
    w = builder.tensor("w", "float32", (4, 1, 1, 4), data=random.normal(size=(4, 1, 1, 4)).astype(np.float32))
    b = builder.tensor("b", "float32", (4,), data=random.normal(size=4).astype(np.float32))
    head = builder.tensor("head", "float32", shape)
    builder.op("CONV_2D", [x, w, b], [head], stride_w=1, stride_h=1, padding=Padding.SAME)
    left, right = head, head
    for number in range(5):
        step = builder.tensor(f"left{number}", "float32", shape)
        builder.op("TANH" if number % 2 else "LOGISTIC", [left], [step])
        left = step
        step = builder.tensor(f"right{number}", "float32", shape)
        builder.op("ADD", [right, left], [step])
        right = step
    out = builder.tensor("out", "float32", shape)
    builder.op("MUL", [left, right], [out])
    path = tmp_path_factory.mktemp("models") / "chain.tflite"
    path.write_bytes(builder.build([x], [out]))
    return path


def ops(model: Path) -> list[str]:
    return [operator.name for operator in Graph.open(model).subgraphs[0].operators]


@pytest.mark.parametrize("index", range(12))
def test_the_node_is_found(chain: Path, bend: Bend, index: int) -> None:
    op = ops(chain)[index]
    bend(op, index, lambda y: y * np.float32(1.01) + np.float32(0.5))
    found = verify_model(chain, "local")
    assert not found.within
    assert found.node is not None
    assert (found.node.index, found.node.op, found.node.partition) == (index, op, 0)
    assert found.node.cause == "node"
    tensor = Graph.open(chain).subgraphs[0].operators[index].outputs[0]
    assert found.node.tensor == tensor
    assert found.node.alone[0].max_abs > 0.4
    assert found.node.trials <= 8, "more trials than a bisection of twelve needs"


@pytest.mark.parametrize("device", ["local,refuse=ADD", "local,refuse-every=3"])
@pytest.mark.parametrize("index", [2, 3, 8, 11])
def test_in_a_plan_of_many_partitions(chain: Path, bend: Bend, device: str, index: int) -> None:
    op = ops(chain)[index]
    bend(op, index, lambda y: y + np.float32(0.5))
    with Session(chain, device) as session:
        delegated = session.plan.verdicts[0][index].target == "nnapi"
        assert 0 < session.plan.summary()["delegated_nodes"] < 12
    found = verify_model(chain, device)
    assert found.within != delegated
    assert (found.node is not None) == delegated
    if found.node is not None:
        assert found.node.index == index
        assert found.node.cause == "node"


def test_a_node_of_the_cpu_is_equal_on_both_sides(chain: Path, bend: Bend) -> None:
    bend("ADD", 2, lambda y: y + np.float32(0.5))
    found = verify_model(chain, "local,refuse=ADD")
    assert found.within
    assert found.node is None


def test_an_error_that_accumulates(chain: Path, bend: Bend) -> None:
    """Each addition is a little off: none exceeds the bound alone, the third does in place."""
    for index, op in enumerate(ops(chain)):
        if op == "ADD":
            bend(op, index, lambda y: y + np.float32(3e-3))
    found = verify_model(chain, "local", tolerance=Tolerance(absolute=8e-3, relative=0))
    assert found.node is not None
    assert found.node.cause == "accumulated"
    assert found.node.op == "ADD"
    assert found.node.index == 6, "three times 3e-3 is the first sum over 8e-3"
    assert all(difference.within for difference in found.node.alone)


def test_a_small_error_that_a_cpu_step_makes_large(tmp_path: Path, bend: Bend) -> None:
    builder = ModelBuilder()
    x = builder.tensor("x", "float32", (1, 8))
    y = builder.tensor("y", "float32", (1, 8))
    z = builder.tensor("z", "float32", (1, 8))
    factor = builder.tensor("factor", "float32", (1,), data=np.array([1e6], np.float32))
    builder.op("TANH", [x], [y])
    builder.op("MUL", [y, factor], [z])
    model = tmp_path / "large.tflite"
    model.write_bytes(builder.build([x], [z]))
    bend("TANH", 0, lambda y: y + np.float32(1e-3))
    found = verify_model(model, "local,refuse=MUL", tolerance=Tolerance(absolute=1e-2, relative=0))
    assert found.node is not None
    assert (found.node.index, found.node.cause, found.node.partition) == (1, "cpu", None)


def test_every_node_alone(chain: Path, bend: Bend) -> None:
    """A node whose error does not reach the outputs is found by --per-node only."""
    bend("LOGISTIC", 1, lambda y: y + np.float32(1e-4))
    bound = Tolerance(absolute=5e-5, relative=0)
    assert verify_model(chain, "local", tolerance=Tolerance(absolute=1.0)).within
    found = verify_model(chain, "local", tolerance=bound, per_node=True)
    assert found.nodes is not None
    assert [node.index for node in found.nodes] == list(range(12))
    assert [node.index for node in found.nodes if not node.within] == [1]
    assert found.node is not None and found.node.index == 1
    assert not found.within


def test_quantised_steps_and_the_first_run_over_the_bound(bend: Bend) -> None:
    name = "mobilenet_v1_025_128_int8"
    if name not in model_names():
        pytest.skip("no shared models")
    model = model_path(name)
    index = next(o.index for o in Graph.open(model).subgraphs[0].operators if o.index > 9 and o.name == "CONV_2D")

    def off_by_two(y: np.ndarray) -> np.ndarray:
        return np.where(y < 100, y + 2, y).astype(y.dtype)

    assert verify_model(model, "local").within
    bend("CONV_2D", index, off_by_two)
    found = verify_model(model, "local,fl=3", runs=2)
    assert found.node is not None
    assert (found.node.index, found.node.run) == (index, 0)
    assert found.node.alone[0].steps == 2


def test_state_is_that_of_the_run(tmp_path: Path, bend: Bend) -> None:
    """The third run is the first over the bound, and depends on the state that the first two left."""
    from tests.e2e.test_failures import stateful_model

    model = stateful_model(tmp_path)
    bend("LOGISTIC", 1, lambda y: np.where(y > 0.9, y + np.float32(0.25), y))
    ones = [[np.ones((1, 2), np.float32)]] * 3
    found = verify_model(model, "local", ones)
    assert [all(d.within for d in run) for run in found.runs] == [True, True, False]
    assert found.node is not None
    assert (found.node.run, found.node.index) == (2, 1)


# -- the command ----------------------------------------------------------------------------------------------------


def nnapi(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str]:
    capsys.readouterr()
    with pytest.raises(SystemExit) as left:
        main([str(a) for a in arguments])
    return int(left.value.code or 0), capsys.readouterr().out


def test_command_and_reproducer(
    chain: Path, bend: Bend, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bend("TANH", 3, lambda y: y + np.float32(0.5))
    file = tmp_path / "repro" / "case.npz"
    code, out = nnapi(capsys, "verify", chain, "--device", "local", "--save-reproducer", file, "--json")
    assert code == 1
    document = json.loads(out)
    assert document["node"]["index"] == 3
    assert document["node"]["op"] == "TANH"
    assert document["node"]["tensor"]["name"] == "left1"
    assert {"max_abs", "rmse", "snr_db", "cosine", "steps", "within"} <= set(document["node"]["alone"][0])
    assert document["reproducer"] == str(file)
    with np.load(file) as archive:
        assert np.array_equal(archive["input_0"], random_inputs(Graph.open(chain).subgraphs[0].tensors[:1], 0)[0])
        inputs = [key for key in archive.files if key.startswith("node_input_")]
        assert len(inputs) == 1
        tensor = document["node"]["tensor"]["index"]
        np.testing.assert_allclose(np.tanh(archive[inputs[0]]), archive[f"node_actual_{tensor}"], rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(archive[f"node_actual_{tensor}"] + 0.5, archive[f"node_expected_{tensor}"], rtol=1e-5)
        assert json.loads(str(archive["about"]))["node"]["index"] == 3
    code, out = nnapi(capsys, "verify", chain, "--device", "local", "--inputs", file, "--json")
    assert code == 1
    assert json.loads(out)["node"]["index"] == 3
    code, out = nnapi(capsys, "verify", chain, "--device", "local", "--inputs", file)
    assert code == 1
    assert "node 3 (TANH)" in out and "left1" in out
    monkeypatch.undo()
    code, _ = nnapi(capsys, "verify", chain, "--device", "local", "--inputs", file, "--per-node")
    assert code == 0


def test_calibration_sets(chain: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    folder = tmp_path / "calibration"
    folder.mkdir()
    for number in range(3):
        np.savez(folder / f"{number}.npz", x=np.full((1, 6, 6, 4), number, np.float32))
    (tmp_path / "list.txt").write_text("# two of them\ncalibration/2.npz\n\ncalibration/0.npz\n")
    tensors = Graph.open(chain).subgraphs[0].tensors[:1]
    found = calibration_inputs([folder, tmp_path / "list.txt", folder / "1.npz"], tensors)
    assert [run[0].flat[0] for run in found] == [0, 1, 2, 2, 0, 1]
    code, out = nnapi(capsys, "verify", chain, "--device", "local", "--calibration", folder, "--json")
    assert code == 0
    assert len(json.loads(out)["runs"]) == 3
    (tmp_path / "empty").mkdir()
    for wrong in ("empty", "missing", "missing.npz"):
        with pytest.raises(UsageError, match=wrong):
            calibration_inputs([tmp_path / wrong], tensors)


def test_a_driver_that_fails_at_a_single_node(chain: Path, bend: Bend) -> None:
    """Verification itself may run into a broken driver: an error with the nodes, or a partition on the CPU."""
    from nnapi_toolkit.errors import DriverError

    bend("TANH", 3, lambda y: y + np.float32(0.5))
    with pytest.raises(DriverError, match="with nodes"):
        verify_model(chain, "local,faults=Compilation_finish:5:2", options=SessionOptions(diagnose=False))
    found = verify_model(chain, "local,faults=Execution_compute:5", options=SessionOptions(on_failure="cpu"))
    assert found.within
    assert len(found.failures) == 1


@pytest.mark.parametrize("level", [3, 8])
def test_a_node_inside_a_called_subgraph(bend: Bend, level: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bent in the body of a loop: the loop is named, whether it is delegated whole or in parts."""
    if "text_gru_float" not in model_names():
        pytest.skip("no shared models")
    model = model_path("text_gru_float")
    right = find_kernel("TANH")
    assert right is not None

    def wrong(node: Any, inputs: Sequence[Any], runtime: Any) -> Sequence[np.ndarray]:
        return [np.array(y) * np.float32(1.1) for y in right(node, inputs, runtime)]

    monkeypatch.setitem(KERNELS, "TANH", wrong)
    found = verify_model(model, f"local,fl={level}")
    assert found.node is not None
    assert found.node.op == "WHILE"
    assert found.node.cause == ("called" if level == 3 else "node")


def test_runs_of_several_shapes(bend: Bend) -> None:
    """The first run over the bound has another shape than the last one."""
    from tests.conftest import Golden

    if "dynamic_batch" not in model_names():
        pytest.skip("no shared models")
    golden = Golden("dynamic_batch")
    runs = [golden.inputs(case) for case in range(golden.cases)]
    model = model_path("dynamic_batch")
    assert verify_model(model, "local", runs).within
    operators = Graph.open(model).subgraphs[0].operators
    index = next(o.index for o in operators if o.name == "FULLY_CONNECTED")
    bend("FULLY_CONNECTED", index, lambda y: y * np.float32(2 if y.shape[0] == 3 else 1))
    found = verify_model(model, "local", runs)
    assert found.node is not None
    assert found.node.index == index
    assert runs[found.node.run][0].shape[0] == 3
