"""The Android binaries: what is in the files, and, where this machine can, running them."""

from __future__ import annotations

import itertools
import json
import os
import platform
import re
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from nnapi_toolkit.android import bionic, prebuilt
from nnapi_toolkit.android.build import SOURCE_ROOT, BuildResult, build
from nnapi_toolkit.android.channel import DescriptorTransport, StreamChannel
from nnapi_toolkit.android.errors import BuildError, LibraryError, ShimCrashedError, ShimDeadlineError
from nnapi_toolkit.android.frames import VERSION
from nnapi_toolkit.android.protocol import ExecuteInput, ExecuteOutput, ShimClient
from nnapi_toolkit.android.toolchain import compiler, find_target, host_target

from tests.shim import elf
from tests.shim import programs as p

ABIS = {
    "arm64-v8a": (64, 183, "/system/bin/linker64"),
    "armeabi-v7a": (32, 40, "/system/bin/linker"),
    "x86_64": (64, 62, "/system/bin/linker64"),
    "x86": (32, 3, "/system/bin/linker"),
}
SYMBOLS = bionic.parse_symbols((SOURCE_ROOT / bionic.SYMBOLS).read_text())
LIBRARIES = {"shim": {"libc.so", "libdl.so"}, "libneuralnetworks": {"libc.so", "libm.so"}}


@cache
def built(abi: str) -> BuildResult:
    return build(abi)


@pytest.fixture(params=ABIS)
def abi(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=["shim", "libneuralnetworks"])
def file(request: pytest.FixtureRequest, abi: str) -> elf.Elf:
    """One of the two files that go to a phone."""
    return elf.Elf(getattr(built(abi), request.param))


def role(file: elf.Elf) -> str:
    return "shim" if file.interpreter else "libneuralnetworks"


def test_machine_and_linker(file: elf.Elf, abi: str) -> None:
    bits, machine, linker = ABIS[abi]
    assert (file.bits, file.machine, file.type) == (bits, machine, 3)  # ET_DYN: position independent
    if abi == "armeabi-v7a":
        assert file.flags & 0xFF000000 == 0x05000000  # EABI 5
    assert file.interpreter == (linker if file.path.name == "nnapi-shim" else "")


def test_only_what_android_8_1_has_is_imported(file: elf.Elf) -> None:
    libraries = set(file.strings(elf.DT_NEEDED))
    assert libraries == LIBRARIES[role(file)]
    known = {name for library in libraries for name in SYMBOLS[library]}
    assert file.imports <= known, f"not in API 27: {sorted(file.imports - known)}"


def test_hardening(file: elf.Elf) -> None:
    loads = file.of_type(elf.PT_LOAD)
    assert all(not (segment.flags & elf.W and segment.flags & elf.X) for segment in loads)
    assert [segment.flags & elf.X for segment in file.of_type(elf.PT_GNU_STACK)] == [0]
    assert len(file.of_type(elf.PT_GNU_RELRO)) == 1
    flags, flags_1 = sum(file.values(elf.DT_FLAGS)), sum(file.values(elf.DT_FLAGS_1))
    assert flags & 0x8 and flags_1 & 0x1  # BIND_NOW, NOW
    assert bool(flags_1 & 0x08000000) == bool(file.interpreter)  # PIE
    assert not flags & 0x4 and not file.values(elf.DT_TEXTREL)
    assert not file.values(elf.DT_RPATH) and not file.values(elf.DT_RUNPATH)


def test_pages_of_16_kib(file: elf.Elf) -> None:
    loads = file.of_type(elf.PT_LOAD)
    for segment in loads:
        assert segment.align == 16384 and segment.address % segment.align == segment.offset % segment.align
    for before, after in itertools.pairwise(loads):
        assert (before.address + before.size - 1) // 16384 < after.address // 16384, "two segments share a page"


def test_nothing_runs_behind_our_back(file: elf.Elf) -> None:
    for tag in (elf.DT_INIT, elf.DT_FINI, elf.DT_INIT_ARRAY, elf.DT_FINI_ARRAY):
        assert not file.values(tag)
    assert file.values(elf.DT_HASH) and file.values(elf.DT_GNU_HASH)


def test_exports(file: elf.Elf) -> None:
    if file.interpreter:
        assert file.exports <= {"_start", "main"}
        return
    header = "".join((SOURCE_ROOT / "include" / name).read_text() for name in ("nnapi.h", "softnn.h"))
    declared = set(re.findall(r"^ANEURALNETWORKS_API[^;(]*?(\w+)\(", header, re.MULTILINE))
    assert len(declared) > 60 and file.exports == declared
    assert file.strings(elf.DT_SONAME) == ["libneuralnetworks.so"]


def test_entry_is_arm_code() -> None:
    shim = elf.Elf(built("armeabi-v7a").shim)
    assert shim.entry % 4 == 0  # bit 0 would say Thumb
    first = int.from_bytes(shim.data[shim.at(shim.entry) :][:4], "little")
    assert first == 0xE3A0B000  # mov r11, #0


def test_sizes(abi: str) -> None:
    """What is pushed stays small; the bounds are promises."""
    sizes = built(abi).sizes
    assert sizes["shim"] <= 64 * 1024
    if abi == "arm64-v8a":
        assert sizes["libneuralnetworks"] <= 300 * 1024
    assert set(sizes) == {"shim", "libneuralnetworks"}


def test_text_of_this_machine_is_not_in_the_files(file: elf.Elf) -> None:
    for text in (str(Path.home()), str(SOURCE_ROOT), "/tmp/", os.sep + "nnapi-build"):
        assert text.encode() not in file.data or text == "/", text


def test_the_same_sources_give_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another cache, another place of the sources, the compiler's own cache too: all bytes equal."""
    from nnapi_toolkit.android.build import SHIM, build_products
    from nnapi_toolkit.android.toolchain import Variant, find_target

    outputs = []
    for name in ("one", "another"):
        root = tmp_path / name / "sources"
        shutil.copytree(SOURCE_ROOT, root, ignore=shutil.ignore_patterns("__pycache__", "*.py"))
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / name))
        monkeypatch.delenv("ZIG_GLOBAL_CACHE_DIR", raising=False)
        outputs.append((build_products([SHIM], find_target("arm64-v8a"), Variant(), root=root)[0] / SHIM).read_bytes())
    assert outputs[0] == outputs[1]


# --- running them ---


@pytest.fixture(scope="module")
def phone(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The command that runs an x86-64 Android program here: glibc's dynamic linker, and a stand-in for Android's libraries."""
    loader = Path("/lib64/ld-linux-x86-64.so.2")
    if platform.machine() != "x86_64" or not loader.exists():
        pytest.skip("needs an x86-64 machine with glibc")
    folder = tmp_path_factory.mktemp("android")
    base = [*compiler(), "-target", host_target().triple, "-shared", "-fPIC", "-O1", "-fno-sanitize=undefined"]
    source = Path(__file__).with_name("fake_bionic.c")
    subprocess.run(
        [*base, "-std=c11", "-D_GNU_SOURCE", str(source), "-ldl", "-Wl,-soname,libc.so", "-Wl,--no-as-needed", "-lm",
         "-o", str(folder / "libfake_c.so")], check=True, timeout=120,
    )  # fmt: skip
    (folder / "libfake_c.so").rename(folder / "libc.so")
    for name, real in (("libm.so", "libm.so.6"), ("libdl.so", "libdl.so.2")):
        candidates = [place / real for place in (Path("/lib/x86_64-linux-gnu"), Path("/lib64"), Path("/usr/lib64"))]
        (folder / name).symlink_to(next(place for place in candidates if place.exists()))
    return [str(loader), "--library-path", str(folder)]


def talk(command: list[str], env: dict[str, str] | None = None, folder: Path | None = None) -> tuple[ShimClient, Any]:
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={**os.environ, **(env or {})}, bufsize=0, cwd=folder
    )
    assert process.stdin is not None and process.stdout is not None
    transport = DescriptorTransport(process.stdout.fileno(), process.stdin.fileno(), lambda: None)
    return ShimClient(StreamChannel(transport)), process


def run_sum(client: ShimClient) -> None:
    client.load(0, p.pack(p.add(constant=np.ones(4))))
    x = np.arange(4, dtype=np.float32)
    result = client.execute(0, [ExecuteInput(data=x)], [ExecuteOutput()])
    np.testing.assert_array_equal(np.frombuffer(result.outputs[0].data, np.float32), x + 1)


def test_the_android_binaries_run(phone: list[str], tmp_path: Path) -> None:
    """The files for x86_64 phones: start routine, relocations, the library by path, a program, crash and limit."""
    files = built("x86_64")
    done = subprocess.run([*phone, str(files.shim), "--version"], capture_output=True, text=True, timeout=20)
    assert (done.returncode, done.stdout) == (0, f"nnapi-shim protocol {VERSION} build {files.source_hash}\n")
    command = [*phone, str(files.shim), "--library", str(files.libneuralnetworks)]
    done = subprocess.run([*command, "--self-test"], capture_output=True, text=True, timeout=20)
    assert done.returncode == 0 and done.stdout.endswith("result: ok (0)\n"), done.stdout
    for faults, error in (("Execution_compute:kill:2", ShimCrashedError), ("Execution_compute:sleep=60000:2", ShimDeadlineError)):
        client, process = talk(command, {"SOFTNN_FAULTS": faults})
        hello = client.hello(files.source_hash, execute_limit=0.3)
        assert hello.pointer_bits == 64 and hello.feature_level == 8
        run_sum(client)
        with pytest.raises(error, match="EXECUTE of program 0, inside ANeuralNetworksExecution_compute"):
            client.execute(0, [ExecuteInput(data=np.ones(4, np.float32))], [ExecuteOutput()])
        client.hello()
        client.bye()
        assert process.wait(10) == 0
        process.stdin.close()
        process.stdout.close()


def test_two_android_libraries_at_once(phone: list[str], tmp_path: Path) -> None:
    """The phone's, which refuses ADD and is of level 2, and a pushed one by a path relative to the program's folder."""
    files = built("x86_64")
    pushed = shutil.copy(files.libneuralnetworks, tmp_path / "pushed")
    command = [*phone, str(files.shim), "--library", str(files.libneuralnetworks)]
    client, process = talk(command, {"SOFTNN_FEATURE_LEVEL": "3", "SOFTNN_REFUSE": "ADD"}, folder=tmp_path)
    assert client.hello(files.source_hash).feature_level == 3
    with pytest.raises(LibraryError):
        client.library(1, "")
    assert client.library(1, f"./{pushed.name}").feature_level == 8
    assert not any(client.supported(p.pack(p.add()), device=0))
    assert all(client.supported(p.pack(p.add()), library=1, device=0))
    run_both(client)
    client.bye()
    assert process.wait(10) == 0
    process.stdin.close()
    process.stdout.close()


def run_both(client: ShimClient) -> None:
    """A tensor that the first library's program leaves on the device goes to the second one's, and the other way round."""
    program, x = p.pack(p.add(constant=np.ones(4))), np.ones(4, np.float32)
    client.load(10, program)
    client.load(11, program, library=1)
    for first, second in ((10, 11), (11, 10)):
        client.execute(first, [ExecuteInput(data=x)], [ExecuteOutput(slot=1, send=False)])
        result = client.execute(second, [ExecuteInput(slot=1)], [ExecuteOutput()])
        np.testing.assert_array_equal(np.frombuffer(result.outputs[0].data, np.float32), np.full(4, 3))


@pytest.mark.parametrize(("target", "emulator"), [("aarch64-linux", "qemu-aarch64"), ("arm-linux", "qemu-arm")])
def test_the_same_sources_under_qemu(target: str, emulator: str) -> None:
    """For virtual devices of another ABI: one static program with software NNAPI inside."""
    found = shutil.which(emulator) or shutil.which(f"{emulator}-static")
    if found is None:
        pytest.skip(f"needs {emulator} (Debian: apt install qemu-user)")
    files = built(target)
    client, process = talk([found, str(files.shim)])
    hello = client.hello(files.source_hash)
    assert hello.pointer_bits == (32 if target.startswith("arm-") else 64)
    run_sum(client)
    with pytest.raises(LibraryError, match="no dynamic linker"):
        client.library(1, "./pushed")
    assert client.library(1, "").feature_level == 8
    run_both(client)
    client.bye()
    assert process.wait(20) == 0
    process.stdin.close()
    process.stdout.close()


ATOMICS = """
#include <stdint.h>
#define TYPES(X) X(uint8_t, 1) X(uint16_t, 2) X(uint32_t, 4) X(uint64_t, 8)
#define STEP(name, T, size, order, result) { \\
    extern T __aarch64_##name##size##_##order(T, T *); \\
    T m = (T)0xf0f1f2f3f4f5f6f7u, o = m, x = (T)0x1122334455667788u; \\
    if (__aarch64_##name##size##_##order(x, &m) != o || m != (T)(result)) return __LINE__; (void)x; }
#define SWAP(T, size) { \\
    extern T __aarch64_cas##size##_acq_rel(T, T, T *); \\
    T m = (T)0xf0f1f2f3f4f5f6f7u, o = m; \\
    if (__aarch64_cas##size##_acq_rel((T)(o + 1), 5, &m) != o || m != o) return __LINE__; \\
    if (__aarch64_cas##size##_acq_rel(o, 5, &m) != o || m != 5) return __LINE__; }
#define STEPS(T, size) STEP(swp, T, size, relax, x) STEP(ldadd, T, size, acq, o + x) STEP(ldclr, T, size, rel, o & ~x) \\
    STEP(ldset, T, size, acq_rel, o | x) STEP(ldeor, T, size, relax, o ^ x) SWAP(T, size)
int main(void) {
  TYPES(STEPS)
  return 0;
}
"""


def test_atomic_steps_of_arm64(tmp_path: Path) -> None:
    """The routines that compiled code calls on arm64, each size and kind against what C says."""
    emulator = shutil.which("qemu-aarch64") or shutil.which("qemu-aarch64-static")
    if emulator is None:
        pytest.skip("needs qemu-aarch64 (Debian: apt install qemu-user)")
    (tmp_path / "atomics.c").write_text(ATOMICS)
    command = [*compiler(), "-target", "aarch64-linux-musl", "-static", "-O1", "-fno-sanitize=undefined"]
    files = [str(tmp_path / "atomics.c"), str(SOURCE_ROOT / bionic.RUNTIME)]
    subprocess.run([*command, *files, "-o", str(tmp_path / "atomics")], check=True, timeout=120)
    assert subprocess.run([emulator, str(tmp_path / "atomics")], timeout=60).returncode == 0


def test_android_does_its_own_copying_and_mathematics(abi: str) -> None:
    """On 64 bits nothing of the compiler's run-time library comes along: it would hide Android's memcpy and expf."""
    library = elf.Elf(built(abi).libneuralnetworks)
    if library.bits == 64:
        assert {"memcpy", "memmove", "memset", "expf", "logf", "sinf", "powf"} <= library.imports


def test_floats_of_32_bit_arm_are_in_hardware(tmp_path: Path) -> None:
    """No call of a routine that adds two floats."""
    (tmp_path / "sum.c").write_text("float f(float a, double b) { return a + (float)(b * b); }")
    command = [*compiler(), "-target", "thumb-linux-androideabi", *find_target("armeabi-v7a").compile_flags, "-O1", "-S"]
    subprocess.run([*command, str(tmp_path / "sum.c"), "-o", str(tmp_path / "sum.s")], timeout=60, cwd=SOURCE_ROOT, check=True)
    text = (tmp_path / "sum.s").read_text()
    assert "vmul.f64" in text and "vadd.f32" in text and "__aeabi" not in text


def test_every_android_target_is_checked_here() -> None:
    from nnapi_toolkit.android.toolchain import targets

    assert {name for name, target in targets().items() if target.android} == set(ABIS)


def test_symbols_are_read_and_named() -> None:
    text = "# comment\n\nlibx.so  # why\n  a b\n  c\nliby.so\n  d\n"
    symbols = bionic.parse_symbols(text)
    assert symbols == {"libx.so": ["a", "b", "c"], "liby.so": ["d"]}
    sources = bionic.stub_sources(symbols)
    assert list(sources) == ["stub_x.so", "stub_y.so"] and bionic.soname("stub_x.so") == "libx.so"
    assert sources["stub_y.so"].startswith('__asm__(".globl d\\n')


# --- what a wheel carries ---


def test_carried_binaries_are_used_and_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fresh = built("arm64-v8a")
    lines: list[str] = []
    root = tmp_path / "prebuilt"
    manifest = json.loads(prebuilt.write(root, lines.append).read_text())
    if manifest["build_hash"] != fresh.source_hash:
        pytest.skip("the sources were edited while this test ran")
    assert set(manifest["targets"]) == set(ABIS) and len(lines) == 2 * len(ABIS)
    assert sorted(path.name for path in (root / "x86").iterdir()) == ["libneuralnetworks.so", "nnapi-shim"]
    monkeypatch.setattr(prebuilt, "PREBUILT_ROOT", root)
    carried = build("arm64-v8a")
    assert carried.shim == root / "arm64-v8a" / "nnapi-shim" and carried.source_hash == fresh.source_hash
    assert carried.sizes == fresh.sizes and carried.shim.read_bytes() == fresh.shim.read_bytes()
    assert carried.source_hash.encode() in carried.shim.read_bytes()
    tree_hash = manifest["tree_hash"]
    assert prebuilt.find("arm64-v8a", "0" * 64) is None  # other sources
    assert prebuilt.find("host", tree_hash) is None
    content = bytearray(carried.shim.read_bytes())
    content[1000] ^= 1
    carried.shim.write_bytes(content)
    with pytest.raises(BuildError, match="nnapi-shim is not the file that was shipped") as info:
        prebuilt.find("arm64-v8a", tree_hash)
    assert "--force-reinstall" in info.value.next_step
    carried.libneuralnetworks.unlink()
    assert prebuilt.find("x86", tree_hash) is not None
    (root / prebuilt.MANIFEST).write_text("{")
    with pytest.raises(BuildError, match="cannot be read"):
        prebuilt.find("x86", tree_hash)
