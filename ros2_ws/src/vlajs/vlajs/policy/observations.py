"""The observation terms a policy can be trained on and how each is computed on the robot.

Every quantity is in ``panda_link0`` and can be measured on a real arm: no simulator state, no contact oracle, no
raw quaternion (their sign is arbitrary). Training computes the same terms as batched torch
(``vlajs_training.tasks.terms``); a test drives both with the same states.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from vlajs.geometry import TOOL_DOWN_WXYZ, FloatArray, Pose, rotation, rotvec_between, yaw_of


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """One instant as the robot's sensors give it, in ``panda_link0``.

    Attributes:
        tcp: measured tool pose.
        target: the bridge's current target pose.
        gripper_width_m: measured opening.
        gripper_command_m: opening last commanded to the hand, as the bridge reports it.
        objects: estimated pose of each object, by name.
        goal_m: goal position, shape (3,).
        half_sizes_m: shape (3,) by object, along its own axes, of the objects whose size differs from trial to trial;
            a hole's are half its depth and its two half openings.
    """

    tcp: Pose
    target: Pose
    gripper_width_m: float
    gripper_command_m: float
    objects: Mapping[str, Pose]
    goal_m: FloatArray
    half_sizes_m: Mapping[str, FloatArray] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class TermSpec:
    """What one term means.

    Attributes:
        size: how many numbers.
        unit: SI unit, "1" when dimensionless.
        source: who supplies it: "robot", "object:<name>" or "goal"; several are joined by "+".
        compute: from the inputs of one instant to an array of shape (size,).
        sized: the object whose size it also needs; None: of none.
    """

    size: int
    unit: str
    source: str
    compute: Callable[[Inputs], FloatArray]
    sized: str | None = None


def _cube_yaw4(inputs: Inputs) -> FloatArray:
    """cos and sin of four times the yaw: continuous and equal for the cube's four equal faces."""
    yaw = float(yaw_of(inputs.objects["cube"].quat_wxyz))
    return np.array([np.cos(4 * yaw), np.sin(4 * yaw)])


def _axis(pose: Pose, axis: int) -> FloatArray:
    """One of the body's own axes (0, 1, 2: x, y, z), a unit vector of shape (3,)."""
    return np.asarray(rotation(pose.quat_wxyz).apply(np.eye(3)[axis]), dtype=np.float64)


def _tcp_axes(inputs: Inputs) -> FloatArray:
    """The direction the fingers open in, then the one they point in: continuous, whichever way the tool is turned."""
    return np.concatenate([_axis(inputs.tcp, 1), _axis(inputs.tcp, 2)])


def _peg_axis2(inputs: Inputs) -> FloatArray:
    """Products xx, yy, zz, xy, xz, yz of the peg's direction: continuous and equal for a peg turned end for end."""
    x, y, z = _axis(inputs.objects["peg"], 0)
    return np.array([x * x, y * y, z * z, x * y, x * z, y * z])


def _half_sizes(inputs: Inputs, name: str) -> FloatArray:
    if name not in inputs.half_sizes_m:
        raise KeyError(
            f"the size of {name!r} is not known, it is an observation of this policy: measure it before the trial"
        )
    return inputs.half_sizes_m[name]


def _hole_from_peg_head(inputs: Inputs) -> FloatArray:
    """From the centre of the peg's leading face to the centre of the hole."""
    peg = inputs.objects["peg"]
    head_m = peg.position_m + _axis(peg, 0) * _half_sizes(inputs, "peg")[0]
    return inputs.objects["hole"].position_m - head_m


TERMS: dict[str, TermSpec] = {
    "tcp_position": TermSpec(size=3, unit="m", source="robot", compute=lambda i: i.tcp.position_m),
    "tcp_rotation": TermSpec(
        size=3, unit="rad", source="robot", compute=lambda i: rotvec_between(TOOL_DOWN_WXYZ, i.tcp.quat_wxyz)
    ),
    "target_lead_position": TermSpec(
        size=3, unit="m", source="robot", compute=lambda i: i.target.position_m - i.tcp.position_m
    ),
    "target_lead_rotation": TermSpec(
        size=3, unit="rad", source="robot", compute=lambda i: rotvec_between(i.tcp.quat_wxyz, i.target.quat_wxyz)
    ),
    "gripper_width": TermSpec(size=1, unit="m", source="robot", compute=lambda i: np.array([i.gripper_width_m])),
    "gripper_command": TermSpec(size=1, unit="m", source="robot", compute=lambda i: np.array([i.gripper_command_m])),
    "cube_position": TermSpec(size=3, unit="m", source="object:cube", compute=lambda i: i.objects["cube"].position_m),
    "cube_yaw4": TermSpec(size=2, unit="1", source="object:cube", compute=_cube_yaw4),
    "cube_from_tcp": TermSpec(
        size=3,
        unit="m",
        source="robot+object:cube",
        compute=lambda i: i.objects["cube"].position_m - i.tcp.position_m,
    ),
    "goal_position": TermSpec(size=3, unit="m", source="goal", compute=lambda i: i.goal_m),
    "goal_from_cube": TermSpec(
        size=3, unit="m", source="goal+object:cube", compute=lambda i: i.goal_m - i.objects["cube"].position_m
    ),
    "tcp_axes": TermSpec(size=6, unit="1", source="robot", compute=_tcp_axes),
    "peg_position": TermSpec(size=3, unit="m", source="object:peg", compute=lambda i: i.objects["peg"].position_m),
    "peg_axis": TermSpec(size=3, unit="1", source="object:peg", compute=lambda i: _axis(i.objects["peg"], 0)),
    "peg_axis2": TermSpec(size=6, unit="1", source="object:peg", compute=_peg_axis2),
    "peg_half_size": TermSpec(
        size=2, unit="m", source="object:peg", compute=lambda i: _half_sizes(i, "peg")[:2], sized="peg"
    ),
    "peg_from_tcp": TermSpec(
        size=3,
        unit="m",
        source="robot+object:peg",
        compute=lambda i: i.objects["peg"].position_m - i.tcp.position_m,
    ),
    "cube_from_peg": TermSpec(
        size=3,
        unit="m",
        source="object:peg+object:cube",
        compute=lambda i: i.objects["cube"].position_m - i.objects["peg"].position_m,
    ),
    "hole_position": TermSpec(size=3, unit="m", source="object:hole", compute=lambda i: i.objects["hole"].position_m),
    "hole_axis": TermSpec(size=3, unit="1", source="object:hole", compute=lambda i: _axis(i.objects["hole"], 0)),
    "hole_radius": TermSpec(
        size=1, unit="m", source="object:hole", compute=lambda i: _half_sizes(i, "hole")[1:2], sized="hole"
    ),
    "hole_from_peg_head": TermSpec(
        size=3, unit="m", source="object:peg+object:hole", compute=_hole_from_peg_head, sized="peg"
    ),
}
"""Known terms by name. ``tcp_rotation`` is the rotation in base axes from tool-down to the tool; the leads are how
far the target is ahead of the measured pose. A peg lies along its own x axis: ``peg_axis`` points to the end that goes
first, ``peg_axis2`` is for a peg whose ends are alike. A hole's x axis points into it. ``peg_half_size`` is half the
length, then half the width."""


def assemble(term_names: list[str], inputs: Inputs) -> FloatArray:
    """The observation vector of a contract, shape (sum of sizes,).

    Raises:
        KeyError: an object of the terms is missing from ``inputs``.
        ValueError: a number is not finite; the message names the term.
    """
    parts: list[FloatArray] = []
    for name in term_names:
        values = TERMS[name].compute(inputs)
        if not np.all(np.isfinite(values)):
            raise ValueError(f"observation term {name!r} is not finite: {values}; check its source")
        parts.append(np.asarray(values, dtype=np.float64))
    return np.concatenate(parts)


def required_objects(term_names: list[str]) -> set[str]:
    """Names of the objects whose poses the terms need."""
    sources = (source for name in term_names for source in TERMS[name].source.split("+"))
    return {source.removeprefix("object:") for source in sources if source.startswith("object:")}
