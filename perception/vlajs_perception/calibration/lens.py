"""What a lens does: from points before the camera to pixels of the image as taken, and to those of a rectified one."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from vlajs_perception.calibration.errors import CalibrationError

FloatArray = NDArray[np.float64]

PARAMETERS = ("fx", "fy", "cx", "cy", "k1", "k2", "p1", "p2", "k3")
"""The numbers of a lens, in the order of its vector: pixels, then OpenCV's radial and tangential distortion."""

MIN_DEPTH_M = 1e-6
"""Points nearer to the camera's own plane than this have no pixel."""

NO_PIXEL = 1e6
"""The pixel coordinate of a point that has none."""


@dataclass(frozen=True, kw_only=True)
class Lens:
    """Intrinsics of an image as the camera takes it.

    Attributes:
        matrix: shape (3, 3), ``[[fx, 0, cx], [0, fy, cy], [0, 0, 1]]`` in pixels; (0, 0) is the first pixel's centre.
        distortion: shape (5,), OpenCV's k1, k2, p1, p2, k3.
        image_size: width and height in pixels.

    Raises:
        CalibrationError: wrong shapes, numbers that are not finite, skew, or no positive focal length.
    """

    matrix: FloatArray
    distortion: FloatArray
    image_size: tuple[int, int]

    def __post_init__(self) -> None:
        for name, shape in (("matrix", (3, 3)), ("distortion", (5,))):
            value = np.array(getattr(self, name), dtype=np.float64)
            if value.shape != shape or not np.all(np.isfinite(value)):
                raise CalibrationError(
                    f"{name} of the lens must be {shape} finite numbers, not shape {value.shape}: {value.tolist()}; "
                    "take them from camera_info or let the calibration estimate them"
                )
            value.flags.writeable = False
            object.__setattr__(self, name, value)
        expected = np.array([[self.matrix[0, 0], 0, self.matrix[0, 2]], [0, self.matrix[1, 1], self.matrix[1, 2]]])
        if not np.array_equal(self.matrix, [*expected, [0, 0, 1]]) or np.min(np.diag(self.matrix)) <= 0:
            raise CalibrationError(
                f"matrix of the lens must be [[fx, 0, cx], [0, fy, cy], [0, 0, 1]] with fx, fy > 0, not "
                f"{self.matrix.tolist()}: it is transposed, has skew, or was never calibrated"
            )
        if len(self.image_size) != 2 or min(self.image_size) < 1:
            raise CalibrationError(f"image_size is {self.image_size}, must be (width, height) in pixels")
        object.__setattr__(self, "image_size", (int(self.image_size[0]), int(self.image_size[1])))

    @property
    def vector(self) -> FloatArray:
        """The numbers of :data:`PARAMETERS`, shape (9,)."""
        matrix = self.matrix
        return np.concatenate([[matrix[0, 0], matrix[1, 1], matrix[0, 2], matrix[1, 2]], self.distortion])

    def with_vector(self, vector: FloatArray) -> "Lens":
        """Another lens for the same image size from the numbers (9,) of :data:`PARAMETERS`."""
        fx, fy, cx, cy = vector[:4]
        matrix = np.array([[fx, 0.0, cx], [0.0, fy, cy], [0.0, 0.0, 1.0]])
        return Lens(matrix=matrix, distortion=vector[4:], image_size=self.image_size)

    def project(self, points_in_camera_m: FloatArray) -> FloatArray:
        """Pixels (N, 2) of the image as taken for points (N, 3) in the camera; :data:`NO_PIXEL` behind it."""
        return self.project_with_derivatives(points_in_camera_m)[0]

    def project_with_derivatives(self, points_in_camera_m: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Pixels (N, 2), their derivatives by the points (N, 2, 3) and by :data:`PARAMETERS` (N, 2, 9)."""
        fx, fy, cx, cy, k1, k2, p1, p2, k3 = self.vector
        behind = points_in_camera_m[:, 2] < MIN_DEPTH_M
        depth = np.where(behind, 1.0, points_in_camera_m[:, 2])
        x, y = points_in_camera_m[:, 0] / depth, points_in_camera_m[:, 1] / depth
        r2 = x * x + y * y
        radial = 1 + r2 * (k1 + r2 * (k2 + r2 * k3))
        growth = k1 + r2 * (2 * k2 + r2 * 3 * k3)
        bent_x = x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x * x)
        bent_y = y * radial + p1 * (r2 + 2 * y * y) + 2 * p2 * x * y
        pixels = np.stack([fx * bent_x + cx, fy * bent_y + cy], axis=-1)

        bent_x_by_x = radial + 2 * x * x * growth + 2 * p1 * y + 6 * p2 * x
        crossed = 2 * x * y * growth + 2 * p1 * x + 2 * p2 * y
        bent_y_by_y = radial + 2 * y * y * growth + 6 * p1 * y + 2 * p2 * x
        u = np.stack([bent_x_by_x, crossed, -(bent_x_by_x * x + crossed * y)], axis=-1)
        v = np.stack([crossed, bent_y_by_y, -(crossed * x + bent_y_by_y * y)], axis=-1)
        by_point = np.stack([fx * u, fy * v], axis=1) / depth[:, None, None]

        zero, one = np.zeros_like(x), np.ones_like(x)
        u = [
            bent_x,
            zero,
            one,
            zero,
            fx * x * r2,
            fx * x * r2**2,
            fx * 2 * x * y,
            fx * (r2 + 2 * x * x),
            fx * x * r2**3,
        ]
        v = [
            zero,
            bent_y,
            zero,
            one,
            fy * y * r2,
            fy * y * r2**2,
            fy * (r2 + 2 * y * y),
            fy * 2 * x * y,
            fy * y * r2**3,
        ]
        by_lens = np.stack([np.stack(u, axis=-1), np.stack(v, axis=-1)], axis=1)

        pixels[behind], by_point[behind], by_lens[behind] = NO_PIXEL, 0.0, 0.0
        return pixels, by_point, by_lens

    def rectify(self, pixels: ArrayLike) -> FloatArray:
        """Where pixels (N, 2) of the image as taken lie in the rectified one, which has the same matrix."""
        pixels = np.asarray(pixels, dtype=np.float64).reshape(-1, 1, 2)
        exact = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 50, 1e-12)
        undistorted = cv2.undistortPoints(pixels, self.matrix, self.distortion, P=self.matrix, criteria=exact)
        return np.asarray(undistorted, dtype=np.float64).reshape(-1, 2)
