"""What a teacher is, and the guard that keeps a bad one from ending a run.

A teacher gives coarse hints: what the tool should do for the next fraction of a second. It speaks in its own scale and
rate, it may be wrong, late, or gone. Hints enter the loss only and are never executed (paper, V.B).
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Protocol, TypeVar

import numpy as np

BASE_DELTA = "base_delta"
"""The one convention there is; see :class:`TeacherDescription`."""

ANSWER_SIZE = 7
MAX_DELTA_M = 1.0
"""A hint of a longer translation is nonsense: the arm's whole reach is less. For a teacher that says it exaggerates,
this and the next are multiplied by its magnitude."""
MAX_DELTA_RAD = float(np.pi)
"""A rotation vector longer than half a turn is nonsense: the other way round is shorter."""
MAX_GRIPPER = 10.0
"""Gripper commands a little outside [-1, 1] are clipped; beyond this they are nonsense."""

Answer = TypeVar("Answer")


class TeacherError(RuntimeError):
    """A teacher has no answer; the message names the cause. It costs guidance, never the run."""


@dataclass(frozen=True, kw_only=True)
class TeacherDescription:
    """What must be known of a teacher to use its hints; recorded with every result it had a part in.

    Attributes:
        name: which teacher, for instance ``scripted``.
        rate_hz: it speaks this often: one delta covers ``1 / rate_hz`` seconds.
        magnitude: its translations and rotations are this many times what the student would need.
        success: share of episodes it solves when it drives alone, measured; None if unknown.
        convention: ``base_delta``: translation in metres and rotation vector in radians, both in the robot base's axes,
            the rotation composed on the left; gripper in [-1, 1], 1 is open.
    """

    name: str
    rate_hz: float
    magnitude: float
    success: float | None
    convention: str


class Teacher(Protocol):
    """Answers for N environments; told of every episode's begin and every decision's observation."""

    description: TeacherDescription

    def begin(self, env_idx: np.ndarray) -> None:
        """New episodes begin in the environments ``env_idx`` (M,)."""
        ...

    def observe(self, observation: np.ndarray) -> None:
        """Raw observations (N, D) of a decision, in the contract's terms; teachers with delays keep a history."""
        ...

    def query(self, env_idx: np.ndarray) -> np.ndarray:
        """Hints (M, 7) for the next ``1 / rate_hz`` s of the environments ``env_idx`` (M,): m (3), rad (3), gripper.

        Raises:
            TeacherError: there is no answer.
        """
        ...


def check_description(description: TeacherDescription) -> None:
    """Refuse a teacher whose hints would be misread.

    Raises:
        ValueError: another convention, or a rate or magnitude that is not a positive number.
    """
    if description.convention != BASE_DELTA:
        raise ValueError(
            f"teacher {description.name!r} speaks {description.convention!r}, training reads {BASE_DELTA!r} (metres "
            "and rotation vector in base axes, composed on the left, gripper in [-1, 1]): convert its answers first"
        )
    for name in ("rate_hz", "magnitude"):
        value = getattr(description, name)
        if not (np.isfinite(value) and value > 0):
            raise ValueError(f"teacher {description.name!r} has {name} = {value}: it must be a positive number")


@dataclass(frozen=True, kw_only=True)
class Hints:
    """Answers to one call.

    Attributes:
        delta: (M, 7) as :meth:`Teacher.query`, zero where not valid; gripper within [-1, 1].
        valid: (M,) bool.
    """

    delta: np.ndarray
    valid: np.ndarray


class GuardedTeacher:
    """A teacher that may fail: every failure masks the hints of that call and is counted.

    Whatever the teacher raises is caught, an answer later than ``timeout_s`` is not waited for, and rows that are not
    numbers a tool could follow are masked. While a late answer is still being worked on nothing is asked, and one
    failure counted for each further ``timeout_s``: a server that starts slowly is not lost. After ``max_failures``
    failures in a row the teacher is given up for good.

    Attributes:
        calls: hints asked for, answered or not, one for each environment.
        failures: calls that failed.
        last_failure: what the last one was.
        given_up: no call is made any more.
    """

    def __init__(self, teacher: Teacher, *, max_failures: int, timeout_s: float) -> None:
        """Wrap ``teacher``.

        Raises:
            ValueError: its convention does not match (:func:`check_description`).
        """
        check_description(teacher.description)
        self.description = teacher.description
        self.max_failures = max_failures
        self.calls = 0
        self.failures = 0
        self.last_failure = ""
        self.given_up = False
        self._teacher = teacher
        self._timeout_s = timeout_s
        self._in_a_row = 0
        self._late_since_s = 0.0
        self._begun: set[int] = set()
        self._worker: _Worker | None = None

    def begin(self, env_idx: np.ndarray) -> None:
        """New episodes begin in ``env_idx`` (M,); a busy teacher hears of them later."""
        self._begun.update(env_idx.tolist())
        begun = np.array(sorted(self._begun))
        if self._ask(lambda: self._teacher.begin(begun))[0]:
            self._begun.clear()

    def observe(self, observation: np.ndarray) -> None:
        """Raw observations (N, D) of a decision."""
        if self._begun:
            self.begin(np.array([], dtype=np.int64))
        self._ask(lambda: self._teacher.observe(observation))

    def query(self, env_idx: np.ndarray) -> Hints:
        """Hints for ``env_idx`` (M,); never raises."""
        count = len(env_idx)
        nothing = Hints(delta=np.zeros((count, ANSWER_SIZE), dtype=np.float32), valid=np.zeros(count, dtype=bool))
        if self.given_up:
            return nothing
        self.calls += count
        asked, answer = self._ask(lambda: self._teacher.query(env_idx))
        if not asked:
            return nothing
        try:
            hints = check_answer(answer, count, self.description.magnitude)
        except TeacherError as error:
            self._failed(str(error))
            return nothing
        if hints.valid.any():
            self._in_a_row = 0
        else:
            self._failed("no row of the answer is a motion a tool could follow (NaN, infinite or absurdly large)")
        return hints

    def close(self) -> None:
        """End the thread the teacher is asked in, unless it hangs: then it ends with the process."""
        if self._worker is not None:
            self._worker.close()
            self._worker = None

    def _ask(self, question: Callable[[], Answer]) -> tuple[bool, Answer | None]:
        """(True, answer), or (False, None) where the teacher failed or is given up."""
        if self.given_up:
            return False, None
        if self._worker is None:
            self._worker = _Worker()
        if self._worker.is_busy():
            if time.monotonic() - self._late_since_s > self._timeout_s:
                self._late()
            return False, None
        try:
            return True, self._worker.run(question, self._timeout_s)
        except _TooLateError:
            self._late()
            return False, None
        except Exception as error:  # noqa: BLE001  (anybody's code: it counts as failed, is told, and the run goes on)
            self._failed(f"{type(error).__name__}: {error}")
            return False, None

    def _late(self) -> None:
        self._late_since_s = time.monotonic()
        self._failed(f"no answer within {self._timeout_s:g} s")

    def _failed(self, cause: str) -> None:
        self.failures += 1
        self._in_a_row += 1
        self.last_failure = cause
        self.given_up = self._in_a_row >= self.max_failures


def check_answer(answer: object, count: int, magnitude: float = 1.0) -> Hints:
    """Hints of a teacher's answer; rows that are not finite or absurdly large are masked.

    Args:
        answer: what the teacher gave.
        count: for how many environments it was asked.
        magnitude: the teacher's.

    Raises:
        TeacherError: the answer is no array of numbers of shape (count, 7).
    """
    try:
        delta = np.array(answer, dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise TeacherError(f"the answer is no array of numbers ({error})") from error
    if delta.shape != (count, ANSWER_SIZE):
        raise TeacherError(f"the answer has shape {delta.shape}, expected {(count, ANSWER_SIZE)}")
    with np.errstate(invalid="ignore", over="ignore"):
        valid = np.isfinite(delta).all(axis=1)
        valid &= np.linalg.norm(delta[:, :3], axis=1) <= MAX_DELTA_M * max(1.0, magnitude)
        valid &= np.linalg.norm(delta[:, 3:6], axis=1) <= MAX_DELTA_RAD * max(1.0, magnitude)
        valid &= np.abs(delta[:, 6]) <= MAX_GRIPPER
    delta[~valid] = 0.0
    delta[:, 6] = delta[:, 6].clip(-1.0, 1.0)
    return Hints(delta=delta, valid=valid)


class _TooLateError(Exception):
    """The answer is no longer waited for; whatever the teacher raises is another error."""


class _Worker:
    """A thread that answers one question after another, so that one can stop waiting for it."""

    def __init__(self) -> None:
        self._questions: SimpleQueue[Callable[[], object] | None] = SimpleQueue()
        self._answers: SimpleQueue[tuple[object, Exception | None]] = SimpleQueue()
        self._late = False
        threading.Thread(target=self._serve, name="teacher", daemon=True).start()

    def is_busy(self) -> bool:
        """Whether an earlier question, no longer waited for, is still being worked on."""
        if self._late:
            try:
                self._answers.get_nowait()  # too late: nobody waits for it any more
            except Empty:
                return True
            self._late = False
        return False

    def run(self, question: Callable[[], Answer], timeout_s: float) -> Answer:
        """The question's answer.

        Raises:
            _TooLateError: not within ``timeout_s``; ask again when it is no longer busy.
            Exception: whatever the question raised.
        """
        self._questions.put(question)
        try:
            answer, error = self._answers.get(timeout=timeout_s)
        except Empty:
            self._late = True
            raise _TooLateError from None
        if error is not None:
            raise error
        return answer  # type: ignore[return-value]  (of this question)

    def close(self) -> None:
        self._questions.put(None)

    def _serve(self) -> None:
        while (question := self._questions.get()) is not None:
            try:
                self._answers.put((question(), None))
            except Exception as error:  # noqa: BLE001  (raised again where the answer is waited for)
                self._answers.put((None, error))
