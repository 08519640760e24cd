"""One tiny detector for all tests here: the real command, one epoch, a dozen rendered pictures of 160 px."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import PIL.Image
import pytest
import torch

from vlajs_perception.detection import commands
from vlajs_perception.rendering.dataset import DatasetSettings, render_dataset
from vlajs_perception.rendering.scene import Ranges

SIZE = {"width_px": 160, "height_px": 120}
NEAR = Ranges(present=(1.0, 0.5, 0.0, 0.5), arm=0.0, camera_distance_m=(0.55, 0.6), cube_half_size_m=(0.03, 0.03))


@dataclass(frozen=True, kw_only=True)
class Trained:
    """What the command left behind."""

    data: Path
    validation: Path
    file: Path
    words: list[str]


# Read when tests are collected: a detector that all modules share is trained before any fixture of theirs.
_OPENED, _SAVED = PIL.Image.open, torch.save
_PRINTED, _THREADS = np.get_printoptions(), cv2.getNumThreads()
_VARIABLES = set(os.environ)


@pytest.fixture(scope="module", autouse=True)
def _process_as_before() -> Iterator[None]:
    """Undo what importing Ultralytics does to the process, in which the tests after these run, too.

    It replaces Pillow's ``open`` and torch's ``save``, sets how numpy and torch print, and OpenCV's number of threads.
    """
    yield
    for name in os.environ.keys() - _VARIABLES:
        if name.startswith("YOLO_"):
            del os.environ[name]
    PIL.Image.open, torch.save = _OPENED, _SAVED
    np.set_printoptions(**_PRINTED)
    torch.set_printoptions(profile="default")
    cv2.setNumThreads(_THREADS)


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two folders, of 8 and 4 pictures."""
    root = tmp_path_factory.mktemp("pictures")
    for name, seed, images in (("data", 1, 8), ("validation", 2, 4)):
        render_dataset(root / name, DatasetSettings(seed=seed, ranges=NEAR, **SIZE), images)
    return root / "data", root / "validation"


@pytest.fixture(scope="session")
def trained(pictures: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Trained:
    data, validation = pictures
    file = tmp_path_factory.mktemp("detector") / "tiny.onnx"
    words = [str(data), "--validation", str(validation), "--output", str(file)]
    words += ["--epochs", "1", "--image-size", "160", "--batch", "4", "--threads", "1"]
    assert commands.train(words) == 0
    return Trained(data=data, validation=validation, file=file, words=words)
