"""Real models, the whole road: every joint real, outputs judged by LiteRT's reference kernels."""

from __future__ import annotations

import numpy as np
import pytest
from nnapi_toolkit.session import Session, SessionOptions

from tests.conftest import Golden, model_names, model_path

VISION = [
    name for name in model_names("mobilenet") + model_names("inception") if name != "mobilenet_v1_025_128_dynrange"
]


def assert_equal_to_golden(name: str, session: Session, cases: int | None = None) -> None:
    golden = Golden(name)
    for case in range(golden.cases if cases is None else min(cases, golden.cases)):
        results = session.run(golden.inputs(case))
        for result, expected in zip(results, golden.outputs(case), strict=True):
            assert result.dtype == expected.dtype
            assert result.shape == expected.shape
            if result.dtype.kind == "f":
                np.testing.assert_allclose(result, expected, rtol=1e-5, atol=1e-6)
            else:
                np.testing.assert_array_equal(result, expected)


@pytest.mark.parametrize("name", VISION)
def test_virtual_device(name: str) -> None:
    with Session(model_path(name), "virtual") as session:
        assert_equal_to_golden(name, session)
        summary = session.plan.summary()
        assert summary["delegated_nodes"] > 0


@pytest.mark.parametrize("name", VISION)
def test_cpu_reference(name: str) -> None:
    with Session(model_path(name), "cpu") as session:
        assert_equal_to_golden(name, session, cases=2)
        assert session.plan.summary()["delegated_nodes"] == 0


@pytest.mark.parametrize("name", VISION)
@pytest.mark.parametrize("level", [1, 3, 4])
def test_every_level_in_process(name: str, level: int) -> None:
    """Software NNAPI at that level refuses what the level lacks, so a wrong plan fails here."""
    with Session(model_path(name), f"local,fl={level}", SessionOptions()) as session:
        assert_equal_to_golden(name, session, cases=1)


@pytest.mark.parametrize("name", [n for n in VISION if n.endswith("_float")])
def test_sustained_speed(name: str) -> None:
    """Fused multiply-adds stay within the same bound of the reference; they are what relaxed computation uses."""
    golden = Golden(name)
    with Session(model_path(name), "local", SessionOptions(preference="sustained-speed")) as session:
        assert_equal_to_golden(name, session)
        results = session.run(golden.inputs(0))
    with Session(model_path(name), "local", SessionOptions(allow_fp16=True)) as session:
        for result, relaxed in zip(results, session.run(golden.inputs(0)), strict=True):
            np.testing.assert_array_equal(result, relaxed)


@pytest.mark.parametrize(
    "name", [n for n in ("mobilenet_v2_10_224_int8", "mobilenet_v1_025_128_uint8io") if n in VISION]
)
@pytest.mark.parametrize("refusal", ["refuse=AVERAGE_POOL_2D", "refuse-every=3"])
def test_mixed_plan(name: str, refusal: str) -> None:
    with Session(model_path(name), "virtual") as whole:
        whole_partitions = whole.plan.summary()["partitions"]
    with Session(model_path(name), f"virtual,{refusal}") as session:
        assert_equal_to_golden(name, session, cases=2)
        assert session.plan.summary()["partitions"] > whole_partitions
        stats = session.last_stats
        assert stats is not None
        delegated = [step for step in stats.steps if step.target == "nnapi"]
        assert len(delegated) > whole_partitions
        assert any(step.target == "cpu" for step in stats.steps)
        _only_needed_tensors_cross(session)


def _only_needed_tensors_cross(session: Session) -> None:
    """What came to the host is read there or is an output; nothing is sent that the device has already."""
    main = session.graph.subgraphs[0]
    names = {t.name: t.index for t in main.tensors}
    cpu_nodes = {n for step in session.plan.steps(0) if step.partition is None for n in step.nodes}
    read_on_host = {t for n in cpu_nodes for t in main.operators[n].inputs} | set(main.outputs)
    assert session.last_stats is not None
    sent: set[str] = set()
    for step in session.last_stats.steps:
        assert {names[n] for n in step.received} <= read_on_host
        assert not sent & set(step.sent), "a tensor crossed the cable twice"
        sent |= set(step.sent)


def test_later_partitions_read_what_stayed_on_the_device() -> None:
    """A residual network cut at every third operation has a tensor that only a later partition reads."""
    if "mobilenet_v2_10_224_int8" not in VISION:
        pytest.skip("no shared models")
    with Session(model_path("mobilenet_v2_10_224_int8"), "virtual,refuse-every=5") as session:
        session.run(Golden("mobilenet_v2_10_224_int8").inputs(0))
        assert session.last_stats is not None
        resident = {name for step in session.last_stats.steps for name in step.resident}
        received = {name for step in session.last_stats.steps for name in step.received}
        assert resident
        assert resident - received, "every tensor that a later partition reads was brought to the host as well"


CALLING = [name for name in ("control_flow", "text_gru_float") if name in model_names()]


@pytest.mark.parametrize("name", CALLING)
@pytest.mark.parametrize("level", [1, 3, 8])
def test_delegated_parts_of_called_subgraphs_run_on_the_device(name: str, level: int) -> None:
    """What the plan says of the bodies of IF and WHILE is what happens."""
    with Session(model_path(name), f"local,fl={level}") as session:
        assert_equal_to_golden(name, session)
        planned = {p.index: p.subgraph for p in session.plan.partitions}
        assert session.last_stats is not None
        ran = {step.partition: step for step in session.last_stats.steps if step.target == "nnapi"}
        assert all(planned[number] == step.subgraph for number, step in ran.items() if number is not None)
        main_is_whole = [step.partition for step in session.plan.steps(0)] == [0]
        assert main_is_whole == (level == 8)
        if not main_is_whole:
            assert any(step.subgraph > 0 for step in ran.values())
        if name == "text_gru_float" and not main_is_whole:
            assert set(ran) == set(planned), "a partition that is planned never runs"
            assert all(step.count == 24 or step.count == 25 for step in ran.values() if step.subgraph > 0)


@pytest.mark.parametrize("device", ["local", "virtual", "local,fl=2"])
def test_an_open_batch_is_planned_for_as_it_comes(device: str) -> None:
    """Batches of 1, 3 and 5, and back again: each shape is planned and compiled, and stays delegated."""
    if "dynamic_batch" not in model_names():
        pytest.skip("no shared models")
    with Session(model_path("dynamic_batch"), device) as session:
        first = session.summary()["delegated_nodes"]
        assert first > 0
        for _ in range(2):
            assert_equal_to_golden("dynamic_batch", session)
            assert session.summary()["delegated_nodes"] == first


@pytest.mark.parametrize("name", CALLING)
@pytest.mark.parametrize("fault", ["Execution_compute:5", "Execution_compute:5:30", "Compilation_finish:4:2"])
def test_failures_inside_called_subgraphs(name: str, fault: str) -> None:
    options = SessionOptions(on_failure="cpu")
    with Session(model_path(name), f"local,fl=3,faults={fault}", options) as session:
        assert_equal_to_golden(name, session)
        assert bool(session.failures) or fault.endswith(":30")
