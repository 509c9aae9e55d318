"""Software NNAPI with chosen operations only, and the NDK's compiler in place of ours."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from nnapi_toolkit import Interpreter
from nnapi_toolkit.android.build import SHIM, BuildResult, SourceTree, build, build_products, cache_root
from nnapi_toolkit.android.errors import BuildError, DriverError
from nnapi_toolkit.android.toolchain import NDK_TARGETS, Variant, find_target, find_toolchain
from nnapi_toolkit.cli.main import main
from nnapi_toolkit.delegate.nnapi import OPERATIONS
from nnapi_toolkit.device import local

from tests.conftest import model_path, shared_path
from tests.shim import programs as p
from tests.shim.conftest import ShimProcess

MOBILENET = "mobilenet_v1_10_224_int8"
INCEPTION = "inception_v3_int8"


def nnapi(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    """The `nnapi` command: exit code, output, errors."""
    with pytest.raises(SystemExit) as info:
        main([*arguments])
    assert isinstance(info.value.code, int)
    captured = capsys.readouterr()
    return info.value.code, captured.out, captured.err


def chosen(capsys: pytest.CaptureFixture[str], target: str) -> tuple[BuildResult, frozenset[str]]:
    """`nnapi build` for MobileNet and Inception."""
    shared_path("models", "catalogue.json")
    arguments = [part for name in (MOBILENET, INCEPTION) for part in ("--for-model", str(model_path(name)))]
    code, output, errors = nnapi(capsys, "build", "--target", target, *arguments, "--json")
    assert code == 0, errors
    document = json.loads(output)
    assert set(document) == {"target", "shim", "libneuralnetworks", "sizes", "source_hash", "operations"}
    assert document["operations"] == sorted(document["operations"])
    operations = frozenset(document["operations"])
    result = build(target, operations=operations)
    assert str(result.libneuralnetworks) == document["libneuralnetworks"]
    return result, operations


def test_the_tables_list_every_operation_of_nnapi() -> None:
    names = SourceTree().operations()
    assert names == set(OPERATIONS) and len(names) == 106


def test_a_library_for_two_models(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """It runs them as the whole library does, and refuses what it was not built for."""
    library, operations = chosen(capsys, "host")
    assert {"CONV_2D", "DEPTHWISE_CONV_2D", "SOFTMAX", "CONCATENATION"} <= operations and "LSTM" not in operations
    path = model_path(MOBILENET)
    outputs = []
    for built in (build("host"), library):
        monkeypatch.setattr(local, "build", lambda *arguments, built=built, **options: built)
        with Interpreter(str(path), device="local") as interpreter:
            interpreter.allocate_tensors()
            (image,), (scores,) = interpreter.get_input_details(), interpreter.get_output_details()
            rng = np.random.default_rng(7)
            interpreter.set_tensor(image["index"], rng.integers(-128, 128, image["shape"], image["dtype"]))
            interpreter.invoke()
            outputs.append(interpreter.get_tensor(scores["index"]))
    np.testing.assert_array_equal(outputs[0], outputs[1])
    assert np.ptp(outputs[0]) > 0


def test_others_are_refused() -> None:
    library = build("host", operations=frozenset({"CONV_2D", "RELU"}))
    shim = ShimProcess(library)
    try:
        shim.client.hello(library.source_hash)
        with pytest.raises(DriverError, match="BAD_DATA") as info:
            shim.client.load(0, p.pack(p.add(constant=np.ones(4))))
        assert "addOperation" in str(info.value)
    finally:
        shim.client.bye()
        shim.close()


def test_the_size_for_two_models_on_a_phone(capsys: pytest.CaptureFixture[str]) -> None:
    """The promise that TensorFlow Lite once gave for these two."""
    library, _ = chosen(capsys, "arm64-v8a")
    assert library.sizes["libneuralnetworks"] <= 200 * 1024


@pytest.mark.parametrize(("operations", "message"), [(["CONV_3D", "ADD"], "no operation CONV_3D"), ([], "no operation was chosen")])
def test_operations_that_are_not_there(operations: list[str], message: str) -> None:
    with pytest.raises(BuildError, match=message):
        build("host", operations=frozenset(operations))


def test_a_model_that_cannot_be_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "broken.tflite").write_bytes(b"no model")
    code, _, errors = nnapi(capsys, "build", "--for-model", str(tmp_path / "broken.tflite"))
    assert code == 2 and "broken.tflite" in errors


# --- an NDK ---

COMPILER = """#!/bin/sh
printf '%s\\n' "$*" >> "$(dirname "$0")/calls"
while [ $# -gt 0 ]; do if [ "$1" = -o ]; then echo made > "$2"; fi; shift; done
"""


@pytest.fixture
def ndk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that looks like an NDK, whose compiler writes down how it was called."""
    binaries = tmp_path / "ndk" / "toolchains/llvm/prebuilt/linux-x86_64/bin"
    binaries.mkdir(parents=True)
    (tmp_path / "ndk" / "source.properties").write_text("Pkg.Desc = Android NDK\nPkg.Revision = 26.1.10909125\n")
    (binaries / "clang").write_text(COMPILER)
    (binaries / "clang").chmod(0o755)
    monkeypatch.setenv("ANDROID_NDK_HOME", str(tmp_path / "ndk"))
    monkeypatch.setenv("ZIG_GLOBAL_CACHE_DIR", os.environ.get("ZIG_GLOBAL_CACHE_DIR", str(cache_root() / "zig")))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return binaries / "calls"


@pytest.mark.parametrize("abi", NDK_TARGETS)
def test_how_the_compiler_of_an_ndk_is_called(abi: str, ndk: Path) -> None:
    built = build(abi, toolchain="ndk")
    assert built.libneuralnetworks.read_text() == "made\n"
    calls = [line.split() for line in ndk.read_text().splitlines()]
    triple, machine = NDK_TARGETS[abi]
    assert all(call[:2] == ["-target", triple] and triple.endswith("27") for call in calls)
    compiled = [call for call in calls if "-c" in call]
    units = SourceTree().units("shim", "softnn", "softnn/ops")
    assert sorted(call[call.index("-c") + 1] for call in compiled) == units
    for call in compiled:  # its own headers, the same rules
        assert not {"-nostdlibinc", "-isystem", "sysroot/include"} & set(call)
        assert {*machine, "-std=c11", "-ffp-contract=off", "-fvisibility=hidden"} <= set(call)
        assert not any(flag.startswith("-mcpu") for flag in call)
    links = {Path(call[call.index("-o") + 1]).name: call for call in calls if "-c" not in call}
    assert set(links) == {"nnapi-shim", "libneuralnetworks.so"}
    for call in links.values():  # its own libraries and start files, the same hardening
        assert "-nostdlib" not in call and not any("stub_" in word for word in call)
        assert {"-Wl,-z,relro,-z,now", "-Wl,-z,max-page-size=16384", "-Wl,--hash-style=both", "-s"} <= set(call)
    assert {"-pie", "-ldl"} <= set(links["nnapi-shim"]) and {"-shared", "-lm"} <= set(links["libneuralnetworks.so"])


def test_an_ndk_has_builds_of_its_own(ndk: Path) -> None:
    ours = build_products([SHIM], find_target("arm64-v8a"), Variant())
    theirs = build_products([SHIM], find_target("arm64-v8a"), Variant(), toolchain="ndk")
    assert ours != theirs and find_toolchain("ndk").version == "ndk 26.1.10909125"
    assert (theirs[0] / SHIM).read_text() == "made\n" and (ours[0] / SHIM).read_bytes()[:4] == b"\x7fELF"


def test_an_ndk_that_is_not_there(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, ndk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(BuildError, match=r"an NDK builds for Android only\nLeave the toolchain away"):
        build("host", toolchain="ndk")
    (ndk.parent / "clang").unlink()
    with pytest.raises(BuildError, match=r"is no NDK for Linux: .*/clang is missing"):
        build("arm64-v8a", toolchain="ndk")
    monkeypatch.setenv("ANDROID_NDK_HOME", str(tmp_path))
    code, _, errors = nnapi(capsys, "build", "--target", "arm64-v8a", "--toolchain", "ndk")
    assert code == 1 and "its version in source.properties is missing" in errors.replace("\n", " ")
    monkeypatch.delenv("ANDROID_NDK_HOME")
    with pytest.raises(BuildError, match=r"ANDROID_NDK_HOME is not set\nSet it to the folder of an NDK"):
        build("arm64-v8a", toolchain="ndk")
    with pytest.raises(BuildError, match="toolchain 'gcc' is not known\\nChoose one of: zig, ndk"):
        build("arm64-v8a", toolchain="gcc")
