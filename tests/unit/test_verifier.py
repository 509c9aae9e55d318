"""Malformed files: every class of damage leaves as one `ModelError` that names the part at fault, and soon."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nnapi_toolkit.delegate.errors import ModelError, ToolkitError
from nnapi_toolkit.delegate.graph import Graph
from nnapi_toolkit.delegate.verifier import MAX_TABLES, Level, verify
from nnapi_toolkit.schema.enums import TensorType

from tests.conftest import model_names, model_path
from tests.fuzz.fuzz_graph import CASE_SECONDS, built_corpus, fuzz, mutate
from tests.modelbuilder import ModelBuilder, write_model

Model = dict[str, Any]


def small() -> ModelBuilder:
    """x -> CONV_2D -> y -> MAX_POOL_2D -> p -> ADD(p, p) -> z; tensors x w b y p z are 0 to 5."""
    builder = ModelBuilder()
    builder.tensor("x", "int8", (1, 8, 8, 4), scale=0.5, zero_point=-1)
    filters = np.ones((6, 3, 3, 4), np.int8)
    builder.tensor("w", "int8", filters.shape, scale=np.full(6, 0.25), dimension=0, data=filters)
    builder.tensor("b", "int32", (6,), data=np.arange(6))
    builder.tensor("y", "int8", (1, 8, 8, 6), scale=0.5, zero_point=3)
    builder.tensor("p", "int8", (1, 4, 4, 6), scale=0.5, zero_point=3)
    builder.tensor("z", "int8", (1, 4, 4, 6), scale=1.0, zero_point=3)
    builder.op("CONV_2D", ["x", "w", "b"], ["y"], stride_w=1, stride_h=1)
    builder.op("MAX_POOL_2D", ["y"], ["p"], stride_w=2, stride_h=2, filter_width=2, filter_height=2)
    builder.op("ADD", ["p", "p"], ["z"])
    builder.signature("serve", {"x": "x"}, {"z": "z"})
    builder.metadata("note", b"text")
    return builder


def refusal(data: bytes) -> ModelError:
    with pytest.raises(ModelError) as caught:
        Graph.from_bytes(data)
    error = caught.value
    assert error.message and (error.offset is None or 0 <= error.offset <= len(data))
    assert isinstance(error, ToolkitError)
    return error


def test_the_undamaged_model_opens() -> None:
    graph = Graph.from_bytes(small().build(["x"], ["z"]))
    assert [operator.name for operator in graph.subgraphs[0].operators] == ["CONV_2D", "MAX_POOL_2D", "ADD"]


# ---------------------------------------------------------------------------------------------- damage in meaning


def edit(*path: str | int, value: Any) -> Callable[[Model], None]:
    """Sets one entry of the model's dictionaries."""

    def apply(model: Model) -> None:
        where: Any = model
        for step in path[:-1]:
            where = where[step]
        where[path[-1]] = value

    return apply


def tensor(index: int, field: str, value: Any) -> Callable[[Model], None]:
    return edit("subgraphs", 0, "tensors", index, field, value=value)


def operator(index: int, field: str, value: Any) -> Callable[[Model], None]:
    return edit("subgraphs", 0, "operators", index, field, value=value)


def option(index: int, **values: Any) -> Callable[[Model], None]:
    def apply(model: Model) -> None:
        entry = model["subgraphs"][0]["operators"][index]
        entry["builtin_options"] = (entry["builtin_options"][0], {**entry["builtin_options"][1], **values})

    return apply


def quantization(index: int, **values: Any) -> Callable[[Model], None]:
    def apply(model: Model) -> None:
        entry = model["subgraphs"][0]["tensors"][index]
        entry["quantization"] = {**entry.get("quantization", {}), **values}

    return apply


CODE_300 = {"deprecated_builtin_code": 127, "builtin_code": 300}
CODE_CUSTOM = {"deprecated_builtin_code": 32, "builtin_code": 32}
CODE_127 = {"deprecated_builtin_code": 127, "builtin_code": 0}
CODE_NEGATIVE = {"deprecated_builtin_code": -1, "builtin_code": -5}
BLOCKS = {"scales": 0, "zero_points": -1, "block_size": 2}
T, OPS = "subgraphs[0].tensors", "subgraphs[0].operators"

DAMAGE: list[tuple[str, Callable[[Model], None], str, str]] = [
    ("version 2", edit("version", value=2), "version", "schema version 2"),
    ("no subgraphs", edit("subgraphs", value=[]), "subgraphs", "no subgraph"),
    # indices out of range
    ("operator code", operator(0, "opcode_index", 9), f"{OPS}[0].opcode_index", "no operator code 9"),
    ("input", operator(0, "inputs", [0, 1, 99]), f"{OPS}[0].inputs[2]", "no tensor 99"),
    ("input below -1", operator(0, "inputs", [0, 1, -2]), f"{OPS}[0].inputs[2]", "no tensor -2"),
    ("output", operator(1, "outputs", [6]), f"{OPS}[1].outputs[0]", "no tensor 6"),
    ("omitted output", operator(1, "outputs", [-1]), f"{OPS}[1].outputs[0]", "no tensor -1"),
    ("intermediate", operator(0, "intermediates", [-1, 7]), f"{OPS}[0].intermediates[1]", "no tensor 7"),
    ("graph input", edit("subgraphs", 0, "inputs", value=[8]), "subgraphs[0].inputs[0]", "no tensor 8"),
    ("graph output", edit("subgraphs", 0, "outputs", value=[5, -1]), "subgraphs[0].outputs[1]", "no tensor -1"),
    ("buffer", tensor(1, "buffer", 50), f"{T}[1].buffer", "no buffer 50"),
    ("metadata", edit("metadata", 0, "buffer", value=50), "metadata[0].buffer", "no buffer 50"),
    (
        "signature subgraph",
        edit("signature_defs", 0, "subgraph_index", value=3),
        "signature_defs[0].subgraph_index",
        "3",
    ),
    (
        "signature tensor",
        edit("signature_defs", 0, "outputs", 0, "tensor_index", value=44),
        "signature_defs[0].outputs[0].tensor_index",
        "no tensor 44",
    ),
    # shapes and sizes
    ("negative dimension", tensor(3, "shape", [1, -8, 8, 6]), f"{T}[3].shape[1]", "-8 is negative"),
    ("negative signature", tensor(3, "shape_signature", [1, -2, 8, 6]), f"{T}[3].shape_signature[1]", "-2"),
    ("signature rank", tensor(3, "shape_signature", [1, -1, 8]), f"{T}[3].shape_signature", "3 dimensions"),
    ("64-bit overflow", tensor(3, "shape", [2**31 - 1] * 4), f"{T}[3].shape", "more than the 2147483647"),
    ("overflow to 0", tensor(3, "shape", [2**16] * 4), f"{T}[3].shape", "more than the 2147483647"),
    ("32-bit overflow", tensor(3, "shape", [2**16, 2**15]), f"{T}[3].shape", "more than the 2147483647"),
    ("huge rank", tensor(3, "shape", [2**30] * 500), f"{T}[3].shape", "more than the 2147483647"),
    ("constant too short", tensor(1, "shape", [6, 3, 3, 5]), f"{T}[1].buffer", "holds 216 bytes"),
    ("constant too long", tensor(1, "shape", [6, 3, 3, 3]), f"{T}[1].buffer", "need 162"),
    ("constant of another type", tensor(2, "type", TensorType.INT64), f"{T}[2].buffer", "INT64 need 48"),
    ("packed constant", tensor(1, "type", TensorType.INT4), f"{T}[1].buffer", "INT4 need 108"),
    ("buffer range", edit("buffers", 2, value={"offset": 64, "size": 2**40}), "buffers[2].offset", "outside the file"),
    ("buffer overflow", edit("buffers", 2, value={"offset": 2**64 - 8, "size": 16}), "buffers[2].offset", "outside"),
    ("other file", tensor(1, "external_buffer", 1), f"{T}[1].external_buffer", "another file"),
    ("unknown type", tensor(3, "type", 99), f"{T}[3].type", "99 is no TensorType"),
    # strings
    ("string count", tensor(2, "type", TensorType.STRING), f"{T}[2].buffer", "strings"),
    # operators
    ("unknown operator", edit("operator_codes", 1, value=CODE_300), "operator_codes[1].builtin_code", "300 is no"),
    ("placeholder", edit("operator_codes", 1, value=CODE_127), "operator_codes[1].deprecated_builtin_code", "127"),
    ("negative code", edit("operator_codes", 1, value=CODE_NEGATIVE), "operator_codes[1].builtin_code", "-5"),
    ("nameless custom", edit("operator_codes", 1, value=CODE_CUSTOM), "operator_codes[1].custom_code", "no name"),
    ("too few inputs", operator(2, "inputs", [4]), f"{OPS}[2].inputs", "ADD has 1, needs at least 2"),
    ("no inputs", operator(2, "inputs", []), f"{OPS}[2].inputs", "ADD has 0"),
    ("too many inputs", operator(2, "inputs", [4, 4, 4]), f"{OPS}[2].inputs", "takes at most 2"),
    ("no outputs", operator(2, "outputs", []), f"{OPS}[2].outputs", "needs at least 1"),
    ("needed input omitted", operator(2, "inputs", [4, -1]), f"{OPS}[2].inputs[1]", "cannot do without"),
    ("foreign options", operator(0, "builtin_options", ("AddOptions", {})), f"{OPS}[0].builtin_options", "AddOptions"),
    ("no options", operator(0, "builtin_options", None), f"{OPS}[0].builtin_options", "stride_w is 0"),
    ("mutating flags", operator(2, "mutating_variable_inputs", [True]), f"{OPS}[2].mutating_variable_inputs", "1"),
    (
        "custom options beyond the file",
        lambda m: m["subgraphs"][0]["operators"][2].update(
            large_custom_options_offset=100, large_custom_options_size=2**63
        ),
        f"{OPS}[2].large_custom_options_offset",
        "outside the file",
    ),
    # option values
    ("zero stride", option(0, stride_w=0), f"{OPS}[0].builtin_options.stride_w", "0 must be at least 1"),
    ("negative stride", option(0, stride_h=-1), f"{OPS}[0].builtin_options.stride_h", "-1"),
    ("zero dilation", option(0, dilation_w_factor=0), f"{OPS}[0].builtin_options.dilation_w_factor", "0"),
    ("huge dilation", option(0, dilation_h_factor=2**31 - 1), f"{OPS}[0].builtin_options", "dilation_h_factor"),
    ("zero pool filter", option(1, filter_height=0), f"{OPS}[1].builtin_options.filter_height", "0"),
    ("zero pool stride", option(1, stride_h=0), f"{OPS}[1].builtin_options.stride_h", "0"),
    (
        "unknown activation",
        option(2, fused_activation_function=77),
        f"{OPS}[2].builtin_options.fused_activation_function",
        "77 is no ActivationFunctionType",
    ),
    # quantization
    ("negative scale", quantization(0, scale=[-0.5]), f"{T}[0].quantization.scale[0]", "-0.5"),
    ("infinite scale", quantization(0, scale=[np.inf]), f"{T}[0].quantization.scale[0]", "inf"),
    ("scale no number", quantization(1, scale=[1, 1, np.nan, 1, 1, 1]), f"{T}[1].quantization.scale[2]", "nan"),
    ("scale count", quantization(1, scale=[1.0] * 5), f"{T}[1].quantization", "5"),
    ("zero point count", quantization(1, zero_point=[0] * 4), f"{T}[1].quantization.zero_point", "4 zero points"),
    ("zero point range", quantization(0, zero_point=[128]), f"{T}[0].quantization.zero_point[0]", "-128 to 127"),
    ("quantized dimension", quantization(1, quantized_dimension=4), f"{T}[1].quantization.quantized_dimension", "4"),
    ("negative dimension", quantization(1, quantized_dimension=-1), f"{T}[1].quantization.quantized_dimension", "-1"),
    ("other dimension", quantization(1, quantized_dimension=1), f"{T}[1].quantization.scale", "dimension of 3"),
    (
        "block scales",
        quantization(1, details=("BlockwiseQuantization", {**BLOCKS, "scales": 77})),
        f"{T}[1].quantization.details.scales",
        "no tensor 77",
    ),
    (
        "block size",
        quantization(1, details=("BlockwiseQuantization", {**BLOCKS, "block_size": 0})),
        f"{T}[1].quantization.details.block_size",
        "at least 1",
    ),
    (
        "block shape",
        quantization(1, details=("BlockwiseQuantization", {**BLOCKS, "block_shape": [2, 0]})),
        f"{T}[1].quantization.details.block_shape[1]",
        "0 is outside 1",
    ),
    (
        "block axes",
        quantization(1, details=("MultiAxisQuantization", {**BLOCKS, "quantized_dimensions": [0, 4]})),
        f"{T}[1].quantization.details.quantized_dimensions[1]",
        "4 is outside 0 to 3",
    ),
    # data flow
    ("cycle of one", operator(1, "inputs", [4]), f"{OPS}[1].inputs[0]", "cycle of operators: 1 -> 1"),
    ("cycle of two", operator(0, "inputs", [4, 1, 2]), f"{OPS}[0].inputs[0]", "cycle of operators: 0 -> 1 -> 0"),
    ("produced twice", operator(2, "outputs", [4]), f"{OPS}[2].outputs[0]", "second time"),
    ("writes a constant", operator(2, "outputs", [2]), f"{OPS}[2].outputs[0]", "tensor 2 is a constant"),
    ("writes an input", operator(2, "outputs", [0]), f"{OPS}[2].outputs[0]", "tensor 0 is an input"),
    ("never produced", edit("subgraphs", 0, "inputs", value=[]), f"{OPS}[0].inputs[0]", "nothing produces it"),
    ("output never produced", operator(2, "outputs", [3]), f"{OPS}[2].outputs[0]", "second time"),
    ("input twice", edit("subgraphs", 0, "inputs", value=[0, 0]), "subgraphs[0].inputs[1]", "input twice"),
    ("constant input", edit("subgraphs", 0, "inputs", value=[0, 2]), "subgraphs[0].inputs[1]", "constant data"),
    ("constant variable", tensor(2, "is_variable", True), f"{T}[2].is_variable", "constant data"),
]


@pytest.mark.parametrize(("damage", "path", "message"), [d[1:] for d in DAMAGE], ids=[d[0] for d in DAMAGE])
def test_damage_is_named(damage: Callable[[Model], None], path: str, message: str) -> None:
    model = small().model(["x"], ["z"])
    damage(model)
    error = refusal(write_model(model))
    assert error.path.startswith(path), str(error)
    assert message in error.message, str(error)


def test_use_before_production_is_told_from_a_cycle() -> None:
    model = small().model(["x"], ["z"])
    operators = model["subgraphs"][0]["operators"]
    operators[0], operators[1] = operators[1], operators[0]
    error = refusal(write_model(model))
    assert error.path == f"{OPS}[0].inputs[0]"
    assert "before operators[1] produces it" in error.message


def test_an_output_that_nothing_produces() -> None:
    builder = small()
    spare = builder.tensor("spare", "int8", (1,))
    error = refusal(builder.build(["x"], ["z", spare]))
    assert (error.path, error.message) == ("subgraphs[0].outputs[1]", "tensor 6 is an output, but nothing produces it")


@pytest.mark.parametrize(
    ("filters", "message"), [((6, 0, 3, 4), "empty dimension"), ((6, 36), "2 dimensions, must have 4")]
)
def test_impossible_filters(filters: tuple[int, ...], message: str) -> None:
    model = small().model(["x"], ["z"])
    weights = model["subgraphs"][0]["tensors"][1]
    weights["shape"], weights["quantization"] = list(filters), None
    if 0 in filters:
        weights["buffer"] = 0
    error = refusal(write_model(model))
    assert error.path == f"{OPS}[0].inputs[1]"
    assert message in error.message


@pytest.mark.parametrize(
    ("op", "options", "field"),
    [
        ("SPACE_TO_DEPTH", {"block_size": 0}, "block_size"),
        ("DEPTH_TO_SPACE", {"block_size": -2}, "block_size"),
        ("LOCAL_RESPONSE_NORMALIZATION", {"radius": -1}, "radius"),
        ("SOFTMAX", {"beta": float("nan")}, "beta"),
        ("FAKE_QUANT", {"num_bits": 0}, "num_bits"),
        ("PACK", {"values_count": 3}, "values_count"),
        ("UNPACK", {"num": 2}, "num"),
        ("AVERAGE_POOL_2D", {"stride_w": 1, "stride_h": 1, "filter_width": 0, "filter_height": 1}, "filter_width"),
        ("STABLEHLO_SLICE", {"strides": [1, 0]}, "strides[1]"),
    ],
)
def test_impossible_options(op: str, options: dict[str, Any], field: str) -> None:
    builder = ModelBuilder()
    builder.tensor("x", "float32", (1, 4, 4, 4))
    builder.tensor("y", "float32", (1, 4, 4, 4))
    builder.op(op, ["x"], ["y"], **options)
    union = "builtin_options_2" if op.startswith("STABLEHLO") else "builtin_options"
    assert refusal(builder.build(["x"], ["y"])).path == f"{OPS}[0].{union}.{field}"


# ------------------------------------------------------------------------------------------------------ control flow


def calling(**changes: Any) -> bytes:
    """A WHILE over (cond = 1, body = 2), and an IF over (2, 2)."""
    builder = ModelBuilder()
    cond, body = builder.subgraph("cond"), builder.subgraph("body")
    for graph, kind, op in ((cond, "bool", "LESS"), (body, "float32", "ADD")):
        graph.tensor("a", "float32", (2,))
        graph.tensor("b", kind, (2,))
        graph.op(op, ["a", "a"], ["b"])
        graph.interface(["a"], ["b"])
    for name in ("x", "y", "z"):
        builder.tensor(name, "float32", (2,))
    builder.tensor("flag", "bool", ())
    builder.op("WHILE", ["x"], ["y"], cond_subgraph_index=1, body_subgraph_index=2)
    builder.op("IF", ["flag", "y"], ["z"], then_subgraph_index=2, else_subgraph_index=2)
    model = builder.model(["x", "flag"], ["z"])
    for name, value in changes.items():
        if name == "body_op":
            model["subgraphs"][2]["operators"][0].update(value)
            model["operator_codes"].append({"builtin_code": 119, "deprecated_builtin_code": 119})
        else:
            for entry in model["subgraphs"][0]["operators"]:
                if name in entry["builtin_options"][1]:
                    entry["builtin_options"][1][name] = value
    return write_model(model)


def test_calls_that_fit() -> None:
    assert len(Graph.from_bytes(calling()).subgraphs) == 3


@pytest.mark.parametrize(
    ("changes", "path", "message"),
    [
        ({"cond_subgraph_index": 3}, "[0].builtin_options.cond_subgraph_index", "no subgraph 3"),
        ({"body_subgraph_index": -1}, "[0].builtin_options.body_subgraph_index", "no subgraph -1"),
        ({"then_subgraph_index": 9}, "[1].builtin_options.then_subgraph_index", "no subgraph 9"),
        ({"body_subgraph_index": 0}, "[0].builtin_options.body_subgraph_index", "has 2 inputs, WHILE needs 1"),
    ],
)
def test_calls_that_do_not_fit(changes: dict[str, Any], path: str, message: str) -> None:
    error = refusal(calling(**changes))
    assert error.path == OPS + path
    assert message in error.message


def test_a_subgraph_that_calls_itself() -> None:
    options = ("WhileOptions", {"cond_subgraph_index": 1, "body_subgraph_index": 2})
    error = refusal(calling(body_op={"opcode_index": 4, "inputs": [0], "builtin_options": options}))
    assert error.path == "subgraphs[2].operators[0].builtin_options.body_subgraph_index"
    assert "calls itself" in error.message


@pytest.mark.parametrize("depth", [30, 3000])
def test_nested_calls_are_bounded(depth: int) -> None:
    builder = ModelBuilder()
    graphs = [builder, *(builder.subgraph(str(i)) for i in range(depth))]
    for graph in graphs:
        graph.tensor("a", "float32", (2,))
        graph.tensor("b", "float32", (2,))
        graph.tensor("flag", "bool", (), data=[True])
        if graph is graphs[-1]:
            graph.op("ADD", ["a", "a"], ["b"])
        else:
            following = graph.index + 1
            graph.op("IF", ["flag", "a"], ["b"], then_subgraph_index=following, else_subgraph_index=following)
        graph.interface(["a"], ["b"])
    data = builder.build()
    if depth == 30:
        assert len(Graph.from_bytes(data).subgraphs) == 31
    else:
        assert "nested deeper than 64" in refusal(data).message


# ---------------------------------------------------------------------------------------------- damage in structure


def locate(data: bytes, *fields: str) -> Level:
    level = verify(memoryview(data))
    for field in fields:
        level = level.child(field)
    return level


@pytest.mark.parametrize("value", [0x7FFFFFF0, 0xFFFFFFFC, 0x80000000, 0])
@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ((), "subgraphs"),
        (("subgraphs",), "tensors"),
        (("subgraphs", "tensors"), "shape"),
        (("subgraphs", "tensors"), "name"),
        (("subgraphs", "tensors"), "quantization"),
        (("subgraphs", "operators"), "builtin_options"),
        (("buffers",), "data"),
    ],
)
def test_bad_offsets(fields: tuple[str, ...], name: str, value: int) -> None:
    data = bytearray(small().build(["x"], ["z"]))
    level = locate(bytes(data), *fields)
    row = int(np.flatnonzero(level.has(name))[0])
    at = int(level._at[name][row])
    struct.pack_into("<I", data, at, value)
    error = refusal(bytes(data))
    assert error.path == level.path(row, name)
    assert error.offset == at
    assert "offset" in error.message


@pytest.mark.parametrize("value", [0x7FFFFFFF, 0xFFFFFFFF, 0x40000001])
@pytest.mark.parametrize("name", ["shape", "name"])
def test_bad_lengths(name: str, value: int) -> None:
    data = bytearray(small().build(["x"], ["z"]))
    level = locate(bytes(data), "subgraphs", "tensors")
    struct.pack_into("<I", data, int(level.vector(name)[0][2]) - 4, value)
    error = refusal(bytes(data))
    assert error.path.startswith("subgraphs[0].tensors[") and error.path.endswith(name)
    assert str(value) in error.message


def test_misaligned_offset() -> None:
    data = bytearray(small().build(["x"], ["z"]))
    at = int(locate(bytes(data), "subgraphs", "tensors")._at["shape"][0])
    struct.pack_into("<I", data, at, struct.unpack_from("<I", data, at)[0] + 2)
    assert refusal(bytes(data)).path == f"{T}[0].shape"


def test_unterminated_string() -> None:
    data = bytearray(small().build(["x"], ["z"]))
    start, length = (column[3] for column in locate(bytes(data), "subgraphs", "tensors").vector("name"))
    data[start + length] = 65
    error = refusal(bytes(data))
    assert (error.path, "zero byte" in error.message) == (f"{T}[3].name", True)


@pytest.mark.parametrize("length", [0, 2, 5, 0xFFFE])
def test_bad_vtable(length: int) -> None:
    data = bytearray(small().build(["x"], ["z"]))
    level = locate(bytes(data), "subgraphs", "operators")
    at = int(level.positions[1])
    struct.pack_into("<H", data, at - struct.unpack_from("<i", data, at)[0], length)
    assert refusal(bytes(data)).path.startswith(OPS)


def test_unknown_union_member() -> None:
    data = bytearray(small().build(["x"], ["z"]))
    level = locate(bytes(data), "subgraphs", "operators")
    data[int(level._at["builtin_options_type"][1])] = 200
    error = refusal(bytes(data))
    assert error.path == f"{OPS}[1].builtin_options"
    assert "200 is no member" in error.message


def test_union_type_without_value() -> None:
    model = small().model(["x"], ["z"])
    data = bytearray(write_model(model))
    level = locate(bytes(data), "subgraphs", "operators")
    at = int(level.positions[0])
    vtable = at - struct.unpack_from("<i", data, at)[0]
    struct.pack_into("<H", data, vtable + 4 + 2 * 4, 0)  # builtin_options is slot 4
    assert "missing" in refusal(bytes(data)).message


def shared_offsets(count: int) -> bytes:
    """`count` offsets to one subgraph, which has `count` offsets to one tensor."""
    builder = flatbuffers.Builder(1024)

    def repeat(target: int) -> int:
        builder.StartVector(4, count, 4)
        for _ in range(count):
            builder.PrependUOffsetTRelative(target)
        return builder.EndVector()

    builder.StartObject(1)
    tensors = repeat(builder.EndObject())
    builder.StartObject(1)
    builder.PrependUOffsetTRelativeSlot(0, tensors, 0)
    subgraphs = repeat(builder.EndObject())
    builder.StartObject(3)
    builder.PrependUint32Slot(0, 3, 0)
    builder.PrependUOffsetTRelativeSlot(2, subgraphs, 0)
    builder.Finish(builder.EndObject(), b"TFL3")
    return bytes(builder.Output())


def test_shared_tables_cannot_multiply_the_work() -> None:
    assert len(Graph.from_bytes(shared_offsets(4)).subgraphs) == 4
    assert "through the same bytes" in refusal(shared_offsets(3000)).message


def test_the_number_of_tables_is_bounded() -> None:
    builder = flatbuffers.Builder(1 << 23)
    builder.StartObject(1)
    buffer = builder.EndObject()
    builder.StartVector(4, MAX_TABLES + 1, 4)
    builder.head -= 4 * (MAX_TABLES + 1)
    first = builder.Offset()
    offsets = np.arange(first - buffer, first - buffer - 4 * (MAX_TABLES + 1), -4, dtype=np.int64)
    builder.Bytes[builder.head : builder.head + 4 * (MAX_TABLES + 1)] = offsets.astype("<u4").tobytes()
    buffers = builder.EndVector()
    builder.StartObject(5)
    builder.PrependUOffsetTRelativeSlot(4, buffers, 0)
    builder.Finish(builder.EndObject(), b"TFL3")
    assert f"more than {MAX_TABLES} tables" in refusal(bytes(builder.Output())).message


# ----------------------------------------------------------------------------------------------------- sparse tensors


def sparse(**changes: Any) -> bytes:
    """A 2 x 4 tensor, CSR in its second dimension, of three values."""
    builder = ModelBuilder()
    x, y = builder.tensor("x", "float32", (2, 4)), builder.tensor("y", "float32", (2, 4))
    columns = {
        "format": 1,
        "array_segments": ("Uint16Vector", {"values": changes.get("segments", [0, 1, 3])}),
        "array_indices": ("Uint8Vector", {"values": changes.get("indices", [3, 0, 2])}),
    }
    sparsity = {
        "traversal_order": changes.get("order", [0, 1]),
        "block_map": changes.get("block_map"),
        "dim_metadata": [{"dense_size": changes.get("rows", 2)}, columns][: changes.get("levels", 2)],
    }
    values = np.arange(1, 1 + changes.get("values", 3), dtype=np.float32)
    w = builder.tensor("w", "float32", (2, 4), data=values.tobytes(), sparsity=sparsity)
    builder.op("ADD", [x, w], [y])
    return builder.build([x], [y])


def test_a_sparse_tensor_that_fits() -> None:
    dense = Graph.from_bytes(sparse()).subgraphs[0].tensors[2].data
    assert dense is not None
    np.testing.assert_array_equal(dense, [[0, 0, 0, 1], [2, 0, 3, 0]])


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"order": [0, 0]}, "traversal_order"),
        ({"order": [0]}, "traversal_order"),
        ({"order": [0, 1, 2]}, "block_map"),
        ({"block_map": [0]}, "block_map"),
        ({"levels": 1}, "dim_metadata"),
        ({"rows": 3}, "dim_metadata[0]"),
        ({"segments": [0, 1]}, "dim_metadata[1]"),
        ({"segments": [0, 4, 3]}, "dim_metadata[1]"),
        ({"segments": [1, 2, 3]}, "dim_metadata[1]"),
        ({"segments": [0, 1, 9]}, "dim_metadata[1]"),
        ({"indices": [3, 0, 4]}, "dim_metadata[1]"),
        ({"indices": []}, "dim_metadata[1]"),
        ({"values": 4}, "dim_metadata"),
    ],
)
def test_sparse_tensors_that_do_not(changes: dict[str, Any], field: str) -> None:
    assert refusal(sparse(**changes)).path == f"{T}[2].sparsity.{field}"


# ------------------------------------------------------------------------------------------------ files and raw bytes


def test_empty_file(tmp_path: Path) -> None:
    file = tmp_path / "empty.tflite"
    file.touch()
    with pytest.raises(ModelError, match="empty") as caught:
        Graph.open(file)
    assert caught.value.file == str(file)
    assert str(file) in str(caught.value)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"missing\.tflite: cannot be read: No such file"):
        Graph.open(tmp_path / "missing.tflite")
    with pytest.raises(ModelError, match="cannot be read: Is a directory"):
        Graph.open(tmp_path)
    with pytest.raises(ModelError, match="cannot be read"):
        Graph.open(tmp_path / "bad\0name")
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = os.open(pipe, os.O_RDWR)  # or opening it would wait for a writer
    try:
        with pytest.raises(ModelError):
            Graph.open(pipe)
    finally:
        os.close(writer)


@pytest.mark.parametrize(
    "data", [b"T", b"\0" * 7, b"\0" * 64, b"PK\x03\x04" + b"\0" * 60, b"\x10\0\0\0TFL2" + b"\0" * 64]
)
def test_other_bytes(data: bytes) -> None:
    assert refusal(data).path == ""


@pytest.mark.parametrize("name", model_names("text_") + model_names("mobilenet_v1_025") + model_names("mp_"))
def test_truncated_at_every_kilobyte(name: str) -> None:
    data = memoryview(model_path(name).read_bytes())
    for length in range(0, len(data), 1024):
        with pytest.raises(ModelError):
            Graph.from_bytes(data[:length])


@pytest.mark.parametrize("index", range(3))
def test_truncated_anywhere(index: int) -> None:
    data = built_corpus()[index]
    for length in range(len(data) - 3):  # the last bytes may be padding
        with pytest.raises(ModelError):
            Graph.from_bytes(data[:length])


def test_mutations() -> None:
    outcome = fuzz(60, 7, built_corpus(), cases=4000)
    assert outcome.cases >= 4000
    assert not outcome.findings
    assert outcome.slowest < CASE_SECONDS
    assert 0 < outcome.valid < outcome.cases / 2


@given(st.randoms(use_true_random=False), st.sampled_from(range(3)))
@settings(max_examples=200, deadline=None)
def test_mutants_open_or_are_refused(random: Any, index: int) -> None:
    try:
        Graph.from_bytes(mutate(built_corpus()[index], random))
    except ModelError as error:
        assert error.message


@given(st.binary(max_size=400))
@settings(max_examples=300, deadline=None)
def test_arbitrary_bytes_are_refused(tail: bytes) -> None:
    with pytest.raises(ModelError):
        Graph.from_bytes(tail)
    try:
        Graph.from_bytes(struct.pack("<I4s", 8 + len(tail) // 8 * 4, b"TFL3") + tail)
    except ModelError as error:
        assert error.message
