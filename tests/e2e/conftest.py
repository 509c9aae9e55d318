"""Small models that every end-to-end test can build, with or without the shared data."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from nnapi_toolkit.schema.enums import Padding

from tests.modelbuilder import ModelBuilder


@pytest.fixture(scope="session")
def small_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A float convolution, a pool, and a fully connected layer on 16 x 16 x 3."""
    random = np.random.default_rng(7)
    builder = ModelBuilder()
    x = builder.tensor("x", "float32", (1, 16, 16, 3))
    w = builder.tensor("w", "float32", (8, 3, 3, 3), data=random.normal(size=(8, 3, 3, 3)).astype(np.float32))
    b = builder.tensor("b", "float32", (8,), data=random.normal(size=8).astype(np.float32))
    y = builder.tensor("y", "float32", (1, 16, 16, 8))
    p = builder.tensor("p", "float32", (1, 8, 8, 8))
    z = builder.tensor("z", "float32", (1, 8, 8, 8))
    builder.op("CONV_2D", [x, w, b], [y], stride_w=1, stride_h=1, padding=Padding.SAME)
    builder.op(
        "AVERAGE_POOL_2D", [y], [p], stride_w=2, stride_h=2, filter_width=2, filter_height=2, padding=Padding.VALID
    )
    builder.op("LOGISTIC", [p], [z])
    path = tmp_path_factory.mktemp("models") / "small.tflite"
    path.write_bytes(builder.build([x], [z]))
    return path
