"""Whether a calibration still holds: the camera is measured anew from a few views and compared."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vlajs_perception.calibration import quality
from vlajs_perception.calibration.calibration_file import Calibration
from vlajs_perception.calibration.errors import BadSetError, CalibrationError
from vlajs_perception.calibration.folder import SetInfo
from vlajs_perception.calibration.problem import Free, Problem, Unknowns
from vlajs_perception.calibration.quality import Limits
from vlajs_perception.calibration.se3 import step_between
from vlajs_perception.calibration.solve import disagreement, robust_fit, solve
from vlajs_perception.calibration.start import first_guess
from vlajs_perception.calibration.views import View

MIN_VIEWS = 4
"""With fewer, one wrong view cannot be told from a moved camera."""
MIN_VIEWS_REMOUNTED = 8


@dataclass(frozen=True, kw_only=True)
class CheckLimits:
    """How far a camera may be from its calibration."""

    max_moved_mm: float = 3.0
    """Distance between the camera's place as calibrated and as measured now."""
    max_turned_deg: float = 0.5
    """Angle between its orientation as calibrated and as measured now."""


@dataclass(frozen=True, kw_only=True)
class Check:
    """The camera as measured now, against its calibration.

    Attributes:
        holds: whether both differences are within the limits.
        moved_mm: distance between the two places.
        turned_deg: angle between the two orientations.
        sigma_mm: uncertainty of the distance.
        sigma_deg: uncertainty of the angle.
        views: how many were used.
    """

    holds: bool
    moved_mm: float
    turned_deg: float
    sigma_mm: float
    sigma_deg: float
    views: int

    @property
    def line(self) -> str:
        """For scripts."""
        return (
            f"RESULT holds={'yes' if self.holds else 'no'} moved_mm={self.moved_mm:.3f} "
            f"turned_deg={self.turned_deg:.4f} sigma_mm={self.sigma_mm:.3f} sigma_deg={self.sigma_deg:.4f} "
            f"views={self.views}"
        )


def check(
    calibration: Calibration,
    info: SetInfo,
    views: Sequence[View],
    *,
    limits: CheckLimits | None = None,
    remounted: bool = False,
) -> Check:
    """Measure the camera anew.

    Args:
        calibration: what is checked.
        info: what the views share; its lens is not used.
        views: at least four; eight where the board was mounted anew.
        limits: how far the camera may be from its calibration.
        remounted: the board is not where it was at the calibration (in the gripper, or on the table).

    Raises:
        CalibrationError: the views are of another arrangement.
        BadSetError: they cannot tell; says what to add.
    """
    limits, demands = limits or CheckLimits(), Limits()
    _require_same(calibration, info)
    needed = MIN_VIEWS_REMOUNTED if remounted else MIN_VIEWS
    if len(views) < needed:
        raise BadSetError((f"{len(views)} views, at least {needed} are needed: add {needed - len(views)}",))
    problems = quality.problems_of_tools(views, demands)
    if remounted:
        problems += quality.problems_of_motion(views, demands)
    if problems:
        raise BadSetError(tuple(problems))

    board = None if remounted else calibration.board_pose
    problem = Problem(info.kind, views)
    start = robust_fit(problem, first_guess(problem, calibration.lens, board), Free(board=remounted))
    _require_agreement(info, views, start, demands)
    solution = solve(info.kind, views, calibration.lens, board=board, start=start)
    problems = quality.problems_of_fit(solution, len(views), demands)
    if problems:
        raise BadSetError(tuple(problems))

    step = step_between(calibration.camera_pose, solution.unknowns.camera)
    spread = calibration.covariance + solution.covariance
    moved_mm, turned_deg = 1e3 * float(np.linalg.norm(step[:3])), float(np.degrees(np.linalg.norm(step[3:])))
    return Check(
        holds=moved_mm <= limits.max_moved_mm and turned_deg <= limits.max_turned_deg,
        moved_mm=moved_mm,
        turned_deg=turned_deg,
        sigma_mm=1e3 * float(np.sqrt(np.trace(spread[:3, :3]))),
        sigma_deg=float(np.degrees(np.sqrt(np.trace(spread[3:, 3:])))),
        views=len(views),
    )


def _require_agreement(info: SetInfo, views: Sequence[View], start: Unknowns, demands: Limits) -> None:
    apart = {view.number: disagreement(info.kind, start, view, info.board.centre_m) for view in views}
    problems = quality.problems_of_agreement(apart, demands)
    if problems:
        raise BadSetError((*problems, "if the board was mounted anew since the calibration, say so (--remounted)"))


def _require_same(calibration: Calibration, info: SetInfo) -> None:
    pairs = {
        "kind": (calibration.kind, info.kind),
        "board": (calibration.board, info.board),
        "image size": (calibration.lens.image_size, tuple(info.image_size)),
        "camera frame": (calibration.camera_frame, info.camera_frame),
        "base frame": (calibration.base_frame, info.base_frame),
        "tool frame": (calibration.tool_frame, info.tool_frame),
    }
    differing = [f"{name} ({old} there, {new} here)" for name, (old, new) in pairs.items() if old != new]
    if differing:
        raise CalibrationError(
            f"the views are of another arrangement than the calibration: {'; '.join(differing)}; take views of the "
            "same one, or calibrate again"
        )
