"""A teacher that acts alone: deltas through the task's own controller."""

import dataclasses
from collections.abc import Iterator

import numpy as np
import pytest
import torch

from tests.support.teachers import DESCRIPTION, CountingTeacher
from vlajs.policy.response import ControllerResponse
from vlajs_training.environment import TaskEnvironment
from vlajs_training.randomisation import get_randomisation
from vlajs_training.responses import TWIN_RESPONSE
from vlajs_training.simulation.vector import StepResult
from vlajs_training.tasks import get_definition
from vlajs_training.teachers.alone import action_of, decisions_per_answer, run_alone
from vlajs_training.teachers.factory import make_teacher


def test_an_answer_covers_two_decisions_of_two_ticks() -> None:
    assert decisions_per_answer(get_definition("push_cube"), 5.0) == 2
    with pytest.raises(ValueError, match=r"at 3 Hz would cover 3.33333 decisions of push_cube, which decides at 10 Hz"):
        decisions_per_answer(get_definition("push_cube"), 3.0)
    with pytest.raises(ValueError, match=r"would cover 0.5 decisions"):
        decisions_per_answer(get_definition("push_cube"), 20.0)


def test_the_teachers_scale_is_undone_and_its_delta_spread_evenly() -> None:
    action = get_definition("push_cube").action  # 15 mm and 0.05 rad a tick
    said = np.array([[0.06, 0.0, -0.03, 0.0, 0.2, 0.0, -0.5]])
    # twofold: 30, 0, -15 mm over 4 ticks of 15 mm: (0.5, 0, -0.25); 0.1 rad over 4 ticks of 0.05 rad: 0.5
    twice = dataclasses.replace(DESCRIPTION, magnitude=2.0)
    done = action_of(said, twice, 2, action)
    np.testing.assert_allclose(done, [[0.5, 0.0, -0.25, 0.0, 0.5, 0.0, -0.5]], atol=1e-7)
    assert done.dtype == np.float32


def test_what_the_contract_forbids_is_shortened_not_bent() -> None:
    action = get_definition("push_cube").action
    said = np.array([[0.3, 0.4, 0.0, 0.0, 0.0, 3.0, 1.0]])  # 0.5 m in 0.2 s; 60 mm is allowed
    np.testing.assert_allclose(action_of(said, DESCRIPTION, 2, action), [[0.6, 0.8, 0, 0, 0, 1, 1]], atol=1e-7)


class Line:
    """Points that an action moves along x; solved beyond ``goal``, which differs from scene to scene; 6 decisions."""

    num_envs, observation_size, action_size = 3, 1, 7

    def __init__(self) -> None:
        self.goals: list[list[float]] = []

    def reset(self, seed: int) -> np.ndarray:
        self.x, self.age = np.zeros(3), 0
        self.goal = np.array([1.5, 3.5, 99.0]) + 0.1 * (seed % 2)
        self.goals.append(self.goal.tolist())
        return self.x[:, None].astype(np.float32)

    def step(self, actions: np.ndarray) -> StepResult:
        self.x, self.age = self.x + actions[:, 0], self.age + 1
        success = self.x > self.goal
        observation = self.x[:, None].astype(np.float32)
        late = np.full(3, self.age >= 6)
        return StepResult(observation, np.zeros(3, np.float32), success, late & ~success, observation, success)

    def close(self) -> None: ...


def test_episodes_are_counted_until_success_or_horizon() -> None:
    env, teachers = Line(), []

    def teacher_of(seed: int) -> CountingTeacher:
        teachers.append(CountingTeacher())  # 60 mm in 0.2 s: one unit of x a decision
        return teachers[-1]

    ended: list[int] = []
    solved = run_alone(env, teacher_of, get_definition("push_cube"), episodes=4, seed=10, progress=ended.append)
    # the first batch solves after 2 and 4 decisions and runs out of 6; of the second only one episode is wanted
    assert solved.success.tolist() == [True, True, False, True]
    assert solved.decisions.tolist() == [2, 4, 6, 2]
    assert env.goals == [[1.5, 3.5, 99.0], [1.6, 3.6, 99.1]]
    assert sum(ended) == 4
    # asked at decisions 0, 2 and 4, about those still running
    assert teachers[0].queries == [[0, 1, 2], [1, 2], [2]]
    assert teachers[0].began == [[0, 1, 2]]
    assert len(teachers[0].observed) == 6


@pytest.fixture(scope="module")
def push_environment() -> Iterator[TaskEnvironment]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # batches are small: threads only fight each other
    env = TaskEnvironment(
        "push_cube",
        num_envs=4,
        response=ControllerResponse.from_yaml(TWIN_RESPONSE),
        randomisation=get_randomisation("none"),
    )
    yield env
    env.close()
    torch.set_num_threads(threads)


def test_the_undegraded_script_pushes_the_cube_and_the_worst_does_not(push_environment: TaskEnvironment) -> None:
    definition = push_environment.definition
    shares = []
    for level in (0.0, 1.0):
        solved = run_alone(
            push_environment,
            lambda seed, level=level: make_teacher("scripted", definition, num_envs=4, seed=seed, level=level),
            definition,
            episodes=4,
            seed=1,
        )
        shares.append(solved.success.mean())
    assert shares[0] == 1.0
    assert shares[1] <= 0.25  # measured: 0.4 %
