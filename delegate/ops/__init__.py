"""The registry: every TFLite operator and the rule that speaks for it, one family per file.

    convolution      CONV_2D DEPTHWISE_CONV_2D TRANSPOSE_CONV
    pooling          AVERAGE_POOL_2D MAX_POOL_2D L2_POOL_2D
    fully_connected  FULLY_CONNECTED
    softmax          SOFTMAX LOG_SOFTMAX
    elementwise      ADD SUB MUL DIV MAXIMUM MINIMUM POW SQUARED_DIFFERENCE FLOOR_DIV SQUARE ADD_N
    activation       RELU RELU_N1_TO_1 RELU6 RELU_0_TO_1 LOGISTIC TANH HARD_SWISH ELU PRELU LEAKY_RELU
    concatenation    CONCATENATION PACK UNPACK SPLIT SPLIT_V
    reshape          RESHAPE SQUEEZE EXPAND_DIMS
    pad              PAD PADV2 MIRROR_PAD
    reduction        MEAN SUM REDUCE_PROD REDUCE_MAX REDUCE_MIN REDUCE_ANY REDUCE_ALL ARG_MAX ARG_MIN
    resize           RESIZE_BILINEAR RESIZE_NEAREST_NEIGHBOR
    quantization     QUANTIZE DEQUANTIZE CAST FAKE_QUANT DENSIFY
    comparison       EQUAL NOT_EQUAL LESS LESS_EQUAL GREATER GREATER_EQUAL LOGICAL_AND LOGICAL_OR LOGICAL_NOT
                     SELECT SELECT_V2
    unary            ABS EXP LOG SQRT RSQRT SIN COS NEG FLOOR CEIL
    gather           GATHER SLICE STRIDED_SLICE TILE BROADCAST_TO TOPK_V2 FILL ONE_HOT
                     EMBEDDING_LOOKUP HASHTABLE_LOOKUP LSH_PROJECTION
    space            SPACE_TO_DEPTH DEPTH_TO_SPACE SPACE_TO_BATCH_ND BATCH_TO_SPACE_ND
    transpose        TRANSPOSE REVERSE_V2
    normalization    L2_NORMALIZATION LOCAL_RESPONSE_NORMALIZATION
    recurrent        RNN and its SEQUENCE forms, SVDF
    lstm             LSTM's SEQUENCE forms, one- and two-directional
    lstm_integer     LSTM: float, int8, basic uint8
    matmul           BATCH_MATMUL
    control_flow     IF WHILE
    detection        custom operators: TFLite_Detection_PostProcess, Convolution2DTransposeBias
    never            what has no NNAPI form
"""

from __future__ import annotations

from functools import cache

from nnapi_toolkit.delegate.graph import Operator
from nnapi_toolkit.delegate.ops import (
    activation,
    comparison,
    concatenation,
    control_flow,
    convolution,
    detection,
    elementwise,
    fully_connected,
    gather,
    lstm,
    lstm_integer,
    matmul,
    never,
    normalization,
    pad,
    pooling,
    quantization,
    recurrent,
    reduction,
    reshape,
    resize,
    softmax,
    space,
    transpose,
    unary,
)
from nnapi_toolkit.delegate.ops.base import OperatorRule
from nnapi_toolkit.schema.enums import BuiltinOperator

FAMILIES = (
    convolution,
    pooling,
    fully_connected,
    softmax,
    elementwise,
    activation,
    concatenation,
    reshape,
    pad,
    reduction,
    resize,
    quantization,
    comparison,
    unary,
    gather,
    space,
    transpose,
    normalization,
    recurrent,
    lstm,
    lstm_integer,
    matmul,
    control_flow,
    never,
)

#: Builtin operator -> its rule; operators that are missing have no NNAPI form (`rule_of` says so).
RULES: dict[BuiltinOperator, OperatorRule] = {
    BuiltinOperator[rule.op]: rule for family in FAMILIES for rule in family.RULES
}

#: Custom code -> its rule.
CUSTOM_RULES: dict[str, OperatorRule] = {rule.op: rule for rule in detection.CUSTOM_RULES}

_other = cache(never.other)


def rule_of(operator: Operator) -> OperatorRule:
    """The rule that speaks for an operator."""
    if operator.op == BuiltinOperator.CUSTOM:
        return CUSTOM_RULES.get(operator.custom_code or "") or _other(operator.name)
    return RULES.get(operator.op) or _other(operator.op.name)
