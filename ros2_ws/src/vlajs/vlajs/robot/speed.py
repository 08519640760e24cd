"""How fast the planner may head for a streamed target, so that tool and joints stay below their limits on the way.

franky plans in the axes of the present tool pose: every axis has a velocity limit of its own, and all axes reach the
target at the same time. So the tool may go sqrt(3) times its limit along a diagonal, and nothing bounds the joints:
where the elbow stretches, 0.3 m/s of the tool are 2.2 rad/s of joint 4, which an arm answers with a reflex.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from vlajs.geometry import FloatArray, Pose, joint_step, rotation, rotvec_between

JOINT_VELOCITY_LIMITS_RAD_S = (2.175, 2.175, 2.175, 2.175, 2.61, 2.61, 2.61)
"""A Panda's, by Franka's datasheet. An FR3's are higher, except within about 0.5 rad of its joint limits."""

_DAMPING = 0.005
"""A tenth of the least singular value that the bridge allows: there it takes 1 % off a speed. Nearer to a singular pose
nothing here slows the arm: the bridge's guards refuse to go there."""
_PLACES = 3
_REACHED_S = 1e-6


@dataclass(frozen=True, kw_only=True)
class SpeedLimits:
    """What holds on the way to a target.

    Attributes:
        tool_m_s: of the tool's translation; the planner's limit of each axis, and here of any direction.
        tool_rad_s: of its rotation; the planner's limit of each axis.
        joint_share: of the joints' velocity limits.
    """

    tool_m_s: float
    tool_rad_s: float
    joint_share: float


def velocity_share(
    measured: Pose,
    target: Pose,
    joints_rad: FloatArray,
    jacobian_of: Callable[[FloatArray], FloatArray],
    limits: SpeedLimits,
) -> float:
    """The share of the planner's velocity limits, in (0, 1], with which nothing gets faster than ``limits``.

    Joint speeds are those of the straight way to the target, at its beginning, middle and end: with a stretching elbow
    they rise by a tenth between two commands, and no further command may come.

    Args:
        measured: tool pose in the base frame, where the arm is.
        target: where it is sent.
        joints_rad: measured joints, shape (7,).
        jacobian_of: the tool's Jacobian at given joints, shape (6, 7), base axes, linear rows first.
        limits: of tool and joints.

    Raises:
        ValueError: the Jacobian is not finite.
    """
    way_m = target.position_m - measured.position_m
    way_rad = rotvec_between(measured.quat_wxyz, target.quat_wxyz)
    to_tool_axes = rotation(measured.quat_wxyz).as_matrix().T
    duration_s = max(
        float(np.max(np.abs(to_tool_axes @ way_m))) / limits.tool_m_s,
        float(np.max(np.abs(to_tool_axes @ way_rad))) / limits.tool_rad_s,
    )
    if duration_s < _REACHED_S:
        return 1.0
    way = np.concatenate([way_m, way_rad])
    joint_way = np.zeros(7)
    for _ in range(_PLACES):
        joint_way_here = _joint_way(jacobian_of(joints_rad), way)
        joint_way = np.maximum(joint_way, np.abs(joint_way_here))
        joints_rad = joints_rad + joint_way_here / (_PLACES - 1)
    joint_limits_rad_s = limits.joint_share * np.array(JOINT_VELOCITY_LIMITS_RAD_S)
    joint_use = float(np.max(joint_way / joint_limits_rad_s)) / duration_s
    tool_use = float(np.linalg.norm(way_m)) / duration_s / limits.tool_m_s
    return 1.0 / max(1.0, joint_use, tool_use)


def _joint_way(jacobian: FloatArray, way: FloatArray) -> FloatArray:
    if not np.all(np.isfinite(jacobian)):
        raise ValueError("the Jacobian is not finite: the arm's state is at fault")
    return joint_step(jacobian, way, _DAMPING)
