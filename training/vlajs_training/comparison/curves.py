"""Which figure counts as a run's success, and when it reached a threshold."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from vlajs_training.runs import Curve, RunFolder

Measure = Literal["validation", "training"]

THRESHOLDS = (0.5, 0.8, 0.9)
"""Success rates whose cost is reported."""
WINDOW_STEPS = 10_000
"""Training success is averaged over windows of so many env steps."""
SLACK = 0.05
"""A crossing counts when its neighbour is not further than this below the threshold."""

MEASURE_TEXT: dict[Measure, str] = {
    "validation": "validation success (mean actions on separate scenes, at a fixed cadence)",
    "training": f"training success (while exploring), averaged over windows of {WINDOW_STEPS:,} env steps",
}
THRESHOLD_RULE = (
    f"A threshold counts as reached at the first point at or above it whose next point is not more than {SLACK:.0%} "
    "(points of success) below it; at the end of a run, where there is no next point, the one before decides."
)


@dataclass(frozen=True)
class Crossing:
    """Where a run first reached a threshold for good.

    Attributes:
        steps: env steps.
        seconds: wall time of training.
    """

    steps: int
    seconds: float


def choose_measure(runs: list[RunFolder]) -> tuple[Measure, str | None]:
    """One measure for all runs: validation if all validated at a fixed cadence, else training success.

    Returns:
        The measure, and a sentence that says why it is not validation, else None.
    """
    without = [str(run.path) for run in runs if not run.validates_regularly]
    if not without:
        return "validation", None
    named = ", ".join(without[:5]) + (f" and {len(without) - 5} more" if len(without) > 5 else "")
    reason = (
        f"Training success is used for all runs, since these did not validate at a fixed cadence: {named}. Train with "
        "--validate-from-success 0 for that."
    )
    return "training", reason


def success_curve(run: RunFolder, measure: Measure) -> Curve:
    """The run's success by ``measure``."""
    return run.validation if measure == "validation" else _windowed(run.training)


def _windowed(curve: Curve, window_steps: int = WINDOW_STEPS) -> Curve:
    """Means over windows; each point stands at the last row of its window. Windows without a row have no point."""
    window = (curve.steps - 1) // window_steps
    last = np.flatnonzero(np.append(np.diff(window) > 0, True))
    first = np.append(0, last[:-1] + 1)
    means = [curve.success[start : end + 1].mean() for start, end in zip(first, last, strict=True)]
    return Curve(steps=curve.steps[last], seconds=curve.seconds[last], success=np.array(means))


def crossing(curve: Curve, threshold: float) -> Crossing | None:
    """Where the curve reached ``threshold`` by :data:`THRESHOLD_RULE`; None if it never did.

    One lucky evaluation does not count. A curve of a single point has nothing that confirms it and never counts.
    """
    success = curve.success
    low = threshold - SLACK - 1e-9  # shares are exact, their differences are not
    for index in np.flatnonzero(success >= threshold):
        neighbour = index + 1 if index + 1 < len(success) else index - 1
        if neighbour >= 0 and success[neighbour] >= low:
            return Crossing(steps=int(curve.steps[index]), seconds=float(curve.seconds[index]))
    return None


def on_grid(curves: list[Curve], axis: Literal["steps", "seconds"], points: int = 101) -> tuple[np.ndarray, np.ndarray]:
    """Several runs' success on common abscissae, linearly interpolated and never extrapolated.

    Returns:
        Grid (G,), from the latest first point to the earliest last one, and success (runs, G). A grid of one point
        where the runs share no range.
    """
    axes = [getattr(curve, axis).astype(float) for curve in curves]
    start, end = max(values[0] for values in axes), min(values[-1] for values in axes)
    grid = np.linspace(start, end, points) if end > start else np.array([end])
    values = [np.interp(grid, values, curve.success) for values, curve in zip(axes, curves, strict=True)]
    return grid, np.stack(values)


def mean_success(curve: Curve, budget: int) -> float:
    """Mean success over the first ``budget`` env steps: the area under the curve, 0 before its first point."""
    steps = np.concatenate([[0], curve.steps]).astype(float)
    success = np.concatenate([[0.0], curve.success])
    inside = steps < budget
    grid = np.append(steps[inside], budget)
    values = np.append(success[inside], np.interp(budget, steps, success))
    return float(np.trapezoid(values, grid) / budget)
