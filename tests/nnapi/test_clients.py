"""Projects that link against software NNAPI: headers, library and pkg-config file, from C and from C++."""

from __future__ import annotations

import ctypes as C
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from .client import CChannels, CSettings, CType

HERE = Path(__file__).resolve().parent
WARNINGS = ["-Wall", "-Wextra", "-Wpedantic", "-Werror"]


@pytest.fixture(scope="module")
def prefix(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An installation, moved after it was made."""
    from nnapi_toolkit.android.install import install

    first = tmp_path_factory.mktemp("install") / "first"
    install(first)
    return Path(shutil.move(first, first.with_name("moved")))


def flags(prefix: Path) -> list[str]:
    """What the pkg-config file says, by pkg-config where there is one, else by reading it."""
    folder = prefix / "lib" / "pkgconfig"
    if shutil.which("pkg-config"):
        command = ["pkg-config", "--cflags", "--libs", "softnn"]
        environment = {**os.environ, "PKG_CONFIG_PATH": str(folder)}
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.split()
    text = (folder / "softnn.pc").read_text().replace("${pcfiledir}", str(folder))
    values = dict(line.split("=", 1) for line in text.splitlines() if "=" in line and ":" not in line.split("=")[0])
    for _ in range(3):
        for name, value in values.items():
            text = text.replace(f"${{{name}}}", value)
    return [word for line in text.splitlines() if line.startswith(("Libs:", "Cflags:")) for word in line.split()[1:]]


def compile_and_run(source: Path, language: list[str], prefix: Path, folder: Path) -> list[str]:
    program = folder / "client"
    compiler = [sys.executable, "-m", "ziglang", *language]
    command = [*compiler, *WARNINGS, str(source), *flags(prefix), "-o", str(program)]
    subprocess.run(command, check=True, timeout=300)
    environment = {**os.environ, "LD_LIBRARY_PATH": str(prefix / "lib")}
    done = subprocess.run([program], env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.splitlines()


@pytest.mark.parametrize("standard", ["c11", "gnu17", "c++11", "c++20"])
def test_a_client(prefix: Path, tmp_path: Path, standard: str) -> None:
    """The same source as C and as C++ (without the C++ library, which it does not need)."""
    source = tmp_path / "client.c"
    shutil.copyfile(HERE / "client.c", source)
    language = ["cc", "-x", "c++" if "++" in standard else "c", f"-std={standard}"]
    assert compile_and_run(source, language, prefix, tmp_path) == ["played", "22 44 66"]


LAYOUT = r"""
#include <stddef.h>
#include <stdio.h>
#include "softnn.h"
int main(void) {
  printf("%zu %zu %zu %zu %zu\n", sizeof(ANeuralNetworksOperandType), offsetof(ANeuralNetworksOperandType, dimensions),
         offsetof(ANeuralNetworksOperandType, scale), sizeof(ANeuralNetworksSymmPerChannelQuantParams), sizeof(SoftnnSettings));
  return 0;
}
"""


def test_layout_of_the_structures(prefix: Path, tmp_path: Path) -> None:
    """The sizes and offsets of the public ABI, and those that the Python client assumes."""
    source = tmp_path / "layout.c"
    source.write_text(LAYOUT)
    (line,) = compile_and_run(source, ["cc", "-std=c11"], prefix, tmp_path)
    assert line.split() == ["24", "8", "16", "16", str(C.sizeof(CSettings))]
    assert (C.sizeof(CType), C.sizeof(CChannels)) == (24, 16)
