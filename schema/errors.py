"""The root of the one error tree. It lives here because this package is the only one that all others may import."""

from __future__ import annotations


class ToolkitError(Exception):
    """Any failure that the toolkit expects; catch this one to catch them all."""
