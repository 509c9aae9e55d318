"""The commands of the phone's shell that deal with files."""

from __future__ import annotations

import fnmatch
import hashlib
import os
import shutil
import stat
import time
from collections.abc import Callable, Iterator, Sequence

from .command import command, need, options_of
from .shell import CommandError, Shell
from .sync import SHELL_ID


def _each(
    shell: Shell, name: str, operands: Sequence[str], action: Callable[[str, str], None], change: bool = False
) -> int:
    """Runs `action(word, host path)` for each operand; failures are told and the others go on.

    `change`: the action writes or removes what the path names.
    """
    status = 0
    find = shell.phone.files.host_to_change if change else shell.phone.files.host
    for word in operands:
        try:
            action(word, find(word, shell.cwd, follow=False))
        except OSError as error:
            shell.streams.complain(f"{name}: {word}: {error.strerror}")
            status = 1
    return status


def read_blocks(shell: Shell, word: str) -> Iterator[bytes]:
    """The content of a file, or of the standard input for "-", piece by piece. Raises OSError."""
    if word == "-":
        while block := os.read(shell.streams.stdin, 1 << 16):
            yield block
        return
    with open(shell.phone.files.host(word, shell.cwd), "rb", buffering=0) as file:
        while block := file.read(1 << 20):
            yield block


@command("cat")
def _cat(shell: Shell, arguments: Sequence[str]) -> int:
    _, operands = options_of(arguments, "u")

    def copy(word: str, _: str) -> None:
        for block in read_blocks(shell, word):
            shell.streams.write(block)

    if not operands:
        copy("-", "")
        return 0
    return _each(shell, "cat", operands, copy)


@command("tail")
def _tail(shell: Shell, arguments: Sequence[str]) -> int:
    options, operands = options_of(arguments, "", with_value="cn")

    def show(word: str, _: str) -> None:
        data = b"".join(read_blocks(shell, word))
        if "c" in options:
            data = data[-int(options["c"]) :] if int(options["c"]) else b""
        else:
            data = b"".join(data.splitlines(keepends=True)[-int(options.get("n", "10")) :])
        shell.streams.write(data)

    return _each(shell, "tail", operands or ["-"], show)


@command("sha256sum")
def _sha256sum(shell: Shell, arguments: Sequence[str]) -> int:
    options, operands = options_of(arguments, "b")

    def digest(word: str, _: str) -> None:
        total = hashlib.sha256()
        for block in read_blocks(shell, word):
            total.update(block)
        shell.streams.write(total.hexdigest() + ("\n" if "b" in options else f"  {word}\n"))

    return _each(shell, "sha256sum", operands or ["-"], digest)


@command("mkdir")
def _mkdir(shell: Shell, arguments: Sequence[str]) -> int:
    options, operands = options_of(arguments, "p", with_value="m")
    need(operands, 1)

    def make(word: str, host: str) -> None:
        if "p" in options:
            os.makedirs(shell.phone.files.host(word, shell.cwd), exist_ok=True)
        else:
            os.mkdir(host)
        if "m" in options:
            os.chmod(host, int(options["m"], 8))

    return _each(shell, "mkdir", operands, make, change=True)


@command("rmdir")
def _rmdir(shell: Shell, arguments: Sequence[str]) -> int:
    return _each(shell, "rmdir", arguments, lambda _, host: os.rmdir(host), change=True)


@command("rm")
def _rm(shell: Shell, arguments: Sequence[str]) -> int:
    options, operands = options_of(arguments, "fRr")
    recursive = "r" in options or "R" in options
    if not operands and "f" not in options:
        need(operands, 1)

    def remove(word: str, host: str) -> None:
        try:
            if os.path.isdir(host) and not os.path.islink(host):
                if not recursive:
                    raise IsADirectoryError(21, "Is a directory", word)
                shutil.rmtree(host)
            else:
                os.unlink(host)
        except FileNotFoundError:
            if "f" not in options:
                raise

    return _each(shell, "rm", operands, remove, change=True)


@command("mv")
def _mv(shell: Shell, arguments: Sequence[str]) -> int:
    options, operands = options_of(arguments, "fnT")
    need(operands, 2)
    target = shell.phone.files.host(operands[-1], shell.cwd, follow=False)
    into = os.path.isdir(target) and "T" not in options
    if len(operands) > 2 and not into:
        raise CommandError(f"'{operands[-1]}' not directory")

    def move(word: str, host: str) -> None:
        place = f"{target}/{os.path.basename(host)}" if into else target
        if "n" in options and os.path.lexists(place):
            return
        os.rename(host, shell.phone.files.host_to_change(shell.phone.files.device(place), follow=False))

    return _each(shell, "mv", operands[:-1], move, change=True)


@command("cp")
def _cp(shell: Shell, arguments: Sequence[str]) -> int:
    _, operands = options_of(arguments, "fp")
    need(operands, 2)
    target = shell.phone.files.host(operands[-1], shell.cwd)

    def copy(word: str, _: str) -> None:
        source = shell.phone.files.host(word, shell.cwd)
        place = f"{target}/{os.path.basename(source)}" if os.path.isdir(target) else target
        shutil.copy(source, shell.phone.files.host_to_change(shell.phone.files.device(place)))

    return _each(shell, "cp", operands[:-1], copy)


@command("touch")
def _touch(shell: Shell, arguments: Sequence[str]) -> int:
    _, operands = options_of(arguments, "cm")

    def touch(word: str, _: str) -> None:
        host = shell.phone.files.host_to_change(word, shell.cwd)
        with open(host, "ab"):
            os.utime(host)

    return _each(shell, "touch", operands, touch)


@command("chmod")
def _chmod(shell: Shell, arguments: Sequence[str]) -> int:
    need(arguments, 2)
    mode_text, *operands = arguments

    def change(word: str, _: str) -> None:
        host = shell.phone.files.host_to_change(word, shell.cwd)
        os.chmod(host, _mode(mode_text, stat.S_IMODE(os.stat(host).st_mode)))

    return _each(shell, "chmod", operands, change)


def _mode(text: str, current: int) -> int:
    if text.isdigit():
        return int(text, 8) & 0o7777
    who, sign, what = text.rstrip("rwx+-=")[:4], text.lstrip("ugoa")[:1], text.lstrip("ugoa")[1:]
    if sign not in ("+", "-", "=") or any(c not in "rwx" for c in what) or any(c not in "ugoa" for c in who):
        raise CommandError(f"bad mode '{text}'")
    bits = sum({"r": 4, "w": 2, "x": 1}[c] for c in set(what))
    groups = "ugo" if not who or "a" in who else who
    mask = sum(bits << {"u": 6, "g": 3, "o": 0}[group] for group in set(groups))
    if sign == "=":
        whole = sum(7 << {"u": 6, "g": 3, "o": 0}[group] for group in set(groups))
        return (current & ~whole) | mask
    return current | mask if sign == "+" else current & ~mask


def _long_line(name: str, host: str, numeric: bool) -> str:
    s = os.lstat(host)
    owner = str(SHELL_ID) if numeric else "shell"
    when = time.strftime("%Y-%m-%d %H:%M", time.localtime(s.st_mtime))
    link = f" -> {os.readlink(host)}" if stat.S_ISLNK(s.st_mode) else ""
    return f"{stat.filemode(s.st_mode)} {s.st_nlink} {owner} {owner} {s.st_size} {when} {name}{link}\n"


@command("ls")
def _ls(shell: Shell, arguments: Sequence[str]) -> int:
    options, operands = options_of(arguments, "1AaRdln")
    numeric = "n" in options
    long = numeric or "l" in options

    def line(name: str, host: str) -> str:
        return _long_line(name, host, numeric) if long else name + "\n"

    def show(word: str, host: str) -> None:
        if "d" in options or not os.path.isdir(host):
            os.lstat(host)
            shell.streams.write(line(word, host))
            return
        host = shell.phone.files.host(word, shell.cwd)
        names = sorted(n for n in os.listdir(host) if not n.startswith(".") or "a" in options or "A" in options)
        if "a" in options:
            names = [".", "..", *names]
        title = f"{word}:\n" if len(operands) > 1 or "R" in options else ""
        total = f"total {sum(os.lstat(f'{host}/{n}').st_blocks for n in names) // 2}\n" if long else ""
        shell.streams.write(title + total + "".join(line(n, f"{host}/{n}") for n in names))
        if "R" in options:
            for name in names:
                inner = f"{host}/{name}"
                if name not in (".", "..") and os.path.isdir(inner) and not os.path.islink(inner):
                    shell.streams.write("\n")
                    show(f"{word.rstrip('/')}/{name}", inner)

    return _each(shell, "ls", operands or ["."], show)


@command("find")
def _find(shell: Shell, arguments: Sequence[str]) -> int:
    words = list(arguments)
    starts: list[str] = []
    while words and not words[0].startswith("-"):
        starts.append(words.pop(0))
    tests: list[Callable[[str], bool]] = []
    delete = False
    while words:
        option = words.pop(0)
        if option == "-delete":
            delete = True
            continue
        if not words:
            raise CommandError(f"missing argument to {option}")
        tests.append(_find_test(option, words.pop(0)))

    def walk(word: str, host: str) -> None:
        os.lstat(host)
        if os.path.isdir(host) and not os.path.islink(host):
            for name in sorted(os.listdir(host)):
                walk(f"{word.rstrip('/')}/{name}", f"{host}/{name}")
        if all(test(host) for test in tests):
            if not delete:
                shell.streams.write(word + "\n")
            elif os.path.isdir(host) and not os.path.islink(host):
                os.rmdir(host)
            else:
                os.unlink(host)

    return _each(shell, "find", starts or ["."], walk, change=delete)


def _find_test(option: str, value: str) -> Callable[[str], bool]:
    if option == "-type" and value in ("f", "d", "l"):
        kind = {"f": stat.S_ISREG, "d": stat.S_ISDIR, "l": stat.S_ISLNK}[value]
        return lambda host: kind(os.lstat(host).st_mode)
    if option == "-name":
        return lambda host: fnmatch.fnmatchcase(os.path.basename(host), value)
    if option in ("-mmin", "-mtime") and value[:1] in "+-" and value[1:].isdigit():
        unit = 60 if option == "-mmin" else 86400
        limit, older = int(value[1:]), value[0] == "+"
        return lambda host: ((time.time() - os.lstat(host).st_mtime) // unit > limit) == older
    raise CommandError(f"bad arg '{option} {value}' (not known to the virtual device)")


@command("stat")
def _stat(shell: Shell, arguments: Sequence[str]) -> int:
    options, operands = options_of(arguments, "L", with_value="c")
    form = options.get("c", "  File: %n\n  Size: %s\nAccess: (%a/%A)")
    need(operands, 1)

    def show(word: str, host: str) -> None:
        s = os.stat(shell.phone.files.host(word, shell.cwd)) if "L" in options else os.lstat(host)
        values = {
            "n": word, "s": str(s.st_size), "a": f"{stat.S_IMODE(s.st_mode):o}", "A": stat.filemode(s.st_mode),
            "f": f"{s.st_mode:x}", "Y": str(int(s.st_mtime)), "X": str(int(s.st_atime)), "h": str(s.st_nlink),
            "u": str(SHELL_ID), "g": str(SHELL_ID), "U": "shell", "G": "shell", "i": str(s.st_ino), "b": str(s.st_blocks),
            "F": _kind(s.st_mode), "%": "%",
        }  # fmt: skip
        text, rest = "", form
        while rest:
            before, percent, rest = rest.partition("%")
            text += before + (values.get(rest[:1], "?") if percent else "")
            rest = rest[1:] if percent else ""
        shell.streams.write(text + "\n")

    return _each(shell, "stat", operands, show)


def _kind(mode: int) -> str:
    kinds = {stat.S_IFDIR: "directory", stat.S_IFLNK: "symbolic link", stat.S_IFREG: "regular file"}
    return kinds.get(stat.S_IFMT(mode), "special file")


@command("df")
def _df(shell: Shell, arguments: Sequence[str]) -> int:
    _, operands = options_of(arguments, "kP")
    shell.streams.write("Filesystem 1K-blocks Used Available Use% Mounted on\n")

    def show(word: str, _: str) -> None:
        s = os.statvfs(shell.phone.files.host(word, shell.cwd))
        total = s.f_blocks * s.f_frsize // 1024
        limit = shell.phone.free_bytes()
        free = s.f_bavail * s.f_frsize // 1024 if limit is None else limit // 1024
        used = max(0, total - free)
        percent = -(-100 * used // total) if total else 0
        shell.streams.write(f"/dev/block/virtual {total} {used} {free} {percent}% /data\n")

    return _each(shell, "df", operands or ["/data"], show)
