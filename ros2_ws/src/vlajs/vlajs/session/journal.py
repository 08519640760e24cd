"""The session folder: a header, an append-only journal, and a lock.

session.json     header, written once, atomically
journal.jsonl    one line a finished trial, on the disk before the next trial begins
attempts.jsonl   one line a trial begun: what began and never finished was interrupted, and the report says so
baseline.json    which VLA the policy is compared with, if it is
trials/0003.json, trials/0003.mcap   paths and raw messages
session.lock     held by the process that writes
"""

import fcntl
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from vlajs.files import append_line, write_atomically
from vlajs.session.records import Baseline, SessionError, SessionHeader, TrialResult, commander_of, utc_now

HEADER_FILE = "session.json"
JOURNAL_FILE = "journal.jsonl"
ATTEMPTS_FILE = "attempts.jsonl"
BASELINE_FILE = "baseline.json"
LOCK_FILE = "session.lock"
PLAN_TOLERANCE_M = 1e-6


@dataclass(frozen=True, kw_only=True)
class SessionRecord:
    """What a folder holds.

    Attributes:
        results: finished trials, in the order they were run.
        attempts: how often each trial was begun.
        warnings: what a reader should be told, such as a torn last line.
        baseline: what the policy is compared with; None without, and before its node has said it.
    """

    header: SessionHeader
    results: tuple[TrialResult, ...]
    attempts: dict[int, int]
    warnings: tuple[str, ...]
    baseline: Baseline | None = None

    @property
    def abandoned(self) -> dict[int, int]:
        """Attempts that began and never finished, by trial."""
        finished = {result.trial for result in self.results}
        counts = {trial: count - (trial in finished) for trial, count in self.attempts.items()}
        return {trial: count for trial, count in counts.items() if count > 0}


def read_session(folder: Path) -> SessionRecord:
    """Read a folder without locking it: while a session runs this sees its finished trials.

    Raises:
        SessionError: no session there, or a damaged file other than a torn last line.
    """
    header_path = folder / HEADER_FILE
    if not header_path.is_file():
        raise SessionError(f"{folder} holds no {HEADER_FILE}: give the folder that `vlajs session run` printed")
    try:
        header = SessionHeader.from_json(header_path.read_text())
    except UnicodeDecodeError as error:
        raise SessionError(
            f"{header_path} is not text ({error}): the file is damaged; restore it from a copy"
        ) from error
    except OSError as error:
        raise SessionError(f"{header_path} cannot be read ({error.strerror}): whose folder is it?") from error
    except SessionError as error:
        raise SessionError(f"{header_path}: {error}") from error
    lines, _, torn = _whole_lines(folder / JOURNAL_FILE)
    results = _parse_results(lines, header, folder)
    attempt_lines, _, _ = _whole_lines(folder / ATTEMPTS_FILE)
    attempts: dict[int, int] = {}
    for line in attempt_lines:
        trial = _attempted_trial(line, folder)
        attempts[trial] = attempts.get(trial, 0) + 1
    warnings = (f"the last line of {JOURNAL_FILE} was torn and is left out: {torn[:60]!r}",) if torn else ()
    return SessionRecord(
        header=header,
        results=tuple(results),
        attempts=attempts,
        warnings=warnings,
        baseline=_read_baseline(folder / BASELINE_FILE),
    )


def _read_baseline(path: Path) -> Baseline | None:
    try:
        return Baseline.from_json(path.read_text()) if path.is_file() else None
    except (UnicodeDecodeError, OSError) as error:
        raise SessionError(f"{path} cannot be read ({error}): restore it from a copy") from error


def _attempted_trial(line: str, folder: Path) -> int:
    try:
        return int(json.loads(line)["trial"])
    except (ValueError, KeyError, TypeError) as error:
        raise SessionError(f"{folder / ATTEMPTS_FILE} holds {line[:60]!r}, not an attempt: restore the file") from error


def _whole_lines(path: Path) -> tuple[list[str], int, bytes]:
    """Complete lines, the bytes they take, and what follows the last newline (a write cut short)."""
    data = path.read_bytes() if path.exists() else b""
    end = data.rfind(b"\n") + 1
    try:
        return data[:end].decode().splitlines(), end, data[end:]
    except UnicodeDecodeError as error:
        raise SessionError(f"{path} is not text ({error}): the file is damaged; restore it from a copy") from error


def _parse_results(lines: list[str], header: SessionHeader, folder: Path) -> list[TrialResult]:
    seeds = {entry["trial"]: entry["scene_seed"] for entry in header.plan}
    commanders = {entry["trial"]: commander_of(entry) for entry in header.plan}
    results: list[TrialResult] = []
    for number, line in enumerate(lines, start=1):
        try:
            result = TrialResult.from_json(line)
        except SessionError as error:
            raise SessionError(f"{folder / JOURNAL_FILE}, line {number}: {error}; restore it from a copy") from error
        if seeds.get(result.trial) != result.scene_seed:
            raise SessionError(
                f"{folder / JOURNAL_FILE}, line {number}: trial {result.trial} with scene seed {result.scene_seed}, "
                f"the plan has {seeds.get(result.trial)}: the journal belongs to another session"
            )
        if commanders[result.trial] != result.commander:
            raise SessionError(
                f"{folder / JOURNAL_FILE}, line {number}: trial {result.trial} is of the {result.commander}, planned "
                f"for the {commanders[result.trial]}: the journal belongs to another session"
            )
        if any(other.trial == result.trial for other in results):
            raise SessionError(f"{folder / JOURNAL_FILE}, line {number}: trial {result.trial} is there twice")
        results.append(result)
    return results


class SessionFolder:
    """A folder that this process alone writes. Use as a context manager; the lock dies with the process."""

    def __init__(self, folder: Path, lock: IO[str]) -> None:
        """Use :meth:`create` or :meth:`resume`."""
        self.folder = folder
        self._lock = lock
        self._record = read_session(folder)
        self.warnings = self._record.warnings
        self._discard_torn_line(folder / JOURNAL_FILE)
        self._discard_torn_line(folder / ATTEMPTS_FILE)

    @classmethod
    def create(cls, folder: Path, header: SessionHeader) -> "SessionFolder":
        """Begin a session in a new or empty folder.

        Raises:
            SessionError: the folder cannot be written or holds a session already, or another process writes there.
        """
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise SessionError(_no_folder(folder, error)) from error
        lock = _acquire_lock(folder)
        if (folder / HEADER_FILE).exists():
            lock.close()
            raise SessionError(f"{folder} holds a session already: resume it with `vlajs session resume {folder}`")
        write_atomically(folder / HEADER_FILE, header.to_json().encode())
        (folder / "trials").mkdir(exist_ok=True)
        return cls(folder, lock)

    @classmethod
    def resume(cls, folder: Path, expected: SessionHeader) -> "SessionFolder":
        """Go on with a session, if ``expected`` (planned anew from the checkpoint at hand) is the same experiment.

        Raises:
            SessionError: nothing to resume, another plan or checkpoint, or another process writes there.
        """
        if not (folder / HEADER_FILE).is_file():
            raise SessionError(f"{folder} holds no {HEADER_FILE}: give the folder that `vlajs session run` printed")
        lock = _acquire_lock(folder)
        try:
            session = cls(folder, lock)
            refuse_other_experiment(session.header, expected)
        except SessionError:
            lock.close()
            raise
        return session

    @property
    def header(self) -> SessionHeader:
        """As written when the session began."""
        return self._record.header

    @property
    def record(self) -> SessionRecord:
        """Everything so far."""
        return self._record

    def remaining(self) -> list[int]:
        """Numbers of the trials still to run, in order."""
        finished = {result.trial for result in self._record.results}
        return [entry["trial"] for entry in self.header.plan if entry["trial"] not in finished]

    def begin(self, trial: int) -> None:
        """Note that a trial begins, so that an interrupted one is not forgotten."""
        line = json.dumps({"trial": trial, "begun_utc": utc_now()})
        append_line(self.folder / ATTEMPTS_FILE, line.encode())
        self._record = read_session(self.folder)

    def append(self, result: TrialResult) -> None:
        """Journal a finished trial; on the disk when this returns.

        Raises:
            SessionError: the trial is journalled already or is none of the plan.
        """
        line = result.to_json()
        _parse_results([*(r.to_json() for r in self._record.results), line], self.header, self.folder)
        append_line(self.folder / JOURNAL_FILE, line.encode())
        self._record = read_session(self.folder)

    def settle_baseline(self, baseline: Baseline) -> None:
        """Write down what the policy is compared with, or check that it is still the same.

        Raises:
            SessionError: the session began with another.
        """
        begun = self._record.baseline
        if begun is None:
            write_atomically(self.folder / BASELINE_FILE, baseline.to_json().encode())
            self._record = read_session(self.folder)
        elif begun.contract_id != baseline.contract_id:
            changed = [
                f"{name} was {begun.settings.get(name)!r}, is now {value!r}"
                for name, value in baseline.settings.items()
                if begun.settings.get(name) != value
            ] or ["the server's model or convention has changed"]
            raise SessionError(
                f"the baseline is {baseline.contract_id}, the session began with {begun.contract_id}: "
                f"{'; '.join(changed)}. One journal holds one experiment: start it as it was, or a new session"
            )

    def trial_path(self, trial: int, suffix: str) -> Path:
        """``trials/0003<suffix>`` for trial 3."""
        return self.folder / "trials" / f"{trial:04d}{suffix}"

    def close(self) -> None:
        """Give the lock back."""
        self._lock.close()

    def __enter__(self) -> "SessionFolder":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _discard_torn_line(self, path: Path) -> None:
        """Cut a half-written line off, or the next line would be glued to it."""
        _, end, torn = _whole_lines(path)
        if torn:
            with path.open("r+b") as file:
                file.truncate(end)
                os.fsync(file.fileno())


def _acquire_lock(folder: Path) -> IO[str]:
    try:
        lock = (folder / LOCK_FILE).open("a+")
    except OSError as error:
        raise SessionError(_no_folder(folder, error)) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        lock.seek(0)
        holder = lock.read().strip() or "unknown"
        lock.close()
        raise SessionError(
            f"{folder} is being written by process {holder}: two sessions cannot share a folder; wait for it or end it"
        ) from error
    lock.truncate(0)
    lock.write(str(os.getpid()))
    lock.flush()
    return lock


def _no_folder(folder: Path, error: OSError) -> str:
    return f"{folder} cannot hold a session ({error.strerror}): give a folder that you may write (--folder)"


def refuse_other_experiment(have: SessionHeader, want: SessionHeader) -> None:
    """Refuse to mix two experiments in one journal.

    Raises:
        SessionError: which of task, arm, seed, trials, checkpoint or scenes differ.
    """
    pairs = {
        "task": (have.task, want.task),
        "arm": (have.arm, want.arm),
        "seed": (have.seed, want.seed),
        "number of trials": (have.trials, want.trials),
        "checkpoint sha256": (have.checkpoint.sha256, want.checkpoint.sha256),
        "contract": (have.checkpoint.contract_id, want.checkpoint.contract_id),
        "comparison with a baseline": (have.compares, want.compares),
    }
    differences = [f"{name} was {old}, is now {new}" for name, (old, new) in pairs.items() if old != new]
    if not differences and not _same_plan(have, want):
        differences = ["the seed now gives other scenes (another version of vlajs or numpy)"]
    if differences:
        raise SessionError(
            f"cannot resume: {'; '.join(differences)}. One journal holds one experiment: "
            "use what the session began with, or start a new session"
        )


def _same_plan(have: SessionHeader, want: SessionHeader) -> bool:
    def numbers(header: SessionHeader) -> list[float]:
        return [
            number
            for entry in header.plan
            for group in (*(pose["position_m"] for pose in entry["objects"].values()), entry["goal_m"])
            for number in group
        ]

    old, new = numbers(have), numbers(want)
    return (
        [(e["trial"], e["scene_seed"], commander_of(e)) for e in have.plan]
        == [(e["trial"], e["scene_seed"], commander_of(e)) for e in want.plan]
        and len(old) == len(new)
        and all(abs(a - b) <= PLAN_TOLERANCE_M for a, b in zip(old, new, strict=True))
    )
