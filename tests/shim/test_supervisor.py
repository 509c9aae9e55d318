"""What goes wrong around the shim: crashes and hangs of the driver in each phase, hosts that vanish, slow streams.

Each case ends in a correct result or one named error, and the session or the next one works. Nothing stays running.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from nnapi_toolkit.android import frames
from nnapi_toolkit.android.build import BuildResult
from nnapi_toolkit.android.errors import (
    ShimCrashedError,
    ShimDeadlineError,
    ShimError,
    ShimLostError,
    ShimRestartedError,
    ShimTimeoutError,
)
from nnapi_toolkit.android.frames import Kind
from nnapi_toolkit.android.protocol import ExecuteInput, ExecuteOutput, ShimClient

from tests.shim import programs as p

Start = Callable[..., Any]
X = np.arange(4, dtype=np.float32)


def compute(client: ShimClient, number: int = 0) -> np.ndarray:
    result = client.execute(number, [ExecuteInput(data=X)], [ExecuteOutput()])
    return np.frombuffer(result.outputs[0].data, np.float32)


def prepare(client: ShimClient, **limits: float) -> None:
    client.hello(**limits)
    client.load(0, p.pack(p.add(constant=np.ones(4))))


def works(client: ShimClient) -> None:
    """A session from the beginning, on the same stream."""
    prepare(client)
    np.testing.assert_array_equal(compute(client), X + 1)


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def entries(folder: str) -> int:
    return len(list(Path(folder).iterdir()))


def wait_until(condition: Callable[[], bool], seconds: float = 5.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)


def idle_worker(shim: Any) -> int:
    """The worker, once it waits for a request."""
    (worker,) = children(shim.process.pid)
    wait_until(lambda: Path(f"/proc/{worker}/stat").read_text().rpartition(")")[2].split()[0] == "S")
    return worker


def alive(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    return False


PHASES = {
    "Compilation_finish": (lambda client: prepare(client), "LOAD of program 0"),
    "Model_addOperation": (lambda client: prepare(client), "LOAD of program 0"),
    "Execution_compute": (lambda client: (prepare(client), compute(client)), "EXECUTE of program 0"),
}


@pytest.mark.parametrize("call", PHASES)
def test_a_driver_that_kills_the_process(start: Start, call: str) -> None:
    shim = start(env={"SOFTNN_FAULTS": f"{call}:kill:1"})
    action, where = PHASES[call]
    with pytest.raises(ShimCrashedError, match=f"died of signal 9 in {where}, inside ANeuralNetworks{call}") as info:
        action(shim.client)
    assert info.value.signal_name == "SIGKILL"
    shim.client.hello()
    with pytest.raises(ShimError, match="program 0 is not loaded"):
        compute(shim.client)
    assert shim.process.poll() is None


@pytest.mark.parametrize("call", PHASES)
def test_a_driver_that_hangs(start: Start, call: str) -> None:
    shim = start(env={"SOFTNN_FAULTS": f"{call}:sleep=600000:1"})
    action, where = PHASES[call]
    begin = time.monotonic()
    real_hello = shim.client.hello
    shim.client.hello = lambda: real_hello(load_limit=0.3, execute_limit=0.3)
    with pytest.raises(ShimDeadlineError, match=f"its limit of 300 ms in {where}, inside ANeuralNetworks{call}"):
        action(shim.client)
    assert time.monotonic() - begin < 5
    real_hello()
    assert len(children(shim.process.pid)) == 1


def test_limits_of_load_and_execute_are_apart(start: Start) -> None:
    shim = start(env={"SOFTNN_FAULTS": "Compilation_finish:sleep=700"})
    prepare(shim.client, load_limit=30.0, execute_limit=0.2)
    np.testing.assert_array_equal(compute(shim.client), X + 1)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV, signal.SIGTERM])
def test_a_worker_that_dies_between_requests(start: Start, number: int) -> None:
    shim = start()
    prepare(shim.client)
    worker = idle_worker(shim)
    os.kill(worker, number)
    wait_until(lambda: children(shim.process.pid) not in ([worker], []))
    with pytest.raises(ShimRestartedError, match=f"died of signal {number} in no request"):
        compute(shim.client)
    works(shim.client)
    worker = idle_worker(shim)
    os.kill(worker, number)
    wait_until(lambda: children(shim.process.pid) not in ([worker], []))
    works(shim.client)  # it begins with a hello: nothing is lost that the host still counts on


def test_a_worker_that_dies_right_after_its_answer(start: Start) -> None:
    """On its way back to the next request, nobody knows how far: the next request says that its answer had arrived."""
    shim = start()
    for _ in range(30):
        prepare(shim.client)
        (worker,) = children(shim.process.pid)
        np.testing.assert_array_equal(compute(shim.client), X + 1)
        os.kill(worker, signal.SIGKILL)
        with pytest.raises(ShimRestartedError, match=r"died of signal 9 (in no request|after its answer to EXECUTE)"):
            compute(shim.client)
    works(shim.client)


def test_a_worker_that_dies_in_the_middle_of_a_request(start: Start) -> None:
    """Half of the payload is in the stream: the supervisor takes the rest out and answers."""
    shim = start()
    shim.client.hello()
    (worker,) = children(shim.process.pid)
    payload = bytes(200_000)
    end = time.monotonic() + 10
    shim.transport.send([memoryview(frames.encode_header(Kind.ECHO, 77, len(payload))), memoryview(payload[:70_000])], end)
    time.sleep(0.2)
    os.kill(worker, signal.SIGKILL)
    time.sleep(0.2)
    shim.transport.send([memoryview(payload[70_000:])], end)
    head = bytearray(24)
    shim.transport.receive_into(memoryview(head), end)
    header = frames.decode_header(head)
    assert (header.id, header.kind, header.status) == (77, Kind.ECHO, frames.Status.CRASHED)
    shim.transport.receive_into(memoryview(bytearray(header.length)), end)
    works(shim.client)


@pytest.mark.parametrize("behind", [b"", frames.encode_header(Kind.ECHO, 2, 0), frames.encode_header(Kind.ECHO, 3, 0, code=2)])
def test_a_worker_that_dies_while_it_replies_ends_the_session(start: Start, behind: bytes) -> None:
    """Also where the next request is in the stream already: it does not say that the answer had arrived."""
    shim = start()
    shim.client.hello()
    (worker,) = children(shim.process.pid)
    payload = bytes(8_000_000)  # more than the pipe takes: the worker hangs in its reply
    end = time.monotonic() + 10
    shim.transport.send([memoryview(frames.encode_header(Kind.ECHO, 1, len(payload))), memoryview(payload + behind)], end)
    assert select.select([shim.process.stdout], [], [], 10)[0]
    os.kill(worker, signal.SIGKILL)
    with pytest.raises(EOFError):
        shim.transport.receive_into(memoryview(bytearray(8_000_024)), end)
    assert shim.process.wait(10) == 3


def test_killing_the_supervisor_kills_the_worker(start: Start) -> None:
    shim = start(env={"SOFTNN_FAULTS": "Execution_compute:sleep=600000"})
    prepare(shim.client)
    (worker,) = children(shim.process.pid)
    shim.process.kill()
    with pytest.raises(ShimLostError, match="stream ended before its answer"):
        compute(shim.client)
    wait_until(lambda: not alive(worker))
    with pytest.raises(ShimLostError, match="the session is over"):
        shim.client.stats()


def test_a_host_that_vanishes_ends_everything(start: Start) -> None:
    """Idle, or in mid-execution: the worker does not outlive the stream."""
    for faults in ("", "Execution_compute:sleep=600000"):
        shim = start(env={"SOFTNN_FAULTS": faults})
        prepare(shim.client)
        (worker,) = children(shim.process.pid)
        if faults:
            with pytest.raises(ShimTimeoutError, match=r"no answer within 0.2 s"):
                shim.client.execute(0, [ExecuteInput(data=X)], [ExecuteOutput()], deadline=0.2)
            with pytest.raises(ShimLostError, match="EXECUTE was not answered in time"):
                shim.client.stats()
        assert shim.close() == (3 if faults else 0)
        wait_until(lambda pid=worker: not alive(pid))


def test_one_byte_at_a_time(start: Start) -> None:
    shim = start()
    program = p.pack(p.add(constant=np.ones(4)))

    class Dribble:
        def send(self, parts: Any, end: float) -> None:
            for byte in b"".join(bytes(part) for part in parts):
                shim.transport.send([memoryview(bytes([byte]))], end)

        def receive_into(self, view: memoryview, end: float) -> None:
            for index in range(len(view)):
                shim.transport.receive_into(view[index : index + 1], end)

        def close(self) -> None:
            pass

    from nnapi_toolkit.android.channel import StreamChannel

    client = ShimClient(StreamChannel(Dribble()))
    client.hello(load_limit=0.5, execute_limit=0.5)
    client.load(0, program)
    np.testing.assert_array_equal(compute(client), X + 1)


def test_a_slow_stream_is_not_a_slow_driver(start: Start) -> None:
    """The limit counts from the last byte of a request: a link of a few bytes a second never runs into it."""
    shim = start()
    shim.client.hello(load_limit=0.3)
    payload = bytes(10)
    end = time.monotonic() + 10
    shim.transport.send([memoryview(frames.encode_header(Kind.ECHO, 5, 10))], end)
    for byte in payload:
        time.sleep(0.08)
        shim.transport.send([memoryview(bytes([byte]))], end)
    head = bytearray(24)
    shim.transport.receive_into(memoryview(head), end)
    assert frames.decode_header(head).status == frames.Status.OK


def test_prints_of_drivers_stay_out_of_the_stream(start: Start, native: BuildResult, tmp_path: Path) -> None:
    log = tmp_path / "log"
    shim = start("--log", str(log), env={"SOFTNN_VLOG": "1"})
    model = p.add()
    model.operations[0].inputs = (0, 1)
    shim.client.hello()
    with pytest.raises(ShimError):
        shim.client.load(0, p.pack(model))
    works(shim.client)
    assert "ADD" in log.read_text()
    os.kill(idle_worker(shim), signal.SIGABRT)
    wait_until(lambda: "died of signal 6" in log.read_text())


def test_command_line(native: BuildResult) -> None:
    import subprocess

    def run(*arguments: str) -> tuple[int, str]:
        done = subprocess.run([str(native.shim), *arguments], capture_output=True, text=True, timeout=20)
        return done.returncode, done.stdout

    assert run("--version") == (0, f"nnapi-shim protocol {frames.VERSION} build {native.source_hash}\n")
    code, lines = run("--self-test", "--library", str(native.libneuralnetworks))
    assert code == 0 and lines.startswith("library: ok\nfeature level: 8\n") and lines.endswith("result: ok (0)\n")
    code, lines = run("--self-test", "--library", "/nowhere.so")
    assert code == 1 and lines.startswith("library: FAILED (/nowhere.so cannot be loaded")
    for wrong in (("--what",), ("--library",)):
        code, lines = run(*wrong)
        assert code == 2 and lines.startswith("usage: nnapi-shim")


def test_two_hundred_loads_leave_nothing(start: Start, tmp_path: Path) -> None:
    shim = start()
    weights = np.ones((256, 256), np.float32)
    model_file = tmp_path / "model"
    model_file.write_bytes(weights.tobytes())
    model = p.fully_connected(
        p.Operand(dims=(256, 256), source=p.FILE, length=weights.nbytes), p.value(np.zeros(256, np.float32), 3)
    )
    program, x = p.pack(model), np.ones(256, np.float32)
    shim.client.hello()

    def cycle() -> None:
        shim.client.open(str(model_file), weights.nbytes)
        shim.client.load(0, program, burst=True)
        result = shim.client.execute(0, [ExecuteInput(slot=1, data=x)], [ExecuteOutput(slot=2)])
        assert np.frombuffer(result.outputs[0].data, np.float32)[5] == 256
        shim.client.drop(1)
        shim.client.drop(2)
        shim.client.unload(0)

    for _ in range(20):
        cycle()
    before = shim.client.stats()
    for _ in range(200):
        cycle()
    after = shim.client.stats()
    assert after.descriptors == before.descriptors
    assert after.shared_bytes == before.shared_bytes == 0
    assert (after.programs, after.slots, after.slot_bytes) == (0, 0, 0)
    assert after.max_resident_kib - before.max_resident_kib < 512
    supervisor = entries(f"/proc/{shim.process.pid}/fd")
    assert supervisor <= 8


def test_repeated_executions_allocate_nothing(start: Start) -> None:
    """After the first run neither memory nor descriptors grow, whatever lies in slots."""
    shim = start()
    prepare(shim.client)
    for _ in range(50):
        compute(shim.client)
    before = shim.client.stats()
    for _ in range(2000):
        shim.client.execute(0, [ExecuteInput(slot=1, data=X)], [ExecuteOutput(slot=2, send=False)])
    after = shim.client.stats()
    assert (after.descriptors, after.shared_bytes) == (before.descriptors, before.shared_bytes)
    assert after.max_resident_kib - before.max_resident_kib < 256


def test_sessions_in_process_leave_nothing(native: BuildResult) -> None:
    from nnapi_toolkit.android.binding import LocalChannel

    def session() -> None:
        channel = LocalChannel(native.shim_library, native.libneuralnetworks)
        works(ShimClient(channel))
        channel.close()
        channel.close()

    for _ in range(5):
        session()
    descriptors, threads = entries("/proc/self/fd"), entries("/proc/self/task")
    for _ in range(50):
        session()
    assert entries("/proc/self/fd") == descriptors
    wait_until(lambda: entries("/proc/self/task") <= threads)  # the kernel takes a moment to forget a thread


def test_a_hanging_library_in_process(native: BuildResult) -> None:
    from nnapi_toolkit.android.binding import LocalChannel

    channel = LocalChannel(native.shim_library, native.libneuralnetworks, {"SOFTNN_FAULTS": "Compilation_finish:sleep=1500"})
    client = ShimClient(channel)
    client.hello()
    with pytest.raises(ShimTimeoutError, match=r"no answer within 0.2 s"):
        client.load(0, p.pack(p.add()), deadline=0.2)
    with pytest.raises(ShimLostError, match="LOAD was not answered in time"):
        client.stats()
    channel.close()
    time.sleep(1.6)  # the call comes back into a session that still lives
    other = LocalChannel(native.shim_library, native.libneuralnetworks)
    works(ShimClient(other))
    other.close()
