"""All errors of the toolkit in one tree. Each message says what was wrong, where, with which value, and what to do next.

    ToolkitError
    ├── UsageError               an argument, a device specification, an input array: the caller can correct it
    ├── ModelError               the .tflite file: path to the part at fault, message, offset in the file
    ├── UnsupportedError         a valid model asks for what the chosen target or kernel cannot do
    ├── DeviceError              the phone, by serial
    │   ├── AdbServerError       no adb server can be reached, or it answers what is no answer
    │   ├── DeviceNotFoundError  no such phone, none at all, or more than one to choose from
    │   ├── DeviceStateError     it is there but cannot be used: unauthorized, offline, no permissions
    │   ├── DeviceAbiError       none of its ABIs is one that we have a program for
    │   ├── DeviceSpaceError     not enough room on it
    │   ├── DeviceCommandError   a command on it failed: exit status and output
    │   ├── DeviceLostError      it vanished, or its connection broke, in mid-operation
    │   └── DeviceTimeoutError   it did not answer before a deadline
    └── AndroidError
        ├── BuildError           the native code could not be built
        └── ShimError            the pushed program
            ├── ProtocolError, ProgramError, LibraryError
            ├── DriverError      NNAPI itself: the call and the result code that it returned
            ├── WorkerLostError  the process that runs NNAPI crashed or was killed at its deadline; the session goes on
            ├── ShimLostError    the stream ended in mid-session: names the device and what is known of the reason
            └── ShimTimeoutError no answer before the deadline
"""

from __future__ import annotations

from nnapi_toolkit.android.errors import (
    AndroidError,
    BuildError,
    DriverError,
    LibraryError,
    ProgramError,
    ProtocolError,
    ShimCrashedError,
    ShimDeadlineError,
    ShimError,
    ShimLostError,
    ShimTimeoutError,
    WorkerLostError,
)
from nnapi_toolkit.delegate.errors import ModelError, UnsupportedError
from nnapi_toolkit.schema.errors import ToolkitError

__all__ = [
    "AdbServerError",
    "AndroidError",
    "BuildError",
    "DeviceAbiError",
    "DeviceCommandError",
    "DeviceError",
    "DeviceLostError",
    "DeviceNotFoundError",
    "DeviceSpaceError",
    "DeviceStateError",
    "DeviceTimeoutError",
    "DriverError",
    "LibraryError",
    "ModelError",
    "ProgramError",
    "ProtocolError",
    "ShimCrashedError",
    "ShimDeadlineError",
    "ShimError",
    "ShimLostError",
    "ShimTimeoutError",
    "ToolkitError",
    "UnsupportedError",
    "UsageError",
    "WorkerLostError",
]


class UsageError(ToolkitError):
    """The caller asked for something that cannot be: the message says what would be right."""


class DeviceError(ToolkitError):
    """Something is wrong with a device.

    Attributes:
        serial: The device's serial, or "" where there is none (no device at all, the adb server).
        advice: What to do next, or "".
    """

    def __init__(self, message: str, *, serial: str = "", advice: str = "") -> None:
        """The text is `SERIAL: MESSAGE. ADVICE`, without the parts that are empty."""
        super().__init__(message)
        self.message = message
        self.serial = serial
        self.advice = advice

    def __str__(self) -> str:
        """The message with the device in front and the advice behind."""
        text = f"{self.serial}: {self.message}" if self.serial else self.message
        return f"{text.rstrip('.')}. {self.advice}" if self.advice else text


class AdbServerError(DeviceError):
    """The adb server cannot be reached, or answered against its protocol."""


class DeviceNotFoundError(DeviceError):
    """No device of that serial, no device at all, or several where one was meant."""


class DeviceStateError(DeviceError):
    """The device is attached but not usable. `state` is adb's word for it: `unauthorized`, `offline`, ..."""

    def __init__(self, message: str, *, serial: str = "", advice: str = "", state: str = "") -> None:
        """`state` as `adb devices` shows it."""
        super().__init__(message, serial=serial, advice=advice)
        self.state = state


class DeviceAbiError(DeviceError):
    """There is no program for any of the device's ABIs."""


class DeviceSpaceError(DeviceError):
    """The device has not enough room for a file."""


class DeviceCommandError(DeviceError):
    """A command on the device failed.

    Attributes:
        command: The command line.
        status: Its exit status (127: not found, 126: cannot be executed, 128 + N: ended by signal N).
        output: What it wrote.
    """

    def __init__(self, command: str, status: int, output: str, *, serial: str = "", advice: str = "") -> None:
        """The message shows command, status and the last lines of the output."""
        shown = command if len(command) <= 200 else command[:197] + "..."
        tail = output.strip()[-1000:]
        super().__init__(f"'{shown}' failed with status {status}: {tail or 'no output'}", serial=serial, advice=advice)
        self.command = command
        self.status = status
        self.output = output


class DeviceLostError(DeviceError):
    """The device, or the connection to it, went away in the middle of something."""


class DeviceTimeoutError(DeviceError):
    """The device did not answer in time."""
