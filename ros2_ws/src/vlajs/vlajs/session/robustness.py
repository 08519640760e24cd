"""How one policy bears each condition: the sessions of a folder, one a condition, beside the undisturbed one."""

import csv
import io
from dataclasses import dataclass
from pathlib import Path

from vlajs.files import write_atomically
from vlajs.session.conditions import CONDITIONS, UNDISTURBED
from vlajs.session.journal import read_session
from vlajs.session.records import SessionError
from vlajs.session.statistics import Summary, of, summarise

CSV_FILE, TABLE_FILE = "robustness.csv", "robustness.md"
COLUMNS = ("task", "condition", "pose_source", "seed", "trials", "successes", "low", "high", "median_time_to_success_s")


@dataclass(frozen=True, kw_only=True)
class ConditionResult:
    """One condition's session.

    Attributes:
        task: that was evaluated.
        condition: of the session.
        pose_source: of the policy's object poses.
        seed: of the scenes.
        summary: of the trials so far.
    """

    task: str
    condition: str
    pose_source: str
    seed: int
    summary: Summary


def read_conditions(folder: Path) -> list[ConditionResult]:
    """The sessions below a folder, in the order of the conditions.

    Raises:
        SessionError: there is none, a journal is damaged, or two sessions are not of one experiment.
    """
    records = [read_session(folder / name) for name in CONDITIONS if (folder / name / "session.json").is_file()]
    if not records:
        raise SessionError(f"{folder} holds no session of a condition: vlajs session robustness writes them")
    headers = [record.header for record in records]
    if len({(h.task, h.seed, h.trials, h.checkpoint.sha256, h.pose_source) for h in headers}) > 1:
        raise SessionError(
            f"the sessions in {folder} differ in task, seed, trials, checkpoint or pose source: one table holds one "
            "policy on one set of scenes; give each its own folder"
        )
    return [
        ConditionResult(
            task=record.header.task,
            condition=record.header.condition,
            pose_source=record.header.pose_source,
            seed=record.header.seed,
            summary=summarise(of(record.results, "policy")),
        )
        for record in records
    ]


def result_lines(results: list[ConditionResult]) -> list[str]:
    """A line a condition, for scripts."""
    return [
        f"RESULT task={result.task} condition={result.condition} trials={result.summary.trials} "
        f"success={result.summary.successes} wilson95=[{result.summary.wilson95[0]:.3f},"
        f"{result.summary.wilson95[1]:.3f}]"
        for result in results
    ]


def write_table(folder: Path, results: list[ConditionResult]) -> Path:
    """``robustness.csv`` and ``robustness.md`` in the folder; returns the latter."""
    rows = io.StringIO()
    writer = csv.writer(rows, lineterminator="\n")
    writer.writerow(COLUMNS)
    for result in results:
        summary, (low, high) = result.summary, result.summary.wilson95
        median_s = summary.median_time_to_success_s
        writer.writerow(
            [
                *(result.task, result.condition, result.pose_source, result.seed, summary.trials, summary.successes),
                *(f"{low:.3f}", f"{high:.3f}", "" if median_s is None else f"{median_s:.2f}"),
            ]
        )
    write_atomically(folder / CSV_FILE, rows.getvalue().encode())
    write_atomically(folder / TABLE_FILE, table(results).encode())
    return folder / TABLE_FILE


def table(results: list[ConditionResult]) -> str:
    """As Markdown: success of each condition, its interval, and what is lost against the undisturbed trials."""
    by_name = {result.condition: result.summary for result in results}
    usual = by_name.get(UNDISTURBED)
    lines = ["| condition | what | success | 95 % interval | against undisturbed |", "| --- | --- | --- | --- | --- |"]
    for name, summary in by_name.items():
        low, high = summary.wilson95
        share = summary.successes / max(summary.trials, 1)
        change = ""
        if usual is not None and name != UNDISTURBED and usual.trials:
            change = f"{100 * (share - usual.successes / usual.trials):+.0f} points"
        lines.append(
            f"| {name} | {CONDITIONS[name].summary} | {summary.successes} of {summary.trials} | "
            f"{100 * low:.0f} to {100 * high:.0f} % | {change} |"
        )
    return "\n".join(lines) + "\n"
