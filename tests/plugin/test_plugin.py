"""The pytest plugin as its users have it: test files of their own, run by pytest."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import entry_points
from pathlib import Path

import numpy as np
import pytest
from nnapi_toolkit.android.protocol import Hello, NnapiDevice
from nnapi_toolkit.device.virtual.config import VirtualConfig
from nnapi_toolkit.device.virtual.launch import launch
from nnapi_toolkit.device.virtual_phone import open_virtual, prepare_config
from nnapi_toolkit.pytest_plugin import as_tolerance, missing

from tests.modelbuilder import ModelBuilder

pytest_plugins = ["pytester"]

Run = Callable[..., pytest.RunResult]
#: pytester gives its runs another home; the native parts shall not be built there once more.
CACHE = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")


@pytest.fixture
def run(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs pytest on a test file, beside a small model `m.tflite`."""
    monkeypatch.delenv("ANDROID_SERIAL", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", CACHE)
    builder = ModelBuilder()
    x = builder.tensor("x", "float32", (1, 4))
    y = builder.tensor("y", "float32", (1, 4))
    z = builder.tensor("z", "float32", (1, 4))
    builder.op("TANH", [x], [y])
    builder.op("LOGISTIC", [y], [z])
    (pytester.path / "m.tflite").write_bytes(builder.build([x], [z]))
    np.savez(pytester.path / "in.npz", x=np.ones((1, 4), np.float32))

    def start(text: str, *arguments: str) -> pytest.RunResult:
        pytester.makepyfile(test_it=text)
        registered = any(e.name == "nnapi_toolkit" for e in entry_points(group="pytest11"))
        plugin = [] if registered else ["-p", "nnapi_toolkit.pytest_plugin"]
        return pytester.runpytest_subprocess(*plugin, "-rs", "-p", "no:cacheprovider", *arguments, timeout=120)

    return start


def test_importing_it_is_cheap() -> None:
    text = "import sys, nnapi_toolkit.pytest_plugin; print(sorted({m.split('.')[0] for m in sys.modules}))"
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, timeout=60, check=True)
    for heavy in ("numpy", "cffi", "rich", "click", "flatbuffers"):
        assert f"'{heavy}'" not in done.stdout


def test_models_that_match(run: Run) -> None:
    result = run(
        """
        import numpy as np
        from nnapi_toolkit import Tolerance

        ONES = np.ones((1, 4), np.float32)

        def test_plain(assert_model_matches):
            found = assert_model_matches("m.tflite")
            assert found.summary["delegated_nodes"] == 2
            assert found.device == "local"

        def test_inputs(assert_model_matches):
            for inputs in (ONES, [ONES], (ONES,), {"x": ONES}, {"input_0": ONES}, "in.npz", [{"x": ONES}, "in.npz", [ONES]]):
                assert_model_matches("m.tflite", inputs=inputs)
            assert len(assert_model_matches("m.tflite", None, [[ONES], [2 * ONES]], 1e-5).runs) == 2
            assert len(assert_model_matches("m.tflite", runs=3).runs) == 3

        def test_other_devices(assert_model_matches, nnapi_device):
            assert_model_matches("m.tflite", "cpu")
            assert_model_matches("m.tflite", "local,fl=2", None, Tolerance(absolute=1e-6))
            assert_model_matches("m.tflite", nnapi_device, [ONES], 1e-5)
        """,
        "--nnapi-device",
        "local",
    )
    result.assert_outcomes(passed=3)
    result.stdout.fnmatch_lines(["nnapi device: local"])


def test_a_model_that_does_not_match_names_the_node(run: Run) -> None:
    result = run(
        """
        from nnapi_toolkit.reference import find_kernel
        from nnapi_toolkit.reference.base import KERNELS

        def test_it(assert_model_matches, monkeypatch):
            right = find_kernel("TANH")
            monkeypatch.setitem(KERNELS, "TANH", lambda node, inputs, runtime: [1 + y for y in right(node, inputs, runtime)])
            assert_model_matches("m.tflite")
        """,
        "--nnapi-device",
        "local",
    )
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        ["*AssertionError: m.tflite: local differs from the CPU reference", "*output 'z': max abs*", "*node 0 (TANH)*'y'*"]
    )
    assert "verify_model(" not in result.stdout.str(), "the plugin's own frames are shown"


def test_markers_skip_with_the_reason(run: Run) -> None:
    result = run(
        """
        import pytest

        @pytest.mark.nnapi_feature_level(3)
        def test_low(): pass

        @pytest.mark.nnapi_feature_level(5)
        def test_high(): raise AssertionError

        @pytest.mark.nnapi_feature_level(level=9)
        def test_wrong(): pass

        @pytest.mark.nnapi_accelerator
        def test_any(): pass

        @pytest.mark.nnapi_accelerator("softnn")
        def test_named(nnapi_device): assert nnapi_device.name == "local"

        @pytest.mark.nnapi_accelerator(name="google-edgetpu")
        def test_other(): raise AssertionError

        def test_plain(): pass
        """,
        "--nnapi-device",
        "local,fl=3",
    )
    result.assert_outcomes(passed=4, skipped=2, errors=1)
    result.stdout.fnmatch_lines(["*needs NNAPI feature level 5: local has 3*"])
    result.stdout.fnmatch_lines(["*needs accelerator 'google-edgetpu'*it has softnn*"])
    result.stdout.fnmatch_lines(["*nnapi_feature_level takes a level from 1 to 8, not 9*"])


def test_markers_are_known(run: Run) -> None:
    result = run("def test_it(): pass", "--markers")
    result.stdout.fnmatch_lines(["@pytest.mark.nnapi_feature_level*", "@pytest.mark.nnapi_accelerator*"])


def test_sessions_end_with_their_test(run: Run) -> None:
    result = run(
        """
        import numpy as np
        from nnapi_toolkit import SessionOptions

        opened = []

        def test_two_sessions(nnapi_session):
            for options in (None, SessionOptions(allow_fp16=True)):
                session = nnapi_session("m.tflite", options)
                session.run([np.zeros((1, 4), np.float32)])
                opened.append(session)
            assert all(session.device_session is not None for session in opened)

        def test_afterwards():
            assert len(opened) == 2
            assert all(session.device_session is None for session in opened)
        """,
        "--nnapi-device",
        "local",
    )
    result.assert_outcomes(passed=2)


def test_the_ini_file_and_the_option(run: Run, pytester: pytest.Pytester) -> None:
    text = "def test_it(nnapi_device): assert nnapi_device.info().feature_level == 4"
    pytester.makeini("[pytest]\nnnapi_device = local,fl=4\n")
    run(text).assert_outcomes(passed=1)
    run(text, "--nnapi-device", "local,fl=5").assert_outcomes(failed=1)


def test_a_device_that_is_none(run: Run) -> None:
    result = run("def test_it(nnapi_device): pass", "--nnapi-device", "local,fl=99")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*fl=99*"])


# -- workers --------------------------------------------------------------------------------------------------------

WHERE = """
    import os
    import pytest

    @pytest.mark.parametrize("number", range(4))
    def test_where(nnapi_device, assert_model_matches, number):
        assert_model_matches("m.tflite")
        with open(f"seen-{os.getpid()}-{number}", "w") as file:
            file.write(nnapi_device.serial)
"""


def seen(pytester: pytest.Pytester) -> dict[str, set[str]]:
    """Process -> the devices that its tests saw."""
    found: dict[str, set[str]] = {}
    for path in pytester.path.glob("seen-*"):
        found.setdefault(path.name.split("-")[1], set()).add(path.read_text())
    return found


def test_one_virtual_device_for_each_worker(run: Run, pytester: pytest.Pytester) -> None:
    run(WHERE, "--nnapi-device", "virtual", "-n", "2").assert_outcomes(passed=4)
    found = seen(pytester)
    assert len(found) == 2
    assert all(len(serials) == 1 for serials in found.values())
    assert len(set.union(*found.values())) == 2, "two workers shared one virtual device"


@pytest.fixture
def two_phones(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Two phones at the environment's adb server."""
    with open_virtual() as first, launch(prepare_config(VirtualConfig())) as second:
        first.server.connect_device(second.serial)
        monkeypatch.setenv("ADB_SERVER_SOCKET", f"localfilesystem:{first.phone.adb_socket}")
        monkeypatch.delenv("ANDROID_SERIAL", raising=False)
        yield sorted([first.serial, second.serial])


@pytest.mark.parametrize("spec", ["auto", "all"])
def test_phones_are_dealt_out_to_workers(
    run: Run, pytester: pytest.Pytester, two_phones: list[str], spec: str
) -> None:
    run(WHERE, "--nnapi-device", spec, "-n", "2").assert_outcomes(passed=4)
    found = seen(pytester)
    assert all(len(serials) == 1 for serials in found.values())
    assert sorted(serial for serials in found.values() for serial in serials) == two_phones


def test_a_phone_that_is_named_is_everybody_s(
    run: Run, pytester: pytest.Pytester, two_phones: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANDROID_SERIAL", two_phones[1])
    run(WHERE, "-n", "2").assert_outcomes(passed=4)
    assert set.union(*seen(pytester).values()) == {two_phones[1]}


def test_without_workers_the_one_phone_must_be_clear(run: Run, two_phones: list[str]) -> None:
    result = run(WHERE)
    result.assert_outcomes(errors=4)
    result.stdout.fnmatch_lines(["*ANDROID_SERIAL*"])
    run(WHERE, "--nnapi-device", two_phones[0]).assert_outcomes(passed=4)


# -- the parts ------------------------------------------------------------------------------------------------------


def test_what_is_missing() -> None:
    accelerator, cpu = NnapiDevice(0, 4, 3, "npu", "1"), NnapiDevice(1, 2, 5, "nnapi-reference", "")

    def hello(*devices: NnapiDevice, level: int = 5) -> Hello:
        return Hello(1, "", 1, level, 64, "libneuralnetworks.so", devices)

    assert missing(hello(accelerator, cpu), "phone", 3, True, "npu") == ""
    assert "level 4" in missing(hello(accelerator, cpu), "phone", 4, False, None)
    assert "offers none" in missing(hello(cpu), "phone", 0, True, None)
    assert missing(hello(cpu), "phone", 5, False, None) == ""
    assert "offers none" in missing(hello(level=2), "phone", 0, True, None)
    assert missing(hello(level=2), "phone", 2, False, None) == ""
    assert "no NNAPI" in missing("libneuralnetworks.so cannot be loaded", "phone", 1, False, None)


@pytest.mark.parametrize(
    ("value", "bounds"), [(0.5, (0.5, 0.5, 0)), (2, (2.0, 2.0, 2)), (1e-4, (1e-4, 1e-4, 0))]
)
def test_a_number_as_tolerance(value: float, bounds: tuple[float, float, int]) -> None:
    found = as_tolerance(value)
    assert found is not None
    assert (found.absolute, found.relative, found.steps) == bounds
    assert as_tolerance(None) is None
    assert as_tolerance(found) is found


def test_the_entry_point_is_declared() -> None:
    root = Path(__file__).resolve().parents[2]
    if not (root / "pyproject.toml").exists():
        pytest.skip("not a source tree")
    import tomllib

    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    assert project["entry-points"]["pytest11"] == {"nnapi_toolkit": "nnapi_toolkit.pytest_plugin"}
    assert json.dumps(project["dependencies"]).count("pytest") == 0, "users of the command need no pytest"
