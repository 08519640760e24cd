"""Observations for scripts, put together term by term."""

import numpy as np
from scipy.spatial.transform import Rotation

from vlajs.policy.contract import terms
from vlajs_training.tasks import get_definition
from vlajs_training.teachers.script import Seen, advise, phase_of
from vlajs_training.teachers.scripts import SCRIPTS

DOWN_AXES = [0.0, -1.0, 0.0, 0.0, 0.0, -1.0]
"""``tcp_axes`` of the tool pointing down: the fingers open along -y."""
FLAT_PEG = [1.0, 0.0, 0.0, 0.0, 0.0, 0.0]
"""``peg_axis2`` of a peg along x."""
OPEN_HAND = {"gripper_width": [0.08], "gripper_command": [0.08]}


def see(task: str, **values: object) -> Seen:
    """One environment of a task; terms that are not given are zero, an untouched hand and tool are as at the start."""
    layout = terms(list(get_definition(task).terms))
    given = {"tcp_axes": DOWN_AXES, **values}
    row = np.zeros(layout[-1].stop)
    for term in layout:
        if term.name in given:
            row[term.start : term.stop] = given.pop(term.name)
    given.pop("tcp_axes", None)
    assert not given, f"{task} has no terms {sorted(given)}"
    return Seen(rows=row[None], layout=layout)


def axes_of(turn: Rotation) -> np.ndarray:
    """``tcp_axes`` of a tool turned by ``turn`` from pointing down."""
    return np.concatenate([turn.apply(DOWN_AXES[:3]), turn.apply(DOWN_AXES[3:])])


def answer(task: str, seen: Seen) -> tuple[str, np.ndarray, np.ndarray, float]:
    """Phase, translation, rotation vector and gripper number for one environment."""
    script = SCRIPTS[task]
    phase = phase_of(script, seen)
    move_m, turn_rad, manner = advise(script, seen, phase)
    return script[int(phase[0])].name, move_m[0], turn_rad[0], float(manner[0, 0])
