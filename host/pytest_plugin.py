"""pytest plugin: tests of models on NNAPI devices, on a phone, an emulator or a virtual device.

    pytest --nnapi-device virtual,fl=5

    def test_my_model(assert_model_matches):
        assert_model_matches("my_model.tflite")

    @pytest.mark.nnapi_feature_level(4)
    def test_on_a_device(nnapi_session):
        session = nnapi_session("my_model.tflite")
        outputs = session.run([image])

Importing this module is cheap: everything heavy is imported by the fixtures that need it.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from nnapi_toolkit.android.protocol import Hello
    from nnapi_toolkit.arrays import Tolerance
    from nnapi_toolkit.device import Device
    from nnapi_toolkit.session import Session, SessionOptions
    from nnapi_toolkit.verify import Verification

#: What the option and the ini file may say besides a device specification: every usable phone, dealt out to the workers.
ALL = "all"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Adds --nnapi-device and the ini option nnapi_device."""
    group = parser.getgroup("nnapi", "NNAPI devices")
    group.addoption(
        "--nnapi-device",
        default=None,
        metavar="SPEC",
        help="where tests of NNAPI run: auto (default: the phone attached, else a virtual device), virtual[:ABI][,fl=N]"
        "[,refuse=OP+OP], local, an adb serial, or all (phones dealt out to the workers of pytest-xdist)",
    )
    parser.addini("nnapi_device", "where tests of NNAPI run, unless --nnapi-device says otherwise", default="auto")


def pytest_configure(config: pytest.Config) -> None:
    """Declares the markers."""
    config.addinivalue_line(
        "markers", "nnapi_feature_level(level): skip unless the NNAPI device has at least this feature level, 1 to 8"
    )
    config.addinivalue_line(
        "markers",
        "nnapi_accelerator(name=None): skip unless the device has an accelerator (one of that name, type:gpu, re:PATTERN)",
    )


def pytest_report_header(config: pytest.Config) -> str | None:
    """Names the device where one was asked for."""
    given = config.getoption("--nnapi-device")
    return None if given is None else f"nnapi device: {given}"


# -- the device -----------------------------------------------------------------------------------------------------


def device_spec(config: pytest.Config) -> str:
    """What --nnapi-device, else the ini option says."""
    return str(config.getoption("--nnapi-device") or config.getini("nnapi_device"))


def worker_number(config: pytest.Config) -> int | None:
    """The number of this pytest-xdist worker, None without xdist."""
    found = getattr(config, "workerinput", {}).get("workerid", "")
    digits = "".join(c for c in str(found) if c.isdigit())
    return int(digits) if digits else None


def choose_for_worker(spec: str, worker: int | None) -> str:
    """The specification that one worker opens: phones are dealt out in the order of their serials.

    Args:
        spec: What the user asked for. `auto` deals out only under xdist, and only where ANDROID_SERIAL names no phone.
        worker: The worker's number, None without xdist.

    Raises:
        DeviceNotFoundError: `all`, and no usable phone is attached.
    """
    import os

    from nnapi_toolkit.device import AdbServer
    from nnapi_toolkit.errors import DeviceNotFoundError

    dealt = spec == ALL or (spec == "auto" and worker is not None and not os.environ.get("ANDROID_SERIAL"))
    if not dealt:
        return spec
    server = AdbServer()
    serials = sorted(listed.serial for listed in server.devices() if listed.usable) if server.running() else []
    if not serials:
        if spec == ALL:
            raise DeviceNotFoundError(
                "--nnapi-device all: no usable phone is attached",
                advice="`nnapi devices` lists them; --nnapi-device virtual needs none",
            )
        return spec
    number = worker or 0
    if number >= len(serials):
        warnings.warn(
            pytest.PytestWarning(f"there are more workers than phones: worker {number} shares {serials[number % len(serials)]}"),
            stacklevel=2,
        )
    return serials[number % len(serials)]


@pytest.fixture(scope="session")
def nnapi_device(request: pytest.FixtureRequest) -> Iterator[Device]:
    """The device of --nnapi-device, one per pytest-xdist worker: a `nnapi_toolkit.device.Device`."""
    from nnapi_toolkit.device import open_device

    config = request.config
    with open_device(choose_for_worker(device_spec(config), worker_number(config))) as device:
        yield device


@pytest.fixture(scope="session")
def _nnapi_hello(nnapi_device: Device) -> Hello | str:
    """What NNAPI the device has; a text where it has none."""
    from nnapi_toolkit.errors import LibraryError

    try:
        with nnapi_device.start() as session:
            return session.hello
    except LibraryError as error:
        return str(error)


@pytest.fixture(autouse=True)
def _nnapi_requirements(request: pytest.FixtureRequest) -> None:
    """Skips tests whose markers ask for more than the device has."""
    level = request.node.get_closest_marker("nnapi_feature_level")
    accelerator = request.node.get_closest_marker("nnapi_accelerator")
    if level is None and accelerator is None:
        return
    wanted_level = 0 if level is None else _argument(level, "level", None)
    if level is not None and (not isinstance(wanted_level, int) or not 1 <= wanted_level <= 8):
        pytest.fail(f"nnapi_feature_level takes a level from 1 to 8, not {wanted_level!r}", pytrace=False)
    wanted_name = None if accelerator is None else _argument(accelerator, "name", None)
    device: Device = request.getfixturevalue("nnapi_device")
    hello: Hello | str = request.getfixturevalue("_nnapi_hello")
    reason = missing(hello, device.name, wanted_level, accelerator is not None, wanted_name)
    if reason:
        pytest.skip(reason)


def _argument(marker: pytest.Mark, name: str, default: Any) -> Any:
    return marker.args[0] if marker.args else marker.kwargs.get(name, default)


def missing(hello: Hello | str, device: str, level: int, accelerator: bool, name: str | None) -> str:
    """What a device lacks for a test, "" if nothing.

    Args:
        hello: What NNAPI it has; a text where it has none.
        device: Its name.
        level: The feature level needed, 0 for any.
        accelerator: Whether an NNAPI device other than NNAPI's own CPU is needed.
        name: Which one, None for any.
    """
    from nnapi_toolkit.errors import UsageError
    from nnapi_toolkit.options import SessionOptions, choose_devices

    if isinstance(hello, str):
        return f"{device} has no NNAPI: {hello}"
    try:
        choice = choose_devices(SessionOptions(accelerator=name), hello, device)
    except UsageError as error:
        return f"needs accelerator {name!r}: {error}"
    if accelerator and (not choice.usable or not choice.devices):
        return f"needs an accelerator: NNAPI on {device} offers none but its own CPU"
    if choice.level < level:
        return f"needs NNAPI feature level {level}: {device} has {choice.level}"
    return ""


# -- sessions and comparisons ---------------------------------------------------------------------------------------


@pytest.fixture
def nnapi_session(nnapi_device: Device) -> Iterator[Callable[..., Session]]:
    """Makes sessions on the device: `nnapi_session(model, options=None)`. They are closed when the test ends."""
    from nnapi_toolkit.session import Session

    with contextlib.ExitStack() as stack:

        def make(model: str | Path, options: SessionOptions | None = None) -> Session:
            return stack.enter_context(Session(model, nnapi_device, options))

        yield make


@pytest.fixture
def assert_model_matches(request: pytest.FixtureRequest) -> Callable[..., Verification]:
    """`assert_model_matches(model, device=None, inputs=None, tolerance=None, *, runs=1, options=None)`: see `check_model`.

    Without a device: the one of --nnapi-device.
    """

    def check(
        model: str | Path,
        device: str | Device | None = None,
        inputs: Any = None,
        tolerance: Tolerance | float | None = None,
        *,
        runs: int = 1,
        options: SessionOptions | None = None,
    ) -> Verification:
        __tracebackhide__ = True
        where = request.getfixturevalue("nnapi_device") if device is None else device
        return check_model(model, where, inputs, tolerance, runs=runs, options=options)

    return check


def check_model(
    model: str | Path,
    device: str | Device,
    inputs: Any = None,
    tolerance: Tolerance | float | None = None,
    *,
    runs: int = 1,
    options: SessionOptions | None = None,
) -> Verification:
    """Asserts that a model gives on a device what it gives on the CPU reference.

    Args:
        model: Path of a `.tflite` file.
        device: A specification or an opened device.
        inputs: One set of inputs: a list of arrays in the model's order, a dict by tensor name, or an npz file; a list of such
            sets for several runs; None: random inputs.
        tolerance: `Tolerance`, or a number: floats may differ by that much, absolutely or relatively, and integers by as many
            whole steps. None: integers equal, floats within 1e-5 relative or 1e-6 absolute.
        runs: Random sets of inputs to try.
        options: How to plan and compile.

    Returns:
        The comparison, with the plan's summary.

    Raises:
        AssertionError: An output exceeds the bound; the text has the statistics and the first node that does.
    """
    __tracebackhide__ = True
    from nnapi_toolkit.delegate.graph import Graph
    from nnapi_toolkit.verify import verify_model

    graph = Graph.open(model)
    found = verify_model(
        graph, device, input_sets(graph, inputs), runs=runs, tolerance=as_tolerance(tolerance), options=options
    )
    if not found.within:
        raise AssertionError(f"{Path(model).name}: {found.explain()}")
    return found


def as_tolerance(value: Tolerance | float | None) -> Tolerance | None:
    """A `Tolerance` from what `check_model` takes."""
    from nnapi_toolkit.arrays import Tolerance

    if value is None or isinstance(value, Tolerance):
        return value
    return Tolerance(absolute=float(value), relative=float(value), steps=int(value))


def input_sets(graph: Any, inputs: Any) -> list[Any] | None:
    """Sets of inputs, one per run, from what `check_model` takes. None stays None.

    Raises:
        UsageError: They are not the model's inputs.
    """
    from nnapi_toolkit.arrays import check_inputs, load_inputs

    if inputs is None:
        return None
    main = graph.subgraphs[0]
    tensors = [main.tensors[index] for index in main.inputs]

    def one(given: Any) -> list[Any]:
        if isinstance(given, (str, Path)):
            return load_inputs(Path(given), tensors)
        if not isinstance(given, (Mapping, Sequence)):  # a single array for the only input
            given = [given]
        return check_inputs(tensors, given)

    nested = (str, Path, Mapping, list, tuple)
    several = isinstance(inputs, (list, tuple)) and bool(inputs) and all(isinstance(entry, nested) for entry in inputs)
    return [one(entry) for entry in inputs] if several else [one(inputs)]
