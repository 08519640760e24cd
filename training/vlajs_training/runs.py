"""Reading run folders: what was trained, and how its success grew.

Only ``config.json`` and ``progress.jsonl`` are read (``train.py`` writes them); neither torch nor ManiSkill is
imported. A folder this version does not understand is refused, never guessed at.
"""

import json
import math
from dataclasses import dataclass
from functools import total_ordering
from pathlib import Path
from typing import Any

import numpy as np

RUN_FORMAT = 3
"""Number that ``config.json`` carries as ``format``: raise it when the meaning of a key or a row changes."""

CONFIG_FILE = "config.json"
PROGRESS_FILE = "progress.jsonl"
TRAINING_KEY = "rollout/success"
VALIDATION_KEY = "validation/success"
_TAIL_BYTES = 8192  # several rows
_METHOD_ORDER = ("ppo", "sparse-rpd", "vlajs-rpd", "vlajs")
_CONFIG_KEYS: dict[str, type | tuple[type, ...]] = {
    "task": str,
    "reward": str,
    "protocol": str,
    "method": str,
    "teacher_scale": (int, float),
    "seed": int,
    "budget": int,
    "num_envs": int,
    "validate_every": int,
    "ppo": dict,
}


class RunError(ValueError):
    """A run folder cannot be used; the message names the folder, what is wrong and the remedy."""


@dataclass(frozen=True, order=True)
class Cell:
    """What was learnt: runs of one cell may be compared with each other.

    Attributes:
        task: name of the task.
        reward: "dense" or "sub_optimal".
        protocol: "standard" or "long".
    """

    task: str
    reward: str
    protocol: str

    @property
    def task_name(self) -> str:
        """The task, with its protocol where that is not the standard one."""
        return self.task if self.protocol == "standard" else f"{self.task}-{self.protocol}"

    @property
    def label(self) -> str:
        """For people."""
        return f"{self.task_name}, {self.reward} reward"


@total_ordering
@dataclass(frozen=True)
class Algorithm:
    """What learnt: runs that share cell and algorithm differ by their seed.

    Attributes:
        method: "ppo", "sparse-rpd", "vlajs-rpd" or "vlajs".
        teacher: its name; empty for a method that asks none.
        teacher_scale: magnitude the teacher speaks in, 1 is the student's own scale; None without a teacher.
    """

    method: str
    teacher: str = ""
    teacher_scale: float | None = None

    @property
    def label(self) -> str:
        """For people, such as "vlajs, scripted x0.25"."""
        return self.method if self.teacher_scale is None else f"{self.method}, {self.teacher} x{self.teacher_scale:g}"

    def _order(self) -> tuple[int, str, str, float]:
        rank = _METHOD_ORDER.index(self.method) if self.method in _METHOD_ORDER else len(_METHOD_ORDER)
        return (rank, self.method, self.teacher, self.teacher_scale or 0.0)

    def __lt__(self, other: "Algorithm") -> bool:
        return self._order() < other._order()


@dataclass(frozen=True, kw_only=True)
class Curve:
    """A figure measured while training.

    Attributes:
        steps: (P,) env steps done at each point, rising.
        seconds: (P,) wall time of training at each point (rollouts and updates; validations are not counted).
        success: (P,) share of successful episodes, 0 to 1.
    """

    steps: np.ndarray
    seconds: np.ndarray
    success: np.ndarray


@dataclass(frozen=True, kw_only=True)
class RunFolder:
    """One training run.

    Attributes:
        path: its folder.
        config: ``config.json``, as it was written.
        cell: what was learnt.
        algorithm: what learnt.
        seed: of network, exploration and scenes.
        budget: env steps the run was to train for.
        training: success while exploring, one point a rollout, smoothed by the trainer.
        validation: success of mean actions on validation scenes; no points if the run never validated.
        notes: what a reader should know, such as an unfinished run; sentences.
    """

    path: Path
    config: dict[str, Any]
    cell: Cell
    algorithm: Algorithm
    seed: int
    budget: int
    training: Curve
    validation: Curve
    notes: tuple[str, ...]

    @classmethod
    def load(cls, path: Path) -> "RunFolder":
        """Read a run folder, of a finished run or of one under way.

        Rows that a resumed run trained again (it goes on from its last checkpoint) count once, as of the later time.

        Raises:
            RunError: no run there, a run of another version, or one without a single row.
        """
        config = read_config(path)
        rows, notes = _read_rows(path)
        if not rows:
            raise RunError(f"{path} holds no progress yet ({PROGRESS_FILE} has no row): leave it out until it has")
        method = config["method"]
        guided = method != "ppo"
        run = cls(
            path=path,
            config=config,
            cell=Cell(config["task"], config["reward"], config["protocol"]),
            algorithm=Algorithm(method, config["teacher"], float(config["teacher_scale"]))
            if guided
            else Algorithm(method),
            seed=config["seed"],
            budget=config["budget"],
            training=_curve(path, rows, TRAINING_KEY),
            validation=_curve(path, [row for row in rows if VALIDATION_KEY in row], VALIDATION_KEY),
            notes=tuple(notes),
        )
        if run.finished:
            return run
        unfinished = f"{path}: trained for {run.trained_steps:,} of {run.budget:,} env steps; taken as far as it goes"
        return cls(**{**vars(run), "notes": (*run.notes, unfinished)})

    @property
    def trained_steps(self) -> int:
        """Env steps done."""
        return int(self.training.steps[-1])

    @property
    def finished(self) -> bool:
        """Whether the whole budget was trained (the report that follows may be missing)."""
        return self.trained_steps >= self.budget

    @property
    def observed_steps(self) -> int:
        """Env steps this run tells about: its budget, or less if it is not finished."""
        return min(self.trained_steps, self.budget)

    @property
    def rollout_steps(self) -> int:
        """Env steps between two rows."""
        return self.config["num_envs"] * int(self.config["ppo"].get("rollout_steps", 1))

    @property
    def validates_regularly(self) -> bool:
        """Whether validations cover the run, from its start to its end, at the cadence of its configuration.

        Gaps of up to one and a half times ``validate_every``, and a rollout more, count as regular.
        """
        if not len(self.validation.steps):
            return False
        points = np.concatenate([[0], self.validation.steps, [self.trained_steps]])
        return bool(np.diff(points).max() <= 1.5 * self.config["validate_every"] + self.rollout_steps)


def read_config(path: Path) -> dict[str, Any]:
    """The configuration of a run folder, checked for what comparisons need.

    Raises:
        RunError: no run there, not JSON, another format, or a key missing or of another type.
    """
    file = path / CONFIG_FILE
    if not file.is_file():
        inside = sorted(found.parent.name for found in path.glob(f"*/{CONFIG_FILE}"))
        hint = f"it holds the runs {', '.join(inside)}: give {path}/*/" if inside else "check the path"
        raise RunError(f"{path} is no run folder (it has no {CONFIG_FILE}): {hint}")
    try:
        config = json.loads(file.read_text())
    except ValueError as error:
        raise RunError(f"{file} is damaged ({error}): train again, or leave the run out") from error
    found = config.get("format") if isinstance(config, dict) else None
    if found != RUN_FORMAT:
        raise RunError(
            f"{path} was written by another version (format {found}, this version reads {RUN_FORMAT}): use that "
            "version, or train again"
        )
    wanted = dict(_CONFIG_KEYS)
    if config.get("method") != "ppo":
        wanted["teacher"] = str
    for key, kind in wanted.items():
        if not isinstance(config.get(key), kind) or isinstance(config[key], bool):
            raise RunError(f"{file}: {key} is {config.get(key)!r}, which this version cannot read: train again")
    return config


def last_steps(path: Path) -> int:
    """Env steps in the last whole row of a run folder; 0 without one. Cheap enough to ask every few seconds."""
    file = path / PROGRESS_FILE
    if not file.is_file():
        return 0
    with open(file, "rb") as rows:
        rows.seek(max(0, file.stat().st_size - _TAIL_BYTES))
        lines = rows.read().decode(errors="replace").splitlines()
    for line in reversed(lines):
        try:
            return int(json.loads(line)["steps"])
        except (ValueError, KeyError, TypeError):
            continue  # being written, or cut at the start of what was read
    return 0


def _read_rows(path: Path) -> tuple[list[dict[str, Any]], list[str]]:
    """Rows with rising steps, and what is to be said about the rest."""
    file = path / PROGRESS_FILE
    if not file.is_file():
        return [], []
    rows: list[dict[str, Any]] = []
    notes: list[str] = []
    for number, line in enumerate(file.read_text(errors="replace").splitlines(), start=1):
        try:
            row = json.loads(line)
            steps, _ = int(row["steps"]), float(row["seconds"])
        except (ValueError, KeyError, TypeError):
            # the last words of a run that was killed, or whose disk was full, while it wrote
            notes.append(f"{file}: line {number} is damaged and was left out")
            continue
        while rows and rows[-1]["steps"] >= steps:
            rows.pop()  # a resumed run trained these again
        rows.append(row)
    return rows, notes


def _curve(path: Path, rows: list[dict[str, Any]], key: str) -> Curve:
    """One figure of all ``rows``.

    Raises:
        RunError: a row without the figure, or one that is no share.
    """
    for row in rows:
        value = row.get(key)
        if not isinstance(value, int | float) or not math.isfinite(value) or not 0.0 <= value <= 1.0:
            raise RunError(
                f"{path / PROGRESS_FILE}: {key} is {value!r} at {row['steps']:,} steps, expected a share between 0 "
                "and 1: leave the run out, or train again"
            )
    return Curve(
        steps=np.array([row["steps"] for row in rows], dtype=np.int64),
        seconds=np.array([row["seconds"] for row in rows], dtype=np.float64),
        success=np.array([row[key] for row in rows], dtype=np.float64),
    )
