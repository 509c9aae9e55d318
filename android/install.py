"""Puts software NNAPI where C and C++ projects find it: library, headers, pkg-config file.

python -m nnapi_toolkit.android.install --prefix ./softnn
cc client.c $(PKG_CONFIG_PATH=./softnn/lib/pkgconfig pkg-config --cflags --libs softnn)
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from .build import LIBNEURALNETWORKS, SOURCE_ROOT, build
from .errors import BuildError

HEADERS = ("nnapi.h", "softnn.h")

_PKG_CONFIG = """\
prefix=${{pcfiledir}}/../..
libdir=${{prefix}}/lib
includedir=${{prefix}}/include

Name: softnn
Description: The Android Neural Networks API (libneuralnetworks.so) in software, for Linux
Version: {version}
Libs: -L${{libdir}} -lneuralnetworks
Cflags: -I${{includedir}}
"""


def install(prefix: Path, *, sanitize: bool = False) -> list[Path]:
    """Builds for this machine and fills `prefix`: lib/, lib/pkgconfig/, include/.

    Args:
        prefix: created where it does not exist. The tree may be moved afterwards.
        sanitize: the library with UBSan, which ends the process at the first finding.

    Returns:
        The files that were written.

    Raises:
        BuildError: the build failed, or `prefix` cannot be written.
    """
    built = build("host", sanitize=sanitize).libneuralnetworks
    library, include = prefix / "lib" / LIBNEURALNETWORKS, prefix / "include"
    pkg_config = prefix / "lib" / "pkgconfig" / "softnn.pc"
    try:
        for folder in (pkg_config.parent, include):
            folder.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(built, library)
        library.chmod(0o755)
        headers = [Path(shutil.copyfile(SOURCE_ROOT / "include" / name, include / name)) for name in HEADERS]
        pkg_config.write_text(_PKG_CONFIG.format(version=_version()))
    except OSError as error:
        raise BuildError(
            f"{prefix} cannot be written: {error}", target="host", next_step="Choose another --prefix."
        ) from error
    return [library, *headers, pkg_config]


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("nnapi-toolkit")
    except PackageNotFoundError:  # a source tree that is not installed
        return "0"


def main(arguments: Sequence[str] | None = None) -> int:
    """`python -m nnapi_toolkit.android.install --prefix DIR`."""
    parser = argparse.ArgumentParser(prog="nnapi_toolkit.android.install", description="Install software NNAPI.")
    parser.add_argument("--prefix", type=Path, required=True)
    parser.add_argument("--sanitize", action="store_true", help="with UBSan")
    options = parser.parse_args(arguments)
    try:
        for path in install(options.prefix, sanitize=options.sanitize):
            print(path)
    except BuildError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
