"""``report.html``: one file that fetches nothing."""

import base64
import math
from importlib.resources import files

import jinja2

from vlajs_training.comparison.curves import MEASURE_TEXT, THRESHOLD_RULE, THRESHOLDS
from vlajs_training.comparison.results import Axis, Comparison, RatioRow, RunResult
from vlajs_training.comparison.statistics import Costs, Interval, Ratio


def html(comparison: Comparison, images: dict[str, bytes]) -> str:
    """The report.

    Args:
        comparison: what to say.
        images: name of a figure to its PNG.
    """
    source = files("vlajs_training.comparison").joinpath("report.html.j2").read_text(encoding="utf-8")
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    embedded = {name: f"data:image/png;base64,{base64.b64encode(png).decode()}" for name, png in images.items()}
    return environment.from_string(source).render(
        measure=MEASURE_TEXT[comparison.measure],
        rule=THRESHOLD_RULE,
        notes=comparison.notes,
        cells="; ".join(cell.label for cell in comparison.cells),
        images={"aggregates": "", **embedded},
        cost_tables=_cost_tables(comparison),
        aggregates=[
            (
                row.suite,
                row.algorithm.label,
                ", ".join(row.tasks),
                row.runs,
                _share(row.final, row.final_interval),
                _share(row.mean, row.mean_interval),
            )
            for row in comparison.aggregates
        ],
        improvements=[
            (
                row.suite,
                row.ours.label,
                row.theirs.label,
                _share(row.final, row.final_interval),
                _share(row.mean, row.mean_interval),
            )
            for row in comparison.improvements
        ],
        runs=[
            _run_row(group.cell.label, group.algorithm.label, result)
            for group in comparison.groups
            for result in group.results
        ],
        differing=comparison.differing,
    )


def cost_text(costs: Costs, axis: Axis) -> str:
    """Median over seeds, such as "131,072", or "not reached in 360,000" where half the runs or more did not."""
    if math.isfinite(costs.median):
        return _amount(costs.median, axis)
    return f"not reached in {_amount(costs.median_at_least, axis)}"


def ratio_text(ratio: Ratio | None) -> str:
    """Ratio and interval; a dash for PPO itself and where there is no PPO."""
    if ratio is None:
        return "–"
    high = "∞" if math.isinf(ratio.interval.high) else f"{ratio.interval.high:.2f}"
    return ratio.text if ratio.text == "unknown" else f"{ratio.text} [{ratio.interval.low:.2f}, {high}]"


def _cost_tables(comparison: Comparison) -> list[tuple[str, list[str], list[list[object]]]]:
    """Title, names of the thresholds, and lines of algorithm, seeds and for each threshold cost and ratio."""
    titles: dict[Axis, str] = {"env_steps": "env steps", "seconds": "wall time (min)"}
    found = []
    for cell in comparison.cells:
        for axis, title in titles.items():
            rows: dict[str, list[object]] = {}
            for row in comparison.ratios:
                if row.cell == cell and row.axis == axis:
                    line = rows.setdefault(row.algorithm.label, [row.algorithm.label, _seeds(comparison, row)])
                    line += [cost_text(row.costs, axis), ratio_text(row.ratio)]
            headers = [f"to {threshold:.0%}" for threshold in THRESHOLDS]
            found.append((f"{cell.label}: {title}", headers, list(rows.values())))
    return found


def _seeds(comparison: Comparison, row: RatioRow) -> str:
    """Number of seeds and how many of them reached the thresholds."""
    same = [
        other
        for other in comparison.ratios
        if (other.cell, other.algorithm, other.axis) == (row.cell, row.algorithm, row.axis)
    ]
    counts = "/".join(str(sum(map(math.isfinite, other.costs.reached))) for other in same)
    return f"{len(row.costs.reached)} ({counts} got there)"


def _run_row(cell: str, algorithm: str, result: RunResult) -> tuple[object, ...]:
    crossings = [result.crossings[threshold] for threshold in THRESHOLDS]
    return (
        cell,
        algorithm,
        result.run.seed,
        *(f"{found.steps:,}" if found else "not reached" for found in crossings),
        f"{result.final_success:.1%}",
        f"{result.run.observed_steps:,}",
        f"{result.run.training.seconds[-1] / 60:.1f}",
        str(result.run.path),
    )


def _amount(value: float, axis: Axis) -> str:
    return f"{value:,.0f}" if axis == "env_steps" else f"{value / 60:.1f}"


def _share(value: float, interval: Interval) -> str:
    return f"{value:.1%} [{interval.low:.1%}, {interval.high:.1%}]"
