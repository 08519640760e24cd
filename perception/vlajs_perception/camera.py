"""The pinhole camera: from points in the robot base to pixels, and from pixels back to a plane of known height.

Frames: ``base`` is ``panda_link0`` (z up, metres). ``camera`` is the optical frame: x right, y down, z forward. Pixels
are (u, v) with (0, 0) at the centre of the first pixel, as OpenCV has it. Lens distortion is not modelled: rectify the
image or the pixels first. Every function takes one item or a batch (leading axes).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float64]

MIN_DEPTH_M = 1e-6
"""Points nearer to the camera's own plane than this have no pixel."""

MIN_SLOPE = 1e-9
"""Rays that change height by less than this per metre meet no horizontal plane."""


class CameraError(ValueError):
    """A camera that cannot be, or a point or pixel that it cannot relate to the scene."""


@dataclass(frozen=True, kw_only=True)
class Camera:
    """A rectified camera at a known pose.

    Attributes:
        matrix: shape (3, 3), the intrinsics in pixels: ``[[fx, skew, cx], [0, fy, cy], [0, 0, 1]]``.
        camera_in_base: shape (4, 4), pose of the optical frame in ``panda_link0``; maps camera to base coordinates.

    Raises:
        CameraError: wrong shape, a number that is not finite, a focal length that is not positive, or a pose whose
            rotation is none.
    """

    matrix: FloatArray
    camera_in_base: FloatArray

    def __post_init__(self) -> None:
        for name, shape in (("matrix", (3, 3)), ("camera_in_base", (4, 4))):
            value = np.array(getattr(self, name), dtype=np.float64)
            if value.shape != shape or not np.all(np.isfinite(value)):
                raise CameraError(f"{name} must be {shape} finite numbers, not shape {value.shape}: {value.tolist()}")
            value.flags.writeable = False
            object.__setattr__(self, name, value)
        _check_matrix(self.matrix)
        _check_pose(self.camera_in_base)

    @property
    def position_in_base_m(self) -> FloatArray:
        """The optical centre, shape (3,)."""
        return self.camera_in_base[:3, 3]

    def project(self, points_in_base_m: ArrayLike) -> FloatArray:
        """Pixels, shape (..., 2), of points of shape (..., 3); they may lie outside the image.

        Raises:
            CameraError: a point lies behind the camera or in its own plane.
        """
        points = _finite(points_in_base_m, 3, "points_in_base_m")
        in_camera = (points - self.position_in_base_m) @ self.camera_in_base[:3, :3]
        depth_m = in_camera[..., 2:]
        if np.any(depth_m < MIN_DEPTH_M):
            worst = np.unravel_index(int(np.argmin(depth_m[..., 0])), depth_m.shape[:-1])
            raise CameraError(
                f"point {points[worst].tolist()} m is {float(depth_m[worst][0]):.4f} m before the camera, at least "
                f"{MIN_DEPTH_M} m are needed: it is behind the camera, or camera_in_base is the inverse of the pose"
            )
        homogeneous = (in_camera / depth_m) @ self.matrix.T
        return homogeneous[..., :2]

    def ray(self, pixels: ArrayLike) -> FloatArray:
        """Unit directions in ``panda_link0``, shape (..., 3), from the optical centre through pixels (..., 2)."""
        uv = _finite(pixels, 2, "pixels")
        homogeneous = np.concatenate([uv, np.ones((*uv.shape[:-1], 1))], axis=-1)
        in_camera = homogeneous @ np.linalg.inv(self.matrix).T
        in_base = in_camera @ self.camera_in_base[:3, :3].T
        return in_base / np.linalg.norm(in_base, axis=-1, keepdims=True)

    def on_plane(self, pixels: ArrayLike, height_m: float) -> FloatArray:
        """Where the rays through pixels (..., 2) meet the plane ``z = height_m`` of ``panda_link0``, shape (..., 3).

        Raises:
            CameraError: a ray runs parallel to the plane, or away from it (above the horizon, or the plane is behind).
        """
        if not np.isfinite(height_m):
            raise CameraError(f"height_m is {height_m}: give the height of the plane over panda_link0 in metres")
        directions = self.ray(pixels)
        slope = directions[..., 2:]
        if np.any(np.abs(slope) < MIN_SLOPE):
            raise CameraError(
                f"pixel {_first(pixels, np.abs(slope) < MIN_SLOPE)} looks along the plane z = {height_m} m and never "
                "meets it: the pixel lies on the horizon; only use pixels of things that stand on the plane"
            )
        distance_m = (height_m - self.position_in_base_m[2]) / slope
        if np.any(distance_m <= 0):
            raise CameraError(
                f"pixel {_first(pixels, distance_m <= 0)} looks away from the plane z = {height_m} m (the camera is at "
                f"z = {self.position_in_base_m[2]:.4f} m): it lies above the horizon, or camera_in_base is wrong"
            )
        points = self.position_in_base_m + distance_m * directions
        points[..., 2] = height_m
        return points


def _finite(values: ArrayLike, size: int, name: str) -> FloatArray:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim == 0 or array.shape[-1] != size:
        raise CameraError(f"{name} has shape {array.shape}, the last axis must be {size}")
    if not np.all(np.isfinite(array)):
        raise CameraError(f"{name} holds a number that is not finite: {array.tolist()}")
    return array


def _first(pixels: ArrayLike, wrong: NDArray[np.bool_]) -> list[float]:
    """The first pixel for which ``wrong`` (..., 1) holds."""
    uv = np.asarray(pixels, dtype=np.float64)
    return uv[wrong[..., 0]][0].tolist() if uv.ndim > 1 else uv.tolist()


def _check_matrix(matrix: FloatArray) -> None:
    if matrix[0, 0] <= 0 or matrix[1, 1] <= 0:
        raise CameraError(f"focal lengths are {matrix[0, 0]} and {matrix[1, 1]} px, both must be positive: calibrate")
    if matrix[1, 0] != 0 or not np.array_equal(matrix[2], [0.0, 0.0, 1.0]):
        raise CameraError(f"matrix must be [[fx, skew, cx], [0, fy, cy], [0, 0, 1]], not {matrix.tolist()}")


def _check_pose(pose: FloatArray) -> None:
    turn = pose[:3, :3]
    off = float(np.max(np.abs(turn @ turn.T - np.eye(3))))
    if off > 1e-6 or np.linalg.det(turn) < 0:
        raise CameraError(
            f"the rotation of camera_in_base is off orthonormal by {off:.1e} (limit 1e-6) with determinant "
            f"{np.linalg.det(turn):.3f} (must be +1): a mirrored or unnormalised pose, often from rounded numbers"
        )
    if not np.array_equal(pose[3], [0.0, 0.0, 0.0, 1.0]):
        raise CameraError(f"the last row of camera_in_base must be 0 0 0 1, not {pose[3].tolist()}")
