"""Device specifications."""

from __future__ import annotations

from pathlib import Path

import pytest
from nnapi_toolkit.device import LocalDevice, open_device, parse_spec
from nnapi_toolkit.device.virtual.config import VirtualConfig, host_abi
from nnapi_toolkit.device.virtual_phone import VIRTUAL_TARGETS, prepare_config
from nnapi_toolkit.errors import DeviceError, UsageError


def test_words() -> None:
    assert parse_spec("auto").kind == "auto"
    assert parse_spec("cpu").kind == "cpu"
    assert parse_spec("local").kind == "local"
    assert (parse_spec("virtual").kind, parse_spec("virtual").abi) == ("virtual", host_abi())
    assert (parse_spec("abi:arm64-v8a").kind, parse_spec("abi:arm64-v8a").abi) == ("abi", "arm64-v8a")
    for serial in ("emulator-5554", "127.0.0.1:5555", "R58M12", "adb-0A._adb-tls-connect._tcp"):
        assert (parse_spec(serial).kind, parse_spec(serial).serial) == ("serial", serial)


def test_settings() -> None:
    faults = "faults=Execution_compute:kill:2+getDevice:5"
    spec = parse_spec(f"virtual:arm64-v8a,fl=3,refuse=AVERAGE_POOL_2D+ADD,refuse-every=3,{faults}")
    assert (spec.abi, spec.feature_level, spec.refuse, spec.refuse_every) == ("arm64-v8a", 3, ("AVERAGE_POOL_2D", "ADD"), 3)
    config = spec.config()
    assert config.softnn_environment() == {
        "SOFTNN_FEATURE_LEVEL": "3",
        "SOFTNN_REFUSE": "AVERAGE_POOL_2D+ADD",
        "SOFTNN_REFUSE_EVERY": "3",
        "SOFTNN_FAULTS": "Execution_compute:kill:2,getDevice:5",
    }
    assert config.build_properties()["ro.build.version.sdk"] == "29"
    assert parse_spec("local,fl=1").feature_level == 1


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("virtual:mips", "mips.*x86_64"), ("abi:mips", "mips.*x86_64"), ("abi:", "no ABI"), ("virtual:", "no ABI"), ("virtual,fl=9", "1 to 8"), ("virtual,fl=0", "1 to 8"),
        ("virtual,fl=three", "1 to 8"), ("virtual,fl", "no setting"), ("virtual,level=3", "no setting"),
        ("virtual,refuse=AVERAGE_POOL", "AVERAGE_POOL_2D"), ("virtual,fl=1,fl=2", "twice"), ("local:x86_64", "no device"),
        ("local,refuse-every=0", "refuse-every"), ("", "no device"), (" auto", "no device"), ("virtual,", "no setting"),
        ("local,library=x.so", "for virtual devices"), ("local,build=static", "for virtual devices"), ("virtual,build=fast", "only `static`"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(text: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        parse_spec(text)


def test_a_library_is_of_this_machine(tmp_path: Path) -> None:
    """Only a program with a dynamic linker can load one."""
    library = tmp_path / "libneuralnetworks.so"
    with pytest.raises(DeviceError, match="is no file"):
        prepare_config(parse_spec(f"virtual,library={library}").config())
    library.write_bytes(b"")
    assert prepare_config(parse_spec(f"virtual,library={library}").config()).target == "host"
    plain = prepare_config(parse_spec("virtual").config())
    assert plain.target == "host" and Path(plain.library).name == "libneuralnetworks.so"
    static = prepare_config(parse_spec("virtual,build=static").config())
    assert static.target == VIRTUAL_TARGETS[host_abi()] and not static.library
    with pytest.raises(DeviceError, match="Leave one of the two out"):
        prepare_config(parse_spec(f"virtual,build=static,library={library}").config())
    other = next(abi for abi in VIRTUAL_TARGETS if abi != host_abi())
    with pytest.raises(DeviceError, match="have software NNAPI in them"):
        prepare_config(parse_spec(f"virtual:{other},library={library}").config())


def test_cpu_is_no_device() -> None:
    with pytest.raises(UsageError, match="CPU reference"):
        open_device("cpu")


def test_local_needs_no_adb() -> None:
    device = open_device("local,fl=4")
    assert isinstance(device, LocalDevice)
    assert (device.info().feature_level, device.info().release) == (4, "11")


def test_configuration_crosses_the_process_border() -> None:
    config = VirtualConfig(
        abi="arm64-v8a", feature_level=2, refuse=("ADD",), runner=("qemu", "-L", "x"), environment={"A": "b"},
        properties={"ro.x": "y"}, serial="S",
    )  # fmt: skip
    assert VirtualConfig.from_json(config.to_json()) == config


@pytest.mark.parametrize("settings", [{"abi": "z80"}, {"feature_level": 9}, {"refuse_every": -1}])
def test_bad_configuration(settings: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"choose|must be"):
        VirtualConfig(**settings)  # type: ignore[arg-type]
