"""The target rule, batched: what one action does to the commanded tool pose.

The same rule as ``vlajs.control.target.integrate_target``, which the bridge applies on the robot; a test drives the
same actions through both.
"""

import torch

from vlajs.policy.contract import ActionContract
from vlajs_training.rotations import clamp_norm, quat_from_rotvec, quaternion_multiply, rotvec_between


def integrate_target(
    target_position_m: torch.Tensor,
    target_wxyz: torch.Tensor,
    measured_position_m: torch.Tensor,
    measured_wxyz: torch.Tensor,
    action: torch.Tensor,
    contract: ActionContract,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Next target (position (N, 3), quaternion (N, 4)) in the base frame.

    Order: increments clamped by norm and scaled; added on the left of the previous target; position clipped to the
    box; target pulled back to within the leash of the measured pose.

    Args:
        target_position_m: (N, 3), previous target.
        target_wxyz: (N, 4).
        measured_position_m: (N, 3), measured tool.
        measured_wxyz: (N, 4).
        action: (N, 6) normalised translation and rotation vector.
        contract: scales, leash and box.
    """
    delta_pos_m = clamp_norm(action[:, :3], 1.0) * contract.position_scale_m
    delta_rotvec_rad = clamp_norm(action[:, 3:6], 1.0) * contract.rotation_scale_rad
    box_min = target_position_m.new_tensor(contract.workspace_min_m)
    box_max = target_position_m.new_tensor(contract.workspace_max_m)
    position = torch.maximum(torch.minimum(target_position_m + delta_pos_m, box_max), box_min)
    position = measured_position_m + clamp_norm(position - measured_position_m, contract.leash_m)
    rotation = quaternion_multiply(quat_from_rotvec(delta_rotvec_rad), target_wxyz)
    lead = clamp_norm(rotvec_between(measured_wxyz, rotation), contract.leash_rad)
    rotation = quaternion_multiply(quat_from_rotvec(lead), measured_wxyz)
    return position, rotation
