"""What an inference did: step by step, where, how long, and what crossed the cable."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True)
class StepStats:
    """What one step of one inference did. Times in nanoseconds, sizes in bytes.

    Attributes:
        target: `nnapi`, `softnn` (software NNAPI on the device, see `SessionOptions.fallback`) or `cpu`.
        partition: The partition that the step runs, None for nodes that the plan leaves to the CPU.
        fallback: The partition failed on the device earlier, so its nodes run on the CPU reference.
        subgraph: The subgraph; steps of called subgraphs come after those of the main one.
        count: How often it ran in this inference; the other numbers are sums.
    """

    target: str
    partition: int | None
    nodes: int
    wall_ns: int
    device_ns: int = 0
    hardware_ns: int | None = None
    driver_ns: int | None = None
    bytes_to_device: int = 0
    bytes_from_device: int = 0
    sent: tuple[str, ...] = ()
    received: tuple[str, ...] = ()
    resident: tuple[str, ...] = ()
    fallback: bool = False
    subgraph: int = 0
    count: int = 1

    def add(self, other: StepStats) -> None:
        """Adds another run of the same step."""
        for name in ("wall_ns", "device_ns", "bytes_to_device", "bytes_from_device", "count"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for name in ("hardware_ns", "driver_ns"):
            mine, theirs = getattr(self, name), getattr(other, name)
            setattr(self, name, None if mine is None or theirs is None else mine + theirs)

    def to_json(self) -> dict[str, Any]:
        """One entry of "steps"."""
        return {
            "target": self.target,
            "partition": self.partition,
            "nodes": self.nodes,
            "wall_us": self.wall_ns / 1e3,
            "device_us": self.device_ns / 1e3,
            "bytes_to_device": self.bytes_to_device,
            "bytes_from_device": self.bytes_from_device,
            "sent": list(self.sent),
            "received": list(self.received),
            "resident": list(self.resident),
            "fallback": self.fallback,
            "subgraph": self.subgraph,
            "count": self.count,
        }


@dataclass(slots=True)
class RunStats:
    """One inference, step by step.

    Attributes:
        wall_ns: End to end, in nanoseconds.
        steps: The steps in order.
        attempts: How often the inference was begun; more than 1 after a failure in mid-inference.
    """

    wall_ns: int
    steps: list[StepStats] = field(default_factory=list)
    attempts: int = 1

    @property
    def device_ns(self) -> int:
        """Time inside NNAPI executions, by the device's clock."""
        return sum(step.device_ns for step in self.steps)

    @property
    def cpu_ns(self) -> int:
        """Time inside reference kernels on the host."""
        return sum(step.wall_ns for step in self.steps if step.target == "cpu")

    @property
    def host_overhead_ns(self) -> int:
        """End to end minus the time on the device and in reference kernels: protocol, cable and bookkeeping."""
        return max(0, self.wall_ns - self.device_ns - self.cpu_ns)

    def to_json(self) -> dict[str, Any]:
        """The stable form that `nnapi run --json` prints under "stats"."""
        return {
            "wall_us": self.wall_ns / 1e3,
            "device_us": self.device_ns / 1e3,
            "cpu_us": self.cpu_ns / 1e3,
            "host_overhead_us": self.host_overhead_ns / 1e3,
            "attempts": self.attempts,
            "steps": [step.to_json() for step in self.steps],
        }
