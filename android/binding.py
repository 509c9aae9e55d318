"""The shim's request handler in this process, for `--device local`: no adb, no pipe, the same code.

`LocalChannel` is a `Channel`. Requests run on a thread of their own, so that a deadline holds even where a
driver hangs.
"""

from __future__ import annotations

import itertools
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

import cffi

from .errors import BuildError, ShimLostError, ShimTimeoutError
from .frames import Buffer, Kind, Reply, bytes_of, check_reply, decode_header, encode_header, kind_name

_DECLARATIONS = """
typedef struct NtkSession NtkSession;
typedef struct { const void *data; size_t length; } NtkSpan;
NtkSession *ntk_session_new(const char *library, void *watch);
void ntk_session_free(NtkSession *session);
uint64_t ntk_session_request(NtkSession *session, void *header, const NtkSpan *parts, uint32_t part_count);
void ntk_session_reply(const NtkSession *session, void *payload);
const char *ntk_build_hash(void);
"""

_ffi = cffi.FFI()
_ffi.cdef(_DECLARATIONS)


@cache
def _open_library(path: str) -> Any:
    """The shim's library; never unloaded, as threads may still be inside."""
    try:
        return _ffi.dlopen(path)
    except OSError as error:
        raise BuildError(
            f"the shim's library {path} cannot be loaded: {error}",
            next_step="Build it anew: nnapi build --target host",
        ) from error


#: Requests in which software NNAPI reads its settings: when asked for devices, when a model is created.
_CONFIGURED = frozenset((Kind.HELLO, Kind.LOAD, Kind.SUPPORTED))


class _Environment:
    """Variables that hold for a while: software NNAPI takes its settings from the environment."""

    _lock = threading.Lock()
    _numbers = itertools.count(1)

    def __init__(self, variables: Mapping[str, str]) -> None:
        self._variables = dict(variables)
        if variables:  # equal settings of the channel before this one must not go on counting calls
            self._variables["SOFTNN_CLIENT"] = str(next(self._numbers))

    def run(self, action: Callable[[], Any]) -> Any:
        """`action()` with the variables set, and as they were afterwards."""
        if not self._variables:
            return action()
        with self._lock:
            before = {name: os.environ.get(name) for name in self._variables}
            os.environ.update(self._variables)
            try:
                return action()
            finally:
                for name, value in before.items():
                    if value is None:
                        os.environ.pop(name, None)
                    else:
                        os.environ[name] = value


class _Worker(threading.Thread):
    """Runs one action at a time for one caller. Two locks instead of a queue: a hand-over costs less."""

    def __init__(self) -> None:
        super().__init__(name="nnapi-local", daemon=True)
        self._go = threading.Lock()
        self._done = threading.Lock()
        self._go.acquire()
        self._done.acquire()
        self._action: Callable[[], Any] | None = None
        self._value: Any = None
        self._error: BaseException | None = None

    def run(self) -> None:
        while True:
            self._go.acquire()
            action = self._action
            if action is None:
                return
            try:
                self._value, self._error = action(), None
            except BaseException as error:
                self._value, self._error = None, error
            del action
            self._action = None
            self._done.release()

    def call(self, action: Callable[[], Any], seconds: float) -> Any:
        """The action's value; TimeoutError where it is not there in time: the worker is then lost."""
        self._action = action
        self._go.release()
        if not self._done.acquire(timeout=seconds):
            raise TimeoutError
        value, error, self._value, self._error = self._value, self._error, None, None
        if error is not None:
            raise error
        return value

    def stop(self) -> None:
        """Ends the thread; only when no action runs."""
        self._action = None
        self._go.release()
        self.join()


class LocalChannel:
    """A `Channel` to the shim's request handler in this process. Requests of several threads wait for each other."""

    def __init__(
        self,
        shim_library: str | os.PathLike[str],
        library: str | os.PathLike[str] | None = None,
        env: Mapping[str, str] | None = None,
    ) -> None:
        """Loads the shim.

        Args:
            shim_library: `libnnapi_shim.so` (`BuildResult.shim_library`).
            library: The libneuralnetworks.so to use; None = the system's. It is loaded at hello.
            env: Variables for software NNAPI's settings. They hold while it may read them (HELLO, LOAD and
                SUPPORTED); such requests of channels with variables wait for each other.

        Raises:
            BuildError: the library cannot be loaded.
        """
        self._lib = _open_library(str(Path(shim_library).resolve()))
        path = _ffi.NULL if library is None else _ffi.new("char[]", os.fsencode(library))
        self._session = self._lib.ntk_session_new(path, _ffi.NULL)
        if self._session == _ffi.NULL:
            raise MemoryError("no memory for a session")
        self._environment = _Environment(env or {})
        self._worker = _Worker()
        self._worker.start()
        self._id = 0
        self._broken: str | None = None
        self._turn = threading.Lock()

    @property
    def build_hash(self) -> str:
        """The source hash that the library was built with (hex)."""
        return bytes(_ffi.string(self._lib.ntk_build_hash())).decode()

    def request(self, kind: int, parts: Sequence[Buffer], deadline: float) -> Reply:
        """See `Channel.request`."""
        end = time.monotonic() + deadline
        if not self._turn.acquire(timeout=deadline):
            raise ShimTimeoutError(f"other requests took longer than {deadline:g} s", request=kind_name(kind))
        try:
            return self._request(kind, parts, deadline, end)
        finally:
            self._turn.release()

    def _request(self, kind: int, parts: Sequence[Buffer], deadline: float, end: float) -> Reply:
        if self._broken is not None:
            raise ShimLostError(f"the session is over: {self._broken}", request=kind_name(kind))
        views = [view for view in (bytes_of(part, kind_name(kind)) for part in parts) if len(view)]
        self._id = self._id % 0xFFFFFFFF + 1
        header = bytearray(encode_header(kind, self._id, sum(map(len, views))))
        try:
            if kind in _CONFIGURED:
                action: Callable[[], bytearray] = partial(
                    self._environment.run, partial(self._handle, header, views)
                )
            else:
                action = partial(self._handle, header, views)
            payload = self._worker.call(action, max(0.0, end - time.monotonic()))
        except TimeoutError:
            # The thread is still inside and uses the session and the buffers: both live on with its closure.
            self._broken = f"{kind_name(kind)} was not answered in time"
            raise ShimTimeoutError(
                f"no answer within {deadline:g} s: the library is slow, or it hangs", request=kind_name(kind)
            ) from None
        except BaseException:
            self._broken = "an earlier request was interrupted"
            raise
        reply = decode_header(header)
        check_reply(reply, kind, self._id)
        if kind == Kind.BYE:
            self._broken = "it said goodbye"
        return Reply(reply.kind, reply.status, reply.code, memoryview(payload))

    def _handle(self, header: bytearray, views: Sequence[memoryview]) -> bytearray:
        """One request; `header` becomes the reply's. This frame holds the buffers while C looks at them."""
        buffers = [_ffi.from_buffer(view) for view in views]
        spans = _ffi.new("NtkSpan[]", [(buffer, len(buffer)) for buffer in buffers])
        length = self._lib.ntk_session_request(
            self._session, _ffi.from_buffer(header, require_writable=True), spans, len(buffers)
        )
        payload = bytearray(length)
        if length:
            self._lib.ntk_session_reply(self._session, _ffi.from_buffer(payload, require_writable=True))
        return payload

    def ended(self) -> bool:
        """See `Channel.ended`."""
        return self._broken is not None

    def close(self) -> None:
        """Frees the session, unless a request still hangs in it."""
        if self._session is None:
            return
        session, self._session = self._session, None
        if self._broken is not None and self._broken.endswith(("in time", "interrupted")):
            return
        self._broken = "it was closed"
        self._worker.call(lambda: self._lib.ntk_session_free(session), 60.0)
        self._worker.stop()
