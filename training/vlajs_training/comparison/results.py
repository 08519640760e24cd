"""From run folders to figures of a comparison: groups, thresholds, ratios, aggregate scores."""

from collections import defaultdict
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from vlajs_training.comparison.curves import (
    THRESHOLDS,
    Crossing,
    Measure,
    choose_measure,
    crossing,
    mean_success,
    on_grid,
    success_curve,
)
from vlajs_training.comparison.statistics import (
    FEW_SEEDS,
    Costs,
    Interval,
    Ratio,
    cost_ratio,
    interquartile_mean,
    mean_band,
    probability_of_improvement,
    stratified_interval,
)
from vlajs_training.runs import Algorithm, Cell, Curve, RunError, RunFolder

BASELINE = Algorithm("ppo")
Axis = Literal["env_steps", "seconds"]
_LEAST_SECONDS = 0.1  # rows round their seconds to this: a tiny run may say 0.0
_NOT_SETTINGS = {"seed", "task", "reward", "protocol", "method", "teacher", "teacher_scale"}


@dataclass(frozen=True, kw_only=True)
class RunResult:
    """What one run achieved.

    Attributes:
        run: the run.
        curve: its success by the comparison's measure.
        crossings: threshold to where it was reached; None if it never was.
        final_success: the curve's last value.
        mean_success: mean over the first env steps that all runs of its cell have.
    """

    run: RunFolder
    curve: Curve
    crossings: dict[float, Crossing | None]
    final_success: float
    mean_success: float


@dataclass(frozen=True, kw_only=True)
class Group:
    """The seeds of one algorithm in one cell."""

    cell: Cell
    algorithm: Algorithm
    results: tuple[RunResult, ...]

    def costs(self, threshold: float, axis: Axis) -> Costs:
        """What each seed spent until ``threshold``."""
        reached, observed = [], []
        for result in self.results:
            found = result.crossings[threshold]
            if axis == "env_steps":
                spent = float(found.steps if found else result.run.observed_steps)
            else:
                spent = max(found.seconds if found else float(result.run.training.seconds[-1]), _LEAST_SECONDS)
            observed.append(spent)
            reached.append(spent if found else np.inf)
        return Costs(reached=np.array(reached), observed=np.array(observed))

    def band(self, axis: Axis) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Grid, mean, low and high of success over seeds, each (G,)."""
        grid, values = on_grid([result.curve for result in self.results], "steps" if axis == "env_steps" else "seconds")
        return grid, *mean_band(values)


@dataclass(frozen=True, kw_only=True)
class RatioRow:
    """Cost of one group until one threshold, beside PPO's."""

    cell: Cell
    algorithm: Algorithm
    threshold: float
    axis: Axis
    costs: Costs
    ratio: Ratio | None
    """None for PPO itself, and where the cell has no PPO run."""


@dataclass(frozen=True, kw_only=True)
class Aggregate:
    """Interquartile means of an algorithm over the tasks of a suite (runs with the same reward and protocol)."""

    suite: str
    algorithm: Algorithm
    tasks: tuple[str, ...]
    runs: int
    final: float
    final_interval: Interval
    mean: float
    mean_interval: Interval


@dataclass(frozen=True, kw_only=True)
class Improvement:
    """Probability that a run of ``ours`` ends with (or has, averaged over training) more success than ``theirs``."""

    suite: str
    ours: Algorithm
    theirs: Algorithm
    final: float
    final_interval: Interval
    mean: float
    mean_interval: Interval


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Everything the outputs say."""

    measure: Measure
    groups: tuple[Group, ...]
    ratios: tuple[RatioRow, ...]
    aggregates: tuple[Aggregate, ...]
    improvements: tuple[Improvement, ...]
    differing: tuple[tuple[str, str], ...]
    """Settings in which the runs differ besides what names a group, with the values found."""
    notes: tuple[str, ...]

    @property
    def cells(self) -> list[Cell]:
        """In order."""
        return sorted({group.cell for group in self.groups})

    @property
    def algorithms(self) -> list[Algorithm]:
        """In order, PPO first."""
        return sorted({group.algorithm for group in self.groups})


def compare_runs(runs: list[RunFolder]) -> Comparison:
    """Work everything out.

    Raises:
        RunError: the same seed twice in a group, or a run that has no point to compare.
    """
    measure, reason = choose_measure(runs)
    groups = _grouped(runs, measure)
    suites: dict[str, list[Group]] = defaultdict(list)
    for group in groups:
        suites[f"{group.cell.reward} reward, {group.cell.protocol} protocol"].append(group)
    notes = [reason] if reason else []
    aggregates: list[Aggregate] = []
    improvements: list[Improvement] = []
    for suite, members in sorted(suites.items()):
        scores, remark = _suite_scores(suite, members)
        notes += [remark] if remark else []
        aggregates += [_aggregate(suite, algorithm, found) for algorithm, found in sorted(scores.items())]
        improvements += [
            _improvement(suite, ours, theirs, scores)
            for ours in sorted(scores, reverse=True)
            for theirs in sorted(scores)
            if theirs < ours
        ]
    notes += [note for run in runs for note in run.notes]
    return Comparison(
        measure=measure,
        groups=tuple(groups),
        ratios=tuple(_ratio_rows(groups)),
        aggregates=tuple(aggregates),
        improvements=tuple(improvements),
        differing=_differing(runs),
        notes=tuple(notes + _seed_notes(groups)),
    )


def _grouped(runs: list[RunFolder], measure: Measure) -> list[Group]:
    members: dict[tuple[Cell, Algorithm], dict[int, RunFolder]] = defaultdict(dict)
    for run in runs:
        seeds = members[run.cell, run.algorithm]
        if run.seed in seeds:
            raise RunError(
                f"{seeds[run.seed].path} and {run.path} are both seed {run.seed} of {run.algorithm.label} on "
                f"{run.cell.label}: a repetition needs another seed; give only one of them"
            )
        seeds[run.seed] = run
    shared = {cell: min(run.observed_steps for run in runs if run.cell == cell) for cell, _ in members}
    return [
        Group(
            cell=cell,
            algorithm=algorithm,
            results=tuple(_result(run, measure, shared[cell]) for _, run in sorted(seeds.items())),
        )
        for (cell, algorithm), seeds in sorted(members.items(), key=lambda item: item[0])
    ]


def _result(run: RunFolder, measure: Measure, shared_steps: int) -> RunResult:
    curve = success_curve(run, measure)
    return RunResult(
        run=run,
        curve=curve,
        crossings={threshold: crossing(curve, threshold) for threshold in THRESHOLDS},
        final_success=float(curve.success[-1]),
        mean_success=mean_success(curve, shared_steps),
    )


def _ratio_rows(groups: list[Group]) -> list[RatioRow]:
    baselines = {group.cell: group for group in groups if group.algorithm == BASELINE}
    rows = []
    axes: tuple[Axis, ...] = ("env_steps", "seconds")
    for group in groups:
        baseline = baselines.get(group.cell)
        for axis in axes:
            for threshold in THRESHOLDS:
                costs = group.costs(threshold, axis)
                compared = baseline is not None and baseline is not group
                ratio = cost_ratio(costs, baseline.costs(threshold, axis)) if compared and baseline else None
                rows.append(
                    RatioRow(
                        cell=group.cell,
                        algorithm=group.algorithm,
                        threshold=threshold,
                        axis=axis,
                        costs=costs,
                        ratio=ratio,
                    )
                )
    return rows


Scores = tuple[tuple[str, ...], list[np.ndarray], list[np.ndarray]]  # tasks; for each task final and mean success


def _suite_scores(suite: str, groups: list[Group]) -> tuple[dict[Algorithm, Scores], str | None]:
    """Scores of each algorithm on the tasks that all of them were run on, and what was left out for that."""
    tasks: dict[Algorithm, dict[str, Group]] = defaultdict(dict)
    for group in groups:
        tasks[group.algorithm][group.cell.task] = group
    common = tuple(sorted(set.intersection(*(set(found) for found in tasks.values()))))
    left_out = sorted({group.cell.task for group in groups} - set(common))
    remark = None
    if left_out:
        remark = (
            f"{suite}: interquartile mean and probability of improvement leave out {', '.join(left_out)}, on which "
            "not every algorithm was run."
        )
    if not common:
        return {}, remark
    scores = {
        algorithm: (
            common,
            [np.array([result.final_success for result in found[task].results]) for task in common],
            [np.array([result.mean_success for result in found[task].results]) for task in common],
        )
        for algorithm, found in tasks.items()
    }
    return scores, remark


def _aggregate(suite: str, algorithm: Algorithm, scores: Scores) -> Aggregate:
    tasks, final, mean = scores
    return Aggregate(
        suite=suite,
        algorithm=algorithm,
        tasks=tasks,
        runs=sum(map(len, final)),
        final=float(interquartile_mean(final)),
        final_interval=stratified_interval(interquartile_mean, final),
        mean=float(interquartile_mean(mean)),
        mean_interval=stratified_interval(interquartile_mean, mean),
    )


def _improvement(suite: str, ours: Algorithm, theirs: Algorithm, scores: dict[Algorithm, Scores]) -> Improvement:
    _, our_final, our_mean = scores[ours]
    _, their_final, their_mean = scores[theirs]
    return Improvement(
        suite=suite,
        ours=ours,
        theirs=theirs,
        final=float(probability_of_improvement(our_final, their_final)),
        final_interval=stratified_interval(probability_of_improvement, our_final, their_final),
        mean=float(probability_of_improvement(our_mean, their_mean)),
        mean_interval=stratified_interval(probability_of_improvement, our_mean, their_mean),
    )


def _differing(runs: list[RunFolder]) -> tuple[tuple[str, str], ...]:
    """Settings with more than one value among the runs that have them, nested ones by dotted name.

    A fair comparison has few of them. What only guided runs have is no difference to those nobody guides.
    """
    flat = [dict(_flattened(run.config)) for run in runs]
    found = []
    for key in sorted(set().union(*flat)):
        if key.split(".")[0] in _NOT_SETTINGS:
            continue
        values = sorted({str(settings[key]) for settings in flat if key in settings})
        if len(values) > 1:
            found.append((key, "; ".join(values)))
    return tuple(found)


def _flattened(settings: dict[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    flat: list[tuple[str, Any]] = []
    for key, value in settings.items():
        flat += _flattened(value, f"{prefix}{key}.") if isinstance(value, dict) else [(prefix + key, value)]
    return flat


def _seed_notes(groups: list[Group]) -> list[str]:
    notes = []
    counts = sorted({len(group.results) for group in groups})
    if counts[0] < FEW_SEEDS:
        text = str(counts[0]) if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
        notes.append(f"With {text} seed(s) a group, bootstrap intervals are narrower than the truth; read them so.")
    without = sorted({g.cell.label for g in groups} - {g.cell.label for g in groups if g.algorithm == BASELINE})
    if without:
        notes.append(f"No PPO run, hence no ratio: {'; '.join(without)}.")
    return notes
