"""The interpreter API that TFLite users know, on top of a `Session`."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from nnapi_toolkit.arrays import fits
from nnapi_toolkit.delegate.graph import Graph, Signature, Tensor
from nnapi_toolkit.delegate.rewrites.folding import freeze_shapes
from nnapi_toolkit.errors import UsageError
from nnapi_toolkit.session import Session, SessionOptions, check_array
from numpy.typing import NDArray

Array = NDArray[Any]


def tensor_details(tensor: Tensor) -> dict[str, Any]:
    """One tensor as `get_input_details` describes it: name, index, shape, shape_signature, dtype, quantization."""
    quantization = tensor.quantization
    scales = np.array(quantization.scale if quantization else (), np.float32)
    zeros = np.array(quantization.zero_point if quantization else (), np.int32)
    return {
        "name": tensor.name,
        "index": tensor.index,
        "shape": np.array(tensor.shape, np.int32),
        "shape_signature": np.array(tensor.shape_signature or tensor.shape, np.int32),
        "dtype": np.dtype(tensor.dtype).type,
        "quantization": (float(scales[0]), int(zeros[0])) if scales.size == 1 and zeros.size else (0.0, 0),
        "quantization_parameters": {
            "scales": scales,
            "zero_points": zeros,
            "quantized_dimension": quantization.dimension if quantization else 0,
        },
        "sparsity_parameters": {},
    }


class Interpreter:
    """Runs a `.tflite` model on a device, with the methods of LiteRT's interpreter.

    Differences: `device` says where to run; the session opens at `allocate_tensors` (or at the first call that needs it) and
    must be closed (`close()`, or use as a context manager); tensors inside delegated partitions cannot be read.
    """

    def __init__(
        self,
        model_path: str | Path | None = None,
        model_content: bytes | None = None,
        device: str = "auto",
        options: SessionOptions | None = None,
    ) -> None:
        """Maps and verifies the model; opens no device yet.

        Args:
            model_path: Path of a `.tflite` file.
            model_content: The file's bytes instead (written to a temporary file, since devices map a file).
            device: `auto`, `local`, `cpu`, `virtual[...]` or an adb serial.
            options: How to plan and compile.

        Raises:
            UsageError: Not exactly one of `model_path` and `model_content` was given.
            ModelError: The model does not verify.
        """
        if (model_path is None) == (model_content is None):
            raise UsageError("give exactly one of model_path and model_content")
        self._temporary: tempfile.TemporaryDirectory[str] | None = None
        if model_content is not None:
            self._temporary = tempfile.TemporaryDirectory(prefix="nnapi-toolkit-")
            model_path = Path(self._temporary.name) / "model.tflite"
            model_path.write_bytes(model_content)
        assert model_path is not None
        self.graph = self._file_graph = Graph.open(model_path)
        self._shapes: dict[int, tuple[int, ...]] = {}
        self._device = device
        self._options = options
        self._session: Session | None = None
        self._values: dict[int, Array] = {}
        self._results: dict[int, Array] = {}

    # -- life cycle ---------------------------------------------------------------------------------------------

    @property
    def session(self) -> Session:
        """The session behind the interpreter; opened on first use."""
        if self._session is None:
            if self._shapes:
                self.graph = freeze_shapes(self._file_graph, self._shapes, strict=self._device != "cpu")
            self._session = Session(self.graph, self._device, self._options)
        return self._session

    def allocate_tensors(self) -> None:
        """Opens the device, plans, pushes and compiles. Needed once; again after `resize_tensor_input`.

        Raises:
            UnsupportedError: The new shapes contradict an operator, or leave the shape of a tensor open. (The CPU reference
                takes shapes as they come.)
            DeviceError, ShimError, DriverError: The device side failed.
        """
        _ = self.session

    def resize_tensor_input(self, input_index: int, tensor_size: Sequence[int], strict: bool = False) -> None:
        """Gives an input another shape; `allocate_tensors` then plans anew with it.

        Args:
            input_index: The tensor's index.
            tensor_size: The new shape.
            strict: Only dimensions that the model leaves open (-1 in shape_signature) may change.

        Raises:
            UsageError: No such input, a negative dimension, or `strict` is violated.
        """
        main = self._file_graph.subgraphs[0]
        if input_index not in main.inputs:
            raise UsageError(f"tensor {input_index} is not an input: the inputs are {list(main.inputs)}")
        tensor, shape = main.tensors[input_index], tuple(int(d) for d in tensor_size)
        if min(shape, default=0) < 0:
            raise UsageError(f"input '{tensor.name}': {list(shape)} has a negative dimension")
        signature = tensor.shape_signature or tensor.shape
        fits = len(shape) == len(signature) and all(s in (-1, d) for s, d in zip(signature, shape))
        if strict and not fits:
            raise UsageError(f"input '{tensor.name}': {list(shape)} does not fit the model's {list(signature)}")
        self._shapes[input_index] = shape
        self._values.pop(input_index, None)
        session, self._session = self._session, None
        if session is not None:
            session.close()

    def close(self) -> None:
        """Ends the session and removes temporary files."""
        session, self._session = self._session, None
        if session is not None:
            session.close()
        if self._temporary is not None:
            self._temporary.cleanup()
            self._temporary = None

    def __enter__(self) -> Interpreter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # -- tensors ------------------------------------------------------------------------------------------------

    def _tensors(self, indices: tuple[int, ...]) -> list[Tensor]:
        return [self.graph.subgraphs[0].tensors[i] for i in indices]

    def get_input_details(self) -> list[dict[str, Any]]:
        """Details of the model's inputs, in order."""
        return [tensor_details(t) for t in self._tensors(self.graph.subgraphs[0].inputs)]

    def get_output_details(self) -> list[dict[str, Any]]:
        """Details of the model's outputs, in order."""
        return [tensor_details(t) for t in self._tensors(self.graph.subgraphs[0].outputs)]

    def get_tensor_details(self) -> list[dict[str, Any]]:
        """Details of all tensors of the main subgraph."""
        return [tensor_details(t) for t in self.graph.subgraphs[0].tensors]

    def set_tensor(self, tensor_index: int, value: Any) -> None:
        """Copies a value into an input tensor.

        Raises:
            UsageError: The index is no input, or dtype or shape differ from the tensor's.
        """
        main = self.graph.subgraphs[0]
        if tensor_index not in main.inputs:
            raise UsageError(f"tensor {tensor_index} is not an input: the inputs are {list(main.inputs)}")
        position = main.inputs.index(tensor_index)
        self._values[tensor_index] = check_array(position, main.tensors[tensor_index], value).copy()

    def invoke(self) -> None:
        """One inference with the inputs that were set.

        Raises:
            UsageError: An input was never set.
            DeviceError, ShimError, DriverError: The device side failed.
        """
        main = self.graph.subgraphs[0]
        for position, index in enumerate(main.inputs):
            if index not in self._values:
                raise UsageError(
                    f"input {position} '{main.tensors[index].name}' was never set: call set_tensor({index}, ...)"
                )
        values = dict(self._values)
        outputs = self.session.run_values(values)
        values.update(zip(main.outputs, outputs))
        self._results = values

    def get_tensor(self, tensor_index: int) -> Array:
        """A copy of a tensor's value: an output, an input, a constant, or a tensor that a CPU step produced.

        Raises:
            UsageError: The tensor stayed on the device or was never computed.
        """
        found = self._results.get(tensor_index, self._values.get(tensor_index))
        if found is not None:
            return found.copy()
        tensors = self.graph.subgraphs[0].tensors
        if not 0 <= tensor_index < len(tensors):
            raise UsageError(f"tensor {tensor_index} does not exist: the model has {len(tensors)}")
        data = tensors[tensor_index].data
        if data is None:
            raise UsageError(
                f"tensor {tensor_index} '{tensors[tensor_index].name}' has no value on the host: it lies inside a delegated "
                f"partition, or invoke() was not called; run with device='cpu' to read it"
            )
        return data.copy()

    def reset_all_variables(self) -> None:
        """Sets all variable tensors to zero."""
        if self._session is not None:
            self._session.reset_variables()

    # -- signatures ---------------------------------------------------------------------------------------------

    def get_signature_list(self) -> dict[str, dict[str, list[str]]]:
        """Signature key -> names of its inputs and outputs."""
        return {s.key: {"inputs": sorted(s.inputs), "outputs": sorted(s.outputs)} for s in self.graph.signatures}

    def get_signature_runner(self, signature_key: str | None = None) -> Callable[..., dict[str, Array]]:
        """A callable that takes the signature's inputs as keyword arguments and returns its outputs by name.

        As LiteRT's it resizes the inputs to the shapes that come. A signature of another subgraph than the main one runs on
        the CPU reference; variables and hash tables are those of the whole model.

        Raises:
            UsageError: No such signature, or several and none named.
        """
        signature = self._signature(signature_key)

        def run(**inputs: Any) -> dict[str, Array]:
            unknown = sorted(set(inputs) ^ set(signature.inputs))
            if unknown:
                raise UsageError(f"signature '{signature.key}' takes {sorted(signature.inputs)}: check {unknown}")
            values = {signature.inputs[name]: np.asarray(value) for name, value in inputs.items()}
            if signature.subgraph != 0:
                return self._run_subgraph(signature, values)
            for index, value in values.items():
                tensor = self.graph.subgraphs[0].tensors[index]
                if not fits(tensor, value.shape):
                    self.resize_tensor_input(index, value.shape)
            self.allocate_tensors()
            for index, value in values.items():
                self.set_tensor(index, value)
            self.invoke()
            return {name: self.get_tensor(index) for name, index in signature.outputs.items()}

        return run

    def _run_subgraph(self, signature: Signature, values: dict[int, Array]) -> dict[str, Array]:
        subgraph = self.session.graph.subgraphs[signature.subgraph]
        missing = [subgraph.tensors[index].name for index in subgraph.inputs if index not in values]
        if missing:
            raise UsageError(f"signature '{signature.key}' leaves out inputs of its subgraph: {missing}")
        results = self.session.run_subgraph(subgraph.index, [values[index] for index in subgraph.inputs])
        found = dict(zip(subgraph.outputs, results))
        return {name: found[index].copy() for name, index in signature.outputs.items()}

    def _signature(self, key: str | None) -> Signature:
        known = {s.key: s for s in self.graph.signatures}
        if key is None and len(known) == 1:
            return next(iter(known.values()))
        if key is None or key not in known:
            raise UsageError(
                f"choose a signature of {sorted(known) or 'none: the model has no signatures'}, not {key!r}"
            )
        return known[key]
