"""Between a picture and a network's input: scaled to fit, with grey borders up to a multiple of its stride."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from vlajs_perception.detection.model_file import STRIDE_PX

_GREY = 114


@dataclass(frozen=True, kw_only=True)
class Letterbox:
    """How pictures of one size are put into an input.

    Coordinates in the input count from the edge of its first pixel, those in the picture from the middle of its first
    pixel: half a pixel is between them.

    Attributes:
        picture_shape: height and width of the pictures.
        scaled_shape: height and width they are scaled to.
        input_shape: height and width of the input.
        left: width of the border on the left.
        top: height of the border above.
    """

    picture_shape: tuple[int, int]
    scaled_shape: tuple[int, int]
    input_shape: tuple[int, int]
    left: int
    top: int

    @classmethod
    def fit(cls, picture_shape: tuple[int, int], longer_side_px: int) -> "Letterbox":
        """The smallest input that holds a picture whose longer side is scaled to ``longer_side_px``."""
        scale = longer_side_px / max(picture_shape)
        height, width = (max(round(side * scale), 1) for side in picture_shape)
        spare_y, spare_x = -height % STRIDE_PX, -width % STRIDE_PX
        return cls(
            picture_shape=picture_shape,
            scaled_shape=(height, width),
            input_shape=(height + spare_y, width + spare_x),
            left=spare_x // 2,
            top=spare_y // 2,
        )

    def batch_of(self, image_rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
        """The input (1, 3, H, W) in [0, 1] of a picture (H, W, 3)."""
        height, width = self.scaled_shape
        scaled = image_rgb
        if self.scaled_shape != self.picture_shape:
            scaled = cv2.resize(image_rgb, (width, height), interpolation=cv2.INTER_LINEAR)
        filled = np.full((*self.input_shape, 3), _GREY, np.uint8)
        filled[self.top : self.top + height, self.left : self.left + width] = scaled
        return np.ascontiguousarray(filled.transpose(2, 0, 1)[None], dtype=np.float32) / np.float32(255.0)

    def to_picture(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Pixels of the picture, shape (..., 2), of points of the input, shape (..., 2)."""
        ratio = np.array(self.scaled_shape[::-1]) / self.picture_shape[::-1]
        return (points - [self.left, self.top]) / ratio - 0.5
