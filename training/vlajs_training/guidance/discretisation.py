"""From a teacher's coarse delta to the student's steps (paper, III.A)."""

import numpy as np

from vlajs.policy.contract import ActionContract


def split(delta: np.ndarray, steps: int) -> np.ndarray:
    """One of ``steps`` equal steps of deltas (M, 7): m (3), rad (3), gripper.

    Translation is divided linearly. SLERP from no rotation to ``exp(v)`` turns about one axis at constant speed: its
    increments, each composed on the left of those before, are all ``exp(v / steps)``. The gripper command is a state
    to be in, not a motion, and holds for each step.
    """
    step = np.array(delta, copy=True)
    step[:, :6] /= steps
    return step


def in_action_units(step: np.ndarray, action: ActionContract) -> np.ndarray:
    """Steps (M, 7) in m, rad and gripper as the actions that ask for them: what 1 means is a whole decision.

    A decision is carried out ``ticks_per_action`` times. Nothing is clipped: a teacher of another scale asks for more
    than 1, and whether that matters is the loss's affair.
    """
    units = np.array(step, copy=True)
    units[:, :3] /= action.position_scale_m * action.ticks_per_action
    units[:, 3:6] /= action.rotation_scale_rad * action.ticks_per_action
    return units


def decisions_covered(rate_hz: float, decision_rate_hz: float) -> int:
    """How many of the student's decisions one delta of a teacher that speaks at ``rate_hz`` covers, at least 1."""
    return max(1, round(decision_rate_hz / rate_hz))
