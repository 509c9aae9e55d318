"""Planning and lowering of mutated models: a short run of the fuzzer with fixed seeds."""

from __future__ import annotations

import pytest

from tests.fuzz.fuzz_delegate import fuzz


@pytest.mark.parametrize("seed", range(4))
def test_every_valid_model_gets_a_plan_and_valid_programs(seed: int) -> None:
    tried, valid, failures = fuzz(seed, 250, 120.0, None)
    assert not failures, next(iter(failures.values()))
    assert tried == 250 and valid > 100
