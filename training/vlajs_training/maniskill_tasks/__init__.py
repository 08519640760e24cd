"""ManiSkill tasks that are not ManiSkill's own; to import this registers them.

What training adds to a task, whoever made it, is in ``vlajs_training.tasks``, which needs no simulator.
"""

from vlajs_training.maniskill_tasks.peg_insertion_side import PegInsertionEnv
from vlajs_training.maniskill_tasks.pick_place_cube import PickPlaceCubeEnv
from vlajs_training.maniskill_tasks.push_cube_v2 import PushCubeV2Env

__all__ = ["PegInsertionEnv", "PickPlaceCubeEnv", "PushCubeV2Env"]
