"""What a fine-tuning is shown: demonstrations of a folder, as the prompts, pictures and action tokens of OpenVLA."""

import hashlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from vlajs.vla.convention import Convention
from vlajs.vla.serving.model import ModelError
from vlajs_training.camera_view import CameraView, Picture
from vlajs_training.mini_vla.demo_folder import DemoError, DemoFolder, decode_picture, read_batch
from vlajs_training.mini_vla.phrasings import PHRASINGS
from vlajs_training.mini_vla.weights import convention_of
from vlajs_training.vla_server.action_tokens import ActionTokens, scale, statistics_of

IGNORED = -100
"""Label of a token that is not learnt (torch's cross entropy)."""
EMPTY_TOKEN = "\u2581"
"""Llama's token of an empty word. It stands between "Out:" and the action; ``predict_action`` puts it there too."""


@dataclass(frozen=True, kw_only=True)
class Demonstrations:
    """Pictures, as JPEG, what may be said with each, and what was done.

    Attributes:
        camera: where the pictures were taken from.
        rate_hz: one action covers ``1 / rate_hz`` s.
        tasks: names of the tasks.
        phrases: by task, ways to ask for it.
        pictures: T pictures.
        actions: (T, 7) translation in m and rotation vector in rad, base axes; gripper 1 open, -1 closed.
        task: (T,) index into ``tasks``.
        episode: (T,) number of the episode, over all tasks.
        validation: (T,) bool, kept from training: whole episodes, of each task the same share and at least one.
    """

    camera: CameraView
    rate_hz: float
    tasks: tuple[str, ...]
    phrases: Mapping[str, tuple[str, ...]]
    pictures: tuple[bytes, ...]
    actions: NDArray[np.float32]
    task: NDArray[np.int64]
    episode: NDArray[np.int64]
    validation: NDArray[np.bool_]

    @property
    def statistics(self) -> dict[str, Any]:
        """Of the actions that are trained on."""
        train = ~self.validation
        return statistics_of(self.actions[train], len(np.unique(self.episode[train])))

    def convention(self, unnorm_key: str) -> Convention:
        """What the actions of a model mean that was taught these."""
        return replace(convention_of(self.rate_hz, self.camera), unnorm_key=unnorm_key)

    def picture(self, row: int) -> Picture:
        """The picture (H, W, 3) of a row."""
        return decode_picture(self.pictures[row], self.camera.height_px, self.camera.width_px)

    def digest(self) -> str:
        """The same for the same demonstrations alone."""
        sha = hashlib.sha256(self.actions.tobytes() + self.task.tobytes() + self.episode.tobytes())
        for picture in self.pictures:
            sha.update(picture)
        return sha.hexdigest()


def load_demonstrations(
    path: Path, *, tasks: Sequence[str], instructions: Mapping[str, str], validation_share: float, seed: int
) -> Demonstrations:
    """Of a folder; of all its tasks, or of these.

    Args:
        path: the folder.
        tasks: which tasks; all if empty.
        instructions: by task, the one thing to say; else the task's own phrasings.
        validation_share: share of episodes that validate.
        seed: of their choice.

    Raises:
        DemoError: the folder is damaged, has no such task, too few episodes of it, or pictures of several sizes.
    """
    folder = DemoFolder(path)
    facts, there = folder.facts(), folder.tasks()
    wanted = tuple(tasks) or there
    _check_tasks(path, wanted, there, instructions)
    rng = np.random.default_rng([seed, 2**31])
    pictures: list[bytes] = []
    parts: list[tuple[NDArray[Any], ...]] = []
    total = 0
    for index, task in enumerate(wanted):
        some, actions, episode = _read_task(folder, task)
        count = len(np.unique(episode))
        if count < 2:
            raise DemoError(f"{path} holds {count} episodes of {task}, at least 2 are needed: one is for validation")
        held = rng.permutation(count)[: max(1, round(validation_share * count))]
        pictures += some
        parts.append((actions, np.full(len(some), index), episode + total, np.isin(episode, held)))
        total += count
    actions, task, episode, validation = (np.concatenate(column) for column in zip(*parts, strict=True))
    demos = Demonstrations(
        camera=folder.camera,
        rate_hz=facts["rate_hz"],
        tasks=wanted,
        phrases={name: _phrases_of(name, instructions) for name in wanted},
        pictures=tuple(pictures),
        actions=actions,
        task=task,
        episode=episode,
        validation=validation,
    )
    _check_pictures(path, demos)
    return demos


def _check_tasks(path: Path, wanted: Sequence[str], there: Sequence[str], instructions: Mapping[str, str]) -> None:
    if not there:
        raise DemoError(f"{path} holds no demonstrations: run `vlajs teacher demos` first, or write your own there")
    if missing := sorted({*wanted, *instructions} - set(there)):
        raise DemoError(f"{path} holds no demonstrations of {', '.join(missing)}: it holds {', '.join(there)}")
    if unknown := sorted(set(wanted) - set(PHRASINGS) - set(instructions)):
        raise DemoError(
            f"{path} holds {', '.join(unknown)}, which this vlajs does not know how to ask for: say it with "
            f'--instructions {unknown[0]} "..."'
        )
    if empty := sorted(task for task, text in instructions.items() if not text.strip()):
        raise DemoError(
            f"the instruction of {', '.join(empty)} is empty: the model would learn to ignore what it reads"
        )


def _phrases_of(task: str, instructions: Mapping[str, str]) -> tuple[str, ...]:
    return (instructions[task],) if task in instructions else PHRASINGS[task].training


def _read_task(folder: DemoFolder, task: str) -> tuple[list[bytes], NDArray[np.float32], NDArray[np.int64]]:
    """Pictures, actions (T, 7) and episodes (T,), counted from 0, of a task."""
    pictures: list[bytes] = []
    actions, episodes, count = [np.zeros((0, 7), np.float32)], [np.zeros(0, np.int64)], 0
    for file in folder.batches(task):
        batch = read_batch(file)
        pictures += batch.pictures
        actions.append(batch.actions)
        episodes.append(np.unique(batch.episode, return_inverse=True)[1] + count)
        count += batch.episodes
        if (np.abs(batch.actions[:, 6]) > 1.0).any():
            raise DemoError(f"{file}: a gripper action is outside [-1, 1], 1 is open and -1 closed: write it anew")
    return pictures, np.concatenate(actions), np.concatenate(episodes)


def _check_pictures(path: Path, demos: Demonstrations) -> None:
    """Read the head of every picture, before hours are spent on the others."""
    expected = (demos.camera.width_px, demos.camera.height_px)
    for number, data in enumerate(demos.pictures):
        try:
            size = Image.open(io.BytesIO(data), formats=["JPEG"]).size
        except (OSError, UnidentifiedImageError) as error:
            raise DemoError(f"{path}: picture {number} is no JPEG ({error}): make the demonstrations anew") from error
        if size != expected:
            raise DemoError(
                f"{path}: picture {number} has {size[0]} x {size[1]} pixels, the camera of demos.json makes "
                f"{expected[0]} x {expected[1]}: all must be of that one size"
            )


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """What a network is called with, and what it should say.

    Attributes:
        input_ids: (B, L) prompt, empty word, seven action tokens, end of text; padded behind.
        attention_mask: (B, L) 0 where padded.
        pixel_values: (B, C, H, W) as the processor makes them.
        labels: (B, L) the tokens of action and end, :data:`IGNORED` elsewhere.
    """

    input_ids: Tensor
    attention_mask: Tensor
    pixel_values: Tensor
    labels: Tensor

    def to(self, device: torch.device) -> "Inputs":
        """The same on a device; pictures in bf16."""
        return Inputs(
            input_ids=self.input_ids.to(device),
            attention_mask=self.attention_mask.to(device),
            pixel_values=self.pixel_values.to(device, torch.bfloat16),
            labels=self.labels.to(device),
        )


class InputMaker:
    """Makes a network's inputs of pictures, instructions and actions, through the processor that serving uses."""

    def __init__(self, processor: Any, prompt: str, tokens: ActionTokens, statistics: Mapping[str, Any]) -> None:
        """``prompt`` has a place for the instruction.

        Raises:
            ModelError: the tokenizer has no empty word or no end of text, as Llama's has.
        """
        self._processor, self._prompt, self._tokens, self._statistics = processor, prompt, tokens, statistics
        tokenizer = processor.tokenizer
        self._empty, self._end = tokenizer.convert_tokens_to_ids(EMPTY_TOKEN), tokenizer.eos_token_id
        if self._end is None or self._empty in (None, tokenizer.unk_token_id):
            raise ModelError(
                f"the tokenizer has no token {EMPTY_TOKEN!r} or no end of text: it is not Llama's, whose action tokens "
                "this fine-tuning knows; are these OpenVLA's weights?"
            )
        self._padding = self._end if tokenizer.pad_token_id is None else tokenizer.pad_token_id

    def make(self, pictures: Sequence[Picture], instructions: Sequence[str], actions: NDArray[np.floating]) -> Inputs:
        """Of B pictures, instructions and actions (B, 7) in m and rad."""
        said = self._tokens.encode(scale(actions, self._statistics))
        rows, images = [], []
        for picture, instruction, action in zip(pictures, instructions, said.tolist(), strict=True):
            inputs = self._processor(self._prompt.format(instruction.strip().lower()), Image.fromarray(picture))
            asked = inputs["input_ids"][0].tolist()
            rows.append(asked + [self._empty] * (asked[-1] != self._empty) + action + [self._end])
            images.append(inputs["pixel_values"][0])
        length = max(map(len, rows))
        learnt = said.shape[1] + 1
        return Inputs(
            input_ids=torch.tensor([row + [self._padding] * (length - len(row)) for row in rows]),
            attention_mask=torch.tensor([[1] * len(row) + [0] * (length - len(row)) for row in rows]),
            pixel_values=torch.stack(images),
            labels=torch.tensor(
                [[IGNORED] * (len(r) - learnt) + r[-learnt:] + [IGNORED] * (length - len(r)) for r in rows]
            ),
        )
