"""Which tensors cross the cable, and when: worked out once per plan, so that an inference only walks a list."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from nnapi_toolkit.delegate.graph import Subgraph, Tensor
from nnapi_toolkit.delegate.partition import Step
from nnapi_toolkit.delegate.program import IoBinding, LoweredProgram
from numpy.typing import NDArray

Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class InputTransfer:
    """One input of a delegated step: sent from the host, or read from a tensor that stayed on the device."""

    binding: IoBinding
    slot: int | None
    resident: bool  # True: already on the device, nothing is sent
    flipped: bool = False  # it lies there in the other representation of int8


@dataclass(frozen=True, slots=True)
class OutputTransfer:
    """One output of a delegated step: sent to the host when it is needed there, kept when a later partition reads it."""

    binding: IoBinding
    slot: int | None
    send: bool


@dataclass(frozen=True, slots=True)
class StepTransfers:
    """Everything that one delegated step moves, in the order of the program's inputs and outputs."""

    inputs: tuple[InputTransfer, ...]
    outputs: tuple[OutputTransfer, ...]


def to_device(binding: IoBinding, value: Array) -> memoryview:
    """A tensor's bytes as the program wants them: int8 as uint8 where that is how they cross."""
    raw = np.ascontiguousarray(value).reshape(-1).view(np.uint8)
    if binding.xor:
        raw = raw ^ np.uint8(binding.xor)
    return raw.data


def from_device(binding: IoBinding, tensor: Tensor, data: memoryview, shape: Sequence[int]) -> Array:
    """The tensor behind the bytes that came back; `shape` as the device says it, for tensors of open shape."""
    raw = np.frombuffer(data, np.uint8)
    if binding.xor:
        raw = raw ^ np.uint8(binding.xor)
    array = raw.view(tensor.dtype)
    wanted = tensor.shape if int(np.prod(tensor.shape)) == array.size else tuple(shape)
    return array.reshape(wanted)


def svdf_states(subgraph: Subgraph, nodes: Sequence[int]) -> dict[int, int]:
    """State tensors of SVDF operators -> their memory size, the only states that NNAPI and TFLite keep differently.

    NNAPI shifts the memory after a step, TFLite before the next one: the same sequence, one place apart.
    """
    found = {}
    for operator in (subgraph.operators[index] for index in nodes):
        if operator.name == "SVDF":
            found[operator.inputs[4]] = subgraph.tensors[operator.inputs[2]].shape[1]
    return found


def svdf_state_for_tflite(state: Array, memory: int) -> Array:
    """A state as NNAPI left it, as TFLite's kernel wants it (the oldest entry, which it drops at once, is arbitrary)."""
    return np.roll(state.reshape(-1, memory), 1, axis=1).reshape(state.shape)


def plan_transfers(
    subgraph: Subgraph, steps: Sequence[Step], programs: Sequence[LoweredProgram], first_slot: int = 0
) -> list[StepTransfers | None]:
    """Decides for every step what is sent, what stays on the device and what comes back.

    A tensor goes to the host only if a CPU step or the model's output needs it there; a tensor that only later partitions read
    never leaves the device, whichever NNAPI library there runs them, and an input that two partitions read is sent once.

    Args:
        subgraph: The subgraph that the steps belong to.
        steps: Steps in execution order.
        programs: The programs by partition index.
        first_slot: Where the subgraph's slots on the device begin: two for each of its tensors.

    Returns:
        One entry per step; None for CPU steps.
    """

    def slot_of(binding: IoBinding) -> int:
        """int8 as it is and int8 stored as uint8 are different slots."""
        return first_slot + binding.tensor * 2 + (1 if binding.xor else 0)

    def other_of(slot: int) -> int:
        return slot + 1 if (slot - first_slot) % 2 == 0 else slot - 1

    host_reads: list[set[int]] = []  # per step: tensors that the host needs from this step on
    device_reads: list[set[int]] = []  # per step: tensors that later delegated steps read
    needed_on_host: set[int] = set(subgraph.outputs)
    needed_there: set[int] = set()
    for step in reversed(steps):
        host_reads.append(set(needed_on_host))
        device_reads.append(set(needed_there))
        if step.partition is None:
            for node in step.nodes:
                needed_on_host.update(t for t in subgraph.operators[node].inputs if t >= 0)
        else:
            needed_there.update(b.tensor for b in programs[step.partition].inputs if not b.variable)
    host_reads.reverse()
    device_reads.reverse()

    resident: set[int] = set()
    result: list[StepTransfers | None] = []
    for position, step in enumerate(steps):
        if step.partition is None:
            result.append(None)
            continue
        program = programs[step.partition]
        inputs = []
        for binding in program.inputs:
            slot = slot_of(binding)
            if binding.variable:  # its value lives on the host between inferences
                inputs.append(InputTransfer(binding, None, False))
                continue
            if slot in resident:
                inputs.append(InputTransfer(binding, slot, True))
                continue
            if other_of(slot) in resident:
                inputs.append(InputTransfer(binding, other_of(slot), True, flipped=True))
                continue
            keep = binding.tensor in device_reads[position]
            if keep:
                resident.add(slot)
            inputs.append(InputTransfer(binding, slot if keep else None, False))
        outputs = []
        for binding in program.outputs:
            slot = slot_of(binding)
            keep = binding.tensor in device_reads[position]
            send = binding.variable or binding.tensor in host_reads[position]
            if keep:
                resident.add(slot)
            outputs.append(OutputTransfer(binding, slot if keep else None, send))
        result.append(StepTransfers(tuple(inputs), tuple(outputs)))
    return result
