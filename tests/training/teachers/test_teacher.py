"""The guard around a teacher."""

import dataclasses
import threading
import time

import numpy as np
import pytest

from tests.support.teachers import BAD_ANSWERS, DESCRIPTION, CountingTeacher, hangs, raises
from vlajs_training.teachers.teacher import GuardedTeacher, TeacherError, check_answer, check_description


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"convention": "tool_euler"}, "teacher 'fake' speaks 'tool_euler', training reads 'base_delta'.*convert"),
        ({"rate_hz": 0.0}, "rate_hz = 0.0: it must be a positive number"),
        ({"magnitude": float("nan")}, "magnitude = nan"),
    ],
)
def test_a_teacher_that_would_be_misread_is_refused(change: dict, message: str) -> None:
    description = dataclasses.replace(DESCRIPTION, **change)
    with pytest.raises(ValueError, match=message):
        check_description(description)
    with pytest.raises(ValueError, match=message):
        GuardedTeacher(CountingTeacher(description), max_failures=3, timeout_s=1.0)


def test_rows_a_tool_could_not_follow_are_masked_alone() -> None:
    answer = np.zeros((6, 7))
    answer[1, 2] = np.nan
    answer[2, 0] = 1.5  # metres
    answer[3, 3:6] = 2.0  # radians: norm 3.46 > pi
    answer[4, 6] = -40.0
    answer[5, 6] = 1.2  # a little outside [-1, 1]: clipped
    hints = check_answer(answer, 6)
    assert hints.valid.tolist() == [True, False, False, False, False, True]
    assert hints.delta[5, 6] == 1.0
    assert not hints.delta[1:5].any()
    # a teacher that exaggerates twofold may say 1.5 m and 3.46 rad
    assert check_answer(answer, 6, magnitude=2.0).valid.tolist() == [True, False, True, True, False, True]


@pytest.mark.parametrize("answer", [np.zeros((3, 7)), np.zeros(7), [["x"] * 7] * 2, None])
def test_an_answer_that_is_no_array_of_the_right_shape_is_an_error(answer: object) -> None:
    with pytest.raises(TeacherError, match=r"the answer (has shape .*expected \(2, 7\)|is no array of numbers)"):
        check_answer(answer, 2)


@pytest.mark.parametrize("bad", BAD_ANSWERS, ids=lambda bad: bad.__name__)
def test_a_bad_answer_is_masked_and_repeated_ones_end_the_calls(bad) -> None:
    teacher = CountingTeacher(answer=bad)
    guard = GuardedTeacher(teacher, max_failures=3, timeout_s=0.05)
    for call in range(1, 6):
        hints = guard.query(np.array([0, 1]))
        assert not hints.valid.any()
        assert guard.given_up is (call >= 3)
    assert guard.failures == 3
    assert guard.last_failure
    assert len(teacher.queries) == 3
    guard.close()


def test_one_good_answer_forgives() -> None:
    teacher = CountingTeacher(answer=raises)
    guard = GuardedTeacher(teacher, max_failures=2, timeout_s=5.0)
    for _ in range(4):
        teacher.answer = raises
        guard.query(np.array([0]))
        teacher.answer = None
        assert guard.query(np.array([0])).valid.all()
    assert not guard.given_up
    assert guard.failures == 4
    assert guard.calls == 8
    assert "the server is gone" in guard.last_failure
    guard.close()


def test_a_late_answer_is_not_taken_for_the_next_one() -> None:
    release = threading.Event()
    late = np.full((1, 7), 0.5)

    def slow_once(env_idx: np.ndarray) -> np.ndarray:
        if not release.is_set():
            release.wait(20.0)
            return late
        return np.full((len(env_idx), 7), 0.1)

    guard = GuardedTeacher(CountingTeacher(answer=slow_once), max_failures=10**9, timeout_s=0.02)
    assert not guard.query(np.array([0])).valid.any()
    release.set()
    while not (hints := guard.query(np.array([0]))).valid.any():
        pass  # still busy with the first
    np.testing.assert_allclose(hints.delta, 0.1)
    guard.close()


def test_a_server_that_starts_slowly_is_not_lost() -> None:
    release = threading.Event()

    def slow_once(env_idx: np.ndarray) -> np.ndarray:
        release.wait(20.0)
        return np.full((len(env_idx), 7), 0.1)

    teacher = CountingTeacher(answer=slow_once)
    guard = GuardedTeacher(teacher, max_failures=3, timeout_s=0.2)
    guard.query(np.array([0]))
    for step in range(100):  # far more steps than failures it may make, in less than the time it may take
        guard.begin(np.array([step]))
        guard.observe(np.zeros((1, 3)))
        guard.query(np.array([0]))
    assert (guard.failures, guard.given_up) == (1, False)
    release.set()
    while not guard.query(np.array([0])).valid.any():
        pass
    guard.observe(np.ones((1, 3)))
    assert teacher.began == [list(range(100))]  # what it had missed
    assert len(teacher.observed) == 1
    guard.close()


def test_a_teacher_that_hangs_is_given_up_while_training_goes_on() -> None:
    teacher = CountingTeacher(answer=hangs)
    guard = GuardedTeacher(teacher, max_failures=3, timeout_s=0.05)
    started = time.monotonic()
    while not guard.given_up:
        guard.query(np.array([0]))
    assert time.monotonic() - started >= 3 * 0.05
    assert guard.last_failure == "no answer within 0.05 s"
    assert len(teacher.queries) == 1  # not asked again while it hangs


def test_a_time_out_of_the_teachers_own_is_an_ordinary_failure() -> None:
    def times_out(env_idx: np.ndarray) -> np.ndarray:
        raise TimeoutError("the socket")

    guard = GuardedTeacher(CountingTeacher(answer=times_out), max_failures=3, timeout_s=5.0)
    for _ in range(3):
        guard.query(np.array([0]))
    assert guard.given_up
    assert guard.last_failure == "TimeoutError: the socket"
    guard.close()


def test_failures_to_begin_or_observe_count_too() -> None:
    class Broken(CountingTeacher):
        def observe(self, observation: np.ndarray) -> None:
            raise OSError("no camera")

    guard = GuardedTeacher(Broken(), max_failures=2, timeout_s=5.0)
    guard.begin(np.arange(2))
    guard.observe(np.zeros((2, 3)))
    guard.observe(np.zeros((2, 3)))
    assert guard.given_up
    assert guard.last_failure == "OSError: no camera"
    guard.close()
