"""The seam to what runs a network: OpenVINO, or ONNX Runtime where only that is installed."""

import importlib
import importlib.util
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from vlajs_perception.detection.model_file import ModelFileError

Floats = NDArray[np.float32]
Run = Callable[[Floats], Floats]
"""From a batch (1, 3, H, W) of the shape it was opened for to the network's numbers (1, channels, places)."""
Runtime = Literal["openvino", "onnxruntime"]

RUNTIMES: tuple[Runtime, ...] = ("openvino", "onnxruntime")
"""The first that is installed is taken."""


class RuntimeMissingError(RuntimeError):
    """Nothing that could run a network is installed; the message says what to install."""


def installed_runtime() -> Runtime:
    """The preferred runtime of those installed.

    Raises:
        RuntimeMissingError: there is none.
    """
    for name in RUNTIMES:
        if importlib.util.find_spec(name) is not None:
            return name
    raise RuntimeMissingError(
        "neither openvino nor onnxruntime is installed, a detector needs one: pip install 'vlajs-perception[run]'"
    )


def open_network(model: bytes, shape: tuple[int, int], threads: int, runtime: Runtime, *, exact: bool = True) -> Run:
    """Make a network ready to run on pictures of one shape; takes from half a second to a few.

    Args:
        model: an ONNX file.
        shape: height and width of the input in pixels.
        threads: of the processor that one run may use.
        runtime: which one; it must be installed.
        exact: whether to compute in single precision throughout; else in bfloat16 where the processor multiplies it
            itself and the runtime knows how (OpenVINO), in half the time.

    Raises:
        ModelFileError: the runtime cannot use the network.
    """
    try:
        if runtime == "openvino":
            return _open_openvino(model, (1, 3, *shape), threads, exact)
        return _open_onnxruntime(model, (1, 3, *shape), threads)
    except RuntimeError as error:
        raise ModelFileError(
            f"{runtime} cannot run it on {shape[1]} x {shape[0]} px: {' '.join(str(error).split())[:300]}: a network "
            "of another kind, or damaged; train it again"
        ) from error


def _open_openvino(model: bytes, shape: tuple[int, ...], threads: int, exact: bool) -> Run:
    openvino: Any = importlib.import_module("openvino")
    core = openvino.Core()
    network = core.read_model(model)
    network.reshape(list(shape))
    settings: dict[str, Any] = {"INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY"}
    if exact:
        settings["INFERENCE_PRECISION_HINT"] = "f32"
    compiled = core.compile_model(network, "CPU", settings)
    request = compiled.create_infer_request()

    def run(batch: Floats) -> Floats:
        return np.array(request.infer([batch])[compiled.output(0)], dtype=np.float32)

    return run


def _open_onnxruntime(model: bytes, shape: tuple[int, ...], threads: int) -> Run:
    runtime: Any = importlib.import_module("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 3
    session = runtime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    (wanted,) = session.get_inputs()
    if len(wanted.shape) != len(shape):
        raise RuntimeError(f"its input has shape {wanted.shape}, not {list(shape)}")

    def run(batch: Floats) -> Floats:
        return np.asarray(session.run(None, {wanted.name: batch})[0], dtype=np.float32)

    run(np.zeros(shape, dtype=np.float32))
    return run
