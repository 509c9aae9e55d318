"""The view over valid models: against the catalogue, against LiteRT, and of every kind of tensor."""

from __future__ import annotations

import hashlib
import tracemalloc
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from nnapi_toolkit.delegate.cost import macs
from nnapi_toolkit.delegate.errors import ModelError
from nnapi_toolkit.delegate.graph import (
    ActivationFunctionType,
    BuiltinOperator,
    Graph,
    Padding,
    TensorType,
)

from tests.conftest import catalogue, model_names, model_path
from tests.modelbuilder import ModelBuilder, encode_strings, write_model

# -------------------------------------------------------------------------------------------- against the catalogue


@pytest.mark.parametrize("name", model_names())
def test_catalogue(name: str) -> None:
    entry, graph = catalogue()[name], Graph.open(model_path(name))
    main = graph.subgraphs[0]
    assert len(graph.data) == entry["bytes"]
    assert graph.sha256 == entry["sha256"]
    assert len(graph.subgraphs) == entry["subgraphs"]
    assert len(main.operators) == entry["ops_main_subgraph"]
    operators = [operator for subgraph in graph.subgraphs for operator in subgraph.operators]
    builtin = Counter(operator.name for operator in operators if operator.op != BuiltinOperator.CUSTOM)
    custom = {operator.custom_code for operator in operators if operator.op == BuiltinOperator.CUSTOM}
    assert dict(builtin) == {op: count for op, count in entry["ops"].items() if not op.startswith("CUSTOM")}
    assert custom == set(entry["custom_ops"])
    for indices, described in ((main.inputs, entry["inputs"]), (main.outputs, entry["outputs"])):
        for index, facts in zip(indices, described, strict=True):
            tensor = main.tensors[index]
            assert (tensor.name, tensor.type.name, list(tensor.shape)) == (facts["name"], facts["type"], facts["shape"])
            if "scale" in facts:
                assert tensor.quantization is not None
                np.testing.assert_allclose(tensor.quantization.scale[0], facts["scale"], rtol=1e-6)
                assert tensor.quantization.zero_point[0] == facts["zero_point"]


@pytest.mark.parametrize("name", model_names())
def test_macs_of_the_builtin_operators(name: str) -> None:
    nodes = Graph.open(model_path(name)).nodes()
    assert sum(macs(node) for node in nodes if node.operator.custom_code is None) == catalogue()[name]["macs"]


# ------------------------------------------------------------------------------------------------- against LiteRT


@pytest.mark.parametrize("name", model_names())
def test_tensors_equal_litert(name: str) -> None:
    interpreter = pytest.importorskip("ai_edge_litert.interpreter")
    kernels = interpreter.OpResolverType.BUILTIN_REF
    theirs = interpreter.Interpreter(str(model_path(name)), experimental_op_resolver_type=kernels)
    tensors = Graph.open(model_path(name)).subgraphs[0].tensors
    details = {entry["index"]: entry for entry in theirs.get_tensor_details()}
    for tensor in tensors:
        facts = details[tensor.index]
        assert tensor.name == facts["name"]
        assert list(tensor.shape) == facts["shape"].tolist()
        assert list(tensor.shape_signature or tensor.shape) == facts["shape_signature"].tolist()
        if tensor.type not in (TensorType.RESOURCE, TensorType.VARIANT, TensorType.STRING):
            assert tensor.dtype == facts["dtype"]
        parameters, ours = facts["quantization_parameters"], tensor.quantization
        assert (ours.scale if ours else ()) == tuple(parameters["scales"].tolist())
        assert (ours.zero_point if ours else ()) == tuple(parameters["zero_points"].tolist())
        if ours and ours.per_channel:
            assert ours.dimension == parameters["quantized_dimension"]


@pytest.mark.parametrize("name", model_names())
def test_constants_equal_litert(name: str) -> None:
    interpreter = pytest.importorskip("ai_edge_litert.interpreter")
    kernels = interpreter.OpResolverType.BUILTIN_REF
    theirs = interpreter.Interpreter(str(model_path(name)), experimental_op_resolver_type=kernels)
    constants = [t for t in Graph.open(model_path(name)).subgraphs[0].tensors if t.is_constant and t.element_count]
    assert constants or name == "control_flow"
    for tensor in constants:
        assert tensor.data is not None and not tensor.data.flags.writeable
        np.testing.assert_array_equal(tensor.data, theirs.get_tensor(tensor.index))


@pytest.mark.parametrize("name", model_names())
def test_models_rewritten_by_litert_read_the_same(name: str) -> None:
    """LiteRT's object API reads and writes the model anew: other offsets, other order, the same content."""
    schema = pytest.importorskip("ai_edge_litert.schema_py_generated")
    flatbuffers = pytest.importorskip("flatbuffers")
    data = model_path(name).read_bytes()
    model = schema.ModelT.InitFromPackedBuf(data, 0)
    builder = flatbuffers.Builder(len(data))
    builder.Finish(model.Pack(builder), b"TFL3")
    assert describe(Graph.from_bytes(bytes(builder.Output()))) == describe(Graph.open(model_path(name)))


def describe(graph: Graph) -> list[Any]:
    """All that a graph says, but for positions in the file."""
    said: list[Any] = [graph.description, graph.signatures, {k: bytes(v) for k, v in graph.metadata.items()}]
    for subgraph in graph.subgraphs:
        said.append((subgraph.name, subgraph.inputs, subgraph.outputs))
        for t in subgraph.tensors:
            raw = hashlib.sha256(t.raw or b"").digest()
            said.append((t.name, t.type, t.shape, t.shape_signature, t.quantization, t.is_variable, t.has_rank, raw))
        for o in subgraph.operators:
            said.append((o.name, o.version, o.inputs, o.outputs, o.intermediates, repr(o.options), o.custom_options))
    return said


# ------------------------------------------------------------------------------------------------------------- opening


def tiny(**tensor: Any) -> bytes:
    """One constant beside an input that is also the output."""
    builder = ModelBuilder("tiny")
    builder.tensor("x", "float32", (1,))
    builder.tensor("c", **tensor)
    return builder.build(["x"], ["x"])


def constant(**tensor: Any) -> Any:
    return Graph.from_bytes(tiny(**tensor)).subgraphs[0].tensors[1]


def test_open_maps_the_file(tmp_path: Path) -> None:
    file = tmp_path / "model.tflite"
    file.write_bytes(tiny(dtype="float32", shape=(2, 2), data=[[1, 2], [3, 4]]))
    graph = Graph.open(str(file))
    assert graph.path == file
    assert bytes(graph.data) == file.read_bytes()
    assert graph.sha256 == hashlib.sha256(file.read_bytes()).hexdigest()
    assert graph.description == "tiny"
    tensor = graph.subgraphs[0].tensors[1]
    np.testing.assert_array_equal(tensor.data, [[1, 2], [3, 4]])
    assert np.shares_memory(tensor.data, np.frombuffer(graph.data, np.uint8))
    with pytest.raises(ValueError, match="read-only"):
        tensor.data[0, 0] = 9
    assert tensor.data_offset is not None
    assert graph.data[tensor.data_offset : tensor.data_offset + 16] == np.arange(1, 5, dtype=np.float32).tobytes()


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_from_bytes_copies_nothing(kind: type) -> None:
    data = kind(tiny(dtype="int32", shape=(3,), data=[1, 2, 3]))
    graph = Graph.from_bytes(data)
    assert graph.path is None
    assert graph.data.readonly
    assert np.shares_memory(np.frombuffer(data, np.uint8), np.frombuffer(graph.data, np.uint8))


def test_opening_costs_no_memory_for_weights(tmp_path: Path) -> None:
    """A model whose weights lie behind the FlatBuffer, in a file of 1 GiB that is nearly all hole."""
    size = 1 << 30
    builder = ModelBuilder()
    builder.tensor("x", "float32", (1, 1024))
    builder.tensor("w", "float32", (size // 4096, 1024))
    builder.tensor("y", "float32", (1, size // 4096))
    builder.op("FULLY_CONNECTED", ["x", "w"], ["y"])
    model = builder.model(["x"], ["y"])
    model["buffers"].append({"offset": 4096, "size": size})
    model["subgraphs"][0]["tensors"][1]["buffer"] = len(model["buffers"]) - 1
    file = tmp_path / "large.tflite"
    with file.open("wb") as stream:
        stream.write(write_model(model))
        stream.seek(4096 + size - 4)
        stream.write(np.float32(7).tobytes())
    tracemalloc.start()
    graph = Graph.open(file)
    weights = graph.subgraphs[0].tensors[1]
    assert weights.data is not None
    assert (weights.data[-1, -1], weights.data[0, 0]) == (7, 0)
    assert (weights.data_offset, weights.data_length) == (4096, size)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2_000_000


def test_ten_thousand_operators() -> None:
    builder = ModelBuilder()
    last = builder.tensor("x", "int8", (1, 4), scale=0.5, zero_point=0)
    for index in range(10_000):
        following = builder.tensor(f"t{index}", "int8", (1, 4), scale=0.5, zero_point=0)
        builder.op("ADD", [last, last], [following], fused_activation_function=index % 2)
        last = following
    graph = Graph.from_bytes(builder.build(["x"], [last]))
    nodes = graph.nodes()
    assert len(nodes) == 10_000
    assert [node.index for node in nodes] == list(range(10_000))
    assert graph.subgraphs[0].producer(last).index == 9_999  # type: ignore[union-attr]
    assert {node.options.fused_activation_function.name for node in nodes} == {"NONE", "RELU"}


def test_the_message_of_an_error(tmp_path: Path) -> None:
    model = ModelBuilder().model([], [])
    model["version"] = 2
    file = tmp_path / "old.tflite"
    file.write_bytes(write_model(model))
    with pytest.raises(ModelError) as caught:
        Graph.open(file)
    error = caught.value
    assert (error.path, error.file) == ("version", str(file))
    assert str(error).startswith(f"{file}: version: schema version 2 is not supported")
    assert str(error).endswith(f"(at byte {error.offset})")


# ------------------------------------------------------------------------------------------------------------- tensors

PLAIN = [kind for kind in TensorType if kind.name.lower() in np.sctypeDict]


@pytest.mark.parametrize("kind", PLAIN, ids=lambda kind: kind.name)
def test_plain_types(kind: TensorType) -> None:
    values = np.arange(6).reshape(2, 3).astype(kind.name.lower())
    tensor = constant(dtype=kind, shape=(2, 3), data=values)
    assert tensor.dtype == values.dtype
    assert tensor.byte_size == values.nbytes
    assert tensor.raw == values.tobytes()
    np.testing.assert_array_equal(tensor.data, values)


@pytest.mark.parametrize(
    ("kind", "low", "high", "per_byte"), [("int4", -8, 7, 2), ("uint4", 0, 15, 2), ("int2", -2, 1, 4)]
)
@pytest.mark.parametrize("count", [1, 2, 3, 5, 16])
def test_packed_types(kind: str, low: int, high: int, per_byte: int, count: int) -> None:
    values = np.resize(np.arange(low, high + 1), count)
    tensor = constant(dtype=kind, shape=(count,), data=values)
    assert tensor.byte_size == len(tensor.raw) == -(-count // per_byte)
    assert tensor.data.dtype == tensor.dtype
    np.testing.assert_array_equal(tensor.data, values)


@pytest.mark.parametrize("kind", ["int4", "int2"])
def test_packed_types_equal_litert(kind: str) -> None:
    """Judge: LiteRT's own DEQUANTIZE of the packed constant."""
    interpreter = pytest.importorskip("ai_edge_litert.interpreter")
    builder = ModelBuilder()
    values = np.array([[1, -2, 0, -1, 1, -2, 1]])
    packed = builder.tensor("packed", kind, values.shape, scale=0.5, zero_point=0, data=values)
    x, y, z = (builder.tensor(name, "float32", values.shape) for name in "xyz")
    builder.op("DEQUANTIZE", [packed], [y], version=6 if kind == "int4" else 7)
    builder.op("ADD", [x, y], [z])
    data = builder.build([x], [z])
    theirs = interpreter.Interpreter(
        model_content=data, experimental_op_resolver_type=interpreter.OpResolverType.BUILTIN_REF
    )
    try:
        theirs.allocate_tensors()
    except (RuntimeError, ValueError) as error:
        pytest.skip(f"this LiteRT does not dequantize {kind}: {error}")
    theirs.set_tensor(x, np.zeros(values.shape, np.float32))
    theirs.invoke()
    ours = Graph.from_bytes(data).subgraphs[0].tensors[packed]
    np.testing.assert_array_equal(ours.data * np.float32(0.5), theirs.get_tensor(z))


def test_bit_patterns() -> None:
    tensor = constant(dtype=TensorType.BFLOAT16, shape=(2,), data=[0x3F80, 0xC000])
    assert tensor.dtype == np.uint16
    widened = (tensor.data.astype(np.uint32) << 16).view(np.float32)
    np.testing.assert_array_equal(widened, [1.0, -2.0])


def test_strings() -> None:
    texts = ["", "one", "naïve", "four"]
    tensor = constant(dtype="string", shape=(2, 2), data=texts)
    assert tensor.data.tolist() == [[b"", b"one"], ["naïve".encode(), b"four"]]
    assert tensor.byte_size == len(encode_strings(texts))


def test_blocks_of_a_sparse_tensor() -> None:
    """2 x 2 blocks in a 4 x 4 matrix: rows of blocks dense, columns of blocks compressed."""
    blocks = np.arange(1, 9, dtype=np.float32)
    sparsity = {
        "traversal_order": [0, 1, 2, 3],
        "block_map": [0, 1],
        "dim_metadata": [
            {"dense_size": 2},
            {
                "format": 1,
                "array_segments": ("Int32Vector", {"values": [0, 1, 2]}),
                "array_indices": ("Int32Vector", {"values": [1, 0]}),
            },
            {"dense_size": 2},
            {"dense_size": 2},
        ],
    }
    tensor = constant(dtype="float32", shape=(4, 4), data=blocks.tobytes(), sparsity=sparsity)
    expected = np.zeros((4, 4), np.float32)
    expected[:2, 2:], expected[2:, :2] = blocks[:4].reshape(2, 2), blocks[4:].reshape(2, 2)
    np.testing.assert_array_equal(tensor.data, expected)
    assert (tensor.byte_size, tensor.data_length) == (64, 32)


def test_sparse_tensors_equal_litert() -> None:
    """Judge: LiteRT's DENSIFY, on a matrix compressed in column order."""
    interpreter = pytest.importorskip("ai_edge_litert.interpreter")
    dense = np.array([[0, 2, 0], [1, 0, 0], [0, 3, 0], [4, 5, 0]], np.float32)
    columns = [np.flatnonzero(column) for column in dense.T]
    segments = np.cumsum([0, *map(len, columns)])
    sparsity = {
        "traversal_order": [1, 0],
        "dim_metadata": [
            {"dense_size": 3},
            {
                "format": 1,
                "array_segments": ("Uint8Vector", {"values": segments}),
                "array_indices": ("Uint8Vector", {"values": np.concatenate(columns)}),
            },
        ],
    }
    builder = ModelBuilder()
    values = dense.T[dense.T != 0].tobytes()
    w = builder.tensor("w", "float32", dense.shape, data=values, sparsity=sparsity)
    x, y, z = (builder.tensor(name, "float32", dense.shape) for name in "xyz")
    builder.op("DENSIFY", [w], [y])
    builder.op("ADD", [x, y], [z])
    data = builder.build([x], [z])
    theirs = interpreter.Interpreter(
        model_content=data, experimental_op_resolver_type=interpreter.OpResolverType.BUILTIN_REF
    )
    theirs.allocate_tensors()
    theirs.set_tensor(x, np.zeros(dense.shape, np.float32))
    theirs.invoke()
    np.testing.assert_array_equal(theirs.get_tensor(z), dense)
    np.testing.assert_array_equal(Graph.from_bytes(data).subgraphs[0].tensors[w].data, dense)


def test_scalars_and_empty_tensors() -> None:
    scalar = constant(dtype="int32", shape=(), data=[7])
    assert (scalar.shape, scalar.element_count, scalar.data.item()) == ((), 1, 7)
    empty = constant(dtype="int32", shape=(0,))
    assert empty.is_constant
    assert empty.data.shape == (0,)


def test_what_is_no_constant() -> None:
    builder = ModelBuilder()
    x = builder.tensor("x", "float32", (1, 2), shape_signature=(-1, 2))
    builder.tensor("state", "float32", (3,), variable=True)
    handle = builder.tensor("handle", "resource", ())
    builder.op("VAR_HANDLE", [], [handle], shared_name="v")
    tensors = Graph.from_bytes(builder.build([x], [x])).subgraphs[0].tensors
    assert [t.is_constant for t in tensors] == [False] * 3
    assert [t.data for t in tensors] == [None] * 3
    assert [t.raw for t in tensors] == [None] * 3
    assert [t.byte_size for t in tensors] == [8, 12, 0]
    assert tensors[0].shape_signature == (-1, 2)
    assert tensors[1].shape_signature is None
    assert tensors[1].is_variable


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"scale": 0.5, "zero_point": 3}, ((0.5,), (3,), False)),
        ({"scale": [0.5, 0.0, 1.0], "dimension": 1}, ((0.5, 0.0, 1.0), (0, 0, 0), True)),
        ({"scale": [0.5, 0.25, 1.0], "zero_point": [7], "dimension": 1}, ((0.5, 0.25, 1.0), (7, 7, 7), True)),
        ({"scale": 0.0}, None),
        ({}, None),
    ],
)
def test_quantization(given: dict[str, Any], expected: tuple[Any, ...] | None) -> None:
    found = constant(dtype="int8", shape=(2, 3), data=np.zeros((2, 3)), **given).quantization
    assert (found and (found.scale, found.zero_point, found.per_channel)) == expected
    if found and found.per_channel:
        assert found.dimension == 1


def test_blockwise_quantization() -> None:
    builder = ModelBuilder()
    x = builder.tensor("x", "float32", (1,))
    scales = builder.tensor("scales", "float16", (2, 2), data=np.ones((2, 2)))
    details = ("BlockwiseQuantization", {"scales": scales, "zero_points": -1, "block_size": 32})
    builder.tensor("w", "int4", (2, 64), data=np.zeros((2, 64)), quantization={"details": details})
    found = Graph.from_bytes(builder.build([x], [x])).subgraphs[0].tensors[2].quantization
    assert found is not None and found.blocks is not None
    assert (found.scale, found.per_channel) == ((), False)
    assert (found.blocks.scales, found.blocks.zero_points, found.blocks.block_size) == (scales, -1, 32)


# ------------------------------------------------------------------------------------------- operators and the graph


def branching() -> Graph:
    """y = CONV_2D(x, w); z = ADD(y, y); c = Mystery(z, omitted, y)."""
    builder = ModelBuilder()
    x = builder.tensor("x", "float32", (1, 4, 4, 1))
    w = builder.tensor("w", "float32", (1, 2, 2, 1), data=np.ones(4))
    y, z, c = (builder.tensor(name, "float32", (1, 3, 3, 1)) for name in "yzc")
    builder.op("CONV_2D", [x, w, None], [y], version=2, stride_w=1, stride_h=2, padding=Padding.VALID)
    builder.op("ADD", [y, y], [z])
    builder.custom("Mystery", [z, None, y], [c], options=b"\x00\x01", version=5)
    builder.signature("serve", {"image": x}, {"first": z, "second": c})
    builder.metadata("note", b"hello")
    return Graph.from_bytes(builder.build([x], [z, c]))


def test_options() -> None:
    conv, add, custom = (node.options for node in branching().nodes())
    assert (conv.table, conv.present) == ("Conv2DOptions", True)
    assert conv.padding is Padding.VALID
    assert (conv.stride_w, conv.stride_h, conv.dilation_w_factor) == (1, 2, 1)
    assert conv.fused_activation_function is ActivationFunctionType.NONE
    assert add.pot_scale_int16 is True
    assert add.as_dict() == {"fused_activation_function": 0, "pot_scale_int16": True}
    assert "stride_w" in dir(conv) and "stride_w=1" in repr(conv)
    with pytest.raises(AttributeError, match="Conv2DOptions has no field 'stride'"):
        _ = conv.stride
    assert custom.table is None
    with pytest.raises(AttributeError, match="without options"):
        _ = custom.axis


def test_options_of_every_kind() -> None:
    builder = ModelBuilder()
    x = builder.tensor("x", "float32", (4,))
    y, z, handle = (builder.tensor(name, "float32", (4,)) for name in ("y", "z", "handle"))
    builder.op("RESHAPE", [x], [y], new_shape=[2, -1])
    builder.op("STABLEHLO_COMPOSITE", [y], [z], name="odml.norm", composite_attributes=[1, 2, 255])
    builder.op("VAR_HANDLE", [], [handle], container="", shared_name="größe")
    builder.op("BUCKETIZE", [z], [builder.tensor("b", "int32", (4,))], boundaries=[0.5, 1.5])
    builder.op("RANDOM_UNIFORM", [x], [builder.tensor("r", "float32", (4,))], seed=-(2**62), seed2=5)
    reshape, composite, var, bucketize, random = (n.options for n in Graph.from_bytes(model_of(builder, x)).nodes())
    assert reshape.new_shape == (2, -1)
    assert (composite.table, composite.name, composite.composite_attributes) == (
        "StableHLOCompositeOptions",
        "odml.norm",
        b"\x01\x02\xff",
    )
    assert (var.container, var.shared_name) == ("", "größe")
    assert bucketize.boundaries == (0.5, 1.5)
    assert (random.seed, random.seed2) == (-(2**62), 5)


def model_of(builder: ModelBuilder, x: int) -> bytes:
    """With a subgraph 1, so that the composite of subgraph 0 does not decompose into itself."""
    inner = builder.subgraph("inner")
    inner.tensor("a", "float32", (4,))
    inner.interface(["a"], ["a"])
    model = builder.model([x], [x])
    for entry in model["subgraphs"][0]["operators"]:
        for member, values in (pair for pair in entry.values() if isinstance(pair, tuple)):
            if member == "StableHLOCompositeOptions":
                values["decomposition_subgraph_index"] = 1
    return write_model(model)


def test_options_that_the_file_leaves_out() -> None:
    builder = ModelBuilder()
    x, y = builder.tensor("x", "float32", (2,)), builder.tensor("y", "float32", (2,))
    builder.op("ADD", [x, x], [y])
    model = builder.model([x], [y])
    model["subgraphs"][0]["operators"][0]["builtin_options"] = None
    options = Graph.from_bytes(write_model(model)).nodes()[0].options
    assert (options.table, options.present) == ("AddOptions", False)
    assert (options.fused_activation_function, options.pot_scale_int16) == (ActivationFunctionType.NONE, True)


def test_operators() -> None:
    conv, add, custom = branching().subgraphs[0].operators
    assert (conv.index, conv.op, conv.name, conv.version) == (0, BuiltinOperator.CONV_2D, "CONV_2D", 2)
    assert conv.inputs == (0, 1, -1)
    assert (add.outputs, add.intermediates, add.custom_options) == ((3,), (), b"")
    assert (custom.op, custom.name, custom.custom_code) == (BuiltinOperator.CUSTOM, "Mystery", "Mystery")
    assert (custom.version, custom.custom_options) == (5, b"\x00\x01")


def test_nodes() -> None:
    graph = branching()
    conv, _, custom = graph.nodes(0)
    assert conv.graph is graph and conv.subgraph is graph.subgraphs[0]
    assert [t and t.name for t in custom.inputs] == ["z", None, "y"]
    assert custom.input(1) is None
    assert custom.input(7) is None
    assert conv.input(1) is graph.subgraphs[0].tensors[1]
    assert conv.output(0).name == "y"
    assert conv.path == "subgraphs[0].operators[0]"
    with pytest.raises(ModelError, match="has 1 outputs, number 1"):
        conv.output(1)


def test_neighbours() -> None:
    subgraph = branching().subgraphs[0]
    y = subgraph.tensors[2]
    assert subgraph.producer(y) is subgraph.operators[0]
    assert subgraph.producer(0) is None
    assert subgraph.consumers(y) == (subgraph.operators[1], subgraph.operators[2])
    assert subgraph.consumers(4) == ()


def test_signatures_and_metadata() -> None:
    graph = branching()
    (signature,) = graph.signatures
    assert (signature.key, signature.subgraph) == ("serve", 0)
    assert (signature.inputs, signature.outputs) == ({"image": 0}, {"first": 3, "second": 4})
    assert {name: bytes(data) for name, data in graph.metadata.items()} == {"note": b"hello"}


def test_scratch_tensors_of_custom_operators() -> None:
    """Compilers for other accelerators list tensors that nothing produces."""
    builder = ModelBuilder()
    x, scratch, y = (builder.tensor(name, "uint8", (4,)) for name in ("x", "scratch", "y"))
    builder.custom("ethos-u", [x, scratch], [y])
    assert Graph.from_bytes(builder.build([x], [y])).nodes()[0].input(1) is not None


def test_old_operator_codes() -> None:
    """Files from before 2020 have only the one-byte code; newer ones put the real code beside it."""
    model = ModelBuilder()
    x, y = model.tensor("x", "float32", (2,)), model.tensor("y", "float32", (2,))
    model.op("RELU", [x], [y])
    old = model.model([x], [y])
    old["operator_codes"] = [{"deprecated_builtin_code": 19}]
    assert Graph.from_bytes(write_model(old)).nodes()[0].name == "RELU"
    old["operator_codes"] = [{"deprecated_builtin_code": 127, "builtin_code": 150}]
    assert Graph.from_bytes(write_model(old)).nodes()[0].operator.op is BuiltinOperator.GELU
    old["operator_codes"] = [{"deprecated_builtin_code": 0, "builtin_code": 19, "version": 3}]
    assert Graph.from_bytes(write_model(old)).nodes()[0].operator.version == 3


def test_names_that_are_no_utf8() -> None:
    builder = ModelBuilder()
    builder.tensor(b"caf\xe9", "float32", (1,))  # type: ignore[arg-type]
    assert Graph.from_bytes(builder.build([0], [0])).subgraphs[0].tensors[0].name == r"caf\xe9"


def test_large_custom_options() -> None:
    builder = ModelBuilder()
    x, y = builder.tensor("x", "float32", (1,)), builder.tensor("y", "float32", (1,))
    builder.custom("Big", [x], [y])
    model = builder.model([x], [y])
    entry = model["subgraphs"][0]["operators"][0]
    entry.update(large_custom_options_offset=2048, large_custom_options_size=3)
    data = write_model({**model})
    padded = data.ljust(2048, b"\0") + b"abc"
    assert Graph.from_bytes(padded).nodes()[0].operator.custom_options == b"abc"
