"""PegInsertionSide-v1 with this project's arm: grasp a peg and put it into the hole of a box, from the side.

Peg and hole differ from episode to episode.
"""

from dataclasses import replace
from operator import attrgetter

import torch

from vlajs.tasks import TASKS
from vlajs_training.tasks.definition import WORKSPACE_MAX_M, WORKSPACE_MIN_M, TaskDefinition, deploy_action
from vlajs_training.tasks.penalties import clumsy_at_peg, lean, rough
from vlajs_training.tasks.sub_optimal import inserted
from vlajs_training.tasks.terms import BatchState


def _shaping(state: BatchState, action: torch.Tensor, info: dict[str, torch.Tensor]) -> torch.Tensor:
    """For a grasp however it is, which ManiSkill pays only within 20 degrees; against what a lab would not want."""
    grasped = info["is_grasped"]
    return 0.1 * grasped.float() - 0.1 * lean(state) - clumsy_at_peg(state, grasped) - rough(state, action)


PEG_INSERTION_SIDE = TaskDefinition(
    task=TASKS["peg_insertion_side"],
    maniskill_id="VlajsPegInsertionSide-v1",
    terms=(
        "tcp_position",
        "tcp_axes",
        "target_lead_position",
        "target_lead_rotation",
        "gripper_width",
        "gripper_command",
        "peg_position",
        "peg_axis",
        "peg_half_size",
        "peg_from_tcp",
        "hole_position",
        "hole_axis",
        "hole_radius",
        "hole_from_peg_head",
    ),
    # wider than the other tasks' box: the peg lies up to 0.3 m to the right and is held behind its middle
    action=replace(
        deploy_action(),
        workspace_min_m=(WORKSPACE_MIN_M[0], -0.45, WORKSPACE_MIN_M[2]),
        workspace_max_m=(WORKSPACE_MAX_M[0], 0.45, WORKSPACE_MAX_M[2]),
    ),
    horizon_steps=240,
    objects={"peg": attrgetter("peg")},
    landmarks={"hole": attrgetter("box_hole_pose")},
    half_sizes_m={"peg": attrgetter("peg_half_sizes"), "hole": attrgetter("hole_half_sizes")},
    held="peg",
    rebuild=True,
    shaping=_shaping,
    sub_optimal=inserted,
)
