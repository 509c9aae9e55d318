"""Fixtures: the native build, and the two roads to it: in process, and as a child process over pipes."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from nnapi_toolkit.android.binding import LocalChannel
from nnapi_toolkit.android.build import BuildResult, build
from nnapi_toolkit.android.channel import DescriptorTransport, StreamChannel
from nnapi_toolkit.android.protocol import ShimClient


@pytest.fixture(scope="session")
def native() -> BuildResult:
    """The shim and software NNAPI for this machine."""
    return build("host")


@pytest.fixture(scope="session")
def sanitized() -> BuildResult:
    """The same with UBSan: a finding ends the process."""
    return build("host", sanitize=True)


class ShimProcess:
    """A shim as a child process, and a client that speaks to it over its pipes."""

    def __init__(self, built: BuildResult, *arguments: str, env: dict[str, str] | None = None,
                 library: Path | None = None) -> None:
        command = [str(built.shim), "--library", str(library or built.libneuralnetworks), *arguments]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env={**os.environ, **(env or {})}, bufsize=0,
        )  # fmt: skip
        assert self.process.stdin is not None and self.process.stdout is not None
        self.transport = DescriptorTransport(
            self.process.stdout.fileno(), self.process.stdin.fileno(), self._close_pipes
        )
        self.channel = StreamChannel(self.transport)
        self.client = ShimClient(self.channel)

    def _close_pipes(self) -> None:
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.close()
        self.process.stdout.close()

    def close(self) -> int:
        """Ends the stream; the exit code."""
        self.channel.close()
        try:
            return self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise
        finally:
            assert self.process.stderr is not None
            self.process.stderr.close()


@pytest.fixture
def start(native: BuildResult) -> Iterator[Callable[..., ShimProcess]]:
    """Starts shims; all are ended with the test."""
    started: list[ShimProcess] = []

    def begin(*arguments: str, built: BuildResult = native, **options: Any) -> ShimProcess:
        started.append(ShimProcess(built, *arguments, **options))
        return started[-1]

    yield begin
    for shim in started:
        if shim.process.poll() is None:
            shim.process.kill()
            shim.process.wait(10)
        if shim.process.stderr is not None and not shim.process.stderr.closed:
            shim.close()


@pytest.fixture(params=["local", "process"])
def connect(request: pytest.FixtureRequest, native: BuildResult,
            start: Callable[..., ShimProcess]) -> Iterator[Callable[..., ShimClient]]:
    """Opens clients that have said hello, by both roads; software NNAPI gets its settings as keywords."""
    channels: list[LocalChannel] = []

    def open_client(**settings: str | int) -> ShimClient:
        env = {f"SOFTNN_{name.upper()}": str(setting) for name, setting in settings.items()}
        if request.param == "process":
            client: ShimClient = start(env=env).client
        else:
            assert native.shim_library is not None
            channels.append(LocalChannel(native.shim_library, native.libneuralnetworks, env))
            client = ShimClient(channels[-1])
        client.hello(native.source_hash)
        return client

    yield open_client
    for channel in channels:
        channel.close()
