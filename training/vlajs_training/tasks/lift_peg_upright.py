"""LiftPegUpright-v1: grasp a peg that lies on the table and stand it on its end."""

from operator import attrgetter

import torch

from vlajs.tasks import PEG_HALF_SIZE_M, TASKS
from vlajs_training.tasks.definition import TaskDefinition, deploy_action
from vlajs_training.tasks.penalties import clumsy_at_peg, rough, set_down_hard
from vlajs_training.tasks.sub_optimal import lifted_upright
from vlajs_training.tasks.terms import BatchState, tool_rotation

LYING_SINE = 0.3
"""Sine of the peg's slope below which it counts as lying: the fingers come from above."""

STANDING_X_M = 0.45
"""The peg is best stood on end no further than this from the base."""

FAR_M = 0.3
"""Past that, how far the farthest peg lies: up to 0.715 m."""

OFF_MIDDLE_M = 0.06
"""A peg of 0.6 kg that is held this far from its middle pulls with 0.35 Nm, and real fingertips let it turn: a patch
of 2 cm holds some 0.2 Nm. ManiSkill's do not."""


def _shaping(state: BatchState, action: torch.Tensor, info: dict[str, torch.Tensor]) -> torch.Tensor:
    """For a grasp of the middle, for turning the held peg the way the arm can, and for the place where it can.

    ManiSkill pays 0.07 in all for reaching and grasping, less than the fear of closing badly, and the same for turning
    either way. Pointing away from its base the hand would be stopped by joint 6 at some 55 degrees, and pointing at it,
    it cannot stand a peg further away than some 0.47 m.
    """
    grasped = info["is_grasped"]
    to_middle_m = (state.peg_position_m - state.tcp_position_m).norm(dim=1)
    reached = torch.where(grasped, torch.ones_like(to_middle_m), 1 - torch.tanh(5 * to_middle_m))
    turn = tool_rotation(state)
    at_base_rad = turn[:, 1]
    raised = state.peg_axis[:, 2].abs() * (at_base_rad > 0)
    far = ((state.peg_position_m[:, 0] - STANDING_X_M) / FAR_M).clamp(0.0, 1.0)
    off_middle = (to_middle_m / OFF_MIDDLE_M).clamp(0.0, 1.0)
    held = grasped.float() * (0.4 - 0.2 * off_middle + 0.3 * raised - 0.2 * far)
    letting_go = grasped & (action[:, 6] > 0)
    hard = grasped * set_down_hard(state, state.objects["peg"], PEG_HALF_SIZE_M)
    needless = 0.3 * hard + 0.2 * letting_go + 0.1 * turn[:, [0, 2]].norm(dim=1) + 0.3 * (-at_base_rad).clamp_min(0.0)
    lying = (state.peg_axis[:, 2].abs() < LYING_SINE).float()
    return 0.15 * reached + held - needless - lying * clumsy_at_peg(state, grasped) - rough(state, action)


LIFT_PEG_UPRIGHT = TaskDefinition(
    task=TASKS["lift_peg_upright"],
    maniskill_id="LiftPegUpright-v1",
    terms=(
        "tcp_position",
        "tcp_rotation",
        "target_lead_position",
        "target_lead_rotation",
        "gripper_width",
        "gripper_command",
        "peg_position",
        "peg_axis2",
        "peg_from_tcp",
    ),
    action=deploy_action(),
    horizon_steps=140,
    objects={"peg": attrgetter("peg")},
    held="peg",
    reflex_on=("peg",),
    shaping=_shaping,
    sub_optimal=lifted_upright,
)
