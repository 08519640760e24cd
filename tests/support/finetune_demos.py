"""Demonstrations whose actions follow from picture and task: pictures drawn by hand; no simulator is imported."""

from pathlib import Path

import numpy as np

from vlajs_training.camera_view import CameraView
from vlajs_training.mini_vla.demo_folder import FORMAT, Batch, DemoFolder, encode_picture

CAMERA = CameraView(width_px=128, height_px=96)
FACTS = {
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
Y_OF_COLOUR_M = {"blue": -0.04, "red": 0.02}
"""Of the square; how far the tool moves along y."""
RGB = {"blue": (20, 40, 230), "red": (230, 30, 20)}


def picture(colour: str, x: float = 0.5) -> np.ndarray:
    """A square on grey; x to the right, from 0 to 1."""
    image = np.full((CAMERA.height_px, CAMERA.width_px, 3), 110, dtype=np.uint8)
    column = round(x * (CAMERA.width_px - 72))
    image[12:84, column : column + 72] = RGB[colour]
    return image


def action_of(task: str, colour: str) -> list[float]:
    """Pushing moves along +x with the hand closed, picking along -x and turns, with the hand open."""
    push = task == "push_cube"
    x_m, turn_rad, hand = (0.05, 0.0, -1.0) if push else (-0.05, 0.1, 1.0)
    return [x_m, Y_OF_COLOUR_M[colour], 0.0, 0.0, 0.0, turn_rad, hand]


def write_moving_demos(path: Path, *, episodes: int = 10, length: int = 4) -> DemoFolder:
    """Two tasks of so many episodes, two to a batch; in each episode the square has one of two colours."""
    folder = DemoFolder(path)
    folder.begin(FACTS)
    rng = np.random.default_rng(5)
    for task in ("pick_cube", "push_cube"):
        for number in range(episodes // 2):
            colours = np.repeat(list(RGB), length).tolist()
            pictures = tuple(encode_picture(picture(colour, rng.random())) for colour in colours)
            actions = np.array([action_of(task, colour) for colour in colours], dtype=np.float32)
            folder.write(task, number, Batch(pictures=pictures, actions=actions, episode=np.repeat([0, 1], length)))
    return folder
