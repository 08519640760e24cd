"""Rigid-body geometry on numpy arrays: the lowest layer, imported by everything else.

Conventions: quaternions are ``wxyz`` (ManiSkill's and MuJoCo's order; ROS and franky use ``xyzw``, see
:func:`xyzw_from_wxyz`), positions are metres, angles radians. Every function takes a single item or a batch
(leading axes) and never changes its arguments. The work is scipy's; this module fixes order, sign and names.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial.transform import Rotation

FloatArray = NDArray[np.float64]

TOOL_DOWN_WXYZ: FloatArray = np.array([0.0, 1.0, 0.0, 0.0])
"""Orientation of the tool pointing straight down in ``panda_link0``: half a turn about x."""


@dataclass(frozen=True, kw_only=True)
class Pose:
    """A pose in a frame named by the variable that holds it (``tcp_in_base``).

    Attributes:
        position_m: shape (3,).
        quat_wxyz: shape (4,), unit norm.
    """

    position_m: FloatArray
    quat_wxyz: FloatArray

    def is_finite(self) -> bool:
        """Whether every number is finite and the quaternion has unit norm to 1e-3."""
        numbers = np.concatenate([self.position_m, self.quat_wxyz])
        return bool(np.all(np.isfinite(numbers)) and abs(np.linalg.norm(self.quat_wxyz) - 1.0) < 1e-3)


def rotation(quat_wxyz: ArrayLike) -> Rotation:
    """scipy's rotation for quaternions ``wxyz`` of shape (..., 4)."""
    return Rotation.from_quat(np.asarray(quat_wxyz, dtype=np.float64), scalar_first=True)


def quat_of(rot: Rotation) -> FloatArray:
    """Quaternions ``wxyz`` with w >= 0, shape (..., 4)."""
    return np.asarray(rot.as_quat(canonical=True, scalar_first=True), dtype=np.float64)


def quat_from_rotvec(rotvec_rad: ArrayLike) -> FloatArray:
    """Quaternions ``wxyz`` of rotation vectors of shape (..., 3)."""
    return quat_of(Rotation.from_rotvec(np.asarray(rotvec_rad, dtype=np.float64)))


def rotvec_from_quat(quat_wxyz: ArrayLike) -> FloatArray:
    """Rotation vectors of shape (..., 3), norm at most pi, of quaternions ``wxyz``."""
    return np.asarray(rotation(quat_wxyz).as_rotvec(), dtype=np.float64)


def quat_multiply(left_wxyz: ArrayLike, right_wxyz: ArrayLike) -> FloatArray:
    """``left * right``: first the rotation on the right, then the one on the left."""
    return quat_of(rotation(left_wxyz) * rotation(right_wxyz))


def rotvec_between(from_wxyz: ArrayLike, to_wxyz: ArrayLike) -> FloatArray:
    """Rotation vector in base axes that takes ``from`` to ``to``: ``to = exp(v) * from``, shape (..., 3)."""
    return np.asarray((rotation(to_wxyz) * rotation(from_wxyz).inv()).as_rotvec(), dtype=np.float64)


def yaw_of(quat_wxyz: ArrayLike) -> FloatArray:
    """Heading of the body's x axis in the base's xy plane, radians in (-pi, pi]."""
    x_axis = rotation(quat_wxyz).apply([1.0, 0.0, 0.0])
    return np.arctan2(x_axis[..., 1], x_axis[..., 0])


def clamp_norm(vector: ArrayLike, max_norm: float) -> FloatArray:
    """Shorten vectors of shape (..., n) to at most ``max_norm``; direction is kept."""
    vector = np.asarray(vector, dtype=np.float64)
    norm = np.linalg.norm(vector, axis=-1, keepdims=True)
    return vector * (max_norm / np.maximum(norm, max_norm))


def joint_step(jacobian: FloatArray, tool_step: FloatArray, damping: float) -> FloatArray:
    """Joint angles (7,) that make a small tool step (6,): translation, then rotation vector, in the Jacobian's axes.

    Args:
        jacobian: shape (6, 7), linear rows first.
        tool_step: m and rad.
        damping: singular values below it count for less and less, so that nothing becomes infinite.
    """
    gram = jacobian @ jacobian.T + damping**2 * np.eye(6)
    return jacobian.T @ np.linalg.solve(gram, tool_step)


def xyzw_from_wxyz(quat_wxyz: ArrayLike) -> FloatArray:
    """Reorder for ROS messages and franky."""
    return np.roll(np.asarray(quat_wxyz, dtype=np.float64), -1, axis=-1)


def wxyz_from_xyzw(quat_xyzw: ArrayLike) -> FloatArray:
    """Reorder from ROS messages and franky."""
    return np.roll(np.asarray(quat_xyzw, dtype=np.float64), 1, axis=-1)
