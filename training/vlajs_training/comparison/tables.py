"""The CSV files of a comparison. A cell is empty where nothing was reached or applies; infinity is never written."""

import csv
import io
import math
from collections.abc import Iterable, Sequence

from vlajs_training.comparison.curves import THRESHOLDS
from vlajs_training.comparison.results import Axis, Comparison, Group, RunResult
from vlajs_training.comparison.statistics import Interval
from vlajs_training.runs import Algorithm, Cell

GROUP_COLUMNS = ("task", "reward", "method", "teacher", "teacher_scale")
STEPS_COLUMNS = (*GROUP_COLUMNS, "seed", "steps_to_50", "steps_to_80", "steps_to_90", "final_success", "budget")


def tables(comparison: Comparison) -> dict[str, str]:
    """File name to content."""
    return {
        "steps_to_threshold.csv": steps_to_threshold(comparison),
        "seconds_to_threshold.csv": seconds_to_threshold(comparison),
        "ratio_to_ppo.csv": ratio_to_ppo(comparison),
        "learning_curves.csv": learning_curves(comparison),
        "interquartile_mean.csv": interquartile_means(comparison),
        "probability_of_improvement.csv": improvements(comparison),
    }


def steps_to_threshold(comparison: Comparison) -> str:
    """One line a run; ``budget`` is the env steps it tells about (fewer than planned where it is unfinished)."""
    rows = (
        (
            *_names(group.cell, group.algorithm),
            result.run.seed,
            *(_steps(result, threshold) for threshold in THRESHOLDS),
            f"{result.final_success:.4f}",
            result.run.observed_steps,
        )
        for group, result in _results(comparison)
    )
    return _csv(STEPS_COLUMNS, rows)


def seconds_to_threshold(comparison: Comparison) -> str:
    """One line a run: wall time of training, validations not counted."""
    header = (*GROUP_COLUMNS, "seed", "seconds_to_50", "seconds_to_80", "seconds_to_90", "seconds")
    rows = (
        (
            *_names(group.cell, group.algorithm),
            result.run.seed,
            *(_seconds(result, threshold) for threshold in THRESHOLDS),
            f"{result.run.training.seconds[-1]:.1f}",
        )
        for group, result in _results(comparison)
    )
    return _csv(header, rows)


def ratio_to_ppo(comparison: Comparison) -> str:
    """One line for each group, threshold and axis; the ratio lies between its two bounds."""
    header = (*GROUP_COLUMNS, "axis", "threshold", "seeds", "seeds_reached", "median", "median_at_least")
    header += ("ratio_low", "ratio_high", "interval95_low", "interval95_high")
    rows = []
    for row in comparison.ratios:
        reached = sum(map(math.isfinite, row.costs.reached))
        ratio = row.ratio
        bounds = (ratio.low, ratio.high, ratio.interval.low, ratio.interval.high) if ratio else (None,) * 4
        rows.append(
            (
                *_names(row.cell, row.algorithm),
                row.axis,
                row.threshold,
                len(row.costs.reached),
                reached,
                _number(row.costs.median, 1),
                _number(row.costs.median_at_least, 1),
                *(_number(value, 4) for value in bounds),
            )
        )
    return _csv(header, rows)


def learning_curves(comparison: Comparison) -> str:
    """Mean over seeds with its band, on the grid of each group, against env steps and seconds."""
    header = (*GROUP_COLUMNS, "axis", "x", "success_mean", "success_low", "success_high", "seeds")
    axes: tuple[Axis, ...] = ("env_steps", "seconds")
    rows = (
        (
            *_names(group.cell, group.algorithm),
            axis,
            f"{x:.0f}" if axis == "env_steps" else f"{x:.1f}",
            *(f"{value:.4f}" for value in values),
            len(group.results),
        )
        for group in comparison.groups
        for axis in axes
        for x, *values in zip(*group.band(axis), strict=True)
    )
    return _csv(header, rows)


def interquartile_means(comparison: Comparison) -> str:
    """One line an algorithm and suite."""
    header = ("suite", "method", "teacher", "teacher_scale", "tasks", "runs")
    header += _interval_columns("final_success") + _interval_columns("mean_success")
    rows = (
        (
            row.suite,
            *_algorithm(row.algorithm),
            " ".join(row.tasks),
            row.runs,
            *_with_interval(row.final, row.final_interval),
            *_with_interval(row.mean, row.mean_interval),
        )
        for row in comparison.aggregates
    )
    return _csv(header, rows)


def improvements(comparison: Comparison) -> str:
    """One line a pair of algorithms and suite."""
    header = ("suite", "method", "teacher", "teacher_scale", "over_method", "over_teacher", "over_teacher_scale")
    header += _interval_columns("final_success") + _interval_columns("mean_success")
    rows = (
        (
            row.suite,
            *_algorithm(row.ours),
            *_algorithm(row.theirs),
            *_with_interval(row.final, row.final_interval),
            *_with_interval(row.mean, row.mean_interval),
        )
        for row in comparison.improvements
    )
    return _csv(header, rows)


def _results(comparison: Comparison) -> Iterable[tuple[Group, RunResult]]:
    return ((group, result) for group in comparison.groups for result in group.results)


def _names(cell: Cell, algorithm: Algorithm) -> tuple[str, ...]:
    return (cell.task_name, cell.reward, *_algorithm(algorithm))


def _algorithm(algorithm: Algorithm) -> tuple[str, str, str]:
    scale = "" if algorithm.teacher_scale is None else f"{algorithm.teacher_scale:g}"
    return (algorithm.method, algorithm.teacher, scale)


def _steps(result: RunResult, threshold: float) -> int | str:
    found = result.crossings[threshold]
    return "" if found is None else found.steps


def _seconds(result: RunResult, threshold: float) -> str:
    found = result.crossings[threshold]
    return "" if found is None else f"{found.seconds:.1f}"


def _number(value: float | None, digits: int) -> str:
    return "" if value is None or math.isinf(value) else f"{value:.{digits}f}"


def _interval_columns(name: str) -> tuple[str, str, str]:
    return (name, f"{name}_low", f"{name}_high")


def _with_interval(value: float, interval: Interval) -> tuple[str, ...]:
    return tuple(f"{number:.4f}" for number in (value, interval.low, interval.high))


def _csv(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return text.getvalue()
