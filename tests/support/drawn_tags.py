"""Pictures of tags on a table, drawn from nothing but a camera and where the tags lie."""

from collections.abc import Iterable
from functools import lru_cache

import cv2
import numpy as np

from vlajs_perception.calibration.board import AprilTag
from vlajs_perception.camera import Camera
from vlajs_perception.table_tags import FAMILY, TableTag, TableTags

MODULE_PX = 16
FINER = 4
"""Drawn so many times larger, then averaged: edges fall between pixels as a lens lets them."""
TABLE_GREY = 130
BLACK, WHITE = 10, 240
"""Of print, grey levels; those of ``seen_by_colour`` are no print's."""

# seen by tests.support.seen_episode.CAMERA; each turned otherwise
TAGS = TableTags(
    tags=tuple(
        TableTag(tag_id=number, size_m=0.08, position_m=(x, y, 0.0), yaw_rad=yaw)
        for number, (x, y, yaw) in enumerate([(0.4, 0.3, 1.6), (0.4, -0.3, 0.2), (0.8, 0.25, -2.0), (0.8, -0.25, 3.0)])
    )
)


def draw_tags(picture: np.ndarray, tags: Iterable[TableTag], camera: Camera) -> np.ndarray:
    """The picture (H, W, 3) RGB with the tags in it."""
    pose = camera.camera_in_base.tobytes()
    white, share = _layer(tuple(tags), camera.matrix.tobytes(), pose, (picture.shape[1], picture.shape[0]))
    return np.round((1 - share) * picture + BLACK * share + (WHITE - BLACK) * white).astype(np.uint8)


@lru_cache(maxsize=16)  # a camera that stands is asked for picture after picture
def _layer(
    tags: tuple[TableTag, ...], matrix: bytes, pose: bytes, size_px: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """How white the tags are and how much of each pixel they cover, shape (H, W, 1) in [0, 1] each."""
    camera = Camera(matrix=np.frombuffer(matrix).reshape(3, 3), camera_in_base=np.frombuffer(pose).reshape(4, 4))
    white, covered = np.zeros((2, size_px[1], size_px[0], 1))
    for tag in tags:
        face = AprilTag(size_m=tag.size_m, tag_id=tag.tag_id, family=FAMILY).face(MODULE_PX)
        sheet = cv2.copyMakeBorder(face, *(MODULE_PX,) * 4, cv2.BORDER_CONSTANT, value=(255,))
        # of the black square in the sheet: its edges lie between pixels, half a pixel before the first one's middle
        low, high = MODULE_PX - 0.5, MODULE_PX + len(face) - 0.5
        square = np.array([[low, low], [high, low], [high, high], [low, high]], dtype=np.float32)
        # middle of pixel u of the picture is that of pixels FINER * u ... FINER * u + FINER - 1 of the larger one
        pixels = camera.project(tag.corners_in_base_m) * FINER + (FINER - 1) / 2
        onto = cv2.getPerspectiveTransform(square, pixels.astype(np.float32))
        # nearest: no pixel of the sheet may fade into what is around it
        for layer, image in ((white, sheet), (covered, np.full_like(sheet, 255))):
            fine = cv2.warpPerspective(image, onto, (size_px[0] * FINER, size_px[1] * FINER), flags=cv2.INTER_NEAREST)
            layer += cv2.resize(fine.astype(np.float32), size_px, interpolation=cv2.INTER_AREA)[..., None] / 255
    return white, covered


def table_with(tags: Iterable[TableTag], camera: Camera, size_px: tuple[int, int], *, seed: int = 0) -> np.ndarray:
    """Nothing but the tags on a grey table, with a little noise."""
    picture = draw_tags(np.full((size_px[1], size_px[0], 3), TABLE_GREY, np.uint8), tags, camera)
    noise = np.random.default_rng(seed).normal(0.0, 2.0, picture.shape)
    return np.clip(picture + noise, 0, 255).astype(np.uint8)
