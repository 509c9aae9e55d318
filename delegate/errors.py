"""The errors of the toolkit. Each is a `ToolkitError` and says what was wrong, where, and what to do next.

ToolkitError
├── ModelError          the .tflite file: path to the part at fault, message, offset in the file
├── UnsupportedError    a valid model asks for what the target or kernel cannot do: operator, node, reason
│                       ---- from here on in host/errors.py ----
├── DeviceError         the phone: absent, offline, unauthorized, wrong ABI, no space, vanished, too late
├── ShimError           the pushed program: version, protocol, crashed with a signal, deadline passed
└── DriverError         NNAPI itself: the call and the result code that it returned
"""

from __future__ import annotations

from nnapi_toolkit.schema.errors import ToolkitError

__all__ = ["ModelError", "ToolkitError", "UnsupportedError"]


class ModelError(ToolkitError):
    """A `.tflite` file that cannot be used.

    Attributes:
        path: The part at fault, ``subgraphs[0].operators[12].inputs[1]``; empty for the file as a whole.
        message: What is wrong there, with the value found and the rule it breaks.
        offset: Position in the file in bytes, or None where no single position is at fault.
        file: The file's path, or None for a model from memory.
    """

    def __init__(self, path: str, message: str, offset: int | None = None, file: str | None = None) -> None:
        """See the attributes."""
        super().__init__(path, message, offset, file)
        self.path = path
        self.message = message
        self.offset = offset
        self.file = file

    def __str__(self) -> str:
        """``FILE: PATH: MESSAGE (at byte OFFSET)``, without the parts that are not known."""
        parts = [part for part in (self.file, self.path, self.message) if part]
        at = "" if self.offset is None else f" (at byte {self.offset})"
        return ": ".join(parts) + at


class UnsupportedError(ToolkitError):
    """A node of a valid model that the chosen target, or the kernel at hand, cannot run.

    Attributes:
        operator: Name of the operator, for example ``CONV_2D``; empty when no single operator is at fault.
        node: Index of the node in its subgraph, or None.
        reason: Which rule, which operand, what was found, what would lift it.
    """

    def __init__(self, operator: str, node: int | None, reason: str) -> None:
        """See the attributes."""
        super().__init__(operator, node, reason)
        self.operator = operator
        self.node = node
        self.reason = reason

    def __str__(self) -> str:
        """``OPERATOR (node N): REASON``, without the parts that are not known."""
        where = self.operator + ("" if self.node is None else f" (node {self.node})")
        return f"{where.strip()}: {self.reason}" if where.strip() else self.reason
