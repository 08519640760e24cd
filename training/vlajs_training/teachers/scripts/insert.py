"""PegInsertionSide: grasp the peg behind its middle, bring its head before the hole, align, push it in."""

import numpy as np
from scipy.spatial.transform import Rotation

from vlajs.geometry import FloatArray
from vlajs_training.teachers.script import CLOSE, Advice, BoolArray, Phase, Seen, lifted
from vlajs_training.teachers.scripts.peg import Grasp, turn_with

BEFORE_M = 0.03
"""From the peg's head to the box's face while it is aligned."""
ENTER_OFF_M = 0.0025
"""How far beside the hole's axis the head may be to go in; the hole is 3 mm wider than the peg all round."""
ENTER_TURN_RAD = 0.03
"""How far the peg may be turned away from the hole's axis to go in."""
INSIDE_OFF_M = 0.008
"""The same once the head is inside, where the walls keep it."""
INSIDE_TURN_RAD = 0.1
BEYOND_M = 0.01
"""How far past the middle of the box the head is pushed."""
SAFE_M = 0.06
"""Height of the peg's axis from which it is carried and turned: its other end must not scrape along the table."""


def _half_length_m(seen: Seen) -> FloatArray:
    return seen["peg_half_size"][:, 0]


GRASP = Grasp(
    axis=lambda seen: seen["peg_axis"],
    half_width_m=lambda seen: seen["peg_half_size"][:, 1],
    # ManiSkill's own solution grasps there too: the fingers must stay outside of the box
    place_m=lambda seen: -np.maximum(0.05, _half_length_m(seen) / 2 + 0.01),
    reach_m=_half_length_m,
)


def _head_in_hole(seen: Seen) -> tuple[FloatArray, FloatArray, FloatArray]:
    """How far the peg's head is past the box's middle along the hole (M,) and beside its axis (M, 3); angle (M,)."""
    axis, hole_axis = seen["peg_axis"], seen["hole_axis"]
    offset_m = seen["peg_position"] + _half_length_m(seen)[:, None] * axis - seen["hole_position"]
    past_m = (offset_m * hole_axis).sum(axis=1)
    angle_rad = np.arccos(np.clip((axis * hole_axis).sum(axis=1), -1.0, 1.0))
    return past_m, offset_m - past_m[:, None] * hole_axis, angle_rad


def _can_enter(seen: Seen) -> BoolArray:
    past_m, beside_m, angle_rad = _head_in_hole(seen)
    off_m = np.linalg.norm(beside_m, axis=1)
    outside = (off_m < ENTER_OFF_M) & (angle_rad < ENTER_TURN_RAD) & (past_m > -_half_length_m(seen) - 2 * BEFORE_M)
    inside = (off_m < INSIDE_OFF_M) & (angle_rad < INSIDE_TURN_RAD) & (past_m > -_half_length_m(seen))
    return GRASP.holds(seen) & (outside | inside)


def _to_hole(seen: Seen) -> Rotation:
    return turn_with(seen, seen["peg_axis"], seen["hole_axis"])


def _tool_for(seen: Seen, past_m: FloatArray) -> FloatArray:
    """Where the tool is (M, 3) when the peg it holds is on the hole's axis, its head ``past_m`` (M,) past the middle.

    The tool turns with the peg, so that its place relative to the peg's middle turns too.
    """
    turn = _to_hole(seen) * seen.tool_rotation.inv()
    from_middle_m = turn.apply(seen.tool_m - seen["peg_position"])
    middle_m = seen["hole_position"] + (past_m - _half_length_m(seen))[:, None] * seen["hole_axis"]
    return middle_m + from_middle_m


def _enter(seen: Seen) -> Advice:
    wanted_m = _tool_for(seen, np.full(seen.count, BEYOND_M))
    return Advice(tool_m=wanted_m, turn=_to_hole(seen), gripper=CLOSE, haste=0.5)


def _is_raised(seen: Seen) -> BoolArray:
    return GRASP.holds(seen) & (seen["peg_position"][:, 2] > SAFE_M / 2)


def _align(seen: Seen) -> Advice:
    wanted_m = _tool_for(seen, -_half_length_m(seen) - BEFORE_M)
    return Advice(tool_m=wanted_m, turn=_to_hole(seen), gripper=CLOSE)


def _raise(seen: Seen) -> Advice:
    return Advice(tool_m=lifted(seen.tool_m, SAFE_M), turn=seen.target_rotation, gripper=CLOSE)


SCRIPT = (
    Phase(name="enter", applies=_can_enter, advise=_enter),
    Phase(name="align", applies=_is_raised, advise=_align),
    Phase(name="raise", applies=GRASP.holds, advise=_raise),
    *GRASP.phases(),
)
