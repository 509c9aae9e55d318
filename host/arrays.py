"""Arrays in and out: npz files of inputs and outputs, random inputs, and differences between two results."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from nnapi_toolkit.delegate.graph import Tensor
from nnapi_toolkit.errors import UsageError
from numpy.typing import NDArray

Array = NDArray[Any]


def load_inputs(path: Path, tensors: Sequence[Tensor]) -> list[Array]:
    """Reads the model's inputs from an npz file, by tensor name or `input_N`.

    Raises:
        UsageError: The file does not read, or an input is missing.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays: Mapping[str, Array] = {key: archive[key] for key in archive.files}
    except (OSError, ValueError, zipfile.BadZipFile, AttributeError) as error:
        raise UsageError(f"{path}: not an npz file of plain arrays ({error}): write one with numpy.savez") from error
    chosen = []
    for position, tensor in enumerate(tensors):
        key = next((k for k in (tensor.name, f"input_{position}") if k in arrays), None)
        if key is None:
            raise UsageError(
                f"{path}: input {position} has neither the key '{tensor.name}' nor 'input_{position}': "
                f"the file holds {sorted(arrays)}"
            )
        chosen.append(arrays[key])
    return chosen


def check_inputs(
    tensors: Sequence[Tensor], inputs: Sequence[Array] | Mapping[str, Array], *, any_shape: bool = False
) -> list[Array]:
    """Returns a model's inputs in order, from a list in that order or by tensor name or `input_N`.

    Raises:
        UsageError: One is missing, there are too many, or dtype or shape differ from the model's.
    """
    if isinstance(inputs, Mapping):
        chosen = []
        for position, tensor in enumerate(tensors):
            key = tensor.name if tensor.name in inputs else f"input_{position}"
            if key not in inputs:
                raise UsageError(
                    f"input {position} '{tensor.name}' is missing: give it under its name or as 'input_{position}'"
                )
            chosen.append(inputs[key])
    else:
        chosen = list(inputs)
    if len(chosen) != len(tensors):
        raise UsageError(f"the model has {len(tensors)} inputs, {len(chosen)} were given")
    return [check_array(place, tensor, value, any_shape) for place, (tensor, value) in enumerate(zip(tensors, chosen))]


def check_array(position: int, tensor: Tensor, value: Array, any_shape: bool = False) -> Array:
    """Returns the value as an array of the tensor's dtype and shape, or says how it differs.

    A signature's unknown dimensions (-1) accept any size; everything else must be equal, unless `any_shape`.

    Raises:
        UsageError: dtype or shape differ.
    """
    array = np.asarray(value)
    if array.dtype != tensor.dtype:
        raise UsageError(
            f"input {position} '{tensor.name}' has dtype {array.dtype}, the model wants {np.dtype(tensor.dtype)}: "
            f"convert it first"
        )
    if not any_shape and not fits(tensor, array.shape):
        wanted = tensor.shape_signature or tensor.shape
        raise UsageError(
            f"input {position} '{tensor.name}' has shape {list(array.shape)}, the model wants {list(wanted)}"
        )
    return array


def fits(tensor: Tensor, shape: Sequence[int]) -> bool:
    """Whether an input tensor takes arrays of a shape: its own, where it leaves no dimension open."""
    wanted = tensor.shape_signature or tensor.shape
    return len(shape) == len(wanted) and all(w in (-1, have) for w, have in zip(wanted, shape))


def save_outputs(path: Path, tensors: Sequence[Tensor], values: Sequence[Array]) -> None:
    """Writes outputs to an npz file under both `output_N` and, where the name allows it, the tensor's name."""
    arrays: dict[str, Array] = {f"output_{position}": value for position, value in enumerate(values)}
    for tensor, value in zip(tensors, values):
        arrays.setdefault(tensor.name, value)
    path.parent.mkdir(parents=True, exist_ok=True)
    # savez takes names as keyword arguments, where "file" is taken: the members are written one by one.
    with zipfile.ZipFile(path, "w") as archive:
        for name, value in arrays.items():
            if name:
                with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                    np.lib.format.write_array(member, np.asanyarray(value), allow_pickle=False)


def random_inputs(tensors: Sequence[Tensor], seed: int = 0) -> list[Array]:
    """Random inputs of the model's dtypes and shapes (unknown dimensions as the file has them): floats in [-1, 1),
    8-bit over the whole range, other integers 0 to 9, booleans evenly. The same seed gives the same values."""
    generator = np.random.default_rng(seed)
    result: list[Array] = []
    for tensor in tensors:
        dtype = np.dtype(tensor.dtype)
        if dtype.kind == "f":
            result.append(generator.uniform(-1, 1, tensor.shape).astype(dtype))
        elif dtype.kind == "c":
            real, imaginary = generator.uniform(-1, 1, (2, *tensor.shape))
            result.append((real + 1j * imaginary).astype(dtype))
        elif dtype.kind == "b":
            result.append(generator.integers(0, 2, tensor.shape).astype(dtype))
        elif dtype.itemsize == 1:
            info = np.iinfo(dtype)
            result.append(generator.integers(info.min, info.max + 1, tensor.shape).astype(dtype))
        else:
            result.append(generator.integers(0, 10, tensor.shape).astype(dtype))
    return result


@dataclass(frozen=True, slots=True)
class Difference:
    """How far one output lies from its reference. Real values for quantised tensors, where `steps` counts raw steps.

    Attributes:
        max_abs: Largest absolute difference.
        rmse: Root of the mean squared difference.
        snr_db: Signal power over error power in dB; None when the error is zero.
        cosine: Cosine similarity; 1 for two zero vectors.
        steps: Largest difference in quantisation steps; None for floats.
        equal: True when every element is equal bit for bit (NaN equals NaN).
        within: True when the tolerance holds for every element.
    """

    name: str
    max_abs: float
    rmse: float
    snr_db: float | None
    cosine: float
    steps: int | None
    equal: bool
    within: bool

    def explain(self) -> str:
        """The statistics as one line of text."""
        snr = "no noise" if self.snr_db is None else f"SNR {self.snr_db:.1f} dB"
        steps = "" if self.steps is None else f", {self.steps} steps"
        return f"max abs {self.max_abs:.3g}, rmse {self.rmse:.3g}, {snr}, cosine {self.cosine:.6f}{steps}"

    def to_json(self) -> dict[str, Any]:
        """The stable form that `nnapi verify --json` prints per output."""
        return {
            "name": self.name,
            "max_abs": self.max_abs,
            "rmse": self.rmse,
            "snr_db": self.snr_db,
            "cosine": self.cosine,
            "steps": self.steps,
            "equal": self.equal,
            "within": self.within,
        }


@dataclass(frozen=True, slots=True)
class Tolerance:
    """Bounds per element: |actual - expected| <= absolute + relative * |expected| for floats, `steps` raw steps for
    integers (quantised or not)."""

    absolute: float = 1e-6
    relative: float = 1e-5
    steps: int = 0


def compare(tensor: Tensor, actual: Array, expected: Array, tolerance: Tolerance) -> Difference:
    """Compares one output with its reference.

    Raises:
        UsageError: The two have different shapes or dtypes.
    """
    if actual.shape != expected.shape or actual.dtype != expected.dtype:
        raise UsageError(
            f"output '{tensor.name}': {actual.dtype}{list(actual.shape)} cannot be compared with "
            f"{expected.dtype}{list(expected.shape)}"
        )
    integer = actual.dtype.kind in "iub"
    steps = None
    if integer:
        wide = np.abs(actual.astype(np.int64) - expected.astype(np.int64))
        steps = int(wide.max(initial=0))
        within = steps <= tolerance.steps
    else:
        both_nan = np.isnan(actual) & np.isnan(expected)
        with np.errstate(invalid="ignore"):
            close = np.abs(actual - expected) <= tolerance.absolute + tolerance.relative * np.abs(expected)
        within = bool(np.all(close | both_nan | (actual == expected)))
    real_actual, real_expected = (_real(tensor, a) for a in (actual, expected))
    with np.errstate(invalid="ignore", over="ignore"):
        error = real_actual - real_expected
        error = np.where(real_actual == real_expected, 0, error)
        noise, signal = float(np.sum(np.abs(error) ** 2)), float(np.sum(np.abs(real_expected) ** 2))
        norm = float(np.linalg.norm(real_actual.ravel()) * np.linalg.norm(real_expected.ravel()))
        cosine = float(np.abs(np.vdot(real_actual, real_expected)) / norm) if norm else 1.0
    size = max(1, actual.size)
    return Difference(
        name=tensor.name,
        max_abs=float(np.abs(error).max(initial=0)),
        rmse=float(np.sqrt(noise / size)),
        snr_db=None if noise == 0 else float(10 * np.log10(max(signal, 1e-300) / noise)),
        cosine=cosine,
        steps=steps,
        equal=bool(np.array_equal(actual, expected, equal_nan=actual.dtype.kind in "fc")),
        within=within,
    )


def _real(tensor: Tensor, value: Array) -> Array:
    quantization = tensor.quantization
    if quantization is None or len(quantization.scale) != 1 or value.dtype.kind not in "iu":
        return value.astype(np.complex128 if value.dtype.kind == "c" else np.float64)
    zero = quantization.zero_point[0] if quantization.zero_point else 0
    return (value.astype(np.float64) - zero) * quantization.scale[0]
