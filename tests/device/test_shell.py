"""The phone's shell, through the real adb client, and its quoting beside a real shell's."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from nnapi_toolkit.device.adbclient import AdbServer
from nnapi_toolkit.device.adbshell import RemoteShell, run_command
from nnapi_toolkit.device.virtual.config import VirtualConfig
from nnapi_toolkit.device.virtual.filesystem import DeviceFiles
from nnapi_toolkit.device.virtual.shell import Phone, Shell, Streams
from nnapi_toolkit.device.virtual.syntax import Command, IncompleteError, ShellSyntaxError, parse
from nnapi_toolkit.device.virtual_phone import VirtualDevice
from nnapi_toolkit.errors import DeviceCommandError, DeviceLostError, DeviceTimeoutError

from tests.device.conftest import Adb


def output(adb: Adb, command: str) -> str:
    return adb("shell", command).stdout.decode()


# -- through the real adb client -----------------------------------------------------------------------------------


def test_properties(adb: Adb) -> None:
    assert output(adb, "getprop ro.product.model") == "Virtual Phone\n"
    lines = output(adb, "getprop").splitlines()
    assert "[ro.nnapi_toolkit.virtual]: [1]" in lines
    assert "[ro.build.version.sdk]: [31]" in lines
    assert output(adb, "getprop no.such.property fallback") == "fallback\n"
    assert output(adb, "getprop no.such.property") == "\n"


def test_set_property_is_seen_by_later_commands(adb: Adb) -> None:
    assert adb("shell", "setprop debug.nn.vlog 'all the rest'").returncode == 0
    assert output(adb, "getprop debug.nn.vlog") == "all the rest\n"
    assert adb("shell", "setprop debug.nn.vlog ''").returncode == 0
    assert adb("shell", "setprop ro.product.model other").returncode == 1
    assert output(adb, "getprop ro.product.model") == "Virtual Phone\n"


@pytest.mark.parametrize(
    ("command", "status"),
    [
        ("true", 0), ("false", 1), ("exit 7", 7), ("exit 300", 44), ("no-such-command", 127), ("/data/no/such/file", 127),
        ("/system", 126), ("cat /no/such/file", 1), ("false; true", 0), ("true; false", 1), ("false || exit 3", 3),
        ("false && exit 3", 1), ("true && exit 3", 3), ("cd /no/such", 2), ("test 1 -eq 1", 0), ("[ a = b ]", 1),
        ("[ -d /data ] && [ ! -e /nothing ] && exit 9", 9), ("sh -c 'exit 5'", 5), ("echo 'unterminated", 1), ("a | b", 1),
        ("rm", 1), ("rm -f", 0), ("kill 1", 1), ("x=3; exit $x", 3), ("cat < /no/such", 1), ("echo x > /no/such/folder", 1),
    ],
)  # fmt: skip
def test_exit_codes(adb: Adb, command: str, status: int) -> None:
    assert adb("shell", command).returncode == status


def test_output_and_error_are_apart(adb: Adb) -> None:
    result = adb("shell", "echo one; echo two >&2; nothing-here")
    assert result.stdout == b"one\n"
    assert result.stderr == b"two\n/system/bin/sh: nothing-here: inaccessible or not found\n"


def test_exec_merges_error_into_output(adb: Adb) -> None:
    assert adb("exec-out", "echo one; echo two >&2").stdout == b"one\ntwo\n"


def test_input_reaches_the_command(adb: Adb) -> None:
    data = bytes(range(256)) * 5000
    result = adb("shell", "cat", data=data)
    assert result.stdout == data
    assert result.returncode == 0


def test_paths_do_not_escape(adb: Adb, phone: VirtualDevice, folder: str) -> None:
    for path in ("../../../../../../etc/passwd", "/../../../etc/passwd", "/etc/passwd"):
        assert b"No such file" in adb("shell", f"cat {path}").stderr
    (phone.phone.root / folder[1:] / "link").symlink_to("/etc/passwd")
    (phone.phone.root / folder[1:] / "up").symlink_to("../../../../../../../../../../etc")
    assert adb("shell", f"cat {folder}/link").returncode == 1
    assert adb("shell", f"cat {folder}/up/passwd").returncode == 1
    assert adb("shell", f"echo x > {folder}/link").returncode == 1
    assert adb("shell", "rm -rf /").returncode == 1
    assert phone.phone.root.joinpath("system").is_dir()


def test_files(adb: Adb, phone: VirtualDevice, folder: str) -> None:
    host = phone.phone.root / folder[1:]
    command = f"cd {folder} && mkdir -p a/b && echo text > a/b/file && mv a/b/file a/other"
    assert adb("shell", command).returncode == 0
    assert (host / "a/other").read_text() == "text\n"
    assert output(adb, f"ls {folder}/a") == "b\nother\n"
    assert output(adb, f"cd {folder}; stat -c '%s %n %a' a/other; chmod 700 a/other; stat -c %a a/other") == "5 a/other 644\n700\n"
    expected = subprocess.run(["sha256sum", "a/other"], cwd=host, capture_output=True, text=True, check=True).stdout
    assert output(adb, f"cd {folder} && sha256sum a/other") == expected
    assert output(adb, f"find {folder} -type f") == f"{folder}/a/other\n"
    assert adb("shell", f"rm {folder}/a").returncode == 1
    assert adb("shell", f"rm -r {folder}/a").returncode == 0
    assert list(host.iterdir()) == []


def test_programs_run_with_the_phones_environment(adb: Adb, folder: str) -> None:
    adb("push", shutil.which("env") or "/usr/bin/env", f"{folder}/env")
    adb("shell", f"chmod 755 {folder}/env")
    lines = output(adb, f"cd {folder}; A=1 B='x y' ./env").splitlines()
    assert "A=1" in lines
    assert "B=x y" in lines
    assert "SOFTNN_FEATURE_LEVEL=8" in lines
    assert not any(line.startswith(("PYTHONPATH=", "HOME=/root", "VIRTUAL_ENV=")) for line in lines)


def test_a_program_without_permission_or_of_another_machine(adb: Adb, phone: VirtualDevice, folder: str) -> None:
    host = phone.phone.root / folder[1:]
    shutil.copy("/bin/true", host / "true")
    (host / "true").chmod(0o644)
    result = adb("shell", f"{folder}/true")
    assert (result.returncode, result.stderr.split(b": ")[-1]) == (126, b"Permission denied\n")
    data = bytearray((host / "true").read_bytes())
    data[18:20] = (0xF7).to_bytes(2, "little")
    (host / "other").write_bytes(bytes(data))
    (host / "other").chmod(0o755)
    result = adb("shell", f"{folder}/other")
    assert (result.returncode, result.stderr.split(b": ")[-1]) == (126, b"64-bit ELF file\n")


def test_interactive_terminal(adb: Adb) -> None:
    result = adb("shell", "-tt", data=b"echo $((1)\rgetprop ro.product.model\rexit 4\r")
    assert b"Virtual Phone\r\n" in result.stdout
    assert b"virtual:/ $ " in result.stdout
    assert result.returncode == 4


# -- our own client ------------------------------------------------------------------------------------------------


def test_run_command(phone: VirtualDevice) -> None:
    result = run_command(phone.server, phone.serial, "echo a; echo b >&2; exit 6")
    assert (result.status, result.stdout, result.stderr) == (6, b"a\n", b"b\n")
    with pytest.raises(DeviceCommandError, match="status 6") as caught:
        result.check()
    assert phone.serial in str(caught.value)


def test_run_command_without_shell_protocol(phone: VirtualDevice, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(AdbServer, "features", lambda self, serial, number: frozenset())
    result = run_command(phone.server, phone.serial, "echo a; echo b >&2; false")
    assert (result.status, result.stdout) == (1, b"a\nb\n")


def test_command_deadline(phone: VirtualDevice) -> None:
    with pytest.raises(DeviceTimeoutError, match="deadline"):
        run_command(phone.server, phone.serial, "sleep 60", seconds=0.3)


def test_one_shell_runs_many_commands(phone: VirtualDevice) -> None:
    with RemoteShell(phone.server, phone.serial) as shell:
        assert shell.run("cd /data/local; pwd").text == "/data/local\n"
        assert shell.run("pwd").text == "/data/local\n"
        assert shell.run("no-such-thing").status == 127
        assert shell.run("echo -n no newline").stdout == b"no newline"
        assert shell.run("cat /dev/null").stdout == b""
        with pytest.raises(DeviceLostError, match="the shell ended in 'exit 3'"):
            shell.run("exit 3")


@settings(max_examples=60, deadline=None)
@given(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\0\n\r"), max_size=20), max_size=4))
def test_quoted_words_arrive_as_they_are(phone: VirtualDevice, words: list[str]) -> None:
    """Any string of a user's reaches a command as one word, unchanged."""
    line = " ".join(map(shlex.quote, ["echo", "-n", "", *words]))
    with RemoteShell(phone.server, phone.serial) as shell:
        assert shell.run(line).stdout.decode() == " ".join(["", *words])


# -- the syntax, beside a real shell's -----------------------------------------------------------------------------

SHELL_TEXT = st.lists(
    st.sampled_from(
        ["a", "b c", "'", '"', "\\", "$X", "${X}", "$?", " ", "&&", "||", ";", "'q r'", '"d $X e"', "\\$", "#"]
        + ["=", "~", "-n", "\n"]
    ),
    max_size=8,
).map("".join)  # fmt: skip


@settings(max_examples=400, deadline=None)
@given(SHELL_TEXT)
def test_words_are_read_as_sh_reads_them(phone_shell: PhoneShell, text: str) -> None:
    """Whatever our parser accepts means the same to /bin/sh: same words, same order, same status."""
    line = f"P {text}"
    assume("$$" not in text)  # the number of the process
    try:
        parse(line)
    except ShellSyntaxError:
        return
    assert phone_shell.words(line) == phone_shell.real_words(line)


class PhoneShell:
    """Runs a line in our interpreter, in this process, and in /bin/sh: `P` prints its arguments one by one."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.null = os.open(os.devnull, os.O_WRONLY)

    def words(self, line: str) -> list[str]:
        seen: list[str] = []

        class Recorder(Shell):
            def _dispatch(self, words: list[str], assignments: dict[str, str], streams: Streams) -> int:
                seen.append("|".join(words))
                return 0 if words[0] == "P" else 127

        phone = Phone(VirtualConfig(), DeviceFiles(str(self.root)), dict, lambda name, value: None, 0)
        shell = Recorder(phone, Streams(stderr=self.null))
        shell.variables["X"] = "x  y"
        shell.run(line)
        return [entry for entry in seen if entry.startswith("P")]

    def real_words(self, line: str) -> list[str]:
        script = "P() { printf P; for w in \"$@\"; do printf '|%s' \"$w\"; done; printf '\\036'; }\nX='x  y'\n"
        done = subprocess.run(["/bin/sh", "-c", script + line], capture_output=True, text=True, cwd=self.root)
        return done.stdout.split("\x1e")[:-1]


@pytest.fixture(scope="module")
def phone_shell(tmp_path_factory: pytest.TempPathFactory) -> PhoneShell:
    return PhoneShell(tmp_path_factory.mktemp("root"))


@pytest.mark.parametrize("text", ["'open", '"open', "a &&", "a ||", "a \\"])
def test_incomplete(text: str) -> None:
    with pytest.raises(IncompleteError):
        parse(text)


@pytest.mark.parametrize(
    "text",
    ["a | b", "a & b", "(a)", "$(a)", "`a`", '"$(a)"', "if a; then b; fi", "; a", "a ;; b", "a << b", "${a:-b}", "a >", "$1"],
)
def test_what_is_beyond_is_refused_by_name(text: str) -> None:
    with pytest.raises(ShellSyntaxError):
        parse(text)


def test_redirections_are_no_words() -> None:
    command: Command = parse("echo 2 a2>b 2>c >>d <e 2>&1")[0]
    assert [(r.descriptor, r.operator) for r in command.redirections] == [(1, ">"), (2, ">"), (1, ">>"), (0, "<"), (2, ">&")]
    assert len(command.words) == 3
