"""The fallback on the device: what its NNAPI refuses runs on software NNAPI beside it, and no tensor crosses the cable for that."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import signal
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from nnapi_toolkit.android.build import BuildResult
from nnapi_toolkit.arrays import random_inputs
from nnapi_toolkit.bench import bench_model
from nnapi_toolkit.delegate.graph import Graph
from nnapi_toolkit.delegate.partition import PlanOptions
from nnapi_toolkit.delegate.selection import NodeSelection
from nnapi_toolkit.device import adb, open_virtual
from nnapi_toolkit.device.virtual.config import VirtualConfig
from nnapi_toolkit.errors import DriverError, LibraryError, UsageError, WorkerLostError
from nnapi_toolkit.failures import failure_of
from nnapi_toolkit.session import Session, SessionOptions
from nnapi_toolkit.verify import verify_model

from tests.conftest import Golden, model_names, model_path
from tests.e2e.test_cli import document
from tests.e2e.test_failures import RANDOM, reference, stateful_model
from tests.e2e.test_models import CALLING, VISION, assert_equal_to_golden

EXAMPLE = Path(__file__).parents[2] / "examples" / "efficientnet_lite0_int8.tflite"
ON_DEVICE = SessionOptions(fallback="device")
#: The model's input and output in bytes.
IN, OUT = 224 * 224 * 3, 1000


def without(nodes: str, **more: object) -> SessionOptions:
    """A fallback on the device for these nodes."""
    return SessionOptions(PlanOptions(exclude=NodeSelection.parse(nodes)), fallback="device", **more)  # type: ignore[arg-type]


def targets(session: Session) -> list[str]:
    assert session.last_stats is not None
    return [step.target for step in session.last_stats.steps]


def crossed(session: Session) -> tuple[int, int]:
    assert session.last_stats is not None
    steps = session.last_stats.steps
    return sum(s.bytes_to_device for s in steps), sum(s.bytes_from_device for s in steps)


# -- results and traffic --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "device",
    [
        "local,refuse=ADD+CONV_2D",
        "virtual,refuse=ADD+CONV_2D",
        "virtual,refuse-every=3",
        "virtual,fl=1",
        "virtual,fl=3,refuse=DEPTHWISE_CONV_2D",
        pytest.param("virtual:arm64-v8a,refuse=ADD+CONV_2D", marks=pytest.mark.skipif(
            not shutil.which("qemu-aarch64"), reason="needs qemu-aarch64 (apt-get install qemu-user)")),
        pytest.param("virtual:arm64-v8a,fl=2,refuse-every=4", marks=pytest.mark.skipif(
            not shutil.which("qemu-aarch64"), reason="needs qemu-aarch64 (apt-get install qemu-user)")),
    ],
)  # fmt: skip
def test_same_results_and_nothing_crosses(device: str) -> None:
    """Bit for bit as with the CPU reference here; up goes the model's input, down its output, whatever is refused."""
    with Session(EXAMPLE, device) as host:
        inputs = random_inputs(host.input_tensors, 5)
        expected = host.run(inputs)
        assert "cpu" in targets(host)
        more = crossed(host)
    with Session(EXAMPLE, device, ON_DEVICE) as session:
        for _ in range(2):
            for result, wanted in zip(session.run(inputs), expected, strict=True):
                np.testing.assert_array_equal(result, wanted)
            assert set(targets(session)) == {"nnapi", "softnn"}
            assert crossed(session) == (IN, OUT)
        assert more[0] > IN and more[1] > OUT
        summary, plan = session.summary(), session.plan.summary()
        assert summary["delegated_nodes"] == host.summary()["delegated_nodes"]
        assert summary["delegated_nodes"] + summary["softnn_nodes"] == summary["nodes"] == 61
        assert summary["softnn_partitions"] == Counter(p.target for p in session.plan.partitions)["softnn"] > 0
        assert plan["delegated_macs"] + plan["softnn_macs"] == plan["macs"]


def test_the_wire_carries_the_input_and_the_output() -> None:
    """Counted in the device, not by us: an inference over several partitions is frames, and an input, and an output."""
    with open_virtual(VirtualConfig(refuse=("CONV_2D",))) as phone, Session(EXAMPLE, phone, ON_DEVICE) as session:
        inputs = random_inputs(session.input_tensors, 0)
        session.run(inputs)
        frames = len(targets(session))
        assert frames > 10
        control = phone.phone.control()
        control.call("reset")
        session.run(inputs)
        counted = control.call("counters")
        control.close()
        assert counted["services"] == 0
        assert IN < counted["received"] < IN + 400 * frames
        assert OUT < counted["sent"] < OUT + 400 * frames


@pytest.mark.parametrize("name", [n for n in VISION if "10_224" in str(n) or "v3_small" in str(n)] or VISION[:1])
def test_models_against_their_goldens(name: str) -> None:
    with Session(model_path(name), "local,fl=3,refuse-every=4", ON_DEVICE) as session:
        assert_equal_to_golden(name, session, cases=2)
        assert "softnn" in targets(session)


@pytest.mark.parametrize("name", CALLING)
@pytest.mark.parametrize("level", [1, 3])
def test_control_flow(name: str, level: int) -> None:
    """IF and WHILE, which came with level 4, run on the device as a whole; what they call needs no steps of its own."""
    with Session(model_path(name), f"local,fl={level}", ON_DEVICE) as session:
        assert_equal_to_golden(name, session)
        ops = {op.index: op.name for op in session.graph.subgraphs[0].operators}
        placed = {v.op: v.target for v in session.plan.verdicts[0]}
        assert all(placed[op] == "softnn" for op in ops.values() if op in ("IF", "WHILE")), placed


@pytest.mark.parametrize("device", ["local,fl=3,refuse-every=2", "virtual,refuse-every=2"])
def test_an_open_batch(device: str) -> None:
    if "dynamic_batch" not in model_names():
        pytest.skip("no shared models")
    with Session(model_path("dynamic_batch"), device, ON_DEVICE) as session:
        for _ in range(2):
            assert_equal_to_golden("dynamic_batch", session)
        assert "softnn" in targets(session)


def test_states_live_on(tmp_path: Path) -> None:
    """An SVDF on software NNAPI keeps its state as NNAPI does; between inferences, and back on the CPU, it is TFLite's."""
    model = stateful_model(tmp_path)
    x = np.ones((1, 2), np.float32)
    with Session(model, "cpu") as session:
        expected = [session.run([x])[0] for _ in range(4)]
    with Session(model, "local", without("SVDF")) as session:
        found = [session.run([x])[0] for _ in range(4)]
        assert targets(session) == ["softnn", "nnapi"]
    np.testing.assert_allclose(found, expected, rtol=1e-5)


# -- plans ----------------------------------------------------------------------------------------------------------


def test_whatever_the_reason(small_model: Path) -> None:
    """Nodes that the user keeps off NNAPI, and those beyond a limit, go there as well."""
    with Session(small_model, "virtual", without("CONV_2D,LOGISTIC")) as session:
        np.testing.assert_allclose(session.run([RANDOM])[0], reference(small_model), rtol=1e-5, atol=1e-6)
        assert targets(session) == ["softnn", "nnapi", "softnn"]
        assert [str(session.plan.reason(v) or "").partition(":")[0] for v in session.plan.verdicts[0]] == [
            "excluded", "", "excluded",
        ]  # fmt: skip
    limited = PlanOptions(exclude=NodeSelection.parse("AVERAGE_POOL_2D"), max_partitions=1)
    with Session(small_model, "local", SessionOptions(limited, fallback="device")) as session:
        session.run([RANDOM])
        assert targets(session) == ["nnapi", "softnn"]


def test_a_phone_without_an_accelerator(small_model: Path) -> None:
    """NNAPI's own CPU is not allowed; software NNAPI, which was asked for, takes everything."""
    bare = VirtualConfig(environment={"SOFTNN_DEVICE_NAME": "none"})
    with open_virtual(bare) as phone:
        with Session(small_model, phone) as session:
            session.run([RANDOM])
            assert targets(session) == ["cpu"]
        with Session(small_model, phone, ON_DEVICE) as session:
            np.testing.assert_allclose(session.run([RANDOM])[0], reference(small_model), rtol=1e-5, atol=1e-6)
            assert targets(session) == ["softnn"]
            assert session.summary()["delegated_nodes"] == 0
            assert "allow-nnapi-cpu" in str(session.plan.reason(session.plan.verdicts[0][0]))


def test_json_and_reports_name_the_target(capsys: pytest.CaptureFixture[str], small_model: Path) -> None:
    refusing = "virtual,refuse=AVERAGE_POOL_2D"
    found = document(capsys, "partition", small_model, "--device", refusing, "--fallback", "device")
    assert [n["target"] for n in found["nodes"]] == ["nnapi", "softnn", "nnapi"]
    assert [n["partition"] for n in found["nodes"]] == [0, 1, 2]
    assert [p["target"] for p in found["partitions"]] == ["nnapi", "softnn", "nnapi"]
    assert "refused by the device" in found["nodes"][1]["reason"] and found["nodes"][0]["reason"] is None
    levels = document(
        capsys, "partition", small_model, "--feature-level", "1,8", "--exclude", "1", "--fallback", "device"
    )
    assert [[p["target"] for p in plan["partitions"]] for plan in levels] == [["nnapi", "softnn", "nnapi"]] * 2
    host = document(capsys, "partition", small_model, "--device", refusing)
    assert [n["target"] for n in host["nodes"]] == ["nnapi", "cpu", "nnapi"]
    assert [set(p) for p in host["partitions"]] == [{"index", "subgraph", "nodes"}] * 2
    run = document(capsys, "run", small_model, "--device", refusing, "--fallback", "device")
    assert [s["target"] for s in run["stats"]["steps"]] == ["nnapi", "softnn", "nnapi"]
    assert (run["summary"]["delegated_nodes"], run["summary"]["softnn_nodes"]) == (2, 1)
    bench = document(
        capsys, "bench", small_model, "--device", "local,refuse=AVERAGE_POOL_2D", "--fallback", "device",
        "--runs", 3, "--threads", 2, "--vs", "cpu",
    )  # fmt: skip
    assert [p["target"] for p in bench["partitions"]] == ["nnapi", "softnn", "nnapi"]
    assert bench["cpu_us"]["p50"] == 0 and bench["compile_cache"]["warm_ms"] is not None
    checked = document(capsys, "verify", small_model, "--device", refusing, "--fallback", "device", "--per-node")
    assert checked["within"] and [n["partition"] for n in checked["nodes"]] == [0, 1, 2]


def test_a_human_report(capsys: pytest.CaptureFixture[str], small_model: Path) -> None:
    from tests.e2e.test_cli import nnapi

    code, out = nnapi(capsys, "run", small_model, "--device", "local,refuse=AVERAGE_POOL_2D", "--fallback", "device")
    text = " ".join(out.split())
    assert code == 0
    assert "software NNAPI on the device takes 1 more nodes in 1 partition; 0 are left to the CPU here" in text
    assert "1 AVERAGE_POOL_2D softnn 1" in text and "refused by the device" in text


def test_the_cpu_reference_has_no_device(small_model: Path) -> None:
    with pytest.raises(UsageError, match="fallback 'device' needs a device"):
        Session(small_model, "cpu", ON_DEVICE)
    for wrong in ({"fallback": "phone"}, {"fallback_threads": 0}, {"fallback_threads": 65}):
        with pytest.raises(UsageError):
            SessionOptions(**wrong)  # type: ignore[arg-type]


def test_every_node_alone_and_bisection() -> None:
    found = verify_model(EXAMPLE, "local,refuse=CONV_2D", options=ON_DEVICE, per_node=True)
    assert found.within and found.nodes is not None and len(found.nodes) == 61


# -- the push -------------------------------------------------------------------------------------------------------


def test_it_is_pushed_once(small_model: Path, native: BuildResult) -> None:
    config = VirtualConfig(refuse=("AVERAGE_POOL_2D",), library=str(native.libneuralnetworks))
    with open_virtual(config) as phone:
        with Session(small_model, phone) as plain:
            before = plain.pushed_bytes
        control = phone.phone.control()
        control.call("reset")
        with Session(small_model, phone, ON_DEVICE) as first:
            assert first.pushed_bytes == native.libneuralnetworks.stat().st_size
            assert before == small_model.stat().st_size + native.shim.stat().st_size
        control.call("reset")
        with Session(small_model, phone, ON_DEVICE) as second:
            second.run([RANDOM])
            assert second.pushed_bytes == 0
        counted = control.call("counters")
        control.close()
        assert counted["services"] < 5
        assert [r["name"] for r in counted["records"] if r["name"].startswith("sync")] == []
        assert phone.clean() > before
        assert not (phone.phone.root / "data/local/tmp/nnapi-toolkit").exists()


def with_library(monkeypatch: pytest.MonkeyPatch, library: Path) -> None:
    """Pushes this file as software NNAPI."""
    real: Callable[..., BuildResult] = adb.programs_for
    monkeypatch.setattr(
        adb, "programs_for", lambda *a, **k: dataclasses.replace(real(*a, **k), libneuralnetworks=library)
    )


def test_a_library_that_does_not_load(
    monkeypatch: pytest.MonkeyPatch, small_model: Path, native: BuildResult, tmp_path: Path
) -> None:
    broken = tmp_path / "broken.so"
    broken.write_bytes(b"\x7fELF" + bytes(5000))
    with open_virtual(VirtualConfig(library=str(native.libneuralnetworks))) as phone:
        with monkeypatch.context() as patched:
            with_library(patched, broken)
            with pytest.raises(LibraryError) as caught:
                Session(small_model, phone, ON_DEVICE)
        assert phone.name in str(caught.value) and "software NNAPI, for the fallback on the device" in str(caught.value)
        assert "cannot be loaded" in str(caught.value)
        with Session(small_model, phone, ON_DEVICE) as session:  # the next session works
            session.run([RANDOM])
    with open_virtual(VirtualConfig(feature_level=1)) as phone, Session(small_model, phone, ON_DEVICE) as session:
        session.run([RANDOM])


# -- failures -------------------------------------------------------------------------------------------------------


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch, native: BuildResult, tmp_path: Path) -> str:
    """The pushed library takes its settings, faults among them, from the environment as the device's own does.

    A virtual device that has a library of its own and loads another beside it, up to its faults.
    """
    copy = tmp_path / "without_configure.so"
    data = native.libneuralnetworks.read_bytes()
    assert data.count(b"\0softnn_configure\0") == 1
    copy.write_bytes(data.replace(b"\0softnn_configure\0", b"\0softnn_cannot_be\0"))
    with_library(monkeypatch, copy)
    return f"virtual,library={native.libneuralnetworks},faults="


@pytest.fixture
def native() -> BuildResult:
    from nnapi_toolkit.android.build import build

    return build("host")


@pytest.mark.parametrize(
    ("fault", "phase"), [("Execution_compute:5:2", "execute"), ("Compilation_finish:4:2", "compile")]
)
def test_its_failures_are_told_from_the_drivers(failing: str, small_model: Path, fault: str, phase: str) -> None:
    """Partitions softnn, nnapi, softnn: the second call of that kind in one library is the last partition's."""
    with (
        pytest.raises(DriverError) as caught,
        Session(small_model, f"{failing}{fault}", without("CONV_2D,LOGISTIC", diagnose=False)) as session,
    ):
        session.run([RANDOM])
    failure = failure_of(caught.value)
    assert failure is not None
    assert (failure.target, failure.partition, failure.phase) == ("softnn", 2, phase)
    assert failure.nodes == ((2, "LOGISTIC"),)
    assert "software NNAPI there, partition 2" in str(caught.value) and "--fallback host" in str(caught.value)
    assert json.loads(json.dumps(failure.to_json()))["target"] == "softnn"


@pytest.mark.parametrize("fault", ["Execution_compute:kill:2", "Compilation_finish:4:2"])
def test_its_partition_runs_here_instead(failing: str, small_model: Path, fault: str) -> None:
    options = without("CONV_2D,LOGISTIC", on_failure="cpu", diagnose=False)
    with Session(small_model, f"{failing}{fault}", options) as session:
        np.testing.assert_allclose(session.run([RANDOM])[0], reference(small_model), rtol=1e-5, atol=1e-6)
        assert session.summary()["failed_partitions"] == [2]
        assert targets(session) == ["softnn", "nnapi", "cpu"]
        assert session.summary()["softnn_nodes"] == 1


def test_killed_in_mid_inference(failing: str, small_model: Path) -> None:
    """The worker dies inside software NNAPI: a named error, and the session, library and all, begins anew."""
    options = without("CONV_2D,LOGISTIC", diagnose=False)
    with Session(small_model, f"{failing}Execution_compute:kill:2", options) as session:
        for _ in range(2):
            with pytest.raises(WorkerLostError) as caught:
                session.run([RANDOM])
            assert session.device_name in str(caught.value) and "partition 2" in str(caught.value)


def test_killed_between_inferences(small_model: Path) -> None:
    with Session(small_model, "virtual,refuse=AVERAGE_POOL_2D", ON_DEVICE) as session:
        for _ in range(3):
            np.testing.assert_allclose(session.run([RANDOM])[0], reference(small_model), rtol=1e-5, atol=1e-6)
            assert targets(session) == ["nnapi", "softnn", "nnapi"]
            os.kill(session.device_session.hello.pid, signal.SIGKILL)  # type: ignore[union-attr]


def test_the_bench_threads_go_to_the_library() -> None:
    found = bench_model(EXAMPLE, "local,refuse=CONV_2D", runs=1, warmup=0, threads=2,
                        options=SessionOptions(fallback="device", fallback_threads=2))  # fmt: skip
    assert {p["target"] for p in found.to_json()["partitions"]} == {"nnapi", "softnn"}


@pytest.mark.parametrize("name", [n for n in model_names() if "dynrange" in str(n)])
def test_what_cannot_be_said_exactly_stays_here(name: str) -> None:
    """Hybrid operators would need dequantised weights: those change results, and the fallback must not."""
    golden = Golden(name)
    graph = Graph.open(model_path(name))
    everything = SessionOptions(PlanOptions(include=NodeSelection()), fallback="device")
    with Session(graph, "cpu") as host, Session(graph, "local", everything) as session:
        for result, expected in zip(session.run(golden.inputs(0)), host.run(golden.inputs(0)), strict=True):
            np.testing.assert_allclose(result, expected, rtol=1e-5, atol=1e-6)
        placed = {v.index: v.target for v in session.plan.verdicts[0]}
        weights = {node.operator.index: node.input(1) for node in graph.nodes(0) if "CONV" in node.operator.name}
        hybrid = [placed[index] for index, tensor in weights.items() if tensor is not None and tensor.dtype == np.int8]
        assert hybrid and set(hybrid) == {"cpu"}
