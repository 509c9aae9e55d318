"""Errors of the device side: building the native code, speaking to the shim, what NNAPI answers.

    AndroidError
    ├── BuildError          the native code did not compile or link; carries the compiler's output
    ├── ShimError           the shim refused or could not do a request
    │   ├── ProtocolError   what came over the stream is not the protocol (or of another version)
    │   ├── ProgramError    a program file does not verify
    │   ├── LibraryError    libneuralnetworks.so cannot be loaded, or lacks an entry point that is needed
    │   ├── DriverError     an NNAPI call failed: which call, which result code
    │   ├── WorkerLostError the process that runs NNAPI is gone; the stream is in step, a new one has started
    │   │   ├── ShimCrashedError   it died of a signal, or a driver ended it
    │   │   │   └── ShimRestartedError  it did so before this request, which was not begun
    │   │   └── ShimDeadlineError  it was killed because a request took longer than its limit
    │   ├── ShimLostError   the stream ended in mid-session
    │   └── ShimTimeoutError  no answer before the deadline

Every message names the object, the rule, the value and the next step. `host` re-exports all of them.
"""

from __future__ import annotations

import errno
import os
import signal

from nnapi_toolkit.schema.errors import ToolkitError

#: Result codes of NNAPI calls (ANEURALNETWORKS_ prefix dropped).
RESULT_NAMES: dict[int, str] = {
    0: "NO_ERROR",
    1: "OUT_OF_MEMORY",
    2: "INCOMPLETE",
    3: "UNEXPECTED_NULL",
    4: "BAD_DATA",
    5: "OP_FAILED",
    6: "BAD_STATE",
    7: "UNMAPPABLE",
    8: "OUTPUT_INSUFFICIENT_SIZE",
    9: "UNAVAILABLE_DEVICE",
    10: "MISSED_DEADLINE_TRANSIENT",
    11: "MISSED_DEADLINE_PERSISTENT",
    12: "RESOURCE_EXHAUSTED_TRANSIENT",
    13: "RESOURCE_EXHAUSTED_PERSISTENT",
    14: "DEAD_OBJECT",
}


def result_name(code: int) -> str:
    """The name of an NNAPI result code, `ANEURALNETWORKS_BAD_DATA` for 4; the number itself if unknown."""
    name = RESULT_NAMES.get(code)
    return f"ANEURALNETWORKS_{name}" if name else f"NNAPI result {code}"


class AndroidError(ToolkitError):
    """Base of all errors of the device side."""


class BuildError(AndroidError):
    """The native code could not be built. `output` is what the compiler said, "" if it never ran."""

    def __init__(self, message: str, *, target: str = "", output: str = "", next_step: str = "") -> None:
        """The text is the message, the compiler's output and the next step."""
        parts = [message]
        if output.strip():
            parts.append(output.strip())
        if next_step:
            parts.append(next_step)
        super().__init__("\n".join(parts))
        self.target = target
        self.output = output
        self.next_step = next_step


class ShimError(AndroidError):
    """The shim answered a request with an error.

    `request` is the request's kind by name ("LOAD"), `status` the reply's status, `code` the errno or NNAPI
    result behind it (0 = none), `text` what the shim said. Raised itself for wrong order (NTK_STATUS_STATE)
    and for what the device's system refused (NTK_STATUS_SYSTEM); everything else has its own class.
    """

    def __init__(self, text: str, *, request: str = "", status: int = 0, code: int = 0) -> None:
        """The message is the request's name and the text."""
        super().__init__(f"{request} failed: {text}" if request else text)
        self.text = text
        self.request = request
        self.status = status
        self.code = code

    @property
    def errno_name(self) -> str | None:
        """The name of the errno behind a system error ("ENOSPC"), None without one."""
        return errno.errorcode.get(self.code)


class ProtocolError(ShimError):
    """A frame that is not what the protocol says, or a shim of another protocol version or build."""


class ProgramError(ShimError):
    """The program does not verify: the text says which table, which index, which rule."""


class LibraryError(ShimError):
    """libneuralnetworks.so cannot be loaded on the device or lacks an entry point that the request needs."""


class DriverError(ShimError):
    """An NNAPI call failed. `code` is its result, `name` the result's name, `text` names call and object."""

    @property
    def name(self) -> str:
        """`ANEURALNETWORKS_OP_FAILED` and the like."""
        return result_name(self.code)


class WorkerLostError(ShimError):
    """The process that runs NNAPI on the device is gone, and with it programs, files and kept tensors.

    The text says in which request and inside which NNAPI call. The channel is still good: a new worker waits
    for `hello`, `open` and `load`.
    """


class ShimCrashedError(WorkerLostError):
    """The worker died. `code` is the signal, 0 where a driver ended the process by itself."""

    @property
    def signal_name(self) -> str | None:
        """`SIGSEGV` and the like; None where no signal was involved."""
        try:
            return signal.Signals(self.code).name
        except ValueError:
            return None


class ShimRestartedError(ShimCrashedError):
    """The worker died between two requests; the one that learns of it was not begun, and nothing of it was done."""


class ShimDeadlineError(WorkerLostError):
    """The worker was killed on the device: a request took longer than the limit given at hello."""


class ShimLostError(ShimError):
    """The shim ended, or its stream closed, before the reply was complete."""


class ShimTimeoutError(ShimError):
    """No complete reply before the deadline. The session is over: its stream is out of step."""


def describe_errno(code: int) -> str:
    """`ENOENT (No such file or directory)` for 2."""
    return f"{errno.errorcode.get(code, f'errno {code}')} ({os.strerror(code)})"
