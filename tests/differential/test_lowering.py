"""Every lowering, at every feature level that takes it, through software NNAPI of that level against LiteRT's kernels."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pytest
from nnapi_toolkit.delegate.graph import Graph
from nnapi_toolkit.delegate.nnapi import operation_name
from nnapi_toolkit.delegate.partition import PlanOptions, make_plan
from nnapi_toolkit.delegate.rewrites import ALL
from nnapi_toolkit.delegate.target import Target
from nnapi_toolkit.session import Session, SessionOptions

from tests.differential.litert import LiteRTError, T, run_litert, single
from tests.operator_cases import CASES, OperatorCase

_OPTIMISED = "BUILTIN_WITHOUT_DEFAULT_DELEGATES"
EVERYTHING = PlanOptions(rewrites=ALL)


@cache
def _model(name: str) -> tuple[bytes, list[np.ndarray], list[np.ndarray]]:
    case = next(c for c in CASES if c.name == name)
    model, values = case.model()
    # LiteRT's reference kernel leaves the last channel out of each window; NNAPI and the optimised kernel do not.
    resolver = _OPTIMISED if case.op == "LOCAL_RESPONSE_NORMALIZATION" else "BUILTIN_REF"
    try:
        return model, values, run_litert(model, values, case.runs, resolver)
    except LiteRTError as error:
        if "Didn't find op" not in str(error):
            raise
        return model, values, run_litert(model, values, case.runs, _OPTIMISED)


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)
def test_lowering(case: OperatorCase, tmp_path: Path) -> None:
    try:
        model, values, wanted = _model(case.name)
    except LiteRTError as error:
        pytest.fail(f"LiteRT refuses the model: {error}")
    path = tmp_path / "model.tflite"
    path.write_bytes(model)
    graph = Graph.open(path)
    taken = [level for level in range(1, 9) if make_plan(graph, Target(level), EVERYTHING).partitions]
    seen = set()
    for level in taken:
        codes = make_plan(graph, Target(level), EVERYTHING).lower()[0].operation_codes, level < 4
        if codes in seen:
            continue
        seen.add(codes)
        with Session(path, f"local,fl={level}", SessionOptions(plan=EVERYTHING)) as session:
            assert session.plan.summary()["delegated_nodes"] == 1
            for _ in range(case.runs):
                results = session.run(values)
        for have, want in zip(results, wanted, strict=True):
            assert (have.shape, have.dtype) == (want.shape, want.dtype), f"level {level}"
            if want.dtype.kind == "f":
                scale = max(1e-30, float(np.abs(want).max(initial=0)))
                worst = float(np.abs(have.astype(np.float64) - want).max(initial=0)) / scale
                assert worst <= case.relative, f"level {level}: off by {worst} of the largest result"
            else:
                np.testing.assert_array_equal(have, want, err_msg=f"level {level}")


def test_wide_fully_connected_per_channel(tmp_path: Path) -> None:
    """Exact by default, unit by unit; on request as a convolution, which is a step off for one sum in some hundreds."""
    rng = np.random.default_rng(5)
    units, depth = 300, 64
    model, values = single(
        "FULLY_CONNECTED",
        [
            T(rng.integers(-128, 128, (90, depth), np.int8), scale=0.03, zero_point=7),
            T(
                rng.integers(-127, 128, (units, depth), np.int8), scale=tuple(rng.uniform(0.001, 0.01, units)),
                zero_point=(0,) * units, const=True,
            ),
            None,
        ],
        [T(dtype="int8", shape=(90, units), scale=0.11, zero_point=-3)],
        version=5,
        weights_format=0,
    )
    (want,) = run_litert(model, values)
    path = tmp_path / "model.tflite"
    path.write_bytes(model)
    for level in (2, 3, 4):
        with Session(path, f"local,fl={level}") as session:
            assert session.plan.summary()["delegated_nodes"] == 1
            np.testing.assert_array_equal(session.run(values)[0], want)
    with Session(path, "local", SessionOptions(plan=EVERYTHING)) as session:
        assert operations(session) == ["RESHAPE", "CONV_2D", "RESHAPE"]
        apart = np.abs(session.run(values)[0].astype(int) - want)
    assert apart.max() == 1 and np.count_nonzero(apart) < want.size / 100


def operations(session: Session) -> list[str]:
    (program,) = session.plan.lower()
    return [operation_name(code) for code in program.operation_codes]
