"""Classifies a picture on a device and checks the answer against the CPU reference.

python examples/classify.py [PICTURE] [--device virtual]
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from nnapi_toolkit import Interpreter
from nnapi_toolkit.report import print_plan, print_run
from PIL import Image

HERE = Path(__file__).resolve().parent


def load_picture(path: Path, size: int) -> Image.Image:
    """The centre square of a picture, resized to `size` x `size` RGB."""
    picture = Image.open(path).convert("RGB")
    edge = min(picture.size)
    left, top = (picture.width - edge) // 2, (picture.height - edge) // 2
    return picture.crop((left, top, left + edge, top + edge)).resize((size, size), Image.Resampling.BICUBIC)


def quantize(picture: Image.Image, scale: float, zero_point: int) -> np.ndarray:
    """Pixels as the model wants them: (x - 127.5) / 127.5, then int8 by the input's scale and zero point."""
    real = (np.asarray(picture, np.float32) - 127.5) / 127.5
    return np.clip(np.round(real / scale) + zero_point, -128, 127).astype(np.int8)[np.newaxis]


def classify(picture: Path, model: Path, device: str) -> tuple[np.ndarray, Interpreter]:
    """Raw int8 scores [1, classes] and the interpreter that made them (the caller closes it)."""
    interpreter = Interpreter(model_path=model, device=device)
    interpreter.allocate_tensors()
    details = interpreter.get_input_details()[0]
    scale, zero_point = details["quantization"]
    interpreter.set_tensor(details["index"], quantize(load_picture(picture, details["shape"][1]), scale, zero_point))
    interpreter.invoke()
    return interpreter.get_tensor(interpreter.get_output_details()[0]["index"]), interpreter


def main() -> None:
    """Runs the model on the device and on the CPU reference, prints plan, result, timing and difference."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("picture", nargs="?", type=Path, default=HERE / "cat.jpg")
    parser.add_argument("--model", type=Path, default=HERE / "efficientnet_lite0_int8.tflite")
    parser.add_argument("--labels", type=Path, default=HERE / "imagenet_labels.txt")
    parser.add_argument("--device", default="virtual", help="virtual, local, cpu, auto, or an adb serial")
    parser.add_argument("--top", type=int, default=5)
    arguments = parser.parse_args()

    scores, interpreter = classify(arguments.picture, arguments.model, arguments.device)
    with interpreter:
        scale, zero_point = interpreter.get_output_details()[0]["quantization"]
        print_plan(interpreter.session.plan, arguments.model.name)
        print_run(interpreter.session)
    expected, reference = classify(arguments.picture, arguments.model, "cpu")
    reference.close()

    labels = arguments.labels.read_text().splitlines()
    print(f"\n{arguments.picture.name}:")
    for index in np.argsort(scores[0].astype(np.int32))[::-1][: arguments.top]:
        print(f"  {(int(scores[0, index]) - zero_point) * scale:6.3f}  {labels[index]}")
    steps = int(np.abs(scores.astype(np.int32) - expected.astype(np.int32)).max())
    print(f"\nlargest difference to the CPU reference: {steps} quantisation steps over {scores.size} scores")
    raise SystemExit(0 if steps == 0 else 1)


if __name__ == "__main__":
    main()
