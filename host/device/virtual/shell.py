"""The phone's shell: runs lists of simple commands, built in (`commands`) or programs of the private directory.

It runs in a process of its own, forked for the service that asked for it, with its streams as descriptors 0, 1 and 2.
Messages and exit codes are those of Android's mksh: 127 for a command that is not there, 126 for one that cannot run.
"""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from .config import VirtualConfig
from .filesystem import DeviceFiles
from .syntax import Command, IncompleteError, Part, Redirection, ShellSyntaxError, Word, parse

SHELL = "/system/bin/sh"
#: What this process handles its own way, and programs must get with the system's meaning.
_DEFAULT_SIGNALS = (signal.SIGPIPE, signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD)


class CommandError(Exception):
    """A command's own failure: the shell prints "NAME: MESSAGE" and goes on with `status`."""

    def __init__(self, message: str, status: int = 1) -> None:
        """Not for the user directly: the shell puts the command's name in front."""
        super().__init__(message)
        self.status = status


class ShellExit(Exception):
    """`exit N`."""

    def __init__(self, status: int) -> None:
        """With the status that the shell ends with."""
        super().__init__(status)
        self.status = status


@dataclass(frozen=True, slots=True)
class Streams:
    """The three descriptors of a command."""

    stdin: int = 0
    stdout: int = 1
    stderr: int = 2

    def write(self, text: str | bytes) -> None:
        """Writes to the standard output, completely."""
        write_all(self.stdout, text)

    def complain(self, text: str) -> None:
        """Writes one line to the standard error."""
        write_all(self.stderr, text + "\n")


@dataclass(slots=True)
class Phone:
    """What the shell sees of the device it runs on.

    Attributes:
        config: The phone played.
        files: Its file system.
        properties: Reads all properties; `set_property` changes one for everybody.
        process_root: The process below which all of the phone's processes are, and those there that are not.
        free_bytes: Free space in bytes that a fault leaves, or None without one.
    """

    config: VirtualConfig
    files: DeviceFiles
    properties: Callable[[], Mapping[str, str]]
    set_property: Callable[[str, str], None]
    process_root: int
    hidden_processes: frozenset[int] = frozenset()
    free_bytes: Callable[[], int | None] = lambda: None


@dataclass(slots=True)
class Shell:
    """One shell process's state."""

    phone: Phone
    streams: Streams = Streams()
    cwd: str = "/"
    status: int = 0
    variables: dict[str, str] = field(default_factory=dict)
    exported: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        environment = self.phone.config.program_environment(self.phone.files.root)
        self.variables.update(environment)
        self.exported.update(environment)

    # -- running text -------------------------------------------------------------------------------------------

    def run(self, text: str) -> int:
        """Runs a command line; the exit status of its last command."""
        try:
            self._run_list(parse(text))
        except ShellSyntaxError as error:
            self.streams.complain(f"{SHELL}: {error}")
            self.status = 1
        except ShellExit as request:
            self.status = request.status
        except BrokenPipeError:
            self.status = 128 + signal.SIGPIPE
        return self.status

    def run_stdin(self, prompt: str = "") -> int:
        """Reads command lines from the standard input until its end or `exit`."""
        text = ""
        while True:
            if prompt:
                self.streams.write(prompt if not text else "> ")
            line = read_line(self.streams.stdin)
            if not line and not text:
                return self.status
            text += line
            try:
                commands = parse(text)
            except IncompleteError as error:
                if line:
                    continue
                self.streams.complain(f"{SHELL}: {error}")
                return 1
            except ShellSyntaxError as error:
                self.streams.complain(f"{SHELL}: {error}")
                text, self.status = "", 1
                continue
            text = ""
            try:
                self._run_list(commands)
            except ShellExit as request:
                self.status = request.status
                return self.status
            except BrokenPipeError:
                return 128 + signal.SIGPIPE

    def _run_list(self, commands: Sequence[Command]) -> None:
        for command in commands:
            if command.joint == "&&" and self.status != 0:
                continue
            if command.joint == "||" and self.status == 0:
                continue
            self.status = self._run_command(command)

    # -- one command --------------------------------------------------------------------------------------------

    def _run_command(self, command: Command) -> int:
        words = [field for word in command.words for field in self.expand(word)]
        assignments = {name: self.expand_single(value) for name, value in command.assignments}
        opened: list[int] = []
        try:
            streams = self._redirect(command.redirections, opened)
        except OSError as error:
            self.streams.complain(f"{SHELL}: can't open {error.filename}: {os.strerror(error.errno or errno.EIO)}")
            return 1
        try:
            if not words:
                self.variables.update(assignments)
                return 0
            return self._dispatch(words, assignments, streams)
        finally:
            for descriptor in opened:
                os.close(descriptor)

    def _dispatch(self, words: list[str], assignments: dict[str, str], streams: Streams) -> int:
        from .commands import COMMANDS

        name = words[0]
        builtin = COMMANDS.get(name.removeprefix("/system/bin/"))
        if builtin is None:
            return self._run_program(words, assignments, streams)
        saved, saved_streams = dict(self.variables), self.streams
        self.variables.update(assignments)
        self.streams = streams
        try:
            return builtin(self, words[1:])
        except CommandError as error:
            streams.complain(f"{name}: {error}")
            return error.status
        except BrokenPipeError:
            raise
        except OSError as error:
            where = f"{error.filename}: " if error.filename else ""
            streams.complain(f"{name}: {self._device_name(where)}{os.strerror(error.errno or errno.EIO)}")
            return 1
        finally:
            self.streams = saved_streams
            if assignments:
                self.variables = saved

    def _device_name(self, text: str) -> str:
        return text.replace(self.phone.files.root, "")

    def _redirect(self, redirections: Sequence[Redirection], opened: list[int]) -> Streams:
        where = [self.streams.stdin, self.streams.stdout, self.streams.stderr]
        for redirection in redirections:
            if not 0 <= redirection.descriptor <= 2:
                raise OSError(errno.EBADF, "", str(redirection.descriptor))
            target = self.expand_single(redirection.target)
            if redirection.operator == ">&":
                if target not in ("0", "1", "2"):
                    raise OSError(errno.EBADF, "", target)
                where[redirection.descriptor] = where[int(target)]
                continue
            flags = {
                "<": os.O_RDONLY,
                ">": os.O_WRONLY | os.O_CREAT | os.O_TRUNC,
                ">>": os.O_WRONLY | os.O_CREAT | os.O_APPEND,
            }[redirection.operator]
            files = self.phone.files
            try:
                host = (files.host if flags == os.O_RDONLY else files.host_to_change)(target, self.cwd)
                descriptor = os.open(host, flags | os.O_CLOEXEC, 0o666)
            except OSError as error:
                raise OSError(error.errno, "", target) from None
            opened.append(descriptor)
            where[redirection.descriptor] = descriptor
        return Streams(*where)

    # -- expansion ----------------------------------------------------------------------------------------------

    def expand_single(self, word: Word) -> str:
        """A word's value without splitting or matching (assignments, targets of redirections)."""
        return "".join(self._value(part) for part in word)

    def expand(self, word: Word) -> list[str]:
        """A word's fields: unquoted variables are split at blanks, unquoted `*?[` match files."""
        fields: list[list[Part]] = [[]]
        for part in word:
            value = self._value(part)
            if not part.variable or part.quoted:
                fields[-1].append(Part(value, part.quoted))
                continue
            pieces = value.split()
            if value[:1].isspace() and fields[-1]:
                fields.append([])
            for number, piece in enumerate(pieces):
                if number:
                    fields.append([])
                fields[-1].append(Part(piece, False))
            if value[-1:].isspace() and pieces:
                fields.append([])
        return [text for parts in fields if parts for text in self._match(parts)]

    def _value(self, part: Part) -> str:
        if not part.variable:
            return part.text
        special = {"?": str(self.status), "$": str(os.getpid())}
        return special.get(part.text) or self.variables.get(part.text, "")

    def _match(self, parts: list[Part]) -> list[str]:
        text = "".join(part.text for part in parts)
        if any(c in part.text for part in parts if not part.quoted for c in "*?["):
            pattern = "".join(_escape(part.text) if part.quoted else part.text for part in parts)
            return self.phone.files.glob(pattern, self.cwd) or [text]
        return [text]

    # -- programs -----------------------------------------------------------------------------------------------

    def find_program(self, name: str) -> tuple[list[str], str] | int:
        """The host's command line prefix and the device path of a program, or the exit status of a refusal (complained)."""
        path = self.phone.files.absolute(name if "/" in name else f"/system/bin/{name}", self.cwd)
        try:
            host = self.phone.files.host(path)
            with open(host, "rb") as file:
                head = file.read(20)
        except IsADirectoryError:
            return self._refuse(name, "can't execute: Is a directory", 126)
        except PermissionError:
            return self._refuse(name, "can't execute: Permission denied", 126)
        except OSError:
            return self._refuse(name, "inaccessible or not found", 127)
        if not os.access(host, os.X_OK):
            return self._refuse(name, "can't execute: Permission denied", 126)
        if head[:4] != b"\x7fELF" or len(head) < 20:
            return self._refuse(name, "can't execute: Exec format error", 126)
        if struct.unpack_from("<H", head, 18)[0] != self.phone.config.elf_machine:
            bits = 64 if head[4] == 2 else 32
            return self._refuse(name, f"not executable: {bits}-bit ELF file", 126)
        return [*self.phone.config.runner, host], path

    def _refuse(self, name: str, why: str, status: int) -> int:
        self.streams.complain(f"{SHELL}: {name}: {why}")
        return status

    def _run_program(self, words: list[str], assignments: dict[str, str], streams: Streams) -> int:
        saved, self.streams = self.streams, streams
        try:
            found = self.find_program(words[0])
        finally:
            self.streams = saved
        if isinstance(found, int):
            return found
        command = found[0]
        os.chdir(self.phone.files.host(self.cwd))
        # Out of the way first: the three may stand in any order.
        kept = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 10) for fd in (streams.stdin, streams.stdout, streams.stderr)]
        try:
            child = os.posix_spawnp(
                command[0],
                [*command, *words[1:]],
                self.environment(assignments),
                file_actions=[(os.POSIX_SPAWN_DUP2, fd, number) for number, fd in enumerate(kept)],
                setsigdef=_DEFAULT_SIGNALS,
            )
        finally:
            for descriptor in kept:
                os.close(descriptor)
        _, status = os.waitpid(child, 0)
        code = os.waitstatus_to_exitcode(status)
        return code if code >= 0 else 128 - code

    def environment(self, assignments: Mapping[str, str]) -> dict[str, str]:
        """The environment of a program."""
        exported = {name: self.variables[name] for name in self.exported if name in self.variables}
        return exported | dict(assignments)

    def replace(self, words: list[str]) -> int:
        """`exec`: becomes the program; returns only if that is not possible."""
        found = self.find_program(words[0])
        if isinstance(found, int):
            raise ShellExit(found)
        command = found[0]
        os.chdir(self.phone.files.host(self.cwd))
        for sign in _DEFAULT_SIGNALS:
            signal.signal(sign, signal.SIG_DFL)
        streams = (self.streams.stdin, self.streams.stdout, self.streams.stderr)
        for number, descriptor in enumerate([fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 10) for fd in streams]):
            os.dup2(descriptor, number)
        os.execvpe(command[0], [*command, *words[1:]], self.environment({}))


def _escape(text: str) -> str:
    return "".join(f"[{c}]" if c in "*?[" else c for c in text)


def write_all(descriptor: int, text: str | bytes) -> None:
    """Writes everything, in as many pieces as it takes."""
    view = memoryview(os.fsencode(text))
    while view:
        view = view[os.write(descriptor, view) :]


def read_line(descriptor: int) -> str:
    """One line, with its end; byte by byte, so that a command can read what follows it. "" at the end of the stream."""
    line = bytearray()
    while not line.endswith(b"\n"):
        byte = os.read(descriptor, 1)
        if not byte:
            break
        line += byte
    return os.fsdecode(bytes(line))
