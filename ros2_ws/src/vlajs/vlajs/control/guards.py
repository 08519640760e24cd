"""Refusals that protect the arm from its own geometry, and others from its speed."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from vlajs.control.ranges import refuse_outside
from vlajs.control.target import TargetLimits
from vlajs.geometry import FloatArray, joint_step

# The stricter of Panda and FR3 for each joint, so that the margin holds whichever arm it is.
JOINT_MIN_RAD = (-2.7437, -1.7628, -2.8973, -3.0421, -2.8065, 0.5445, -2.8973)
JOINT_MAX_RAD = (2.7437, 1.7628, 2.8973, -0.1518, 2.8065, 3.7525, 2.8973)

_RANGES = {
    "joint_margin_rad": (0.02, 0.5),
    "min_singular_value": (0.01, 0.15),
    "max_target_speed_m_s": (0.01, 1.7),
    "max_target_turn_rad_s": (0.01, 2.5),
    "workspace_margin_m": (0.0, 0.1),
}
"""1.7 m/s and 2.5 rad/s are Franka's own limits of the tool."""

_RATE_SLACK = 1.05
_PREDICTION_DAMPING = 0.02


@dataclass(frozen=True, kw_only=True)
class GuardConfig:
    """Margins of the guards.

    Attributes:
        joint_margin_rad: closer to a joint limit than this, only motion away from it is allowed; in [0.02, 0.5].
        min_singular_value: least singular value of the tool's Jacobian (m and rad mixed; 0.19 at the start
            configuration); below it, only motion that raises it is allowed; in [0.01, 0.15].
        max_target_speed_m_s: the target may not be moved faster than this; in [0.01, 1.7].
        max_target_turn_rad_s: nor turned faster than this; in [0.01, 2.5].
        workspace_margin_m: the measured tool may be this far outside the workspace box when tracking starts; in
            [0, 0.1].

    Raises:
        ValueError: a number outside its range.
    """

    joint_margin_rad: float = 0.08
    min_singular_value: float = 0.05
    max_target_speed_m_s: float = 0.5
    max_target_turn_rad_s: float = 1.5
    workspace_margin_m: float = 0.02

    def __post_init__(self) -> None:
        refuse_outside(self, _RANGES)


def joint_limit_distance(joints_rad: FloatArray) -> tuple[int, float]:
    """The joint (0 to 6) closest to one of its limits, and how far it is from it, radians; negative beyond it."""
    room = np.minimum(joints_rad - np.array(JOINT_MIN_RAD), np.array(JOINT_MAX_RAD) - joints_rad)
    joint = int(np.argmin(room))
    return joint, float(room[joint])


def predicted_joints(joints_rad: FloatArray, jacobian: FloatArray, step: FloatArray) -> FloatArray:
    """Joints after a small tool step, shape (6,): translation then rotation vector, base axes (damped inverse)."""
    return joints_rad + joint_step(jacobian, step, _PREDICTION_DAMPING)


def geometry_refusal(
    joints_rad: FloatArray,
    step: Sequence[float] | FloatArray,
    jacobian_of: Callable[[FloatArray], FloatArray],
    config: GuardConfig,
) -> str | None:
    """Why a tool step must not be made from here: a joint limit or a singular pose gets nearer.

    Args:
        joints_rad: measured joints, shape (7,).
        step: translation (m) and rotation vector (rad) of the tool, base axes, shape (6,).
        jacobian_of: the tool's Jacobian at given joints, shape (6, 7), base axes, linear rows first.
        config: margins.
    """
    jacobian = jacobian_of(joints_rad)
    if not (np.all(np.isfinite(joints_rad)) and np.all(np.isfinite(jacobian))):
        return "joints or Jacobian are not finite: the arm's state is at fault"
    after_rad = predicted_joints(joints_rad, jacobian, np.asarray(step, dtype=np.float64))
    joint, room_rad = joint_limit_distance(joints_rad)
    if room_rad < config.joint_margin_rad and joint_limit_distance(after_rad)[1] < room_rad:
        return (
            f"joint {joint + 1} is {room_rad:.3f} rad from its limit (margin {config.joint_margin_rad:g}) and the "
            "command moves it nearer: move away from it, or home the arm"
        )
    singular_value = _least_singular_value(jacobian)
    nearer = singular_value < config.min_singular_value and (
        _least_singular_value(jacobian_of(after_rad)) < singular_value
    )
    if nearer:
        return (
            f"the arm is near a singular pose (least singular value {singular_value:.3f}, limit "
            f"{config.min_singular_value:g}) and the command moves nearer: bend the elbow, or home the arm"
        )
    return None


def workspace_refusal(position_m: FloatArray, limits: TargetLimits, config: GuardConfig) -> str | None:
    """Why tracking must not run with the measured tool here: it is outside the workspace box."""
    outside_m = limits.outside_box_m(position_m)
    if not outside_m <= config.workspace_margin_m:
        return (
            f"the tool at {np.round(position_m, 3)} m is {outside_m:.3f} m outside the workspace "
            f"{limits.workspace_min_m} to {limits.workspace_max_m} m (margin {config.workspace_margin_m:g} m): "
            "call /franka/home, or guide the arm back by hand"
        )
    return None


class RateGuard:
    """Refuses increments that come too fast one after another.

    An allowance grows with time at the limit's rate, up to ``burst``, and each increment uses up its length: commands
    may come unevenly, as messages do, but not faster than the limit in the long run.
    """

    def __init__(self, max_per_s: float, burst: float, unit: str) -> None:
        """Args: the limit, the most that may come at once, the unit for messages (``m`` or ``rad``)."""
        self._max_per_s = max_per_s
        self._burst = burst
        self._unit = unit
        self._allowance = burst
        self._at_s: float | None = None

    def refusal(self, length: float, now_s: float) -> str | None:
        """Why an increment of this length must not be made now; None uses the allowance up."""
        if self._at_s is not None:
            grown = max(now_s - self._at_s, 0.0) * self._max_per_s * _RATE_SLACK
            self._allowance = min(self._allowance + grown, self._burst)
        self._at_s = now_s
        if length > self._allowance + 1e-9:
            return (
                f"commands move the target faster than {self._max_per_s:g} {self._unit}/s: "
                "the source sends too often or in bursts"
            )
        self._allowance -= length
        return None


def _least_singular_value(jacobian: FloatArray) -> float:
    return float(np.linalg.svd(jacobian, compute_uv=False)[-1])
