"""What a fine-tuning leaves: a folder of weights with the adapter merged in, complete in itself, and its card."""

import inspect
import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

from vlajs.files import sync_folder
from vlajs_training.run_folder import StorageError
from vlajs_training.vla_server.model_card import CARD_FILE, card
from vlajs_training.vla_server.openvla import STATISTICS_FILE
from vlajs_training.vla_server.options import CONVENTION_KEY
from vlajs_training.vla_server.tuner import Tuner, add_adapter, set_adapter

ADAPTER_FOLDER = "adapter"
COPIED_SUFFIXES = {".json", ".model", ".txt", ".jinja"}
"""Of the weights' folder: configuration, tokenizer, processor; never weights."""
NOT_COPIED = {STATISTICS_FILE, CARD_FILE}
CODE_PACKAGE = "transformers_modules"
"""Where transformers puts code that came with weights."""


@dataclass(frozen=True, kw_only=True)
class Base:
    """What was fine-tuned, loaded anew in bf16.

    Attributes:
        network: the network without adapter; it is changed.
        processor: the processor that belongs to it.
        folder: where its files lie: the weights' folder, or the hub's copy of them.
    """

    network: Any
    processor: Any
    folder: Path


def write_finetuned(folder: Path, tuner: Tuner, base: Base, figures: Mapping[str, float], peft: Any) -> None:
    """Write the fine-tuned weights; the folder is whole, or is not there.

    Raises:
        StorageError: the disk is full, or the like; the checkpoint stays.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    for left in folder.parent.glob(f"{folder.name}*.partial"):  # of a run that was killed here
        shutil.rmtree(left, ignore_errors=True)
    staging = Path(tempfile.mkdtemp(dir=folder.parent, prefix=folder.name, suffix=".partial"))
    try:
        _fill(staging, tuner, base, figures, peft)
        for path in (staging, *staging.rglob("*")):
            path.chmod(0o755 if path.is_dir() else 0o644)
            _sync(path)
        os.replace(staging, folder)
        sync_folder(folder.parent)
    except OSError as error:
        raise StorageError(folder, error) from error
    except SafetensorError as error:  # how it reports a full disk
        raise StorageError(folder, OSError(str(error))) from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _fill(staging: Path, tuner: Tuner, base: Base, figures: Mapping[str, float], peft: Any) -> None:
    key = tuner.config.unnorm_key
    statistics = {key: {**tuner.statistics, CONVENTION_KEY: tuner.demos.convention(key).to_dict()}}
    known = getattr(base.network, "norm_stats", None)
    adapted, numbers = add_adapter(peft, base.network, tuner.config.lora, tuner.config.seed)
    set_adapter(numbers, {name: value.detach().cpu() for name, value in tuner.adapter.items()})
    adapted.save_pretrained(str(staging / ADAPTER_FOLDER), save_embedding_layers=False)
    merged = _merged(peft, adapted)
    merged.save_pretrained(str(staging), safe_serialization=True)
    _copy_description(staging, base)
    _edit(staging / "config.json", {"norm_stats": {**(known or {}), **statistics}, "torch_dtype": "bfloat16"})
    (staging / STATISTICS_FILE).write_text(json.dumps(statistics, indent=1) + "\n")
    (staging / ADAPTER_FOLDER / CARD_FILE).write_text("The LoRA adapter alone; what it is, says the card above.\n")
    (staging / CARD_FILE).write_text(card(tuner, figures))


def _merged(peft: Any, adapted: Any) -> Any:
    """The network with the adapter added into its weights, in bf16.

    Layer by layer: peft leaves the sums in float32, and a 7B model of those would need twice the memory.

    Raises:
        ValueError: by peft, a sum is not finite.
    """
    for layer in adapted.modules():
        if isinstance(layer, peft.tuners.lora.LoraLayer):
            layer.merge(safe_merge=True)
            weight = layer.get_base_layer().weight
            weight.data = weight.data.to(torch.bfloat16)
    return adapted.unload()


def _copy_description(staging: Path, base: Base) -> None:
    """Configuration, tokenizer, processor and the code that ran, so that the folder needs no other."""
    for file in base.folder.iterdir():
        if file.suffix in COPIED_SUFFIXES and file.name not in NOT_COPIED and not file.name.endswith(".index.json"):
            shutil.copyfile(file, staging / file.name)
    parts = [base.network, base.network.config, base.processor, getattr(base.processor, "image_processor", None)]
    for part in parts:
        if part is None or not type(part).__module__.startswith(CODE_PACKAGE):
            continue
        for source in Path(inspect.getfile(type(part))).parent.glob("*.py"):
            if source.name != "__init__.py":
                shutil.copyfile(source, staging / source.name)
    for file in staging.glob("*.json"):
        values = json.loads(file.read_text())
        if isinstance(values, dict) and isinstance(values.get("auto_map"), dict):
            _edit(file, {"auto_map": {name: _local(where) for name, where in values["auto_map"].items()}})


def _local(where: Any) -> Any:
    """``owner/name--module.Class`` as ``module.Class``: the code lies beside."""
    if isinstance(where, list | tuple):
        return [_local(item) for item in where]
    return where.rpartition("--")[2] if isinstance(where, str) else where


def _edit(file: Path, changes: Mapping[str, Any]) -> None:
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}, indent=2) + "\n")


def _sync(path: Path) -> None:
    if path.is_dir():
        sync_folder(path)
        return
    with path.open("rb") as file:
        os.fsync(file.fileno())
