"""PushCube-v1: push a 4 cm cube forward into a disc, with the hand closed."""

from operator import attrgetter

import torch

from vlajs.policy.contract import GripperContract
from vlajs.tasks import CUBE_HALF_SIZE_M, TASKS
from vlajs_training.tasks.definition import TaskDefinition, deploy_action
from vlajs_training.tasks.penalties import pushing
from vlajs_training.tasks.sub_optimal import pushed
from vlajs_training.tasks.terms import BatchState

PUSH_TERMS = (
    "tcp_position",
    "tcp_rotation",
    "target_lead_position",
    "target_lead_rotation",
    "cube_position",
    "cube_from_tcp",
    "goal_position",
    "goal_from_cube",
)

PUSH_ACTION = deploy_action(GripperContract(initial_width_m=0.0, fixed_width_m=0.0))
"""The hand stays closed."""


def _shaping(state: BatchState, action: torch.Tensor, info: dict[str, torch.Tensor]) -> torch.Tensor:
    return -pushing(state, action, CUBE_HALF_SIZE_M)


PUSH_CUBE = TaskDefinition(
    task=TASKS["push_cube"],
    maniskill_id="PushCube-v1",
    terms=PUSH_TERMS,
    action=PUSH_ACTION,
    horizon_steps=80,
    objects={"cube": attrgetter("obj")},
    goal=attrgetter("goal_region"),
    shaping=_shaping,
    sub_optimal=pushed,
)
