"""One view of the board: what the camera saw, and where the tool was and how still it stood."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vlajs_perception.calibration.board import Detection
from vlajs_perception.calibration.errors import CalibrationError
from vlajs_perception.calibration.se3 import checked_pose, step_between

FloatArray = NDArray[np.float64]

Kind = Literal["eye_to_hand", "eye_in_hand"]
"""eye_to_hand: the camera stands, the tool holds the board. eye_in_hand: the tool carries the camera."""


@dataclass(frozen=True, kw_only=True)
class ToolReading:
    """Where the tool was when an image was taken, and how still it stood.

    Attributes:
        tool_in_base: shape (4, 4), the same tool frame in all views of a set.
        stamp_ns: when it was there, on the image's clock.
        speed_m_s: fastest motion of its origin around the image.
        turning_rad_s: fastest rotation around the image.
    """

    tool_in_base: FloatArray
    stamp_ns: int
    speed_m_s: float
    turning_rad_s: float

    def __post_init__(self) -> None:
        """Refuse what no robot reports.

        Raises:
            CalibrationError: a pose that is none, or a speed that is negative or not finite.
        """
        object.__setattr__(self, "tool_in_base", checked_pose(self.tool_in_base, "tool_in_base"))
        for name in ("speed_m_s", "turning_rad_s"):
            if not 0 <= getattr(self, name) < np.inf:
                raise CalibrationError(f"{name} is {getattr(self, name)}, must be finite and not negative")


def reading_at(
    stamp_ns: int, stamps_ns: ArrayLike, tools_in_base: ArrayLike, *, window_ns: int = 200_000_000
) -> ToolReading:
    """The pose nearest in time to an image among poses of shape (N, 4, 4), with the motion around it.

    Args:
        stamp_ns: when the image was taken.
        stamps_ns: shape (N,), rising, on the same clock.
        tools_in_base: shape (N, 4, 4).
        window_ns: motion is looked for up to this much before and after the image.

    Raises:
        CalibrationError: fewer than two poses in the window, or stamps that do not rise.
    """
    stamps = np.asarray(stamps_ns, dtype=np.int64)
    poses = np.asarray(tools_in_base, dtype=np.float64)
    if poses.shape != (len(stamps), 4, 4) or np.any(np.diff(stamps) <= 0):
        raise CalibrationError(
            f"tool poses have shape {poses.shape} for {len(stamps)} stamps; needed are (N, 4, 4) and rising stamps"
        )
    near = np.flatnonzero(np.abs(stamps - stamp_ns) <= window_ns)
    if len(near) < 2:
        raise CalibrationError(
            f"{len(near)} tool poses lie within {window_ns / 1e6:.0f} ms of the image, two are needed to see that the "
            "tool stood still: is the bridge running, and are both stamps on one clock?"
        )
    steps = [step_between(checked_pose(poses[i], "tool_in_base"), poses[i + 1]) for i in near[:-1]]
    seconds = np.diff(stamps[near]) / 1e9
    nearest = near[int(np.argmin(np.abs(stamps[near] - stamp_ns)))]
    return ToolReading(
        tool_in_base=poses[nearest],
        stamp_ns=int(stamps[nearest]),
        speed_m_s=float(max(np.linalg.norm(s[:3]) / t for s, t in zip(steps, seconds, strict=True))),
        turning_rad_s=float(max(np.linalg.norm(s[3:]) / t for s, t in zip(steps, seconds, strict=True))),
    )


@dataclass(frozen=True, kw_only=True)
class View:
    """One image's worth of a calibration.

    Attributes:
        number: from 1, as in the file names.
        stamp_ns: when the image was taken.
        detection: what of the board it shows.
        tool: where the tool was.
    """

    number: int
    stamp_ns: int
    detection: Detection
    tool: ToolReading
