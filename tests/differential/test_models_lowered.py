"""Every shared model at every feature level through software NNAPI of that level, against LiteRT's reference outputs."""

from __future__ import annotations

import numpy as np
import pytest
from nnapi_toolkit.delegate.graph import Graph
from nnapi_toolkit.delegate.partition import make_plan
from nnapi_toolkit.delegate.target import Target
from nnapi_toolkit.session import Session

from tests.conftest import Golden, catalogue, model_names, model_path


def levels(name: str) -> list[int]:
    """The levels whose programs differ from those of the level below, or that change how int8 travels."""
    graph = Graph.open(model_path(name))
    found, seen = [], None
    for level in range(1, 9):
        programs = [(p.operation_codes, p.data) for p in make_plan(graph, Target(level)).lower()]
        if programs and programs != seen:
            found.append(level)
        seen = programs
    return found


@pytest.mark.parametrize("name", [n for n in model_names() if n not in ("", "dynamic_batch")])
def test_model(name: str) -> None:
    golden = Golden(name)
    entry = catalogue()[name]["golden"]
    for level in levels(name):
        with Session(model_path(name), f"local,fl={level}") as session:
            for case in range(min(2, golden.cases)):
                results = session.run(golden.inputs(case))
                for result, wanted, apart in zip(results, golden.outputs(case), entry["ref_vs_xnn"], strict=True):
                    assert (result.shape, result.dtype) == (wanted.shape, wanted.dtype)
                    if wanted.dtype.kind != "f":
                        np.testing.assert_array_equal(result, wanted, err_msg=f"level {level}")
                        continue
                    # Hybrid models quantise at run time in LiteRT and not in NNAPI: the yardstick is how far its own two
                    # implementations lie apart. For the rest, 2e-5 of the output's range.
                    hybrid = apart["max_abs_diff"] if name.endswith("dynrange") else 0.0
                    bound = max(2e-5 * float(np.abs(wanted).max()), hybrid)
                    assert float(np.abs(result - wanted).max(initial=0)) <= bound, f"level {level}"
