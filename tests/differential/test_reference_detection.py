"""Detection operators against LiteRT's kernels."""

from __future__ import annotations

import numpy as np
import pytest
from flatbuffers import flexbuffers
from hypothesis import given
from hypothesis import strategies as st

from tests.differential.litert import T, compare, examples, rng, scale

SEED = st.integers(0, 2**32)


def boxes(generator, count):
    """Random boxes with corners in any order."""
    return generator.uniform(0, 1, (count, 4)).astype(np.float32)


@pytest.mark.parametrize("soft", [False, True])
@examples
@given(count=st.integers(1, 12), size=st.integers(1, 8), limit=st.sampled_from([0.1, 0.3, 0.5]), seed=SEED)
def test_non_max_suppression(soft, count, size, limit, seed):
    generator = rng(seed)
    scores = generator.permutation(np.linspace(0.05, 0.95, count)).astype(np.float32)
    inputs = [T(boxes(generator, count)), T(scores), T(np.asarray(size, np.int32), const=True)]
    inputs += [T(np.asarray(v, np.float32), const=True) for v in (limit, 0.2, *((0.5,) if soft else ()))]
    outputs = [T(dtype="int32"), T(dtype="float32"), T(dtype="int32")] if soft else [T(dtype="int32")] * 2
    compare("NON_MAX_SUPPRESSION_V5" if soft else "NON_MAX_SUPPRESSION_V4", inputs, outputs)


@pytest.mark.parametrize("dtype", [np.float32, np.uint8])
@pytest.mark.parametrize("regular", [False, True])
@examples
@given(count=st.integers(1, 10), classes=st.integers(1, 4), background=st.booleans(), total=st.integers(1, 6), seed=SEED)
def test_detection_post_process(regular, dtype, count, classes, background, total, seed):
    generator = rng(seed)
    options = flexbuffers.Dumps({
        "max_detections": total, "max_classes_per_detection": 1, "detections_per_class": 3, "use_regular_nms": regular,
        "nms_score_threshold": 0.0, "nms_iou_threshold": 0.5, "num_classes": classes, "y_scale": 10.0, "x_scale": 10.0,
        "h_scale": 5.0, "w_scale": 5.0,
    })
    anchors = generator.uniform(0.1, 0.9, (count, 4)).astype(np.float32)
    codes = generator.normal(0, 2, (1, count, 4)).astype(np.float32)
    shape = (1, count, classes + background)
    scores = generator.permutation(np.linspace(0.01, 0.99, int(np.prod(shape)))).astype(np.float32).reshape(shape)
    if dtype == np.uint8:
        spread = [(scale(generator, 0.02, 0.05), 128), (1 / 256, 0), (1 / 256, 0)]
        numbers = [generator.integers(0, 256, codes.shape), generator.permutation(256)[: scores.size].reshape(shape),
                   generator.integers(20, 230, anchors.shape)]
        inputs = [T(v.astype(np.uint8), scale=s, zero_point=z) for v, (s, z) in zip(numbers, spread)]
    else:
        inputs = [T(codes), T(scores), T(anchors)]
    inputs[2].const = True
    if not regular:  # the reference leaves unused places of the other mode as they were
        total = min(total, count)
    want = compare_detections(inputs, options)
    assert want[3][0] <= total


def compare_detections(inputs, options):
    """The unused places of LiteRT's outputs hold what memory held: only the detections are compared."""
    from tests.differential.litert import COMPARED, assert_equal, run_litert, run_ours, single

    model, values = single("TFLite_Detection_PostProcess", inputs, [T(dtype="float32") for _ in range(4)], custom=options)
    want, have = run_litert(model, values), run_ours(model, values)
    number = int(want[3][0])
    assert [h.shape for h in have] == [w.shape for w in want]
    for w, h in zip(want[:3], have[:3]):
        assert_equal(h[:, :number], w[:, :number], 1e-5, 4, 1e-6)
    assert_equal(have[3], want[3], 0, 0, 0)
    COMPARED["TFLite_Detection_PostProcess", "float32"] += 1
    return want
