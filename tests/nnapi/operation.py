"""One operation through the NNAPI C interface, in every form that a client may give it.

check(api, TILE, [tensor(x), tensor(multiples)], [tensor(np.tile(x, multiples))])
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from .client import DTYPES, SCALARS, Array, Compilation, Execution, Model, Nnapi, NnapiError, OperandType

Compare = Callable[[int, Array, Array], None]

#: The tensor type that holds a numpy type, where the test says nothing else.
TENSOR_TYPES = {"float32": 3, "int32": 4, "uint8": 5, "int16": 7, "float16": 8, "bool": 9, "uint16": 12, "int8": 14}
SCALAR_TYPES = {"float32": 0, "int32": 1, "bool": 6, "float16": 10}
QUANTISED = {5, 7, 12, 13, 14}


@dataclass(frozen=True)
class Operand:
    """An operand with its value; an input without one is omitted."""

    type: OperandType
    value: Array | None
    constant: bool = False  # always a constant, in no form a model input
    channels: tuple[int, tuple[float, ...]] | None = None  # axis and scales of a TENSOR_QUANT8_SYMM_PER_CHANNEL

    @property
    def scalar(self) -> bool:
        return self.type.type in SCALARS


def tensor(value: Array, scale: float | None = None, zero_point: int = 0, *, type: int | None = None) -> Operand:
    """A tensor by its numpy type; quantised ones have scale 1 unless said otherwise."""
    array = np.ascontiguousarray(value)
    code = TENSOR_TYPES[array.dtype.name] if type is None else type
    wanted = (1.0 if code in QUANTISED else 0.0) if scale is None else scale
    return Operand(OperandType(code, tuple(array.shape), wanted, zero_point), array)


def per_channel(shape: Sequence[int], axis: int, scale: float = 0.5) -> Operand:
    """A TENSOR_QUANT8_SYMM_PER_CHANNEL of zeros."""
    type_ = OperandType(11, tuple(shape))
    return Operand(type_, np.zeros(shape, np.int8), channels=(axis, (scale,) * shape[axis]))


def ints(values: Sequence[int] | Array) -> Operand:
    """A TENSOR_INT32 list."""
    return tensor(np.asarray(values, np.int32))


def scalar(value: Any) -> Operand:
    """INT32, BOOL or FLOAT32 by the value's type; FLOAT16 for a numpy float16."""
    name = {bool: "bool", int: "int32", float: "float32"}.get(type(value)) or np.asarray(value).dtype.name
    array = np.asarray(value, name)
    return Operand(OperandType(SCALAR_TYPES[name]), array, True)


def omitted(type: int) -> Operand:
    """An input without a value."""
    return Operand(OperandType(type, (1,), 1.0 if type in QUANTISED else 0.0), None)


@dataclass(frozen=True)
class Form:
    """How a client may put the same operation."""

    inputs: bool  # every tensor is a model input; else only the first
    shapes: str  # of the outputs: known, dims (unknown dimensions), rank (unknown rank)

    def output(self, operand: Operand) -> OperandType:
        type_ = operand.type
        if operand.scalar or self.shapes == "known" or 0 in type_.dims:
            return replace(type_, dims=tuple(0 for _ in type_.dims)) if 0 in type_.dims else type_
        return replace(type_, dims=() if self.shapes == "rank" else tuple(0 for _ in type_.dims))


FORMS = [Form(inputs, shapes) for inputs in (False, True) for shapes in ("known", "dims", "rank")]


def run(api: Nnapi, code: int, inputs: Sequence[Operand], outputs: Sequence[Operand], form: Form) -> list[Array]:
    """Results of the operation; `outputs` give types and, where the form has them, shapes."""
    with Model(api) as model:
        places: list[int] = []
        fed: list[tuple[int, Array]] = []
        for operand in inputs:
            index = model.operand(operand.type)
            if operand.channels is not None:
                model.channels(index, *operand.channels)
            places.append(index)
            first = not fed and not operand.scalar
            if operand.value is None:
                model.value(index, None)
            elif operand.constant or not (form.inputs or first) or (operand.value.size == 0 and not first):
                model.value(index, operand.value)
            else:
                fed.append((index, operand.value))
        results = [model.operand(form.output(operand)) for operand in outputs]
        model.operation(code, places, results)
        model.identify([index for index, _ in fed], results)
        model.finish()
        with Compilation(model) as compilation, Execution(compilation) as execution:
            for position, (_, value) in enumerate(fed):
                execution.input(position, value)
            buffers = [
                np.zeros(max(o.value.size if o.value is not None else 0, 1), DTYPES[o.type.type]) for o in outputs
            ]
            for position, buffer in enumerate(buffers):
                execution.output(position, buffer)
            execution.compute()
            shapes = [execution.dims(position) for position in range(len(outputs))]
            return [b[: int(np.prod(shape))].reshape(shape) for b, shape in zip(buffers, shapes)]


def equal(place: int, have: Array, want: Array) -> None:
    """The same numbers."""
    np.testing.assert_array_equal(have, want, err_msg=f"output {place}")


def near(atol: float, rtol: float = 1e-5) -> Compare:
    """Floats within a tolerance, integers within `atol`."""

    def compare(place: int, have: Array, want: Array) -> None:
        np.testing.assert_allclose(
            have.astype(np.float64), want.astype(np.float64), rtol=rtol, atol=atol, err_msg=f"output {place}"
        )

    return compare


def check(
    api: Nnapi, code: int, inputs: Sequence[Operand], expected: Sequence[Operand], compare: Compare = equal
) -> None:
    """Every form gives the expected shapes and numbers."""
    for form in FORMS:
        results = run(api, code, inputs, expected, form)
        for place, (have, operand) in enumerate(zip(results, expected)):
            assert operand.value is not None
            assert have.shape == operand.value.shape, (
                f"{form}: output {place} has shape {have.shape}, not {operand.value.shape}"
            )
            compare(place, have, operand.value)


def refused(api: Nnapi, code: int, inputs: Sequence[Operand], outputs: Sequence[Operand]) -> None:
    """No form of it is computed: some call must return an error."""
    for form in FORMS:
        try:
            run(api, code, inputs, outputs, form)
        except NnapiError:
            continue
        raise AssertionError(f"{form}: every call succeeded")
