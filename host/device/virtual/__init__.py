"""The virtual device: a phone made of a directory, a few shell commands and our software NNAPI.

It speaks the ADB wire protocol as a phone's adbd does, so the real adb server connects to it, and everything above is
the code that runs with a phone. Two ways to have one:

- `launch` starts an ephemeral one: a child process with a private adb server of its own, gone with its parent.
- `daemon.serve` runs one in the foreground on a port, for `adb connect`.

Modules, in the order in which a request passes through them: `launch` (the parent's side), `daemon` (the process),
`adbserver` (the private adb server), `connection` (the wire: handshake, streams, flow control), `services` (what an OPEN
starts), `sync` (files), `shell` and `commands` (the shell), `filesystem` (the private directory), `control` (counters
and faults for tests).
"""

from __future__ import annotations

from .config import VirtualConfig
from .launch import VirtualPhone, launch

__all__ = ["VirtualConfig", "VirtualPhone", "launch"]
