"""VlajsPushCube-v2: push a larger, green cube to the left into a disc, with the hand closed.

PushCube with another cube and another direction: what a teacher that knows PushCube has not seen.
"""

from operator import attrgetter

import torch

from vlajs.tasks import PUSH_V2_CUBE_HALF_SIZE_M, TASKS
from vlajs_training.tasks.definition import TaskDefinition
from vlajs_training.tasks.penalties import pushing
from vlajs_training.tasks.push_cube import PUSH_ACTION, PUSH_TERMS
from vlajs_training.tasks.sub_optimal import pushed
from vlajs_training.tasks.terms import BatchState


def _shaping(state: BatchState, action: torch.Tensor, info: dict[str, torch.Tensor]) -> torch.Tensor:
    return -pushing(state, action, PUSH_V2_CUBE_HALF_SIZE_M)


PUSH_CUBE_V2 = TaskDefinition(
    task=TASKS["push_cube_v2"],
    maniskill_id="VlajsPushCube-v2",
    terms=PUSH_TERMS,
    action=PUSH_ACTION,
    horizon_steps=100,
    objects={"cube": attrgetter("obj")},
    goal=attrgetter("goal_region"),
    shaping=_shaping,
    sub_optimal=pushed,
)
