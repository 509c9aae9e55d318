"""What session options choose: NNAPI devices, cache tokens; and what they refuse."""

from __future__ import annotations

from typing import Any

import pytest
from nnapi_toolkit.android.protocol import Hello, NnapiDevice
from nnapi_toolkit.errors import UsageError
from nnapi_toolkit.options import NNAPI_CPU, SessionOptions, cache_token, choose_devices

GPU = NnapiDevice(0, 3, 4, "qti-gpu", "1.0")
DSP = NnapiDevice(1, 4, 3, "qti-dsp", "2.1")
CPU = NnapiDevice(2, 2, 5, NNAPI_CPU, "")


def hello(*devices: NnapiDevice, level: int = 5) -> Hello:
    return Hello(1, "00" * 32, 42, level, 64, "libneuralnetworks.so", devices)


@pytest.mark.parametrize(
    ("options", "names", "level"),
    [
        ({}, ["qti-gpu"], 4),
        ({"disallow_nnapi_cpu": False}, ["qti-gpu", NNAPI_CPU], 4),
        ({"accelerator": "qti-dsp"}, ["qti-dsp"], 3),
        ({"accelerator": "qti-dsp", "disallow_nnapi_cpu": False}, ["qti-dsp", NNAPI_CPU], 3),
        ({"accelerator": "type:accelerator"}, ["qti-dsp"], 3),
        ({"accelerator": "re:gpu$"}, ["qti-gpu"], 4),
        ({"accelerator": NNAPI_CPU}, [NNAPI_CPU], 5),
    ],
)
def test_choice(options: dict[str, Any], names: list[str], level: int) -> None:
    found = choose_devices(SessionOptions(**options), hello(GPU, DSP, CPU), "phone")
    assert [device.name for device in found.devices] == names
    assert found.level == level
    assert found.usable


def test_a_phone_without_accelerator() -> None:
    assert not choose_devices(SessionOptions(), hello(CPU), "phone").usable
    found = choose_devices(SessionOptions(disallow_nnapi_cpu=False), hello(CPU), "phone")
    assert found.usable and found.indices == (2,)


def test_below_level_three_nnapi_decides() -> None:
    found = choose_devices(SessionOptions(), hello(level=2), "phone")
    assert found.usable and found.devices == () and found.level == 2
    with pytest.raises(UsageError, match="feature level"):
        choose_devices(SessionOptions(accelerator="x"), hello(level=2), "phone")


@pytest.mark.parametrize(
    ("wanted", "text"),
    [
        ("edgetpu", "it has qti-gpu (gpu), qti-dsp (accelerator)"),
        ("re:qti", "matches several"),
        ("re:[", "regular expression"),
        ("type:npu", "type:accelerator"),
        ("type:other", "is not"),
    ],
)
def test_an_accelerator_that_is_not_there(wanted: str, text: str) -> None:
    with pytest.raises(UsageError) as caught:
        choose_devices(SessionOptions(accelerator=wanted), hello(GPU, DSP, CPU), "phone")
    assert text in str(caught.value)


@pytest.mark.parametrize(
    "values",
    [
        {"preference": 1},
        {"priority": 110},
        {"on_failure": "ignore"},
        {"execution_timeout_seconds": 0},
        {"compilation_timeout_seconds": -1.0},
        {"execution_deadline_seconds": 0},
        {"cache_directory": ""},
    ],
)
def test_values_that_mean_nothing_are_refused(values: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=next(iter(values))):
        SessionOptions(**values)


@pytest.mark.parametrize(
    ("values", "level", "devices", "text"),
    [
        ({"priority": "high"}, 3, (0,), "priority needs NNAPI feature level 4"),
        ({"cache_directory": "auto"}, 2, (), "cache_directory needs NNAPI feature level 3"),
        ({"execution_timeout_seconds": 1.0}, 3, (0,), "feature level 4"),
        ({"execution_timeout_seconds": 1.0}, 4, (0, 1), "exactly one device"),
    ],
)
def test_options_that_the_level_lacks(
    values: dict[str, Any], level: int, devices: tuple[int, ...], text: str
) -> None:
    options = SessionOptions(**values)
    with pytest.raises(UsageError) as caught:
        options.check_level(level, devices, "phone")
    assert text in str(caught.value)
    options.check_level(8, (0,), "phone")


def test_the_cache_token_changes_with_everything_that_counts() -> None:
    base: dict[str, Any] = {"program": b"p", "weights": ("w", "s"), "devices": (GPU,), "options": SessionOptions()}
    changes: list[dict[str, Any]] = [
        {},
        {"program": b"q"},
        {"weights": ("v", "s")},
        {"weights": ("ws", "")},
        {"devices": (DSP,)},
        {"devices": (NnapiDevice(0, 3, 4, "qti-gpu", "1.1"),)},
        {"options": SessionOptions(preference="low-power")},
        {"options": SessionOptions(allow_fp16=True)},
    ]
    tokens = [cache_token(**(base | change)) for change in changes]
    assert all(len(token) == 32 for token in tokens)
    assert len(set(tokens)) == len(tokens)
    assert cache_token(**base) == tokens[0]
