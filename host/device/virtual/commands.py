"""The commands of the phone's shell: those that the toolkit uses, with the options that it uses, as toybox has them."""

from __future__ import annotations

import fnmatch
import hashlib
import os
import platform
import shutil
import signal
import stat
import time
from collections.abc import Callable, Iterator, Sequence

from .processes import Process, device_processes
from .shell import SHELL, CommandError, Shell, ShellExit
from .sync import SHELL_ID

CommandFunction = Callable[[Shell, Sequence[str]], int]
COMMANDS: dict[str, CommandFunction] = {}


def _command(*names: str) -> Callable[[CommandFunction], CommandFunction]:
    def register(function: CommandFunction) -> CommandFunction:
        for name in names:
            COMMANDS[name] = function
        return function

    return register


def _options(arguments: Sequence[str], known: str, with_value: str = "") -> tuple[dict[str, str], list[str]]:
    """Splits arguments into options (letter -> value or "") and operands, as getopt does.

    Raises:
        CommandError: An option that is not in `known` or `with_value`.
    """
    found: dict[str, str] = {}
    rest = list(arguments)
    operands: list[str] = []
    while rest:
        argument = rest.pop(0)
        if argument == "--":
            return found, operands + rest
        if len(argument) < 2 or not argument.startswith("-"):
            operands.append(argument)
            continue
        letters = argument[1:]
        while letters:
            letter, letters = letters[0], letters[1:]
            if letter in with_value:
                value = letters or (rest.pop(0) if rest else None)
                if value is None:
                    raise CommandError(f"missing argument to -{letter}")
                found[letter], letters = value, ""
            elif letter in known:
                found[letter] = ""
            else:
                raise CommandError(f"Unknown option '{letter}' (not known to the virtual device)")
    return found, operands


def _need(operands: Sequence[str], least: int) -> None:
    if len(operands) < least:
        raise CommandError(f"Needs {least} argument{'s' if least > 1 else ''}")


# -- the shell itself -------------------------------------------------------------------------------------------


@_command("true", ":")
def _true(shell: Shell, arguments: Sequence[str]) -> int:
    return 0


@_command("false")
def _false(shell: Shell, arguments: Sequence[str]) -> int:
    return 1


@_command("cd")
def _cd(shell: Shell, arguments: Sequence[str]) -> int:
    target = arguments[0] if arguments else shell.variables.get("HOME", "/")
    resolved = shell.phone.files.resolve(target, shell.cwd)
    if not os.path.isdir(shell.phone.files.host(resolved)):
        missing = not os.path.lexists(shell.phone.files.host(resolved))
        why = "No such file or directory" if missing else "Not a directory"
        shell.streams.complain(f"{SHELL}: cd: {target}: {why}")
        return 2
    shell.cwd = resolved
    return 0


@_command("pwd")
def _pwd(shell: Shell, arguments: Sequence[str]) -> int:
    shell.streams.write(shell.cwd + "\n")
    return 0


@_command("echo")
def _echo(shell: Shell, arguments: Sequence[str]) -> int:
    words = list(arguments)
    end = "\n"
    if words and words[0] == "-n":
        words.pop(0)
        end = ""
    shell.streams.write(" ".join(words) + end)
    return 0


@_command("export")
def _export(shell: Shell, arguments: Sequence[str]) -> int:
    for argument in arguments:
        name, equals, value = argument.partition("=")
        if equals:
            shell.variables[name] = value
        shell.exported.add(name)
    return 0


@_command("unset")
def _unset(shell: Shell, arguments: Sequence[str]) -> int:
    for name in arguments:
        shell.variables.pop(name, None)
        shell.exported.discard(name)
    return 0


@_command("exit")
def _exit(shell: Shell, arguments: Sequence[str]) -> int:
    raise ShellExit(int(arguments[0]) & 255 if arguments else shell.status)


@_command("exec")
def _exec(shell: Shell, arguments: Sequence[str]) -> int:
    if not arguments:
        return 0
    name = arguments[0].removeprefix("/system/bin/")
    if name in COMMANDS:
        raise ShellExit(COMMANDS[name](shell, arguments[1:]))
    return shell.replace(list(arguments))


@_command("umask")
def _umask(shell: Shell, arguments: Sequence[str]) -> int:
    if arguments:
        os.umask(int(arguments[0], 8))
        return 0
    current = os.umask(0)
    os.umask(current)
    shell.streams.write(f"{current:04o}\n")
    return 0


@_command("sh")
def _sh(shell: Shell, arguments: Sequence[str]) -> int:
    inner = Shell(shell.phone, shell.streams, cwd=shell.cwd)
    inner.variables.update(shell.environment({}))
    if arguments and arguments[0] == "-c":
        _need(arguments, 2)
        return inner.run(arguments[1])
    if arguments:
        raise CommandError("only 'sh' and 'sh -c COMMAND' are known to the virtual device")
    return inner.run_stdin()


@_command("test", "[")
def _test(shell: Shell, arguments: Sequence[str]) -> int:
    words = [word for word in arguments if word != "]"] if arguments[-1:] == ["]"] else list(arguments)
    if words[:1] == ["!"]:
        return 0 if _test(shell, words[1:]) == 1 else 1
    if len(words) < 2:
        return 0 if words and words[0] else 1
    if len(words) == 2:
        return 0 if _test_unary(shell, words[0], words[1]) else 1
    if len(words) != 3:
        raise CommandError("too many arguments", 2)
    left, operator, right = words
    if operator in ("=", "==", "!="):
        return 0 if (left == right) == (operator != "!=") else 1
    try:
        a, b = int(left), int(right)
    except ValueError:
        raise CommandError(f"bad number in '{left} {operator} {right}'", 2) from None
    results = {"-eq": a == b, "-ne": a != b, "-lt": a < b, "-le": a <= b, "-gt": a > b, "-ge": a >= b}
    if operator not in results:
        raise CommandError(f"unknown operand '{operator}'", 2)
    return 0 if results[operator] else 1


def _test_unary(shell: Shell, operator: str, word: str) -> bool:
    if operator in ("-z", "-n"):
        return (word == "") == (operator == "-z")
    try:
        host = shell.phone.files.host(word, shell.cwd, follow=operator not in ("-h", "-L"))
    except OSError:
        return False
    checks: dict[str, Callable[[str], bool]] = {
        "-e": os.path.exists,
        "-f": os.path.isfile,
        "-d": os.path.isdir,
        "-h": os.path.islink,
        "-L": os.path.islink,
        "-s": lambda path: os.path.exists(path) and os.path.getsize(path) > 0,
        "-r": lambda path: os.access(path, os.R_OK),
        "-w": lambda path: os.access(path, os.W_OK),
        "-x": lambda path: os.access(path, os.X_OK),
    }
    if operator not in checks:
        raise CommandError(f"unknown operand '{operator}'", 2)
    return checks[operator](host)


# -- the phone --------------------------------------------------------------------------------------------------


@_command("getprop")
def _getprop(shell: Shell, arguments: Sequence[str]) -> int:
    properties = shell.phone.properties()
    if arguments:
        default = arguments[1] if len(arguments) > 1 else ""
        shell.streams.write((properties.get(arguments[0]) or default) + "\n")
        return 0
    shell.streams.write("".join(f"[{name}]: [{value}]\n" for name, value in properties.items()))
    return 0


@_command("setprop")
def _setprop(shell: Shell, arguments: Sequence[str]) -> int:
    _need(arguments, 2)
    name, value = arguments[0], arguments[1]
    if name.startswith("ro."):
        raise CommandError(f"failed to set property '{name}' to '{value}'")
    shell.phone.set_property(name, value)
    return 0


@_command("id")
def _id(shell: Shell, arguments: Sequence[str]) -> int:
    if arguments and arguments[0] == "-u":
        shell.streams.write(f"{SHELL_ID}\n")
    else:
        shell.streams.write(f"uid={SHELL_ID}(shell) gid={SHELL_ID}(shell) groups={SHELL_ID}(shell)\n")
    return 0


@_command("uname")
def _uname(shell: Shell, arguments: Sequence[str]) -> int:
    options, _ = _options(arguments, "amrs")
    machine = {"arm64-v8a": "aarch64", "armeabi-v7a": "armv7l", "x86": "i686"}.get(shell.phone.config.abi, "x86_64")
    parts = {"s": "Linux", "r": platform.release(), "m": machine}
    wanted = "srm" if "a" in options else "".join(options) or "s"
    shell.streams.write(" ".join(parts[letter] for letter in "srm" if letter in wanted) + "\n")
    return 0


@_command("sleep")
def _sleep(shell: Shell, arguments: Sequence[str]) -> int:
    _need(arguments, 1)
    time.sleep(float(arguments[0]))
    return 0


@_command("date")
def _date(shell: Shell, arguments: Sequence[str]) -> int:
    form = arguments[0][1:] if arguments and arguments[0].startswith("+") else "%a %b %d %H:%M:%S %Z %Y"
    shell.streams.write(time.strftime(form.replace("%s", str(int(time.time())))) + "\n")
    return 0


# -- processes --------------------------------------------------------------------------------------------------


def _processes(shell: Shell) -> list[Process]:
    return device_processes(shell.phone.process_root, shell.phone.hidden_processes)


@_command("ps")
def _ps(shell: Shell, arguments: Sequence[str]) -> int:
    options, _ = _options(arguments, "AefTw", with_value="op")
    names = [name.split("=")[0].upper() for name in options.get("o", "USER,PID,PPID,NAME").split(",")]
    lines = [names] if not options.get("o", "").endswith("=") else []
    for process in _processes(shell):
        if "p" in options and str(process.pid) not in options["p"].split(","):
            continue
        values = {
            "USER": "shell", "PID": str(process.pid), "PPID": str(process.parent), "NAME": process.name, "S": process.state,
            "ARGS": process.arguments, "CMD": process.name, "CMDLINE": process.arguments, "RSS": str(process.resident_kib),
        }  # fmt: skip
        lines.append([values.get(name, "?") for name in names])
    shell.streams.write("".join(" ".join(line) + "\n" for line in lines))
    return 0


@_command("pidof")
def _pidof(shell: Shell, arguments: Sequence[str]) -> int:
    found = [str(p.pid) for p in _processes(shell) if p.name in arguments or os.path.basename(p.path) in arguments]
    if not found:
        return 1
    shell.streams.write(" ".join(found) + "\n")
    return 0


@_command("kill")
def _kill(shell: Shell, arguments: Sequence[str]) -> int:
    words = list(arguments)
    number = int(signal.SIGTERM)
    if words and words[0].startswith("-"):
        text = words.pop(0)[1:]
        if text == "s" and words:
            text = words.pop(0)
        try:
            number = int(text) if text.isdigit() else signal.Signals["SIG" + text.upper().removeprefix("SIG")].value
        except KeyError:
            raise CommandError(f"bad signal '{text}'") from None
    _need(words, 1)
    known = {process.pid for process in _processes(shell)}
    status = 0
    for word in words:
        # Only the phone's own processes: the rest of the host does not exist here.
        if not word.isdigit() or int(word) not in known:
            shell.streams.complain(f"kill: bad pid '{word}'" if not word.isdigit() else f"kill: {word}: No such process")
            status = 1
            continue
        os.kill(int(word), number)
    return status


# -- files ------------------------------------------------------------------------------------------------------


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


def _read_blocks(shell: Shell, word: str) -> Iterator[bytes]:
    if word == "-":
        while block := os.read(shell.streams.stdin, 1 << 16):
            yield block
        return
    with open(shell.phone.files.host(word, shell.cwd), "rb", buffering=0) as file:
        while block := file.read(1 << 20):
            yield block


@_command("cat")
def _cat(shell: Shell, arguments: Sequence[str]) -> int:
    _, operands = _options(arguments, "u")

    def copy(word: str, _: str) -> None:
        for block in _read_blocks(shell, word):
            shell.streams.write(block)

    if not operands:
        copy("-", "")
        return 0
    return _each(shell, "cat", operands, copy)


@_command("tail")
def _tail(shell: Shell, arguments: Sequence[str]) -> int:
    options, operands = _options(arguments, "", with_value="cn")

    def show(word: str, _: str) -> None:
        data = b"".join(_read_blocks(shell, word))
        if "c" in options:
            data = data[-int(options["c"]) :] if int(options["c"]) else b""
        else:
            data = b"".join(data.splitlines(keepends=True)[-int(options.get("n", "10")) :])
        shell.streams.write(data)

    return _each(shell, "tail", operands or ["-"], show)


@_command("sha256sum")
def _sha256sum(shell: Shell, arguments: Sequence[str]) -> int:
    options, operands = _options(arguments, "b")

    def digest(word: str, _: str) -> None:
        total = hashlib.sha256()
        for block in _read_blocks(shell, word):
            total.update(block)
        shell.streams.write(total.hexdigest() + ("\n" if "b" in options else f"  {word}\n"))

    return _each(shell, "sha256sum", operands or ["-"], digest)


@_command("mkdir")
def _mkdir(shell: Shell, arguments: Sequence[str]) -> int:
    options, operands = _options(arguments, "p", with_value="m")
    _need(operands, 1)

    def make(word: str, host: str) -> None:
        if "p" in options:
            os.makedirs(shell.phone.files.host(word, shell.cwd), exist_ok=True)
        else:
            os.mkdir(host)
        if "m" in options:
            os.chmod(host, int(options["m"], 8))

    return _each(shell, "mkdir", operands, make, change=True)


@_command("rmdir")
def _rmdir(shell: Shell, arguments: Sequence[str]) -> int:
    return _each(shell, "rmdir", arguments, lambda _, host: os.rmdir(host), change=True)


@_command("rm")
def _rm(shell: Shell, arguments: Sequence[str]) -> int:
    options, operands = _options(arguments, "fRr")
    recursive = "r" in options or "R" in options
    if not operands and "f" not in options:
        _need(operands, 1)

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


@_command("mv")
def _mv(shell: Shell, arguments: Sequence[str]) -> int:
    options, operands = _options(arguments, "fnT")
    _need(operands, 2)
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


@_command("cp")
def _cp(shell: Shell, arguments: Sequence[str]) -> int:
    _, operands = _options(arguments, "fp")
    _need(operands, 2)
    target = shell.phone.files.host(operands[-1], shell.cwd)

    def copy(word: str, _: str) -> None:
        source = shell.phone.files.host(word, shell.cwd)
        place = f"{target}/{os.path.basename(source)}" if os.path.isdir(target) else target
        shutil.copy(source, shell.phone.files.host_to_change(shell.phone.files.device(place)))

    return _each(shell, "cp", operands[:-1], copy)


@_command("touch")
def _touch(shell: Shell, arguments: Sequence[str]) -> int:
    _, operands = _options(arguments, "cm")

    def touch(word: str, _: str) -> None:
        host = shell.phone.files.host_to_change(word, shell.cwd)
        with open(host, "ab"):
            os.utime(host)

    return _each(shell, "touch", operands, touch)


@_command("chmod")
def _chmod(shell: Shell, arguments: Sequence[str]) -> int:
    _need(arguments, 2)
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


@_command("ls")
def _ls(shell: Shell, arguments: Sequence[str]) -> int:
    options, operands = _options(arguments, "1AaRdln")
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


@_command("find")
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


@_command("stat")
def _stat(shell: Shell, arguments: Sequence[str]) -> int:
    options, operands = _options(arguments, "L", with_value="c")
    form = options.get("c", "  File: %n\n  Size: %s\nAccess: (%a/%A)")
    _need(operands, 1)

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


@_command("df")
def _df(shell: Shell, arguments: Sequence[str]) -> int:
    _, operands = _options(arguments, "kP")
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


@_command("logcat")
def _logcat(shell: Shell, arguments: Sequence[str]) -> int:
    """What NNAPI and the shim wrote to the log: the virtual phone keeps one file."""
    host = shell.phone.files.host("/data/misc/logd/log")
    if "-c" in arguments:
        if os.path.exists(host):
            os.truncate(host, 0)
        return 0
    if os.path.exists(host):
        shell.streams.write(b"".join(_read_blocks(shell, "/data/misc/logd/log")))
    return 0
