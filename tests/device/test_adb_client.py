"""What we make of the adb server's answers: device lists, addresses, choices, failures."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from nnapi_toolkit.device import choose, list_devices, open_device
from nnapi_toolkit.device.adb import AdbDevice, device_info, parse_properties
from nnapi_toolkit.device.adbclient import AdbServer, Address, ListedDevice, parse_devices
from nnapi_toolkit.device.virtual.config import VirtualConfig
from nnapi_toolkit.device.virtual.launch import launch
from nnapi_toolkit.device.virtual_phone import VirtualDevice
from nnapi_toolkit.errors import (
    AdbServerError,
    DeviceLostError,
    DeviceNotFoundError,
    DeviceStateError,
    DeviceTimeoutError,
    UsageError,
)

from tests.device.conftest import wait_until

NO_PERMISSIONS = (
    "no permissions (user in plugdev group; are your udev rules wrong?); "
    "see [http://developer.android.com/tools/device.html]"
)
LISTING = f"""\
* daemon not running; starting now at tcp:5037
* daemon started successfully
emulator-5554          device product:sdk_gphone64_x86_64 model:sdk_gphone64_x86_64 device:emu64xa transport_id:1
0123456789ABCDEF       unauthorized usb:1-4 transport_id:2
R58M\toffline usb:1-2 transport_id:3
0a1b2c3d               {NO_PERMISSIONS} usb:3-1.2 transport_id:7
192.168.1.5:5555       device product:virtual model:Virtual_Phone device:virtual transport_id:12
adb-0A1B-xyz._adb-tls-connect._tcp device product:a model:b device:c transport_id:4

"""


def test_device_list_with_noise() -> None:
    devices = parse_devices(LISTING)
    assert [(d.serial, d.state, d.transport_id) for d in devices] == [
        ("emulator-5554", "device", 1),
        ("0123456789ABCDEF", "unauthorized", 2),
        ("R58M", "offline", 3),
        ("0a1b2c3d", "no permissions", 7),
        ("192.168.1.5:5555", "device", 12),
        ("adb-0A1B-xyz._adb-tls-connect._tcp", "device", 4),
    ]
    assert devices[0].facts["model"] == "sdk_gphone64_x86_64"
    assert "Allow USB debugging" in devices[1].advice
    assert "udev" in devices[3].advice
    assert devices[4].advice == ""


def test_properties_of_several_lines() -> None:
    text = "[a.b]: [1]\r\n[multi]: [first\nsecond]: [x\nthird]\n[empty]: []\n[last]: [a]]b]\n"
    assert parse_properties(text) == {"a.b": "1", "multi": "first\nsecond]: [x\nthird", "empty": "", "last": "a]]b"}


@pytest.mark.parametrize(("api", "level"), [(26, 0), (27, 1), (28, 2), (29, 3), (30, 4), (31, 5), (35, 5)])
def test_feature_level_of_a_real_phone(api: int, level: int) -> None:
    properties = {"ro.build.version.sdk": str(api), "ro.product.cpu.abilist": "arm64-v8a,armeabi-v7a"}
    info = device_info(ListedDevice("X", "device"), properties)
    assert (info.api_level, info.feature_level, info.abis, info.virtual) == (api, level, ("arm64-v8a", "armeabi-v7a"), False)


# -- addresses -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("tcp:5038", Address("127.0.0.1", 5038)), ("tcp:farm.example:5037", Address("farm.example", 5037)),
        ("tcp:[::1]:5037", Address("::1", 5037)), ("localfilesystem:/run/adb", Address(path="/run/adb")),
    ],
)  # fmt: skip
def test_address(text: str, address: Address) -> None:
    assert Address.parse(text) == address


@pytest.mark.parametrize("text", ["", "5037", "tcp:", "tcp:x", "tcp:host:0", "tcp:1:70000", "udp:1", "localfilesystem:"])
def test_bad_address(text: str) -> None:
    with pytest.raises(UsageError, match="adb server"):
        Address.parse(text)


def test_address_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ADB_SERVER_SOCKET", "ANDROID_ADB_SERVER_PORT", "ANDROID_ADB_SERVER_ADDRESS"):
        monkeypatch.delenv(name, raising=False)
    assert Address.default() == Address("127.0.0.1", 5037)
    monkeypatch.setenv("ANDROID_ADB_SERVER_PORT", "5099")
    assert Address.default() == Address("127.0.0.1", 5099)
    assert Address.default(host="farm", port=1) == Address("farm", 1)
    monkeypatch.setenv("ADB_SERVER_SOCKET", "tcp:other:5000")
    assert Address.default() == Address("other", 5000)
    assert Address.default(port=5001).port == 5001
    monkeypatch.delenv("ADB_SERVER_SOCKET")
    monkeypatch.setenv("ANDROID_ADB_SERVER_PORT", "many")
    with pytest.raises(UsageError, match="ANDROID_ADB_SERVER_PORT"):
        Address.default()


# -- a server that answers as told ---------------------------------------------------------------------------------

Answer = Callable[[bytes], bytes]


@pytest.fixture
def scripted(tmp_path: Path) -> Iterator[Callable[[Answer], AdbServer]]:
    """Makes an adb server whose answers are a function of the request; b"" leaves the request without an answer."""
    listener = socket.socket(socket.AF_UNIX)
    path = str(tmp_path / "adb")
    listener.bind(path)
    listener.listen()
    stop = threading.Event()

    def make(answer: Answer) -> AdbServer:
        def run() -> None:
            while not stop.is_set():
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                request = connection.recv(4)
                if request:
                    reply = answer(connection.recv(int(request, 16)))
                    connection.sendall(reply)
                if not request or reply:
                    connection.close()
                else:
                    held.append(connection)

        held: list[socket.socket] = []
        threading.Thread(target=run, daemon=True).start()
        return AdbServer(Address(path=path))

    yield make
    stop.set()
    listener.close()


def listing(text: str) -> Answer:
    return lambda request: b"OKAY" + f"{len(text):04x}{text}".encode()


def test_choice(scripted: Callable[[Answer], AdbServer], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ANDROID_SERIAL", raising=False)
    server = scripted(listing(LISTING))
    assert server.choose("emulator-5554").serial == "emulator-5554"
    with pytest.raises(DeviceNotFoundError, match=r"3 devices are attached: emulator-5554 \(device\).*ANDROID_SERIAL"):
        server.choose()
    monkeypatch.setenv("ANDROID_SERIAL", "192.168.1.5:5555")
    assert server.choose().serial == "192.168.1.5:5555"
    monkeypatch.setenv("ANDROID_SERIAL", "nobody")
    with pytest.raises(DeviceNotFoundError, match=r"no device 'nobody'.*R58M"):
        server.choose()
    for serial, state in (("0123456789ABCDEF", "unauthorized"), ("R58M", "offline"), ("0a1b2c3d", "no permissions")):
        with pytest.raises(DeviceStateError, match=f"{serial}: is {state}") as caught:
            server.choose(serial)
        assert caught.value.state == state
        assert caught.value.advice


def test_the_only_usable_one_is_chosen(scripted: Callable[[Answer], AdbServer], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ANDROID_SERIAL", raising=False)
    server = scripted(listing("A offline\nB device\nC unauthorized\n"))
    assert server.choose().serial == "B"


def test_equal_serials(scripted: Callable[[Answer], AdbServer]) -> None:
    server = scripted(listing("same device transport_id:1\nsame device transport_id:2\n"))
    with pytest.raises(DeviceNotFoundError, match=r"2 devices.*--device transport_id:1 or --device transport_id:2"):
        server.choose("same")
    assert server.choose("transport_id:2").transport_id == 2


def test_auto_never_passes_over_a_phone(scripted: Callable[[Answer], AdbServer], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ANDROID_SERIAL", raising=False)
    with pytest.raises(DeviceStateError, match="unauthorized"):
        open_device("auto", scripted(listing("A unauthorized\n")))


@pytest.mark.parametrize(
    ("reply", "error", "text"),
    [
        (b"FAIL0005wrong", AdbServerError, "wrong"),
        (b"HTTP/1.1 400 Bad Request", AdbServerError, "HTTP"),
        (b"OKAYzzzz", AdbServerError, "zzzz"),
        (b"OK", DeviceLostError, "closed"),
        (b"OKAY0010short", DeviceLostError, "closed"),
    ],
)
def test_broken_answers(
    scripted: Callable[[Answer], AdbServer], reply: bytes, error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=text):
        scripted(lambda request: reply).devices()


def test_a_silent_server_meets_the_deadline(scripted: Callable[[Answer], AdbServer]) -> None:
    with pytest.raises(DeviceTimeoutError, match="deadline"):
        scripted(lambda request: b"").ask("host:version", seconds=0.2)


def test_no_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ANDROID_SERIAL", raising=False)
    server = AdbServer(Address(path=str(tmp_path / "nothing")))
    assert not server.running()
    assert list_devices(server) == []
    with pytest.raises(AdbServerError, match="adb start-server"):
        server.devices()
    with pytest.raises(AdbServerError, match="no adb server"):
        open_device("SERIAL", server)


def test_auto_without_server_and_phone_is_virtual(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ANDROID_SERIAL", raising=False)
    opened: list[object] = []
    monkeypatch.setattr(choose, "usb_phone_attached", lambda: False)
    monkeypatch.setattr(choose, "open_virtual", lambda config, progress: opened.append(config))
    open_device("auto", AdbServer(Address(path=str(tmp_path / "nothing"))))
    assert opened == [None]


# -- the real server -----------------------------------------------------------------------------------------------


def test_the_real_server_lists_the_phone(phone: VirtualDevice) -> None:
    assert phone.server.version() >= 41
    [listed] = phone.server.devices()
    assert (listed.serial, listed.state, listed.facts["model"]) == (phone.serial, "device", "Virtual_Phone")
    assert {"shell_v2", "stat_v2", "ls_v2"} <= phone.server.features(phone.serial)
    [info] = list_devices(phone.server)
    assert (info.serial, info.model, info.api_level, info.virtual) == (phone.serial, "Virtual Phone", 31, True)
    assert open_device("auto", phone.server).info().serial == phone.serial
    with pytest.raises(DeviceNotFoundError, match="no device 'other'"):
        open_device("other", phone.server)


def test_by_number(phone: VirtualDevice) -> None:
    [listed] = phone.server.devices()
    with open_device(listed.transport, phone.server) as device:
        assert isinstance(device, AdbDevice)
        assert device.info().serial == phone.serial
        assert device.command("echo here").text == "here\n"


def test_an_address_is_connected_to(phone: VirtualDevice, fresh_phone: Callable[[], VirtualDevice]) -> None:
    """HOST:PORT that the server does not know (any more) needs no `adb connect` by hand."""
    other = fresh_phone()
    with open_device(other.serial, phone.server) as device:
        assert device.info().model == "Virtual Phone"
    phone.server.disconnect_device(other.serial)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        nobody = f"127.0.0.1:{taken.getsockname()[1]}"
    with pytest.raises(DeviceNotFoundError, match="Is the device on"):
        open_device(nobody, phone.server)


def test_refused_services_and_missing_devices(phone: VirtualDevice) -> None:
    with pytest.raises(DeviceLostError, match=f"{phone.serial}: refused the service 'reboot:'"):
        phone.server.open(phone.serial, "reboot:")
    with pytest.raises(DeviceNotFoundError):
        phone.server.open("nobody", "exec:ls")
    with pytest.raises(AdbServerError, match="nobody"):
        phone.server.state("nobody")
    assert phone.server.state(phone.serial) == "device"


def test_unauthorized_phone() -> None:
    """A phone that has not accepted the key is listed so, with advice, by the real server."""
    with launch(VirtualConfig(state="unauthorized")) as running:
        server = AdbServer(Address(path=running.adb_socket))
        with pytest.raises(DeviceNotFoundError):
            server.connect_device(running.serial)
        assert wait_until(lambda: [d.state for d in server.devices()] == ["unauthorized"])
        with pytest.raises(DeviceStateError, match="Allow USB debugging"):
            server.choose(running.serial)
        [info] = list_devices(server)
        assert info.state == "unauthorized"
        assert "Allow USB debugging" in info.advice
