"""Builds and runs the libFuzzer harness over the shim's sessions (fuzz_shim.c).

    python tests/fuzz/fuzz_shim.py --seconds 60 [--corpus DIRECTORY] [--findings DIRECTORY]

Needs a clang with libFuzzer and AddressSanitizer (Debian: clang, libclang-rt-dev); exit code 2 where there is none, 1
where something was found, with the input in the findings directory.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

if __name__ == "__main__":  # run as a script: find the helpers beside
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from nnapi_toolkit.android import frames
from nnapi_toolkit.android.build import SourceTree
from nnapi_toolkit.android.errors import ShimError
from nnapi_toolkit.android.protocol import ExecuteInput, ExecuteOutput, ShimClient
from nnapi_toolkit.android.toolchain import COMMON_COMPILE_FLAGS

from tests.shim import programs as p


class Recorder:
    """A channel that collects requests in the harness's form."""

    def __init__(self) -> None:
        self.session = b""

    def request(self, kind: int, parts: Sequence[Any], deadline: float) -> frames.Reply:
        """Notes the request; answers with an error, which the caller ignores."""
        payload = b"".join(bytes(part) for part in parts)
        self.session += bytes([kind]) + len(payload).to_bytes(3, "little") + payload
        return frames.Reply(kind, frames.Status.STATE, 0, memoryview(b""))

    def close(self) -> None:
        """Nothing to close."""


def sessions() -> list[bytes]:
    """Valid sessions that use every request and several kinds of programs."""
    x = np.arange(4, dtype=np.float32)
    weights = p.Operand(dims=(16, 64), source=p.FILE, offset=64, length=4096)
    dense = p.fully_connected(weights, p.Operand(dims=(16,), source=p.FILE, file=1, length=64))
    image = np.ones((1, 64), np.float32)
    plans: list[tuple[bytes, list[ExecuteInput]]] = [
        (p.pack(p.add()), [ExecuteInput(slot=1, data=x, shape=(4,)), ExecuteInput(slot=1)]),
        (p.pack(p.add(constant=x)), [ExecuteInput(slot=2, data=x)]),
        (p.pack(dense), [ExecuteInput(data=image)]),
        (p.pack(*p.conditional(), feature_level=4), [ExecuteInput(data=np.ones(1, np.uint8)), ExecuteInput(data=x)]),
    ]
    found = []
    for program, inputs in plans:
        recorder = Recorder()
        client = ShimClient(recorder)
        steps: list[Any] = [
            lambda c=client: c.library(1, "", threads=1),
            lambda c=client, b=program: c.load(0, b, device=0, burst=True),
            lambda c=client, b=program: c.load(1, b, library=1),
            lambda c=client, b=program: c.supported(b),
            lambda c=client: c.write(2, x, (4,)),
            lambda c=client, i=inputs: c.execute(0, i, [ExecuteOutput(slot=3)], measure=True),
            lambda c=client, i=inputs: c.execute(0, i, [ExecuteOutput(slot=2, send=False)]),
            lambda c=client, i=inputs: c.execute(1, i, [ExecuteOutput(slot=2)]),
            lambda c=client, b=program: c.supported(b, library=1, device=0),
            lambda c=client: c.read(2),
            lambda c=client: c.drop(3),
            client.stats,
            lambda c=client: c.echo(b"echo"),
            lambda c=client: c.unload(0),
            lambda c=client: c.unload(1),
            client.bye,
        ]
        for step in steps:
            try:
                step()
            except ShimError:
                continue
        found.append(recorder.session)
    return found


def build(folder: Path) -> Path:
    """Compiles the harness, the shim and software NNAPI with all sanitizers; its kernels without: they are fuzzed elsewhere."""
    tree = SourceTree()
    tree.write(folder / "android")
    (folder / "tests" / "fuzz").mkdir(parents=True)
    shutil.copy(Path(__file__).with_suffix(".c"), folder / "tests" / "fuzz")
    sources = [f"android/{name}" for name in tree.units("shim", "softnn", "softnn/ops") if name != "shim/main.c"]
    sources.append("tests/fuzz/fuzz_shim.c")
    flags = [flag for flag in COMMON_COMPILE_FLAGS if not flag.startswith(("-fvisibility", "-W"))]
    flags += ["-O1", "-g", "-DNTK_STATIC_LIBRARY", "-DSOFTNN_BUILD"]
    sanitizers = ["-fsanitize=fuzzer,address,undefined", "-fno-sanitize-recover=all"]

    def compile_one(source: str) -> str:
        output = source.replace("/", "_") + ".o"
        extra = [] if "/kernels" in source else sanitizers
        subprocess.run(["clang", "-c", *flags, *extra, source, "-o", output], cwd=folder, check=True, timeout=600)
        return output

    with ThreadPoolExecutor(2) as pool:
        objects = list(pool.map(compile_one, sources))
    link = ["clang", *sanitizers, *objects, "-o", "fuzz_shim", "-lm", "-ldl", "-lpthread"]
    subprocess.run(link, cwd=folder, check=True, timeout=600)
    return folder / "fuzz_shim"


def main(arguments: Sequence[str] | None = None) -> int:
    """Builds, fills the corpus, runs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--corpus", type=Path, help="grows with what is found to be interesting")
    parser.add_argument("--findings", type=Path, default=Path("findings"))
    parser.add_argument("--seed", type=int, help="of the mutations; else another one each time")
    options = parser.parse_args(arguments)
    if shutil.which("clang") is None:
        print("fuzz_shim: needs clang (Debian: apt install clang libclang-rt-dev)", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory(prefix="fuzz-shim-") as scratch:
        folder = Path(scratch)
        corpus = options.corpus or folder / "corpus"
        corpus.mkdir(parents=True, exist_ok=True)
        options.findings.mkdir(parents=True, exist_ok=True)
        for index, session in enumerate(sessions()):
            (corpus / f"seed-{index}").write_bytes(session)
        command = [
            str(build(folder)), str(corpus), f"-max_total_time={options.seconds}", "-max_len=65536", "-timeout=60",
            "-rss_limit_mb=2048", "-malloc_limit_mb=1024", f"-artifact_prefix={options.findings}/", "-print_final_stats=1",
        ]  # fmt: skip
        if options.seed is not None:
            command.append(f"-seed={options.seed + 1}")  # 0 stands for another one each time
        done = subprocess.run(command, env={**os.environ, "SOFTNN_THREADS": "1"}, timeout=options.seconds + 120)
    return 1 if done.returncode else 0


if __name__ == "__main__":
    sys.exit(main())
