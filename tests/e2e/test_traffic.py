"""What crosses the wire, counted in the virtual device: after a session's start nothing but frames."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from nnapi_toolkit.device import open_virtual
from nnapi_toolkit.session import Session


@pytest.mark.parametrize("inferences", [1, 20])
def test_an_inference_opens_no_adb_service(small_model: Path, inferences: int) -> None:
    with open_virtual() as device, Session(small_model, device) as session:
        control = device.phone.control()
        values = np.zeros((1, 16, 16, 3), np.float32)
        session.run([values])
        control.call("reset")
        for _ in range(inferences):
            session.run([values])
        counted = control.call("counters")
        assert counted["services"] == 0
        sent = values.nbytes * inferences
        assert sent < counted["received"] < sent + 300 * inferences, "more than the input and one header went up"
        answer = 8 * 8 * 8 * 4 * inferences
        assert answer < counted["sent"] < answer + 300 * inferences, "more than the output and one header came back"
        control.close()


def test_a_second_session_pushes_nothing(small_model: Path) -> None:
    with open_virtual() as device:
        with Session(small_model, device) as first:
            assert first.pushed_bytes > small_model.stat().st_size
        control = device.phone.control()
        control.call("reset")
        with Session(small_model, device) as second:
            second.run([np.zeros((1, 16, 16, 3), np.float32)])
            assert second.pushed_bytes == 0
        counted = control.call("counters")
        pushed = [record["name"] for record in counted["records"] if record["name"].startswith("sync")]
        assert pushed == []
        assert counted["services"] < 5
        control.close()
