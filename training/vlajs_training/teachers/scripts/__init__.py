"""The scripts by task."""

from vlajs_training.teachers.script import Script
from vlajs_training.teachers.scripts import insert, lift_peg, pick, place, poke, push

SCRIPTS: dict[str, Script] = {
    "lift_peg_upright": lift_peg.SCRIPT,
    "peg_insertion_side": insert.SCRIPT,
    "pick_cube": pick.SCRIPT,
    "pick_place_cube": place.SCRIPT,
    "poke_cube": poke.SCRIPT,
    "push_cube": push.SCRIPT,
    "push_cube_v2": push.SCRIPT,
}
