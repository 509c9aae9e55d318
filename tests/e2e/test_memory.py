"""The peak of the program's process beside what the model needs: weights, and the most activations alive at once.

Memory is no timing: it is asserted, with a little room, as what the kernel maps of the program's own file, page by page or by
the dozen, differs from one kernel and file system to the next.
"""

from __future__ import annotations

import pytest
from nnapi_toolkit.delegate.graph import Graph
from nnapi_toolkit.footprint import needed_bytes

from tests.benchmarks.models import MODELS, model_file, peak_kib

GOAL, ROOM = 1.3, 0.05
#: Where the program itself (0.7 MiB) and what it knows of each operation weigh more than that, and by how much.
SMALL = {
    "MobileNetV3-Small int8": 1.65,  # 2.8 MiB are needed; and 0.3 MiB of the exact means' filters and tables
    "EfficientNet-Lite0 int8": 1.5,  # the last layer is a thousand operations, one for each unit
}


#: Making the float32 twin of InceptionV3 takes longer than all the rest; `scripts/bench` has its row.
@pytest.mark.parametrize("name", [name for name in MODELS if name != "InceptionV3 float32"])
def test_peak_of_the_process(name: str) -> None:
    with model_file(MODELS[name]) as path:
        if path is None:
            pytest.skip(f"{name} needs the shared models below $NNAPI_TOOLKIT_SHARED")
        peak, needed = peak_kib(path) * 1024, needed_bytes(Graph.open(path))
    assert needed < peak, "a process that needs less than its model was not the one that ran it"
    limit = SMALL.get(name, GOAL) + ROOM
    assert peak < limit * needed, f"{peak / 2**20:.1f} MiB for {needed / 2**20:.1f} MiB: {peak / needed:.2f}, not {limit:.2f}"
