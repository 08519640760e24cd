"""What a number of trials says about a policy."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import binomtest

from vlajs.session.records import TrialResult


@dataclass(frozen=True, kw_only=True)
class Summary:
    """Figures of the finished trials.

    Attributes:
        trials: finished trials.
        successes: how many succeeded.
        wilson95: 95 % Wilson interval of the success probability.
        median_time_to_success_s, fastest_s, slowest_s: robot time over the successes; None without a timed one.
        outcomes: how many trials ended in which outcome, most frequent first.
    """

    trials: int
    successes: int
    wilson95: tuple[float, float]
    median_time_to_success_s: float | None
    fastest_s: float | None
    slowest_s: float | None
    outcomes: dict[str, int]


def wilson95(successes: int, trials: int) -> tuple[float, float]:
    """95 % Wilson score interval; (0, 1) when nothing was tried.

    Raises:
        ValueError: more successes than trials, or a negative count.
    """
    if trials == 0 and successes == 0:
        return (0.0, 1.0)
    interval = binomtest(successes, trials).proportion_ci(confidence_level=0.95, method="wilson")
    return (float(interval.low), float(interval.high))


def summarise(results: Sequence[TrialResult]) -> Summary:
    """Figures of the finished trials, in any order."""
    successes = sum(result.success for result in results)
    times = [result.time_to_success_s for result in results if result.time_to_success_s is not None]
    return Summary(
        trials=len(results),
        successes=successes,
        wilson95=wilson95(successes, len(results)),
        median_time_to_success_s=float(np.median(times)) if times else None,
        fastest_s=min(times) if times else None,
        slowest_s=max(times) if times else None,
        outcomes=dict(Counter(result.outcome for result in results).most_common()),
    )


def result_line(task: str, results: Sequence[TrialResult]) -> str:
    """The line a session ends with, for scripts: ``RESULT task=... trials=... success=... wilson95=[...,...]``."""
    summary = summarise(results)
    low, high = summary.wilson95
    return f"RESULT task={task} trials={summary.trials} success={summary.successes} wilson95=[{low:.3f},{high:.3f}]"
