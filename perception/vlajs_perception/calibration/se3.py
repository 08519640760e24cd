"""Poses as 4x4 matrices, and small steps between them.

A pose maps coordinates of the frame named first to the frame named last (``camera_in_base``). A step is a vector of
six: a shift in metres and a rotation vector in radians, both along the axes of the frame named last; the rotation turns
the pose about its own origin. This is the order and meaning of a covariance in ROS's ``PoseWithCovariance``.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial.transform import Rotation

from vlajs_perception.calibration.errors import CalibrationError
from vlajs_perception.rigid import TransformError, checked_transform

FloatArray = NDArray[np.float64]


def pose_of(rotvec_rad: ArrayLike, position_m: ArrayLike) -> FloatArray:
    """The pose, shape (4, 4), with this rotation vector (3,) and position (3,)."""
    pose = np.eye(4)
    pose[:3, :3] = Rotation.from_rotvec(np.asarray(rotvec_rad, dtype=np.float64).reshape(3)).as_matrix()
    pose[:3, 3] = np.asarray(position_m, dtype=np.float64).reshape(3)
    return pose


def moved(pose: FloatArray, step: ArrayLike) -> FloatArray:
    """The pose (4, 4) after a step (6,): shifted, and turned about its own origin."""
    step = np.asarray(step, dtype=np.float64)
    result = np.array(pose)
    result[:3, 3] += step[:3]
    result[:3, :3] = Rotation.from_rotvec(step[3:]).as_matrix() @ pose[:3, :3]
    return result


def step_between(start: FloatArray, end: FloatArray) -> FloatArray:
    """The step (6,) for which ``moved(start, step)`` is ``end``; its rotation is at most half a turn."""
    turn = Rotation.from_matrix(end[:3, :3] @ start[:3, :3].T)
    return np.concatenate([end[:3, 3] - start[:3, 3], turn.as_rotvec()])


def nearest_rotation(matrix: FloatArray) -> FloatArray:
    """The rotation (3, 3) nearest to a matrix (3, 3) in the sum of squared differences."""
    left, _, right = np.linalg.svd(matrix)
    return left @ np.diag([1.0, 1.0, np.linalg.det(left @ right)]) @ right


def checked_pose(values: ArrayLike, name: str) -> FloatArray:
    """A read-only copy of a pose.

    Raises:
        CalibrationError: not (4, 4) finite numbers, no rotation, or another last row than 0 0 0 1.
    """
    try:
        pose = checked_transform(values, name)
    except TransformError as error:
        raise CalibrationError(f"{error}; pass the pose as the robot reports it") from error
    pose.flags.writeable = False
    return pose
