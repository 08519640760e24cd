"""What a number of trials says about a policy."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vlajs.session.records import Commander, TrialResult


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
    from scipy.stats import binomtest  # a second of imports, which a session should not wait for before it begins

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


def of(results: Sequence[TrialResult], commander: Commander) -> list[TrialResult]:
    """The results of one commander."""
    return [result for result in results if result.commander == commander]


@dataclass(frozen=True, kw_only=True)
class Paired:
    """Scenes that both commanders have run, by who succeeded.

    Attributes:
        p_value: exact two-sided McNemar test: how likely scenes in which only one succeeds fall to one side this
            unevenly or more when both are equally good; 1 when there are none.
    """

    both: int
    policy_only: int
    baseline_only: int
    neither: int
    p_value: float


def paired(results: Sequence[TrialResult]) -> Paired:
    """Compare scene by scene; scenes that one of them has not run yet are left out."""
    from scipy.stats import binomtest  # as above

    success = {(result.scene_seed, result.commander): result.success for result in results}
    outcomes = Counter(
        (policy, success[seed, "baseline"])
        for (seed, commander), policy in success.items()
        if commander == "policy" and (seed, "baseline") in success
    )
    policy_only, baseline_only = outcomes[True, False], outcomes[False, True]
    differing = policy_only + baseline_only
    return Paired(
        both=outcomes[True, True],
        policy_only=policy_only,
        baseline_only=baseline_only,
        neither=outcomes[False, False],
        p_value=float(binomtest(policy_only, differing).pvalue) if differing else 1.0,
    )


def result_line(task: str, results: Sequence[TrialResult], commander: Commander | None = None) -> str:
    """The line a session ends with, for scripts: ``RESULT task=... trials=... success=... wilson95=[...,...]``.

    A commander, named where there are two, stands behind the task, and only its results count.
    """
    summary = summarise(results if commander is None else of(results, commander))
    low, high = summary.wilson95
    who = "" if commander is None else f" commander={commander}"
    return (
        f"RESULT task={task}{who} trials={summary.trials} success={summary.successes} wilson95=[{low:.3f},{high:.3f}]"
    )
