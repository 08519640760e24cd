"""PokeCube-v1: grasp a peg and push a cube into a disc with its tip."""

from operator import attrgetter

import torch

from vlajs.tasks import TASKS
from vlajs_training.tasks.definition import TaskDefinition, deploy_action
from vlajs_training.tasks.penalties import clumsy_at_peg, rough, tilt_rad
from vlajs_training.tasks.sub_optimal import near, poked
from vlajs_training.tasks.terms import BatchState


def _shaping(state: BatchState, action: torch.Tensor, info: dict[str, torch.Tensor]) -> torch.Tensor:
    """For a grasp wherever it is, and for the cube's way to the disc while the peg is held.

    ManiSkill pays for a grasp within 10 mm of the peg's middle only, and for the cube's way only while the peg points
    within 0.05 rad of the cube's yaw: both are thresholds that exploration meets by chance.
    """
    grasped = info["is_peg_grasped"]
    to_goal_m = (state.goal_m - state.cube_position_m)[:, :2].norm(dim=1)
    held = grasped.float() * (0.1 + 0.3 * near(to_goal_m))
    return held - 0.2 * tilt_rad(state) - clumsy_at_peg(state, grasped) - rough(state, action)


POKE_CUBE = TaskDefinition(
    task=TASKS["poke_cube"],
    maniskill_id="PokeCube-v1",
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
        "cube_position",
        "cube_yaw4",
        "cube_from_peg",
        "goal_position",
        "goal_from_cube",
    ),
    action=deploy_action(),
    horizon_steps=120,
    objects={"cube": attrgetter("cube"), "peg": attrgetter("peg")},
    goal=attrgetter("goal_region"),
    shaping=_shaping,
    sub_optimal=poked,
)
