"""The simulation of a task: ManiSkill's environment, its arm driven as the task's contract says."""

from typing import Any

from mani_skill.envs.sapien_env import BaseEnv

import vlajs_training.maniskill_tasks  # noqa: F401 - registers them
from vlajs_training.controller import register_control_mode
from vlajs_training.simulation import Backend, make_simulation
from vlajs_training.tasks import TaskDefinition


def make_task_simulation(definition: TaskDefinition, *, num_envs: int, backend: Backend, **kwargs: Any) -> BaseEnv:
    """An environment without observations, time limit and automatic reset.

    Args:
        definition: the task.
        num_envs: number of environments simulated together.
        backend: which simulation.
        **kwargs: further arguments of :func:`vlajs_training.simulation.make_simulation`.

    Raises:
        ValueError: a number of environments the backend cannot hold.
    """
    register_control_mode(definition.control_mode, definition.action)
    return make_simulation(
        definition.maniskill_id,
        num_envs=num_envs,
        backend=backend,
        control_mode=definition.control_mode,
        obs_mode="none",
        **kwargs,
    )
