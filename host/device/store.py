"""The phone's folder of ours: files named by the SHA-256 of their content, so what is there never has to travel again.

A file arrives under a name of its own (`HASH.TOKEN.part`), is hashed on the phone, and only then renamed: two clients, two
versions of the toolkit, a cut cable or a full disk can leave a `.part` behind, but never a wrong file under a right name.
Old leftovers are swept by the next client that comes.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import shlex
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from nnapi_toolkit.errors import DeviceError, DeviceSpaceError

from .adbclient import AdbServer
from .adbshell import RemoteShell
from .adbsync import SyncConnection
from .base import Progress

FOLDER: Final = "/data/local/tmp/nnapi-toolkit"
#: Below it: NNAPI's compilation cache, whose files have names of their own.
CACHE: Final = "cache"
#: Leftovers (`.part`, logs) older than this many seconds belong to nobody any more.
STALE_SECONDS: Final = 3600
#: Bytes that unused files may keep; beyond it the longest unused go, unless they were used in the last day.
KEEP_BYTES: Final = 1 << 30
_KEEP_SECONDS: Final = 86400
#: Bytes a second that a phone hashes at the very least.
_SLOWEST_HASH: Final = 4 << 20
_READ: Final = 1 << 20
_ATTEMPTS: Final = 2


@dataclass(frozen=True, slots=True)
class Item:
    """Something that must be on the phone.

    Attributes:
        label: What the user calls it, for progress and errors.
        sha256: Hex; also its name on the phone.
        size: Bytes.
        read: The content, in pieces.
        executable: It is a program.
    """

    label: str
    sha256: str
    size: int
    read: Callable[[], Iterator[bytes | memoryview]]
    executable: bool = False

    @classmethod
    def of_file(cls, path: Path, sha256: str = "", executable: bool = False) -> Item:
        """A file of the host; hashed here unless the hash is known."""

        def read() -> Iterator[bytes]:
            with path.open("rb") as file:
                while piece := file.read(_READ):
                    yield piece

        size = path.stat().st_size
        if not sha256:
            digest = hashlib.sha256()
            for piece in read():
                digest.update(piece)
            sha256 = digest.hexdigest()
        return cls(path.name, sha256, size, read, executable)

    @classmethod
    def of_bytes(cls, label: str, data: bytes, sha256: str = "") -> Item:
        """Bytes in memory."""
        return cls(label, sha256 or hashlib.sha256(data).hexdigest(), len(data), lambda: iter([data]))


@dataclass(frozen=True, slots=True)
class _Entry:
    name: str
    size: int
    mtime: int

    @property
    def process(self) -> str:
        """For the log of a shim: its process; else ""."""
        match = re.fullmatch(r"[0-9a-f]{16}-(\d+)\.log", self.name)
        return match[1] if match else ""

    @property
    def leftover(self) -> bool:
        """Neither content nor cache: a part or a log of a session, perhaps of one that runs now."""
        return re.fullmatch(r"[0-9a-f]{64}", self.name) is None and not self.name.startswith(f"{CACHE}/")


@dataclass(slots=True)
class Store:
    """The folder on one phone, through one shell and (only while something is pushed) one sync service.

    Attributes:
        known: Hashes that this process has seen verified on the phone.
        services: How many adb services were opened through this object.
    """

    server: AdbServer
    serial: str
    transport_id: int | None = None
    known: set[str] = field(default_factory=set)
    _shell: RemoteShell | None = None
    _sync: SyncConnection | None = None
    _swept: bool = False

    # -- the two services ---------------------------------------------------------------------------------------

    def shell(self) -> RemoteShell:
        """The open shell; a new one after the old one broke."""
        if self._shell is None or not self._shell.usable():
            if self._shell:
                self._shell.close()
            self._shell = RemoteShell(self.server, self.serial, self.transport_id)
        return self._shell

    def close(self) -> None:
        """Closes both services."""
        if self._shell:
            self._shell.close()
        if self._sync:
            self._sync.close()
        self._shell = self._sync = None

    # -- bringing files -----------------------------------------------------------------------------------------

    def ensure(self, items: Sequence[Item], progress: Progress | None = None) -> int:
        """Brings what is missing; afterwards all items are there, each with the right content. The bytes pushed.

        Raises:
            DeviceSpaceError: There is no room.
            DeviceLostError, DeviceTimeoutError: The phone vanished or does not answer.
            DeviceError: What arrives is not what was sent, twice.
        """
        items = list({item.sha256: item for item in items}.values())
        if not items:
            return 0
        missing = self._missing(items)
        pushed = 0
        for attempt in range(_ATTEMPTS):
            if not missing:
                return pushed
            self._check_space(missing, attempt)
            pushed += self._push(missing, progress)
            missing = [item for item in missing if item.sha256 not in self.known]
        if missing:
            raise DeviceError(
                f"{missing[0].label} arrived damaged {_ATTEMPTS} times (its SHA-256 on the device is another)",
                serial=self.serial,
                advice="Try another cable or port; the device's storage may be failing",
            )
        return pushed

    def _missing(self, items: Sequence[Item]) -> list[Item]:
        """Which of the items are not there, or not intact. Everything that is reused is hashed on the phone first."""
        if not self._swept:
            self._sweep(keep={item.sha256 for item in items})
            self._swept = True
        names = " ".join(item.sha256 for item in items)
        total = sum(item.size for item in items)
        # A name that is there and a content that is not: the file goes, so that nobody takes it for what it says.
        result = self.shell().run(f"cd {FOLDER} && sha256sum {names} 2>/dev/null", _hash_seconds(total))
        found = dict(_read_hashes(result.text))
        for name, digest in found.items():
            if name != digest:
                self.shell().run(f"rm -f {FOLDER}/{name}")
        intact = {name for name, digest in found.items() if name == digest}
        if intact:
            self.shell().run(f"cd {FOLDER} && touch {' '.join(sorted(intact))}")
        self.known |= intact
        return [item for item in items if item.sha256 not in intact]

    def _push(self, items: Sequence[Item], progress: Progress | None) -> int:
        """Pushes, checks and renames, one file after the other; returns the bytes sent. What arrived intact is in `known`.

        So a push that breaks off keeps the files that are through, and the next one goes on with the others.
        """
        token = secrets.token_hex(4)
        total = sum(item.size for item in items)
        done = 0
        for item in items:
            part = f"{item.sha256}.{token}.part"
            try:
                report = _reporter(progress, item.label, done, total)
                mode = 0o755 if item.executable else 0o644
                self._sync_connection().push(item.read(), item.size, f"{FOLDER}/{part}", mode, report)
                self._adopt(part, item)
            except BaseException:  # an interrupt of the user's as well
                if self._sync:
                    self._sync.close()
                    self._sync = None
                self._remove([part])
                raise
            done += item.size
        return total

    def _adopt(self, part: str, item: Item) -> None:
        """Gives a file that arrived its name, if its content is right; else it goes."""
        result = self.shell().run(f"cd {FOLDER} && sha256sum {part}", _hash_seconds(item.size))
        if dict(_read_hashes(result.text)).get(part) != item.sha256:
            self._remove([part])
            return
        bits = "755" if item.executable else "644"
        self.shell().run(f"cd {FOLDER} && chmod {bits} {part} && mv -f {part} {item.sha256}").check()
        self.known.add(item.sha256)

    def _sync_connection(self) -> SyncConnection:
        if self._sync is None or not self._sync.usable():
            if self._sync:
                self._sync.close()
            self._sync = SyncConnection(self.server, self.serial, self.transport_id)
        return self._sync

    def _remove(self, names: Sequence[str]) -> None:
        """Removes leftovers as well as that is possible now; the next client's sweep finds the rest."""
        if not names:
            return
        try:
            self.shell().run(f"cd {FOLDER} && rm -f {' '.join(map(shlex.quote, names))}", 5.0)
        except DeviceError:
            return

    # -- room ---------------------------------------------------------------------------------------------------

    def _check_space(self, items: Sequence[Item], attempt: int) -> None:
        needed = sum(item.size for item in items) // 1024 + 64
        free = self._free_kib()
        if free is not None and free < needed and attempt == 0:
            self._evict(needed - free)
            free = self._free_kib()
        if free is not None and free < needed:
            raise DeviceSpaceError(
                f"{needed} KiB are needed below {FOLDER}, {free} KiB are free",
                serial=self.serial,
                advice="Free some room on the phone",
            )

    def _free_kib(self) -> int | None:
        """Free space in KiB, None if `df` tells nothing that we understand."""
        lines = self.shell().run(f"df -k {FOLDER}").text.splitlines()
        # One line of titles, then the numbers, which a long name of the file system may push to a line of their own.
        fields = " ".join(lines[1:]).split()
        numbers = [field for field in fields if field.isdigit()]
        return int(numbers[2]) if len(numbers) >= 3 else None

    def _evict(self, kib: int) -> None:
        """Frees room by what was unused longest."""
        victims: list[str] = []
        freed = 0
        for entry in _beyond(self._entries(), 0):
            if freed >= kib * 1024:
                break
            if entry.name not in self.known:
                victims.append(entry.name)
                freed += entry.size
        self._remove(victims)

    def _sweep(self, keep: set[str]) -> None:
        """Makes the folder; removes old leftovers, and what is unused beyond the limit."""
        self.shell().run(f"mkdir -p {FOLDER}/{CACHE}").check(advice=f"Is {FOLDER} a folder that adb's shell may write?")
        entries = self._entries()
        if not entries:
            return
        now = self._now()
        stale = [entry.name for entry in self._stale(entries, now)]
        unused = [e for e in _beyond(entries, KEEP_BYTES) if now - e.mtime > _KEEP_SECONDS and e.name not in keep]
        self._remove(stale + [entry.name for entry in unused])

    def _now(self) -> int:
        """The phone's clock, in seconds."""
        return int(self.shell().run("date +%s").text.strip() or 0)

    def _stale(self, entries: Sequence[_Entry], now: int) -> list[_Entry]:
        """What is left of sessions that have ended."""
        ended = self._ended([entry for entry in entries if entry.process])
        return [e for e in entries if e.name in ended or (e.leftover and now - e.mtime > STALE_SECONDS)]

    def _ended(self, logs: Sequence[_Entry]) -> set[str]:
        """Those logs whose shim does not run any more."""
        if not logs:
            return set()
        asked = "; ".join(f"kill -0 {log.process} 2>/dev/null && echo {log.process}" for log in logs)
        running = set(self.shell().run(asked).text.split())
        return {log.name for log in logs if log.process not in running}

    def _entries(self) -> list[_Entry]:
        """The files in the folder and in the cache."""
        result = self.shell().run(f"cd {FOLDER} && stat -c '%A %Y %s %n' * {CACHE}/* 2>/dev/null")
        lines = re.finditer(r"^-\S+ (\d+) (\d+) (\S+)\s*$", result.text, re.MULTILINE)
        return [_Entry(line[3], int(line[2]), int(line[1])) for line in lines]

    def clean(self, keep: int = 0) -> int:
        """Removes the whole folder, or just what was unused longest beyond `keep` bytes; the bytes freed.

        Raises:
            DeviceCommandError: It cannot be removed.
        """
        if self.shell().run(f"[ -d {FOLDER} ]").status != 0:
            return 0
        entries = self._entries()
        if keep > 0:
            victims = self._stale(entries, self._now()) + _beyond(entries, keep)
            self.shell().run(f"cd {FOLDER} && rm -f {' '.join(shlex.quote(e.name) for e in victims)}").check()
            self.known -= {entry.name for entry in victims}
            return sum(entry.size for entry in victims)
        freed = sum(entry.size for entry in entries)
        self.shell().run(f"rm -rf {FOLDER}").check()
        self.known.clear()
        self._swept = False
        return freed


def _reporter(progress: Progress | None, label: str, done: int, total: int) -> Callable[[int], None] | None:
    if progress is None:
        return None
    return lambda sent: progress(f"pushing {label}", done + sent, total)


def _hash_seconds(size: int) -> float:
    return 15.0 + size / _SLOWEST_HASH


def _beyond(entries: Sequence[_Entry], keep: int) -> list[_Entry]:
    """The entries, longest unused first, that do not fit into `keep` bytes when the last used are kept."""
    total = 0
    beyond = []
    for entry in sorted((e for e in entries if not e.leftover), key=lambda e: e.mtime, reverse=True):
        total += entry.size
        if total > keep:
            beyond.append(entry)
    return beyond[::-1]


def _read_hashes(text: str) -> Iterator[tuple[str, str]]:
    """(file, hash) of each line of `sha256sum`."""
    for match in re.finditer(r"^([0-9a-f]{64}) [ *](\S+)\s*$", text, re.MULTILINE):
        yield match[2], match[1]
