"""What the tasks with a peg share: where it points, how it is held, and the phases until it is."""

from collections.abc import Callable
from dataclasses import dataclass

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

HOVER_M = 0.09
"""Height above the peg's axis from which the open hand comes down on it."""
OVER_M = 0.01
"""How far beside the place to grasp, across the peg, the tool may be when it comes down: a peg 50 mm wide leaves
15 mm on each side of an open hand."""
ALONG_M = 0.02
"""The same along the peg, where only the script's own choice of place is missed."""
CLOSE_WITHIN_M = 0.015
"""Height above the place to grasp at which the hand closes."""
YAW_OFF_RAD = 0.12
"""How far the fingers may be turned away from the peg's sides when the hand comes down."""


@dataclass(frozen=True, kw_only=True)
class Grasp:
    """How a task's peg is to be held.

    Attributes:
        axis: its direction (M, 3); for a peg whose ends are alike, of the end the task needs.
        half_width_m: (M,).
        place_m: from the peg's centre along ``axis`` to where the tool grasps, (M,).
        reach_m: from the peg's centre, how far along it the tool may be and still hold it, (M,).
    """

    axis: Callable[[Seen], FloatArray]
    half_width_m: Callable[[Seen], FloatArray]
    place_m: Callable[[Seen], FloatArray]
    reach_m: Callable[[Seen], FloatArray]

    def point_m(self, seen: Seen) -> FloatArray:
        """(M, 3) where the tool grasps, not below the workspace's floor."""
        point_m = seen["peg_position"] + self.place_m(seen)[:, None] * self.axis(seen)
        point_m[:, 2] = np.maximum(point_m[:, 2], 0.024)
        return point_m

    def turn(self, seen: Seen) -> Rotation:
        """Tool down with a finger on each side of the peg, the way round that is nearest."""
        axis = self.axis(seen)
        yaw_rad = np.arctan2(axis[:, 1], axis[:, 0])
        return heading(nearest_turn(yaw_rad, yaw_of_turn(seen.tool_rotation), np.pi))

    def around(self, seen: Seen) -> BoolArray:
        """(M,) the peg is where the fingers are."""
        axis = self.axis(seen)
        offset_m = seen.tool_m - seen["peg_position"]
        along_m = (offset_m * axis).sum(axis=1)
        beside_m = np.linalg.norm(offset_m - along_m[:, None] * axis, axis=1)
        return (np.abs(along_m) < self.reach_m(seen)) & (beside_m < 0.025)

    def holds(self, seen: Seen) -> BoolArray:
        """(M,) the hand was told to close, and the peg stopped it."""
        width_m = seen.number("gripper_width")
        stopped = np.abs(width_m - 2 * self.half_width_m(seen)) < 0.005
        return ~seen.hand_opened & stopped & self.around(seen)

    def phases(self) -> tuple[Phase, ...]:
        """Until the peg is held."""
        return (
            Phase(name="close", applies=self._closing, advise=self._close),
            Phase(name="come down", applies=self._is_over, advise=self._come_down),
            Phase(name="hover", applies=always, advise=self._hover),
        )

    def _off(self, seen: Seen) -> tuple[FloatArray, FloatArray, FloatArray]:
        """From the place to grasp to the tool: along the peg and across it in the table's plane, and up, (M,) each."""
        offset_m = seen.tool_m - self.point_m(seen)
        axis = self.axis(seen).copy()
        axis[:, 2] = 0.0
        axis /= np.maximum(horizontal(axis), 1e-6)[:, None]
        along_m = (offset_m * axis).sum(axis=1)
        return np.abs(along_m), horizontal(offset_m - along_m[:, None] * axis), offset_m[:, 2]

    def _closing(self, seen: Seen) -> BoolArray:
        along_m, across_m, up_m = self._off(seen)
        ready = (along_m < 1.5 * ALONG_M) & (across_m < 1.5 * OVER_M) & (up_m < CLOSE_WITHIN_M)
        on_the_way = ~seen.hand_opened & (seen.number("gripper_width") > 2 * self.half_width_m(seen) - 0.005)
        return ready | (on_the_way & self.around(seen))

    def _close(self, seen: Seen) -> Advice:
        return Advice(tool_m=seen.target_m, turn=seen.target_rotation, gripper=CLOSE)

    def _is_over(self, seen: Seen) -> BoolArray:
        along_m, across_m, _ = self._off(seen)
        wrong_rad = (self.turn(seen) * seen.tool_rotation.inv()).magnitude()
        return (along_m < ALONG_M) & (across_m < OVER_M) & (wrong_rad < YAW_OFF_RAD) & seen.hand_opened

    def _come_down(self, seen: Seen) -> Advice:
        return Advice(tool_m=self.point_m(seen), turn=self.turn(seen))

    def _hover(self, seen: Seen) -> Advice:
        _, across_m, up_m = self._off(seen)
        low = (up_m < 0.055) & (across_m > OVER_M)
        over_m = lifted(self.point_m(seen), HOVER_M)
        return Advice(tool_m=np.where(low[:, None], lifted(seen.tool_m, 0.06), over_m), turn=self.turn(seen))


def alike_ends(seen: Seen, prefer: FloatArray) -> FloatArray:
    """Direction (M, 3) of a peg whose ends are alike, from ``peg_axis2``: the one nearer to ``prefer`` (3,)."""
    xx, yy, zz, xy, xz, yz = seen["peg_axis2"].T
    columns = np.stack([np.stack([xx, xy, xz]), np.stack([xy, yy, yz]), np.stack([xz, yz, zz])])  # (3, 3, M)
    largest = np.stack([xx, yy, zz]).argmax(axis=0)  # its column is the longest, and not zero
    axis = columns[:, largest, np.arange(seen.count)].T
    axis = axis / np.maximum(np.linalg.norm(axis, axis=1, keepdims=True), 1e-9)
    return axis * np.where(axis @ prefer < 0, -1.0, 1.0)[:, None]


def turn_with(seen: Seen, axis: FloatArray, wanted: FloatArray) -> Rotation:
    """The tool's rotation that takes a held peg from ``axis`` to ``wanted``, both (M, 3), by the shortest way."""
    normal = np.cross(axis, wanted)
    sine = np.linalg.norm(normal, axis=1, keepdims=True)
    angle = np.arctan2(sine, (axis * wanted).sum(axis=1, keepdims=True))
    return Rotation.from_rotvec(normal / np.maximum(sine, 1e-9) * angle) * seen.tool_rotation
