"""``python finetune_openvla.py FOLDER``: fine-tunings of tiny models, in one process; a JSON map on standard output.

One process for all of them: importing torch, transformers and peft takes most of the time.
"""

import contextlib
import errno
import json
import os
import resource
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from tests.support.finetune_demos import RGB, picture, write_moving_demos
from tests.support.tiny_causal_openvla import write_tiny_causal_openvla
from vlajs_training import run_folder
from vlajs_training.vla_server import finetune
from vlajs_training.vla_server.action_tokens import ActionTokens, statistics_of
from vlajs_training.vla_server.finetune_config import FinetuneConfig, LoraSettings
from vlajs_training.vla_server.finetune_data import InputMaker
from vlajs_training.vla_server.openvla import PROMPT, load_openvla
from vlajs_training.vla_server.options import ModelOptions

STEPS, SAVE_EVERY, SAVE_EVERY_BROKEN = 80, 40, 25
INSTRUCTIONS = {"push_cube": "push the cube away from the robot base", "pick_cube": "pick up the cube"}

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def config_of(folder: Path, weights: str, output: str, **changes: Any) -> FinetuneConfig:
    """A fine-tuning of seconds."""
    settings: dict[str, Any] = {
        "demos": folder / "demos",
        "weights": str(folder / weights),
        "output": folder / output,
        "trust_remote_code": True,
        "device": "cpu",
        "instructions": INSTRUCTIONS,
        "lora": LoraSettings(rank=16),
        "learning_rate": 1e-2,
        "batch_size": 8,
        "gradient_accumulation": 1,
        "steps": STEPS,
        "save_every": SAVE_EVERY,
        "shake_colours": False,
    }
    return FinetuneConfig(**{**settings, **changes})


def error_of(run: Callable[[], object]) -> str:
    """The message it ends with; "" if it does not."""
    try:
        run()
    except (ValueError, RuntimeError) as error:
        return f"{type(error).__name__}: {error}"
    return ""


@contextlib.contextmanager
def disk_full_at_checkpoint(number: int) -> Iterator[None]:
    """The disk has room for the checkpoints before."""
    write, count = run_folder.write_atomically, 0

    def fills_up(path: Path, data: bytes) -> None:
        nonlocal count
        count += path.name == "checkpoint.pt"
        if count >= number:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        write(path, data)

    run_folder.write_atomically = fills_up
    try:
        yield
    finally:
        run_folder.write_atomically = write


@contextlib.contextmanager
def no_room_for_weights() -> Iterator[None]:
    """No file of the fine-tuned weights may have more than 20 kB: the kernel refuses the write."""
    write = finetune.write_finetuned

    def limited(*arguments: Any) -> None:
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))
        try:
            write(*arguments)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)

    finetune.write_finetuned = limited
    try:
        yield
    finally:
        finetune.write_finetuned = write


def unbroken(folder: Path) -> dict[str, Any]:
    """From beginning to end, and what the result answers where it is served."""
    figures = finetune.run(config_of(folder, "base", "unbroken"))
    rows = [json.loads(line) for line in (folder / "unbroken/progress.jsonl").read_text().splitlines()]
    (folder / "base").rename(folder / "away")  # the result needs nothing of it
    model = load_openvla(ModelOptions(weights=str(folder / "unbroken/model"), device="cpu", trust_remote_code=True))
    (folder / "away").rename(folder / "base")
    pictures = np.stack([picture(colour) for colour in RGB])
    convention = None if model.convention is None else asdict(model.convention)
    answers = {text: model.act(pictures, [text] * len(pictures))[:, 0].tolist() for text in INSTRUCTIONS.values()}
    return {"figures": figures, "rows": rows, "convention": convention, "answers": answers}


def broken(folder: Path) -> dict[str, Any]:
    """Ended by full disks at the second checkpoint and at the weights, then gone on with."""
    begin = config_of(folder, "base", "broken", save_every=SAVE_EVERY_BROKEN)
    go_on = replace(begin, resume=True)
    with disk_full_at_checkpoint(2):
        at_checkpoint = error_of(lambda: finetune.run(begin))
    kept = torch.load(folder / "broken/checkpoint.pt", weights_only=True)["progress"]["steps"]
    again = error_of(lambda: finetune.run(begin))
    other = error_of(lambda: finetune.run(replace(go_on, learning_rate=1e-3)))
    with no_room_for_weights():
        at_weights = error_of(lambda: finetune.run(go_on))
    left = sorted(path.name for path in (folder / "broken").iterdir())
    finetune.run(go_on)
    return {
        **{"at_checkpoint": at_checkpoint, "kept": kept, "again": again, "other": other},
        **{"at_weights": at_weights, "left": left},
    }


def inputs(folder: Path) -> dict[str, Any]:
    """What the network is shown of two pictures with instructions of different length."""
    processor = import_module("transformers").AutoProcessor.from_pretrained(
        str(folder / "base"), trust_remote_code=True
    )
    low = np.array([[-1.0] * 7, [1.0] * 7])
    maker = InputMaker(processor, PROMPT, ActionTokens(512), statistics_of(np.tile(low, (100, 1)), 1))
    actions = np.array([[-1.0, 0.0, 1.0, 0.0, 0.0, 0.0, -1.0], [0.0] * 6 + [1.0]])
    made = maker.make([picture("red")] * 2, ["PICK up the cube ", "stand the peg on its end"], actions)
    served = processor(PROMPT.format("pick up the cube"), Image.fromarray(picture("red")))
    return {
        "input_ids": made.input_ids.tolist(),
        "attention_mask": made.attention_mask.tolist(),
        "labels": made.labels.tolist(),
        "asked_in_serving": served["input_ids"][0].tolist(),
        "same_pixels": bool((made.pixel_values[0] == served["pixel_values"][0]).all()),
    }


def hub(folder: Path) -> dict[str, Any]:
    """Weights by their name on the hub, which transformers finds in its cache: the result stands alone too."""
    cached = Path(os.environ["HF_HOME"]) / "hub/models--nobody--tiny"
    shutil.copytree(folder / "base", cached / "snapshots" / COMMIT)
    (cached / "refs").mkdir()
    (cached / "refs/main").write_text(COMMIT)
    finetune.run(replace(config_of(folder, "base", "hub"), weights="nobody/tiny", steps=1))
    shutil.rmtree(cached)
    code = Path(os.environ["HF_HOME"]) / "modules/transformers_modules/nobody"
    had_code = code.is_dir()
    shutil.rmtree(code)
    model = load_openvla(ModelOptions(weights=str(folder / "hub/model"), device="cpu", trust_remote_code=True))
    return {"had_code": had_code, "answer": model.act(picture("red")[None], ["pick up the cube"]).tolist()}


def refusals(folder: Path) -> dict[str, str]:
    """Models that cannot be fine-tuned."""
    write_tiny_causal_openvla(folder / "blind", sight="blind")
    write_tiny_causal_openvla(folder / "bins", bins=128)
    write_tiny_causal_openvla(folder / "nan", broken=True)

    def refusal_of(name: str) -> str:
        return error_of(lambda: finetune.run(config_of(folder, name, name + "_out")))

    return {name: refusal_of(name) for name in ("blind", "bins", "nan")}


if __name__ == "__main__":
    place = Path(sys.argv[1])
    torch.set_num_threads(1)
    write_moving_demos(place / "demos")
    write_tiny_causal_openvla(place / "base")
    parts = (unbroken, broken, inputs, hub, refusals)
    outcomes = {part.__name__: part(place) for part in parts}
    print("\n" + json.dumps(outcomes | {"simulator_imported": "mani_skill" in sys.modules}))
