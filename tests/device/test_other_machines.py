"""Virtual devices of another ABI than the host's: our sources under an emulator, and Android's own build under its linker."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from nnapi_toolkit.device import open_device
from nnapi_toolkit.device.base import Device
from nnapi_toolkit.device.virtual.config import host_abi
from nnapi_toolkit.errors import DeviceError, UsageError
from nnapi_toolkit.session import Session

from tests.conftest import Golden, model_names, model_path
from tests.device.conftest import Adder

EMULATORS = {"arm64-v8a": "qemu-aarch64", "armeabi-v7a": "qemu-arm"}
MODEL = "mobilenet_v1_025_128_int8"
#: A directory that holds `system` of a real Android, arm64 with its 32-bit half.
SYSROOT = os.environ.get("NNAPI_TOOLKIT_ANDROID_SYSROOT", "")


@pytest.fixture(params=[abi for abi in EMULATORS if abi != host_abi()])
def abi(request: pytest.FixtureRequest) -> str:
    if not shutil.which(EMULATORS[request.param]) and not shutil.which(EMULATORS[request.param] + "-static"):
        pytest.skip(f"needs {EMULATORS[request.param]} (apt-get install qemu-user)")
    return str(request.param)


@pytest.fixture(params=["our Linux build", "Android's own"])
def device(request: pytest.FixtureRequest, abi: str) -> Iterator[Device]:
    setting = ""
    if request.param == "Android's own":
        if not SYSROOT:
            pytest.skip("needs $NNAPI_TOOLKIT_ANDROID_SYSROOT, a directory with a real Android's /system")
        setting = f",sysroot={SYSROOT}"
    with open_device(f"virtual:{abi}{setting}") as opened:
        yield opened


def test_a_whole_session(device: Device, abi: str, adder: Adder) -> None:
    assert device.info().abis[0] == abi
    with device.start(adder.path) as session:
        assert session.hello.pointer_bits == (64 if abi == "arm64-v8a" else 32)
        adder.load(session)
        adder.run(session)


def test_a_real_model_is_bit_exact(device: Device) -> None:
    path, golden = model_path(MODEL), Golden(MODEL)
    with Session(path, device) as session:
        assert session.plan.summary()["delegated_nodes"] > 0
        for result, expected in zip(session.run(golden.inputs(0)), golden.outputs(0), strict=True):
            np.testing.assert_array_equal(result, expected)


#: Without dot product, with it, and with 8-bit matrix products.
PROCESSORS = ("cortex-a53", "neoverse-n1", "max")
QUANTIZED = [n for n in model_names() if n.endswith(("_int8", "_uint8io", "_quant_classic"))] or model_names()


@pytest.mark.skipif(host_abi() == "arm64-v8a", reason="this machine is one itself")
@pytest.mark.skipif(not (shutil.which("qemu-aarch64") or shutil.which("qemu-aarch64-static")), reason="needs qemu-aarch64 (qemu-user)")
@pytest.mark.parametrize("processor", PROCESSORS)
@pytest.mark.parametrize("name", QUANTIZED)
def test_quantized_models_on_every_kind_of_arm64(name: str, processor: str) -> None:
    path, golden = model_path(name), Golden(name)
    with Session(path, f"virtual:arm64-v8a,cpu={processor}") as session:
        for result, expected in zip(session.run(golden.inputs(0)), golden.outputs(0), strict=True):
            np.testing.assert_array_equal(result, expected)


def test_a_processor_that_qemu_does_not_play() -> None:
    with pytest.raises(UsageError, match="cpu in device 'local,cpu=max' is for virtual devices"):
        open_device("local,cpu=max")
    with pytest.raises(DeviceError, match=f"is for an emulator, and programs for {host_abi()} run on this machine"):
        open_device("virtual,cpu=max")
    abi = next(abi for abi in EMULATORS if abi != host_abi())
    if shutil.which(EMULATORS[abi]):
        with pytest.raises(DeviceError, match=r"plays no processor 'abacus'.*-cpu help"):
            open_device(f"virtual:{abi},cpu=abacus")


def test_a_sysroot_without_android(tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match=r"no Android system for arm64-v8a.*linker64"):
        open_device(f"virtual:arm64-v8a,sysroot={tmp_path}")
