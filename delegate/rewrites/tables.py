"""Rewrites of quantised operators to exact integer forms."""

from __future__ import annotations

from nnapi_toolkit.delegate.rewrites.base import Rewrite

REWRITES: tuple[Rewrite, ...] = ()
