"""VlajsPickPlaceCube-v1: carry a 4 cm cube to a marked spot on the other side of the table, let go and withdraw."""

from operator import attrgetter

import torch

from vlajs.tasks import TASKS
from vlajs_training.tasks.definition import TaskDefinition, deploy_action
from vlajs_training.tasks.penalties import LIFTED_M, clumsy_at_cube, misaligned, rough, tilt_rad
from vlajs_training.tasks.pick_cube import PICK_TERMS
from vlajs_training.tasks.sub_optimal import placed
from vlajs_training.tasks.terms import BatchState

CARRY_RANGE_M = 0.4
"""Distance to the spot from which carrying pays: the largest the task draws is 0.36 m."""


def _shaping(state: BatchState, action: torch.Tensor, info: dict[str, torch.Tensor]) -> torch.Tensor:
    """For carrying to the spot; against what a real hand and arm would not survive, as for pick_cube."""
    grasped, placed = info["is_grasped"], info["is_obj_placed"]
    off_m = (state.goal_m - state.cube_position_m)[:, :2].norm(dim=1)
    carrying = torch.where(placed, torch.ones_like(off_m), grasped.float() * (1 - off_m / CARRY_RANGE_M).clamp_min(0.0))
    before_lift = ((state.cube_position_m[:, 2] < LIFTED_M) & ~placed).float()
    care = clumsy_at_cube(state, grasped | placed)
    untidy = 0.2 * tilt_rad(state) + 0.1 * misaligned(state) * before_lift + care
    return 0.3 * carrying - untidy - rough(state, action)


PICK_PLACE_CUBE = TaskDefinition(
    task=TASKS["pick_place_cube"],
    maniskill_id="VlajsPickPlaceCube-v1",
    terms=PICK_TERMS,
    action=deploy_action(),
    horizon_steps=160,
    objects={"cube": attrgetter("cube")},
    goal=attrgetter("goal_site"),
    shaping=_shaping,
    sub_optimal=placed,
)
