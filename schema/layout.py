"""How a FlatBuffers schema is laid out on the wire, as plain data: the vocabulary of `tflite_layout`."""

from __future__ import annotations

from typing import Final, NamedTuple

#: Kind of a scalar -> its size in bytes. The letters are those of `struct` and numpy.
SCALAR_SIZES: Final = {"?": 1, "b": 1, "B": 1, "h": 2, "H": 2, "i": 4, "I": 4, "q": 8, "Q": 8, "f": 4, "d": 8}


class Field(NamedTuple):
    """One field of a table.

    Attributes:
        name: The schema's name, snake case.
        slot: Position in the vtable; for a union that of the value (its type is at ``slot - 1``).
        kind: A scalar letter of `SCALAR_SIZES`; ``s`` string, ``t`` table, ``u`` union; ``[`` and an
            element's letter or ``t`` for a vector.
        default: Value of a scalar that the file leaves out; None for all other kinds.
        ref: Name of the enum, table or union behind the field, or None.
    """

    name: str
    slot: int
    kind: str
    default: int | float | bool | None = None
    ref: str | None = None


class Arity(NamedTuple):
    """How many tensors an operator takes and gives; a maximum of None is open.

    Attributes:
        min_inputs, max_inputs, min_outputs, max_outputs: Bounds, inclusive.
        may_omit: Also inputs below `min_inputs` may be -1 (recurrent operators).
    """

    min_inputs: int
    max_inputs: int | None
    min_outputs: int
    max_outputs: int | None
    may_omit: bool = False
