"""The child process of `launch`."""

from __future__ import annotations

from .daemon import serve_ephemeral

if __name__ == "__main__":
    serve_ephemeral()
