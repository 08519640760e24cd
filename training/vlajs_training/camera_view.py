"""Where a camera stands and what its pictures are; what reads pictures needs no simulator for that."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vlajs_training.ranges import require_range

Picture = NDArray[np.uint8]
"""(H, W, 3) RGB."""


@dataclass(frozen=True, kw_only=True)
class CameraView:
    """Where a camera stands and what its pictures are, in ``panda_link0``.

    The default is the front camera of the twin: from across the table, in pictures of 4:3.
    """

    position_m: tuple[float, float, float] = (1.245, 0.0, 0.685)
    """Where it stands."""
    at_m: tuple[float, float, float] = (0.66, 0.0, 0.14)
    """Point in the middle of the picture; up is up."""
    fovy_deg: float = 45.0
    """Vertical field of view."""
    width_px: int = 160
    """Columns of a picture, 128 to 256."""
    height_px: int = 120
    """Rows of a picture, 96 to 256."""

    def check(self) -> None:
        """Refuse what is no camera.

        Raises:
            ValueError: naming the parameter, its value and the limit.
        """
        require_range("", vars(self), {"fovy_deg": (5.0, 120.0), "width_px": (128, 256), "height_px": (96, 256)})
        offset = np.subtract(self.at_m, self.position_m)
        if not np.isfinite(offset).all() or np.linalg.norm(offset[:2]) < 0.01:
            raise ValueError(
                f"camera at {self.position_m} looking at {self.at_m}: the two must be finite and differ in x or y"
            )

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}

    @staticmethod
    def from_dict(data: object) -> "CameraView":
        """Inverse of :meth:`to_dict`.

        Raises:
            ValueError: something else; the message says what.
        """
        expected = CameraView().to_dict()
        if not isinstance(data, Mapping) or set(data) != set(expected):
            raise ValueError(f"the camera is {data!r}, expected the keys {', '.join(expected)}")
        for key, like in expected.items():
            if not _is_like(data[key], like):
                raise ValueError(f"the camera's {key} is {data[key]!r}, expected {like!r} or the like")
        values: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in data.items()
        }
        camera = CameraView(**values)
        camera.check()
        return camera


def _is_like(value: object, like: object) -> bool:
    """Whether a value is of the same kind, and for lists of the same length; whole numbers are floats too."""
    if isinstance(like, list):
        return isinstance(value, list) and len(value) == len(like) and all(map(_is_like, value, like))
    kind = int if isinstance(like, int) else (int, float)
    return isinstance(value, kind) and not isinstance(value, bool)


def maniskill_camera(task: str) -> CameraView:
    """ManiSkill 3.0.1's camera for people in a task, at 256 x 256: weights fine-tuned on its demonstrations know it."""
    places = {
        "poke_cube": ((1.215, 0.7, 0.6), (0.815, 0.2, 0.35)),
        "peg_insertion_side": ((1.115, -0.5, 0.8), (0.665, -0.1, 0.4)),
    }
    position_m, at_m = places.get(task, ((1.215, 0.7, 0.6), (0.615, 0.0, 0.35)))
    return CameraView(position_m=position_m, at_m=at_m, fovy_deg=57.3, width_px=256, height_px=256)
