"""Android NNAPI delegate and device-deployment toolkit.

The names below are the public interface; they are imported when first used, so that `import nnapi_toolkit` is quick.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_EXPORTS = {
    "DeviceError": "nnapi_toolkit.errors",
    "DriverError": "nnapi_toolkit.errors",
    "Graph": "nnapi_toolkit.delegate.graph",
    "Interpreter": "nnapi_toolkit.interpreter",
    "ModelError": "nnapi_toolkit.errors",
    "Plan": "nnapi_toolkit.delegate.partition",
    "PlanOptions": "nnapi_toolkit.delegate.partition",
    "Reason": "nnapi_toolkit.delegate.reason",
    "Session": "nnapi_toolkit.session",
    "SessionOptions": "nnapi_toolkit.session",
    "ShimError": "nnapi_toolkit.errors",
    "Target": "nnapi_toolkit.delegate.target",
    "Tolerance": "nnapi_toolkit.arrays",
    "ToolkitError": "nnapi_toolkit.errors",
    "UnsupportedError": "nnapi_toolkit.errors",
    "UsageError": "nnapi_toolkit.errors",
    "bench_model": "nnapi_toolkit.bench",
    "custom_op": "nnapi_toolkit.reference.base",
    "make_plan": "nnapi_toolkit.delegate.partition",
    "open_device": "nnapi_toolkit.device",
    "verify_model": "nnapi_toolkit.verify",
}

__all__ = [*_EXPORTS, "__version__"]

if TYPE_CHECKING:
    from nnapi_toolkit.arrays import Tolerance
    from nnapi_toolkit.bench import bench_model
    from nnapi_toolkit.delegate.graph import Graph
    from nnapi_toolkit.delegate.partition import Plan, PlanOptions, make_plan
    from nnapi_toolkit.delegate.reason import Reason
    from nnapi_toolkit.delegate.target import Target
    from nnapi_toolkit.device import open_device
    from nnapi_toolkit.errors import (
        DeviceError,
        DriverError,
        ModelError,
        ShimError,
        ToolkitError,
        UnsupportedError,
        UsageError,
    )
    from nnapi_toolkit.interpreter import Interpreter
    from nnapi_toolkit.reference.base import custom_op
    from nnapi_toolkit.session import Session, SessionOptions
    from nnapi_toolkit.verify import verify_model


def __getattr__(name: str) -> Any:
    if name not in _EXPORTS:
        raise AttributeError(f"module 'nnapi_toolkit' has no attribute '{name}'")
    value = getattr(importlib.import_module(_EXPORTS[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
