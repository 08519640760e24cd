"""The simplified rewards of paper V.D: each pays for what happens to the object, and nothing leads the arm to it.

ManiSkill's dense rewards begin with a reaching term, which a policy follows to the object within a few thousand steps.
Without it nothing is paid until the object is grasped or moves, so that exploration must find it or be shown: with
PickCube's reward below PPO stays at 0 % for 360,000 steps. No penalties: what a lab would not want is not priced.
Every reward here is in [0, 1], and 1 is success.
"""

import torch

from vlajs.tasks import PEG_HALF_SIZE_M
from vlajs_training.tasks.terms import TERMS, BatchState

Info = dict[str, torch.Tensor]


def near(distance_m: torch.Tensor) -> torch.Tensor:
    """ManiSkill's measure of nearness (N,): 1 at the goal, 0.24 at 0.2 m."""
    return 1 - torch.tanh(5 * distance_m)


def or_success(reward: torch.Tensor, info: Info) -> torch.Tensor:
    """``reward`` (N,), or 1 where the task has succeeded."""
    return torch.where(info["success"], torch.ones_like(reward), reward)


def pushed(state: BatchState, action: torch.Tensor, info: Info) -> torch.Tensor:
    """Push tasks: nearness of the cube to the goal, wherever the arm is."""
    to_goal_m = (state.goal_m - state.cube_position_m)[:, :2].norm(dim=1)
    return or_success(0.5 * near(to_goal_m), info)


def carried(state: BatchState, action: torch.Tensor, info: Info) -> torch.Tensor:
    """PickCube: a grasp, and nearness of the grasped cube to the goal."""
    to_goal_m = (state.goal_m - state.cube_position_m).norm(dim=1)
    return or_success(0.2 * info["is_grasped"].float() * (1 + near(to_goal_m)), info)


def placed(state: BatchState, action: torch.Tensor, info: Info) -> torch.Tensor:
    """PickPlaceCube: as :func:`carried`; a cube that lies on the spot keeps its pay when the hand lets go."""
    held = 0.2 * info["is_grasped"].float() * (1 + near((state.goal_m - state.cube_position_m).norm(dim=1)))
    return or_success(torch.where(info["is_obj_placed"], torch.full_like(held, 0.4), held), info)


def lifted_upright(state: BatchState, action: torch.Tensor, info: Info) -> torch.Tensor:
    """LiftPegUpright: how upright the peg is and how near its centre to the height of a standing peg."""
    upright = state.peg_axis[:, 2].abs()
    height_m = state.peg_position_m[:, 2] - PEG_HALF_SIZE_M[0]
    return or_success((upright + near(height_m.abs())) / 3, info)


def poked(state: BatchState, action: torch.Tensor, info: Info) -> torch.Tensor:
    """PokeCube: a grasp of the peg, and nearness of the cube to the goal."""
    to_goal_m = (state.goal_m - state.cube_position_m)[:, :2].norm(dim=1)
    return or_success(0.2 * info["is_peg_grasped"].float() + 0.3 * near(to_goal_m), info)


def inserted(state: BatchState, action: torch.Tensor, info: Info) -> torch.Tensor:
    """PegInsertionSide: a grasp of the peg, and nearness of its head to the middle of the hole while it is held."""
    to_hole_m = TERMS["hole_from_peg_head"](state).norm(dim=1)
    return or_success(0.2 * info["is_grasped"].float() * (1 + near(to_hole_m)), info)
