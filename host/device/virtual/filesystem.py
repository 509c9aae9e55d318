"""The phone's file system: device paths, resolved inside one private directory.

Links are followed by us, step by step, with absolute targets taken from the phone's root: no path, `..` or link leads out.
"""

from __future__ import annotations

import errno
import fnmatch
import os
from collections.abc import Iterator

_MAX_LINKS = 40
#: What adb's shell user may change, as on a phone.
WRITABLE = ("/data/local/tmp/", "/sdcard/")
#: Device files that are the host's own: nothing can be kept in them.
_DEVICES = ("/dev/null", "/dev/zero")
#: Folders that every phone has.
SKELETON = ("data/local/tmp", "sdcard", "system/bin", "system/lib64", "system/lib", "proc", "dev", "vendor/lib64")


class DeviceFiles:
    """Maps device paths (`/data/local/tmp/x`) to host paths below `root`."""

    def __init__(self, root: str) -> None:
        """`root` must exist."""
        self.root = os.path.realpath(root)

    def create_skeleton(self) -> None:
        """Makes the folders that a phone has; those that exist stay as they are."""
        for name in SKELETON:
            os.makedirs(f"{self.root}/{name}", exist_ok=True)

    def absolute(self, path: str, cwd: str = "/") -> str:
        """The device path without `.` and doubled slashes, taken from `cwd` when relative; `..` stays as it is."""
        if not path.startswith("/"):
            path = f"{cwd}/{path}"
        return "/" + "/".join(part for part in path.split("/") if part not in ("", "."))

    def resolve(self, path: str, cwd: str = "/", follow: bool = True) -> str:
        """The device path with all links and `..` gone (the last link stays if not `follow`).

        Raises:
            OSError: ENAMETOOLONG, ELOOP, EINVAL (a NUL in the path) or ENOTDIR.
        """
        if "\0" in path:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL), path)
        if len(path) > 4096:
            raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG), path[:64])
        todo = [part for part in self.absolute(path, cwd).split("/") if part]
        trailing = path.endswith("/")
        done: list[str] = []
        links = 0
        todo.reverse()
        while todo:
            part = todo.pop()
            if part == "..":
                if done:
                    done.pop()
                continue
            here = "/".join((self.root, *done, part))
            if (todo or follow or trailing) and os.path.islink(here):
                links += 1
                if links > _MAX_LINKS:
                    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
                target = os.readlink(here)
                if target.startswith("/"):
                    done.clear()
                todo.extend(step for step in reversed(target.split("/")) if step not in ("", "."))
                continue
            done.append(part)
        return "/" + "/".join(done)

    def host(self, path: str, cwd: str = "/", follow: bool = True) -> str:
        """The host path behind a device path. Raises as `resolve`."""
        resolved = self.resolve(path, cwd, follow)
        return resolved if resolved in _DEVICES else (self.root + resolved).rstrip("/")

    def host_to_change(self, path: str, cwd: str = "/", follow: bool = True) -> str:
        """As `host`, for a path that is to be written, renamed or removed.

        Raises:
            PermissionError: It lies outside of the folders that adb's shell user may change.
            OSError: As `resolve`.
        """
        resolved = self.resolve(path, cwd, follow)
        if resolved not in _DEVICES and not resolved.startswith(WRITABLE):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
        return self.host(resolved, follow=False)

    def device(self, host_path: str) -> str:
        """The device path of a host path below the root."""
        return host_path[len(self.root) :] or "/"

    def glob(self, pattern: str, cwd: str) -> list[str]:
        """Device paths that match a pattern with `*`, `?` and `[...]`, sorted, relative where the pattern is."""
        found = [""] if not pattern.startswith("/") else ["/"]
        for part in [part for part in pattern.split("/") if part]:
            found = list(self._step(found, part, cwd))
        return sorted(found)

    def _step(self, bases: list[str], part: str, cwd: str) -> Iterator[str]:
        for base in bases:
            prefix = base if base in ("", "/") else base + "/"
            if not any(c in part for c in "*?["):
                if os.path.lexists(self.host(prefix + part, cwd, follow=False)):
                    yield prefix + part
                continue
            try:
                names = os.listdir(self.host(base or ".", cwd))
            except OSError:
                continue
            for name in names:
                hidden = name.startswith(".") and not part.startswith(".")
                if not hidden and fnmatch.fnmatchcase(name, part):
                    yield prefix + name
