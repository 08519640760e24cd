"""OpenVLA (arXiv:2406.09246) and its fine-tuned relatives, by the code that comes with their weights.

That code was written for transformers 4.40.1. From 4.50 on it still answers, but its vision tower is never called
(openvla/openvla#346): the arm would follow a model that is blind. So the tower is watched while the model is loaded.
"""

import json
import logging
from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors import SafetensorError

from vlajs.vla.convention import Convention
from vlajs.vla.serving.model import WARM_UP_INSTRUCTION, Model, ModelError, probe_images
from vlajs_training.vla_server.options import ModelOptions, convention_for
from vlajs_training.vla_server.sight import counted_calls

LOG = logging.getLogger(__name__)
WRITTEN_FOR = "4.40.1"
ENVIRONMENT = "install the pinned environment: pip install 'vlajs-training[openvla]', or docker/openvla"
PROMPT = "In: What action should the robot take to {}?\nOut:"
MEMORY_GB = {"bf16": 17, "int8": 11, "int4": 7}
"""About what a 7B model takes on the GPU (OpenVLA paper, table 2: 16.8, 10.2 and 7.0 GB)."""
STATISTICS_FILE = "dataset_statistics.json"
ACTION_SIZE = 7


class OpenVla:
    """A loaded model; see :class:`vlajs.vla.serving.model.Model`. It takes one image at a time: a batch is a loop."""

    action_horizon = 1

    def __init__(
        self, network: Any, processor: Any, *, name: str, device: str, unnorm_key: str, convention: Convention | None
    ) -> None:
        """``network`` has ``predict_action``; ``processor`` makes its inputs of a prompt and an image."""
        self.name, self.convention = name, convention
        self._network, self._processor, self._device, self._unnorm_key = network, processor, device, unnorm_key

    def act(self, images: NDArray[np.uint8], instructions: Sequence[str]) -> NDArray[np.float64]:
        """Actions (B, 1, 7), scaled by the unnorm key's statistics.

        Raises:
            ModelError: the GPU's memory is too small.
        """
        with torch.inference_mode(), plain_memory_errors():
            actions = [self._act_one(image, text) for image, text in zip(images, instructions, strict=True)]
        return np.stack(actions)[:, None]

    def _act_one(self, image: NDArray[np.uint8], instruction: str) -> NDArray[np.float64]:
        prompt = PROMPT.format(instruction.strip().lower())  # it was trained on lower case
        inputs = self._processor(prompt, Image.fromarray(image)).to(self._device, dtype=torch.bfloat16)
        action = self._network.predict_action(**inputs, unnorm_key=self._unnorm_key, do_sample=False)
        return np.asarray(action, dtype=np.float64)


def load_openvla(options: ModelOptions) -> Model:
    """Load, and make sure that it sees.

    Raises:
        ModelError: it cannot be loaded here, the unnorm key is not one of its own, or the vision tower is not called.
        ConventionError: an unknown preset, or the weights state another convention.
    """
    named = options.named_convention()
    options = replace(options, device=options.device or "cuda")
    if not options.trust_remote_code:
        raise ModelError(
            f"openvla runs the Python code that comes with {options.weights}: read it, then give --trust-remote-code"
            + ("" if Path(options.weights).is_dir() else " (and --revision COMMIT, so that it stays what you read)")
        )
    transformers = import_transformers()
    check_device(options.device, options.dtype)
    network, processor = load_network(transformers, options)
    statistics = _statistics_of(network, options.weights)
    key = options.unnorm_key or (named.unnorm_key if named is not None and named.unnorm_key in statistics else None)
    key = check_unnorm_key(key, statistics, options.weights)
    model = OpenVla(
        network,
        processor,
        name=options.weights if options.revision is None else f"{options.weights}@{options.revision}",
        device=str(options.device),
        unnorm_key=key,
        convention=convention_for(key, named, statistics[key]),
    )
    check_tower_is_called(model, network, transformers.__version__)
    return model


def check_unnorm_key(key: str | None, statistics: Mapping[str, Any], weights: str) -> str:
    """The key to scale with; the only one there is if ``key`` is None.

    Raises:
        ModelError: not one of the weights' own, which the message lists, or statistics that are not of 7 numbers.
    """
    valid = ", ".join(sorted(statistics)) or "none"
    if key is None and len(statistics) == 1:
        key = next(iter(statistics))
    if key is None:
        raise ModelError(f"{weights} has statistics of several data sets: give one as --unnorm-key; valid are {valid}")
    if key not in statistics:
        raise ModelError(f"unnorm key {key!r} is not among those of {weights}: valid are {valid}")
    action = statistics[key].get("action") if isinstance(statistics[key], Mapping) else None
    for name in ("q01", "q99"):
        bounds = np.asarray(action.get(name) if isinstance(action, Mapping) else None, dtype=object)
        if bounds.shape != (ACTION_SIZE,) or not all(isinstance(v, int | float) and np.isfinite(v) for v in bounds):
            raise ModelError(
                f"statistics {key!r} of {weights}: action.{name} must be {ACTION_SIZE} finite numbers (translation, "
                "rotation, gripper): it is another robot's, or the file is damaged"
            )
    return key


def load_network(transformers: Any, options: ModelOptions, *, four_bit: str = "fp4") -> tuple[Any, Any]:
    """Network and processor, by the code that comes with them; ``four_bit`` is bitsandbytes' form of int4.

    Raises:
        ModelError: they cannot be loaded here.
    """
    common: dict[str, Any] = {"trust_remote_code": True, "revision": options.revision or "main"}
    network_options = {
        **common,
        "torch_dtype": torch.bfloat16,
        "low_cpu_mem_usage": True,
        "use_safetensors": True,  # never a pickle
    }
    if options.dtype != "bf16":
        network_options["quantization_config"] = transformers.BitsAndBytesConfig(
            load_in_8bit=options.dtype == "int8",
            load_in_4bit=options.dtype == "int4",
            bnb_4bit_compute_dtype=torch.bfloat16,
            bnb_4bit_quant_type=four_bit,
        )
        network_options["device_map"] = {"": options.device}
    LOG.info("loading %s as %s on %s", options.weights, options.dtype, options.device)
    try:
        processor = transformers.AutoProcessor.from_pretrained(options.weights, **common)
        with plain_memory_errors():
            network = transformers.AutoModelForVision2Seq.from_pretrained(options.weights, **network_options)
            if options.dtype == "bf16":
                network = network.to(options.device)
    except ImportError as error:
        raise ModelError(
            f"{options.weights} needs a package that is not installed ({_line(error)}): {ENVIRONMENT}"
        ) from error
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise ModelError(
            f"{options.weights} cannot be loaded ({_line(error)}): is it a folder or hub name of OpenVLA weights "
            "(safetensors), and complete? Without a network it must be in the cache or a folder"
        ) from error
    return network.eval(), processor


def _statistics_of(network: Any, weights: str) -> Mapping[str, Any]:
    """Of the model's configuration; fine-tuning leaves them in a file beside the weights, which counts more."""
    statistics, file = getattr(network, "norm_stats", None), Path(weights) / STATISTICS_FILE
    if file.is_file():
        try:
            statistics = json.loads(file.read_text())
        except (OSError, ValueError) as error:
            raise ModelError(f"{file} cannot be read as JSON ({error}): is the copy complete?") from error
        network.norm_stats = statistics
    if not isinstance(statistics, Mapping):
        raise ModelError(f"{weights} has no statistics to scale actions with (norm_stats): is it an OpenVLA model?")
    return statistics


def check_tower_is_called(model: OpenVla, network: Any, version: str) -> None:
    """Ask about a picture, and see whether the vision tower runs.

    Raises:
        ModelError: there is none, or it does not run.
    """
    tower = getattr(network, "vision_backbone", None)
    if not isinstance(tower, torch.nn.Module):
        raise ModelError(f"{model.name} has no vision_backbone: is it an OpenVLA model?")
    with counted_calls(tower) as calls:
        model.act(probe_images(model)[:1], [WARM_UP_INSTRUCTION])
    if calls.count == 0:
        raise ModelError(
            f"{model.name} answers without calling its vision tower: it is blind with transformers {version}, it was "
            f"written for {WRITTEN_FOR} (openvla/openvla#346); it is not used: {ENVIRONMENT}"
        )


def check_device(device: str | None, dtype: str, memory_gb: Mapping[str, int] = MEMORY_GB) -> None:
    """Refuse a device that is not there; ``memory_gb``: what a 7B model takes on a GPU, by number format.

    Raises:
        ModelError: no GPU, or a number format that needs one.
    """
    if device == "cuda" and not torch.cuda.is_available():
        needed = ", ".join(f"{name} about {size} GB" for name, size in memory_gb.items())
        raise ModelError(
            f"torch {torch.__version__} finds no CUDA GPU; a 7B model needs one ({needed}): look at nvidia-smi, in a "
            "container give --gpus all; --device cpu runs it without one, slowly and in bf16 only"
        )
    if device == "cpu" and dtype != "bf16":
        raise ModelError(f"--dtype {dtype} needs a GPU: on the CPU only bf16 is possible")


@contextmanager
def plain_memory_errors(memory_gb: Mapping[str, int] = MEMORY_GB, remedy: str = "give --dtype int4"):
    """Say what to do where the GPU's memory is too small.

    Raises:
        ModelError: it is.
    """
    try:
        yield
    except torch.cuda.OutOfMemoryError as error:
        free, total = (size / 1e9 for size in torch.cuda.mem_get_info())
        needed = ", ".join(f"{name} {size} GB" for name, size in memory_gb.items())
        raise ModelError(
            f"the GPU's memory is too small: {free:.1f} of {total:.1f} GB are free; a 7B model needs about {needed}: "
            f"end other programs that use it (nvidia-smi), or {remedy}"
        ) from error


def import_transformers() -> Any:
    """transformers, where it is one that can load these weights.

    Raises:
        ModelError: it is not installed, or no longer knows this kind of model.
    """
    try:
        transformers = import_module("transformers")
    except ModuleNotFoundError as error:
        raise ModelError(f"{error.name} is not installed: {ENVIRONMENT}") from error
    version = transformers.__version__
    if not hasattr(transformers, "AutoModelForVision2Seq"):
        raise ModelError(
            f"transformers {version} cannot load OpenVLA, which was written for {WRITTEN_FOR}: {ENVIRONMENT}"
        )
    if version != WRITTEN_FOR:
        LOG.warning("transformers is %s, OpenVLA was written for %s: watch what it does", version, WRITTEN_FOR)
    return transformers


def _line(error: BaseException) -> str:
    """The first line of a library's message."""
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0][:200]
