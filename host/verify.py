"""Is the device right? Its outputs beside the CPU reference's, and where the two part."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nnapi_toolkit.arrays import Array, Difference, Tolerance, check_inputs, compare, load_inputs, random_inputs
from nnapi_toolkit.delegate.graph import Graph, Tensor
from nnapi_toolkit.device import Device
from nnapi_toolkit.divergence import Examination, Finding, NodeResult
from nnapi_toolkit.errors import UsageError
from nnapi_toolkit.failures import Failure, PartitionFailedError
from nnapi_toolkit.session import Session, SessionOptions, State

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class Verification:
    """The outcome of one `verify`.

    Attributes:
        device: Where the model ran.
        runs: Per run and output, the difference to the reference.
        summary: Of the plan.
        node: The first node over the bound, None where none is, or none was looked for.
        nodes: Each delegated node alone on the device, where that was asked for.
        reproducer: The file that the inputs of the finding were written to.
        failures: What the driver failed at and ran on the CPU reference instead (`on_failure="cpu"`).
    """

    device: str
    runs: tuple[tuple[Difference, ...], ...]
    summary: dict[str, Any]
    node: Finding | None = None
    nodes: tuple[NodeResult, ...] | None = None
    reproducer: Path | None = None
    failures: tuple[Failure, ...] = ()

    @property
    def outputs_within(self) -> bool:
        """True when every output of every run is within the bound."""
        return all(difference.within for run in self.runs for difference in run)

    @property
    def within(self) -> bool:
        """True when every output of every run is within the bound, and every node that was looked at alone."""
        return self.outputs_within and all(node.within for node in self.nodes or ())

    def explain(self) -> str:
        """What exceeds the bound, as text of a few lines; "within the bound" where nothing does."""
        lines = [
            f"run {number}, output '{output.name}': {output.explain()}"
            for number, run in enumerate(self.runs)
            for output in run
            if not output.within
        ]
        alone = [node for node in self.nodes or () if not node.within]
        lines += [f"node {node.index} ({node.op}) alone exceeds the bound" for node in alone]
        if not lines:
            return f"{self.device} is within the bound"
        if self.node is not None:
            lines.append(f"first over the bound: {self.node.explain()}")
        return f"{self.device} differs from the CPU reference\n  " + "\n  ".join(lines)

    def to_json(self) -> dict[str, Any]:
        """The stable form of `nnapi verify --json`."""
        return {
            "device": self.device,
            "within": self.within,
            "summary": self.summary,
            "runs": [[difference.to_json() for difference in run] for run in self.runs],
            "node": None if self.node is None else self.node.to_json(),
            "nodes": None if self.nodes is None else [node.to_json() for node in self.nodes],
            "reproducer": None if self.reproducer is None else str(self.reproducer),
            "failures": [failure.to_json() for failure in self.failures],
        }


def verify_model(
    model: str | Path | Graph,
    device: str | Device,
    inputs: Iterable[Sequence[Array]] | None = None,
    *,
    runs: int = 1,
    seed: int = 0,
    tolerance: Tolerance | None = None,
    options: SessionOptions | None = None,
    find_node: bool = True,
    per_node: bool = False,
    reproducer: Path | None = None,
    progress: Progress | None = None,
) -> Verification:
    """Runs a model on a device and on the CPU reference with the same inputs.

    Where an output exceeds the bound, the first node that does is found by bisection, on the first run that shows it.

    Args:
        model: Path of a `.tflite` file, or an opened graph.
        device: Where to run: a specification or an opened device.
        inputs: One list of arrays per run, in input order; None: `runs` random ones from `seed` on.
        tolerance: Bounds per element; the default demands exact integers and floats within 1e-5 relative, 1e-6 absolute.
        options: How to plan and compile for the device.
        find_node: Look for the node.
        per_node: Also run each delegated node alone on the device, on the reference's tensors of the first run (or of the first
            one over the bound): all of them must be within the bound as well.
        reproducer: File to write the finding's inputs to (see `Finding.save`).
        progress: Told of pushes, runs and nodes: (what, done, total).

    Raises:
        ModelError, UsageError, DeviceError, ShimError, DriverError: As `Session`.
    """
    tolerance = tolerance or Tolerance()
    graph = model if isinstance(model, Graph) else Graph.open(model)
    with Session(graph, device, options, progress) as session, Session(graph, "cpu") as reference:
        given = inputs or [random_inputs(session.input_tensors, seed + n) for n in range(runs)]
        results: list[tuple[Difference, ...]] = []
        suspect: _Run | None = None
        for number, arrays in enumerate(given):
            arrays = check_inputs(session.input_tensors, arrays)
            before = _Run(number, arrays, session.state(), reference.state())
            actual, expected = session.run(arrays), reference.run(arrays)
            results.append(
                tuple(compare(t, a, e, tolerance) for t, a, e in zip(session.output_tensors, actual, expected))
            )
            over = not all(difference.within for difference in results[-1])
            if suspect is None or (over and not suspect.over):
                suspect = before
                suspect.over = over
        if suspect is None:
            raise UsageError("there are no inputs to verify with: give at least one set")
        node, nodes = None, None
        delegated = session.remote is not None and bool(session.programs)
        if delegated and ((suspect.over and find_node) or per_node):
            node, nodes = _examine(session, suspect, tolerance, per_node, progress)
        written = None
        if node is not None and reproducer is not None:
            node.save(reproducer, str(graph.path), session.device_name, suspect.inputs)
            written = reproducer
        return Verification(
            session.device_name,
            tuple(results),
            session.summary(),
            node,
            nodes,
            written,
            tuple(session.failures),
        )


@dataclass(slots=True)
class _Run:
    """A run that can be repeated: its inputs, and the states before it."""

    number: int
    inputs: list[Array]
    state: State
    reference_state: State
    over: bool = False


def _examine(
    session: Session, run: _Run, tolerance: Tolerance, per_node: bool, progress: Progress | None
) -> tuple[Finding | None, tuple[NodeResult, ...] | None]:
    session.fit(run.inputs)
    examination = Examination(session, run.inputs, run.state, run.reference_state, tolerance)
    try:
        nodes = tuple(examination.every_node(progress)) if per_node else None
        found = examination.find(run.number)
        if found is None and nodes is not None:
            over = next((node for node in nodes if not node.within), None)
            found = None if over is None else examination.alone(run.number, over)
        return found, nodes
    except PartitionFailedError as failed:
        names = ", ".join(f"{n} ({session.graph.subgraphs[0].operators[n].name})" for n in failed.nodes)
        error = failed.error
        error.args = (f"{session.device_name}, while looking at nodes alone, with nodes {names}: {error}",)
        raise error from None


def calibration_inputs(sources: Sequence[Path], tensors: Sequence[Tensor]) -> list[list[Array]]:
    """Inputs of several runs out of files.

    Args:
        sources: npz files; folders of npz files, in the order of their names; text files that name one npz file a line (relative
            to the text file).
        tensors: The model's inputs.

    Raises:
        UsageError: A file does not read, a folder holds none, or an input is missing.
    """
    files: list[Path] = []
    for source in sources:
        if source.is_dir():
            found = sorted(source.glob("*.npz"))
            if not found:
                raise UsageError(f"{source}: the folder holds no npz file")
            files += found
        elif source.suffix == ".npz":
            files.append(source)
        else:
            files += _listed(source)
    if not files:
        raise UsageError("there are no inputs to verify with: the list names no file")
    return [load_inputs(file, tensors) for file in files]


def _listed(source: Path) -> list[Path]:
    try:
        lines = source.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            f"{source}: neither an npz file, a folder of them, nor a text file that names them ({error})"
        ) from error
    return [source.parent / line.strip() for line in lines if line.strip() and not line.startswith("#")]
