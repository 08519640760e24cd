"""Ways to say what each task asks for: those a model is trained with, and others it is asked with to be judged.

The first phrasing of a task is its own instruction (``vlajs.tasks``), which robots and sessions use. No other names
the colour of a cube or goal: demonstrations show them in any (``--repaint``).
"""

from dataclasses import dataclass

from vlajs.tasks import TASKS


@dataclass(frozen=True, kw_only=True)
class Phrasings:
    """Of one task.

    Attributes:
        training: seen in training.
        held_out: never seen in training.
    """

    training: tuple[str, ...]
    held_out: tuple[str, ...]


def _of(task: str, others: tuple[str, ...], held_out: tuple[str, ...]) -> Phrasings:
    return Phrasings(training=(TASKS[task].instruction, *others), held_out=held_out)


PHRASINGS: dict[str, Phrasings] = {
    "push_cube": _of(
        "push_cube",
        (
            "push the cube forward onto the target",
            "slide the cube away from the robot",
            "shove the block forward into the circle",
            "move the block straight ahead by pushing it",
            "push the box onto the bullseye in front of it",
        ),
        ("push the block away from you", "slide the cube forward to the target disc", "nudge the cube ahead"),
    ),
    "pick_cube": _of(
        "pick_cube",
        (
            "grasp the cube and lift it to the ball",
            "take the cube and hold it at the marked point",
            "grab the block and bring it to the sphere",
            "pick the block up from the table",
            "lift the cube to the goal in the air",
        ),
        ("pick up the block", "grab the cube and raise it to the dot", "lift the cube up"),
    ),
    "pick_place_cube": _of(
        "pick_place_cube",
        (
            "put the cube on the small target",
            "carry the cube to the mark on the table and let go",
            "move the block onto the marked spot and release it",
            "pick up the block and put it down on the spot",
            "place the cube on the little disc",
        ),
        (
            "put the block down on the marked place",
            "take the cube and set it on the small disc",
            "pick the cube up and put it on the mark",
        ),
    ),
    "push_cube_v2": _of(
        "push_cube_v2",
        (
            "slide the block to the left onto the target",
            "push the box sideways into the circle",
            "shove the cube left",
            "move the cube to the left by pushing it",
            "push the block left to the bullseye",
        ),
        ("push the block leftwards", "slide the cube left to the target disc", "nudge the box left"),
    ),
    "lift_peg_upright": _of(
        "lift_peg_upright",
        (
            "stand the peg on its end",
            "set the long bar upright on the table",
            "raise the lying stick so that it stands",
            "turn the peg up until it stands vertically",
            "put the peg on its end",
        ),
        ("make the peg stand up", "stand the bar upright", "lift the stick until it is vertical"),
    ),
    "poke_cube": _of(
        "poke_cube",
        (
            "use the blue stick to push the cube",
            "grab the peg and poke the cube with it",
            "take the blue tool and shove the cube to the target",
            "poke the cube with the blue peg",
            "push the block with the tip of the stick",
        ),
        (
            "poke the block using the stick",
            "take the peg and push the cube with it",
            "push the cube with the blue bar",
        ),
    ),
    "peg_insertion_side": _of(
        "peg_insertion_side",
        (
            "put the peg into the hole of the box",
            "insert the stick into the box from the side",
            "grasp the peg and push it into the hole",
            "plug the peg into the wooden box",
            "stick the orange end of the peg into the hole",
        ),
        ("slide the peg into the hole", "put the stick in the box's hole", "insert the bar sideways into the box"),
    ),
}
"""By task."""


def all_phrasings() -> tuple[str, ...]:
    """Every phrasing there is, in a fixed order."""
    return tuple(
        phrase for known in PHRASINGS.values() for group in (known.training, known.held_out) for phrase in group
    )
