"""All tables of kernels against plain loops (check_kernels.c): on this machine, and on arm64 processors that qemu plays."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from nnapi_toolkit.android.toolchain import compiler, host_target

SOFTNN = Path(__file__).parents[2] / "android" / "softnn"
#: What qemu plays, and the tables that run there.
ARM64 = {
    "max": ["baseline", "dotprod", "i8mm"],
    "neoverse-n1": ["baseline", "dotprod"],
    "cortex-a53": ["baseline"],
}


def build(folder: Path, target: str, *flags: str) -> Path:
    """The checking program; the kernels' own files and nothing else of the library."""
    program = folder / "check_kernels"
    sources = [Path(__file__).with_name("check_kernels.c"), *sorted(SOFTNN.glob("kernels*.c")), SOFTNN / "numeric.c"]
    command = [
        *compiler(), "-target", target, "-std=c11", "-O1", "-Wall", "-Wextra", "-Werror", "-Wno-unused-command-line-argument",
        "-ffp-contract=off", "-fno-math-errno", "-D_GNU_SOURCE", f"-I{SOFTNN}", *flags, "-o", program, *sources, "-lm",
    ]  # fmt: skip
    built = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=280)
    assert built.returncode == 0, built.stderr
    return program


def run(*command: str | Path) -> list[str]:
    """The names it prints; whatever differs is in the assertion."""
    ran = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=120)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout.split()


def test_this_machine(tmp_path: Path) -> None:
    names = run(build(tmp_path, host_target().triple, "-fno-sanitize=undefined"))
    assert names[0] == "baseline"


@pytest.fixture(scope="session")
def arm64(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("arm64"), "aarch64-linux-musl", "-static", "-fno-sanitize=undefined")


@pytest.mark.parametrize("processor", ARM64)
def test_arm64(arm64: Path, processor: str) -> None:
    qemu = shutil.which("qemu-aarch64") or shutil.which("qemu-aarch64-static")
    if qemu is None:
        pytest.skip("needs qemu-aarch64 (package qemu-user)")
    assert run(qemu, "-cpu", processor, arm64) == ARM64[processor]
