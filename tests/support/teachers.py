"""Teachers for tests: one that counts, and the ways a teacher can be bad."""

import time
from collections.abc import Callable

import numpy as np

from vlajs_training.teachers.teacher import TeacherDescription, TeacherError

DESCRIPTION = TeacherDescription(name="fake", rate_hz=5.0, magnitude=1.0, success=None, convention="base_delta")


class CountingTeacher:
    """Points along x, 0.06 m in 0.2 s, and turns nowhere; remembers everything it was asked."""

    def __init__(self, description: TeacherDescription = DESCRIPTION, answer: Callable | None = None) -> None:
        self.description = description
        self.answer = answer
        self.queries: list[list[int]] = []
        self.began: list[list[int]] = []
        self.observed: list[np.ndarray] = []

    def begin(self, env_idx: np.ndarray) -> None:
        self.began.append(env_idx.tolist())

    def observe(self, observation: np.ndarray) -> None:
        self.observed.append(observation.copy())

    def query(self, env_idx: np.ndarray) -> np.ndarray:
        self.queries.append(env_idx.tolist())
        if self.answer is not None:
            return self.answer(env_idx)
        return np.tile([0.06, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0], (len(env_idx), 1))

    @property
    def calls(self) -> int:
        return sum(len(query) for query in self.queries)


def toward_zero(teacher: CountingTeacher, step_m: float = 0.06) -> Callable:
    """For ``ReachZero``: along x toward zero."""

    def answer(env_idx: np.ndarray) -> np.ndarray:
        hint = np.zeros((len(env_idx), 7))
        hint[:, 0] = -step_m * np.sign(teacher.observed[-1][env_idx, 0])
        return hint

    return answer


def raises(env_idx: np.ndarray) -> np.ndarray:
    raise TeacherError("the server is gone")


def crashes(env_idx: np.ndarray) -> np.ndarray:
    raise KeyError("cube_position")


def hangs(env_idx: np.ndarray) -> np.ndarray:
    time.sleep(30.0)
    return np.zeros((len(env_idx), 7))


def wrong_shape(env_idx: np.ndarray) -> np.ndarray:
    return np.zeros((len(env_idx), 6))


def not_numbers(env_idx: np.ndarray) -> object:
    return "error"


def nan(env_idx: np.ndarray) -> np.ndarray:
    return np.full((len(env_idx), 7), np.nan)


def absurd(env_idx: np.ndarray) -> np.ndarray:
    return np.full((len(env_idx), 7), 1e9)


BAD_ANSWERS = (raises, crashes, wrong_shape, not_numbers, nan, absurd)
"""Those that come at once; :func:`hangs` is bad in its own way."""
