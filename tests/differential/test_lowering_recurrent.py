"""Random integer LSTMs through software NNAPI against LiteRT's reference kernels, several runs with the states kept: bit for bit."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from nnapi_toolkit.schema.enums import ActivationFunctionType, LSTMKernelType
from nnapi_toolkit.session import Session

from tests.differential.litert import T, integers, rng, run_litert, single
from tests.recurrent_cases import basic

RUNS = 3


class Drawn:
    """The tensors of a random int8 LSTM: one step, or a sequence; any of its optional parts there or not."""

    def __init__(self, seed: int) -> None:
        self.generator, chance = rng(seed), random.Random(seed)
        self.batch, self.depth, self.cells = chance.randint(1, 3), chance.randint(1, 9), chance.randint(1, 10)
        self.width = chance.choice((0, 0, chance.randint(1, 10)))
        self.norm, self.coupled, self.sequence, self.major = (chance.random() < p for p in (0.4, 0.3, 0.4, 0.5))
        self.peephole = chance.random() < 0.3 and self.width in (0, self.cells)
        self.projection_bias, self.long_form = chance.random() < 0.7, chance.random() < 0.5
        self.cell_scale, self.cell_clip = 2.0 ** -chance.randint(9, 15), chance.choice((0.0, 0.5, 3.0))
        steps = chance.randint(1, 5)
        times = (steps, self.batch) if self.major else (self.batch, steps)
        self.shape = (*times, self.depth) if self.sequence else (self.batch, self.depth)

    def scale(self, low: float, high: float) -> float:
        return float(np.float32(self.generator.uniform(low, high)))

    def fixed(self, low: float = 0.003, high: float = 0.02) -> dict[str, Any]:
        return {"scale": self.scale(low, high), "zero_point": int(self.generator.integers(-40, 40))}

    def constant(self, kind: type, limit: int, scale: float, *shape: int) -> T:
        values = self.generator.integers(-limit, limit + 1, shape).astype(kind)
        return T(values, scale=scale, zero_point=0, const=True)

    def gates(self, kind: type, limit: int, low: float, high: float, *shape: int) -> list[T | None]:
        made = [self.constant(kind, limit, self.scale(low, high), *shape) for _ in range(4)]
        return [None if self.coupled and i == 0 else t for i, t in enumerate(made)]

    def model(self) -> tuple[bytes, list[np.ndarray]]:
        cells, outputs = self.cells, self.width or self.cells
        x = T(integers(self.generator, np.int8, self.shape), **self.fixed(0.003, 0.05))
        inputs = [x, *self.gates(np.int8, 127, 0.001, 0.02, cells, self.depth), *self.gates(np.int8, 127, 0.001, 0.02, cells, outputs)]
        peepholes = self.gates(np.int16, 32767, 1e-5, 1e-4, cells)
        inputs += [peepholes[g] if self.peephole else None for g in (0, 1, 3)]
        inputs += self.gates(np.int32, 6000, 1e-4, 1e-4, cells)
        projection = self.constant(np.int8, 127, self.scale(0.001, 0.02), outputs, cells) if self.width else None
        bias = self.constant(np.int32, 6000, 1e-4, outputs) if self.width and self.projection_bias else None
        state = self.fixed()
        inputs += [projection, bias, T(dtype="int8", shape=(self.batch, outputs), variable=True, **state)]
        inputs.append(T(dtype="int16", shape=(self.batch, cells), variable=True, scale=self.cell_scale, zero_point=0))
        if self.norm:
            inputs += self.gates(np.int16, 32767, 1e-5, 1.9e-4, cells)
        elif self.long_form:
            inputs += [None] * 4
        between = [T(dtype="int16", shape=(), scale=self.scale(0.001, 0.008), zero_point=0) for _ in range(4)]
        between.append(T(dtype="int8", shape=(), **(self.fixed() if self.width else state)))
        out = T(dtype="int8", shape=(*self.shape[:-1], outputs), **state)
        own = {"time_major": self.major} if self.sequence else {"kernel_type": LSTMKernelType.FULL}
        return single(
            "UNIDIRECTIONAL_SEQUENCE_LSTM" if self.sequence else "LSTM", inputs, [out], version=2 if self.sequence else 3,
            intermediates=between, fused_activation_function=ActivationFunctionType.TANH, cell_clip=self.cell_clip, **own,
        )  # fmt: skip


def _compare(model: bytes, values: list[np.ndarray], level: int, path: Path) -> None:
    wanted = run_litert(model, values, RUNS)
    path.write_bytes(model)
    with Session(path, f"local,fl={level}") as session:
        assert session.plan.summary()["delegated_nodes"] == 1, str(session.plan.reason(session.plan.verdicts[0][0]))
        for _ in range(RUNS):
            results = session.run(values)
    for have, want in zip(results, wanted, strict=True):
        np.testing.assert_array_equal(have, want)


@pytest.mark.parametrize("seed", range(60))
def test_int8(seed: int, tmp_path: Path) -> None:
    _compare(*Drawn(seed).model(), 4, tmp_path / "model.tflite")


@pytest.mark.parametrize("seed", range(20))
def test_basic_uint8(seed: int, tmp_path: Path) -> None:
    scale = float(np.float32(rng(seed).uniform(1 / 64, 1 / 16)))
    inputs, outputs = basic(f"seed {seed}", scale, bool(seed % 2))
    model, values = single(
        "LSTM", inputs, outputs, version=2, results=1, kernel_type=LSTMKernelType.BASIC,
        fused_activation_function=ActivationFunctionType.TANH,
    )  # fmt: skip
    _compare(model, values, 3, tmp_path / "model.tflite")
