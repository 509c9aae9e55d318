"""A private adb server: the real one, on a socket of its own, that knows no phones but those we connect to it.

It listens on a Unix socket that only the user can reach, finds neither USB devices nor emulators nor anything on the
network, and keeps keys and logs in its own folder: the user's server, phones and `~/.android` are left alone.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import socket
from pathlib import Path

from .services import die_with_parent


def own_adb() -> str | None:
    """The user's own adb, if there is one on the PATH."""
    return shutil.which("adb")


def adb_binary() -> str:
    """The adb program that came with adbutils, else the user's own.

    Raises:
        FileNotFoundError: There is neither.
    """
    found = importlib.util.find_spec("adbutils")
    if found and found.origin:
        path = Path(found.origin).parent / "binaries" / "adb"
        if path.exists():
            return str(path)
    installed = own_adb()
    if installed is None:
        raise FileNotFoundError(
            "adb is neither in the adbutils package nor on the PATH: pip install --force-reinstall adbutils"
        )
    return installed


def server_environment(home: str) -> dict[str, str]:
    """Environment in which an adb server finds nothing by itself and writes only below `home`."""
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": home,
        "TMPDIR": home,
        "ANDROID_SDK_HOME": home,
        "ANDROID_USER_HOME": home,
        "ANDROID_ADB_LOG_PATH": f"{home}/adb.log",
        "ADB_USB": "0",
        "ADB_EMU": "0",
        "ADB_LOCAL_TRANSPORT_MAX_PORT": "0",
        "ADB_MDNS": "0",
        "ADB_MDNS_AUTO_CONNECT": "",
        "ADB_BURST_MODE": "1",
    }


def start_adb_server(binary: str, socket_path: str, home: str) -> int:
    """Forks the server; it listens at once, since the listening socket is made here. Returns its process.

    It is killed when this process ends, however it ends.
    """
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(socket_path)
    listener.listen(64)
    parent = os.getpid()
    process = os.fork()
    if process == 0:
        try:
            os.setsid()
            die_with_parent(parent)
            os.set_inheritable(listener.fileno(), True)
            log = os.open(f"{home}/adb.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            null = os.open(os.devnull, os.O_RDONLY)
            for number, descriptor in enumerate((null, log, log)):
                os.dup2(descriptor, number)
            arguments = ["adb", "-L", f"acceptfd:{listener.fileno()}", "--one-device", "none", "server", "nodaemon"]
            os.execve(binary, arguments, server_environment(home))
        finally:
            os._exit(127)
    listener.close()
    return process
