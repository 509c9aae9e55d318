"""Operators without an NNAPI form, and what NNAPI lacks for them."""

from __future__ import annotations

from nnapi_toolkit.delegate.ops.base import OperatorRule, never

#: Operator -> what NNAPI would need.
LACKING: dict[str, str] = {
    "CONCAT_EMBEDDINGS": "an obsolete operator",
    "SKIP_GRAM": "strings",
    "CALL": "an obsolete operator",
    "DELEGATE": "a place that a delegate has taken already",
    "EMBEDDING_LOOKUP_SPARSE": "a sparse embedding lookup",
    "SPARSE_TO_DENSE": "an operation that scatters",
    "UNIQUE": "outputs whose size depends on data",
    "WHERE": "outputs whose size depends on data",
    "GATHER_ND": "an operation that gathers by index tuples",
    "SCATTER_ND": "an operation that scatters",
    "REVERSE_SEQUENCE": "an operation that reverses slices of differing length",
    "MATRIX_DIAG": "operations on diagonals",
    "MATRIX_SET_DIAG": "operations on diagonals",
    "ROUND": "rounding to the nearest even number",
    "NON_MAX_SUPPRESSION_V4": "a suppression that takes boxes of one batch without classes",
    "NON_MAX_SUPPRESSION_V5": "a suppression that takes boxes of one batch without classes",
    "SEGMENT_SUM": "segmented reductions",
    "UNSORTED_SEGMENT_PROD": "segmented reductions",
    "UNSORTED_SEGMENT_MAX": "segmented reductions",
    "UNSORTED_SEGMENT_SUM": "segmented reductions",
    "UNSORTED_SEGMENT_MIN": "segmented reductions",
    "PLACEHOLDER_FOR_GREATER_OP_CODES": "an operator at all",
    "CUMSUM": "running sums",
    "CALL_ONCE": "state that outlives an execution",
    "VAR_HANDLE": "state that outlives an execution",
    "READ_VARIABLE": "state that outlives an execution",
    "ASSIGN_VARIABLE": "state that outlives an execution",
    "HASHTABLE": "hash tables as resources",
    "HASHTABLE_FIND": "hash tables as resources",
    "HASHTABLE_IMPORT": "hash tables as resources",
    "HASHTABLE_SIZE": "hash tables as resources",
    "RFFT2D": "Fourier transforms",
    "IMAG": "complex numbers",
    "REAL": "complex numbers",
    "COMPLEX_ABS": "complex numbers",
    "CONV_3D": "three-dimensional convolutions",
    "CONV_3D_TRANSPOSE": "three-dimensional convolutions",
    "RANDOM_STANDARD_NORMAL": "normally distributed random numbers",
    "RANDOM_UNIFORM": "uniformly distributed random numbers",
    "MULTINOMIAL": "the random generator of TFLite (RANDOM_MULTINOMIAL draws other numbers from the same seed)",
    "BUCKETIZE": "a search in sorted boundaries",
    "DYNAMIC_UPDATE_SLICE": "an operation that writes into part of a tensor",
    "ATAN2": "the arc tangent",
    "SIGN": "an exact sign of every number",
    "BITCAST": "reinterpretation of bits",
    "BITWISE_XOR": "operations on bits",
    "RIGHT_SHIFT": "operations on bits",
    "DILATE": "an operation that spreads elements apart",
    "REDUCE_WINDOW": "reductions over windows of any kind",
}

RULES: tuple[OperatorRule, ...] = tuple(never(op, lacks) for op, lacks in LACKING.items())


def other(op: str) -> OperatorRule:
    """The rule of an operator that nothing here names: StableHLO and custom ones among them."""
    if op.startswith("STABLEHLO_"):
        return never(op, "StableHLO operators")
    return never(op, "an operation of this meaning")
