"""The command line as outside programs rely on it: JSON forms, npz keys, exit codes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from nnapi_toolkit.cli import main


def nnapi(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str]:
    """Exit code and standard output of one command."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as left:
        main([str(a) for a in arguments])
    return int(left.value.code or 0), capsys.readouterr().out


def document(capsys: pytest.CaptureFixture[str], *arguments: object) -> Any:
    code, out = nnapi(capsys, *arguments, "--json")
    assert code == 0
    return json.loads(out)


def test_partition_form(capsys: pytest.CaptureFixture[str], small_model: Path) -> None:
    found = document(capsys, "partition", small_model, "--feature-level", 4)
    assert found["model"] == str(small_model)
    assert found["feature_level"] == 4
    assert [n["op"] for n in found["nodes"]] == ["CONV_2D", "AVERAGE_POOL_2D", "LOGISTIC"]
    assert [set(n) for n in found["nodes"]] == [{"subgraph", "index", "op", "target", "partition", "reason"}] * 3
    assert found["partitions"] == [{"index": 0, "subgraph": 0, "nodes": [0, 1, 2]}]


@pytest.mark.parametrize(("text", "levels"), [("1-8", list(range(1, 9))), ("1,3,5", [1, 3, 5])])
def test_partition_of_several_levels_is_an_array(
    capsys: pytest.CaptureFixture[str], small_model: Path, text: str, levels: list[int]
) -> None:
    assert [p["feature_level"] for p in document(capsys, "partition", small_model, "--feature-level", text)] == levels


def test_partition_options(capsys: pytest.CaptureFixture[str], small_model: Path) -> None:
    found = document(capsys, "partition", small_model, "--exclude", "AVERAGE_POOL_2D", "--feature-level", 8)
    assert [n["target"] for n in found["nodes"]] == ["nnapi", "cpu", "nnapi"]
    assert len(found["partitions"]) == 2
    found = document(
        capsys, "partition", small_model, "--exclude", "1", "--max-partitions", 1, "--strategy", "cost", "--no-rewrites"
    )
    assert len(found["partitions"]) == 1


@pytest.mark.parametrize("key", ["x", "input_0"])
def test_run_reads_and_writes_npz(
    capsys: pytest.CaptureFixture[str], small_model: Path, tmp_path: Path, key: str
) -> None:
    values = np.random.default_rng(1).normal(size=(1, 16, 16, 3)).astype(np.float32)
    np.savez(tmp_path / "in.npz", **{key: values})
    results = []
    for device in ("cpu", "local"):
        code, _ = nnapi(
            capsys, "run", small_model, "--device", device, "--inputs", tmp_path / "in.npz", "--outputs", tmp_path / "out.npz"
        )
        assert code == 0
        with np.load(tmp_path / "out.npz") as archive:
            assert set(archive.files) == {"output_0", "z"}
            np.testing.assert_array_equal(archive["output_0"], archive["z"])
            results.append(archive["z"])
    np.testing.assert_allclose(results[0], results[1], rtol=1e-5, atol=1e-6)


def test_bench_form(capsys: pytest.CaptureFixture[str], small_model: Path) -> None:
    found = document(capsys, "bench", small_model, "--device", "local", "--threads", 1, "--runs", 3, "--warmup", 1)
    assert {"p50", "p90", "min"} <= set(found["latency_us"])
    assert "p50" in found["host_overhead_us"]
    assert found["compile_ms"] > 0
    assert [p["index"] for p in found["partitions"]] == [0]
    assert found["latency_us"]["count"] == 3


def test_verify_and_its_exit_code(capsys: pytest.CaptureFixture[str], small_model: Path) -> None:
    found = document(capsys, "verify", small_model, "--device", "local", "--runs", 2)
    assert found["within"] is True
    assert len(found["runs"]) == 2
    code, out = nnapi(capsys, "verify", small_model, "--device", "local", "--atol", 0, "--rtol", 0, "--runs", 3, "--json")
    assert code == (0 if json.loads(out)["within"] else 1)


def test_require_delegated(capsys: pytest.CaptureFixture[str], small_model: Path) -> None:
    code, _ = nnapi(capsys, "run", small_model, "--device", "local", "--require-delegated", "90%")
    assert code == 0
    code, _ = nnapi(capsys, "run", small_model, "--device", "local,refuse=CONV_2D", "--require-delegated", "90%")
    assert code == 1


def test_build_form(capsys: pytest.CaptureFixture[str]) -> None:
    found = document(capsys, "build", "--target", "host")
    assert found["target"] == "host"
    for key in ("shim", "libneuralnetworks"):
        assert Path(found[key]).stat().st_size == found["sizes"][key]


@pytest.mark.parametrize(
    "arguments",
    [
        ("partition", "missing.tflite"),
        ("partition", __file__),
        ("partition", "MODEL", "--feature-level", "9"),
        ("partition", "MODEL", "--feature-level", "x"),
        ("partition", "MODEL", "--strategy", "best"),
        ("partition", "MODEL", "--exclude", "-3"),
        ("run", "MODEL", "--device", "virtual:mips"),
        ("run", "MODEL", "--device", "local,fl=0"),
        ("run", "MODEL", "--device", "local,refuse=NO_SUCH_OPERATION"),
        ("run", "MODEL", "--device", "local", "--inputs", "missing.npz"),
        ("run", "MODEL", "--device", "local", "--inputs", __file__),
        ("run", "MODEL", "--require-delegated", "200%"),
        ("nonsense",),
        ("bench", "MODEL", "--runs", "0"),
        ("build", "--target", "vax"),
    ],
)
def test_wrong_usage_exits_with_two_and_says_so(
    capsys: pytest.CaptureFixture[str], small_model: Path, arguments: tuple[str, ...]
) -> None:
    given = [str(small_model) if a == "MODEL" else a for a in arguments]
    code, out = nnapi(capsys, *given, "--json")
    assert code == 2
    error = json.loads(out)["error"]
    assert error["type"]
    assert len(error["message"]) > 10


def test_a_wrong_input_shape_names_the_tensor(
    capsys: pytest.CaptureFixture[str], small_model: Path, tmp_path: Path
) -> None:
    np.savez(tmp_path / "in.npz", x=np.zeros((1, 2, 2, 3), np.float32))
    code, out = nnapi(capsys, "run", small_model, "--device", "cpu", "--inputs", tmp_path / "in.npz", "--json")
    assert code == 2
    message = json.loads(out)["error"]["message"]
    assert "'x'" in message and "[1, 2, 2, 3]" in message and "[1, 16, 16, 3]" in message


def test_matrix_form(capsys: pytest.CaptureFixture[str], small_model: Path) -> None:
    rows = document(capsys, "partition", small_model, "--matrix")["matrix"]
    assert [row["feature_level"] for row in rows] == list(range(1, 9))
    assert all(0 <= row["delegated_mac_share"] <= 1 for row in rows)


def test_explain_names_rewrites_and_refusals(capsys: pytest.CaptureFixture[str], small_model: Path) -> None:
    found = document(capsys, "partition", small_model, "--explain", "--exclude", "LOGISTIC", "--feature-level", 1)
    assert [row["op"] for row in found["explain"]["refusals"]] == ["LOGISTIC"]
    assert found["explain"]["summary"]["partitions"] == len(found["partitions"]) == 1
    code, out = nnapi(capsys, "partition", small_model, "--explain", "--feature-level", 1)
    assert code == 0 and "M MACs" in out


def test_partition_can_require_a_share(capsys: pytest.CaptureFixture[str], small_model: Path) -> None:
    assert nnapi(capsys, "partition", small_model, "--require-delegated", "100%")[0] == 0
    assert nnapi(capsys, "partition", small_model, "--require-delegated", "50%", "--exclude", "CONV_2D")[0] == 1


def test_freeze_shapes(capsys: pytest.CaptureFixture[str], small_model: Path) -> None:
    assert nnapi(capsys, "partition", small_model, "--freeze-shapes", "x=1x16x16x3")[0] == 0
    for wrong in ("x", "x=", "x=1xax3", "nothing=1x2", "x=2x16"):
        assert nnapi(capsys, "partition", small_model, "--freeze-shapes", wrong)[0] == 2


def test_a_failed_driver_in_json(capsys: pytest.CaptureFixture[str], small_model: Path) -> None:
    code, out = nnapi(capsys, "run", small_model, "--device", "local,faults=Execution_compute:5", "--json")
    assert code == 1
    error = json.loads(out)["error"]
    assert error["type"] == "DriverError"
    failure = error["failure"]
    assert (failure["partition"], failure["phase"], failure["code"]) == (0, "execute", 5)
    assert [node["op"] for node in failure["nodes"]] == ["CONV_2D", "AVERAGE_POOL_2D", "LOGISTIC"]
    code, out = nnapi(
        capsys, "run", small_model, "--device", "local,faults=Execution_compute:5", "--on-failure", "cpu", "--json"
    )
    assert code == 0
    found = json.loads(out)
    assert found["summary"]["failed_partitions"] == [0]
    assert found["stats"]["steps"][0]["fallback"] is True
    assert found["failures"][0]["action"] == "cpu"


@pytest.mark.parametrize(("text", "size"), [("500000", 500000), ("512K", 1 << 19), ("200M", 200 << 20), ("1GiB", 1 << 30)])
def test_sizes(text: str, size: int) -> None:
    from nnapi_toolkit.cli.devices import parse_size

    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["0", "-1", "1T", "1.5M", ""])
def test_sizes_that_are_none(capsys: pytest.CaptureFixture[str], text: str) -> None:
    assert nnapi(capsys, "clean", "--device", "local", f"--keep={text}", "--json")[0] == 2


def test_push_tells_how_fast(
    capsys: pytest.CaptureFixture[str], small_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from nnapi_toolkit.device import open_virtual

    with open_virtual() as phone:
        monkeypatch.setenv("ADB_SERVER_SOCKET", f"localfilesystem:{phone.phone.adb_socket}")
        first = document(capsys, "push", small_model, "--device", phone.serial)
        assert first["pushed_bytes"] > small_model.stat().st_size
        assert first["bytes_per_second"] > 1000
        second = document(capsys, "push", small_model, "--device", phone.serial)
        assert second["pushed_bytes"] <= first["pushed_bytes"] / 100
        assert second["bytes_per_second"] is None
        assert nnapi(capsys, "clean", "--device", phone.serial)[0] == 0
        code, out = nnapi(capsys, "push", small_model, "--device", phone.serial)
        assert code == 0 and " bytes pushed in " in out and out.strip().endswith("iB/s")
