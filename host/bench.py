"""How fast is it, where does the time go: compile cold and warm, first, steady; device, CPU steps, the road between."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import shlex
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from nnapi_toolkit.arrays import Array, random_inputs
from nnapi_toolkit.delegate.graph import Graph
from nnapi_toolkit.device import AdbDevice, AdbServer, Device, LocalDevice, open_device, open_virtual, parse_spec
from nnapi_toolkit.device.store import FOLDER
from nnapi_toolkit.errors import DeviceError, ShimError, UsageError
from nnapi_toolkit.failures import PartitionFailedError
from nnapi_toolkit.footprint import needed_bytes
from nnapi_toolkit.options import CACHE_LEVEL
from nnapi_toolkit.phonestate import Cooling, PhoneState, read_state, wait_until_cool
from nnapi_toolkit.remote import Remote
from nnapi_toolkit.session import RunStats, Session, SessionOptions

Progress = Callable[[int, int], None]

#: Seconds of one bucket of a sustained run.
MINUTE = 60.0


def percentiles(nanoseconds: Sequence[float]) -> dict[str, float]:
    """p50, p90, p95, p99, min, max and mean in microseconds, and the number of samples; zeros without samples."""
    if not nanoseconds:
        return {"p50": 0.0, "p90": 0.0, "p95": 0.0, "p99": 0.0, "min": 0.0, "max": 0.0, "mean": 0.0, "count": 0}
    values = np.asarray(nanoseconds, np.float64) / 1e3
    return {
        **{f"p{p}": float(np.percentile(values, p)) for p in (50, 90, 95, 99)},
        "min": float(values.min()),
        "max": float(values.max()),
        "mean": float(values.mean()),
        "count": len(values),
    }


def latency_ns(run: RunStats) -> int:
    """What a run is compared by: time inside NNAPI by the device's clock, plus CPU steps."""
    return run.device_ns + run.cpu_ns


@dataclass(frozen=True, slots=True)
class CompileTimes:
    """Compilation with NNAPI's cache: cold writes it, warm reads it. Times in nanoseconds; None: not measured, for `reason`."""

    cold_ns: int | None = None
    warm_ns: int | None = None
    cache_files: int | None = None
    cache_bytes: int | None = None
    reason: str = ""

    def to_json(self) -> dict[str, Any]:
        """The value of "compile_cache"."""
        return {
            "cold_ms": None if self.cold_ns is None else self.cold_ns / 1e6,
            "warm_ms": None if self.warm_ns is None else self.warm_ns / 1e6,
            "files": self.cache_files,
            "bytes": self.cache_bytes,
            "reason": self.reason or None,
        }


@dataclass(slots=True)
class Minute:
    """One minute of a sustained run, and the phone at its end."""

    runs: list[int] = field(default_factory=list)
    state: PhoneState = field(default_factory=PhoneState)


@dataclass(slots=True)
class Versus:
    """The other side of a comparison, measured in turns with this one."""

    device: str
    pairs: list[tuple[RunStats, RunStats]] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """The value of "vs". Ratios are the other's time over ours, pair by pair: above 1, ours is faster."""
        return {
            "device": self.device,
            "latency_us": percentiles([latency_ns(theirs) for _, theirs in self.pairs]),
            "wall_us": percentiles([theirs.wall_ns for _, theirs in self.pairs]),
            "ratio": _ratios([latency_ns(b) / max(1, latency_ns(a)) for a, b in self.pairs]),
            "wall_ratio": _ratios([b.wall_ns / max(1, a.wall_ns) for a, b in self.pairs]),
        }


def _ratios(values: Sequence[float]) -> dict[str, float]:
    return {"min": float(min(values)), "median": float(np.median(values)), "max": float(max(values))}


@dataclass(frozen=True, slots=True)
class Footprint:
    """Memory: the peak of the program's process on the device in bytes, None: not known, for `reason`.

    `needed` is what the whole model needs in any case: weights, and the most activations that are alive at once.
    """

    needed: int = 0
    peak_resident: int | None = None
    reason: str = ""

    def to_json(self) -> dict[str, Any]:
        """The form in `nnapi bench --json`."""
        return {"peak_resident_bytes": self.peak_resident, "needed_bytes": self.needed, "reason": self.reason or None}


def _footprint(session: Session) -> Footprint:
    """Asked after the inferences; a process that died and was replaced tells of its successor."""
    needed = needed_bytes(session.graph)
    if session.remote is None:
        return Footprint(needed, reason="no device")
    if isinstance(session.remote.device, LocalDevice):
        return Footprint(needed, reason="the device is part of this process")
    try:
        return Footprint(needed, session.remote.session.client.stats().max_resident_kib * 1024)
    except (DeviceError, ShimError) as error:
        return Footprint(needed, reason=str(error))


@dataclass(slots=True)
class BenchResult:
    """Samples of one benchmark; `to_json` is the stable form of `nnapi bench --json`."""

    model: str
    device: str
    open_ns: int
    compile_ns: int
    first: RunStats
    runs: list[RunStats] = field(default_factory=list)
    partitions: list[dict[str, Any]] = field(default_factory=list)
    summary: dict[str, Any] = field(default_factory=dict)
    threads: int = 1
    before: PhoneState = field(default_factory=PhoneState)
    after: PhoneState = field(default_factory=PhoneState)
    memory: Footprint = field(default_factory=Footprint)
    compile_cache: CompileTimes = field(default_factory=CompileTimes)
    cooling: Cooling | None = None
    sustained: list[Minute] | None = None
    versus: Versus | None = None
    failures: list[dict[str, Any]] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """Times in microseconds ("latency_us": inside NNAPI by the device's clock plus CPU steps; "wall_us": end to end)."""
        return {
            "model": self.model,
            "device": self.device,
            "threads": self.threads,
            "latency_us": percentiles([latency_ns(r) for r in self.runs]),
            "device_us": percentiles([r.device_ns for r in self.runs]),
            "cpu_us": percentiles([r.cpu_ns for r in self.runs]),
            "wall_us": percentiles([r.wall_ns for r in self.runs]),
            "host_overhead_us": percentiles([r.host_overhead_ns for r in self.runs]),
            "first_us": self.first.wall_ns / 1e3,
            "open_ms": self.open_ns / 1e6,
            "compile_ms": self.compile_ns / 1e6,
            "compile_cache": self.compile_cache.to_json(),
            "memory": self.memory.to_json(),
            "partitions": self.partitions,
            "summary": self.summary,
            "state": {"before": self.before.to_json(), "after": self.after.to_json()},
            "cooling": None if self.cooling is None else self.cooling.to_json(),
            "sustained": None if self.sustained is None else _sustained_json(self.sustained),
            "vs": None if self.versus is None else self.versus.to_json(),
            "failures": self.failures,
        }


def _sustained_json(minutes: Sequence[Minute]) -> dict[str, Any]:
    rows = []
    medians = []
    for number, minute in enumerate(minutes):
        found = percentiles(minute.runs)
        medians.append(found["p50"])
        rows.append(
            {
                "minute": number + 1,
                **{key: found[key] for key in ("p50", "p90", "count")},
                "temperature_celsius": minute.state.temperature_celsius,
                "clocks_mhz": None if minute.state.clocks_mhz is None else list(minute.state.clocks_mhz),
            }
        )
    return {"per_minute": rows, "slowdown": medians[-1] / medians[0] if medians and medians[0] else None}


def open_with_threads(spec: str, threads: int, server: AdbServer | None = None, cores: Sequence[int] = ()) -> Device:
    """`open_device`, where software NNAPI computes on so many threads, each on one of the cores if any are given.

    Raises:
        UsageError: Cores for a phone, which decides for itself, or cores that this machine has not.
    """
    wanted = parse_spec(spec)
    software = wanted.kind in ("local", "virtual")
    if cores:
        known = os.sched_getaffinity(0)
        if not software or not set(cores) <= known:
            why = "phones choose cores themselves" if not software else f"this process may use {sorted(known)}"
            raise UsageError(f"cores {list(cores)} cannot be had on '{spec}': {why}")
    if software and (threads > 1 or cores):
        environment = {"SOFTNN_THREADS": str(threads)}
        if cores:
            environment["SOFTNN_CORES"] = "+".join(map(str, cores))
        config = wanted.config(environment=environment)
        return LocalDevice(config) if wanted.kind == "local" else open_virtual(config)
    return open_device(spec, server)


def bench_model(
    model: str | Path | Graph,
    device: str | Device,
    *,
    runs: int = 50,
    warmup: int = 5,
    threads: int = 1,
    seed: int = 0,
    options: SessionOptions | None = None,
    versus: str | Device | None = None,
    versus_options: SessionOptions | None = None,
    sustained_minutes: float = 0.0,
    wait_cool_celsius: float | None = None,
    wait_limit_seconds: float = 300.0,
    compile_cache: bool = True,
    progress: Progress | None = None,
    minute_seconds: float = MINUTE,
) -> BenchResult:
    """Measures a model on a device with random inputs.

    Args:
        model: Path of a `.tflite` file, or an opened graph.
        device: Where to run: a specification or an opened device (then `threads` is only noted).
        runs: Measured inferences, at least 1.
        warmup: Inferences before them that are not measured (the first is reported apart).
        threads: Threads of software NNAPI (a phone's driver decides for itself).
        seed: Of the inputs.
        options: How to plan and compile.
        versus: A second device, measured in turns with the first: each pair of inferences begins with the other one.
        versus_options: Its options; without them the same as the first one's, but for accelerator and feature level.
        sustained_minutes: Go on for so long after the measured inferences, for the medians of each minute.
        wait_cool_celsius: Wait before the first inference until the phone is at most so warm.
        wait_limit_seconds: But not longer than this.
        compile_cache: Also compile with NNAPI's cache, cold and warm, after everything else.
        progress: Called with (done, total) inferences.
        minute_seconds: Length of a "minute".

    Raises:
        ModelError, UsageError, DeviceError, ShimError, DriverError: As `Session`.
    """
    graph = model if isinstance(model, Graph) else Graph.open(model)
    with contextlib.ExitStack() as stack:
        if isinstance(device, str) and device != "cpu":
            device = stack.enter_context(open_with_threads(device, threads))
        begin = time.perf_counter_ns()
        session = stack.enter_context(Session(graph, device, options))
        opened = time.perf_counter_ns() - begin
        phone = None if session.remote is None else session.remote.device
        cooling = None
        if wait_cool_celsius is not None:
            cooling = wait_until_cool(lambda: read_state(phone), wait_cool_celsius, wait_limit_seconds)
        before = read_state(phone)
        inputs = random_inputs(session.input_tensors, seed)
        total = 1 + max(0, warmup) + max(1, runs)
        first = _inference(session, inputs)
        samples: list[RunStats] = []
        other = None
        if versus is None:
            for done in range(1, total):
                samples.append(_inference(session, inputs))
                if progress is not None:
                    progress(done + 1, total)
            samples = samples[max(0, warmup) :]
        else:
            theirs = versus_options or _for_rival(options)
            if versus == "cpu":
                theirs = replace(theirs, fallback="host")
            rival = stack.enter_context(_rival(graph, versus, threads, theirs))
            other = Versus(rival.device_name, _in_turns(session, rival, inputs, warmup, max(1, runs), progress))
            samples = [ours for ours, _ in other.pairs]
        minutes = None
        if sustained_minutes > 0:
            minutes = _sustain(session, inputs, sustained_minutes * minute_seconds, minute_seconds, phone)
        after = read_state(phone)
        memory = _footprint(session)
        return BenchResult(
            model=str(graph.path),
            device=session.device_name,
            open_ns=opened,
            compile_ns=sum(session.compile_ns),
            first=first,
            runs=samples,
            partitions=_partitions(session, samples),
            summary=session.summary(),
            threads=threads,
            before=before,
            after=after,
            memory=memory,
            compile_cache=_measure_cache(session) if compile_cache else CompileTimes(reason="not asked for"),
            cooling=cooling,
            sustained=minutes,
            versus=other,
            failures=[failure.to_json() for failure in session.failures],
        )


def _inference(session: Session, inputs: Sequence[Array]) -> RunStats:
    session.run(inputs)
    assert session.last_stats is not None
    return session.last_stats


def _for_rival(options: SessionOptions | None) -> SessionOptions:
    """The same options on another device: what names a part of the first one does not hold there."""
    return replace(options or SessionOptions(), accelerator=None, feature_level=None, cache_directory=None)


@contextlib.contextmanager
def _rival(graph: Graph, spec: str | Device, threads: int, options: SessionOptions | None) -> Iterator[Session]:
    """The session that ours is compared with."""
    with contextlib.ExitStack() as stack:
        if isinstance(spec, str) and spec != "cpu":
            spec = stack.enter_context(open_with_threads(spec, threads))
        yield stack.enter_context(Session(graph, spec, options))


def _in_turns(
    ours: Session, theirs: Session, inputs: Sequence[Array], warmup: int, runs: int, progress: Progress | None
) -> list[tuple[RunStats, RunStats]]:
    """Pairs of inferences, the order within the pair alternating, so that drift meets both alike."""
    pairs = []
    total = 1 + warmup + runs
    for number in range(warmup + runs):
        if number % 2 == 0:
            a = _inference(ours, inputs)
            b = _inference(theirs, inputs)
        else:
            b = _inference(theirs, inputs)
            a = _inference(ours, inputs)
        pairs.append((a, b))
        if progress is not None:
            progress(number + 2, total)
    return pairs[warmup:]


def _sustain(
    session: Session, inputs: Sequence[Array], seconds: float, minute: float, phone: Device | None
) -> list[Minute]:
    """Inferences without a pause, in buckets of a minute; the phone's state is read between them."""
    minutes: list[Minute] = []
    begin = time.monotonic()
    while (now := time.monotonic()) < begin + seconds:
        bucket = Minute()
        end = min(begin + seconds, now + minute)
        while not bucket.runs or time.monotonic() < end:
            bucket.runs.append(latency_ns(_inference(session, inputs)))
        bucket.state = read_state(phone)
        minutes.append(bucket)
    return minutes


def _partitions(session: Session, runs: Sequence[RunStats]) -> list[dict[str, Any]]:
    rows = []
    for number, partition in enumerate(session.plan.partitions):
        steps = [s for r in runs for s in r.steps if s.partition == number]
        rows.append(
            {
                "index": number,
                "subgraph": partition.subgraph,
                "nodes": len(partition.nodes),
                "target": partition.target,
                "fallback": number in session.fallback,
                "compile_ms": session.compile_ns[number] / 1e6 if number < len(session.compile_ns) else 0.0,
                "device_us": percentiles([s.device_ns for s in steps]),
                "bytes_to_device": steps[0].bytes_to_device if steps else 0,
                "bytes_from_device": steps[0].bytes_from_device if steps else 0,
            }
        )
    return rows


# -- the compilation cache ------------------------------------------------------------------------------------------


def _measure_cache(session: Session) -> CompileTimes:
    """Compiles everything twice with a token that no cache can know; its files are gone afterwards. Uses the session up."""
    remote = session.remote
    if remote is None or not remote.loaded:
        return CompileTimes(reason="nothing is compiled")
    if remote.session.hello.feature_level < CACHE_LEVEL:
        return CompileTimes(reason=f"NNAPI caches from feature level {CACHE_LEVEL} on")
    if not remote.session.cache_directory:
        return CompileTimes(reason="the device offers no directory for a cache")
    cache = _Cache(remote)
    try:
        remote.alive()
        loaded, salt = sorted(remote.loaded), secrets.token_bytes(16)
        before = cache.files()
        cold = _compile_all(session, remote, loaded, salt)
        files = {name: size for name, size in cache.files().items() if name not in before}
        try:
            if not files:
                return CompileTimes(cold, None, 0, 0, "the driver has written nothing: it does not cache")
            warm = _compile_all(session, remote, loaded, salt)
        finally:
            cache.remove(files)
        return CompileTimes(cold, warm, len(files), sum(files.values()))
    except (PartitionFailedError, DeviceError, ShimError, OSError) as error:
        return CompileTimes(reason=f"failed: {error}")


def _compile_all(session: Session, remote: Remote, numbers: Sequence[int], salt: bytes) -> int:
    total = 0
    for number in numbers:
        remote.unload(number)
        total += remote.load(number, session.programs[number], salt)
    return total


class _Cache:
    """The files of NNAPI's compilation cache on a device: of a phone through its shell, of this process directly."""

    def __init__(self, remote: Remote) -> None:
        self._device = remote.device
        self._folder = remote.session.cache_directory
        if isinstance(self._device, AdbDevice):
            self._folder = f"{FOLDER}/{self._folder}"  # the shim runs in that folder

    def files(self) -> dict[str, int]:
        """Name -> bytes."""
        if not isinstance(self._device, AdbDevice):
            return {path.name: path.stat().st_size for path in Path(self._folder).iterdir() if path.is_file()}
        text = self._device.command(f"cd {shlex.quote(self._folder)} && stat -c '%s %n' * 2>/dev/null").text
        return {name: int(size) for size, name in re.findall(r"^(\d+) (.+?)\s*$", text, re.MULTILINE)}

    def remove(self, names: Iterable[str]) -> None:
        """Removes files, as far as that is possible."""
        names = list(names)
        if not names:
            return
        if not isinstance(self._device, AdbDevice):
            for name in names:
                (Path(self._folder) / name).unlink(missing_ok=True)
            return
        words = " ".join(shlex.quote(name) for name in names)
        with contextlib.suppress(DeviceError):
            self._device.command(f"cd {shlex.quote(self._folder)} && rm -f {words}", 10.0)
