"""What the comparisons covered: a table of operators and operand types, printed after the tests of all families."""

from __future__ import annotations

import os
from collections import defaultdict
from importlib import import_module
from pathlib import Path

import pytest
from nnapi_toolkit import reference
from nnapi_toolkit.reference.base import CUSTOM_KERNELS, KERNELS
from nnapi_toolkit.reference.custom import SHIPPED
from nnapi_toolkit.schema.enums import BuiltinOperator

from tests.differential.litert import COMPARED

#: Operators of the schema that the reference leaves out, and why.
LEFT_OUT = {
    "LiteRT has them outside its reference resolver, for string tables": (
        "HASHTABLE HASHTABLE_FIND HASHTABLE_IMPORT HASHTABLE_SIZE"
    ),
    "LiteRT's reference resolver has no kernel": (
        "CALL CONCAT_EMBEDDINGS CUSTOM DELEGATE PLACEHOLDER_FOR_GREATER_OP_CODES STABLEHLO_LOGISTIC"
        " STABLEHLO_DIVIDE STABLEHLO_RESHAPE STABLEHLO_CLAMP STABLEHLO_CONCATENATE STABLEHLO_BROADCAST_IN_DIM"
        " STABLEHLO_CONVOLUTION STABLEHLO_SLICE STABLEHLO_CUSTOM_CALL STABLEHLO_REDUCE STABLEHLO_ABS STABLEHLO_AND"
        " STABLEHLO_COSINE STABLEHLO_EXPONENTIAL STABLEHLO_FLOOR STABLEHLO_LOG STABLEHLO_NEGATE STABLEHLO_OR"
        " STABLEHLO_POWER STABLEHLO_REMAINDER STABLEHLO_RSQRT STABLEHLO_SELECT STABLEHLO_SUBTRACT STABLEHLO_TANH"
        " STABLEHLO_DYNAMIC_SLICE STABLEHLO_DYNAMIC_UPDATE_SLICE STABLEHLO_IOTA STABLEHLO_COMPARE STABLEHLO_CONVERT"
        " STABLEHLO_DOT_GENERAL STABLEHLO_SORT STABLEHLO_WHILE STABLEHLO_TRANSPOSE STABLEHLO_CBRT STABLEHLO_CASE"
        " STABLEHLO_SHIFT_LEFT"
    ),
}

#: Sparse constants, which tests/differential/litert.py does not write; the tests of the graph read them.
COMPARED_OTHERWISE = {"DENSIFY"}


def test_families_register_what_the_table_says():
    for family, names in reference.FAMILIES.items():
        module = import_module(f"nnapi_toolkit.reference.{family}")
        registered = {name for name, function in KERNELS.items() if function.__module__ == module.__name__}
        assert registered == set(names.split()), family


def test_shipped_custom_operators_register():
    for name, module in SHIPPED.items():
        assert reference.find_custom_kernel(name) is not None, (name, module)
    assert "Convolution2DTransposeBias" in CUSTOM_KERNELS


def test_every_operator_of_the_schema_runs_or_is_left_out_with_a_reason():
    left_out = {name for names in LEFT_OUT.values() for name in names.split()}
    assert not left_out & set(reference.operators())
    assert set(BuiltinOperator.__members__) == left_out | set(reference.operators())


def test_the_page_on_the_reference_says_what_is_left_out_and_ships():
    page = (Path(__file__).parents[2] / "docs" / "reference" / "cpu-reference.md").read_text()
    rows = [line.split("|")[1].split() for line in page.partition("## Operators that are left out")[2].splitlines() if line[:1] == "|"]
    named = [name for row in rows for name in row if name.isupper()]
    assert sorted(named) == sorted(name for names in LEFT_OUT.values() for name in names.split())
    for name in [*SHIPPED, "Convolution2DTransposeBias"]:
        assert f"`{name}`" in page


def test_coverage(request, capsys):
    """Every registered operator was compared at least once, when all files of this folder ran."""
    types: dict[str, list[str]] = defaultdict(list)
    examples: dict[str, int] = defaultdict(int)
    for (name, kinds), count in sorted(COMPARED.items()):
        types[name].append(kinds)
        examples[name] += count
    with capsys.disabled():
        print(f"\n{len(types)} operators compared with LiteRT, {sum(examples.values())} examples")
        for name in sorted(types):
            print(f"  {name:34}{examples[name]:6}  {' | '.join(types[name])}")
    files = {Path(item.fspath).name for item in request.session.items}
    if not {file.name for file in Path(__file__).parent.glob("test_reference_*.py")} <= files:
        pytest.skip("needs all of tests/differential/test_reference_*.py in one run")
    if "PYTEST_XDIST_WORKER" in os.environ:
        pytest.skip("each worker sees its own comparisons: python -m pytest tests/differential, without -n, judges the table")
    missing = set(reference.operators()) - set(types) - COMPARED_OTHERWISE
    assert not missing
