"""NNAPI's own vocabulary: operand types, operation codes, and which operation takes which type from which feature level.

The table is the public documentation of NNAPI (feature levels 1 to 8) in one place; rules ask it instead of repeating it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from functools import cache


class OperandCode(IntEnum):
    """ANEURALNETWORKS_<name>: types of operands."""

    FLOAT32 = 0
    INT32 = 1
    UINT32 = 2
    TENSOR_FLOAT32 = 3
    TENSOR_INT32 = 4
    TENSOR_QUANT8_ASYMM = 5
    BOOL = 6
    TENSOR_QUANT16_SYMM = 7
    TENSOR_FLOAT16 = 8
    TENSOR_BOOL8 = 9
    FLOAT16 = 10
    TENSOR_QUANT8_SYMM_PER_CHANNEL = 11
    TENSOR_QUANT16_ASYMM = 12
    TENSOR_QUANT8_SYMM = 13
    TENSOR_QUANT8_ASYMM_SIGNED = 14
    MODEL = 15


class FuseCode(IntEnum):
    """Activations that NNAPI operations can apply to their result."""

    NONE = 0
    RELU = 1
    RELU1 = 2
    RELU6 = 3


class PaddingCode(IntEnum):
    """Implicit padding schemes."""

    SAME = 1
    VALID = 2


#: Feature level from which an operand type exists at all.
OPERAND_LEVELS: dict[OperandCode, int] = {
    OperandCode.FLOAT32: 1,
    OperandCode.INT32: 1,
    OperandCode.UINT32: 1,
    OperandCode.TENSOR_FLOAT32: 1,
    OperandCode.TENSOR_INT32: 1,
    OperandCode.TENSOR_QUANT8_ASYMM: 1,
    OperandCode.BOOL: 3,
    OperandCode.TENSOR_QUANT16_SYMM: 3,
    OperandCode.TENSOR_FLOAT16: 3,
    OperandCode.TENSOR_BOOL8: 3,
    OperandCode.FLOAT16: 3,
    OperandCode.TENSOR_QUANT8_SYMM_PER_CHANNEL: 3,
    OperandCode.TENSOR_QUANT16_ASYMM: 3,
    OperandCode.TENSOR_QUANT8_SYMM: 3,
    OperandCode.TENSOR_QUANT8_ASYMM_SIGNED: 4,
    OperandCode.MODEL: 4,
}

#: Bytes of one element; MODEL has none.
ELEMENT_SIZES: dict[OperandCode, int] = {
    OperandCode.FLOAT32: 4,
    OperandCode.INT32: 4,
    OperandCode.UINT32: 4,
    OperandCode.TENSOR_FLOAT32: 4,
    OperandCode.TENSOR_INT32: 4,
    OperandCode.TENSOR_QUANT8_ASYMM: 1,
    OperandCode.BOOL: 1,
    OperandCode.TENSOR_QUANT16_SYMM: 2,
    OperandCode.TENSOR_FLOAT16: 2,
    OperandCode.TENSOR_BOOL8: 1,
    OperandCode.FLOAT16: 2,
    OperandCode.TENSOR_QUANT8_SYMM_PER_CHANNEL: 1,
    OperandCode.TENSOR_QUANT16_ASYMM: 2,
    OperandCode.TENSOR_QUANT8_SYMM: 1,
    OperandCode.TENSOR_QUANT8_ASYMM_SIGNED: 1,
    OperandCode.MODEL: 0,
}

SCALARS = frozenset({OperandCode.FLOAT32, OperandCode.INT32, OperandCode.UINT32, OperandCode.BOOL, OperandCode.FLOAT16})

#: 8-bit tensors with a scale and a zero point of their own.
QUANT8 = frozenset({OperandCode.TENSOR_QUANT8_ASYMM, OperandCode.TENSOR_QUANT8_ASYMM_SIGNED})

_SHORT = {
    "f32": OperandCode.TENSOR_FLOAT32,
    "f16": OperandCode.TENSOR_FLOAT16,
    "i32": OperandCode.TENSOR_INT32,
    "u8": OperandCode.TENSOR_QUANT8_ASYMM,
    "s8": OperandCode.TENSOR_QUANT8_ASYMM_SIGNED,
    "s8sym": OperandCode.TENSOR_QUANT8_SYMM,
    "pc": OperandCode.TENSOR_QUANT8_SYMM_PER_CHANNEL,
    "q16s": OperandCode.TENSOR_QUANT16_SYMM,
    "q16a": OperandCode.TENSOR_QUANT16_ASYMM,
    "b8": OperandCode.TENSOR_BOOL8,
}

# code, name, feature level, ranks of the main tensor, numbers of inputs, data types ("s8@4": from feature level 4).
_TABLE = """
0   ADD                          1  1-4  3            f32 f16@3 u8 s8@4 i32@4
1   AVERAGE_POOL_2D              1  4    7,8,10,11    f32 f16@3 u8 s8@4
2   CONCATENATION                1  1-4  2-           f32 f16@3 u8 s8@4
3   CONV_2D                      1  4    7,8,10,11,13 f32 f16@3 u8 s8@4
4   DEPTHWISE_CONV_2D            1  4    8,9,11,12,14 f32 f16@3 u8 s8@4
5   DEPTH_TO_SPACE               1  4    2,3          f32 f16@3 u8 s8@4
6   DEQUANTIZE                   1  1-4  1            u8 s8sym@3 pc@3 s8@4
7   EMBEDDING_LOOKUP             1  2-   2            f32 i32@3 u8@3 f16@4 s8@4
8   FLOOR                        1  1-4  1            f32 f16@3
9   FULLY_CONNECTED              1  2-4  4            f32 f16@3 u8 s8@4
10  HASHTABLE_LOOKUP             1  2-   3            f32 i32 u8
11  L2_NORMALIZATION             1  1-4  1,2          f32 f16@3 u8@3 s8@4
12  L2_POOL_2D                   1  4    7,8,10,11    f32 f16@3
13  LOCAL_RESPONSE_NORMALIZATION 1  1-4  5-6          f32 f16@3
14  LOGISTIC                     1  1-4  1            f32 f16@3 u8 s8@4
15  LSH_PROJECTION               1  1-   4            f32 f16@3 i32 u8
16  LSTM                         1  2    23-27        f32 f16@3
17  MAX_POOL_2D                  1  4    7,8,10,11    f32 f16@3 u8 s8@4
18  MUL                          1  1-4  3            f32 f16@3 u8 s8@4 i32@4
19  RELU                         1  1-4  1            f32 f16@3 u8 s8@4
20  RELU1                        1  1-4  1            f32 f16@3 u8 s8@4
21  RELU6                        1  1-4  1            f32 f16@3 u8 s8@4
22  RESHAPE                      1  1-4  2            f32 f16@3 u8 s8@4 i32@6
23  RESIZE_BILINEAR              1  4    3,4,5,6      f32 f16@3 u8@3 s8@4
24  RNN                          1  2    6            f32 f16@3
25  SOFTMAX                      1  1-4  2,3          f32 f16@3 u8 s8@4
26  SPACE_TO_DEPTH               1  4    2,3          f32 f16@3 u8 s8@4
27  SVDF                         1  2    7            f32 f16@3
28  TANH                         1  1-4  1            f32 f16@3 u8@3 s8@4
29  BATCH_TO_SPACE_ND            2  4    2,3          f32 f16@3 u8 s8@4
30  DIV                          2  1-4  3            f32 f16@3 i32@4
31  MEAN                         2  1-4  3            f32 f16@3 u8 s8@4
32  PAD                          2  1-4  2            f32 f16@3 u8 s8@4
33  SPACE_TO_BATCH_ND            2  4    3,4          f32 f16@3 u8 s8@4
34  SQUEEZE                      2  1-4  2            f32 f16@3 u8 s8@4
35  STRIDED_SLICE                2  1-4  7            f32 f16@3 u8 s8@4
36  SUB                          2  1-4  3            f32 f16@3 u8@3 s8@4 i32@4
37  TRANSPOSE                    2  1-4  2            f32 f16@3 u8 s8@4
38  ABS                          3  1-   1            f32 f16 i32@4
39  ARGMAX                       3  1-   2            f32 f16 u8 s8@4 i32
40  ARGMIN                       3  1-   2            f32 f16 u8 s8@4 i32
41  AXIS_ALIGNED_BBOX_TRANSFORM  3  2    4            f32 f16 q16a
42  BIDIRECTIONAL_SEQUENCE_LSTM  3  3    61           f32 f16
43  BIDIRECTIONAL_SEQUENCE_RNN   3  3    15           f32 f16
44  BOX_WITH_NMS_LIMIT           3  2    9            f32 f16 u8 s8@4
45  CAST                         3  1-   1            f32 f16 i32 u8 s8@4 b8@4 q16s@4 q16a@4 s8sym@4
46  CHANNEL_SHUFFLE              3  1-4  3            f32 f16 u8 s8@4
47  DETECTION_POSTPROCESSING     3  3    14           f32 f16
48  EQUAL                        3  1-   2            b8 f32 f16 i32 u8 s8@4
49  EXP                          3  1-   1            f32 f16
50  EXPAND_DIMS                  3  1-   2            f32 f16 u8 s8@4 i32
51  GATHER                       3  1-   3            f32 f16 u8 s8@4 i32
52  GENERATE_PROPOSALS           3  4    11           f32 f16 u8 s8@4
53  GREATER                      3  1-   2            b8 f32 f16 i32 u8 s8@4
54  GREATER_EQUAL                3  1-   2            b8 f32 f16 i32 u8 s8@4
55  GROUPED_CONV_2D              3  4    9,12         f32 f16 u8 s8@4
56  HEATMAP_MAX_KEYPOINT         3  4    3            f32 f16 u8 s8@4
57  INSTANCE_NORMALIZATION       3  4    5            f32 f16
58  LESS                         3  1-   2            b8 f32 f16 i32 u8 s8@4
59  LESS_EQUAL                   3  1-   2            b8 f32 f16 i32 u8 s8@4
60  LOG                          3  1-   1            f32 f16
61  LOGICAL_AND                  3  1-   2            b8
62  LOGICAL_NOT                  3  1-   1            b8
63  LOGICAL_OR                   3  1-   2            b8
64  LOG_SOFTMAX                  3  1-   3            f32 f16
65  MAXIMUM                      3  1-   2            f32 f16 u8 s8@4 i32
66  MINIMUM                      3  1-   2            f32 f16 u8 s8@4 i32
67  NEG                          3  1-   1            f32 f16 i32
68  NOT_EQUAL                    3  1-   2            b8 f32 f16 i32 u8 s8@4
69  PAD_V2                       3  1-4  3            f32 f16 u8 s8@4
70  POW                          3  1-   2            f32 f16
71  PRELU                        3  1-   2            f32 f16 u8 s8@4
72  QUANTIZE                     3  1-   1            f32 f16
73  QUANTIZED_16BIT_LSTM         3  2    15           u8 q16s
74  RANDOM_MULTINOMIAL           3  2    3            f32 f16
75  REDUCE_ALL                   3  1-4  3            b8
76  REDUCE_ANY                   3  1-4  3            b8
77  REDUCE_MAX                   3  1-4  3            f32 f16 u8 s8@4
78  REDUCE_MIN                   3  1-4  3            f32 f16 u8 s8@4
79  REDUCE_PROD                  3  1-4  3            f32 f16
80  REDUCE_SUM                   3  1-4  3            f32 f16
81  ROI_ALIGN                    3  4    10           f32 f16 u8 s8@4
82  ROI_POOLING                  3  4    8            f32 f16 u8 s8@4
83  RSQRT                        3  1-   1            f32 f16 u8@7 s8@7
84  SELECT                       3  1-   3            f32 f16 u8 s8@4 i32
85  SIN                          3  1-   1            f32 f16
86  SLICE                        3  1-   3            f32 f16 u8 s8@4 i32
87  SPLIT                        3  1-   3            f32 f16 u8 s8@4 i32
88  SQRT                         3  1-   1            f32 f16
89  TILE                         3  1-   2            f32 f16 u8 s8@4 i32
90  TOPK_V2                      3  1-   2            f32 f16 u8 s8@4 i32
91  TRANSPOSE_CONV_2D            3  4    9,11         f32 f16 u8 s8@4
92  UNIDIRECTIONAL_SEQUENCE_LSTM 3  3    28           f32 f16
93  UNIDIRECTIONAL_SEQUENCE_RNN  3  3    7            f32 f16
94  RESIZE_NEAREST_NEIGHBOR      3  4    4,5,6        f32 f16 u8 s8@4
95  QUANTIZED_LSTM               4  2    32           s8 s8sym q16s
96  IF                           4  0-   3-           -
97  WHILE                        4  0-   2-           -
98  ELU                          4  1-   2            f32 f16
99  HARD_SWISH                   4  1-   1            f32 f16 u8 s8
100 FILL                         4  1-   2            f32 f16 i32
101 RANK                         4  1-   1            f32 f16 i32 u8 s8 q16s b8 pc q16a s8sym
102 BATCH_MATMUL                 6  2-4  4            f32 f16 i32 s8
103 PACK                         6  1-   2-           f32 f16 u8 s8 i32
104 MIRROR_PAD                   7  1-   3            f32 f16 u8 s8 i32
105 REVERSE                      7  1-8  2            f32 f16 u8 s8 i32
"""


@dataclass(frozen=True, slots=True)
class OperationFact:
    """What NNAPI documents of one operation.

    Attributes:
        code: ANEURALNETWORKS_<name>.
        name: The name without its prefix.
        level: The lowest feature level that knows the operation.
        ranks: Lowest and highest rank of its main tensor (255: no limit).
        inputs: Numbers of input operands that some form of it takes; empty: any number from `min_inputs`.
        min_inputs: The smallest number of input operands.
        types: Data type of the main tensor -> lowest feature level that takes it.
    """

    code: int
    name: str
    level: int
    ranks: tuple[int, int]
    inputs: frozenset[int]
    min_inputs: int
    types: dict[OperandCode, int]

    def __index__(self) -> int:
        return self.code


def _parse(line: str) -> OperationFact:
    code, name, level, ranks, counts, *types = line.split()
    low, _, high = ranks.partition("-")
    bounds = (int(low), int(high or (255 if "-" in ranks else low)))
    if counts.endswith("-"):
        inputs, smallest = frozenset[int](), int(counts[:-1])
    elif "-" in counts:
        first, last = map(int, counts.split("-"))
        inputs, smallest = frozenset(range(first, last + 1)), first
    else:
        inputs = frozenset(map(int, counts.split(",")))
        smallest = min(inputs)
    levels = {}
    for entry in types:
        short, _, since = entry.partition("@")
        if short != "-":
            levels[_SHORT[short]] = int(since or level)
    return OperationFact(int(code), name, int(level), bounds, inputs, smallest, levels)


#: Every NNAPI operation by name.
OPERATIONS: dict[str, OperationFact] = {fact.name: fact for fact in map(_parse, _TABLE.strip().splitlines())}


@cache
def operation_name(code: int) -> str:
    """The name of an operation code, or the number where NNAPI has none."""
    return next((fact.name for fact in OPERATIONS.values() if fact.code == code), str(code))


def type_name(code: int) -> str:
    """The name of an operand type, or the number where NNAPI has none."""
    try:
        return OperandCode(code).name
    except ValueError:
        return str(code)
