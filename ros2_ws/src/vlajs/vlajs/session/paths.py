"""Where tool, target and objects went in one trial, thinned for the report."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from vlajs.files import write_atomically
from vlajs.geometry import FloatArray, Pose
from vlajs.session.records import SessionError

PERIOD_S = 0.05
"""Robot time between samples that are kept."""


@dataclass(kw_only=True)
class TrialPaths:
    """Positions in ``panda_link0``, one row a sample; ``time_s`` counts from the policy's first action.

    A row of ``tool_m``, ``target_m`` or an object is None where nothing had been measured yet.
    """

    trial: int
    scene_seed: int
    goal_m: list[float]
    time_s: list[float] = field(default_factory=list)
    tool_m: list[list[float] | None] = field(default_factory=list)
    target_m: list[list[float] | None] = field(default_factory=list)
    objects_m: dict[str, list[list[float] | None]] = field(default_factory=dict)

    def add(self, time_s: float, tool: Pose | None, target: Pose | None, objects: dict[str, Pose]) -> None:
        """Keep a sample, unless the last one kept is nearer than :data:`PERIOD_S`."""
        if self.time_s and time_s - self.time_s[-1] < PERIOD_S - 1e-6:
            return
        for name in set(objects) - set(self.objects_m):
            self.objects_m[name] = [None] * len(self.time_s)
        self.time_s.append(round(time_s, 4))
        self.tool_m.append(_row(tool))
        self.target_m.append(_row(target))
        for name, rows in self.objects_m.items():
            rows.append(_row(objects.get(name)))

    def save(self, path: Path) -> None:
        """Write whole or not at all."""
        write_atomically(path, json.dumps(asdict(self)).encode())


def load_paths(path: Path) -> TrialPaths | None:
    """Read; None when the trial has none.

    Raises:
        SessionError: the file is damaged.
    """
    if not path.is_file():
        return None
    try:
        data: dict[str, Any] = json.loads(path.read_text())
        return TrialPaths(**data)
    except (ValueError, TypeError) as error:
        raise SessionError(f"{path} is not the paths of a trial ({error}): delete it to go without") from error


def positions(rows: list[list[float] | None]) -> list[list[float]]:
    """The rows that were measured."""
    return [row for row in rows if row is not None]


def _row(pose: Pose | None) -> list[float] | None:
    if pose is None:
        return None
    values: FloatArray = pose.position_m
    return [round(float(value), 5) for value in values]
