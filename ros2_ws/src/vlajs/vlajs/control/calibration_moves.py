"""Where to bring the tool for views of a calibration board, and the increments that bring it there.

Poses are spread about the one where the operator has brought the board into the camera's middle: shifted along all
axes, tilted to all sides. They are asked for as increments like anybody's, so that the bridge's limits hold.
"""

from dataclasses import dataclass

import numpy as np

from vlajs.control.ranges import refuse_outside
from vlajs.geometry import FloatArray, Pose, clamp_norm, quat_from_rotvec, quat_multiply, rotvec_between

_RANGES = {
    "reach_m": (0.02, 0.2),
    "tilt_rad": (0.15, 0.7),
    "step_m": (0.0005, 0.006),
    "step_rad": (0.001, 0.025),
    "margin_m": (0.0, 0.1),
}
REACHED_M = 5e-4
REACHED_RAD = 2e-3


@dataclass(frozen=True, kw_only=True)
class MoveConfig:
    """How far and how fast the tool is moved.

    Attributes:
        reach_m: farthest shift along each axis; in [0.02, 0.2].
        tilt_rad: largest tilt; in [0.15, 0.7].
        step_m: one increment, 20 of them a second; in [0.0005, 0.006]: at twice the default the elbow of an arm that
            reaches far is at its limit.
        step_rad: one increment of rotation; in [0.001, 0.025].
        margin_m: kept from the walls of the workspace; in [0, 0.1].

    Raises:
        ValueError: a number outside its range.
    """

    reach_m: float = 0.12
    tilt_rad: float = 0.4
    step_m: float = 0.003
    step_rad: float = 0.0125
    margin_m: float = 0.01

    def __post_init__(self) -> None:
        refuse_outside(self, _RANGES)


def poses_about(
    start: Pose, count: int, config: MoveConfig, workspace_min_m: FloatArray, workspace_max_m: FloatArray
) -> list[Pose]:
    """``count`` tool poses about ``start``, which is the first; the same for the same arguments.

    Tilts go round, a golden angle apart, so that any few of them tilt to all sides; shifts fill the box evenly.

    Args:
        start: in the base frame.
        count: how many.
        config: how far.
        workspace_min_m: lower corner of the bridge's box, shape (3,).
        workspace_max_m: upper corner.

    Raises:
        ValueError: the start is outside the box less its margin.
    """
    low, high = workspace_min_m + config.margin_m, workspace_max_m - config.margin_m
    if np.any(start.position_m < low) or np.any(start.position_m > high):
        raise ValueError(
            f"the tool starts at {np.round(start.position_m, 3).tolist()} m, outside the workspace {low.tolist()} to "
            f"{high.tolist()} m (margin {config.margin_m:g} m included): move it inside first"
        )
    poses = [start]
    for index in range(1, count):
        # additive recurrence of the plastic number: evenly spread for any count
        shift = 2.0 * np.mod(0.5 + index * np.array([0.8191725, 0.6710436, 0.5497005]), 1.0) - 1.0
        angle = index * np.pi * (3.0 - np.sqrt(5.0))
        tilt = config.tilt_rad * np.array([np.cos(angle), np.sin(angle), 0.4 * shift[2]])
        poses.append(
            Pose(
                position_m=np.clip(start.position_m + config.reach_m * shift, low, high),
                quat_wxyz=quat_multiply(quat_from_rotvec(tilt), start.quat_wxyz),
            )
        )
    return poses


def increment_towards(goal: Pose, target: Pose, config: MoveConfig) -> tuple[FloatArray, FloatArray] | None:
    """The next increment, position (3,) and rotation vector (3,) in base axes, of the target; None when it is there.

    Shift and turn end together, so that the way is the same at any speed.
    """
    shift_m, turn_rad = goal.position_m - target.position_m, rotvec_between(target.quat_wxyz, goal.quat_wxyz)
    if np.linalg.norm(shift_m) < REACHED_M and np.linalg.norm(turn_rad) < REACHED_RAD:
        return None
    steps = max(np.linalg.norm(shift_m) / config.step_m, np.linalg.norm(turn_rad) / config.step_rad, 1.0)
    return clamp_norm(shift_m / steps, config.step_m), clamp_norm(turn_rad / steps, config.step_rad)
