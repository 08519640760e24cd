"""The rule by which an increment moves the target pose: the same in training and on the robot.

The target is a virtual pose, integrated from increments and kept near the measured tool. The order of operations is
part of the contract between a policy and its robot (training runs the same rule on batches of torch tensors):

1. **Clamp.** ``delta_pos_m`` is shortened to norm ``max_step_m``, ``delta_rotvec_rad`` to norm ``max_step_rad``;
   directions are kept.
2. **Integrate.** position = target position + delta; rotation = exp(delta) * target rotation: composed on the left,
   so that the rotation vector is in the base's axes.
3. **Box.** Each coordinate of the position is clipped to ``[workspace_min_m, workspace_max_m]``.
4. **Leash.** The position is drawn towards the measured position until it is within ``leash_m`` of it (straight line),
   the rotation towards the measured rotation until the angle between them is at most ``leash_rad`` (e =
   rotvec(rotation * measured^-1) is shortened, rotation = exp(e) * measured).

The box comes before the leash: the box is convex, so with the measured position inside it the result is inside box
and leash; with the measured position outside, the leash wins and the target comes no further than ``leash_m`` from
where the arm is. The resulting quaternion has w >= 0.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from vlajs.geometry import FloatArray, Pose, clamp_norm, quat_from_rotvec, quat_multiply, rotvec_between

MAX_STEP_M = 0.1
MAX_STEP_RAD = 0.5
MAX_LEASH_M = 0.2
MAX_LEASH_RAD = 1.0
MAX_REACH_M = 1.2
"""No arm's tool comes further along an axis; a box beyond it would be none."""


@dataclass(frozen=True, kw_only=True)
class TargetLimits:
    """What a target may do, validated on construction.

    Attributes:
        max_step_m: norm of one translation increment, in (0, 0.1].
        max_step_rad: norm of one rotation increment, in (0, 0.5].
        leash_m: distance from the measured to the target position, in (0, 0.2].
        leash_rad: angle from the measured to the target rotation, in (0, 1].
        workspace_min_m: lower corner of the box for the target position, in the base frame, within 1.2 m of it.
        workspace_max_m: upper corner.

    Raises:
        ValueError: a number outside its range, or an empty box.
    """

    max_step_m: float = 0.02
    max_step_rad: float = 0.06
    leash_m: float = 0.04
    leash_rad: float = 0.2
    workspace_min_m: tuple[float, float, float] = (0.3, -0.35, 0.022)
    workspace_max_m: tuple[float, float, float] = (0.8, 0.35, 0.6)

    def __post_init__(self) -> None:
        ranges = {
            "max_step_m": (self.max_step_m, MAX_STEP_M),
            "max_step_rad": (self.max_step_rad, MAX_STEP_RAD),
            "leash_m": (self.leash_m, MAX_LEASH_M),
            "leash_rad": (self.leash_rad, MAX_LEASH_RAD),
        }
        for name, (value, limit) in ranges.items():
            if not 0 < value <= limit:  # also refuses NaN
                raise ValueError(f"{name} = {value} is outside (0, {limit:g}]: no arm should be driven with it")
        for name in ("workspace_min_m", "workspace_max_m"):
            corner = tuple(float(value) for value in getattr(self, name))
            if len(corner) != 3 or not all(abs(value) <= MAX_REACH_M for value in corner):  # also refuses NaN
                raise ValueError(
                    f"{name} = {corner}: expected three numbers within +-{MAX_REACH_M:g}, metres in the base frame"
                )
            object.__setattr__(self, name, corner)
        if not np.all(np.less(self.workspace_min_m, self.workspace_max_m)):
            raise ValueError(
                f"the workspace box is empty: {self.workspace_min_m} to {self.workspace_max_m} m; "
                "every coordinate of the first corner must be below the second's"
            )

    def outside_box_m(self, position_m: ArrayLike) -> float:
        """Distance from a position, shape (3,), to the box, metres; 0 inside."""
        position = np.asarray(position_m, dtype=np.float64)
        return float(np.linalg.norm(position - np.clip(position, self.workspace_min_m, self.workspace_max_m)))


def integrate_target(
    target: Pose, measured: Pose, delta_pos_m: ArrayLike, delta_rotvec_rad: ArrayLike, limits: TargetLimits
) -> Pose:
    """The next target pose; see the module's description for the rule and its order.

    Args:
        target: the previous target, in the base frame.
        measured: the measured tool pose, in the base frame.
        delta_pos_m: shape (3,), base axes.
        delta_rotvec_rad: shape (3,), base axes.
        limits: clamp, box and leash.

    Raises:
        ValueError: wrong shape, or a number that is not finite; no target is made from those.
    """
    delta_pos = _finite_vector("delta_pos_m", delta_pos_m)
    delta_rotvec = _finite_vector("delta_rotvec_rad", delta_rotvec_rad)
    for name, pose in (("target", target), ("measured", measured)):
        if not pose.is_finite():
            raise ValueError(f"the {name} pose is not a pose: {pose}; the state it was read from is at fault")

    position = target.position_m + clamp_norm(delta_pos, limits.max_step_m)
    quat = quat_multiply(quat_from_rotvec(clamp_norm(delta_rotvec, limits.max_step_rad)), target.quat_wxyz)

    position = np.clip(position, limits.workspace_min_m, limits.workspace_max_m)

    return leash(Pose(position_m=position, quat_wxyz=quat), measured, limits)


def leash(target: Pose, measured: Pose, limits: TargetLimits) -> Pose:
    """Step 4 alone: ``target`` drawn towards ``measured`` until it is within both leashes."""
    lead_m = clamp_norm(target.position_m - measured.position_m, limits.leash_m)
    lead_rotvec = clamp_norm(rotvec_between(measured.quat_wxyz, target.quat_wxyz), limits.leash_rad)
    return Pose(
        position_m=measured.position_m + lead_m,
        quat_wxyz=quat_multiply(quat_from_rotvec(lead_rotvec), measured.quat_wxyz),
    )


def _finite_vector(name: str, value: ArrayLike) -> FloatArray:
    vector = np.asarray(value, dtype=np.float64)
    if vector.shape != (3,) or not np.all(np.isfinite(vector)):
        raise ValueError(f"{name} = {vector}: expected three finite numbers")
    return vector
