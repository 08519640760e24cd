"""What a scripted teacher is made of: phases that look at an observation and say where the tool should go.

A script keeps no memory. Its phase follows from what it sees, so that it can be asked in any state a student gets
itself into, as a vision-language-action model can, and not only in states it would have reached itself.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from vlajs.geometry import TOOL_DOWN_WXYZ, FloatArray, rotation
from vlajs.policy.contract import ObservationTerm

BoolArray = NDArray[np.bool_]

OPEN = 1.0
"""Gripper number that opens the hand."""
CLOSE = -1.0
"""Gripper number that closes it."""


@dataclass(frozen=True, kw_only=True)
class Seen:
    """Raw observations (M, D) by the names of their terms, in ``panda_link0``.

    Attributes:
        rows: (M, D).
        layout: the task's observation terms.
    """

    rows: FloatArray
    layout: tuple[ObservationTerm, ...]

    def __getitem__(self, name: str) -> FloatArray:
        """One term, (M, size).

        Raises:
            KeyError: the task's observation has no such term.
        """
        for term in self.layout:
            if term.name == name:
                return self.rows[:, term.start : term.stop]
        raise KeyError(f"no observation term {name!r}: the task has {', '.join(term.name for term in self.layout)}")

    def number(self, name: str) -> FloatArray:
        """A term of one number, (M,)."""
        return self[name][:, 0]

    def where(self, chosen: BoolArray) -> "Seen":
        """Only the rows where ``chosen`` (M,)."""
        return Seen(rows=self.rows[chosen], layout=self.layout)

    @property
    def count(self) -> int:
        """M."""
        return len(self.rows)

    @property
    def tool_m(self) -> FloatArray:
        """(M, 3) measured tool."""
        return self["tcp_position"]

    @cached_property
    def tool_rotation(self) -> Rotation:
        """M rotations from tool-down to the measured tool, in base axes."""
        if any(term.name == "tcp_rotation" for term in self.layout):
            return Rotation.from_rotvec(self["tcp_rotation"])
        opening, pointing = self["tcp_axes"][:, :3], self["tcp_axes"][:, 3:]
        matrix = np.stack([np.cross(opening, pointing), opening, pointing], axis=2)
        return Rotation.from_matrix(matrix) * rotation(TOOL_DOWN_WXYZ).inv()

    @property
    def target_m(self) -> FloatArray:
        """(M, 3) commanded tool: what a delta adds to."""
        return self["tcp_position"] + self["target_lead_position"]

    @cached_property
    def target_rotation(self) -> Rotation:
        """M rotations from tool-down to the commanded tool, in base axes."""
        return Rotation.from_rotvec(self["target_lead_rotation"]) * self.tool_rotation

    @property
    def hand_opened(self) -> BoolArray:
        """(M,) the hand was last told to open."""
        return self.number("gripper_command") > 0


@dataclass(frozen=True, kw_only=True)
class Advice:
    """Where the tool should be, for M environments.

    Attributes:
        tool_m: (M, 3) waypoint in the base frame.
        turn: M rotations from tool-down to the tool wanted, in base axes.
        gripper: ``OPEN`` or ``CLOSE``.
        haste: share of the greatest speed to go at, in (0, 1].
    """

    tool_m: FloatArray
    turn: Rotation
    gripper: float = OPEN
    haste: float = 1.0


@dataclass(frozen=True, kw_only=True)
class Phase:
    """One state of a task's machine.

    Attributes:
        name: what the teacher is doing.
        applies: which of the M environments are in it, (M,); the first phase of a script that applies is taken.
        advise: what to do there.
    """

    name: str
    applies: Callable[[Seen], BoolArray]
    advise: Callable[[Seen], Advice]


Script = Sequence[Phase]
"""A task's phases, last things first: a task that is nearly done must not fall back to reaching. The last applies
always."""


def always(seen: Seen) -> BoolArray:
    """For the phase that is left."""
    return np.ones(seen.count, dtype=bool)


def phase_of(script: Script, seen: Seen) -> NDArray[np.int64]:
    """Index (M,) of each environment's phase: the first that applies, the last one if none does."""
    applying = np.stack([phase.applies(seen) for phase in script[:-1]] + [always(seen)])
    return applying.argmax(axis=0)


def advise(script: Script, seen: Seen, phase: NDArray[np.int64]) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Deltas from the commanded tool towards each environment's waypoint.

    Args:
        script: the task's phases.
        seen: M observations.
        phase: (M,) which phase's advice to take.

    Returns:
        translation (M, 3) in metres and rotation vector (M, 3) in rad, in base axes, of any length; (M, 2) gripper
        number and haste.
    """
    move_m, turn_rad, manner = np.zeros((seen.count, 3)), np.zeros((seen.count, 3)), np.zeros((seen.count, 2))
    for index, entry in enumerate(script):
        rows = phase == index
        if not rows.any():
            continue
        some = seen.where(rows)
        advice = entry.advise(some)
        move_m[rows] = advice.tool_m - some.target_m
        turn_rad[rows] = (advice.turn * some.target_rotation.inv()).as_rotvec()
        manner[rows] = advice.gripper, advice.haste
    return move_m, turn_rad, manner


def upright(seen: Seen) -> Rotation:
    """M times the tool pointing straight down, as the arm starts."""
    return Rotation.identity(seen.count)


def heading(yaw_rad: FloatArray) -> Rotation:
    """Tool down, turned by ``yaw_rad`` (M,) about the base's z axis."""
    return Rotation.from_rotvec(np.outer(yaw_rad, [0.0, 0.0, 1.0]))


def yaw_of_turn(turn: Rotation) -> FloatArray:
    """Heading (M,) of the tool's x axis in the base's xy plane, rad."""
    x_axis = turn.apply([1.0, 0.0, 0.0])
    return np.arctan2(x_axis[:, 1], x_axis[:, 0])


def nearest_turn(yaw_rad: FloatArray, near_rad: FloatArray, period_rad: float) -> FloatArray:
    """The angle equal to ``yaw_rad`` modulo ``period_rad`` that is nearest to ``near_rad``, all (M,)."""
    half = period_rad / 2
    return near_rad + (yaw_rad - near_rad + half) % period_rad - half


def horizontal(vectors: FloatArray) -> FloatArray:
    """Length (M,) of vectors (M, 3) in the table's plane."""
    return np.hypot(vectors[:, 0], vectors[:, 1])


def lifted(points_m: FloatArray, by_m: float) -> FloatArray:
    """Points (M, 3) raised by ``by_m``."""
    return points_m + np.array([0.0, 0.0, by_m])


def at_height(points_m: FloatArray, z_m: float) -> FloatArray:
    """Points (M, 3) at height ``z_m`` above the table instead of their own."""
    return np.concatenate([points_m[:, :2], np.full((len(points_m), 1), z_m)], axis=1)
