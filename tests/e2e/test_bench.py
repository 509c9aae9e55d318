"""What a benchmark reports; never how fast anything is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from nnapi_toolkit.bench import bench_model, percentiles
from nnapi_toolkit.cli import main
from nnapi_toolkit.device import LocalDevice, open_virtual
from nnapi_toolkit.device.store import FOLDER
from nnapi_toolkit.device.virtual.config import VirtualConfig
from nnapi_toolkit.device.virtual.launch import launch
from nnapi_toolkit.device.virtual_phone import VirtualDevice
from nnapi_toolkit.phonestate import read_state
from nnapi_toolkit.session import Session, SessionOptions


def nnapi(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str]:
    capsys.readouterr()
    with pytest.raises(SystemExit) as left:
        main([str(a) for a in arguments])
    return int(left.value.code or 0), capsys.readouterr().out


def document(capsys: pytest.CaptureFixture[str], *arguments: object) -> Any:
    code, out = nnapi(capsys, *arguments, "--json")
    assert code == 0
    return json.loads(out)


def test_percentiles() -> None:
    found = percentiles([n * 1000 for n in range(1, 101)])
    assert found["p50"] == 50.5
    assert found["p90"] == pytest.approx(90.1)
    assert found["p99"] == pytest.approx(99.01)
    assert (found["min"], found["max"], found["count"]) == (1, 100, 100)
    assert set(percentiles([])) == set(found)


def test_the_cache_is_measured_and_leaves_nothing(small_model: Path) -> None:
    with open_virtual() as device:
        folder = device.phone.root / FOLDER[1:] / "cache"
        with Session(small_model, device, SessionOptions(cache_directory="auto")):
            before = sorted(folder.iterdir())
        found = bench_model(small_model, device, runs=2, warmup=0).to_json()
        cache = found["compile_cache"]
        assert cache["cold_ms"] > 0 and cache["warm_ms"] > 0
        assert cache["files"] >= 1 and cache["bytes"] > 0
        assert cache["reason"] is None
        assert sorted(folder.iterdir()) == before
    local = bench_model(small_model, "local", runs=1, warmup=0).to_json()["compile_cache"]
    assert local["files"] >= 1 and local["warm_ms"] > 0


@pytest.mark.parametrize(
    ("device", "text"), [("local,fl=2", "feature level 3"), ("cpu", "nothing is compiled")]
)
def test_no_cache_and_its_reason(small_model: Path, device: str, text: str) -> None:
    cache = bench_model(small_model, device, runs=1, warmup=0).to_json()["compile_cache"]
    assert cache["cold_ms"] is None and cache["warm_ms"] is None
    assert text in cache["reason"]


def test_two_devices_in_turns(small_model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = document(capsys, "bench", small_model, "--device", "local", "--vs", "cpu", "--runs", 7, "--warmup", 1)
    versus = found["vs"]
    assert versus["device"] == "cpu"
    assert found["latency_us"]["count"] == versus["latency_us"]["count"] == 7
    assert versus["ratio"]["min"] <= versus["ratio"]["median"] <= versus["ratio"]["max"]
    assert versus["wall_ratio"]["median"] > 0
    code, out = nnapi(capsys, "bench", small_model, "--device", "local", "--vs", "local,fl=3", "--runs", 3)
    assert code == 0
    assert "times as long" in out


def test_two_accelerators_of_one_device(small_model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = document(capsys, "bench", small_model, "--device", "local", "--vs-accelerator", "nnapi-reference", "--runs", 3)
    assert found["vs"]["device"] == "local"
    code, _ = nnapi(capsys, "bench", small_model, "--device", "all", "--vs", "cpu", "--json")
    assert code == 2


def test_sustained(small_model: Path) -> None:
    found = bench_model(small_model, "local", runs=1, warmup=0, sustained_minutes=3, minute_seconds=0.1).to_json()
    rows = found["sustained"]["per_minute"]
    assert [row["minute"] for row in rows] == [1, 2, 3]
    assert all(row["count"] > 0 and row["p50"] > 0 for row in rows)
    assert found["sustained"]["slowdown"] > 0


def test_a_phone_s_state_is_null_with_a_reason(small_model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for device in ("cpu", "local", "virtual"):
        found = document(capsys, "bench", small_model, "--device", device, "--runs", 1, "--wait-cool", 37)
        for state in found["state"].values():
            assert state["temperature_celsius"] is None
            assert state["reason"]
        assert found["cooling"]["reached"] is None


def test_a_shell_that_lacks_the_commands(small_model: Path) -> None:
    """A device that is taken for a phone, with a shell that knows no pipes: named, not raised."""
    config = VirtualConfig(properties={"ro.nnapi_toolkit.virtual": "0"})
    with VirtualDevice(launch(config)) as device:
        assert not device.info().virtual
        assert read_state(device).reason


def test_threads_reach_software_nnapi(small_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[dict[str, str]] = []
    start = LocalDevice.start

    def spy(self: LocalDevice, *arguments: Any, **more: Any) -> Any:
        seen.append(dict(self.config.environment))
        return start(self, *arguments, **more)

    monkeypatch.setattr(LocalDevice, "start", spy)
    bench_model(small_model, "local", runs=1, threads=2)
    bench_model(small_model, "local", runs=1, threads=1)
    assert [environment.get("SOFTNN_THREADS") for environment in seen] == ["2", None]


def test_a_failed_partition_is_marked(small_model: Path) -> None:
    options = SessionOptions(on_failure="cpu")
    found = bench_model(small_model, "local,faults=Execution_compute:5", runs=2, options=options).to_json()
    assert [row["fallback"] for row in found["partitions"]] == [True]
    assert found["failures"][0]["partition"] == 0
    assert found["summary"]["failed_partitions"] == [0]


def test_for_people(small_model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out = nnapi(
        capsys, "bench", small_model, "--device", "local", "--runs", 2, "--sustained", 0.002, "--wait-cool", 30
    )
    assert code == 0
    for word in ("p50", "p90", "p99", "cold", "warm", "first inference", "steady", "minute", "cannot be read"):
        assert word in out, word
