"""The figures of a comparison, as matplotlib figures (no display needed).

Colours are Okabe and Ito's, told apart with every common kind of colour blindness; the teacher's scale is a line style
and a marker besides, so that nothing rests on colour alone.
"""

from collections.abc import Callable
from textwrap import wrap

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, PercentFormatter

from vlajs_training.comparison.curves import THRESHOLDS
from vlajs_training.comparison.results import BASELINE, Axis, Comparison, Group
from vlajs_training.comparison.statistics import Interval
from vlajs_training.runs import Algorithm

DPI = 150
_COLOURS = {"ppo": "#000000", "sparse-rpd": "#009E73", "vlajs-rpd": "#D55E00", "vlajs": "#0072B2"}
_OTHER_COLOURS = ("#CC79A7", "#E69F00", "#56B4E9")
_LINES = ("-", (0, (5, 2)), (0, (1, 1.5)), (0, (5, 2, 1, 2)), (0, (8, 3, 1, 2, 1, 2)))
_NICE = [1, 2, 2.5, 5, 10]
_MARKERS = ("o", "s", "^", "D", "v")


class Styles:
    """One look for each algorithm: colour by method, line and marker by teacher and scale."""

    def __init__(self, algorithms: list[Algorithm]) -> None:
        others = sorted({algorithm.method for algorithm in algorithms} - set(_COLOURS))
        self._colours = _COLOURS | {
            method: _OTHER_COLOURS[index % len(_OTHER_COLOURS)] for index, method in enumerate(others)
        }
        teachers = {(a.teacher, a.teacher_scale or 0.0) for a in algorithms if a.teacher_scale is not None}
        # the matched scale is the plain one
        self._teachers = sorted(teachers, key=lambda item: (item[1] != 1.0, item))

    def _rank(self, algorithm: Algorithm) -> int:
        key = (algorithm.teacher, algorithm.teacher_scale or 0.0)
        return self._teachers.index(key) if key in self._teachers else 0

    def colour(self, algorithm: Algorithm) -> str:
        """Of the method."""
        return self._colours[algorithm.method]

    def line(self, algorithm: Algorithm) -> str | tuple[int, tuple[float, ...]]:
        """Style of a line."""
        return _LINES[self._rank(algorithm) % len(_LINES)]  # type: ignore[return-value]  (of both kinds)

    def marker(self, algorithm: Algorithm) -> str:
        """Of a point."""
        return _MARKERS[self._rank(algorithm) % len(_MARKERS)]


def figures(comparison: Comparison) -> dict[str, Figure]:
    """File name (without suffix) to figure."""
    found = {"learning_curves": learning_curves(comparison), "steps_to_threshold": steps_to_threshold(comparison)}
    if len(comparison.aggregates) > 1:
        found["aggregates"] = aggregates(comparison)
    return found


def _figure(width: float, height: float) -> Figure:
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _tidy(axes: Axes) -> None:
    axes.grid(True, color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def _thousands(value: float, _position: int | None = None) -> str:
    if value >= 1e6:
        return f"{value / 1e6:g} M"
    return f"{value / 1e3:g} k" if value >= 1e3 else f"{value:g}"


def learning_curves(comparison: Comparison) -> Figure:
    """A row for each task and reward: success against env steps and against wall time."""
    cells, styles = comparison.cells, Styles(comparison.algorithms)
    columns: tuple[Axis, ...] = ("env_steps", "seconds")
    legend_rows = -(-len(comparison.algorithms) // 3)
    figure = _figure(10.0, 2.9 * len(cells) + 0.5 + 0.22 * legend_rows)
    grid = figure.subplots(len(cells), 2, squeeze=False, sharey=True)
    for row, cell in zip(grid, cells, strict=True):
        for axes, axis in zip(row, columns, strict=True):
            for group in [group for group in comparison.groups if group.cell == cell]:
                _draw_band(axes, group, axis, styles)
            _tidy(axes)
            axes.set(ylim=(-0.02, 1.02), title=cell.label if axis == "env_steps" else "")
            axes.set_xlim(left=0)
            axes.yaxis.set_major_formatter(PercentFormatter(1.0))
            axes.xaxis.set_major_locator(MaxNLocator(6, steps=_NICE))
        row[0].set(ylabel="success", xlabel="env steps")
        row[0].xaxis.set_major_formatter(FuncFormatter(_thousands))
        row[0].title.set(ha="left", x=0.0)
        row[1].set(xlabel="wall time of training (min)")
    handles: dict[str, object] = {}
    for axes in grid.flat:
        handles |= dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True))
    order = [a.label for a in comparison.algorithms if a.label in handles]
    figure.legend(
        [handles[label] for label in order],  # type: ignore[misc]  (matplotlib's own)
        order,
        loc="outside lower center",
        ncols=3,
        frameon=False,
        handlelength=3.5,
    )
    return figure


def _draw_band(axes: Axes, group: Group, axis: Axis, styles: Styles) -> None:
    x, mean, low, high = group.band(axis)
    x = x / 60.0 if axis == "seconds" else x
    colour, seeds = styles.colour(group.algorithm), len(group.results)
    if seeds > 1:
        axes.fill_between(x, low, high, color=colour, alpha=0.14, linewidth=0)
    axes.plot(x, mean, color=colour, linestyle=styles.line(group.algorithm), label=group.algorithm.label, linewidth=1.7)


def steps_to_threshold(comparison: Comparison) -> Figure:
    """Env steps of each seed to each threshold; a hollow arrow where the run ended before it got there."""
    cells, styles = comparison.cells, Styles(comparison.algorithms)
    rows = [sorted(group.algorithm for group in comparison.groups if group.cell == cell) for cell in cells]
    heights = [max(len(row), 2) for row in rows]
    figure = _figure(10.0, 0.32 * sum(heights) + 0.9 * len(cells) + 0.4)
    grid = figure.subplots(len(cells), len(THRESHOLDS), squeeze=False, height_ratios=heights)
    for cell, algorithms, panels in zip(cells, rows, grid, strict=True):
        groups = {group.algorithm: group for group in comparison.groups if group.cell == cell}
        farthest = max(result.run.observed_steps for group in groups.values() for result in group.results)
        for threshold, axes in zip(THRESHOLDS, panels, strict=True):
            for place, algorithm in enumerate(algorithms):
                _draw_costs(axes, groups[algorithm], threshold, place, styles)
            _tidy(axes)
            axes.set(xlim=(0, 1.06 * farthest), ylim=(len(algorithms) - 0.5, -0.5), xlabel="env steps")
            axes.set_title(f"to {threshold:.0%} success", fontsize=10)
            axes.set_yticks(range(len(algorithms)), [a.label for a in algorithms] if axes is panels[0] else [])
            axes.xaxis.set_major_locator(MaxNLocator(4, steps=_NICE))
            axes.xaxis.set_major_formatter(FuncFormatter(_thousands))
        panels[0].set_title(f"{cell.label}\nto {THRESHOLDS[0]:.0%} success", fontsize=10)
    figure.supxlabel("dots: seeds; bar: their median; hollow arrow: not reached before the run ended there", fontsize=9)
    return figure


def _draw_costs(axes: Axes, group: Group, threshold: float, place: int, styles: Styles) -> None:
    costs, colour = group.costs(threshold, "env_steps"), styles.colour(group.algorithm)
    reached = np.isfinite(costs.reached)
    spread = np.linspace(-0.18, 0.18, len(reached)) if len(reached) > 1 else np.zeros(1)
    height = place + spread
    marker = styles.marker(group.algorithm)
    axes.scatter(costs.observed[reached], height[reached], s=26, color=colour, marker=marker, linewidths=0, alpha=0.85)
    axes.scatter(
        costs.observed[~reached], height[~reached], s=34, marker=">", facecolors="none", edgecolors=colour, linewidths=1
    )
    if np.isfinite(costs.median):
        axes.plot([costs.median] * 2, [place - 0.36, place + 0.36], color=colour, linewidth=2.2)


def aggregates(comparison: Comparison) -> Figure:
    """Interquartile means of final success, and the probability of improvement over PPO."""
    suites = sorted({row.suite for row in comparison.aggregates})
    styles = Styles(comparison.algorithms)
    count = max(len(comparison.algorithms), 2)
    figure = _figure(10.0, (0.36 * count + 1.1) * len(suites))
    grid = figure.subplots(len(suites), 2, squeeze=False)
    for suite, (left, right) in zip(suites, grid, strict=True):
        means = [row for row in comparison.aggregates if row.suite == suite]
        over = [row for row in comparison.improvements if row.suite == suite and row.theirs == BASELINE]
        tasks = ", ".join(means[0].tasks)
        _draw_intervals(left, [(row.algorithm, row.final, row.final_interval) for row in means], styles.colour)
        left.set_title("\n".join(["final success, interquartile mean", *wrap(f"{suite}: {tasks}", 58)]), fontsize=10)
        _draw_intervals(right, [(row.ours, row.final, row.final_interval) for row in reversed(over)], styles.colour)
        right.axvline(0.5, color="#888888", linewidth=1, linestyle=(0, (4, 3)))
        right.set_title("probability that a run ends\nwith more success than one of PPO", fontsize=10)
        if not over:
            right.set_axis_off()
    return figure


def _draw_intervals(
    axes: Axes, rows: list[tuple[Algorithm, float, Interval]], colour: Callable[[Algorithm], str]
) -> None:
    for place, (algorithm, value, interval) in enumerate(rows):
        axes.plot(
            [interval.low, interval.high],
            [place, place],
            color=colour(algorithm),
            linewidth=7,
            alpha=0.3,
            solid_capstyle="butt",
        )
        axes.plot([value], [place], marker="o", color=colour(algorithm), markersize=6)
    _tidy(axes)
    axes.set(xlim=(-0.03, 1.03), ylim=(len(rows) - 0.5, -0.5))
    axes.set_yticks(range(len(rows)), [algorithm.label for algorithm, _, _ in rows])
    axes.xaxis.set_major_formatter(PercentFormatter(1.0))
