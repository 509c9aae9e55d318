"""The native sources beside this file, and what is in them: units, includes, NNAPI operations."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

from . import bionic
from .errors import BuildError

SOURCE_ROOT = Path(__file__).resolve().parent

_FOLDERS = ("include", "shim", "softnn", "softnn/ops", "sysroot", *(f"{bionic.INCLUDE}{part}" for part in ("", "/sys", "/linux")))
_RECORD = re.compile(rb"^ *SNN_RECORD\((\w+),", re.MULTILINE)
_INCLUDE = re.compile(rb'^[ \t]*#[ \t]*include[ \t]*"([^"\n]+)"', re.MULTILINE)


class SourceTree:
    """All native sources, read once: what is hashed is what is compiled, whoever edits them meanwhile."""

    def __init__(self, root: Path = SOURCE_ROOT) -> None:
        """Reads the sources below `root`."""
        self.files: dict[str, bytes] = {}
        for folder in _FOLDERS:
            for path in sorted((root / folder).iterdir()) if (root / folder).is_dir() else ():
                if path.suffix in (".c", ".h") or f"{folder}/{path.name}" == bionic.SYMBOLS:
                    self.files[f"{folder}/{path.name}"] = path.read_bytes()
        if not self.units("shim"):
            raise BuildError(
                f"no native sources below {root}",
                next_step="Reinstall nnapi-toolkit: its files are incomplete.",
            )

    def units(self, *folders: str) -> list[str]:
        """The C files directly in these folders, sorted."""
        names = (name for name in sorted(self.files) if name.endswith(".c"))
        return [name for name in names if name.rpartition("/")[0] in folders]

    def closure(self, unit: str) -> list[str]:
        """`unit` and every file of the tree that it includes, directly or not, sorted."""
        seen: set[str] = set()
        todo = [unit]
        while todo:
            name = todo.pop()
            if name in seen or name not in self.files:
                continue
            seen.add(name)
            folder = name.rpartition("/")[0]
            for match in _INCLUDE.findall(self.files[name]):
                todo.append(os.path.normpath(f"{folder}/{match.decode()}"))
        return sorted(seen)

    def below(self, folder: str) -> list[str]:
        """All files in a folder and its folders, sorted."""
        return [name for name in sorted(self.files) if name.startswith(f"{folder}/")]

    def operations(self, unit: str | None = None) -> frozenset[str]:
        """The NNAPI operations that software NNAPI has, as the tables of its families (or of the family in `unit`) list them."""
        units = self.units("softnn/ops") if unit is None else [unit]
        return frozenset(name.decode() for file in units for name in _RECORD.findall(self.files[file]))

    def digest(self, names: Sequence[str]) -> bytes:
        """SHA-256 over names and contents."""
        digest = hashlib.sha256()
        for name in names:
            digest.update(f"{name}\0{len(self.files[name])}\0".encode())
            digest.update(self.files[name])
        return digest.digest()

    @cached_property
    def hash(self) -> str:
        """SHA-256 (hex) over the whole tree."""
        return self.digest(sorted(self.files)).hex()

    def write(self, folder: Path) -> None:
        """Writes the tree, with its layout, below `folder`."""
        for name, content in self.files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
