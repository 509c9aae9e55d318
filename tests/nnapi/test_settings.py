"""Settings: levels, names, refusals, injected faults; compilation caching."""

from __future__ import annotations

import ctypes as C
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from .client import (
    BAD_DATA,
    BAD_STATE,
    BOOL,
    INT32,
    NO_ERROR,
    TENSOR_FLOAT16,
    TENSOR_FLOAT32,
    TENSOR_INT32,
    TENSOR_QUANT8_ASYMM_SIGNED,
    Array,
    Compilation,
    Execution,
    Model,
    Nnapi,
    OperandType,
)
from .world import ADD, FLOATS, World, worlds

ROOT = Path(__file__).resolve().parents[2]
CONSTANTS = [27, 28, 29, 30, 31, 1000006, 1000007, 1000008]
CONV_2D, MUL, RELU = 3, 18, 19


@pytest.fixture
def world(api: Nnapi) -> Iterator[World]:
    yield from worlds(api)


def level_of(api: Nnapi, device: C.c_void_p) -> int:
    level = C.c_int64()
    api.check("Device_getFeatureLevel", device, C.byref(level))
    return level.value


def supported(world: World, model: Model, device: C.c_void_p, count: int) -> list[bool]:
    array = (C.c_bool * count)()
    call = "Model_getSupportedOperationsForDevices"
    world.api.check(call, model.handle, world.devices(device), 1, array)
    return list(array)


# --- levels and devices -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("level", range(1, 9))
def test_levels(api: Nnapi, level: int) -> None:
    api.configure(feature_level=level)
    assert api.getRuntimeFeatureLevel() == CONSTANTS[level - 1]
    if level >= 3:
        assert [level_of(api, device) for device in api.devices().values()] == [CONSTANTS[level - 1]] * 2


def test_the_accelerator_can_be_older_than_the_run_time(world: World) -> None:
    world.api.configure(feature_level=8, device_feature_level=3)
    accelerator, reference = world.api.devices().values()
    assert level_of(world.api, accelerator) == 29 and level_of(world.api, reference) == 1000008
    signed = OperandType(TENSOR_QUANT8_ASYMM_SIGNED, (2,), 0.5)
    for type_, expected in ((FLOATS, True), (signed, False)):
        model = world.add_model(type_)
        assert supported(world, model, accelerator, 1) == [expected]
        assert supported(world, model, reference, 1) == [True]
    compilation = world.own(Compilation(model, [accelerator], finish=False))
    assert world.result("Compilation_finish", compilation.handle) == BAD_DATA
    world.own(Compilation(model, [accelerator, reference]))
    world.own(Compilation(model))


@pytest.mark.parametrize(
    ("type_", "level"),
    [
        (OperandType(TENSOR_FLOAT32, (2,)), 1),
        (OperandType(BOOL), 3),
        (OperandType(TENSOR_FLOAT16, (2,)), 3),
        (OperandType(TENSOR_FLOAT32), 3),  # of unknown rank
        (OperandType(TENSOR_QUANT8_ASYMM_SIGNED, (2,), 1.0), 4),
        (OperandType(15), 4),
    ],
)
def test_operand_types_come_with_levels(world: World, type_: OperandType, level: int) -> None:
    for runtime in range(1, 9):
        world.api.configure(feature_level=runtime)
        model = world.own(Model(world.api))
        code = world.result("Model_addOperand", model.handle, world.type(type_))
        assert code == (NO_ERROR if runtime >= level else BAD_DATA), runtime


@pytest.mark.parametrize(("dtype", "level"), [(TENSOR_FLOAT32, 1), (TENSOR_INT32, 4)])
def test_operations_come_with_levels(world: World, dtype: int, level: int) -> None:
    """ADD of floats is as old as NNAPI, ADD of integers is not."""
    for runtime in range(1, 9):
        world.api.configure(feature_level=runtime)
        model = world.own(Model(world.api))
        for _ in range(2):
            model.operand(OperandType(dtype, (2,)))
        model.constant(OperandType(INT32), 0)
        model.operand(OperandType(dtype, (2,)))
        arguments = (model.handle, ADD, 3, world.list(0, 1, 2), 1, world.list(3))
        assert world.result("Model_addOperation", *arguments) == (NO_ERROR if runtime >= level else BAD_DATA)


def test_a_new_operation_is_unknown_at_an_old_level(world: World) -> None:
    world.api.configure(feature_level=1)
    model = world.own(Model(world.api))
    x, y = model.operand(FLOATS), model.operand(FLOATS)
    assert world.result("Model_addOperation", model.handle, 38, 1, world.list(x), 1, world.list(y)) == BAD_DATA  # ABS


def test_names(api: Nnapi) -> None:
    api.configure(device_name="edgetpu", device_version="7.1", device_type=3)
    device = api.devices()["edgetpu"]
    kind, version = C.c_int32(), C.c_char_p()
    api.check("Device_getType", device, C.byref(kind))
    api.check("Device_getVersion", device, C.byref(version))
    assert (kind.value, version.value) == (3, b"7.1")
    assert list(api.devices()) == ["edgetpu", "nnapi-reference"]
    api.configure(device_name="none")
    assert list(api.devices()) == ["nnapi-reference"]
    api.configure(device_type=-1)
    api.check("Device_getType", api.devices()["softnn"], C.byref(kind))
    assert kind.value == 0


def test_every_operation_of_the_header_is_there(api: Nnapi) -> None:
    header = (ROOT / "android" / "include" / "nnapi.h").read_text()
    operations = header[header.index("/* Operations. */") : header.index("OEM_OPERATION")]
    names = dict(re.findall(r"ANEURALNETWORKS_(\w+) = (\d+)", operations))
    assert sorted(map(int, names.values())) == list(range(106))
    for name in names:
        assert api.configure(refuse=name) == NO_ERROR, name


# --- refusals -----------------------------------------------------------------------------------------------------------


def three_operations(world: World) -> Model:
    """relu(a + b) * a"""
    model = world.own(Model(world.api))
    a, b, fuse = model.operand(FLOATS), model.operand(FLOATS), model.constant(OperandType(INT32), 0)
    added, positive, result = (model.operand(FLOATS) for _ in range(3))
    model.operation(MUL, [positive, a, fuse], [result])  # not the run order
    model.operation(ADD, [a, b, fuse], [added])
    model.operation(RELU, [added], [positive])
    model.identify([a, b], [result])
    model.finish()
    return model


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, [True, True, True]),
        ({"refuse": "ADD"}, [True, False, True]),
        ({"refuse": "ADD+MUL"}, [False, False, True]),
        ({"refuse_every": 3}, [True, True, False]),
        ({"refuse_every": 1}, [False, False, False]),
        ({"refuse": "RELU", "refuse_every": 2}, [True, False, False]),
    ],
)
def test_refused_operations(world: World, settings: dict[str, str | int], expected: list[bool]) -> None:
    world.api.configure(feature_level=8, **settings)
    model = three_operations(world)
    accelerator, reference = world.api.devices().values()
    assert supported(world, model, accelerator, 3) == expected
    assert supported(world, model, reference, 3) == [True, True, True]
    compilation = world.own(Compilation(model, [accelerator], finish=False))
    assert world.result("Compilation_finish", compilation.handle) == (NO_ERROR if all(expected) else BAD_DATA)
    execution = world.own(Execution(world.own(Compilation(model))))
    execution.input(0, np.array([1, -2], np.float32))
    execution.input(1, np.array([1, 1], np.float32))
    result = np.zeros(2, np.float32)
    execution.output(0, result)
    execution.compute()
    np.testing.assert_array_equal(result, [2, 0])


@pytest.mark.parametrize(
    "settings",
    [
        {"refuse": "ADDD"}, {"refuse": "ADD+"[:3] + "+NOPE"}, {"feature_level": 9}, {"feature_level": -1},
        {"device_type": 5}, {"faults": "Execution_compute"}, {"faults": "nope:5"}, {"faults": "Execution_compute:x"},
        {"faults": "Execution_compute:5:0"}, {"threads": 1000},
    ],
)  # fmt: skip
def test_settings_that_make_no_sense(api: Nnapi, settings: dict[str, str | int]) -> None:
    api.configure(feature_level=5)
    assert api.configure(**settings) == BAD_DATA
    assert api.getRuntimeFeatureLevel() == 31


# --- faults -------------------------------------------------------------------------------------------------------------


def test_a_fault_returns_its_code(world: World) -> None:
    model = world.model
    world.api.configure(feature_level=8, faults="Compilation_finish:5, ANeuralNetworksExecution_setInput:14:2")
    compilation = world.own(Compilation(model, finish=False))
    assert world.result("Compilation_finish", compilation.handle) == 5
    world.api.configure(feature_level=8, faults="Execution_setInput:14:2")
    execution = world.own(Execution(world.own(Compilation(model))))
    codes = [world.result("Execution_setInput", execution.handle, i, None, world.floats(), 8) for i in (0, 1, 1)]
    assert codes == [NO_ERROR, 14, NO_ERROR]


def test_a_fault_in_a_creation_leaves_the_handle_alone(world: World) -> None:
    world.api.configure(feature_level=8, faults="Model_create:1")
    assert world.result("Model_create", C.byref(C.c_void_p())) == 1
    world.api.configure(feature_level=8)
    assert world.result("Model_create", C.byref(world.keep(C.c_void_p()))) == NO_ERROR


def run_python(library: Path, code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs code with `api`, in a process whose environment sets the library up."""
    prologue = f"import ctypes as C, time\nfrom tests.nnapi.client import *\napi = Nnapi({str(library)!r})\n"
    return subprocess.run(
        [sys.executable, "-c", prologue + code], cwd=ROOT, env={**os.environ, **environment}, capture_output=True,
        text=True, timeout=60,
    )  # fmt: skip


def test_the_environment(library: Path) -> None:
    done = run_python(
        library,
        "print(api.getRuntimeFeatureLevel(), list(api.devices()))\n"
        "device = api.devices()['npu']; kind = C.c_int32(); level = C.c_int64()\n"
        "api.check('Device_getType', device, C.byref(kind)); api.check('Device_getFeatureLevel', device, C.byref(level))\n"
        "print(kind.value, level.value)\n"
        "import os; os.environ['SOFTNN_FEATURE_LEVEL'] = '4'\n"
        "print(api.getRuntimeFeatureLevel())\n"
        "print(api.configure(feature_level=6), api.getRuntimeFeatureLevel())\n"
        "print(api.configure(), api.getRuntimeFeatureLevel())\n",
        SOFTNN_FEATURE_LEVEL="5", SOFTNN_DEVICE_FEATURE_LEVEL="3", SOFTNN_DEVICE_NAME="npu", SOFTNN_DEVICE_TYPE="gpu",
    )  # fmt: skip
    assert done.stdout.splitlines() == ["31 ['npu', 'nnapi-reference']", "3 29", "30", "0 1000006", "0 30"], done.stderr


def test_nonsense_in_the_environment_is_named(library: Path) -> None:
    done = run_python(
        library, "print(api.getRuntimeFeatureLevel())", SOFTNN_FEATURE_LEVEL="9", SOFTNN_REFUSE="ADD+NOPE",
        SOFTNN_FAULTS="Model_create:now", SOFTNN_DEVICE_TYPE="toaster", SOFTNN_THREADS="many",
    )  # fmt: skip
    assert done.stdout == "1000008\n"
    for word in ("SOFTNN_FEATURE_LEVEL=9", "NOPE", "Model_create:now", "toaster", "SOFTNN_THREADS=many"):
        assert word in done.stderr


def test_a_fault_kills_or_delays(library: Path) -> None:
    code = "m = Model(api)\nprint('made', flush=True)\nm.close()\nm = Model(api)\nprint('never')"
    done = run_python(library, code, SOFTNN_FAULTS="Model_create:kill:2")
    assert (done.returncode, done.stdout) == (-signal.SIGKILL, "made\n")
    code = "start = time.monotonic(); Model(api); print(time.monotonic() - start >= 0.2)"
    for spelling in ("sleep=200", "sleep_ms=200"):
        assert run_python(library, code, SOFTNN_FAULTS=f"Model_create:{spelling}").stdout == "True\n"


def test_reasons_are_logged_on_demand(library: Path) -> None:
    code = "print(api.Model_addOperand(Model(api).handle, C.byref(OperandType(TENSOR_FLOAT32, (1,), 2.0).c())))"
    done = run_python(library, code, SOFTNN_VLOG="1")
    assert (done.stdout, done.stderr) == ("4\n", "softnn: TENSOR_FLOAT32: scale 2 is not allowed\n")
    assert run_python(library, code).stderr == ""


# --- caching ------------------------------------------------------------------------------------------------------------


def convolution(world: World, weight: float = 0.5) -> Model:
    """A convolution and a fully connected product: what kernels pack."""
    model = world.own(Model(world.api))
    x = model.operand(OperandType(TENSOR_FLOAT32, (1, 8, 8, 4)))
    weights = model.constant(OperandType(TENSOR_FLOAT32, (6, 3, 3, 4)), np.full((6, 3, 3, 4), weight))
    bias = model.constant(OperandType(TENSOR_FLOAT32, (6,)), np.zeros(6))
    one, none = model.constant(OperandType(INT32), 1), model.constant(OperandType(INT32), 0)
    result = model.operand(OperandType(TENSOR_FLOAT32, (1, 8, 8, 6)))
    model.operation(CONV_2D, [x, weights, bias, one, one, one, none], [result])
    model.identify([x], [result])
    model.finish()
    return model


class Cached:
    """Compilations of models with one token in one directory."""

    def __init__(self, world: World, directory: Path, token: int = 1) -> None:
        self.world, self.directory = world, directory
        self.token = (C.c_uint8 * 32)(*([token] * 32))

    def run(self, model: Model) -> Array:
        compilation = self.world.own(Compilation(model, finish=False))
        directory = str(self.directory).encode()
        self.world.api.check("Compilation_setCaching", compilation.handle, directory, self.token)
        compilation.finish()
        execution = self.world.own(Execution(compilation))
        execution.input(0, np.ones((1, 8, 8, 4), np.float32))
        result = np.zeros((1, 8, 8, 6), np.float32)
        execution.output(0, result)
        execution.compute()
        return result

    @property
    def file(self) -> Path:
        (file,) = self.directory.iterdir()
        return file


def test_a_cache_file_is_written_and_used(world: World, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    world.api.configure(feature_level=8, verbose=1)
    cached = Cached(world, tmp_path)
    first = cached.run(convolution(world))
    assert cached.file.name == "softnn-" + "01" * 32 + ".cache"
    assert "is written" in capfd.readouterr().err
    content = cached.file.stat()
    second = cached.run(convolution(world))
    assert "is used" in capfd.readouterr().err
    assert cached.file.stat().st_ino == content.st_ino
    np.testing.assert_array_equal(first, second)
    Cached(world, tmp_path, token=2).run(convolution(world))
    assert len(list(tmp_path.iterdir())) == 2


def test_a_cache_of_another_model_is_made_anew(world: World, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    world.api.configure(feature_level=8, verbose=1)
    cached = Cached(world, tmp_path)
    first = cached.run(convolution(world, 0.5))
    other = cached.run(convolution(world, 0.25))
    assert "is made anew" in capfd.readouterr().err
    np.testing.assert_array_equal(other, first / 2)
    np.testing.assert_array_equal(cached.run(convolution(world, 0.25)), other)
    assert "is used" in capfd.readouterr().err


def test_a_damaged_cache_is_made_anew(world: World, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    world.api.configure(feature_level=8, verbose=1)
    cached = Cached(world, tmp_path)
    expected = cached.run(convolution(world))
    good = cached.file.read_bytes()
    damages = [b"", good[:10], good[:-1], good + b"\0", bytes(len(good))]
    damages += [
        good[:at] + bytes([good[at] ^ 0x10]) + good[at + 1 :] for at in range(0, len(good), max(1, len(good) // 40))
    ]
    for damage in damages:
        cached.file.write_bytes(damage)
        capfd.readouterr()
        # A model of its own each time: compilations of one model share what one of them has packed.
        np.testing.assert_array_equal(cached.run(convolution(world)), expected)
        assert "is used" not in capfd.readouterr().err
        assert cached.file.read_bytes() == good
    world.close()  # nothing maps the file any more


#: Compiles and runs the convolution with a cache, some times; prints whether the results are right.
CACHING = """
from pathlib import Path
from tests.nnapi.test_settings import Cached, World, convolution
world = World(api)
api.configure(feature_level=8, verbose=1)
for _ in range({rounds}):
    have = Cached(world, Path({directory!r})).run(convolution(world, {weight}))
    print(have[0, 4, 4, 0] == 36 * {weight}, flush=True)
"""


def test_a_cache_serves_machines_of_several_kinds(library: Path, tmp_path: Path) -> None:
    """Other kernels want other packed forms: those are added to the file, whose other content stays."""
    code = CACHING.format(rounds=1, directory=str(tmp_path), weight=0.5)
    assert "is written" in run_python(library, code, SOFTNN_KERNELS="baseline").stderr
    first = (tmp_path / ("softnn-" + "01" * 32 + ".cache")).stat()
    own = run_python(library, code)  # with the machine's best kernels
    second = (tmp_path / ("softnn-" + "01" * 32 + ".cache")).stat()
    assert "is used" in own.stderr and ("is written" in own.stderr) == (second.st_size > first.st_size)
    for kernels in ({}, {"SOFTNN_KERNELS": "baseline"}):
        done = run_python(library, code, **kernels)
        assert done.stdout == "True\n"
        assert "is used" in done.stderr and "is written" not in done.stderr


def test_processes_share_a_cache(library: Path, tmp_path: Path) -> None:
    """At once, with one token for two models: each gets its own results, whoever wrote the file last."""
    prologue = f"import ctypes as C\nfrom tests.nnapi.client import *\napi = Nnapi({str(library)!r})\n"
    processes = []
    for index in range(4):
        code = prologue + CACHING.format(rounds=40, directory=str(tmp_path), weight=(0.5, 0.25)[index % 2])
        command = [sys.executable, "-c", code]
        processes.append(subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True))
    for process in processes:
        out, errors = process.communicate(timeout=120)
        assert process.returncode == 0 and out == "True\n" * 40, errors
        assert "is written" in errors or "is used" in errors
    (file,) = tmp_path.iterdir()  # nothing partial is left
    assert file.name == "softnn-" + "01" * 32 + ".cache"


def test_no_place_for_the_cache_is_no_error(world: World, tmp_path: Path) -> None:
    np.testing.assert_array_equal(
        Cached(world, tmp_path / "nowhere").run(convolution(world)), Cached(world, tmp_path).run(convolution(world))
    )


def test_below_level_3_devices_are_not_known(api: Nnapi) -> None:
    api.configure(feature_level=2)
    assert api.getDeviceCount(C.byref(C.c_uint32())) == BAD_STATE
    assert api.getDefaultLoopTimeout() == 0


AFFINITY = r"""
import os, sys, threading, time
from pathlib import Path
from nnapi_toolkit.bench import open_with_threads
from nnapi_toolkit.session import Session
import numpy as np

cores = sorted(os.sched_getaffinity(0))[-2:]
before = os.sched_getaffinity(0)
seen = set()
with open_with_threads("local", 2, cores=cores) as device, Session(sys.argv[1], device) as session:
    (tensor,) = session.input_tensors
    future = [session.submit([np.zeros(tensor.shape, tensor.dtype)]) for _ in range(2)]
    stop = time.monotonic() + 20
    while len(seen) < len(set(cores)) and time.monotonic() < stop:
        future.append(session.submit([np.zeros(tensor.shape, tensor.dtype)]))
        for task in Path("/proc/self/task").iterdir():
            try:
                found = os.sched_getaffinity(int(task.name))
            except ProcessLookupError:
                continue
            if len(found) == 1 < len(before):
                seen |= found
    for each in future:
        each.result(60)
    assert os.sched_getaffinity(0) == before
print(sorted(seen) == sorted(cores))
"""


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="this machine has one core")
def test_threads_stay_on_their_cores() -> None:
    """While an execution runs there is a thread that may run on this core alone, for each of the cores; afterwards callers are free again."""
    model = ROOT / "examples" / "efficientnet_lite0_int8.tflite"
    done = subprocess.run([sys.executable, "-c", AFFINITY, model], capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == "True", done.stdout + done.stderr
