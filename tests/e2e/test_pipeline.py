"""`Session.submit`: several inferences under way, each with its own inputs, outputs and errors."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

import numpy as np
import pytest
from nnapi_toolkit.android.errors import DriverError
from nnapi_toolkit.errors import UsageError
from nnapi_toolkit.session import Session, SessionOptions

from tests.conftest import Golden, model_path
from tests.modelbuilder import ModelBuilder

MODEL = "mobilenet_v1_025_128_int8"


def numbered(session: Session, count: int) -> list[list[np.ndarray]]:
    """Inputs that all differ."""
    (tensor,) = session.input_tensors
    rng = np.random.default_rng(3)
    return [[rng.integers(-128, 128, tensor.shape).astype(np.int8)] for _ in range(count)]


@pytest.mark.parametrize("device", ["local", "virtual", "virtual,refuse-every=3", "virtual,refuse=AVERAGE_POOL_2D", "cpu"])
@pytest.mark.parametrize("depth", [1, 2, 5])
def test_every_future_has_its_own_result(device: str, depth: int) -> None:
    with Session(model_path(MODEL), device, SessionOptions(pipeline_depth=depth)) as session:
        inputs = numbered(session, 6)
        alone = [session.run(each) for each in inputs]
        for future, expected in zip([session.submit(each) for each in inputs], alone, strict=True):
            np.testing.assert_array_equal(future.result(60)[0], expected[0])
        assert session.last_stats is not None and session.last_stats.wall_ns > 0


def test_run_and_submit_from_many_threads() -> None:
    with Session(model_path(MODEL), "virtual,refuse=AVERAGE_POOL_2D") as session:
        inputs = numbered(session, 4)
        expected = [session.run(each)[0] for each in inputs]
        wrong: list[int] = []

        def work(number: int) -> None:
            for _ in range(5):
                for run in (lambda: session.submit(inputs[number]).result(60), lambda: session.run(inputs[number])):
                    if not np.array_equal(run()[0], expected[number]):
                        wrong.append(number)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(120)
            assert not thread.is_alive()
        assert not wrong


def test_state_goes_from_one_inference_to_the_next() -> None:
    """A model with variables: in the order of submission, as `run` one after the other."""
    golden = Golden("text_lstm_float")
    with Session(model_path("text_lstm_float"), "local", SessionOptions(pipeline_depth=3)) as session:
        alone = [session.run(golden.inputs(case))[0] for case in range(golden.cases)]
        session.reset_variables()
        futures = [session.submit(golden.inputs(case)) for case in range(golden.cases)]
        for future, expected in zip(futures, alone, strict=True):
            np.testing.assert_array_equal(future.result(60)[0], expected)


def test_open_shapes(tmp_path: Path) -> None:
    golden = Golden("dynamic_batch")
    with Session(model_path("dynamic_batch"), "local", SessionOptions(pipeline_depth=3)) as session:
        futures = [session.submit(golden.inputs(case)) for case in range(golden.cases)]
        for case, future in enumerate(futures):
            np.testing.assert_allclose(future.result(60)[0], golden.outputs(case)[0], rtol=1e-5, atol=1e-6)


def test_large_tensors_in_both_directions(tmp_path: Path) -> None:
    """More than all buffers on the way hold, both ways at once."""
    builder = ModelBuilder()
    x, y = builder.tensor("x", "float32", (1, 1 << 20)), builder.tensor("y", "float32", (1, 1 << 20))
    builder.op("RELU", [x], [y])
    path = tmp_path / "large.tflite"
    path.write_bytes(builder.build([x], [y]))
    with Session(path, "virtual", SessionOptions(pipeline_depth=4)) as session:
        assert session.summary()["delegated_nodes"] == 1
        inputs = [np.full((1, 1 << 20), number - 3, np.float32) for number in range(8)]
        for number, future in enumerate([session.submit([each]) for each in inputs]):
            assert (future.result(120)[0] == max(0, number - 3)).all()


def test_worker_killed_under_way() -> None:
    """Every inference ends in the right result: the program is begun anew, and those that were lost are done again."""
    with Session(model_path(MODEL), "virtual", SessionOptions(pipeline_depth=3)) as session:
        inputs = numbered(session, 12)
        expected = [session.run(each)[0] for each in inputs]
        remote = session.remote
        assert remote is not None
        futures = []
        for number, each in enumerate(inputs):
            futures.append(session.submit(each))
            if number == 5:
                os.kill(remote.pids[-1], signal.SIGKILL)
        for future, wanted in zip(futures, expected, strict=True):
            np.testing.assert_array_equal(future.result(120)[0], wanted)


def test_driver_failure_reaches_its_own_future() -> None:
    options = SessionOptions(pipeline_depth=2, diagnose=False)
    with Session(model_path(MODEL), "local,faults=Execution_compute:5", options) as session:
        (each,) = numbered(session, 1)
        for future in [session.submit(each) for _ in range(3)]:
            with pytest.raises(DriverError, match="OP_FAILED"):
                future.result(60)


def test_wrong_inputs_are_refused_at_once() -> None:
    with Session(model_path(MODEL), "cpu") as session:
        with pytest.raises(UsageError):
            session.submit([np.zeros((1, 2), np.int8)])
        with pytest.raises(UsageError, match="pipeline_depth is 0"):
            SessionOptions(pipeline_depth=0)
