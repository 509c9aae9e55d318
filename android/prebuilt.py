"""The Android binaries that a wheel carries, so that an installed toolkit needs no compiler for a phone.

    python -m nnapi_toolkit.android.prebuilt [FOLDER]     # builds all Android targets into android/prebuilt/

A folder has one sub-folder per ABI and a manifest: SHA-256 and size of each file, the hash of the sources they were
built from, and the build hash that the shim tells at hello. Files whose manifest is of other sources, or whose bytes
are not the manifest's, are never used.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from .errors import BuildError

PREBUILT_ROOT = Path(__file__).resolve().parent / "prebuilt"
MANIFEST = "manifest.json"
FORMAT = 1


@dataclass(frozen=True)
class Prebuilt:
    """The files of one target, checked; `build_hash` is what the shim tells at hello."""

    folder: Path
    build_hash: str


def digest(path: Path) -> str:
    """SHA-256 of a file, hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@lru_cache(maxsize=16)
def _checked(path: Path, modified: int, sha256: str) -> bool:
    """Has the file these bytes? `modified` (ns) keeps the answer only as long as the file stays as it is."""
    return digest(path) == sha256


def find(target: str, tree_hash: str, root: Path | None = None) -> Prebuilt | None:
    """The carried binaries of a target, or None where there are none of just these sources.

    Raises:
        BuildError: a carried file is damaged.
    """
    root = root or PREBUILT_ROOT
    try:
        manifest: dict[str, Any] = json.loads((root / MANIFEST).read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except ValueError as error:
        raise BuildError(f"{root / MANIFEST} cannot be read: {error}", target=target, next_step=_REINSTALL) from None
    if manifest.get("format") != FORMAT or manifest.get("tree_hash") != tree_hash:
        return None
    files = manifest.get("targets", {}).get(target)
    if files is None:
        return None
    for name, entry in files.items():
        path = root / target / name
        try:
            fine = _checked(path, path.stat().st_mtime_ns, entry["sha256"])
        except FileNotFoundError:
            fine = False
        if not fine:
            raise BuildError(
                f"{path} is not the file that was shipped (SHA-256 {entry['sha256'][:16]}... expected)",
                target=target,
                next_step=_REINSTALL,
            )
    return Prebuilt(root / target, str(manifest["build_hash"]))


_REINSTALL = "Reinstall the toolkit: pip install --force-reinstall --no-deps nnapi-toolkit"


def write(root: Path = PREBUILT_ROOT, say: Callable[[str], None] = print) -> Path:
    """Builds all Android targets and writes them, with their manifest, to a new folder at `root`; the manifest's path."""
    from .build import LIBNEURALNETWORKS, SHIM, SourceTree, build_products
    from .toolchain import Variant, targets

    names = (SHIM, LIBNEURALNETWORKS)
    tree_hash = SourceTree().hash
    part = root.with_name(f"{root.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    entries: dict[str, dict[str, dict[str, Any]]] = {}
    hashes: set[str] = set()
    for target in targets().values():
        if not target.android:
            continue
        folder, build_hash = build_products(names, target, Variant())
        hashes.add(build_hash)
        (part / target.name).mkdir(parents=True)
        entries[target.name] = {}
        for name in names:
            shutil.copy2(folder / name, part / target.name / name)
            size = (folder / name).stat().st_size
            entries[target.name][name] = {"sha256": digest(part / target.name / name), "size": size}
            say(f"{target.name}/{name}: {size} bytes")
    if len(hashes) != 1 or SourceTree().hash != tree_hash:
        shutil.rmtree(part)
        raise BuildError("the sources changed while they were built", next_step="Try again.")
    manifest = {"format": FORMAT, "tree_hash": tree_hash, "build_hash": hashes.pop(), "targets": entries}
    (part / MANIFEST).write_text(json.dumps(manifest, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    shutil.rmtree(root, ignore_errors=True)
    part.replace(root)
    return root / MANIFEST


def main(arguments: list[str] | None = None) -> int:
    """`python -m nnapi_toolkit.android.prebuilt [FOLDER]`."""
    given = sys.argv[1:] if arguments is None else arguments
    try:
        print(write(Path(given[0]) if given else PREBUILT_ROOT))
    except BuildError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
