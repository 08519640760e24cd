"""What ``vlajs train`` trains in, replaced by something cheap: ``ReachZero`` under the task's contract.

Run by torchrun it is ``vlajs train`` itself: ``torchrun --nproc-per-node 2 -m tests.support.fake_training ARGS``.
"""

import sys

import numpy as np
import torch

from tests.support.reach_zero import ReachZero
from tests.support.teachers import CountingTeacher, toward_zero
from vlajs_training import train, trainer
from vlajs_training.simulation.vector import StepResult
from vlajs_training.tasks import TaskDefinition, get_definition
from vlajs_training.train_config import TrainConfig


class WideReachZero(ReachZero):
    """``ReachZero`` with as many observations as a task has; all but the first are zero."""

    def __init__(self, num_envs: int, observation_size: int) -> None:
        super().__init__(num_envs)
        self.observation_size = observation_size

    def _observation(self) -> np.ndarray:
        return np.pad(super()._observation(), ((0, 0), (0, self.observation_size - 1)))

    def step(self, actions: np.ndarray) -> StepResult:
        assert actions.shape == (self.num_envs, 7)
        return super().step(actions)


def make_vector_env(config: TrainConfig, *, num_envs: int, **_: object) -> WideReachZero:
    """In place of ``trainer.make_vector_env``."""
    return WideReachZero(num_envs, get_definition(config.task).observation_size)


class Teachers:
    """In place of ``trainer.make_teacher``; remembers whom it made."""

    def __init__(self) -> None:
        self.made: list[CountingTeacher] = []
        self.answer = None

    def __call__(self, name: str, definition: TaskDefinition, **_: object) -> CountingTeacher:
        teacher = CountingTeacher(answer=self.answer)
        teacher.answer = self.answer or toward_zero(teacher)
        self.made.append(teacher)
        return teacher


if __name__ == "__main__":
    trainer.make_vector_env = make_vector_env
    trainer.make_teacher = Teachers()
    torch.set_num_threads(1)
    raise SystemExit(train.main(sys.argv[1:]))
