"""Options of a session that need a device to be seen at work."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from nnapi_toolkit.device import open_virtual
from nnapi_toolkit.device.store import FOLDER
from nnapi_toolkit.device.virtual.config import VirtualConfig
from nnapi_toolkit.errors import UsageError
from nnapi_toolkit.options import NNAPI_CPU
from nnapi_toolkit.session import Session, SessionOptions

VALUES = np.random.default_rng(2).normal(size=(1, 16, 16, 3)).astype(np.float32)


def test_no_accelerator_and_its_reason(small_model: Path) -> None:
    with open_virtual(VirtualConfig(environment={"SOFTNN_DEVICE_NAME": "none"})) as device:
        with Session(small_model, device) as session:
            expected = session.run([VALUES])[0]
            assert session.summary()["delegated_nodes"] == 0
            reasons = [node["reason"] for node in session.plan.to_json("m")["nodes"]]
            assert all(NNAPI_CPU in reason and "--allow-nnapi-cpu" in reason for reason in reasons)
        with Session(small_model, device, SessionOptions(disallow_nnapi_cpu=False)) as session:
            np.testing.assert_allclose(session.run([VALUES])[0], expected, rtol=1e-5, atol=1e-6)
            assert session.summary()["delegated_nodes"] == 3


def test_an_accelerator_by_name_or_not_at_all(small_model: Path) -> None:
    with Session(small_model, "local", SessionOptions(accelerator=NNAPI_CPU)) as session:
        assert session.remote is not None
        assert session.remote.choice.label == NNAPI_CPU
        session.run([VALUES])
    with pytest.raises(UsageError, match="softnn"):
        Session(small_model, "local", SessionOptions(accelerator="edgetpu"))


def test_nnapi_s_cpu_takes_what_the_accelerator_refuses(small_model: Path) -> None:
    refused = "local,refuse=LOGISTIC"
    with Session(small_model, refused) as session:
        assert session.summary()["delegated_nodes"] == 2
    with Session(small_model, refused, SessionOptions(disallow_nnapi_cpu=False)) as session:
        assert session.summary()["delegated_nodes"] == 3
        session.run([VALUES])


def test_priority_needs_its_level(small_model: Path) -> None:
    with pytest.raises(UsageError, match="priority"):
        Session(small_model, "local,fl=3", SessionOptions(priority="high"))
    options = SessionOptions(
        priority="high", preference="sustained-speed", compilation_timeout_seconds=60, execution_timeout_seconds=60
    )
    with Session(small_model, "local,fl=4", options) as session:
        session.run([VALUES])


def test_the_compilation_cache_lies_in_the_toolkit_s_folder(small_model: Path) -> None:
    with open_virtual() as device:
        folder = device.phone.root / FOLDER[1:] / "cache"
        outputs = []
        for _ in range(2):
            with Session(small_model, device, SessionOptions(cache_directory="auto")) as session:
                outputs.append(session.run([VALUES])[0])
            files = sorted(path.name for path in folder.iterdir())
            assert files, "nothing was cached"
        np.testing.assert_array_equal(*outputs)
        with Session(small_model, device, SessionOptions(cache_directory="auto", allow_fp16=True)):
            assert len(list(folder.iterdir())) > len(files)
        assert device.clean() > 0
        assert not folder.exists()
