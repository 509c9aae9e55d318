"""How many threads numpy's matrix products take, for the time of an inference.

OpenBLAS lets its threads spin while they wait for each other. When other programs want the cores that costs far more than
the threads gain: twenty times the single-threaded time for MobileNet has been seen on two busy cores.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from threading import Lock

import numpy as np

_NAMES = ("scipy_openblas_{}_num_threads64_", "scipy_openblas_{}_num_threads", "openblas_{}_num_threads64_",
          "openblas_{}_num_threads")  # fmt: skip
_lock = Lock()
_users: list[int] = []  # the number of threads to go back to, once for each inference that runs now


@cache
def _functions() -> tuple[Callable[[], int], Callable[[int], None]] | None:
    """What reads and sets OpenBLAS's number of threads; None where numpy came with another library."""
    package = Path(np.__file__).parent
    for folder in (package.parent / "numpy.libs", package / ".dylibs"):
        for path in sorted(folder.glob("*openblas*")) if folder.is_dir() else ():
            try:
                library = ctypes.CDLL(str(path))
            except OSError:
                continue
            for name in _NAMES:
                if hasattr(library, name.format("set")):
                    return getattr(library, name.format("get")), getattr(library, name.format("set"))
    return None


@contextmanager
def blas_threads(count: int | None) -> Iterator[None]:
    """Within it matrix products take `count` threads; None changes nothing."""
    functions = None if count is None else _functions()
    if functions is None or count is None:
        yield
        return
    read, write = functions
    with _lock:
        _users.append(_users[0] if _users else int(read()))
        write(count)
    try:
        yield
    finally:
        with _lock:
            before = _users.pop()
            if not _users:
                write(before)
