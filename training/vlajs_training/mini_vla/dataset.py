"""Demonstrations in memory, and the batches a training draws from them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vlajs_training.camera_view import CameraView
from vlajs_training.mini_vla.demo_folder import DemoError, DemoFolder, decode_picture, read_batch
from vlajs_training.mini_vla.phrasings import PHRASINGS

VALIDATION_EPISODES = 20
"""One episode in so many is kept for validation."""


@dataclass(frozen=True, kw_only=True)
class Demonstrations:
    """Pictures, as JPEG, and what was said to each.

    Attributes:
        camera: where from.
        rate_hz: one answer covers ``1 / rate_hz`` s.
        reach_m: the longest translation of an answer.
        reach_rad: the longest rotation.
        tasks: their names.
        pictures: T pictures.
        targets: (T, 7) answers as shares of the reach; the hand 1 open, 0 closed.
        task: (T,) index into ``tasks``.
        validation: (T,) bool, kept from training: one episode in twenty of each task, at least one.
    """

    camera: CameraView
    rate_hz: float
    reach_m: float
    reach_rad: float
    tasks: tuple[str, ...]
    pictures: tuple[bytes, ...]
    targets: NDArray[np.float32]
    task: NDArray[np.int64]
    validation: NDArray[np.bool_]

    def images(self, rows: NDArray[np.int64]) -> Tensor:
        """Pictures (B, H, W, 3) uint8 of these rows (B,)."""
        height, width = self.camera.height_px, self.camera.width_px
        return torch.from_numpy(np.stack([decode_picture(self.pictures[row], height, width) for row in rows.tolist()]))


def load_demonstrations(path: Path, tasks: Sequence[str] = ()) -> Demonstrations:
    """Of a folder; of all its tasks, or of these.

    Raises:
        DemoError: the folder is damaged, has no such task, or too few episodes of it.
    """
    folder = DemoFolder(path)
    facts, there = folder.facts(), folder.tasks()
    wanted = tuple(tasks) or there
    if missing := sorted(set(wanted) - set(there)):
        raise DemoError(
            f"{path} holds no demonstrations of {', '.join(missing)}: it holds {', '.join(there) or 'none'}"
        )
    if unknown := sorted(set(wanted) - set(PHRASINGS)):
        raise DemoError(f"{path} holds {', '.join(unknown)}, which this vlajs does not know how to ask for")
    if not wanted:
        raise DemoError(f"{path} holds no demonstrations: run `vlajs teacher demos` first")
    pictures: list[bytes] = []
    parts: list[tuple[NDArray, NDArray, NDArray]] = []
    for index, task in enumerate(wanted):
        episodes = 0
        for file in folder.batches(task):
            batch = read_batch(file)
            number = np.unique(batch.episode, return_inverse=True)[1] + episodes
            episodes += batch.episodes
            pictures += batch.pictures
            parts.append((batch.actions, np.full(len(number), index), number % VALIDATION_EPISODES == 0))
        if episodes < 2:
            raise DemoError(f"{path} holds {episodes} episodes of {task}, at least 2 are needed: one is for validation")
    actions, task, validation = (np.concatenate(column) for column in zip(*parts, strict=True))
    scale = np.repeat([facts["reach_m"], facts["reach_rad"]], 3)
    targets = np.concatenate([actions[:, :6] / scale, actions[:, 6:] > 0], axis=1)
    return Demonstrations(
        camera=folder.camera,
        rate_hz=facts["rate_hz"],
        reach_m=facts["reach_m"],
        reach_rad=facts["reach_rad"],
        tasks=wanted,
        pictures=tuple(pictures),
        targets=targets.astype(np.float32),
        task=task.astype(np.int64),
        validation=validation,
    )


@dataclass(frozen=True, kw_only=True)
class TrainingBatch:
    """What one step of training sees.

    Attributes:
        images: (B, H, W, 3) uint8.
        phrases: (B,) which phrase was said, an index into :func:`vlajs_training.mini_vla.phrasings.all_phrasings`.
        targets: (B, 7); zero where the sentence does not fit the picture.
        fits: (B,) whether it does: else the hand's target means nothing.
    """

    images: Tensor
    phrases: NDArray[np.int64]
    targets: Tensor
    fits: Tensor


class BatchSource:
    """Draws batches: pictures with one of their task's phrasings, some with another task's."""

    def __init__(self, demonstrations: Demonstrations, mismatch: float) -> None:
        """``mismatch``: share of pictures that are told another task, to which the right answer is to stay."""
        self._demos, self._mismatch = demonstrations, mismatch
        self._phrases, start = [], 0
        known = list(PHRASINGS)
        for task in known:
            count, held_out = len(PHRASINGS[task].training), len(PHRASINGS[task].held_out)
            self._phrases.append(np.arange(start, start + count))
            start += count + held_out
        self._known_index = np.array([known.index(task) for task in demonstrations.tasks])

    def draw(self, rows: NDArray[np.int64], rng: np.random.Generator) -> TrainingBatch:
        """The batch of these rows (B,), with phrasings drawn at random."""
        meant = self._known_index[self._demos.task[rows]]
        wrong = rng.random(len(rows)) < self._mismatch
        other = (meant + rng.integers(1, len(self._phrases), size=len(rows))) % len(self._phrases)
        said = np.where(wrong, other, meant)
        phrases = np.array([rng.choice(self._phrases[task]) for task in said.tolist()], dtype=np.int64)
        targets = self._demos.targets[rows] * ~wrong[:, None]
        return TrainingBatch(
            images=self._demos.images(rows),
            phrases=phrases,
            targets=torch.from_numpy(targets),
            fits=torch.from_numpy(~wrong),
        )


def shaken(images: Tensor, rng: np.random.Generator) -> Tensor:
    """Pictures (B, H, W, 3) uint8 in other colours: contrast, brightness and each channel a little, and noise."""
    count = len(images)
    gain = torch.from_numpy(
        rng.uniform(0.8, 1.2, size=(count, 1, 1, 1)) * rng.uniform(0.92, 1.08, size=(count, 1, 1, 3))
    )
    offset = torch.from_numpy(rng.uniform(-20.0, 20.0, size=(count, 1, 1, 1)))
    noise = torch.from_numpy(rng.standard_normal(images.shape, dtype=np.float32)) * 4.0
    shaken = (images.float() - 128.0) * gain.float() + 128.0 + offset.float() + noise
    return shaken.round().clamp(0, 255).to(torch.uint8)
