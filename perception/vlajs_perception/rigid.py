"""Rigid motions as (4, 4) transforms and rotation matrices: the few functions that fits and tracker share.

``b_in_a`` maps coordinates of frame b to frame a. Quaternions are ``wxyz`` with w >= 0. A small rotation is a vector in
the axes of the base, applied on the left: ``exp(v) @ rotation``.
"""

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial.transform import Rotation

FloatArray = NDArray[np.float64]


class TransformError(ValueError):
    """Numbers that are no rigid motion."""


def exp(rotvec_rad: ArrayLike) -> FloatArray:
    """Rotation matrix, shape (3, 3), of a rotation vector of shape (3,)."""
    return np.asarray(cv2.Rodrigues(np.asarray(rotvec_rad, dtype=np.float64))[0], dtype=np.float64)


def log(rotation: ArrayLike) -> FloatArray:
    """Rotation vectors in radians, shape (..., 3), norm at most pi, of matrices of shape (..., 3, 3)."""
    return np.asarray(Rotation.from_matrix(np.asarray(rotation, dtype=np.float64)).as_rotvec(), dtype=np.float64)


def matrix_of(quat_wxyz: ArrayLike) -> FloatArray:
    """Rotation matrices, shape (..., 3, 3), of quaternions of shape (..., 4)."""
    quat = np.asarray(quat_wxyz, dtype=np.float64)
    return np.asarray(Rotation.from_quat(quat, scalar_first=True).as_matrix(), dtype=np.float64)


def quat_of(rotation: ArrayLike) -> FloatArray:
    """Quaternions ``wxyz`` with w >= 0, shape (..., 4), of rotation matrices of shape (..., 3, 3)."""
    turn = Rotation.from_matrix(np.asarray(rotation, dtype=np.float64))
    return np.asarray(turn.as_quat(canonical=True, scalar_first=True), dtype=np.float64)


def skew(vectors: ArrayLike) -> FloatArray:
    """Matrices, shape (..., 3, 3), whose product with ``w`` is the cross product of the vectors (..., 3) and ``w``."""
    x, y, z = np.moveaxis(np.asarray(vectors, dtype=np.float64), -1, 0)
    zero = np.zeros_like(x)
    rows = ([zero, -z, y], [z, zero, -x], [-y, x, zero])
    return np.stack([np.stack(row, axis=-1) for row in rows], axis=-2)


def transform(position_m: ArrayLike, rotation: ArrayLike) -> FloatArray:
    """Shape (4, 4), of a position (3,) and a rotation matrix (3, 3)."""
    result = np.eye(4)
    result[:3, :3], result[:3, 3] = rotation, position_m
    return result


def inverse(b_in_a: FloatArray) -> FloatArray:
    """``a_in_b`` of poses of shape (..., 4, 4)."""
    back = np.zeros_like(b_in_a)
    turn = np.swapaxes(b_in_a[..., :3, :3], -1, -2)
    back[..., :3, :3], back[..., :3, 3:], back[..., 3, 3] = turn, -turn @ b_in_a[..., :3, 3:], 1.0
    return back


def checked_transform(value: ArrayLike, name: str) -> FloatArray:
    """``value`` as a (4, 4) array of its own.

    Raises:
        TransformError: wrong shape, a number that is not finite, or no rigid motion.
    """
    result = np.array(value, dtype=np.float64)
    if result.shape != (4, 4) or not np.all(np.isfinite(result)):
        raise TransformError(f"{name} must be (4, 4) finite numbers, not shape {result.shape}: {result.tolist()}")
    turn = result[:3, :3]
    off = float(np.max(np.abs(turn @ turn.T - np.eye(3))))
    if off > 1e-6 or np.linalg.det(turn) < 0 or not np.array_equal(result[3], [0.0, 0.0, 0.0, 1.0]):
        raise TransformError(
            f"{name} is no rigid motion: its rotation is off orthonormal by {off:.1e} (limit 1e-6) with determinant "
            f"{np.linalg.det(turn):.3f} (must be +1), its last row is {result[3].tolist()} (must be 0 0 0 1): often "
            "rounded numbers or a transposed matrix"
        )
    return result
