"""The ADB wire protocol, byte for byte, from the place of an adb server."""

from __future__ import annotations

import hashlib
import os
import socket
import struct
from collections.abc import Iterator

import pytest
from nnapi_toolkit.device.virtual import wire
from nnapi_toolkit.device.virtual_phone import VirtualDevice

Packet = tuple[int, int, int, bytes]


class Server:
    """One connection as an adb server makes it, packet by packet."""

    def __init__(self, port: int, version: int = 0x01000001, features: str = "shell_v2", limit: int = 1 << 20) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=10)
        self.checksums = version < 0x01000001
        self.send(wire.CNXN, version, limit, b"host::features=" + features.encode())
        self.hello = self.receive()

    def send(self, command: int, arg0: int, arg1: int, payload: bytes = b"", check: int | None = None) -> None:
        if check is None:
            check = sum(payload) & 0xFFFFFFFF if self.checksums else 0
        self.socket.sendall(wire.header(command, arg0, arg1, len(payload), check) + payload)

    def exactly(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            piece = self.socket.recv(count - len(data))
            if not piece:
                raise EOFError
            data += piece
        return data

    def receive(self) -> Packet:
        command, arg0, arg1, length, check, magic = struct.unpack("<6I", self.exactly(24))
        assert magic == command ^ 0xFFFFFFFF
        payload = self.exactly(length)
        assert check == (sum(payload) & 0xFFFFFFFF if self.checksums else 0)
        return command, arg0, arg1, payload

    def open(self, local: int, service: bytes, window: int = 0) -> int:
        self.send(wire.OPEN, local, window, service + b"\0")
        command, remote, mine, _ = self.receive()
        assert (command, mine) == (wire.OKAY, local)
        return remote


@pytest.fixture
def port(phone: VirtualDevice) -> int:
    return phone.phone.port


@pytest.fixture
def server(port: int) -> Iterator[Server]:
    made = Server(port)
    yield made
    made.socket.close()


def test_banner_offers_only_what_is_there(server: Server) -> None:
    command, version, limit, banner = server.hello
    assert (command, version, limit) == (wire.CNXN, 0x01000001, 1 << 20)
    kind, _, rest = banner.partition(b"::")
    assert kind == b"device"
    fields = dict(field.split(b"=") for field in rest.split(b";"))
    assert fields[b"ro.product.model"] == b"Virtual Phone"
    assert set(fields[b"features"].split(b",")) == {
        b"shell_v2", b"stat_v2", b"ls_v2", b"fixed_push_mkdir", b"sendrecv_v2", b"sendrecv_v2_dry_run_send", b"delayed_ack",
    }  # fmt: skip


def test_old_version_gets_checksums(port: int) -> None:
    server = Server(port, version=0x01000000)
    assert server.hello[1] == 0x01000000
    remote = server.open(7, b"exec:echo checked")
    assert server.receive() == (wire.WRTE, remote, 7, b"checked\n")
    server.send(wire.OKAY, 7, remote)
    assert server.receive() == (wire.CLSE, remote, 7, b"")


def test_wrong_checksum_ends_the_connection(port: int) -> None:
    server = Server(port, version=0x01000000)
    server.send(wire.OPEN, 7, 0, b"exec:echo x\0", check=1)
    with pytest.raises((EOFError, ConnectionError)):
        server.receive()


@pytest.mark.parametrize(
    "raw",
    [
        struct.pack("<6I", wire.OPEN, 1, 0, 0, 0, 0),  # magic
        struct.pack("<6I", wire.WRTE, 1, 0, (1 << 20) + 1, 0, wire.WRTE ^ 0xFFFFFFFF),  # too long
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    ],
)
def test_what_is_no_packet_ends_the_connection(server: Server, raw: bytes) -> None:
    server.socket.sendall(raw)
    with pytest.raises((EOFError, ConnectionError)):
        while True:
            server.receive()


@pytest.mark.parametrize("name", [b"reboot:", b"root:", b"tcp:80", b"jdwp:1", b"localabstract:x", b"no-colon", b"exec:", b""])
def test_services_that_do_not_exist_are_refused(server: Server, name: bytes) -> None:
    server.send(wire.OPEN, 9, 0, name + b"\0")
    assert server.receive() == (wire.CLSE, 0, 9, b"")


def test_nothing_is_answered_before_the_handshake(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=10) as raw:
        raw.sendall(wire.header(wire.OPEN, 1, 0, 8, 0) + b"exec:ls\0")
        raw.settimeout(0.3)
        with pytest.raises(TimeoutError):
            raw.recv(1)


def test_packets_for_streams_that_are_not_there(server: Server) -> None:
    server.send(wire.WRTE, 5, 77, b"data")
    assert server.receive() == (wire.CLSE, 0, 5, b"")
    server.send(wire.OKAY, 5, 77)
    server.send(wire.CLSE, 5, 77)
    remote = server.open(6, b"exec:echo alive")
    assert server.receive() == (wire.WRTE, remote, 6, b"alive\n")


def test_a_stream_of_another_one_is_not_touched(server: Server) -> None:
    remote = server.open(6, b"exec:cat")
    server.send(wire.CLSE, 5, remote)  # not the peer of that stream
    server.send(wire.WRTE, 6, remote, b"still there")
    assert {server.receive()[0], server.receive()[0]} == {wire.OKAY, wire.WRTE}


def test_one_write_is_on_its_way_at_most(server: Server) -> None:
    """Without delayed_ack, the next WRTE comes only after OKAY."""
    remote = server.open(3, b"exec:cat /dev/zero")
    first = server.receive()
    assert first[:3] == (wire.WRTE, remote, 3)
    server.socket.settimeout(0.3)
    with pytest.raises(TimeoutError):
        server.receive()
    server.socket.settimeout(10)
    server.send(wire.OKAY, 3, remote)
    assert server.receive()[0] == wire.WRTE
    server.send(wire.CLSE, 3, remote)


def test_delayed_acknowledgements(port: int) -> None:
    """With delayed_ack, a stream sends as many bytes as it was given room for, and no more."""
    server = Server(port, features="shell_v2,delayed_ack")
    window = 300_000
    server.send(wire.OPEN, 3, window, b"exec:cat /dev/zero\0")
    command, remote, _, room = server.receive()
    assert command == wire.OKAY
    assert struct.unpack("<i", room)[0] >= 1 << 20
    got = 0
    while got < window:
        command, _, _, payload = server.receive()
        assert command == wire.WRTE
        got += len(payload)
    assert got == window
    server.socket.settimeout(0.3)
    with pytest.raises(TimeoutError):
        server.receive()
    server.socket.settimeout(10)
    server.send(wire.OKAY, 3, remote, struct.pack("<i", 1000))
    assert len(server.receive()[3]) == 1000


def test_acknowledges_what_the_program_has_taken(port: int) -> None:
    server = Server(port, features="shell_v2,delayed_ack")
    server.send(wire.OPEN, 3, 1 << 20, b"exec:sha256sum\0")
    _, remote, _, _ = server.receive()
    data = os.urandom(1 << 20)
    acknowledged = 0
    for at in range(0, len(data), 70_000):
        server.send(wire.WRTE, 3, remote, data[at : at + 70_000])
    while acknowledged < len(data):
        command, _, _, payload = server.receive()
        assert command == wire.OKAY
        acknowledged += struct.unpack("<i", payload)[0]
    assert acknowledged == len(data)
    server.send(wire.CLSE, 3, remote)


def test_smaller_payload_limit_is_kept(port: int) -> None:
    server = Server(port, limit=4096)
    remote = server.open(3, b"exec:cat /dev/zero")
    for _ in range(3):
        command, _, _, payload = server.receive()
        assert command == wire.WRTE
        assert len(payload) <= 4096
        server.send(wire.OKAY, 3, remote)
    server.send(wire.CLSE, 3, remote)


def test_packets_in_pieces_and_together(port: int) -> None:
    """Packet borders and the borders of what the socket delivers have nothing to do with each other."""
    server = Server(port)
    data = os.urandom(200_000)
    remote = server.open(3, b"exec:cat")
    packets = b""
    for at in range(0, len(data), 50_000):
        piece = data[at : at + 50_000]
        packets += wire.header(wire.WRTE, 3, remote, len(piece), 0) + piece
    for size in (1, 23, 24, 25, 49_999, 3, 100_000, 1_000_000):
        server.socket.sendall(packets[:size])
        packets = packets[size:]
    back = b""
    while len(back) < len(data):
        command, _, _, payload = server.receive()
        if command == wire.WRTE:
            back += payload
            server.send(wire.OKAY, 3, remote)
    assert hashlib.sha256(back).digest() == hashlib.sha256(data).digest()
    server.send(wire.CLSE, 3, remote)


def test_a_new_handshake_closes_all_streams(server: Server) -> None:
    remote = server.open(3, b"exec:cat")
    server.send(wire.CNXN, 0x01000001, 1 << 20, b"host::features=shell_v2")
    assert server.receive()[0] == wire.CNXN
    server.send(wire.WRTE, 3, remote, b"x")
    assert server.receive() == (wire.CLSE, 0, 3, b"")
