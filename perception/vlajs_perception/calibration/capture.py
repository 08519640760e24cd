"""Which images become views: fresh ones, of a tool at rest, at a pose that adds something, with the board in sight."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from vlajs_perception.calibration import quality
from vlajs_perception.calibration.board import Image
from vlajs_perception.calibration.errors import CalibrationError, NotSeenError
from vlajs_perception.calibration.folder import ViewFolder
from vlajs_perception.calibration.quality import Limits
from vlajs_perception.calibration.se3 import step_between
from vlajs_perception.calibration.views import FloatArray, ToolReading, View, reading_at

WINDOW_NS = 200_000_000
"""The tool must have stood still from this long before an image until this long after it."""
MAX_AHEAD_NS = 50_000_000
"""An image stamped further ahead of now is of another clock."""


@dataclass(frozen=True, kw_only=True)
class CaptureLimits:
    """When an image is taken.

    Raises:
        CalibrationError: a limit that is not positive.
    """

    max_image_age_s: float = 1.0
    """An older image is refused: the camera or the network hangs, or the clocks disagree."""
    min_new_mm: float = 30.0
    """A view is new when the tool is this far from where it was in every other view,"""
    min_new_deg: float = 8.0
    """or turned by this much."""

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not 0 < value < np.inf:
                raise CalibrationError(f"{name} is {value}, must be a positive number")


@dataclass(frozen=True, kw_only=True)
class Offer:
    """What became of an image.

    Attributes:
        view: as stored; None where the image was not taken.
        reason: why not, or that it was, in words for whoever moves the arm.
    """

    view: View | None
    reason: str


class Collector:
    """Takes views into a folder, goes on where it stopped."""

    def __init__(self, folder: ViewFolder, limits: CaptureLimits | None = None, demands: Limits | None = None) -> None:
        """Take up the views that are there.

        Args:
            folder: views go there.
            limits: when an image is taken.
            demands: what ``solve`` will ask of the set.

        Raises:
            CalibrationError: a view that is there is damaged.
        """
        self._folder = folder
        self._limits, self._demands = limits or CaptureLimits(), demands or Limits()
        self._views = folder.views()
        self._latest_ns = 0

    @property
    def views(self) -> tuple[View, ...]:
        """All views of the set."""
        return tuple(self._views)

    def refusal_of_stamp(self, stamp_ns: int, now_ns: int) -> str | None:
        """Why an image with this stamp, looked at now on the same clock, must not be used; None if it may."""
        if stamp_ns <= 0:
            return "the image has no stamp: it cannot be matched with a tool pose; have the camera's driver stamp it"
        if stamp_ns <= self._latest_ns:
            return "the image is not newer than the one before: the camera is frozen; restart its driver"
        age_s = (now_ns - stamp_ns) / 1e9
        if age_s > self._limits.max_image_age_s:
            return (
                f"the image is {age_s:.2f} s old, limit {self._limits.max_image_age_s:g} s: camera or network hang, or "
                "the clocks of camera and robot disagree"
            )
        if stamp_ns - now_ns > MAX_AHEAD_NS:
            return f"the image is stamped {-age_s:.2f} s ahead: the clocks of camera and robot disagree; set them alike"
        return None

    def offer(
        self, image: Image, *, stamp_ns: int, now_ns: int, tool_stamps_ns: ArrayLike, tools_in_base: ArrayLike
    ) -> Offer:
        """Take an image as a view, or say why not.

        Args:
            image: shape (H, W) or (H, W, 3) in BGR, as taken.
            stamp_ns: when it was taken.
            now_ns: when it arrived, on the same clock.
            tool_stamps_ns: shape (N,), rising, on the same clock, up to :data:`WINDOW_NS` after the image.
            tools_in_base: shape (N, 4, 4).

        Raises:
            CalibrationError: an image of another size or type, or tool poses that are none.
            OSError: the view could not be written.
        """
        refusal = self.refusal_of_stamp(stamp_ns, now_ns)
        self._latest_ns = max(self._latest_ns, stamp_ns)
        if refusal is not None:
            return Offer(view=None, reason=refusal)
        stamps = np.asarray(tool_stamps_ns, dtype=np.int64)
        if not (len(stamps) and stamps[0] <= stamp_ns - WINDOW_NS // 2 and stamps[-1] >= stamp_ns + WINDOW_NS // 2):
            return Offer(view=None, reason="no tool poses around the image: is the bridge running, on the same clock?")
        tool = reading_at(stamp_ns, stamps, tools_in_base, window_ns=WINDOW_NS)
        reason = self._not_now(tool)
        if reason is not None:
            return Offer(view=None, reason=reason)
        try:
            view = self._folder.add(image, stamp_ns=stamp_ns, tool=tool)
        except NotSeenError as error:
            return Offer(view=None, reason=str(error))
        self._views.append(view)
        return Offer(view=view, reason=f"view {view.number} taken, {len(view.detection.ids)} corners")

    def missing(self) -> list[str]:
        """What ``solve`` would still miss, a sentence or two each; empty when the set may do."""
        problems = quality.problems_of_count(self._views, self._demands)
        if len(self._views) >= 2:
            problems += quality.problems_of_motion(self._views, self._demands)
            problems += quality.problems_of_coverage(self._views, self._folder.info.image_size, self._demands)
        return problems

    def alike(self, tool_in_base: FloatArray) -> int | None:
        """The number of a view whose tool pose (4, 4) was about the same, so that another adds nothing; or None."""
        for view in self._views:
            step = step_between(view.tool.tool_in_base, tool_in_base)
            moved_mm, turned_deg = 1e3 * np.linalg.norm(step[:3]), np.degrees(np.linalg.norm(step[3:]))
            if moved_mm < self._limits.min_new_mm and turned_deg < self._limits.min_new_deg:
                return view.number
        return None

    def _not_now(self, tool: ToolReading) -> str | None:
        speed_mm_s, turning_deg_s = 1e3 * tool.speed_m_s, np.degrees(tool.turning_rad_s)
        if speed_mm_s > self._demands.max_tool_speed_mm_s or turning_deg_s > self._demands.max_tool_turning_deg_s:
            return "the arm moves: let it come to rest"
        number = self.alike(tool.tool_in_base)
        if number is not None:
            return (
                f"as in view {number}: move the tool {self._limits.min_new_mm:g} mm or turn it by "
                f"{self._limits.min_new_deg:g} degrees, then let it rest"
            )
        return None
