"""The tasks that can be trained, one file each. No simulator is loaded: that takes many seconds."""

from vlajs_training.tasks.definition import ProtocolName, RewardName, TaskDefinition, select
from vlajs_training.tasks.lift_peg_upright import LIFT_PEG_UPRIGHT
from vlajs_training.tasks.peg_insertion_side import PEG_INSERTION_SIDE
from vlajs_training.tasks.pick_cube import PICK_CUBE
from vlajs_training.tasks.pick_place_cube import PICK_PLACE_CUBE
from vlajs_training.tasks.poke_cube import POKE_CUBE
from vlajs_training.tasks.push_cube import PUSH_CUBE
from vlajs_training.tasks.push_cube_v2 import PUSH_CUBE_V2

__all__ = ["DEFINITIONS", "ProtocolName", "RewardName", "TaskDefinition", "get_definition"]

_ALL = (PUSH_CUBE, PICK_CUBE, PICK_PLACE_CUBE, LIFT_PEG_UPRIGHT, PEG_INSERTION_SIDE, POKE_CUBE, PUSH_CUBE_V2)

DEFINITIONS: dict[str, TaskDefinition] = {definition.task.name: definition for definition in _ALL}


def get_definition(name: str, *, reward: str = "dense", protocol: str = "standard") -> TaskDefinition:
    """The task of that name.

    Args:
        name: of a task.
        reward: ``dense``, or ``sub_optimal`` (paper V.D).
        protocol: ``standard``, or ``long``: ten times the horizon, steps a tenth as large (paper V.C).

    Raises:
        ValueError: unknown name, reward or protocol; the message lists the known ones.
    """
    if name not in DEFINITIONS:
        raise ValueError(f"unknown task {name!r}: known tasks are {', '.join(sorted(DEFINITIONS))}")
    return select(DEFINITIONS[name], reward, protocol)
