"""When NNAPI's driver fails: what was it about, what does the device's log say, and what happens next.

A driver answers with a result code at best. Here the code gets its context: the operands and operations that the error names
become tensors and TFLite nodes, the partition gets its name, and the part of logcat that belongs to the failure is kept, from
a second attempt with NNAPI's verbose log on (`debug.nn.vlog`, which is put back afterwards).
"""

from __future__ import annotations

import re
import shlex
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, TypeVar

from nnapi_toolkit.android.errors import ShimCrashedError, ShimDeadlineError, ShimError, WorkerLostError
from nnapi_toolkit.delegate.graph import Subgraph
from nnapi_toolkit.delegate.nnapi import operation_name
from nnapi_toolkit.delegate.partition import Plan
from nnapi_toolkit.delegate.program import LoweredProgram
from nnapi_toolkit.device import AdbDevice, Device
from nnapi_toolkit.errors import DeviceError, ToolkitError
from nnapi_toolkit.schema import program_generated as wire

Value = TypeVar("Value")

#: NNAPI reads it whenever a model is created.
VLOG = "debug.nn.vlog"
#: Seconds for one question to the device.
ASK_SECONDS = 10.0
#: Lines of the log that are kept, and lines that a message shows.
KEPT_LINES = 400
SHOWN_LINES = 12
#: Lines of logcat that belong to NNAPI whoever writes them.
_OF_NNAPI = re.compile(
    r"nnapi|neural ?networks|\bNN_|ANeuralNetworks|softnn|ExecutionPlan|ExecutionBuilder|CompilationBuilder|ModelBuilder|"
    r"ExecutionBurst|TypeManager|CpuExecutor|GraphDump|VersionedInterfaces|tombstone|Fatal signal|libc\s*:|DEBUG\s*:|"
    r"avc: *denied",
    re.IGNORECASE,
)
#: `threadtime`: date, time, process, thread, level, tag.
_LINE = re.compile(r"^(\d\d-\d\d \d\d:\d\d:\d\d\.\d+)\s+(\d+)\s+\d+\s+([VDIWEF])\s+(.*)$")
#: Requests of the shim -> what the session was doing.
_PHASES = {"LOAD": "compile", "EXECUTE": "execute", "SUPPORTED": "ask"}


@dataclass(frozen=True, slots=True)
class Log:
    """What the device's log held of a failure.

    Attributes:
        lines: Those of NNAPI, the shim and the crash reporter, oldest first.
        note: Why there are none, or what else is to be said.
    """

    lines: tuple[str, ...] = ()
    note: str = ""


@dataclass(frozen=True, slots=True)
class Failure:
    """One failure of the driver.

    Attributes:
        device: The device.
        partition: Index of the partition, None when the device was only asked what it supports.
        target: Whose NNAPI failed: `nnapi`, the device's own, or `softnn`, software NNAPI on the device.
        phase: `compile`, `execute` or `ask`.
        error: Name of the error's class.
        code: NNAPI's result code, or the signal that ended the worker.
        message: What the shim said.
        nodes: TFLite nodes of the partition: (operator index, operator).
        names: Operands and operations of the message, as tensors and nodes.
        log: See `Log`.
        retry: What the second attempt did.
        action: `error`, `cpu` (runs on the CPU reference from now on) or `retried` (the second attempt worked, and counts).
    """

    device: str
    partition: int | None
    phase: str
    error: str
    code: int
    message: str
    nodes: tuple[tuple[int, str], ...]
    names: tuple[str, ...]
    log: Log
    retry: str
    action: str
    target: str = "nnapi"

    def to_json(self) -> dict[str, Any]:
        """One entry of "failures"."""
        return {
            "device": self.device,
            "partition": self.partition,
            "target": self.target,
            "phase": self.phase,
            "error": self.error,
            "code": self.code,
            "message": self.message,
            "nodes": [{"index": index, "op": op} for index, op in self.nodes],
            "names": list(self.names),
            "log": list(self.log.lines),
            "log_note": self.log.note,
            "retry": self.retry,
            "action": self.action,
        }

    @property
    def place(self) -> str:
        """`partition 3 (12 nodes, CONV_2D 4 to ADD 17)`."""
        software = "software NNAPI there, " if self.target == "softnn" else ""
        if self.partition is None:
            return f"{software}asked which operations it supports"
        if not self.nodes:
            return f"{software}partition {self.partition}"
        first, last = self.nodes[0], self.nodes[-1]
        span = f"{first[1]} {first[0]}" if len(self.nodes) == 1 else f"{first[1]} {first[0]} to {last[1]} {last[0]}"
        count = f"{len(self.nodes)} node{'s' if len(self.nodes) > 1 else ''}"
        return f"{software}partition {self.partition} ({count}, {span})"

    def __str__(self) -> str:
        """The whole story, for people: several lines."""
        lines = [f"{self.device}, {self.place}: {self.message}"]
        lines += [f"  {name}" for name in self.names]
        if self.retry:
            lines.append(f"  second attempt: {self.retry}")
        if self.log.lines:
            lines.append("  the device's log:")
            lines += [f"    {line}" for line in self.log.lines[-SHOWN_LINES:]]
        if self.log.note:
            lines.append(f"  {self.log.note}")
        if self.action == "error" and self.partition is not None:
            other = "--fallback host does without it" if self.target == "softnn" else "--exclude keeps nodes off NNAPI"
            lines.append(f"  --on-failure cpu runs this partition on the CPU reference; {other}")
        return "\n".join(lines)


class PartitionFailedError(Exception):
    """Inside a session: a request to the shim failed in a way that may be the driver's doing."""

    def __init__(self, partition: int | None, program: LoweredProgram, error: ShimError) -> None:
        """See `Failure`; `error` is a DriverError or a WorkerLostError."""
        super().__init__(str(error))
        self.partition = partition
        self.program = program
        self.error = error

    @property
    def nodes(self) -> tuple[int, ...]:
        """The TFLite operators that the program's operations came from."""
        return tuple(dict.fromkeys(self.program.operation_nodes))

    @property
    def phase(self) -> str:
        """`compile`, `execute` or `ask`."""
        return _PHASES.get(self.error.request, self.error.request.lower())

    @property
    def worker_lost(self) -> bool:
        """The process that ran NNAPI is gone."""
        return isinstance(self.error, WorkerLostError)


def report(
    failed: PartitionFailedError, device: str, plan: Plan | None, subgraph: Subgraph, log: Log, retry: str, action: str
) -> Failure:
    """The record of a failure.

    Args:
        failed: What happened.
        device: The device's name.
        plan: The plan, None while it is being made.
        subgraph: The subgraph that the partition is of.
        log: The device's log.
        retry: What a second attempt did.
        action: What happens next.
    """
    indices = failed.nodes
    if plan is not None and failed.partition is not None:
        indices = plan.partitions[failed.partition].nodes
    error = failed.error
    return Failure(
        device=device,
        partition=failed.partition,
        phase=failed.phase,
        error=type(error).__name__,
        code=error.code,
        message=str(error).partition(". The session is empty now")[0],  # the session sees to that
        nodes=tuple((index, subgraph.operators[index].name) for index in indices),
        names=explain(error.text, failed.program, subgraph, log.lines),
        log=log,
        retry=retry,
        action=action,
        target=failed.program.target,
    )


def attach(error: ShimError, failure: Failure) -> ShimError:
    """Makes the failure's whole story the error's message, and the record its attribute `failure`."""
    error.args = (str(failure),)
    error.failure = failure  # type: ignore[attr-defined]
    return error


def failure_of(error: BaseException) -> Failure | None:
    """The record that `attach` left on an error."""
    found = getattr(error, "failure", None)
    return found if isinstance(found, Failure) else None


# -- names for numbers --------------------------------------------------------------------------------------------


#: The shim's own way: unmistakable. `input 0` in a log would be an operation's input, here it is the program's.
_SHIM_NUMBERS = re.compile(r"models\[(?P<model>\d+)\]\.(?P<kind>operand|operation)s\[(?P<number>\d+)\]")
_SHIM_BOUNDARY = re.compile(r"\bof (?P<kind>input|output) (?P<number>\d+)\b")
#: How run times and drivers put it.
_LOG_NUMBERS = re.compile(r"\b(?P<kind>operand|operation)(?: index)?[ #:=\[]{1,3}(?P<number>\d+)\b", re.IGNORECASE)


def explain(text: str, program: LoweredProgram, subgraph: Subgraph, log: Sequence[str] = ()) -> tuple[str, ...]:
    """What operand and operation numbers stand for, one line each, in the order in which they appear.

    Args:
        text: The shim's message, with numbers like `models[0].operands[12]` and `of input 0`.
        program: The program that the numbers count in.
        subgraph: The TFLite subgraph that the program is a part of.
        log: Lines of the device's log, with numbers like `operand 12` and `Operation #3`.
    """
    numbers = _Numbers(program, subgraph)
    matches = [m for pattern in (_SHIM_NUMBERS, _SHIM_BOUNDARY) for m in pattern.finditer(text)]
    matches += [m for line in log for m in _LOG_NUMBERS.finditer(line)]
    found: dict[str, None] = {}
    for match in matches:
        line = numbers.name(int(match.groupdict().get("model") or 0), match["kind"].lower(), int(match["number"]))
        if line:
            found.setdefault(line)
    return tuple(found)


class _Numbers:
    """Operands and operations of a program by number."""

    def __init__(self, program: LoweredProgram, subgraph: Subgraph) -> None:
        self._program = program
        self._subgraph = subgraph
        self._root = wire.Program.GetRootAs(program.data, 0)

    def name(self, model: int, kind: str, number: int) -> str | None:
        """`operand 12 is tensor 4 'conv/bias'`; None where there is no such thing."""
        if kind in ("input", "output"):
            bindings = self._program.inputs if kind == "input" else self._program.outputs
            if number >= len(bindings):
                return None
            return f"{kind} {number} is {self._tensor(bindings[number].tensor)}"
        if model >= self._root.ModelsLength():
            return None
        entry = self._root.Models(model)
        where = "" if model == 0 else f"models[{model}]."
        if kind == "operation":
            if number >= entry.OperationsLength():
                return None
            operation = entry.Operations(number)
            return f"{where}operation {number} is {operation_name(operation.Code())} of {self._node(operation.Node())}"
        if number >= entry.OperandsLength():
            return None
        tensor = entry.Operands(number).Tensor()
        if tensor < 0:
            return f"{where}operand {number} is a value that the lowering made{self._users(entry, number)}"
        if model > 0:
            return f"{where}operand {number} is tensor {tensor} of a called subgraph{self._users(entry, number)}"
        return f"operand {number} is {self._tensor(tensor)}{self._users(entry, number)}"

    def _tensor(self, index: int) -> str:
        tensor = self._subgraph.tensors[index]
        return f"tensor {index} '{tensor.name}' ({tensor.type.name.lower()} {list(tensor.shape)})"

    def _node(self, index: int) -> str:
        if not 0 <= index < len(self._subgraph.operators):
            return "no node"
        return f"node {index} ({self._subgraph.operators[index].name})"

    def _users(self, model: Any, operand: int) -> str:
        for number in range(model.OperationsLength()):
            operation = model.Operations(number)
            for place in range(operation.InputsLength()):
                if operation.Inputs(place) == operand:
                    return f", input {place} of {operation_name(operation.Code())}, {self._node(operation.Node())}"
            for place in range(operation.OutputsLength()):
                if operation.Outputs(place) == operand:
                    return f", output {place} of {operation_name(operation.Code())}, {self._node(operation.Node())}"
        return ""


# -- the device's log ---------------------------------------------------------------------------------------------


def again_with_log(
    device: Device | None, attempt: Callable[[], Value], pids: Sequence[int] = ()
) -> tuple[Value | Exception, Log]:
    """Runs `attempt` with NNAPI's verbose log on, and reads what the device's log got meanwhile.

    Args:
        device: The device; without adb nothing is switched or read.
        attempt: What to do.
        pids: Processes whose lines count whatever they say; looked at after the attempt.

    Returns:
        What it returned or raised, and the log. `debug.nn.vlog` is as it was before.
    """
    if not isinstance(device, AdbDevice):
        return _outcome(attempt), Log(note="no log: this device has no logcat")
    try:
        began, before = _begin(device)
        device.command(f"setprop {VLOG} all", ASK_SECONDS).check()
    except DeviceError as error:
        return _outcome(attempt), Log(note=f"the verbose log could not be switched on: {error}")
    note = ""
    try:
        outcome = _outcome(attempt)
    finally:
        try:
            device.command(f"setprop {VLOG} {shlex.quote(before)}", ASK_SECONDS).check()
        except DeviceError as error:
            note = f"{VLOG} is still 'all': {error}"
    log = read_log(device, began, pids)
    return outcome, Log(log.lines, "; ".join(filter(None, (log.note, note))))


def _outcome(attempt: Callable[[], Value]) -> Value | Exception:
    try:
        return attempt()
    except (PartitionFailedError, ToolkitError) as error:
        return error


def log_of_last(device: Device | None, seconds: float, pids: Sequence[int] = ()) -> Log:
    """What the device's log got in the last seconds: see `read_log`."""
    if not isinstance(device, AdbDevice):
        return read_log(device, "")
    try:
        now = datetime.strptime(f"2024-{_begin(device)[0]}", "%Y-%m-%d %H:%M:%S")  # a year with a February 29
    except (DeviceError, ValueError) as error:
        return Log(note=f"the device's clock could not be read: {error}")
    return read_log(device, (now - timedelta(seconds=seconds)).strftime("%m-%d %H:%M:%S"), pids)


def _begin(device: AdbDevice) -> tuple[str, str]:
    """The device's clock, and the value of `debug.nn.vlog`."""
    lines = device.command(f"date '+%m-%d %H:%M:%S'; getprop {VLOG}", ASK_SECONDS).check().text.splitlines()
    return lines[0].strip(), (lines[1].strip() if len(lines) > 1 else "")


def read_log(device: Device | None, since: str, pids: Sequence[int] = ()) -> Log:
    """The lines of NNAPI, the shim and the crash reporter in the device's log.

    Args:
        device: The device.
        since: The device's clock at the beginning, as logcat writes it, to the second.
        pids: Processes whose lines count whatever they say.
    """
    if not isinstance(device, AdbDevice):
        return Log(note="no log: this device has no logcat")
    line = f"logcat -d -b main,system,crash -v threadtime -T {shlex.quote(since + '.000')}"
    try:
        result = device.command(line, ASK_SECONDS)
    except DeviceError as error:
        return Log(note=f"logcat could not be read: {error}")
    if result.status != 0:
        said = (result.stdout + result.stderr).decode(errors="replace").strip()[-200:]
        return Log(note=f"logcat ended with status {result.status}: {said or 'no output'}")
    kept = [text for text in result.text.splitlines() if _belongs(text, since, pids)]
    if not kept:
        return Log(note="logcat holds nothing of NNAPI for that time")
    note = f"{len(kept) - KEPT_LINES} older lines were left out" if len(kept) > KEPT_LINES else ""
    return Log(tuple(kept[-KEPT_LINES:]), note)


def _belongs(line: str, since: str, pids: Sequence[int]) -> bool:
    match = _LINE.match(line)
    if match is None:
        return bool(_OF_NNAPI.search(line))
    return match[1] >= since and (int(match[2]) in pids or bool(_OF_NNAPI.search(match[4])))


def why_not_again(error: ShimError) -> str:
    """Why a second attempt makes no sense, "" where it does."""
    if isinstance(error, ShimDeadlineError):
        return "not made: the driver hung, and would hang again"
    if isinstance(error, ShimCrashedError) and error.code == signal.SIGKILL:
        return "not made: the process was killed from outside, which is not the driver's doing"
    return ""
