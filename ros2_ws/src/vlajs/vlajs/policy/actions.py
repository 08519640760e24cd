"""From the policy's normalised action to metres, radians and a hand opening."""

import numpy as np
from numpy.typing import ArrayLike

from vlajs.episode import Increment
from vlajs.geometry import clamp_norm
from vlajs.policy.contract import ACTION_SIZE, ActionContract


def scale_action(action: ArrayLike, contract: ActionContract) -> Increment:
    """Clamp a normalised action of shape (7,) and scale it by the contract.

    Translation and rotation are clamped by norm, so their direction survives; the gripper number is clamped to
    [-1, 1].

    Raises:
        ValueError: wrong shape, or a number that is not finite.
    """
    action = np.asarray(action, dtype=np.float64)
    if action.shape != (ACTION_SIZE,):
        raise ValueError(f"action has shape {action.shape}, expected ({ACTION_SIZE},)")
    if not np.all(np.isfinite(action)):
        raise ValueError(f"action is not finite: {action}; the observation or the weights are at fault")
    gripper = contract.gripper
    width = gripper.fixed_width_m
    if width is None:
        width = gripper.width_max_m * (float(np.clip(action[6], -1.0, 1.0)) + 1.0) / 2.0
    return Increment(
        delta_pos_m=clamp_norm(action[:3], 1.0) * contract.position_scale_m,
        delta_rotvec_rad=clamp_norm(action[3:6], 1.0) * contract.rotation_scale_rad,
        gripper_width_m=width,
    )
