"""Where the tool was when an image was taken: images arrive later than the robot's poses."""

from collections import deque
from dataclasses import dataclass, replace

import numpy as np

from vlajs_perception.rigid import FloatArray, checked_transform, exp, log, transform

_MOMENT_NS = 10_000_000
"""Fingers close by 2 mm in this time."""


@dataclass(frozen=True, kw_only=True)
class Gripper:
    """What the hand does.

    Attributes:
        closing: it has been told to close and has not come to rest.
        grasped: it has closed on something.
        closed: its fingers are together, with nothing between them.
        width_m: distance of its fingers; None if that is not known.
        closing_m_s: how fast that becomes less; None if it is not known.
    """

    closing: bool = False
    grasped: bool = False
    closed: bool = False
    width_m: float | None = None
    closing_m_s: float | None = None

    @property
    def grips(self) -> bool:
        """Whether it closes on something, or has."""
        return self.closing or self.grasped


@dataclass(frozen=True, kw_only=True)
class HandMoment:
    """Tool and hand at one time.

    Attributes:
        tool_in_base: shape (4, 4).
        gripper: what the hand did.
    """

    tool_in_base: FloatArray
    gripper: Gripper


class ToolHistory:
    """The tool's poses of the last moments, and what the hand did. Stamps only go forward."""

    def __init__(self, *, keep_s: float = 2.0, max_gap_s: float = 0.1) -> None:
        """An empty history.

        Args:
            keep_s: how far back it reaches.
            max_gap_s: a time further than this from the nearest pose has none.

        Raises:
            ValueError: a time that is not positive.
        """
        for name, value in (("keep_s", keep_s), ("max_gap_s", max_gap_s)):
            if not (np.isfinite(value) and value > 0):
                raise ValueError(f"{name} is {value}, it must be positive and finite")
        self._keep_ns, self._max_gap_ns = int(keep_s * 1e9), int(max_gap_s * 1e9)
        self._poses: deque[tuple[int, FloatArray]] = deque()
        self._grippers: deque[tuple[int, Gripper]] = deque()

    def clear(self) -> None:
        """Forget everything: after a clock that jumped."""
        self._poses.clear()
        self._grippers.clear()

    def add_pose(self, tool_in_base: FloatArray, stamp_ns: int) -> None:
        """Remember a pose (4, 4); one that is not later than the last is dropped.

        Raises:
            TransformError: it is no rigid motion.
        """
        pose = checked_transform(tool_in_base, "tool_in_base")
        if not self._poses or stamp_ns > self._poses[-1][0]:
            self._poses.append((stamp_ns, pose))
        while self._poses[0][0] < stamp_ns - self._keep_ns:
            self._poses.popleft()

    def add_gripper(self, gripper: Gripper, stamp_ns: int) -> None:
        """Remember what the hand did from then on."""
        if not self._grippers or stamp_ns > self._grippers[-1][0]:
            self._grippers.append((stamp_ns, gripper))
        while len(self._grippers) > 1 and self._grippers[1][0] < stamp_ns - self._keep_ns:
            self._grippers.popleft()

    def tool_at(self, stamp_ns: int) -> FloatArray | None:
        """The tool's pose (4, 4) at a time, between the two nearest, or the nearest one; None if that is too far."""
        later = next((index for index, (at_ns, _) in enumerate(self._poses) if at_ns >= stamp_ns), len(self._poses))
        after = self._poses[later] if later < len(self._poses) else None
        before = self._poses[later - 1] if later > 0 else None
        if before is not None and after is not None and after[0] - before[0] <= 2 * self._max_gap_ns:
            return _between(before[1], after[1], (stamp_ns - before[0]) / (after[0] - before[0]))
        near = [item for item in (before, after) if item is not None and abs(item[0] - stamp_ns) <= self._max_gap_ns]
        return min(near, key=lambda item: abs(item[0] - stamp_ns))[1] if near else None

    def path_m(self, from_ns: int, to_ns: int) -> FloatArray:
        """Where the tool's middle was between two times, shape (n, 3); empty if that is not known."""
        ends = self.tool_at(from_ns), self.tool_at(to_ns)
        if ends[0] is None or ends[1] is None:
            return np.zeros((0, 3))
        between = [pose for at_ns, pose in self._poses if from_ns < at_ns < to_ns]
        return np.array([pose[:3, 3] for pose in (ends[0], *between, ends[1])])

    def gripper_at(self, stamp_ns: int) -> Gripper:
        """What the hand did at a time: what it was last said to do before, its width between that and what was said
        next, its speed there, or of late where nothing was said since; open if that is not known."""
        before = [item for item in self._grippers if item[0] <= stamp_ns]
        after = next((item for item in self._grippers if item[0] > stamp_ns), None)
        if not before:
            return Gripper()
        said_ns, said = before[-1]
        if after is None or after[1].width_m is None:
            return said if len(before) < 2 else replace(said, closing_m_s=_closing_m_s(before[-2], before[-1]))
        if said.width_m is None:
            return said
        share = (stamp_ns - said_ns) / (after[0] - said_ns)
        width_m = (1 - share) * said.width_m + share * after[1].width_m
        return replace(said, width_m=width_m, closing_m_s=_closing_m_s(before[-1], after))

    def moments(self, from_ns: int, to_ns: int) -> list[HandMoment]:
        """Tool and hand after one time and up to another, in order, about 10 ms apart; the last is of ``to_ns``, if it
        is known where the tool was then."""
        stamps_ns: list[int] = []
        for at_ns, _ in self._poses:
            if max(from_ns, stamps_ns[-1] if stamps_ns else from_ns) + _MOMENT_NS <= at_ns < to_ns:
                stamps_ns.append(at_ns)
        poses = [(at_ns, self.tool_at(at_ns)) for at_ns in (*stamps_ns, to_ns)]
        return [
            HandMoment(tool_in_base=tool, gripper=self.gripper_at(at_ns)) for at_ns, tool in poses if tool is not None
        ]


def _closing_m_s(before: tuple[int, Gripper], after: tuple[int, Gripper]) -> float | None:
    """How fast the fingers came together between two times; None where a width is not known."""
    widths_m = before[1].width_m, after[1].width_m
    if widths_m[0] is None or widths_m[1] is None:
        return None
    return (widths_m[0] - widths_m[1]) / ((after[0] - before[0]) * 1e-9)


def _between(before: FloatArray, after: FloatArray, share: float) -> FloatArray:
    position_m = (1 - share) * before[:3, 3] + share * after[:3, 3]
    turn = exp(share * log(after[:3, :3] @ before[:3, :3].T))
    return transform(position_m, turn @ before[:3, :3])
