"""``vlajs compare``: learning curves and statistics of several runs, as PNG, HTML and CSV.

Runs are grouped by task, reward, protocol, method, teacher and teacher scale; runs of a group are repetitions that
differ by their seed.
"""

import io
import math
import sys
from dataclasses import dataclass
from pathlib import Path

import tyro

from vlajs.files import write_atomically
from vlajs_training.comparison.curves import MEASURE_TEXT
from vlajs_training.comparison.figures import DPI, figures
from vlajs_training.comparison.report import cost_text, html, ratio_text
from vlajs_training.comparison.results import Comparison, compare_runs
from vlajs_training.comparison.tables import tables
from vlajs_training.runs import RunError, RunFolder


@dataclass(frozen=True, kw_only=True)
class CompareConfig:
    """Compare training runs: learning curves, env steps and wall time to 50, 80 and 90 % success, ratios to PPO."""

    runs: tyro.conf.Positional[tuple[Path, ...]]
    """Run folders, such as runs/*/."""
    output: Path = Path("comparison")
    """Folder for report.html, the figures and the CSV files; files of an earlier comparison are replaced."""


def write_comparison(comparison: Comparison, output: Path) -> list[Path]:
    """Write figures, tables and report, each whole or not at all; ``report.html`` last.

    Returns:
        The files.
    """
    images = {}
    for name, figure in figures(comparison).items():
        png = io.BytesIO()
        figure.savefig(png, format="png", dpi=DPI, metadata={"Software": None})
        images[name] = png.getvalue()
    contents = {name: text.encode() for name, text in tables(comparison).items()}
    contents |= {f"{name}.png": png for name, png in images.items()}
    contents["report.html"] = html(comparison, images).encode()
    for name, content in contents.items():
        write_atomically(output / name, content)
    return [output / name for name in contents]


def summary(comparison: Comparison) -> str:
    """What fits on a screen: for each group the cost of 80 % success and its ratio to PPO."""
    lines = [f"success: {MEASURE_TEXT[comparison.measure]}"]
    for cell in comparison.cells:
        lines.append(f"{cell.label}: env steps to 80 % success, median over seeds (ratio to PPO, 95 % interval)")
        rows = [row for row in comparison.ratios if (row.cell, row.axis, row.threshold) == (cell, "env_steps", 0.8)]
        width = max(len(row.algorithm.label) for row in rows)
        for row in rows:
            reached = sum(map(math.isfinite, row.costs.reached))
            lines.append(
                f"  {row.algorithm.label:{width}}  {cost_text(row.costs, 'env_steps'):>24}  "
                f"{reached}/{len(row.costs.reached)} seeds  {ratio_text(row.ratio)}"
            )
    return "\n".join(lines)


def main(args: list[str] | None = None) -> int:
    """Command line."""
    config = tyro.cli(CompareConfig, args=args, prog="vlajs compare", description=CompareConfig.__doc__)
    try:
        if not config.runs:
            raise RunError("no run given: vlajs compare RUN [RUN ...], such as runs/*/")
        comparison = compare_runs([RunFolder.load(path) for path in config.runs])
    except RunError as error:
        print(f"vlajs compare: {error}", file=sys.stderr)
        return 2
    try:
        written = write_comparison(comparison, config.output)
    except OSError as error:
        print(f"vlajs compare: cannot write {config.output}: {error}", file=sys.stderr)
        return 1
    for note in comparison.notes:
        print(f"note: {note}", file=sys.stderr)
    print(summary(comparison))
    counts = f"runs={len(config.runs)} groups={len(comparison.groups)}"
    print(f"RESULT {counts} measure={comparison.measure} report={written[-1]}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
