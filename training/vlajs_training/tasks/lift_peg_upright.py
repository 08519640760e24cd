"""LiftPegUpright-v1: grasp a peg that lies on the table and stand it on its end."""

from operator import attrgetter

import torch

from vlajs.tasks import TASKS
from vlajs_training.tasks.definition import TaskDefinition, deploy_action
from vlajs_training.tasks.penalties import clumsy_at_peg, rough
from vlajs_training.tasks.sub_optimal import lifted_upright
from vlajs_training.tasks.terms import BatchState, tool_rotation

LYING_SINE = 0.3
"""Sine of the peg's slope below which it counts as lying: the fingers come from above."""


def _shaping(state: BatchState, action: torch.Tensor, info: dict[str, torch.Tensor]) -> torch.Tensor:
    """For a grasp, and for turning the peg while it is held: ManiSkill pays 0.07 in all for the former.

    The tool must turn about the base's y axis to stand the peg up; the other two rotations are needless.
    """
    grasped = info["is_grasped"]
    upright = state.peg_axis[:, 2].abs()
    held = grasped.float() * (0.2 + 0.3 * upright)
    turned = tool_rotation(state)[:, [0, 2]].norm(dim=1)
    lying = (upright < LYING_SINE).float()
    return held - 0.1 * turned - lying * clumsy_at_peg(state, grasped) - rough(state, action)


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
    shaping=_shaping,
    sub_optimal=lifted_upright,
)
