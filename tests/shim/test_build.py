"""Building on demand: what is built when, what is shared, what is said when it fails."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from nnapi_toolkit.android import build as module
from nnapi_toolkit.android.build import SHIM, SourceTree, build, build_products, source_hash
from nnapi_toolkit.android.errors import BuildError
from nnapi_toolkit.android.toolchain import Variant, find_target

RELEASE = Variant()


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A tiny source tree: one program with a header."""
    root = tmp_path / "sources"
    (root / "shim").mkdir(parents=True)
    (root / "shim" / "main.c").write_text(
        '#include "answer.h"\nint puts(const char *);\nint main(void) { puts(NTK_BUILD_HASH); return ANSWER; }\n'
    )
    (root / "shim" / "answer.h").write_text("#define ANSWER 42\n")
    (root / "shim" / "other.c").write_text("int other(void) { return 1; }\n")
    return root


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of our own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "nnapi-toolkit"


def shim_of(root: Path, steps: list[str] | None = None, variant: Variant = RELEASE, **options: Any) -> tuple[Path, str]:
    def progress(done: int, total: int, what: str) -> None:
        assert 0 <= done <= total
        if steps is not None:
            steps.append(what)

    folder, digest = build_products([SHIM], find_target("host"), variant, progress=progress, root=root, **options)
    return folder / SHIM, digest


@pytest.fixture(autouse=True)
def shared_compiler_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    """The compiler's own cache, which takes long to fill, stays where it is when a test moves ours away."""
    monkeypatch.setenv("ZIG_GLOBAL_CACHE_DIR", os.environ.get("ZIG_GLOBAL_CACHE_DIR", str(module.cache_root() / "zig")))


def test_nothing_is_built_twice(tree: Path, cache: Path) -> None:
    steps: list[str] = []
    shim, digest = shim_of(tree, steps)
    assert steps == ["compiling shim/main.c", "compiling shim/other.c", f"linking {SHIM}", "built"]
    done = subprocess.run([shim], capture_output=True, text=True, timeout=10)
    assert (done.returncode, done.stdout) == (42, digest + "\n")
    assert shim.parent.name == "host-shim" and shim.parent.parent == cache / "build" / digest
    steps.clear()
    assert shim_of(tree, steps) == (shim, digest) and steps == []


def test_only_what_depends_on_a_change_is_compiled(tree: Path, cache: Path) -> None:
    shim_of(tree)
    (tree / "shim" / "answer.h").write_text("#define ANSWER 7\n")
    steps: list[str] = []
    shim, _ = shim_of(tree, steps)
    assert steps == ["compiling shim/main.c", f"linking {SHIM}", "built"]
    assert subprocess.run([shim], capture_output=True, timeout=10).returncode == 7


def test_the_hash_is_over_sources_and_flags(tree: Path) -> None:
    hashes = [source_hash(SourceTree(tree), variant) for variant in (RELEASE, Variant(sanitize=True), Variant(debug=True))]
    (tree / "shim" / "new.h").write_text("")
    hashes.append(source_hash(SourceTree(tree), RELEASE))
    (tree / "shim" / "new.h").rename(tree / "shim" / "renamed.h")
    hashes.append(source_hash(SourceTree(tree), RELEASE))
    assert len(set(hashes)) == len(hashes)


def test_builds_are_the_same_byte_for_byte(tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    outputs = []
    for name in ("one", "another-longer-name"):
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / name))
        elsewhere = tmp_path / f"copy-{name}"
        shutil.copytree(tree, elsewhere)
        outputs.append(shim_of(elsewhere)[0].read_bytes())
    assert outputs[0] == outputs[1]


def test_compiler_errors_are_shown(tree: Path, cache: Path) -> None:
    (tree / "shim" / "other.c").write_text("int other(void) { return undeclared; }\n")
    with pytest.raises(BuildError, match=r"compiling shim/other.c for host failed \(exit code 1\)") as info:
        shim_of(tree)
    assert "shim/other.c:1:26: error: use of undeclared identifier 'undeclared'" in info.value.output
    assert "pip install --force-reinstall" in info.value.next_step and info.value.target == "host"
    assert not list(cache.glob("build/*/*.part")) and not list(cache.glob("objects/*.part"))
    (tree / "shim" / "other.c").write_text("int other(void) { return 1; }\n")
    shim_of(tree)


def test_warnings_are_errors_and_undefined_behaviour_is_found(tree: Path, cache: Path) -> None:
    (tree / "shim" / "other.c").write_text("int other(int unused) { return 1; }\n")
    with pytest.raises(BuildError, match="unused parameter"):
        shim_of(tree)
    (tree / "shim" / "other.c").unlink()
    (tree / "shim" / "main.c").write_text("int main(int count, char **a) { (void)a; int x = 2147483647; return x + count > 0; }\n")
    assert subprocess.run([shim_of(tree)[0]], timeout=10).returncode in (0, 1)
    done = subprocess.run([shim_of(tree, variant=Variant(sanitize=True))[0]], capture_output=True, text=True, timeout=10)
    assert done.returncode < 0 and "signed integer overflow" in done.stderr


def test_many_builders_at_once(tree: Path, cache: Path) -> None:
    code = (
        "import sys, pathlib\n"
        "from nnapi_toolkit.android.build import *\n"
        "from nnapi_toolkit.android.toolchain import *\n"
        "print(build_products([SHIM], find_target('host'), Variant(), root=pathlib.Path(sys.argv[1]))[0])\n"
    )
    builders = [
        subprocess.Popen([sys.executable, "-c", code, str(tree)], stdout=subprocess.PIPE, text=True) for _ in range(4)
    ]
    outputs = {builder.communicate(timeout=100)[0] for builder in builders}
    assert len(outputs) == 1 and all(builder.returncode == 0 for builder in builders)
    folder = Path(outputs.pop().strip())
    assert [path.name for path in folder.iterdir()] == [SHIM]
    assert not list(folder.parent.glob("*.part"))


LOCK_HOLDER = """
import fcntl, sys, time
file = open(sys.argv[1], "w")
fcntl.flock(file, fcntl.LOCK_EX)
print("locked", flush=True)
time.sleep(60)
"""


def test_waiting_for_another_builder_ends(tree: Path, cache: Path) -> None:
    digest = source_hash(SourceTree(tree), RELEASE)
    (cache / "build" / digest).mkdir(parents=True)
    lock = cache / "build" / digest / "host-shim.lock"
    holder = subprocess.Popen(
        [sys.executable, "-c", LOCK_HOLDER, str(lock)],
        stdout=subprocess.PIPE,
    )
    try:
        assert holder.stdout is not None and holder.stdout.readline()
        begin = time.monotonic()
        with pytest.raises(BuildError, match="another process has been building host-shim for more than 0 s") as info:
            shim_of(tree, deadline=0.3)
        assert str(lock) in info.value.next_step and time.monotonic() - begin < 10
    finally:
        holder.kill()
        holder.wait()
    shim_of(tree, deadline=10.0)  # the lock died with its holder


def test_a_cache_that_cannot_be_written(tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(BuildError, match=r"the build cache .* cannot be written") as info:
        shim_of(tree)
    assert "set XDG_CACHE_HOME" in info.value.next_step


def test_old_builds_go(tree: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_KEPT_BUILDS", 2)
    old = time.time() - 40 * 86400

    def age(path: Path) -> None:
        for entry in [*path.rglob("*"), path]:
            os.utime(entry, (old, old))

    digests = []
    for number in range(4):
        (tree / "shim" / "answer.h").write_text(f"#define ANSWER {number}\n")
        digests.append(shim_of(tree)[1])
        if number < 2:
            age(cache / "build" / digests[-1])
            age(cache / "objects")
    kept = {path.name for path in (cache / "build").iterdir()}
    assert kept == set(digests[2:])
    assert len(list((cache / "objects").iterdir())) == 3  # main.c twice, other.c: touched by the later builds


@pytest.mark.parametrize("target", ["riscv64", "", "../host"])
def test_unknown_targets(target: str) -> None:
    with pytest.raises(BuildError, match=f"target '{target}' is not known\nChoose one of: host, "):
        build(target)


def test_sources_that_are_missing(tmp_path: Path) -> None:
    with pytest.raises(BuildError, match="no native sources below"):
        SourceTree(tmp_path)


def test_no_compiler(monkeypatch: pytest.MonkeyPatch, tree: Path, cache: Path) -> None:
    import importlib.metadata

    def gone(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", gone)
    with pytest.raises(BuildError, match="the compiler is missing\nInstall it: pip install ziglang"):
        shim_of(tree)


def test_the_command(capsys: pytest.CaptureFixture[str], native: Callable[..., Any]) -> None:
    assert module.main(["--target", "host", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert set(result) == {"target", "shim", "shim_library", "libneuralnetworks", "sizes", "source_hash"}
    for name, size in result["sizes"].items():
        assert Path(result[name]).stat().st_size == size
    assert module.main(["--target", "nothing"]) == 2
    assert "target 'nothing' is not known" in capsys.readouterr().err
