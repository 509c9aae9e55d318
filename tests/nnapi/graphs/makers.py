"""All makers, by family."""

from . import arithmetic, control, detection, movement, recurrent, windows

__all__ = ["arithmetic", "control", "detection", "movement", "recurrent", "windows"]
