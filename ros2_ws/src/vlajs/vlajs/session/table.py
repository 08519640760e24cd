"""Sessions side by side: who succeeded how often at which task, as text that Markdown shows as a table."""

from collections.abc import Sequence

from vlajs.session.journal import SessionRecord
from vlajs.session.records import COMMANDERS, Commander
from vlajs.session.statistics import of, summarise

TITLES: dict[Commander, str] = {"policy": "policy", "baseline": "VLA alone"}


def success_table(records: Sequence[SessionRecord], names: Sequence[str]) -> str:
    """A column for each session and a row for each commander, in per cent with the count and the 95 % interval.

    Args:
        records: the sessions.
        names: of their folders, told under the task where several sessions are of one task.
    """
    tasks = [record.header.task for record in records]
    heads = [task if tasks.count(task) == 1 else f"{task} ({name})" for task, name in zip(tasks, names, strict=True)]
    lines = [_row("", heads), _row("---", ["---"] * len(heads))]
    for commander in COMMANDERS:
        cells = [_cell(record, commander) for record in records]
        if any(cell != "-" for cell in cells):
            lines.append(_row(TITLES[commander], cells))
    return "\n".join(lines)


def _row(first: str, cells: Sequence[str]) -> str:
    return f"| {' | '.join([first, *cells])} |"


def _cell(record: SessionRecord, commander: Commander) -> str:
    summary = summarise(of(record.results, commander))
    if not summary.trials:
        return "-"
    low, high = (100 * bound for bound in summary.wilson95)
    share = 100 * summary.successes / summary.trials
    return f"{share:.0f} % ({summary.successes}/{summary.trials}, {low:.0f} to {high:.0f} %)"
