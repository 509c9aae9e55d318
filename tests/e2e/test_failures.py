"""What breaks in mid-inference gives an error with a name, soon; and the next session works."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from nnapi_toolkit.device import open_virtual
from nnapi_toolkit.device.virtual.config import VirtualConfig
from nnapi_toolkit.errors import DeviceError, ShimError, ToolkitError
from nnapi_toolkit.session import Session

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
    from nnapi_toolkit.errors import DriverError

    with pytest.raises(DriverError) as caught, Session(small_model, f"virtual,faults={fault}") as session:
        session.run([VALUES])
    assert text in str(caught.value)
    assert fault.partition(":")[0] in str(caught.value)
