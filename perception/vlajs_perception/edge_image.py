"""A part of a picture in which edges are looked for, along lines."""

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from vlajs_perception.rigid import FloatArray

_MARGIN_PX = 2.0
"""Nearer to the picture's edge nothing tells a step from the end of the picture."""


class EdgeImage:
    """The surroundings of a box, smoothed; pixels are counted as in the whole picture."""

    def __init__(self, image_rgb: NDArray[np.uint8], box_px: ArrayLike, *, around_px: int, blur_px: float) -> None:
        """Cut out and smooth.

        Args:
            image_rgb: shape (H, W, 3), rectified.
            box_px: shape (4,), left, top, right, bottom.
            around_px: how much to take besides, to each side.
            blur_px: standard deviation of the smoothing.
        """
        self._limit = np.array(image_rgb.shape[1::-1]) - 1 - _MARGIN_PX
        box = np.asarray(box_px, dtype=np.float64)
        corner = np.clip(np.floor(box[:2]) - around_px, 0, self._limit).astype(int)
        end = np.clip(np.ceil(box[2:]) + around_px + 1, corner + 1, np.array(image_rgb.shape[1::-1])).astype(int)
        self._corner_px = corner
        part = np.ascontiguousarray(image_rgb[corner[1] : end[1], corner[0] : end[0]])
        self._smooth = cv2.GaussianBlur(part, (0, 0), blur_px).astype(np.float32)

    def holds(self, pixels: FloatArray) -> NDArray[np.bool_]:
        """Which pixels (n, 2) are inside the whole picture, shape (n,)."""
        return np.all((pixels >= _MARGIN_PX) & (pixels <= self._limit), axis=1)

    def edges_near(self, pixels: FloatArray, normals: FloatArray, reach_px: int) -> tuple[FloatArray, FloatArray]:
        """The steep and near place along a line through each pixel.

        Args:
            pixels: shape (n, 2), the middles of the lines.
            normals: shape (n, 2), their unit directions.
            reach_px: how far they go to both sides.

        Returns:
            How far along the line it is (px, of either sign), and how steep it is (grey levels a pixel, of the three
            channels together: edges between colours of one brightness count), shape (n,) each.
        """
        along = np.arange(-reach_px - 2, reach_px + 3)
        at = (pixels[:, None] + along[:, None] * normals[:, None] - self._corner_px).astype(np.float32)
        values = cv2.remap(self._smooth, at[..., 0], at[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        steepness = np.linalg.norm((values[:, 2:] - values[:, :-2]).astype(np.float64) / 2, axis=-1)
        return _nearest_top(steepness, along[2:-2])


def _nearest_top(steepness: FloatArray, along: NDArray[np.int_]) -> tuple[FloatArray, FloatArray]:
    """The top of each row, shape (n, m + 2), that is high and near the middle of ``along``, shape (m,); and how high.

    A row that has none is 0 high.
    """
    before, here, after = steepness[:, :-2], steepness[:, 1:-1], steepness[:, 2:]
    top = (here >= before) & (here > after)
    # of two tops alike the nearer one: at the end of a row one must be 7 times as high
    best = (here * top * np.exp(-2 * (along / along[-1]) ** 2)).argmax(axis=1)
    rows = np.arange(len(best))
    before, here, after, top = (values[rows, best] for values in (before, here, after, top))
    # the parabola through a top and its neighbours
    between = (before - after) / 2 / np.where(top, before - 2 * here + after, -1.0)
    offsets_px = along[best] + np.where(top, between, 0.0)
    return np.asarray(offsets_px, dtype=np.float64), np.asarray(np.where(top, here, 0.0), dtype=np.float64)
