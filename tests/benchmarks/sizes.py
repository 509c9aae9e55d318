"""Builds the Android targets and writes the table of their sizes into the docs, beside the goals.

    python tests/benchmarks/sizes.py [--check] [MODEL ...]

MODEL: the models whose operations the small library has; without them, MobileNetV1 and InceptionV3 of the shared data.
Exit code 1 when a goal is missed.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from nnapi_toolkit.android.build import build  # noqa: E402
from nnapi_toolkit.android.toolchain import compiler_version, targets  # noqa: E402
from nnapi_toolkit.cli.build import operations_of  # noqa: E402

from tests.conftest import SHARED, model_path  # noqa: E402

PAGE = ROOT / "docs" / "reference" / "android-binaries.md"
BEGIN, END = "<!-- sizes: begin -->", "<!-- sizes: end -->"
MODELS = ("mobilenet_v1_10_224_int8", "inception_v3_int8")
#: Bytes on arm64-v8a: the shim, software NNAPI with all operations, and with those of the two models.
GOALS = (64 * 1024, 300 * 1024, 200 * 1024)


def measure(operations: frozenset[str]) -> dict[str, tuple[int, int, int]]:
    """ABI -> sizes in the order of GOALS."""
    sizes = {}
    for target in targets().values():
        if target.android:
            whole, small = build(target.name), build(target.name, operations=operations)
            sizes[target.name] = (whole.sizes["shim"], whole.sizes["libneuralnetworks"], small.sizes["libneuralnetworks"])
    return sizes


def table(sizes: dict[str, tuple[int, int, int]], operations: frozenset[str]) -> str:
    """Markdown; bytes."""
    rows = [
        "| bytes, stripped | `nnapi-shim` | `libneuralnetworks.so`, all operations | only those of MobileNetV1 and InceptionV3 |",
        "|---|---:|---:|---:|",
        *(f"| `{abi}` | " + " | ".join(f"{size:,}" for size in row) + " |" for abi, row in sizes.items()),
        "| goal for `arm64-v8a`, at most | " + " | ".join(f"{goal:,}" for goal in GOALS) + " |",
    ]
    names = ", ".join(f"`{name}`" for name in sorted(operations))
    return "\n".join(rows) + f"\n\nBuilt by {compiler_version()}. The two models (int8) need {names}.\n"


def main() -> int:
    """Prints the table and renews it in the docs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", type=Path)
    parser.add_argument("--check", action="store_true", help="leave the docs as they are")
    options = parser.parse_args()
    if not options.models and not (SHARED / "models" / "catalogue.json").exists():
        print(f"no models below {SHARED}: name MobileNetV1 and InceptionV3, or set NNAPI_TOOLKIT_SHARED", file=sys.stderr)
        return 2
    operations = operations_of(options.models or [model_path(name) for name in MODELS])
    sizes = measure(operations)
    text = table(sizes, operations)
    print(text)
    if not options.check:
        before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
        _, found, after = rest.partition(END)
        if not found:
            print(f"{PAGE}: no marks {BEGIN} ... {END}", file=sys.stderr)
            return 2
        PAGE.write_text(f"{before}{BEGIN}\n{text}{END}{after}", encoding="utf-8")
    return int(any(size > goal for size, goal in zip(sizes["arm64-v8a"], GOALS)))


if __name__ == "__main__":
    sys.exit(main())
