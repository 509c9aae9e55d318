"""The commands of the phone's shell: those that the toolkit uses, with the options that it uses, as toybox has them.

The shell's own, the phone's and its processes' are here; those of files are in `file_commands`.
"""

from __future__ import annotations

import os
import platform
import signal
import time
from collections.abc import Callable, Sequence

from . import file_commands
from .command import COMMANDS, command, need, options_of
from .processes import Process, device_processes
from .shell import SHELL, CommandError, Shell, ShellExit
from .sync import SHELL_ID

__all__ = ["COMMANDS", "file_commands"]

# -- the shell itself -------------------------------------------------------------------------------------------


@command("true", ":")
def _true(shell: Shell, arguments: Sequence[str]) -> int:
    return 0


@command("false")
def _false(shell: Shell, arguments: Sequence[str]) -> int:
    return 1


@command("cd")
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


@command("pwd")
def _pwd(shell: Shell, arguments: Sequence[str]) -> int:
    shell.streams.write(shell.cwd + "\n")
    return 0


@command("echo")
def _echo(shell: Shell, arguments: Sequence[str]) -> int:
    words = list(arguments)
    end = "\n"
    if words and words[0] == "-n":
        words.pop(0)
        end = ""
    shell.streams.write(" ".join(words) + end)
    return 0


@command("export")
def _export(shell: Shell, arguments: Sequence[str]) -> int:
    for argument in arguments:
        name, equals, value = argument.partition("=")
        if equals:
            shell.variables[name] = value
        shell.exported.add(name)
    return 0


@command("unset")
def _unset(shell: Shell, arguments: Sequence[str]) -> int:
    for name in arguments:
        shell.variables.pop(name, None)
        shell.exported.discard(name)
    return 0


@command("exit")
def _exit(shell: Shell, arguments: Sequence[str]) -> int:
    raise ShellExit(int(arguments[0]) & 255 if arguments else shell.status)


@command("exec")
def _exec(shell: Shell, arguments: Sequence[str]) -> int:
    if not arguments:
        return 0
    name = arguments[0].removeprefix("/system/bin/")
    if name in COMMANDS:
        raise ShellExit(COMMANDS[name](shell, arguments[1:]))
    return shell.replace(list(arguments))


@command("umask")
def _umask(shell: Shell, arguments: Sequence[str]) -> int:
    if arguments:
        os.umask(int(arguments[0], 8))
        return 0
    current = os.umask(0)
    os.umask(current)
    shell.streams.write(f"{current:04o}\n")
    return 0


@command("sh")
def _sh(shell: Shell, arguments: Sequence[str]) -> int:
    inner = Shell(shell.phone, shell.streams, cwd=shell.cwd)
    inner.variables.update(shell.environment({}))
    if arguments and arguments[0] == "-c":
        need(arguments, 2)
        return inner.run(arguments[1])
    if arguments:
        raise CommandError("only 'sh' and 'sh -c COMMAND' are known to the virtual device")
    return inner.run_stdin()


@command("test", "[")
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


@command("getprop")
def _getprop(shell: Shell, arguments: Sequence[str]) -> int:
    properties = shell.phone.properties()
    if arguments:
        default = arguments[1] if len(arguments) > 1 else ""
        shell.streams.write((properties.get(arguments[0]) or default) + "\n")
        return 0
    shell.streams.write("".join(f"[{name}]: [{value}]\n" for name, value in properties.items()))
    return 0


@command("setprop")
def _setprop(shell: Shell, arguments: Sequence[str]) -> int:
    need(arguments, 2)
    name, value = arguments[0], arguments[1]
    if name.startswith("ro."):
        raise CommandError(f"failed to set property '{name}' to '{value}'")
    shell.phone.set_property(name, value)
    return 0


@command("id")
def _id(shell: Shell, arguments: Sequence[str]) -> int:
    if arguments and arguments[0] == "-u":
        shell.streams.write(f"{SHELL_ID}\n")
    else:
        shell.streams.write(f"uid={SHELL_ID}(shell) gid={SHELL_ID}(shell) groups={SHELL_ID}(shell)\n")
    return 0


@command("uname")
def _uname(shell: Shell, arguments: Sequence[str]) -> int:
    options, _ = options_of(arguments, "amrs")
    machine = {"arm64-v8a": "aarch64", "armeabi-v7a": "armv7l", "x86": "i686"}.get(shell.phone.config.abi, "x86_64")
    parts = {"s": "Linux", "r": platform.release(), "m": machine}
    wanted = "srm" if "a" in options else "".join(options) or "s"
    shell.streams.write(" ".join(parts[letter] for letter in "srm" if letter in wanted) + "\n")
    return 0


@command("sleep")
def _sleep(shell: Shell, arguments: Sequence[str]) -> int:
    need(arguments, 1)
    time.sleep(float(arguments[0]))
    return 0


@command("date")
def _date(shell: Shell, arguments: Sequence[str]) -> int:
    form = arguments[0][1:] if arguments and arguments[0].startswith("+") else "%a %b %d %H:%M:%S %Z %Y"
    shell.streams.write(time.strftime(form.replace("%s", str(int(time.time())))) + "\n")
    return 0


# -- processes --------------------------------------------------------------------------------------------------


def _processes(shell: Shell) -> list[Process]:
    return device_processes(shell.phone.process_root, shell.phone.hidden_processes)


@command("ps")
def _ps(shell: Shell, arguments: Sequence[str]) -> int:
    options, _ = options_of(arguments, "AefTw", with_value="op")
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


@command("pidof")
def _pidof(shell: Shell, arguments: Sequence[str]) -> int:
    found = [str(p.pid) for p in _processes(shell) if p.name in arguments or os.path.basename(p.path) in arguments]
    if not found:
        return 1
    shell.streams.write(" ".join(found) + "\n")
    return 0


@command("kill")
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
    need(words, 1)
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


@command("logcat")
def _logcat(shell: Shell, arguments: Sequence[str]) -> int:
    """What NNAPI and the shim wrote to the log: the virtual phone keeps one file."""
    host = shell.phone.files.host("/data/misc/logd/log")
    if "-c" in arguments:
        if os.path.exists(host):
            os.truncate(host, 0)
        return 0
    if os.path.exists(host):
        shell.streams.write(b"".join(file_commands.read_blocks(shell, "/data/misc/logd/log")))
    return 0
