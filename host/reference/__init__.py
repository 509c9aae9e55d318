"""CPU reference kernels in numpy, one file per operator family, imported when a model first needs it."""

from __future__ import annotations

from importlib import import_module

from nnapi_toolkit.reference.base import CUSTOM_KERNELS, KERNELS, Kernel

#: Family -> the builtin operators that its module registers. The one list of what the reference runs.
FAMILIES: dict[str, str] = {
    "activation": "RELU RELU6 RELU_N1_TO_1 RELU_0_TO_1 LOGISTIC TANH HARD_SWISH ELU PRELU LEAKY_RELU GELU",
    "comparison": "EQUAL NOT_EQUAL LESS LESS_EQUAL GREATER GREATER_EQUAL LOGICAL_AND LOGICAL_OR"
    " SELECT SELECT_V2",
    "concatenation": "CONCATENATION PACK UNPACK SPLIT SPLIT_V",
    "control_flow": "IF WHILE CALL_ONCE STABLEHLO_COMPOSITE VAR_HANDLE READ_VARIABLE ASSIGN_VARIABLE",
    "convolution": "CONV_2D DEPTHWISE_CONV_2D CONV_3D",
    "convolution_transposed": "TRANSPOSE_CONV CONV_3D_TRANSPOSE",
    "detection": "NON_MAX_SUPPRESSION_V4 NON_MAX_SUPPRESSION_V5",
    "elementwise": "ADD SUB MUL DIV MAXIMUM MINIMUM POW SQUARED_DIFFERENCE FLOOR_DIV FLOOR_MOD ADD_N ATAN2"
    " BITWISE_XOR RIGHT_SHIFT STABLEHLO_ADD STABLEHLO_MULTIPLY STABLEHLO_MAXIMUM STABLEHLO_MINIMUM",
    "fully_connected": "FULLY_CONNECTED",
    "gather": "GATHER GATHER_ND SLICE STRIDED_SLICE TILE ONE_HOT TOPK_V2 WHERE UNIQUE EMBEDDING_LOOKUP"
    " HASHTABLE_LOOKUP FILL RANGE BROADCAST_TO BROADCAST_ARGS DYNAMIC_UPDATE_SLICE BUCKETIZE MATRIX_DIAG"
    " MATRIX_SET_DIAG",
    "lsh": "LSH_PROJECTION",
    "lstm": "LSTM UNIDIRECTIONAL_SEQUENCE_LSTM BIDIRECTIONAL_SEQUENCE_LSTM",
    "matmul": "BATCH_MATMUL",
    "normalization": "L2_NORMALIZATION LOCAL_RESPONSE_NORMALIZATION",
    "pad": "PAD PADV2 MIRROR_PAD DILATE STABLEHLO_PAD",
    "pooling": "AVERAGE_POOL_2D MAX_POOL_2D L2_POOL_2D",
    "quantization": "QUANTIZE DEQUANTIZE CAST BITCAST FAKE_QUANT",
    "random": "RANDOM_UNIFORM RANDOM_STANDARD_NORMAL MULTINOMIAL STABLEHLO_RNG_BIT_GENERATOR",
    "recurrent": "RNN UNIDIRECTIONAL_SEQUENCE_RNN BIDIRECTIONAL_SEQUENCE_RNN SVDF",
    "reduction": "MEAN SUM REDUCE_PROD REDUCE_MAX REDUCE_MIN REDUCE_ANY REDUCE_ALL ARG_MAX ARG_MIN CUMSUM",
    "reshape": "RESHAPE SQUEEZE EXPAND_DIMS SHAPE RANK",
    "resize": "RESIZE_BILINEAR RESIZE_NEAREST_NEIGHBOR",
    "scatter": "SCATTER_ND SPARSE_TO_DENSE SEGMENT_SUM UNSORTED_SEGMENT_SUM UNSORTED_SEGMENT_PROD"
    " UNSORTED_SEGMENT_MAX UNSORTED_SEGMENT_MIN EMBEDDING_LOOKUP_SPARSE DENSIFY",
    "softmax": "SOFTMAX LOG_SOFTMAX",
    "space": "SPACE_TO_DEPTH DEPTH_TO_SPACE SPACE_TO_BATCH_ND BATCH_TO_SPACE_ND",
    "spectrum": "RFFT2D",
    "stablehlo": "STABLEHLO_GATHER STABLEHLO_SCATTER REDUCE_WINDOW STABLEHLO_REDUCE_WINDOW",
    "text": "SKIP_GRAM",
    "transpose": "TRANSPOSE REVERSE_V2 REVERSE_SEQUENCE",
    "unary": "ABS EXP LOG SQRT RSQRT SIN COS SQUARE NEG FLOOR CEIL ROUND SIGN LOGICAL_NOT ZEROS_LIKE"
    " COMPLEX_ABS REAL IMAG",
}

_FAMILY_OF = {name: family for family, names in FAMILIES.items() for name in names.split()}


def operators() -> list[str]:
    """Names of the builtin operators that have a reference kernel."""
    return sorted(_FAMILY_OF)


def find_kernel(name: str) -> Kernel | None:
    """The kernel of a builtin operator ("CONV_2D"), or None."""
    if name not in KERNELS and name in _FAMILY_OF:
        import_module(f"{__name__}.{_FAMILY_OF[name]}")
    return KERNELS.get(name)


def find_custom_kernel(code: str) -> Kernel | None:
    """The kernel of a custom operator by its custom code, or None; yours come before those that ship."""
    if code not in CUSTOM_KERNELS:
        shipped = import_module(f"{__name__}.custom").SHIPPED
        if code in shipped:
            import_module(f"{__name__}.{shipped[code]}")
    return CUSTOM_KERNELS.get(code)
