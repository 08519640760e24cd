"""Pictures of boxes before a camera, drawn without a renderer: each face a polygon of one colour, edges smoothed."""

import cv2
import numpy as np

from vlajs_perception.camera import Camera
from vlajs_perception.objects import ObjectModel, box_corners

WIDTH, HEIGHT = 640, 480
SUBPIXEL_BITS = 6
OVERSIZE = 8
"""Drawn this many times as large, then averaged: a face's edge is where it is to a fraction of a pixel. OpenCV fills
half a pixel of the large one too much."""

_FACES = {0: (0, 1, 3, 2), 1: (4, 5, 7, 6), 2: (0, 1, 5, 4), 3: (2, 3, 7, 6), 4: (0, 2, 6, 4), 5: (1, 3, 7, 5)}
"""Corners (see ``box_corners``) of the faces -x, +x, -y, +y, -z, +z, in order round the face."""


def grey(level: int = 90) -> np.ndarray:
    """An even picture, shape (480, 640, 3)."""
    return np.full((HEIGHT, WIDTH, 3), level, dtype=np.uint8)


def noisy(rng: np.random.Generator, level: int = 90, std: float = 4.0) -> np.ndarray:
    """A picture with what a sensor adds."""
    noise = rng.normal(0.0, std, (HEIGHT, WIDTH, 3))
    return np.clip(level + noise, 0, 255).astype(np.uint8)


def drawn(
    model: ObjectModel,
    camera: Camera,
    position_m: np.ndarray,
    rotation: np.ndarray,
    *,
    on: np.ndarray | None = None,
    levels: tuple[int, int, int] = (150, 180, 220),
) -> np.ndarray:
    """A picture with an object in it: faces across x, y and z in the three ``levels`` of grey."""
    background = (grey() if on is None else on).astype(np.float64)
    large = np.zeros((HEIGHT * OVERSIZE, WIDTH * OVERSIZE), dtype=np.uint8)
    corners = camera.project(box_corners(model.half_size_m) @ rotation.T + position_m)
    camera_in_object = (camera.position_in_base_m - position_m) @ rotation
    for face, numbers in _FACES.items():
        axis, sign = divmod(face, 2)
        if (2 * sign - 1) * camera_in_object[axis] <= model.half_size_m[axis]:
            continue  # seen from behind
        # pixel (0, 0) is the middle of the first one: in the large picture that is at (OVERSIZE - 1) / 2
        points = (corners[list(numbers)] + 0.5) * OVERSIZE - 0.5
        points = np.round(points * 2**SUBPIXEL_BITS).astype(np.int32)
        cv2.fillConvexPoly(large, points, (levels[axis],), shift=SUBPIXEL_BITS)
    level, cover = (
        cv2.resize(part.astype(np.float32), (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA)[..., None]
        for part in (large, (large > 0).astype(np.uint8))
    )
    return np.round(background * (1 - cover) + level).astype(np.uint8)
