"""Demonstrations and models of mini-VLA that need no renderer: pictures drawn by hand."""

from pathlib import Path
from typing import Any

import numpy as np

from vlajs_training.mini_vla.demo_folder import FORMAT, Batch, DemoFolder, encode_picture
from vlajs_training.mini_vla.network import NetworkConfig
from vlajs_training.mini_vla.phrasings import all_phrasings
from vlajs_training.mini_vla.train import TrainMiniVlaConfig
from vlajs_training.rendered_view import CameraView

CAMERA = CameraView(width_px=128, height_px=96)
TINY = NetworkConfig(
    stem_channels=8,
    fine_channels=8,
    coarse_channels=16,
    coarse_blocks=1,
    keypoints=4,
    condition=16,
    region_channels=4,
    hidden=32,
)
FACTS: dict[str, Any] = {
    "format": FORMAT,
    "camera": CAMERA.to_dict(),
    "rate_hz": 5.0,
    "reach_m": 0.06,
    "reach_rad": 0.2,
    "seed": 1,
    "envs": 4,
    "randomise_look": False,
    "disturb": 0.0,
    "jpeg_quality": 95,
    "made_with": {},
}


def picture(x: float, y: float) -> np.ndarray:
    """A blue square on grey; x to the right and y down, both from 0 to 1."""
    image = np.full((CAMERA.height_px, CAMERA.width_px, 3), 110, dtype=np.uint8)
    column, row = round(12 + x * (CAMERA.width_px - 36)), round(12 + y * (CAMERA.height_px - 36))
    image[row : row + 12, column : column + 12] = (20, 40, 230)
    return image


def phrase_rows() -> np.ndarray:
    """Embeddings of all phrases that need no encoder: random, and the same for one task's phrases but for a tenth."""
    rng = np.random.default_rng(0)
    centres = {}
    rows = []
    from vlajs_training.mini_vla.phrasings import PHRASINGS

    for task, known in PHRASINGS.items():
        centres[task] = rng.normal(size=384)
        rows += [centres[task] + 0.1 * rng.normal(size=384) for _ in (*known.training, *known.held_out)]
    matrix = np.array(rows) / np.linalg.norm(rows, axis=1, keepdims=True)
    assert len(matrix) == len(all_phrasings())
    return matrix.astype(np.float32)


def write_demos(path: Path, *, episodes: int = 6, length: int = 6) -> DemoFolder:
    """Two tasks on the same pictures: push_cube moves along +x with the hand closed, pick_cube the other way, open."""
    folder = DemoFolder(path)
    folder.begin(FACTS)
    rng = np.random.default_rng(3)
    for task, sign in (("push_cube", 1.0), ("pick_cube", -1.0)):
        for number in range(2):
            pictures = tuple(encode_picture(picture(*rng.random(2))) for _ in range(episodes // 2 * length))
            actions = np.tile([0.05 * sign, 0.0, 0.0, 0.0, 0.0, 0.1 * sign, -sign], (len(pictures), 1))
            episode = np.repeat(np.arange(episodes // 2), length)
            folder.write(task, number, Batch(pictures=pictures, actions=actions, episode=episode))
    return folder


def tiny_config(demos: Path, folder: Path, **changes: Any) -> TrainMiniVlaConfig:
    """A training of seconds."""
    settings: dict[str, Any] = {
        "demos": demos,
        "folder": folder,
        "epochs": 2,
        "epoch_images": 64,
        "batch": 16,
        "learning_rate": 5e-3,
        "average": 0.5,
        "mismatch": 0.0,
        "threads": 1,
        "network": TINY,
    }
    return TrainMiniVlaConfig(**{**settings, **changes})
