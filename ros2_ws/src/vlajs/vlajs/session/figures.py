"""The report's figures as inline SVG."""

import io
from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle, Rectangle
from matplotlib.ticker import MaxNLocator

from vlajs.session.paths import TrialPaths, positions
from vlajs.session.records import TrialResult
from vlajs.tasks import (
    PICK_GOAL_THRESHOLD_M,
    PLACE_RADIUS_M,
    POKE_GOAL_RADIUS_M,
    PUSH_GOAL_RADIUS_M,
    get_task,
)

# Okabe and Ito's palette: told apart by colour-blind readers
SUCCESS_COLOUR = "#0072B2"
FAILURE_COLOUR = "#D55E00"
OBJECT_COLOUR = "#009E73"
INK = "#24292f"
FAINT = "#b5bcc4"

GOAL_RADIUS_M = {
    "push_cube": PUSH_GOAL_RADIUS_M,
    "push_cube_v2": PUSH_GOAL_RADIUS_M,
    "pick_cube": PICK_GOAL_THRESHOLD_M,
    "pick_place_cube": PLACE_RADIUS_M,
    "poke_cube": POKE_GOAL_RADIUS_M,
}
"""Of the tasks that have a goal in the plane of the table."""
_HALF_SIZE_M = (0.02,)
"""Of an object whose size differs from trial to trial."""
PANEL_COLUMNS = 5
VIEW_MARGIN_M = 0.04
MIN_VIEW_M = 0.3

_STYLE: dict[Any, Any] = {
    "font.family": "sans-serif",
    "font.size": 9,
    "text.color": INK,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "svg.fonttype": "path",
}


def _svg(figure: Figure, salt: str) -> str:
    """The figure as an ``<svg>`` element; ``salt`` keeps the ids of several on one page apart."""
    with mpl.rc_context({**_STYLE, "svg.hashsalt": salt}):
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None}, transparent=True)
    text = buffer.getvalue()
    return text[text.index("<svg") :]


def success_figure(rows: Sequence[tuple[str, int, int, tuple[float, float]]]) -> str:
    """Success with its interval, one row each of (label, successes, trials, interval)."""
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(10.0, 0.62 + 0.42 * len(rows)), layout="constrained")
        axes = figure.add_subplot()
        for y, (_, successes, trials, (low, high)) in enumerate(rows):
            axes.plot([100 * low, 100 * high], [y, y], color=SUCCESS_COLOUR, lw=7, alpha=0.28, solid_capstyle="butt")
            if trials:
                axes.plot([100 * successes / trials], [y], "o", color=SUCCESS_COLOUR, ms=7)
        axes.set_yticks(range(len(rows)), [row[0] for row in rows])
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.set_xlim(-2, 102)
        axes.set_xlabel("success, % (dot) and 95 % Wilson interval (bar)")
        _open_frame(axes)
        axes.grid(axis="x", color=FAINT, lw=0.5, alpha=0.6)
        return _svg(figure, "success")


def times_figure(results: Sequence[TrialResult], horizon_s: float) -> str:
    """Time to success of each trial, failures marked at the horizon's edge."""
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(10.0, 2.3), layout="constrained")
        axes = figure.add_subplot()
        for result in results:
            if result.time_to_success_s is not None:
                axes.bar(result.trial, result.time_to_success_s, width=0.7, color=SUCCESS_COLOUR)
            elif not result.success:
                axes.plot(result.trial, result.duration_s, "x", color=FAILURE_COLOUR, ms=7, mew=2)
        times = [result.time_to_success_s for result in results if result.time_to_success_s is not None]
        if times:
            axes.axhline(float(np.median(times)), color=INK, lw=0.8, ls="--")
            axes.annotate(
                f"median {np.median(times):.2f} s",
                (1.0, float(np.median(times))),
                xycoords=("axes fraction", "data"),
                xytext=(4, 0),
                textcoords="offset points",
                va="center",
                annotation_clip=False,
            )
        axes.set_ylim(0, 1.08 * max(horizon_s, *(result.duration_s for result in results), 0.1))
        axes.set_xlim(0.3, max(result.trial for result in results) + 0.7)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_xlabel("trial")
        axes.set_ylabel("robot time, s")
        _open_frame(axes)
        return _svg(figure, "times")


def paths_figure(task: str, panels: Sequence[tuple[TrialResult, TrialPaths | None]]) -> str:
    """Top views of all trials, side by side at one scale: robot at the bottom, its x axis upwards."""
    low, high = _common_view(task, [paths for _, paths in panels if paths is not None])
    width_m, height_m = high[1] - low[1], high[0] - low[0]
    rows = -(-len(panels) // PANEL_COLUMNS)
    panel_inch = 10.0 / PANEL_COLUMNS
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(10.0, rows * (panel_inch * height_m / width_m + 0.3)), layout="constrained")
        grid = figure.subplots(rows, PANEL_COLUMNS, squeeze=False)
        for axes in grid.flat:
            axes.set_axis_off()
        for axes, (result, paths) in zip(grid.flat, panels, strict=False):
            _draw_panel(axes, task, result, paths)
            axes.set_xlim(high[1], low[1])  # y of the base points left
            axes.set_ylim(low[0], high[0])
            axes.set_aspect("equal")
        _scale_bar(grid.flat[0], low, high)
        return _svg(figure, "paths")


def _common_view(task: str, trials: Sequence[TrialPaths]) -> tuple[np.ndarray, np.ndarray]:
    """Corners (x, y) of a box around every path and goal, in metres."""
    points = [[0.5, -MIN_VIEW_M / 2], [0.5 + MIN_VIEW_M, MIN_VIEW_M / 2]]
    radius_m = GOAL_RADIUS_M.get(task, 0.0)
    for paths in trials:
        goal = np.asarray(paths.goal_m[:2])
        points += [list(goal - radius_m), list(goal + radius_m)]
        for rows in (paths.tool_m, *paths.objects_m.values()):
            points += [row[:2] for row in positions(rows)]
    stacked = np.asarray(points)
    return stacked.min(axis=0) - VIEW_MARGIN_M, stacked.max(axis=0) + VIEW_MARGIN_M


def _draw_panel(axes: Axes, task: str, result: TrialResult, paths: TrialPaths | None) -> None:
    colour = SUCCESS_COLOUR if result.success else FAILURE_COLOUR
    time = f" {result.time_to_success_s:.1f} s" if result.time_to_success_s is not None else ""
    title = f"{result.trial} ✓{time}" if result.success else f"{result.trial} ✗ {result.outcome.replace('_', ' ')}"
    axes.set_axis_on()
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_title(title, color=colour, fontsize=9, fontweight="bold", loc="left", pad=3)
    for spine in axes.spines.values():
        spine.set(color=colour, linewidth=1.4)
    if paths is None:
        axes.text(0.5, 0.5, "no paths", transform=axes.transAxes, ha="center", va="center", color=FAINT)
        return
    if task in GOAL_RADIUS_M:
        goal = (paths.goal_m[1], paths.goal_m[0])
        axes.add_patch(Circle(goal, GOAL_RADIUS_M[task], fc=OBJECT_COLOUR, alpha=0.15, lw=0))
        axes.plot(*goal, "+", color=OBJECT_COLOUR, ms=7, mew=1.2)
    tool = positions(paths.tool_m)
    if tool:
        rows = np.asarray(tool)
        axes.plot(rows[:, 1], rows[:, 0], color=INK, lw=0.9)
        axes.plot(rows[-1, 1], rows[-1, 0], "o", color=INK, ms=3)
    for name, rows_of_object in paths.objects_m.items():
        track = positions(rows_of_object)
        if track:
            _draw_object(axes, np.asarray(track), 2 * min(get_task(task).half_sizes_m.get(name, _HALF_SIZE_M)))


def _draw_object(axes: Axes, rows: np.ndarray, size: float) -> None:
    """Path of an object's centre, with a square as wide as it is narrow: outlined at its begin, filled at its end."""
    axes.plot(rows[:, 1], rows[:, 0], color=OBJECT_COLOUR, lw=1.6)
    for row, face in ((rows[0], "none"), (rows[-1], OBJECT_COLOUR)):
        corner = (row[1] - size / 2, row[0] - size / 2)
        axes.add_patch(Rectangle(corner, size, size, fc=face, ec=OBJECT_COLOUR, lw=1.0, alpha=0.75))


def _scale_bar(axes: Axes, low: np.ndarray, high: np.ndarray) -> None:
    left, bottom = high[1] - 0.02, low[0] + 0.02
    axes.plot([left, left - 0.1], [bottom, bottom], color=INK, lw=2, solid_capstyle="butt")
    axes.text(left - 0.05, bottom + 0.012, "10 cm", ha="center", va="bottom", fontsize=7)


def _open_frame(axes: Axes) -> None:
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.tick_params(axis="y", length=0)
