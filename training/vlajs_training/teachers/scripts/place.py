"""PickPlaceCube: grasp as for PickCube, carry the cube above the table to the spot, set it down, let go, withdraw."""

import numpy as np

from vlajs.geometry import FloatArray
from vlajs_training.teachers.script import CLOSE, OPEN, Advice, BoolArray, Phase, Seen, horizontal, lifted
from vlajs_training.teachers.scripts.pick import GRASP, HELD_WITHIN_M, holds_cube, level

HALF_SIZE_M = 0.02
ON_SPOT_M = 0.012
"""How far from the spot's centre a cube may be set down; success allows 25 mm."""
LOWER_WITHIN_M = 0.02
"""Distance from the spot at which lowering begins."""
CARRY_M = 0.075
"""Height of the cube's centre while it is carried."""
RESTS_BELOW_M = 0.024
"""Height of its centre below which it stands on the table."""
AWAY_M = 0.1
"""How far above the cube the tool withdraws; success asks for 60 mm."""


def _off_m(seen: Seen) -> FloatArray:
    """Distance (M,) of the cube from the spot in the table's plane."""
    return horizontal(seen["goal_position"] - seen["cube_position"])


def _rests_on_spot(seen: Seen) -> BoolArray:
    return (_off_m(seen) < ON_SPOT_M + 0.008) & (seen["cube_position"][:, 2] < RESTS_BELOW_M)


def _is_free(seen: Seen) -> BoolArray:
    """The cube rests on the spot, and the open hand no longer touches it."""
    let_go = seen.hand_opened & (seen.number("gripper_width") > 2 * HALF_SIZE_M + 0.008)
    return _rests_on_spot(seen) & (let_go | (seen.tool_m[:, 2] > 2 * HALF_SIZE_M + HELD_WITHIN_M))


def _withdraw(seen: Seen) -> Advice:
    away_m = seen.tool_m.copy()
    away_m[:, 2] = seen["cube_position"][:, 2] + AWAY_M
    return Advice(tool_m=away_m, turn=level(seen), gripper=OPEN)


def _let_go(seen: Seen) -> Advice:
    return Advice(tool_m=seen.target_m, turn=seen.target_rotation, gripper=OPEN)


def _tool_for(seen: Seen, cube_m: FloatArray) -> FloatArray:
    """Where the tool is (M, 3) when the cube it holds is at ``cube_m`` (M, 3)."""
    return cube_m + seen.tool_m - seen["cube_position"]


def _spot_m(seen: Seen, height_m: FloatArray) -> FloatArray:
    return np.concatenate([seen["goal_position"][:, :2], height_m[:, None]], axis=1)


def _is_above_spot(seen: Seen) -> BoolArray:
    return holds_cube(seen) & (_off_m(seen) < LOWER_WITHIN_M)


def _lower(seen: Seen) -> Advice:
    down_m = _tool_for(seen, _spot_m(seen, np.full(seen.count, HALF_SIZE_M)))
    return Advice(tool_m=down_m, turn=level(seen), gripper=CLOSE, haste=0.7)


def _carry(seen: Seen) -> Advice:
    """Up, then across: below half the height a neighbour on the table would be struck."""
    low = seen["cube_position"][:, 2] < CARRY_M / 2
    over_m = _tool_for(seen, _spot_m(seen, np.full(seen.count, CARRY_M)))
    up_m = lifted(seen.tool_m, CARRY_M)
    return Advice(tool_m=np.where(low[:, None], up_m, over_m), turn=level(seen), gripper=CLOSE)


SCRIPT = (
    Phase(name="withdraw", applies=_is_free, advise=_withdraw),
    Phase(name="let go", applies=_rests_on_spot, advise=_let_go),
    Phase(name="lower", applies=_is_above_spot, advise=_lower),
    Phase(name="carry", applies=holds_cube, advise=_carry),
    *GRASP,
)
