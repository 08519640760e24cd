"""Statistics over seeds: bootstrap intervals, medians of censored figures, interquartile mean, improvement.

Interquartile mean, probability of improvement and the bootstrap stratified by task follow Agarwal et al., "Deep
Reinforcement Learning at the Edge of the Statistical Precipice", NeurIPS 2021 (arXiv:2108.13264), sections 4.1-4.3.
All intervals are 95 % percentile bootstraps that resample seeds; with fewer than about five seeds they are too narrow.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import trim_mean

RESAMPLES = 5_000
"""Bootstrap resamples."""
FEW_SEEDS = 5
"""Below this many seeds a bootstrap interval is said to be too narrow."""
_LOW, _HIGH = 0.025, 0.975


@dataclass(frozen=True)
class Interval:
    """95 % interval; ``high`` may be infinite."""

    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Costs:
    """What each seed spent until a threshold (env steps or seconds).

    Attributes:
        reached: (S,) cost; infinite where the run ended before reaching it.
        observed: (S,) the cost where reached, else all that the run spent: it would have needed more.
    """

    reached: np.ndarray
    observed: np.ndarray

    @property
    def median(self) -> float:
        """Median over seeds; infinite where half the runs or more did not get there."""
        return float(np.median(self.reached))

    @property
    def median_at_least(self) -> float:
        """Lower bound of the median: equals it where it is finite."""
        return float(np.median(self.observed))


@dataclass(frozen=True, kw_only=True)
class Ratio:
    """Median cost of a method divided by that of the baseline: below 1, the method is cheaper.

    Attributes:
        low, high: the ratio lies between them; equal where both medians are known. ``high`` is infinite where the
            method, ``low`` 0 where the baseline did not reach the threshold.
        interval: 95 % bootstrap interval over seeds of both, censored runs widening it.
    """

    low: float
    high: float
    interval: Interval

    @property
    def text(self) -> str:
        """Such as "0.43", "< 0.43" (the baseline did not get there), "> 1.9" (the method did not), "unknown"."""
        if self.low == self.high:
            return f"{self.low:.2f}"
        if self.low == 0.0:
            return "unknown" if math.isinf(self.high) else f"< {self.high:.2f}"
        return f"> {self.low:.2f}" if math.isinf(self.high) else f"{self.low:.2f} to {self.high:.2f}"


def cost_ratio(method: Costs, baseline: Costs, seed: int = 0) -> Ratio:
    """Ratio of medians with its bootstrap interval.

    A run that did not reach the threshold enters twice: as if it never would, and as if it had in the moment it
    ended. The truth lies between; the interval spans both.
    """
    low, high = _ratio_bounds(method.reached, method.observed, baseline.reached, baseline.observed)
    rng = np.random.default_rng(seed)
    ours = rng.integers(len(method.reached), size=(RESAMPLES, len(method.reached)))
    theirs = rng.integers(len(baseline.reached), size=(RESAMPLES, len(baseline.reached)))
    lows, highs = _ratio_bounds(
        method.reached[ours], method.observed[ours], baseline.reached[theirs], baseline.observed[theirs]
    )
    return Ratio(
        low=float(low),
        high=float(high),
        interval=Interval(_quantile(lows, _LOW), _quantile(highs, _HIGH)),
    )


def _ratio_bounds(
    reached: np.ndarray, observed: np.ndarray, baseline_reached: np.ndarray, baseline_observed: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Least and greatest ratio of medians along the last axis; x / infinity is 0 and infinity / x infinity."""
    low = np.median(observed, axis=-1) / np.median(baseline_reached, axis=-1)
    high = np.median(reached, axis=-1) / np.median(baseline_observed, axis=-1)
    return low, high


def _quantile(values: np.ndarray, share: float) -> float:
    """A value of the sample, so that infinite ones do no harm."""
    return float(np.quantile(values, share, method="inverted_cdf"))


def mean_band(values: np.ndarray, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean over runs with its pointwise 95 % bootstrap band.

    Args:
        values: (runs, G).
        seed: of the resampling.

    Returns:
        Mean, low, high, each (G,).
    """
    runs = len(values)
    drawn = np.random.default_rng(seed).integers(runs, size=(RESAMPLES, runs))
    weights = (drawn[:, :, None] == np.arange(runs)).sum(axis=1) / runs
    low, high = np.quantile(weights @ values, [_LOW, _HIGH], axis=0)
    return values.mean(axis=0), low, high


def interquartile_mean(tasks: Sequence[np.ndarray]) -> np.ndarray:
    """Mean of the middle half of all scores, tasks pooled; the plain mean below four scores.

    Args:
        tasks: for each task scores (..., runs).

    Returns:
        (...).
    """
    return np.asarray(trim_mean(np.concatenate(tasks, axis=-1), 0.25, axis=-1))


def probability_of_improvement(ours: Sequence[np.ndarray], theirs: Sequence[np.ndarray]) -> np.ndarray:
    """Chance that a run of ours beats one of theirs on the same task (a tie is half a win), averaged over tasks.

    Args:
        ours: for each task scores (..., runs).
        theirs: the same, for the same tasks; the number of runs may differ.

    Returns:
        (...).
    """
    wins = []
    for x, y in zip(ours, theirs, strict=True):
        difference = x[..., :, None] - y[..., None, :]
        wins.append(((difference > 0) + 0.5 * (difference == 0)).mean(axis=(-2, -1)))
    return np.mean(wins, axis=0)


def stratified_interval(statistic: Callable[..., np.ndarray], *groups: Sequence[np.ndarray], seed: int = 0) -> Interval:
    """95 % percentile bootstrap interval of ``statistic(*groups)``; runs are resampled within each task.

    Args:
        statistic: takes as many groups, with leading axes, and returns one value for each of those.
        groups: each a sequence over tasks of scores (runs,).
        seed: of the resampling.
    """
    rng = np.random.default_rng(seed)
    drawn = [[rng.choice(scores, (RESAMPLES, len(scores))) for scores in group] for group in groups]
    values = statistic(*drawn)
    return Interval(_quantile(values, _LOW), _quantile(values, _HIGH))
