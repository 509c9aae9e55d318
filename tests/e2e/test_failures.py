"""What breaks in mid-inference gives an error with a name, soon; and the next session works."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from nnapi_toolkit.delegate.partition import PlanOptions
from nnapi_toolkit.delegate.selection import NodeSelection
from nnapi_toolkit.device import open_virtual
from nnapi_toolkit.device.virtual.config import VirtualConfig
from nnapi_toolkit.device.virtual.processes import parents
from nnapi_toolkit.errors import DeviceError, DriverError, ShimError, ToolkitError, WorkerLostError
from nnapi_toolkit.failures import failure_of
from nnapi_toolkit.session import Session, SessionOptions

from tests.device.conftest import alive, wait_until
from tests.modelbuilder import ModelBuilder

VALUES = np.zeros((1, 16, 16, 3), np.float32)
#: Seconds from the kill to the error.
SOON = 2.0


def test_shim_killed_in_mid_inference(small_model: Path) -> None:
    """The execution sleeps for a minute inside NNAPI when the whole shim is killed."""
    with open_virtual(VirtualConfig(faults="Execution_compute:sleep=60000:2")) as device:
        with Session(small_model, device) as session:
            session.run([VALUES])
            killed: list[float] = []

            def kill() -> None:
                killed.append(time.monotonic())
                os.kill(session.device_session.hello.pid, signal.SIGKILL)  # type: ignore[union-attr]

            timer = threading.Timer(0.5, kill)
            timer.start()
            with pytest.raises((ShimError, DeviceError)) as caught:
                session.run([VALUES])
            assert killed, "the inference ended before the kill"
            assert time.monotonic() - killed[0] < SOON
            assert device.serial in str(caught.value)
            session.run([VALUES])  # the same session starts the program again
        with Session(small_model, device) as session:
            session.run([VALUES])


@pytest.mark.parametrize("pause", [0.0, 0.02, 1.5])
def test_worker_killed_between_inferences(small_model: Path, pause: float) -> None:
    """Nobody's request is open: the next inference starts a fresh worker, and works, however soon it comes."""
    want = reference(small_model)
    with Session(small_model, "virtual") as session:
        for _ in range(6 if pause < 1 else 2):
            session.run([RANDOM])
            assert session.last_stats is not None and session.last_stats.attempts == 1
            os.kill(session.device_session.hello.pid, signal.SIGKILL)  # type: ignore[union-attr]
            time.sleep(pause)
            np.testing.assert_allclose(session.run([RANDOM])[0], want, rtol=1e-5, atol=1e-6)
            assert session.last_stats.attempts <= 2
        assert session.failures == [], "that was not the driver's doing"


@pytest.mark.parametrize("told", [False, True])
def test_shim_killed_between_inferences(small_model: Path, told: bool) -> None:
    """The next inference starts it again. Where the adb server has not told of its end yet: a named error, and then it works."""
    want = reference(small_model)
    with Session(small_model, "virtual") as session:
        for _ in range(3):
            session.run([RANDOM])
            worker = session.device_session.hello.pid  # type: ignore[union-attr]
            supervisor = parents()[worker]
            os.kill(supervisor, signal.SIGKILL)
            assert wait_until(lambda: not alive(worker) and not alive(supervisor))  # noqa: B023 - called at once
            if told:
                assert wait_until(session.device_session.ended)  # type: ignore[union-attr]
            else:
                with contextlib.suppress(ShimError):
                    session.run([RANDOM])
            np.testing.assert_allclose(session.run([RANDOM])[0], want, rtol=1e-5, atol=1e-6)
        assert session.failures == []


def test_an_open_shape_after_a_kill(tmp_path: Path) -> None:
    """Planning anew begins with freeing what is loaded, in a worker that is not there any more."""
    model = open_model(tmp_path)
    with Session(model, "virtual") as session:
        for count in (1, 4, 2):
            x = np.full((count, 4), -1.0, np.float32)
            np.testing.assert_array_equal(session.run([x])[0], np.ones((count, 4), np.float32))
            os.kill(session.device_session.hello.pid, signal.SIGKILL)  # type: ignore[union-attr]


def open_model(folder: Path) -> Path:
    """ABS of a batch of open size."""
    builder = ModelBuilder()
    x, y = (builder.tensor(name, "float32", (1, 4), shape_signature=(-1, 4)) for name in "xy")
    builder.op("ABS", [x], [y])
    path = folder / "open.tflite"
    path.write_bytes(builder.build([x], [y]))
    return path


def test_device_gone_in_mid_session(small_model: Path) -> None:
    device = open_virtual()
    with Session(small_model, device) as session:
        session.run([VALUES])
        device.phone.close()
        begin = time.monotonic()
        with pytest.raises(ToolkitError) as caught:
            session.run([VALUES])
        assert time.monotonic() - begin < SOON
        assert device.serial in str(caught.value)
    device.close()
    with Session(small_model, "virtual") as session:
        session.run([VALUES])


@pytest.mark.parametrize(("fault", "text"), [("Execution_compute:5", "OP_FAILED"), ("Compilation_finish:4", "BAD_DATA")])
def test_a_driver_that_fails_is_named(small_model: Path, fault: str, text: str) -> None:
    with pytest.raises(DriverError) as caught, Session(small_model, f"virtual,faults={fault}") as session:
        session.run([VALUES])
    assert text in str(caught.value)
    assert fault.partition(":")[0] in str(caught.value)


# -- what the driver fails at ---------------------------------------------------------------------------------------


def reference(model: Path) -> np.ndarray:
    with Session(model, "cpu") as session:
        return session.run([RANDOM])[0]


RANDOM = np.random.default_rng(3).normal(size=(1, 16, 16, 3)).astype(np.float32)
#: Faults of software NNAPI, and the phase in which they strike.
FAULTS = {"Execution_compute:5": "execute", "Compilation_finish:4": "compile", "Model_addOperation:4:2": "ask"}


@pytest.mark.parametrize("device", ["virtual", "local"])
@pytest.mark.parametrize(("fault", "phase"), FAULTS.items())
def test_the_partition_runs_on_the_cpu_instead(small_model: Path, device: str, fault: str, phase: str) -> None:
    options = SessionOptions(on_failure="cpu")
    with Session(small_model, f"{device},faults={fault}", options) as session:
        for _ in range(2):
            np.testing.assert_allclose(session.run([RANDOM])[0], reference(small_model), rtol=1e-5, atol=1e-6)
        assert [f.phase for f in session.failures][:1] == [phase]
        assert {f.action for f in session.failures} == {"cpu"}
        assert session.summary()["delegated_nodes"] == 0
        stats = session.last_stats
        assert stats is not None
        assert all(step.target == "cpu" for step in stats.steps)
        if phase != "ask":
            assert session.summary()["failed_partitions"] == [0]
            assert [step.fallback for step in stats.steps] == [True]
            assert len(session.failures) == 1


def test_only_the_partition_that_fails_leaves_the_device(small_model: Path) -> None:
    """Three partitions; the second compilation fails each time it is tried, so that the third is then the second."""
    plan = PlanOptions(exclude=NodeSelection.parse("AVERAGE_POOL_2D"))
    options = SessionOptions(plan=plan, on_failure="cpu")
    with Session(small_model, "local,faults=Compilation_finish:4:2", options) as session:
        np.testing.assert_allclose(session.run([RANDOM])[0], reference(small_model), rtol=1e-5, atol=1e-6)
        assert [f.partition for f in session.failures] == [1]
        assert session.last_stats is not None
        assert [(s.target, s.partition) for s in session.last_stats.steps] == [("nnapi", 0), ("cpu", None), ("cpu", 1)]
        assert session.summary()["delegated_nodes"] == 1
        assert session.failures[0].nodes == ((2, "LOGISTIC"),)


def test_a_failure_tells_nodes_operands_and_the_second_attempt(small_model: Path) -> None:
    with open_virtual(VirtualConfig(faults="Model_addOperand:4:2")) as device:
        with pytest.raises(DriverError) as caught, Session(small_model, device):
            pass
        failure = failure_of(caught.value)
        assert failure is not None
        assert failure.code == 4
        assert failure.names == ("operand 1 is tensor 1 'w' (float32 [8, 3, 3, 3]), input 1 of CONV_2D, node 0 (CONV_2D)",)
        assert failure.retry == "failed in the same way"
        assert failure.log.note
        text = str(caught.value)
        assert "second attempt" in text and "Model_addOperand" in text and device.name in text
        assert failure.names[0] in text


def test_the_verbose_log_is_captured_and_put_back(small_model: Path) -> None:
    with open_virtual(VirtualConfig(faults="Execution_compute:5")) as device:
        device.command("setprop debug.nn.vlog manager").check()
        log = device.phone.root / "data/misc/logd/log"
        log.parent.mkdir(parents=True, exist_ok=True)
        now = "12-31 23:59:59"  # not before the failure, whenever that is
        log.write_text(
            "--------- beginning of main\n"
            "01-01 00:00:00.000   77   77 I ExecutionPlan: long ago, operand 1\n"
            f"{now}.900   77   77 E ExecutionPlan: validation of operation 0 failed: operand 1 is odd\n"
            f"{now}.901   77   77 I SurfaceFlinger: something else\n"
        )
        with Session(small_model, device) as session:
            with pytest.raises(DriverError) as caught:
                session.run([RANDOM])
            failure = failure_of(caught.value)
            assert failure is not None
            assert len(failure.log.lines) == 1, failure.log
            assert "operand 1 is odd" in failure.log.lines[0]
            assert any(name.startswith("operation 0 is CONV_2D of node 0") for name in failure.names), failure.names
            assert any(name.startswith("operand 1 is tensor") for name in failure.names)
            assert failure.log.lines[0] in str(caught.value)
        assert device.command("getprop debug.nn.vlog").text.strip() == "manager"


def test_a_failure_that_does_not_come_again(small_model: Path) -> None:
    """The third execution of a program on the device fails; in the second attempt it is the first."""
    with Session(small_model, "virtual,faults=Execution_compute:5:3", SessionOptions(on_failure="cpu")) as session:
        for _ in range(3):
            np.testing.assert_allclose(session.run([RANDOM])[0], reference(small_model), rtol=1e-5, atol=1e-6)
        assert [f.action for f in session.failures] == ["retried"]
        assert session.last_stats is not None and session.last_stats.attempts == 2
        assert session.summary()["failed_partitions"] == []
        session.run([RANDOM])


@pytest.mark.parametrize("policy", ["error", "cpu"])
def test_a_driver_that_kills_the_process(small_model: Path, policy: str) -> None:
    options = SessionOptions(on_failure=policy)  # type: ignore[arg-type]
    with Session(small_model, "virtual,faults=Execution_compute:kill", options) as session:
        if policy == "error":
            with pytest.raises(WorkerLostError) as caught:
                session.run([RANDOM])
            assert session.device_name in str(caught.value)
        else:
            np.testing.assert_allclose(session.run([RANDOM])[0], reference(small_model), rtol=1e-5, atol=1e-6)
            assert session.failures[0].error == "ShimCrashedError"


def test_a_hung_driver_is_not_tried_again(small_model: Path) -> None:
    options = SessionOptions(on_failure="cpu", execution_deadline_seconds=2.0)
    begin = time.monotonic()
    with Session(small_model, "virtual,faults=Execution_compute:sleep=60000", options) as session:
        np.testing.assert_allclose(session.run([RANDOM])[0], reference(small_model), rtol=1e-5, atol=1e-6)
        assert session.failures[0].error == "ShimDeadlineError"
        assert "hung" in session.failures[0].retry
    assert time.monotonic() - begin < 30


def test_state_survives_a_failed_inference(tmp_path: Path) -> None:
    """A failure in mid-inference leaves variables as they were before it."""
    model = stateful_model(tmp_path)
    x = np.ones((1, 2), np.float32)
    with Session(model, "cpu") as session:
        expected = [session.run([x])[0] for _ in range(4)]
    assert not np.array_equal(expected[0], expected[1])
    options = SessionOptions(on_failure="cpu")
    with Session(model, "local,faults=Execution_compute:5:3", options) as session:
        found = [session.run([x])[0] for _ in range(4)]
        assert session.failures
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def stateful_model(folder: Path) -> Path:
    """An SVDF, whose state is a variable tensor, and a logistic behind it."""
    random = np.random.default_rng(5)
    builder = ModelBuilder()
    x = builder.tensor("x", "float32", (1, 2))
    feature = builder.tensor("feature", "float32", (4, 2), data=random.normal(size=(4, 2)).astype(np.float32))
    time_weights = builder.tensor("time", "float32", (4, 3), data=random.normal(size=(4, 3)).astype(np.float32))
    state = builder.tensor("state", "float32", (1, 12), variable=True)
    y = builder.tensor("y", "float32", (1, 4))
    z = builder.tensor("z", "float32", (1, 4))
    builder.op("SVDF", [x, feature, time_weights, None, state], [y], rank=1)
    builder.op("LOGISTIC", [y], [z])
    path = folder / "stateful.tflite"
    path.write_bytes(builder.build([x], [z]))
    return path
