"""PickCube: over the cube, down, close, carry to the goal."""

import numpy as np
from scipy.spatial.transform import Rotation

from vlajs.geometry import FloatArray
from vlajs_training.teachers.script import (
    CLOSE,
    Advice,
    BoolArray,
    Phase,
    Seen,
    always,
    heading,
    horizontal,
    lifted,
    nearest_turn,
    yaw_of_turn,
)

CUBE_WIDTH_M = 0.04
HELD_WITHIN_M = 0.02
"""Distance of the tool from the centre of a cube that it holds."""
HOVER_M = 0.07
"""Height above the cube's centre from which the open hand comes down on it."""
OVER_M = 0.012
"""How far beside the cube the tool may be at the end of its way down: the open hand leaves 20 mm on each side."""
OVER_RAD = 0.15
"""How far the fingers may be turned from the cube's faces there."""
WIDENING = 0.3
"""By how much more the tool may be beside the cube for each metre above it. A student explores in strides of 15 mm and
more: over a narrower way down it would be sent sideways and down in turns, and end up between the two."""
WIDENING_RAD_M = 4.0
"""The same for the turn."""
CLOSE_WITHIN_M = 0.012
"""Height above the cube's centre at which the hand closes: earlier, a finger could land on it."""


def between_fingers(seen: Seen) -> BoolArray:
    """(M,) the cube is where the fingers are."""
    return np.linalg.norm(seen["cube_position"] - seen.tool_m, axis=1) < HELD_WITHIN_M


def holds_cube(seen: Seen) -> BoolArray:
    """(M,) the hand was told to close, and the cube stopped it."""
    width_m = seen.number("gripper_width")
    stopped = (width_m > CUBE_WIDTH_M - 0.008) & (width_m < CUBE_WIDTH_M + 0.004)
    return ~seen.hand_opened & stopped & between_fingers(seen)


def face_turn(seen: Seen) -> Rotation:
    """Tool down with the fingers on two faces of the cube, the way round that is nearest."""
    cos_sin = seen["cube_yaw4"]
    yaw_rad = np.arctan2(cos_sin[:, 1], cos_sin[:, 0]) / 4
    return heading(nearest_turn(yaw_rad, yaw_of_turn(seen.tool_rotation), np.pi / 2))


def level(seen: Seen) -> Rotation:
    """Tool down at its present heading: what is held keeps its yaw."""
    return heading(yaw_of_turn(seen.target_rotation))


def _carry(seen: Seen) -> Advice:
    # where the tool is when the cube is at the goal
    offset_m = seen.tool_m - seen["cube_position"]
    return Advice(tool_m=seen["goal_position"] + offset_m, turn=level(seen), gripper=CLOSE)


def closing(seen: Seen) -> BoolArray:
    """(M,) the fingers are around the cube: close, or go on closing."""
    offset_m = seen.tool_m - seen["cube_position"]
    around = (horizontal(offset_m) < OVER_M + 0.004) & (offset_m[:, 2] < CLOSE_WITHIN_M)
    on_the_way = ~seen.hand_opened & (seen.number("gripper_width") > CUBE_WIDTH_M - 0.008)
    return between_fingers(seen) & (around | on_the_way)


def close_here(seen: Seen) -> Advice:
    """Stay on the cube and close."""
    return Advice(tool_m=grasp_point(seen), turn=level(seen), gripper=CLOSE, haste=0.3)


def grasp_point(seen: Seen) -> FloatArray:
    """(M, 3) where the tool grasps: the cube's centre, not below the workspace's floor."""
    point_m = seen["cube_position"].copy()
    point_m[:, 2] = np.maximum(point_m[:, 2], 0.023)
    return point_m


def over_cube(seen: Seen) -> BoolArray:
    """(M,) the tool is over the cube and turned to its faces, the more roughly the higher it still is.

    Whatever the hand does: it is told to open on the way down, but a student that has yet to learn what its hand is for
    must not be kept in the air for it.
    """
    offset_m = seen.tool_m - seen["cube_position"]
    above_m = np.maximum(offset_m[:, 2], 0.0)
    wrong_rad = (face_turn(seen) * seen.tool_rotation.inv()).magnitude()
    return (horizontal(offset_m) < OVER_M + WIDENING * above_m) & (wrong_rad < OVER_RAD + WIDENING_RAD_M * above_m)


def come_down(seen: Seen) -> Advice:
    """Down on the cube, open."""
    return Advice(tool_m=grasp_point(seen), turn=face_turn(seen))


def hover(seen: Seen) -> Advice:
    """Over the cube, open; a low tool that is beside it rises first."""
    cube_m = seen["cube_position"]
    over_m = lifted(cube_m, HOVER_M)
    offset_m = seen.tool_m - cube_m
    low = (offset_m[:, 2] < 0.05) & (horizontal(offset_m) > OVER_M)
    rise_m = lifted(seen.tool_m, 0.06)
    return Advice(tool_m=np.where(low[:, None], rise_m, over_m), turn=face_turn(seen))


GRASP = (
    Phase(name="close", applies=closing, advise=close_here),
    Phase(name="come down", applies=over_cube, advise=come_down),
    Phase(name="hover", applies=always, advise=hover),
)
"""The phases until the cube is held, for every task that begins so."""

SCRIPT = (Phase(name="carry", applies=holds_cube, advise=_carry), *GRASP)
