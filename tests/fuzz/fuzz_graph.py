"""Mutational fuzzer of `Graph`: for any bytes, a model that can be walked through or a `ModelError`, and soon.

    python tests/fuzz/fuzz_graph.py --seconds 60 --seed 1 --corpus DIRECTORY --findings DIRECTORY

The corpus is a few models built here that use every table of the graph, and the `.tflite` files of the directory. What
breaks the rule is written to the findings directory, one file per kind of failure; the exit code is 1 then.
"""

from __future__ import annotations

import argparse
import random
import struct
import sys
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

if __name__ == "__main__":  # run as a script: find the helpers beside
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from nnapi_toolkit.delegate.errors import ModelError
from nnapi_toolkit.delegate.graph import Graph
from nnapi_toolkit.delegate.verifier import Image, verify

from tests.modelbuilder import ModelBuilder

#: No case may take longer; the slowest valid one takes a tenth.
CASE_SECONDS = 5.0
#: Values that mutations write: edges of signed and unsigned ranges, small counts, small offsets.
EDGES = (0, 1, 2, 3, 4, 7, 8, 127, 128, 255, 256, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)


@dataclass
class Outcome:
    """What a run saw: cases, how many of them were valid models, and findings by kind of failure."""

    cases: int = 0
    valid: int = 0
    slowest: float = 0.0
    findings: dict[str, bytes] = field(default_factory=dict)


def walk(graph: Graph) -> None:
    """Touches everything that a graph offers."""
    for subgraph in graph.subgraphs:
        for tensor in subgraph.tensors:
            if tensor.element_count < 1 << 22:  # a sparse tensor may be far larger than its file
                _ = tensor.data
            _ = (tensor.dtype, tensor.byte_size, tensor.raw, repr(tensor.quantization))
            _ = (subgraph.producer(tensor), subgraph.consumers(tensor))
        for node in graph.nodes(subgraph.index):
            _ = (node.inputs, node.outputs, node.options.as_dict(), node.operator.custom_options)
    _ = (graph.signatures, graph.metadata, graph.description)


def try_case(data: bytes, outcome: Outcome) -> None:
    """Opens one input and notes what came of it."""
    start = time.monotonic()
    try:
        walk(Graph.from_bytes(data))
        outcome.valid += 1
    except ModelError as error:
        str(error)
    except Exception:  # the finding that this program is for
        frame = traceback.extract_tb(sys.exc_info()[2])[-1]
        kind = f"{sys.exc_info()[0].__name__}-{Path(frame.filename).stem}-{frame.lineno}"  # type: ignore[union-attr]
        outcome.findings.setdefault(kind, data)
    spent = time.monotonic() - start
    outcome.cases += 1
    outcome.slowest = max(outcome.slowest, spent)
    if spent > CASE_SECONDS:
        outcome.findings.setdefault("slow", data)


def structure(data: bytes) -> list[int]:
    """Where the fields, vtables, counts and elements of a valid file lie: weights would drown them."""
    places: set[int] = {0}
    image = Image(memoryview(data))
    queue = [verify(memoryview(data))]
    for level in queue:
        vtables = level.positions - image.integers("i", level.positions)
        places.update(level.positions.tolist(), vtables.tolist(), (vtables + 2).tolist())
        for name, at in level._at.items():
            places.update(at.tolist())
            if name in level._vectors:
                starts, counts = level._vectors[name]
                places.update((np.maximum(starts, 4) - 4).tolist())
                for start, count in zip(starts.tolist(), np.minimum(counts, 8).tolist()):
                    places.update(range(start, start + 4 * count, 4))
        queue += [child for group in level._children.values() for child in group.values()]
    return sorted(place for place in places if place < len(data))


def mutate(data: bytes, rng: random.Random, donor: bytes = b"", places: Sequence[int] = ()) -> bytes:
    """One to several random edits, mostly of aligned words, where offsets, lengths and counts are."""
    mutant = bytearray(data)
    for _ in range(1 << rng.randrange(5)):
        if not mutant:
            break
        at = rng.choice(places) if places and rng.randrange(4) else rng.randrange(len(mutant))
        at = min(at, len(mutant) - 1)
        action = rng.randrange(9)
        if action <= 2:
            width, code = rng.choice(((1, "B"), (2, "H"), (4, "I")))
            at -= at % width
            if at + width <= len(mutant):
                value = rng.choice(EDGES) if action else rng.getrandbits(8 * width)
                struct.pack_into("<" + code, mutant, at, value & ((1 << 8 * width) - 1))
        elif action == 3 and len(mutant) >= at - at % 4 + 4:  # nudge a word: neighbours of a valid offset
            at -= at % 4
            value = struct.unpack_from("<I", mutant, at)[0] + rng.choice((-8, -4, -2, -1, 1, 2, 4, 8))
            struct.pack_into("<I", mutant, at, value & 0xFFFFFFFF)
        elif action == 4:
            mutant[at] ^= 1 << rng.randrange(8)
        elif action == 5:  # copy a piece over another
            size = rng.choice((4, 8, 16, 64))
            source = rng.randrange(len(mutant)) & ~3
            piece = mutant[source : source + size]
            at &= ~3
            mutant[at : at + len(piece)] = piece[: len(mutant) - at]
        elif action == 6 and donor:
            source = rng.randrange(len(donor)) & ~3
            piece = donor[source : source + 16]
            at &= ~3
            mutant[at : at + len(piece)] = piece[: len(mutant) - at]
        elif action == 7 and rng.randrange(4) == 0:
            del mutant[at:]
        elif action == 8 and rng.randrange(4) == 0:
            del mutant[at : at + rng.choice((1, 4, 16))]
    return bytes(mutant)


def built_corpus() -> list[bytes]:
    """Models that together use every table of the graph."""
    return [_convolution(), _control_flow(), _oddities()]


def _convolution() -> bytes:
    builder = ModelBuilder("fuzz")
    x = builder.tensor("x", "int8", (1, 8, 8, 4), scale=0.5, zero_point=-1, shape_signature=(-1, 8, 8, 4))
    filters = np.ones((6, 3, 3, 4), np.int8)
    w = builder.tensor("w", "int8", filters.shape, scale=np.full(6, 0.25), dimension=0, data=filters)
    b = builder.tensor("b", "int32", (6,), scale=np.full(6, 0.125), dimension=0, data=np.arange(6))
    y = builder.tensor("y", "int8", (1, 8, 8, 6), scale=0.5, zero_point=3)
    p = builder.tensor("p", "int8", (1, 4, 4, 6), scale=0.5, zero_point=3)
    r = builder.tensor("r", "int8", (1, 96), scale=0.5, zero_point=3)
    builder.op("CONV_2D", [x, w, b], [y], version=3, stride_w=1, stride_h=1, fused_activation_function=1)
    builder.op("MAX_POOL_2D", [y], [p], stride_w=2, stride_h=2, filter_width=2, filter_height=2)
    builder.op("RESHAPE", [p, builder.tensor("s", "int32", (2,), data=[1, 96])], [r], new_shape=[1, 96])
    builder.signature("serving_default", {"image": x}, {"scores": r})
    builder.metadata("min_runtime_version", b"1.5.0")
    return builder.build([x], [r])


def _control_flow() -> bytes:
    builder = ModelBuilder()
    branches = []
    for name, op in (("then", "ADD"), ("else", "MUL")):
        branch = builder.subgraph(name)
        a, b = branch.tensor("a", "float32", (2,)), branch.tensor("b", "float32", (2,))
        branch.op(op, [a, a], [b])
        branch.interface([a], [b])
        branches.append(branch.index)
    condition = builder.subgraph("cond")
    a, b = condition.tensor("a", "float32", (2,)), condition.tensor("b", "bool", ())
    condition.op("LESS", [a, a], [b])
    condition.interface([a], [b])
    flag, x = builder.tensor("flag", "bool", ()), builder.tensor("x", "float32", (2,))
    y, z = builder.tensor("y", "float32", (2,)), builder.tensor("z", "float32", (2,))
    builder.op("IF", [flag, x], [y], then_subgraph_index=branches[0], else_subgraph_index=branches[1])
    builder.op("WHILE", [y], [z], cond_subgraph_index=condition.index, body_subgraph_index=branches[0])
    return builder.build([flag, x], [z])


def _oddities() -> bytes:
    """Strings, packed integers, a sparse tensor, variables, custom and StableHLO operators, blockwise scales."""
    builder = ModelBuilder()
    x = builder.tensor("x", "float32", (2, 4))
    builder.tensor("text", "string", (2,), data=["one", "three"])
    builder.tensor("nibbles", "int4", (3,), scale=1.0, data=[1, -8, 7])
    sparsity = {
        "traversal_order": [0, 1],
        "dim_metadata": [
            {"dense_size": 2},
            {
                "format": 1,
                "array_segments": ("Uint8Vector", {"values": [0, 1, 3]}),
                "array_indices": ("Int32Vector", {"values": [3, 0, 2]}),
            },
        ],
    }
    values = np.array([1, 2, 3], np.float32).tobytes()
    sparse = builder.tensor("sparse", "float32", (2, 4), data=values, sparsity=sparsity)
    scales = builder.tensor("scales", "float16", (2, 2), data=np.ones((2, 2)))
    details = {"details": ("BlockwiseQuantization", {"scales": scales, "zero_points": -1, "block_size": 2})}
    builder.tensor("blocks", "int4", (2, 4), data=np.zeros((2, 4)), quantization=details)
    state = builder.tensor("state", "float32", (2, 4), variable=True)
    y, z, a = (builder.tensor(name, "float32", (2, 4)) for name in "yza")
    builder.op("ADD", [x, sparse], [y])
    builder.custom("Mystery", [y, state], [z], options=b"\x01\x02\x03")
    padding = builder.tensor("zero", "float32", (), data=[0.0])
    options = {"edge_padding_low": [0, 0], "edge_padding_high": [0, 0], "interior_padding": [0, 0]}
    builder.op("STABLEHLO_PAD", [z, padding], [a], **options)
    handle = builder.tensor("handle", "resource", ())
    builder.op("VAR_HANDLE", [], [handle], container="c", shared_name="v")
    builder.op("ASSIGN_VARIABLE", [handle, a], [])
    return builder.build([x], [a])


def fuzz(seconds: float, seed: int, corpus: Sequence[bytes], cases: int | None = None) -> Outcome:
    """Mutates and opens until the time is over or, if given, that many cases are done."""
    rng = random.Random(seed)
    outcome = Outcome()
    for data in corpus:
        try_case(data, outcome)
    places = [structure(data) for data in corpus]
    end = time.monotonic() + seconds
    while time.monotonic() < end and (cases is None or outcome.cases < cases):
        index = rng.randrange(len(corpus))
        try_case(mutate(corpus[index], rng, rng.choice(corpus), places[index]), outcome)
    return outcome


def main() -> int:
    """The command; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--corpus", type=Path)
    parser.add_argument("--findings", type=Path, default=Path("findings"))
    arguments = parser.parse_args()
    corpus = built_corpus()
    if arguments.corpus:
        files = sorted(arguments.corpus.glob("*.tflite"), key=lambda file: file.stat().st_size)
        corpus += [file.read_bytes() for file in files if file.stat().st_size < 600_000]
    outcome = fuzz(arguments.seconds, arguments.seed, corpus)
    print(f"{outcome.cases} cases, {outcome.valid} valid, slowest {outcome.slowest:.3f} s")
    for kind, data in outcome.findings.items():
        arguments.findings.mkdir(parents=True, exist_ok=True)
        (arguments.findings / f"{kind}.tflite").write_bytes(data)
        print(f"finding: {arguments.findings / kind}.tflite")
    return 1 if outcome.findings else 0


if __name__ == "__main__":
    sys.exit(main())
