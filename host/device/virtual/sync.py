"""The `sync:` service: stat, list, send and receive files, versions 1 and 2, uncompressed.

Blocking code on one socket; it runs in a process of its own, as adbd runs it in a thread of its own.
"""

from __future__ import annotations

import errno
import os
import socket
import stat
import struct
from collections.abc import Callable
from typing import Final

from .filesystem import DeviceFiles

_REQUEST: Final = struct.Struct("<4sI")
_STAT_V1: Final = struct.Struct("<4sIII")
_STAT_V2: Final = struct.Struct("<4sIQQIIIIQqqq")
_SEND_V2: Final = struct.Struct("<4sII")
_RECV_V2: Final = struct.Struct("<4sI")
_MAX_PATH: Final = 1024
_CHUNK: Final = 64 * 1024
#: Flags of SND2 and RCV2: only "dry run" is known here; compression was never offered.
_DRY_RUN: Final = 0x80000000

#: uid and gid of the shell user, as a phone shows them.
SHELL_ID: Final = 2000

Allow = Callable[[int], bool]


class _Upload:
    """One file on its way in: it exists complete or not at all. The first failure is kept, later data is dropped."""

    def __init__(self, files: DeviceFiles, path: str, mode: int, allow: Allow) -> None:
        self._allow = allow
        self._target = -1
        self._failure = ""
        # As adbd: what the owner may do, group and others may do.
        mode |= (mode >> 3) & 0o070
        mode |= (mode >> 3) & 0o007
        what = "secure_mkdirs failed"
        try:
            self._host = files.host_to_change(path)
            os.makedirs(os.path.dirname(self._host), exist_ok=True)
            what = "couldn't create file"
            if os.path.lexists(self._host) and not os.path.isdir(self._host):
                os.unlink(self._host)
            self._target = os.open(self._host, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            os.fchmod(self._target, mode & 0o777)
        except OSError as error:
            self._fail(what, error)

    def write(self, data: bytes) -> None:
        """Appends data."""
        if self._failure:
            return
        try:
            if not self._allow(len(data)):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            view = memoryview(data)
            while view:
                view = view[os.write(self._target, view) :]
        except OSError as error:
            self._fail("write failed", error)

    def finish(self, mtime: int) -> str:
        """Closes the complete file; the failure's text, or "" for success."""
        if not self._failure:
            os.utime(self._target, (mtime, mtime))
            os.close(self._target)
        return self._failure

    def abandon(self) -> None:
        """Removes what is there of the file."""
        if self._target >= 0:
            os.close(self._target)
            os.unlink(self._host)
            self._target = -1

    def _fail(self, what: str, error: OSError) -> None:
        self._failure = f"{what}: {os.strerror(error.errno or errno.EIO)}"
        self.abandon()


class SyncService:
    """Answers sync requests until QUIT, the end of the stream, or a broken request.

    Args:
        connection: The stream.
        files: The phone's file system.
        allow: Asked before each write with its number of bytes; False = the disk is full.
    """

    def __init__(self, connection: socket.socket, files: DeviceFiles, allow: Allow) -> None:
        """Nothing is read before `run`."""
        self._connection = connection
        self._files = files
        self._allow = allow

    def run(self) -> None:
        """Serves the stream to its end; a vanished peer ends it quietly."""
        handlers: dict[bytes, Callable[[str], None]] = {
            b"STAT": self._stat_v1,
            b"STA2": lambda path: self._stat_v2(b"STA2", path),
            b"LST2": lambda path: self._stat_v2(b"LST2", path),
            b"LIST": lambda path: self._list(path, version=1),
            b"LIS2": lambda path: self._list(path, version=2),
            b"SEND": self._send_v1,
            b"SND2": self._send_v2,
            b"RECV": self._receive,
            b"RCV2": self._receive_v2,
        }
        try:
            while True:
                kind, length = _REQUEST.unpack(self._read(_REQUEST.size))
                if kind == b"QUIT":
                    return
                if length > _MAX_PATH:
                    self._fail("path too long")
                    return
                path = os.fsdecode(self._read(length))
                handler = handlers.get(kind)
                if handler is None:
                    self._fail(f"unknown command {kind.decode('latin-1')!r}")
                    return
                handler(path)
        except (EOFError, ConnectionError):
            return

    # -- the stream ---------------------------------------------------------------------------------------------

    def _read(self, count: int) -> bytes:
        data = bytearray(count)
        view = memoryview(data)
        while view:
            got = self._connection.recv_into(view)
            if not got:
                raise EOFError
            view = view[got:]
        return bytes(data)

    def _fail(self, message: str) -> None:
        text = message.encode()
        self._connection.sendall(_REQUEST.pack(b"FAIL", len(text)) + text)

    def _fail_errno(self, what: str, error: OSError) -> None:
        self._fail(f"{what}: {os.strerror(error.errno or errno.EIO)}")

    # -- stat and list ------------------------------------------------------------------------------------------

    def _stat_v1(self, path: str) -> None:
        try:
            s = os.lstat(self._files.host(path, follow=False))
            reply = _STAT_V1.pack(b"STAT", s.st_mode, s.st_size & 0xFFFFFFFF, int(s.st_mtime) & 0xFFFFFFFF)
        except OSError:
            reply = _STAT_V1.pack(b"STAT", 0, 0, 0)
        self._connection.sendall(reply)

    def _stat_v2(self, kind: bytes, path: str) -> None:
        self._connection.sendall(self._pack_stat(kind, path, follow=kind == b"STA2"))

    def _pack_stat(self, kind: bytes, path: str, follow: bool) -> bytes:
        try:
            host = self._files.host(path, follow=follow)
            s = os.stat(host) if follow else os.lstat(host)
        except OSError as error:
            return _STAT_V2.pack(kind, error.errno or errno.EIO, *[0] * 10)
        times = (int(s.st_atime), int(s.st_mtime), int(s.st_ctime))
        return _STAT_V2.pack(
            kind, 0, s.st_dev, s.st_ino, s.st_mode, s.st_nlink, SHELL_ID, SHELL_ID, s.st_size, *times
        )

    def _list(self, path: str, version: int) -> None:
        try:
            host = self._files.host(path)
            names = [".", "..", *sorted(os.listdir(host))]
        except OSError:
            names = []
        for name in names:
            encoded = os.fsencode(name)
            if version == 2:
                head = self._pack_stat(b"DNT2", f"{path}/{name}", follow=False)
            else:
                try:
                    s = os.lstat(self._files.host(f"{path}/{name}", follow=False))
                except OSError:
                    continue
                head = _STAT_V1.pack(b"DENT", s.st_mode, s.st_size & 0xFFFFFFFF, int(s.st_mtime) & 0xFFFFFFFF)
            self._connection.sendall(head + struct.pack("<I", len(encoded)) + encoded)
        size = _STAT_V2.size if version == 2 else _STAT_V1.size
        self._connection.sendall(b"DONE" + bytes(size))

    # -- send ---------------------------------------------------------------------------------------------------

    def _send_v1(self, argument: str) -> None:
        path, comma, mode = argument.rpartition(",")
        if not comma or not mode.strip().isdigit():
            self._fail(f"missing or bad mode in '{argument}'")
            raise EOFError
        self._store(path, int(mode), dry_run=False)

    def _send_v2(self, path: str) -> None:
        _, mode, flags = _SEND_V2.unpack(self._read(_SEND_V2.size))
        if flags & ~_DRY_RUN:
            self._fail(f"unsupported flags 0x{flags:x}: compression was not offered")
            raise EOFError
        self._store(path, mode, dry_run=bool(flags & _DRY_RUN))

    def _store(self, path: str, mode: int, dry_run: bool) -> None:
        """Receives DATA up to DONE into `path`; after a failure the rest is still read, since the peer writes on."""
        if not dry_run and stat.S_ISLNK(mode):
            self._store_link(path)
            return
        upload = None if dry_run else _Upload(self._files, path, mode, self._allow)
        try:
            while True:
                kind, length = _REQUEST.unpack(self._read(_REQUEST.size))
                if kind == b"DONE":
                    break
                if kind != b"DATA" or length > _CHUNK:
                    self._fail(f"bad data message {kind.decode('latin-1')!r} of {length} bytes")
                    raise EOFError
                data = self._read(length)
                if upload:
                    upload.write(data)
        except BaseException:
            if upload:
                upload.abandon()
            raise
        failure = upload.finish(mtime=length) if upload else ""
        if failure:
            self._fail(failure)
        else:
            self._connection.sendall(_REQUEST.pack(b"OKAY", 0))

    def _store_link(self, path: str) -> None:
        kind, length = _REQUEST.unpack(self._read(_REQUEST.size))
        if kind != b"DATA" or length > _MAX_PATH:
            self._fail("bad link target")
            raise EOFError
        target = self._read(length).rstrip(b"\0")
        kind, _ = _REQUEST.unpack(self._read(_REQUEST.size))
        if kind != b"DONE":
            self._fail("bad end of link")
            raise EOFError
        try:
            host = self._files.host_to_change(path, follow=False)
            os.makedirs(os.path.dirname(host), exist_ok=True)
            if os.path.lexists(host):
                os.unlink(host)
            os.symlink(target, os.fsencode(host))
        except OSError as error:
            self._fail_errno("symlink failed", error)
            return
        self._connection.sendall(_REQUEST.pack(b"OKAY", 0))

    # -- receive ------------------------------------------------------------------------------------------------

    def _receive_v2(self, path: str) -> None:
        _, flags = _RECV_V2.unpack(self._read(_RECV_V2.size))
        if flags:
            self._fail(f"unsupported flags 0x{flags:x}: compression was not offered")
            raise EOFError
        self._receive(path)

    def _receive(self, path: str) -> None:
        try:
            host = self._files.host(path)
            with open(host, "rb", buffering=0) as source:
                while data := source.read(_CHUNK):
                    self._connection.sendall(_REQUEST.pack(b"DATA", len(data)) + data)
        except ConnectionError:
            raise
        except OSError as error:
            self._fail_errno("open failed" if error.errno != errno.EISDIR else "read failed", error)
            return
        self._connection.sendall(_REQUEST.pack(b"DONE", 0))
