"""A VLA of a few lines behind our own server, as a process: it moves the tool ahead, or fails as a file tells it to.

Run as ``python -m tests.support.moving_vla PORT MOOD_FILE [name]``. The file holds a word: ``move`` (each action is
5 mm along x), ``slow`` (the same, but not before the file holds another word: a busy machine makes the arm's seconds
long), ``nan``, ``still``; it is read at every question.
"""

import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from vlajs.vla.convention import Convention
from vlajs.vla.serving.config import ServerConfig
from vlajs.vla.serving.server import VlaServer

STEP_M = 0.005
CHUNK = 4
RATE_HZ = 20.0
LATEST_S = 120.0


class MovingModel:
    """Four actions an answer, gripper open; the picture's mean enters by less than a micrometre."""

    convention = Convention(rate_hz=RATE_HZ, image_size=(48, 48))
    action_horizon = CHUNK

    def __init__(self, mood: Path, name: str = "moving") -> None:
        self.name, self._mood = name, mood

    def act(self, images: np.ndarray, instructions: Sequence[str]) -> np.ndarray:
        mood = self._mood.read_text().strip()
        actions = np.zeros((len(images), CHUNK, 7))
        actions[:, :, 6] = 1.0
        actions[:, :, 2] = images.mean(axis=(1, 2, 3))[:, None] * 1e-9
        if mood in ("move", "slow"):
            actions[:, :, 0] = STEP_M
        if mood == "nan":
            actions[0, 1, 0] = np.nan
        deadline_s = time.monotonic() + LATEST_S
        while self._mood.read_text().strip() == mood == "slow" and time.monotonic() < deadline_s:
            time.sleep(0.05)
        return actions


def main() -> None:
    """Serve until killed."""
    port, mood, *name = sys.argv[1:]
    VlaServer(lambda: MovingModel(Path(mood), *name), ServerConfig(port=int(port), request_timeout_s=LATEST_S)).run()


if __name__ == "__main__":
    main()
