"""Every shared model on the CPU reference, against the outputs of LiteRT's reference kernels."""

from __future__ import annotations

import numpy as np
import pytest
from nnapi_toolkit.delegate.graph import Graph
from nnapi_toolkit.reference.executor import ReferenceExecutor

from tests.conftest import Golden, catalogue, model_names, model_path


@pytest.mark.parametrize("name", model_names())
def test_model(name):
    """Quantised outputs equal; floats within 1e-5 relative or 1e-6 absolute."""
    executor, golden = ReferenceExecutor(Graph.open(model_path(name))), Golden(name)
    entry = catalogue()[name]["golden"]
    for case in range(golden.cases):
        if not entry["sequence"]:
            executor.reset()
        outputs = executor.run(0, golden.inputs(case))
        for have, want in zip(outputs, golden.outputs(case)):
            assert (have.shape, have.dtype) == (want.shape, want.dtype)
            if want.dtype.kind != "f":
                np.testing.assert_array_equal(have, want)
                continue
            np.testing.assert_allclose(have, want, rtol=1e-5, atol=1e-6)
