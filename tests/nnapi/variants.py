"""Other ways to put a shared case, which have to give the same results: VARIANTS[name](case, arrays).

    open    every tensor of the main model that is no constant is declared with unknown dimensions
    rank    ... with an unknown rank
    branch  the main model is a branch of an IF, whose condition is an input; what it gives has an unknown rank
    signed  TENSOR_QUANT8_ASYMM as TENSOR_QUANT8_ASYMM_SIGNED: all stored numbers and zero points are 128 less

A variant answers None where the case cannot be put so.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np

from .client import MODEL, SCALARS, TENSOR_BOOL8, TENSOR_QUANT8_ASYMM, TENSOR_QUANT8_ASYMM_SIGNED, Array

Case = dict[str, Any]
Arrays = dict[str, Array]
Variant = Callable[[Case, Arrays], tuple[Case, Arrays] | None]

IF = 96
#: Operations whose 8-bit operands are unsigned only, or (CAST) whose stored numbers mean themselves.
UNSIGNED = {"HASHTABLE_LOOKUP", "LSH_PROJECTION", "QUANTIZED_16BIT_LSTM", "CAST"}


def _opened(case: Case, arrays: Arrays, dims: Callable[[list[int]], list[int]]) -> tuple[Case, Arrays] | None:
    changed = copy.deepcopy(case)
    operands = changed["models"][0]["operands"]
    for operand in operands:
        written = operand["lifetime"] in ("input", "output", "temp")
        # Scales per channel need their dimension; a condition has to be one truth value from the start.
        fixed = operand["per_channel"] or (operand["type_code"] == TENSOR_BOOL8 and "IF" in case["ops"])
        if written and not fixed and operand["type_code"] not in SCALARS:
            operand["dims"] = dims(operand["dims"])
    return None if operands == case["models"][0]["operands"] else (changed, arrays)


def open_dimensions(case: Case, arrays: Arrays) -> tuple[Case, Arrays] | None:
    """Dimensions come with the execution."""
    return _opened(case, arrays, lambda dims: [0] * len(dims))


def unknown_ranks(case: Case, arrays: Arrays) -> tuple[Case, Arrays] | None:
    """Ranks come with the execution."""
    return _opened(case, arrays, lambda _: [])


def branch(case: Case, arrays: Arrays) -> tuple[Case, Arrays] | None:
    """The model is referred to, twice."""
    if any(key is None for example in case["examples"] for key in example["inputs"]):
        return None
    inner = copy.deepcopy(case["models"])
    for model in inner:
        for operand in model["operands"]:
            if operand["lifetime"] == "subgraph_ref":
                operand["subgraph"] += 1
    plain = {"scale": 0.0, "zero_point": 0, "per_channel": None, "data": None, "subgraph": None}
    refer = {**plain, "type": "MODEL", "type_code": MODEL, "dims": [], "lifetime": "subgraph_ref", "subgraph": 1}
    truth = {**plain, "type": "TENSOR_BOOL8", "type_code": TENSOR_BOOL8, "dims": [1], "lifetime": "input"}
    inputs = [copy.deepcopy(inner[0]["operands"][index]) for index in inner[0]["inputs"]]
    outputs = [copy.deepcopy(inner[0]["operands"][index]) for index in inner[0]["outputs"]]
    for output in outputs:
        output["dims"] = []
    first, last = 3, 3 + len(inputs)
    outer = {
        "operands": [truth, refer, dict(refer), *inputs, *outputs],
        "operations": [
            {"name": "IF", "code": IF, "inputs": list(range(last)), "outputs": list(range(last, last + len(outputs)))}
        ],
        "inputs": [0, *range(first, last)],
        "outputs": list(range(last, last + len(outputs))),
    }
    examples = [{**example, "inputs": ["condition", *example["inputs"]]} for example in case["examples"]]
    changed = {**case, "models": [outer, *inner], "examples": examples}
    return changed, {**arrays, "condition": np.array([True])}


def signed(case: Case, arrays: Arrays) -> tuple[Case, Arrays] | None:
    """Every unsigned 8-bit tensor."""
    if UNSIGNED & set(case["ops"]) or not any(
        operand["type_code"] == TENSOR_QUANT8_ASYMM for model in case["models"] for operand in model["operands"]
    ):
        return None
    changed, moved = copy.deepcopy(case), dict(arrays)

    def move(key: str | None) -> str | None:
        if key is None:
            return None
        moved[f"{key} signed"] = (arrays[key].astype(np.int16) - 128).astype(np.int8)
        return f"{key} signed"

    for number, model in enumerate(changed["models"]):
        for index, operand in enumerate(model["operands"]):
            if operand["type_code"] != TENSOR_QUANT8_ASYMM:
                continue
            operand["type_code"], operand["zero_point"] = TENSOR_QUANT8_ASYMM_SIGNED, operand["zero_point"] - 128
            operand["data"] = move(operand["data"])
            for example in changed["examples"] if number == 0 else []:
                for side in ("inputs", "outputs"):
                    if index in model[side]:
                        position = model[side].index(index)
                        example[side][position] = move(example[side][position])
        for operation in model["operations"]:
            if operation["name"] == "PAD_V2":  # the padding value is a stored number
                value = model["operands"][operation["inputs"][2]]
                data = model["operands"][operation["inputs"][0]]
                if data["type_code"] == TENSOR_QUANT8_ASYMM_SIGNED and value["data"]:
                    moved[f"{value['data']} moved"] = arrays[value["data"]] - 128
                    value["data"] = f"{value['data']} moved"
    return changed, moved


VARIANTS: dict[str, Variant] = {
    "open": open_dimensions,
    "rank": unknown_ranks,
    "branch": branch,
    "signed": signed,
}
