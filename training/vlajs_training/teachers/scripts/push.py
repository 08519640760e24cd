"""PushCube and its variant: get behind the cube as seen from the goal, come down, push along the line to the goal."""

import numpy as np

from vlajs.geometry import FloatArray
from vlajs_training.teachers.script import (
    CLOSE,
    Advice,
    BoolArray,
    Phase,
    Seen,
    always,
    at_height,
    horizontal,
    lifted,
    upright,
)

BEHIND_M = 0.06
"""Distance from the cube's centre at which the closed hand comes down: half the cube, 20 mm, half the hand and
margin."""
CLEAR_M = 0.09
"""Height of the tool above which it passes over a cube of 40 mm."""
PUSH_HEIGHT_M = 0.027
"""Height of the tool while it pushes: 5 mm above the floor of the workspace."""
LOW_M = 0.045
"""Height below which the tool may push: the fingertips, 9 mm lower, are below the cube's top."""
IN_LINE_M = 0.02
"""How far off the line through cube and goal the tool may push from."""
WIDENING = 0.4
"""By how much more the tool may be off that line for each metre above it. A student explores in strides of 15 mm and
more: over a narrower way down it would be sent sideways and down in turns, and end up between the two."""
BESIDE_M = 0.05
"""Further than this from the cube a low tool can rise straight up; nearer it is beside the cube all the same."""


def _line(seen: Seen) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Direction (M, 3) from cube to goal in the table's plane; the tool's place along it and off it (M,), metres."""
    direction = at_height(seen["goal_position"] - seen["cube_position"], 0.0)
    direction /= np.maximum(horizontal(direction), 1e-6)[:, None]
    offset_m = at_height(seen.tool_m - seen["cube_position"], 0.0)
    along_m = (offset_m * direction).sum(axis=1)
    return direction, along_m, horizontal(offset_m - along_m[:, None] * direction)


def _behind(seen: Seen) -> FloatArray:
    """(M, 3) point behind the cube's centre, at its height."""
    return seen["cube_position"] - BEHIND_M * _line(seen)[0]


def _can_push(seen: Seen) -> BoolArray:
    _, along_m, off_m = _line(seen)
    return (along_m < -0.02) & (off_m < IN_LINE_M) & (seen.tool_m[:, 2] < LOW_M)


def _push(seen: Seen) -> Advice:
    # beyond the goal: the tool's waypoint must stay ahead of it until the cube is well inside
    direction, _, _ = _line(seen)
    through_m = seen["cube_position"] + 0.05 * direction
    return Advice(tool_m=at_height(through_m, PUSH_HEIGHT_M), turn=upright(seen), gripper=CLOSE, haste=0.8)


def _is_behind(seen: Seen) -> BoolArray:
    _, along_m, off_m = _line(seen)
    above_m = np.maximum(seen.tool_m[:, 2] - PUSH_HEIGHT_M, 0.0)
    return (along_m < -0.04) & (along_m > -0.11) & (off_m < 0.75 * IN_LINE_M + WIDENING * above_m)


def _come_down(seen: Seen) -> Advice:
    return Advice(tool_m=at_height(_behind(seen), PUSH_HEIGHT_M), turn=upright(seen), gripper=CLOSE)


def _is_low_elsewhere(seen: Seen) -> BoolArray:
    return seen.tool_m[:, 2] < 0.75 * CLEAR_M


def _rise(seen: Seen) -> Advice:
    return Advice(tool_m=lifted(seen.tool_m, 0.05), turn=upright(seen), gripper=CLOSE)


def _go_behind(seen: Seen) -> Advice:
    return Advice(tool_m=at_height(_behind(seen), CLEAR_M), turn=upright(seen), gripper=CLOSE)


SCRIPT = (
    Phase(name="push", applies=_can_push, advise=_push),
    Phase(name="come down", applies=_is_behind, advise=_come_down),
    Phase(name="rise", applies=_is_low_elsewhere, advise=_rise),
    Phase(name="go behind", applies=always, advise=_go_behind),
)
