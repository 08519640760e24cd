"""Which degradation makes a scripted teacher as good as wanted: a one-dimensional search, and the file of results."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import yaml

LEVELS_FILE = Path(__file__).parent / "levels.yaml"
"""Levels of the scripted teacher by task, written by ``vlajs teacher calibrate``."""


class CalibrationError(ValueError):
    """No level gives the wanted success; the message says how near the search came and what to do."""


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """A level and what a teacher degraded so was measured to do alone.

    Attributes:
        level: degradation, 0 to 1.
        target: share of solved episodes that was asked for.
        success: share solved in ``episodes`` fresh episodes.
        wilson95: its 95 % Wilson interval.
        episodes: how many.
        rate_hz: how often the teacher was asked.
        seed: of those episodes' first scenes.
        measured_on: date, ISO 8601.
    """

    level: float
    target: float
    success: float
    wilson95: tuple[float, float]
    episodes: int
    rate_hz: float
    seed: int
    measured_on: str


def read_levels(path: Path = LEVELS_FILE) -> dict[str, Calibration]:
    """Calibrations by task.

    Raises:
        ValueError: the file holds something else; the message names the task and the key.
    """
    data = yaml.safe_load(path.read_text())
    if not isinstance(data, dict):
        raise ValueError(f"{path} holds a {type(data).__name__}, not tasks with their levels: calibrate again")
    return {task: _calibration(f"{path}, {task}", values) for task, values in data.items()}


def levels_text(levels: dict[str, Calibration]) -> str:
    """What :func:`read_levels` reads back as the same."""
    data = {task: {**asdict(levels[task]), "wilson95": list(levels[task].wilson95)} for task in sorted(levels)}
    return "# written by `vlajs teacher calibrate TASK`\n" + yaml.safe_dump(data, sort_keys=False)


def search_level(
    rate_at: Callable[[float], float], *, target: float, tolerance: float = 0.01, halvings: int = 7
) -> float:
    """The level at which the success falls to ``target``, by bisection of [0, 1].

    Args:
        rate_at: success at a level. It falls as the level rises when both are measured on the same scenes with the
            same errors, smaller and larger, up to what single episodes do.
        target: share wanted.
        tolerance: good enough.
        halvings: at most this many; the interval is then ``2 ** -halvings`` wide.

    Raises:
        CalibrationError: every level tried was above the target, or every one below it.
    """
    low, high = 0.0, 1.0
    for _ in range(halvings):
        middle = (low + high) / 2
        rate = rate_at(middle)
        if abs(rate - target) <= tolerance:
            return middle
        low, high = (middle, high) if rate > target else (low, middle)
    if low == 0.0:
        raise CalibrationError(
            f"less than the target of {target:.1%} is solved alone even at level {high:g}: the script itself hardly "
            "does better; ask for less"
        )
    if high == 1.0:
        raise CalibrationError(
            f"more than the target of {target:.1%} is solved alone even at level {low:g}: ask for more"
        )
    return (low + high) / 2


def _calibration(where: str, values: Any) -> Calibration:
    known = {entry.name for entry in fields(Calibration)}
    if not isinstance(values, dict) or set(values) != known:
        have = sorted(values) if isinstance(values, dict) else values
        raise ValueError(f"{where}: holds {have}, expected {sorted(known)}: calibrate again")
    interval = values["wilson95"]
    numbers = [values[name] for name in ("level", "target", "success", "episodes", "rate_hz")]
    if not isinstance(interval, list) or len(interval) != 2:
        raise ValueError(f"{where}: wilson95 is {interval!r}, not two numbers: calibrate again")
    if not all(isinstance(number, int | float) for number in [*numbers, *interval]):
        raise ValueError(f"{where}: holds {values}, not numbers: calibrate again")
    if not 0.0 <= values["level"] <= 1.0:
        raise ValueError(f"{where}: level {values['level']} is outside [0, 1]: calibrate again")
    return Calibration(**{**values, "wilson95": (float(interval[0]), float(interval[1]))})
