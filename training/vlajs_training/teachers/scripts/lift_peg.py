"""LiftPegUpright: grasp the peg's near half, raise it while the tool turns until it points at the arm's base, set down.

Pointing at its base the Panda has room for its wrist above the hand; pointing away from it the wrist would be below,
and joint 6 would meet its limit at some 55 degrees.
"""

import numpy as np
from scipy.spatial.transform import Rotation

from vlajs.geometry import FloatArray
from vlajs_training.teachers.script import CLOSE, Advice, BoolArray, Phase, Seen
from vlajs_training.teachers.scripts.peg import Grasp, alike_ends, turn_with

HALF_WIDTH_M = 0.025
HALF_LENGTH_M = 0.12
PLACE_M = 0.06
"""From the middle towards the end that goes up: the horizontal hand ends 180 mm above the table."""
REACH_M = 0.11
UP = np.array([0.0, 0.0, 1.0])
NEAR_AND_UP = np.array([-1.0, 0.0, 1.0])
NEARLY_RAD = 0.12
"""The peg is set down once it is this close to vertical."""
ROOM_M = 0.04
"""Height of the lower end above the table while the peg turns: one answer may lower that end by 36 mm."""
FARTHEST_X_M = 0.47
"""A hand that points at the base reaches no further: its wrist is 0.2 m beyond it."""


def _axis(seen: Seen) -> FloatArray:
    """Direction (M, 3) of the end that goes up: the nearer one, later the upper one."""
    return alike_ends(seen, NEAR_AND_UP)


GRASP = Grasp(
    axis=_axis,
    half_width_m=lambda seen: np.full(seen.count, HALF_WIDTH_M),
    place_m=lambda seen: np.full(seen.count, PLACE_M),
    reach_m=lambda seen: np.full(seen.count, REACH_M),
)


def _to_vertical(seen: Seen) -> Rotation:
    return turn_with(seen, _axis(seen), np.tile(UP, (seen.count, 1)))


def _lower_end_at(seen: Seen, height_m: float) -> FloatArray:
    """(M, 3) tool for the peg, tilted as it is, to end at that height, within reach."""
    axis = _axis(seen)
    half_height_m = HALF_LENGTH_M * axis[:, 2] + HALF_WIDTH_M * np.hypot(axis[:, 0], axis[:, 1])
    wanted_m = seen.tool_m.copy()
    wanted_m[:, 2] += half_height_m + height_m - seen["peg_position"][:, 2]
    wanted_m[:, 0] = np.minimum(wanted_m[:, 0], FARTHEST_X_M)
    return wanted_m


def _is_up(seen: Seen) -> BoolArray:
    return GRASP.holds(seen) & (_axis(seen)[:, 2] > np.cos(NEARLY_RAD))


def _set_down(seen: Seen) -> Advice:
    return Advice(tool_m=_lower_end_at(seen, 0.0), turn=_to_vertical(seen), gripper=CLOSE, haste=0.7)


def _raise(seen: Seen) -> Advice:
    return Advice(tool_m=_lower_end_at(seen, ROOM_M), turn=_to_vertical(seen), gripper=CLOSE)


SCRIPT = (
    Phase(name="set down", applies=_is_up, advise=_set_down),
    Phase(name="raise", applies=GRASP.holds, advise=_raise),
    *GRASP.phases(),
)
