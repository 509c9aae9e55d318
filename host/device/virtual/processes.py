"""The phone's processes: everything below the daemon, seen through the host's /proc."""

from __future__ import annotations

import os
from dataclasses import dataclass

_PAGE_KIB = os.sysconf("SC_PAGE_SIZE") // 1024


@dataclass(frozen=True, slots=True)
class Process:
    """One process. `path` is the program's file on the host, `name` at most 15 characters, as the kernel keeps it."""

    pid: int
    parent: int
    state: str
    name: str
    path: str
    arguments: str
    resident_kib: int


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError:
        return b""


def parents() -> dict[int, int]:
    """Process -> its parent, of everything on the host that can be seen."""
    found: dict[int, int] = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit() and (line := _read(f"/proc/{entry}/stat")):
            found[int(entry)] = int(line[line.rindex(b")") + 2 :].split()[1])
    return found


def descendants(root: int, hidden: frozenset[int] = frozenset()) -> list[int]:
    """All processes below `root`, without those in `hidden` and what is below them; parents before children."""
    children: dict[int, list[int]] = {}
    for pid, parent in parents().items():
        children.setdefault(parent, []).append(pid)
    found: list[int] = []
    todo = [root]
    while todo:
        for pid in children.get(todo.pop(), ()):
            if pid not in hidden:
                found.append(pid)
                todo.append(pid)
    return found


def device_processes(root: int, hidden: frozenset[int]) -> list[Process]:
    """The phone's processes, sorted by number. Forked shells appear as `sh`."""
    found = [process for pid in descendants(root, hidden) if (process := _describe(pid))]
    return sorted(found, key=lambda process: process.pid)


def _describe(pid: int) -> Process | None:
    line = _read(f"/proc/{pid}/stat")
    if not line:
        return None
    name = line[line.index(b"(") + 1 : line.rindex(b")")].decode(errors="replace")
    fields = line[line.rindex(b")") + 2 :].split()
    try:
        path = os.readlink(f"/proc/{pid}/exe")
    except OSError:
        path = ""
    arguments = _read(f"/proc/{pid}/cmdline").replace(b"\0", b" ").decode(errors="replace").strip()
    if name == "sh":  # a fork of the daemon: its command line is not the phone's
        arguments, path = "sh", "/system/bin/sh"
    return Process(pid, int(fields[1]), fields[0].decode(), name, path, arguments, int(fields[21]) * _PAGE_KIB)
