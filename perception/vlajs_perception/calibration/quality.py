"""Whether a set of views can give a trustworthy calibration, and what to add where it cannot."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from vlajs_perception.calibration.board import Board, CharucoBoard
from vlajs_perception.calibration.solve import Disagreement, Solution
from vlajs_perception.calibration.views import View

FloatArray = NDArray[np.float64]

OUTLIER_RATIO = 4.0
"""A view disagrees when its points are off by this many times the median of all views, and by ``min_outlier_px``."""
MAX_OUTLIER_SHARE = 1 / 3
"""With more views disagreeing than this, it is not they that are wrong."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What a set must reach."""

    min_views: int = 12
    """Views in all, those held out included."""
    held_out: int = 3
    """Views that the fit does not see."""
    min_tilt_deg: float = 8.0
    """Spread (RMS between views) of the tool's rotation about its second axis."""
    min_travel_mm: float = 50.0
    """Spread (RMS from the middle) of the tool's position."""
    min_coverage: float = 0.4
    """Share of the image's width, and of its height, that the points span."""
    max_tool_speed_mm_s: float = 2.0
    """Motion of the tool around an image."""
    max_tool_turning_deg_s: float = 0.5
    """Rotation of the tool around an image."""
    max_tool_age_ms: float = 50.0
    """Time between image and tool pose."""
    max_board_scale: float = 0.01
    """The board's size by its stated size may be off 1 by this much."""
    min_outlier_px: float = 1.0
    """Views that are off by less are not called wrong."""
    max_pixel_sigma: float = 1.0
    """Error of a detected point."""
    max_tool_sigma_mm: float = 3.0
    """Error of a tool pose along each axis."""
    max_tool_sigma_deg: float = 1.0
    """Error of a tool pose about each axis."""
    max_sigma_mm: float = 2.0
    """Uncertainty of the camera's place."""
    max_sigma_deg: float = 0.3
    """Uncertainty of the camera's orientation."""
    max_held_out_mm: float = 5.0
    """Median distance between board seen and expected on views held out."""
    max_held_out_deg: float = 1.5
    """Median angle between board seen and expected on views held out; a small tag's tilt is seen no better."""


def problems_of_tools(views: Sequence[View], limits: Limits) -> list[str]:
    """Views whose tool was moving, or whose tool pose is not of the image's time."""
    problems = []
    moving = [
        f"{view.number} ({1e3 * view.tool.speed_m_s:.1f} mm/s, {np.degrees(view.tool.turning_rad_s):.2f} deg/s)"
        for view in views
        if 1e3 * view.tool.speed_m_s > limits.max_tool_speed_mm_s
        or np.degrees(view.tool.turning_rad_s) > limits.max_tool_turning_deg_s
    ]
    if moving:
        problems.append(
            f"the tool was moving in views {', '.join(moving)}; limits are {limits.max_tool_speed_mm_s:g} mm/s and "
            f"{limits.max_tool_turning_deg_s:g} deg/s: remove them, and let the arm come to rest before each view"
        )
    ages_ms = {view.number: abs(view.stamp_ns - view.tool.stamp_ns) / 1e6 for view in views}
    late = [f"{number} ({age:.0f} ms)" for number, age in ages_ms.items() if age > limits.max_tool_age_ms]
    if late:
        problems.append(
            f"image and tool pose are of different times in views {', '.join(late)}, at most "
            f"{limits.max_tool_age_ms:g} ms are allowed: put both on one clock, then take these views again"
        )
    return problems


def problems_of_motion(views: Sequence[View], limits: Limits) -> list[str]:
    """Too little rotation, rotation about one axis only (which leaves the pose open along it), too little travel."""
    tools = np.stack([view.tool.tool_in_base for view in views])
    first, second = np.triu_indices(len(tools), 1)
    turns = Rotation.from_matrix(tools[first, :3, :3] @ np.swapaxes(tools[second, :3, :3], 1, 2)).as_rotvec()
    values, axes = np.linalg.eigh(turns.T @ turns / max(len(turns), 1))
    spread_deg = np.degrees(np.sqrt(np.maximum(values, 0.0)))  # rising
    problems = []
    if spread_deg[2] < limits.min_tilt_deg:
        problems.append(
            f"the tool hardly turns between views: {spread_deg[2]:.1f} degrees about its main axis, at least "
            f"{limits.min_tilt_deg:g} about two axes are needed: add views tilted by 20 to 40 degrees, to all sides"
        )
    elif spread_deg[1] < limits.min_tilt_deg:
        problems.append(
            f"the tool turns about one axis only ({np.round(axes[:, 2], 2).tolist()} in the base, {spread_deg[2]:.0f} "
            f"degrees; {spread_deg[1]:.1f} about the second, at least {limits.min_tilt_deg:g} are needed), which "
            f"leaves the pose open along it: add views tilted by 20 to 40 degrees about "
            f"{np.round(axes[:, 1], 2).tolist()}"
        )
    travel_mm = 1e3 * float(np.sqrt(np.sum(np.var(tools[:, :3, 3], axis=0))))
    if travel_mm < limits.min_travel_mm:
        problems.append(
            f"the tool travels {travel_mm:.0f} mm (RMS), at least {limits.min_travel_mm:g} are needed: add views "
            "farther apart, nearer to the camera and farther from it too"
        )
    return problems


def problems_of_coverage(views: Sequence[View], image_size: tuple[int, int], limits: Limits) -> list[str]:
    """The board in one part of the image only."""
    pixels = np.concatenate([view.detection.pixels for view in views])
    problems = []
    for axis, (name, low_side, high_side) in enumerate((("columns", "left", "right"), ("rows", "top", "bottom"))):
        low, high, size = float(pixels[:, axis].min()), float(pixels[:, axis].max()), image_size[axis]
        if high - low < limits.min_coverage * size:
            add = high_side if low < size - high else low_side
            problems.append(
                f"the board is seen in one part of the image only: {name} {low:.0f} to {high:.0f} of {size}, at least "
                f"{limits.min_coverage:.0%} must be spanned: add views with the board farther to the {add}"
            )
    return problems


def problems_of_count(views: Sequence[View], limits: Limits) -> list[str]:
    """Too few views."""
    if len(views) >= max(limits.min_views, limits.held_out + 3):
        return []
    needed = max(limits.min_views, limits.held_out + 3)
    return [f"{len(views)} views, at least {needed} are needed: add {needed - len(views)}"]


def problems_of_scale(board: Board, fixed_px: float, free_px: float, solution: Solution, limits: Limits) -> list[str]:
    """A board of another size than stated; ``fixed_px`` and ``free_px`` are median errors without and with a scale."""
    scale, sigma = solution.unknowns.board_scale, solution.scale_sigma
    off = abs(scale - 1)
    if off <= limits.max_board_scale or off < 4 * sigma or not 0.5 < scale < 2 or free_px > 0.6 * fixed_px:
        return []
    name, stated = ("square_m", board.square_m) if isinstance(board, CharucoBoard) else ("size_m", board.size_m)
    return [
        f"the board is {scale:.3f} +- {sigma:.3f} times as large as stated (limit {limits.max_board_scale:g} off 1), "
        f"as the arm's motion shows: printed with scaling? Measure it; {name} = {stated * scale:.5f} instead of "
        f"{stated:g} would fit, correct it in set.yaml and solve again"
    ]


def outliers_of(disagreements: Mapping[int, Disagreement], limits: Limits) -> dict[int, Disagreement]:
    """The views, by number, that disagree with the rest after a robust fit."""
    median = float(np.median([d.rms_px for d in disagreements.values()]))
    limit = max(OUTLIER_RATIO * median, limits.min_outlier_px)
    return {number: d for number, d in disagreements.items() if d.rms_px > limit}


def problems_of_agreement(disagreements: Mapping[int, Disagreement], limits: Limits) -> list[str]:
    """Views that disagree with the rest, by number."""
    outliers = outliers_of(disagreements, limits)
    if not outliers:
        return []
    if len(outliers) > MAX_OUTLIER_SHARE * len(disagreements):
        return [
            f"{len(outliers)} of {len(disagreements)} views disagree with the others ({_list(outliers)}): the board "
            "slipped or the camera was moved on the way; fasten both and take the set again"
        ]
    return [
        f"views that disagree with the others: {_list(outliers)}; the board slipped, or the tool pose is of another "
        "moment: remove them (vlajs calibrate solve --without) or take them again"
    ]


def problems_of_fit(solution: Solution, views: int, limits: Limits) -> list[str]:
    """Residuals that are too large, and a camera that is not known well enough."""
    noise, problems = solution.noise, []
    if noise.pixel_px > limits.max_pixel_sigma:
        problems.append(
            f"points are off by {noise.pixel_px:.2f} px within views (limit {limits.max_pixel_sigma:g}): the images "
            "are blurred, the board is bent, or the lens is not this camera's; focus, flatten, or refine the lens"
        )
    tool_mm, tool_deg = 1e3 * noise.tool_m, np.degrees(noise.tool_rad)
    if tool_mm > limits.max_tool_sigma_mm or tool_deg > limits.max_tool_sigma_deg:
        problems.append(
            f"the views do not fit together: tool poses would be off by {tool_mm:.1f} mm and {tool_deg:.2f} degrees "
            f"(limits {limits.max_tool_sigma_mm:g} and {limits.max_tool_sigma_deg:g}); is it eye to hand or eye in "
            "hand, are all poses of the same tool frame, is the board fastened and of the stated size?"
        )
    sigma_mm, sigma_deg = 1e3 * solution.position_sigma_m, np.degrees(solution.rotation_sigma_rad)
    worst = max(sigma_mm / limits.max_sigma_mm, sigma_deg / limits.max_sigma_deg)
    if worst > 1 and not problems:
        problems.append(
            f"the camera is known to +-{sigma_mm:.1f} mm and +-{sigma_deg:.2f} degrees only (limits "
            f"{limits.max_sigma_mm:g} and {limits.max_sigma_deg:g}): add about {int(np.ceil((worst**2 - 1) * views))} "
            "views, tilted more and nearer to the camera"
        )
    return problems


def problems_of_held_out(held_out: Mapping[int, Disagreement], limits: Limits) -> list[str]:
    """Views that the fit has not seen and does not predict."""
    distance_mm, angle_deg = medians(held_out)
    if distance_mm <= limits.max_held_out_mm and angle_deg <= limits.max_held_out_deg:
        return []
    return [
        f"views held out are off by {distance_mm:.1f} mm and {angle_deg:.2f} degrees (median; limits "
        f"{limits.max_held_out_mm:g} and {limits.max_held_out_deg:g}): add views like {_list(held_out)}"
    ]


def medians(disagreements: Mapping[int, Disagreement]) -> tuple[float, float]:
    """Median distance in mm and angle in degrees."""
    distance_mm = 1e3 * float(np.median([d.distance_m for d in disagreements.values()]))
    return distance_mm, float(np.degrees(np.median([d.angle_rad for d in disagreements.values()])))


def _list(views: Mapping[int, Disagreement]) -> str:
    return ", ".join(
        f"{number} ({1e3 * d.distance_m:.1f} mm, {np.degrees(d.angle_rad):.1f} deg)" for number, d in views.items()
    )
