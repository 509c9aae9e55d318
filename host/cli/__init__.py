"""The `nnapi` command. Exit codes: 0 success, 1 a negative finding or a failed device, 2 wrong usage or input."""

from nnapi_toolkit.cli.main import main

__all__ = ["main"]
