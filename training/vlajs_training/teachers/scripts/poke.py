"""PokeCube: grasp the peg's near half, bring its tip behind the cube, push the cube along the base's x axis."""

import numpy as np

from vlajs.geometry import FloatArray
from vlajs_training.teachers.script import CLOSE, Advice, BoolArray, Phase, Seen, upright
from vlajs_training.teachers.scripts.peg import Grasp, alike_ends

HALF_LENGTH_M = 0.12
HALF_WIDTH_M = 0.025
PLACE_M = -0.07
"""From the middle away from the tip: the farthest goal is 0.24 m beyond the workspace."""
CARRY_M = 0.03
"""Height of the peg's axis while it is held: 5 mm above where it lay, its lower edge below the cube's middle."""
IN_LINE_M = 0.012
"""How far beside the line through cube and goal the tip may push."""
BEHIND_M = 0.05
"""From the tip to the cube's centre before pushing: the cube's half diagonal is 28 mm."""
INSIDE_M = 0.015
"""How far from the goal's centre the cube may be left; success allows 50 mm."""
AHEAD = np.array([1.0, 0.0, 0.0])


def _axis(seen: Seen) -> FloatArray:
    return alike_ends(seen, AHEAD)


GRASP = Grasp(
    axis=_axis,
    half_width_m=lambda seen: np.full(seen.count, HALF_WIDTH_M),
    place_m=lambda seen: np.full(seen.count, PLACE_M),
    reach_m=lambda seen: np.full(seen.count, 0.1),
)


def _tip_m(seen: Seen) -> FloatArray:
    return seen["peg_position"] + HALF_LENGTH_M * _axis(seen)


def _in_goal(seen: Seen) -> BoolArray:
    return np.linalg.norm((seen["goal_position"] - seen["cube_position"])[:, :2], axis=1) < INSIDE_M


def _stop(seen: Seen) -> Advice:
    return Advice(tool_m=seen.tool_m, turn=upright(seen), gripper=CLOSE)


def _is_in_line(seen: Seen) -> BoolArray:
    offset_m = _tip_m(seen) - seen["cube_position"]
    return GRASP.holds(seen) & (np.abs(offset_m[:, 1]) < IN_LINE_M) & (offset_m[:, 0] < 0.0)


def _tool_for(seen: Seen, tip_m: FloatArray) -> FloatArray:
    """Where the tool is (M, 3) when the tip of the peg it holds is at ``tip_m`` (M, 3), the peg at carrying height."""
    wanted_m = seen.tool_m + tip_m - _tip_m(seen)
    wanted_m[:, 2] = seen.tool_m[:, 2] + CARRY_M - seen["peg_position"][:, 2]
    return wanted_m


def _push(seen: Seen) -> Advice:
    # as far as the cube has to go, and no faster than it can be stopped
    left_m = (seen["goal_position"] - seen["cube_position"])[:, 0]
    tip_m = _tip_m(seen)
    gap_m = np.maximum((seen["cube_position"] - tip_m)[:, 0] - BEHIND_M / 2, 0.0)
    aim_m = seen["cube_position"].copy()
    aim_m[:, 0] = tip_m[:, 0] + gap_m + left_m
    return Advice(tool_m=_tool_for(seen, aim_m), turn=upright(seen), gripper=CLOSE, haste=0.8)


def _aim(seen: Seen) -> Advice:
    aim_m = seen["cube_position"] - np.array([BEHIND_M, 0.0, 0.0])
    return Advice(tool_m=_tool_for(seen, aim_m), turn=upright(seen), gripper=CLOSE)


SCRIPT = (
    Phase(name="stop", applies=_in_goal, advise=_stop),
    Phase(name="push", applies=_is_in_line, advise=_push),
    Phase(name="aim", applies=GRASP.holds, advise=_aim),
    *GRASP.phases(),
)
