"""Is the device right? Its outputs beside the CPU reference's, with the statistics of the difference."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nnapi_toolkit.arrays import Array, Difference, Tolerance, compare, random_inputs
from nnapi_toolkit.delegate.graph import Graph
from nnapi_toolkit.device import Device
from nnapi_toolkit.session import Session, SessionOptions


@dataclass(frozen=True, slots=True)
class Verification:
    """The outcome of one `verify`: per run and output, the difference to the reference."""

    device: str
    runs: tuple[tuple[Difference, ...], ...]
    summary: dict[str, Any]

    @property
    def within(self) -> bool:
        """True when every output of every run is within the tolerance."""
        return all(difference.within for run in self.runs for difference in run)

    def to_json(self) -> dict[str, Any]:
        """The stable form of `nnapi verify --json`."""
        return {
            "device": self.device,
            "within": self.within,
            "summary": self.summary,
            "runs": [[difference.to_json() for difference in run] for run in self.runs],
        }


def verify_model(
    model: str | Path,
    device: str | Device,
    inputs: Sequence[Sequence[Array]] | None = None,
    *,
    runs: int = 1,
    seed: int = 0,
    tolerance: Tolerance | None = None,
    options: SessionOptions | None = None,
) -> Verification:
    """Runs a model on a device and on the CPU reference with the same inputs.

    Args:
        model: Path of a `.tflite` file.
        device: Where to run: a specification or an opened device.
        inputs: One list of arrays per run, in input order; None: `runs` random ones from `seed` on.
        tolerance: Bounds per element; the default demands exact integers and floats within 1e-5 relative, 1e-6 absolute.
        options: How to plan and compile for the device.

    Raises:
        ModelError, UsageError, DeviceError, ShimError, DriverError: As `Session`.
    """
    tolerance = tolerance or Tolerance()
    graph = Graph.open(model)
    with Session(graph, device, options) as session, Session(graph, "cpu") as reference:
        given = inputs or [random_inputs(session.input_tensors, seed + n) for n in range(runs)]
        results = []
        for arrays in given:
            actual, expected = session.run(arrays), reference.run(arrays)
            results.append(
                tuple(compare(t, a, e, tolerance) for t, a, e in zip(session.output_tensors, actual, expected))
            )
        return Verification(session.device_name, tuple(results), session.plan.summary())
