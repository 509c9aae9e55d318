"""What an OPEN starts: each service is a forked process of its own on one end of a socket pair.

A fork, not a thread: the shell and the sync service are plain blocking code, a program replaces its shell by `exec`, and
whatever happens in a service cannot reach the daemon.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import socket
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import NoReturn

from .shell import Phone, Shell
from .shell_protocol import run_framed, run_on_terminal
from .sync import Allow, SyncService

#: Room in each direction between the daemon and a program: one inference's tensors pass without waiting.
_SOCKET_BUFFER = 1 << 20
_PR_SET_PDEATHSIG = 1
_PR_SET_NAME = 15
_SO_SNDBUFFORCE = 32
_PROMPT = "virtual:/ $ "

_prctl = ctypes.CDLL(None, use_errno=True).prctl


@dataclass(slots=True)
class Service:
    """A running service: its process (also its process group) and the daemon's end of its stream."""

    name: str
    process: int
    stream: socket.socket


def die_with_parent(parent: int) -> None:
    """From now on this process is killed when the thread that started it ends; at once if that was already."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


def set_process_name(name: str) -> None:
    """The name that `ps` shows."""
    _prctl(_PR_SET_NAME, ctypes.c_char_p(name.encode()[:15]), 0, 0, 0)


def plan_service(name: str, phone: Phone, allow: Allow) -> tuple[str, Callable[[socket.socket], int]] | None:
    """(process name, what it runs) for a service name as it stands in an OPEN; None for what does not exist here."""
    if name == "sync:":
        return "sync", lambda stream: _run_sync(stream, phone, allow)
    kind, colon, command = name.partition(":")
    if not colon:
        return None
    if kind == "exec":
        return ("sh", lambda stream: Shell(phone).run(command)) if command else None
    words = kind.split(",")
    if words[0] == "shell":
        return "sh", _plan_shell(words[1:], command, phone)
    return None


def _plan_shell(options: list[str], command: str, phone: Phone) -> Callable[[socket.socket], int]:
    framed = "v2" in options
    terminal = "pty" in options if {"pty", "raw"} & set(options) else not command

    def run() -> int:
        shell = Shell(phone)
        return shell.run(command) if command else shell.run_stdin(_PROMPT if terminal else "")

    if terminal:
        return lambda stream: run_on_terminal(stream, run, framed)
    if framed:
        return lambda stream: run_framed(stream, run)
    return lambda stream: run()


def _run_sync(stream: socket.socket, phone: Phone, allow: Allow) -> int:
    SyncService(stream, phone.files, allow).run()
    return 0


def start_service(name: str, phone: Phone, allow: Allow) -> Service | None:
    """Forks the process behind a service; None if there is no such service.

    Raises:
        OSError: No process or no descriptors left.
    """
    plan = plan_service(name, phone, allow)
    if plan is None:
        return None
    ours, theirs = socket.socketpair()
    for end in (ours, theirs):
        _enlarge(end)
    parent = os.getpid()
    try:
        process = os.fork()
    except OSError:
        ours.close()
        theirs.close()
        raise
    if process == 0:
        _become_service(parent, theirs, *plan)
    theirs.close()
    ours.setblocking(False)
    return Service(name, process, ours)


def _enlarge(stream: socket.socket) -> None:
    try:
        stream.setsockopt(socket.SOL_SOCKET, _SO_SNDBUFFORCE, _SOCKET_BUFFER)
    except OSError:  # not root: as much as the system allows
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SOCKET_BUFFER)


def _become_service(parent: int, stream: socket.socket, name: str, run: Callable[[socket.socket], int]) -> NoReturn:
    """The child's side of the fork: a clean process with the stream as 0, 1 and 2."""
    status = 1
    try:
        os.setsid()
        die_with_parent(parent)
        set_process_name(name)
        signal.set_wakeup_fd(-1)
        for sign in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD):
            signal.signal(sign, signal.SIG_DFL)
        for number in range(3):
            os.dup2(stream.fileno(), number)
        stream = socket.socket(fileno=os.dup(0))
        os.set_inheritable(stream.fileno(), False)
        os.closerange(3, stream.fileno())
        os.closerange(stream.fileno() + 1, os.sysconf("SC_OPEN_MAX"))
        status = run(stream)
    except BaseException:
        with contextlib.suppress(BaseException):
            os.write(2, traceback.format_exc().encode())
    finally:
        os._exit(status & 255)
