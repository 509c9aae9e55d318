"""Programs through the shim and software NNAPI, in process and over pipes; numbers are numpy's."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from nnapi_toolkit.android.errors import DriverError, LibraryError, ProgramError, ProtocolError, ShimError
from nnapi_toolkit.android.protocol import ExecuteInput, ExecuteOutput, ShimClient

from tests.shim import programs as p

Connect = Callable[..., ShimClient]


def floats(data: memoryview) -> np.ndarray:
    return np.frombuffer(data, np.float32)


def test_hello_tells_levels_and_devices(connect: Connect) -> None:
    hello = connect(feature_level=4, device_feature_level=3, device_name="npu").hello()
    assert hello.feature_level == 4 and hello.pointer_bits == 64
    first = hello.devices[0]
    assert (first.name, first.feature_level, first.type_name) == ("npu", 3, "accelerator")
    assert all(device.version for device in hello.devices)


@pytest.mark.parametrize("level", range(1, 9))
@pytest.mark.parametrize("burst", [False, True])
def test_sum_at_every_feature_level(connect: Connect, level: int, burst: bool) -> None:
    client = connect(feature_level=level)
    client.load(0, p.pack(p.add()), burst=burst)
    a, b = np.arange(4, dtype=np.float32), np.full(4, 0.5, np.float32)
    for _ in range(3):
        a = a + 1
        result = client.execute(0, [ExecuteInput(data=a), ExecuteInput(data=b)], [ExecuteOutput()])
        np.testing.assert_array_equal(floats(result.outputs[0].data), a + b)
        assert result.outputs[0].shape == (4,) and result.outputs[0].length == 16
        assert 0 < result.execute_ns <= result.request_ns
        assert result.hardware_ns is None and result.driver_ns is None


def weights_file(folder: Path, shift: int) -> tuple[Path, np.ndarray, np.ndarray, p.Model]:
    """A file with weights at `shift` bytes, and a program that uses them from there."""
    generator = np.random.default_rng(1)
    weights = generator.standard_normal((16, 64), np.float32)
    bias = generator.standard_normal(16, np.float32)
    path = folder / f"model-{shift}.bin"
    path.write_bytes(bytes(shift) + weights.tobytes() + bias.tobytes())
    model = p.fully_connected(
        p.Operand(dims=(16, 64), source=p.FILE, offset=shift, length=weights.nbytes, tensor=5),
        p.Operand(dims=(16,), source=p.FILE, offset=shift + weights.nbytes, length=bias.nbytes),
    )
    return path, weights, bias, model


@pytest.mark.parametrize("shift", [0, 64, 4, 3])
@pytest.mark.parametrize("copy", [False, True])
def test_weights_are_used_where_they_lie(connect: Connect, tmp_path: Path, shift: int, copy: bool) -> None:
    path, weights, bias, model = weights_file(tmp_path, shift)
    client = connect()
    client.open(str(path), path.stat().st_size)
    loaded = client.load(3, p.pack(model), device=0, copy_constants=copy)
    in_place = weights.nbytes if shift % 4 == 0 and not copy else 0
    assert loaded.mapped_bytes == in_place  # the bias is small: NNAPI copies it at once
    assert loaded.mapped_bytes + loaded.copied_bytes == weights.nbytes + bias.nbytes + 4
    x = np.linspace(-1, 1, 64, dtype=np.float32)
    result = client.execute(3, [ExecuteInput(data=x, shape=(1, 64))], [ExecuteOutput()], measure=True)
    np.testing.assert_allclose(floats(result.outputs[0].data), weights @ x + bias, rtol=1e-5, atol=1e-5)
    assert result.outputs[0].shape == (1, 16)


def test_refused_mapping_falls_back_to_copies(connect: Connect, tmp_path: Path) -> None:
    path, weights, bias, model = weights_file(tmp_path, 0)
    client = connect(faults="Memory_createFromFd:7")
    client.open(str(path), path.stat().st_size)
    loaded = client.load(0, p.pack(model))
    assert loaded.mapped_bytes == 0
    x = np.linspace(-1, 1, 64, dtype=np.float32)
    result = client.execute(0, [ExecuteInput(data=x)], [ExecuteOutput()])
    np.testing.assert_allclose(floats(result.outputs[0].data), weights @ x + bias, rtol=1e-5, atol=1e-5)


def test_compilation_that_cannot_map_is_tried_with_copies(connect: Connect, tmp_path: Path) -> None:
    path, _, _, model = weights_file(tmp_path, 0)
    client = connect(faults="Compilation_finish:5:1")
    client.open(str(path), path.stat().st_size)
    loaded = client.load(0, p.pack(model))
    assert loaded.mapped_bytes == 0 and loaded.copied_bytes > 4096


def test_programs_keep_the_files_they_were_loaded_with(connect: Connect, tmp_path: Path) -> None:
    client = connect()
    x = np.ones(64, np.float32)
    expected = []
    for number, shift in enumerate((0, 128)):
        path, weights, bias, model = weights_file(tmp_path, shift)
        client.open(str(path), path.stat().st_size)
        path.unlink()
        client.load(number, p.pack(model))
        expected.append(weights @ x + bias)
    for number in (1, 0):
        result = client.execute(number, [ExecuteInput(data=x)], [ExecuteOutput()])
        np.testing.assert_allclose(floats(result.outputs[0].data), expected[number], rtol=1e-5, atol=1e-5)


def test_tensors_stay_on_the_device(connect: Connect) -> None:
    client = connect()
    client.load(0, p.pack(p.add(constant=np.ones(4))))
    client.load(1, p.pack(p.add()))
    x = np.arange(4, dtype=np.float32)
    first = client.execute(0, [ExecuteInput(slot=1, data=x)], [ExecuteOutput(slot=2, send=False)])
    assert first.outputs[0].data.nbytes == 0 and first.outputs[0].length == 16
    second = client.execute(1, [ExecuteInput(slot=1), ExecuteInput(slot=2)], [ExecuteOutput(slot=3)])
    np.testing.assert_array_equal(floats(second.outputs[0].data), x + (x + 1))
    kept = client.read(3)
    np.testing.assert_array_equal(floats(kept.data), x + (x + 1))
    assert kept.shape == (4,)
    stats = client.stats()
    assert (stats.programs, stats.slots, stats.slot_bytes) == (2, 3, 48)
    client.drop(2)
    with pytest.raises(ShimError, match="slot 2 holds no tensor"):
        client.execute(1, [ExecuteInput(slot=1), ExecuteInput(slot=2)], [ExecuteOutput()])
    client.write(2, np.full(4, 9, np.float32), (4,))
    third = client.execute(1, [ExecuteInput(slot=1), ExecuteInput(slot=2)], [ExecuteOutput()])
    np.testing.assert_array_equal(floats(third.outputs[0].data), x + 9)


def test_a_state_tensor_is_input_and_output_of_one_execution(connect: Connect) -> None:
    client = connect()
    client.load(0, p.pack(p.add(constant=np.ones(4))))
    client.write(7, np.zeros(4, np.float32), (4,))
    for step in range(1, 6):
        result = client.execute(0, [ExecuteInput(slot=7)], [ExecuteOutput(slot=7)])
        np.testing.assert_array_equal(floats(result.outputs[0].data), np.full(4, step, np.float32))
    np.testing.assert_array_equal(floats(client.read(7).data), np.full(4, 5, np.float32))


def test_outputs_of_unknown_size_find_their_room(connect: Connect) -> None:
    client = connect()
    client.load(0, p.pack(p.fill(), feature_level=4))
    for shape in ((2, 3), (300, 100), (1, 1), (7, 5)):
        for capacity in (0, 16):
            wanted = np.array(shape, np.int32)
            result = client.execute(0, [ExecuteInput(data=wanted)], [ExecuteOutput(slot=1, capacity=capacity)])
            assert result.outputs[0].shape == shape and result.outputs[0].length == 4 * np.prod(shape)
            np.testing.assert_array_equal(floats(result.outputs[0].data), np.full(np.prod(shape), 2.5, np.float32))
            assert client.read(1).shape == shape


def test_models_refer_to_models(connect: Connect) -> None:
    client = connect()
    client.load(0, p.pack(*p.conditional(), feature_level=4))
    x = np.arange(4, dtype=np.float32)
    for choice, expected in ((1, x + 1), (0, x * 3)):
        flag = np.array([choice], np.uint8)
        result = client.execute(0, [ExecuteInput(data=flag), ExecuteInput(data=x)], [ExecuteOutput()])
        np.testing.assert_array_equal(floats(result.outputs[0].data), expected)


def test_unknown_dimensions_come_with_the_request(connect: Connect) -> None:
    client = connect()
    model = p.add((0, 4))
    model.operands[3] = p.Operand(dims=(0, 4))
    client.load(0, p.pack(model, feature_level=3))
    for rows in (1, 3, 2):
        a = np.random.default_rng(rows).standard_normal((rows, 4), np.float32)
        inputs = [ExecuteInput(data=a, shape=a.shape), ExecuteInput(data=a, shape=a.shape)]
        result = client.execute(0, inputs, [ExecuteOutput()])
        np.testing.assert_array_equal(floats(result.outputs[0].data).reshape(rows, 4), a + a)
    with pytest.raises(ProtocolError, match="input 0"):
        client.execute(0, [ExecuteInput(data=a), ExecuteInput(data=a)], [ExecuteOutput()])


def test_odd_lengths_are_padded(connect: Connect) -> None:
    client = connect()
    model = p.Model(
        [p.Operand(p.TENSOR_QUANT8_ASYMM, (3,), 0.5), p.Operand(p.TENSOR_QUANT8_ASYMM, (3,), 0.5)],
        [p.Operation(p.RELU, (0,), (1,))], (0,), (1,),
    )  # fmt: skip
    model.operands += [p.Operand(p.TENSOR_QUANT8_ASYMM, (5,), 0.5), p.Operand(p.TENSOR_QUANT8_ASYMM, (5,), 0.5)]
    model.operations.append(p.Operation(p.RELU, (2,), (3,)))
    model.inputs, model.outputs = (0, 2), (1, 3)
    client.load(0, p.pack(model))
    a, b = np.array([1, 2, 3], np.uint8), np.array([4, 5, 6, 7, 8], np.uint8)
    result = client.execute(0, [ExecuteInput(data=a), ExecuteInput(data=b)], [ExecuteOutput(), ExecuteOutput()])
    assert [bytes(t.data) for t in result.outputs] == [a.tobytes(), b.tobytes()]


def test_supported_operations(connect: Connect) -> None:
    model = p.add()
    model.operands.append(p.Operand(dims=(4,)))
    model.operations.append(p.Operation(p.RELU, (3,), (4,)))
    model.outputs = (4,)
    client = connect(refuse="RELU")
    names = [device.name for device in client.hello().devices]
    assert client.supported(p.pack(model), device=names.index("softnn")) == [True, False]
    assert client.supported(p.pack(model)) == [True, True]
    assert client.stats().programs == 0


def test_durations_of_the_driver(connect: Connect) -> None:
    client = connect()
    client.load(0, p.pack(p.add()), device=0)
    x = ExecuteInput(data=np.ones(4, np.float32))
    assert client.execute(0, [x, x], [ExecuteOutput()]).driver_ns is None
    measured = client.execute(0, [x, x], [ExecuteOutput()], measure=True, timeout=10.0)
    assert measured.driver_ns is not None and measured.driver_ns <= measured.execute_ns


def test_options_of_a_compilation(connect: Connect, tmp_path: Path) -> None:
    client = connect()
    folder = tmp_path / "cache"
    client.load(
        0, p.pack(p.add()), device=0, preference=2, priority=110, relax_fp16=True, burst=True, timeout=60.0,
        cache_directory=str(folder), cache_token=bytes(range(32)),
    )  # fmt: skip
    assert folder.is_dir()
    x = ExecuteInput(data=np.ones(4, np.float32))
    np.testing.assert_array_equal(floats(client.execute(0, [x, x], [ExecuteOutput()]).outputs[0].data), np.full(4, 2))


def test_entry_points_that_a_level_lacks_are_named(connect: Connect, tmp_path: Path) -> None:
    client = connect(feature_level=1)
    with pytest.raises(LibraryError, match="relaxComputationFloat32toFloat16 is missing: it came with feature level 2"):
        client.load(0, p.pack(p.add()), relax_fp16=True)
    with pytest.raises(LibraryError, match="_getDevice is missing"):
        client.load(0, p.pack(p.add()), device=0)
    with pytest.raises(LibraryError, match="getSupportedOperationsForDevices is missing"):
        client.supported(p.pack(p.add()))


def test_driver_errors_name_call_and_operation(connect: Connect) -> None:
    client = connect()
    model = p.add()
    model.operations[0].inputs = (0, 1)  # ADD without its activation
    with pytest.raises(DriverError, match=r"Model_addOperation of models\[0\].operations\[0\] \(code 0, node 7\)") as info:
        client.load(0, p.pack(model))
    assert info.value.name == "ANEURALNETWORKS_BAD_DATA"
    assert client.stats().programs == 0
    client.load(0, p.pack(p.add()))  # the number is free and the session goes on


def test_failed_executions_leave_the_session_usable(connect: Connect) -> None:
    client = connect(faults="Execution_compute:5:2")
    client.load(0, p.pack(p.add(constant=np.ones(4))))
    client.write(1, np.zeros(4, np.float32), (4,))
    client.execute(0, [ExecuteInput(slot=1)], [ExecuteOutput(slot=1)])
    with pytest.raises(DriverError, match="Execution_compute of program 0 returned 5") as info:
        client.execute(0, [ExecuteInput(slot=1)], [ExecuteOutput(slot=1)])
    assert info.value.code == 5
    result = client.execute(0, [ExecuteInput(slot=1)], [ExecuteOutput(slot=1)])
    np.testing.assert_array_equal(floats(result.outputs[0].data), np.full(4, 2))  # the state of before the failure


def test_wrong_requests_are_told_apart(connect: Connect) -> None:
    client = connect()
    client.load(0, p.pack(p.add()))
    x = ExecuteInput(data=np.ones(4, np.float32))
    out = ExecuteOutput()
    for inputs, outputs, text in (
        ([x], [out], "1 inputs and 1 outputs for program 0, which has 2 and 1"),
        ([x, ExecuteInput(data=np.ones(5, np.float32))], [out], "input 1: 20 bytes given, 16"),
        ([x, ExecuteInput(data=np.ones(4, np.float32), shape=(2, 2))], [out], "input 1: its shape"),
        ([x, x], [ExecuteOutput(capacity=8)], "output 0: capacity 8 for 16 bytes"),
        ([x, ExecuteInput(slot=3, data=np.ones(4, np.float32))] * 1, [ExecuteOutput(slot=2_000_000)], "slot 2000000"),
    ):
        with pytest.raises(ProtocolError, match=text):
            client.execute(0, inputs, outputs)
    with pytest.raises(ShimError, match="program 9 is not loaded"):
        client.execute(9, [], [])
    with pytest.raises(ShimError, match="program 0 is loaded already"):
        client.load(0, p.pack(p.add()))
    with pytest.raises(ShimError, match="ENOENT"):
        client.open("/nowhere/model.tflite", 5)
    with pytest.raises(ProgramError, match="file identifier"):
        client.load(1, b"not a program at all")
    np.testing.assert_array_equal(floats(client.execute(0, [x, x], [out]).outputs[0].data), np.full(4, 2))


def test_echo_and_bye(connect: Connect) -> None:
    client = connect()
    for length in (0, 1, 7, 65536, 3_000_001):
        data = np.random.default_rng(length).bytes(length)
        assert client.echo(data) == data
    client.bye()
    with pytest.raises(ShimError):
        client.echo(b"x")
