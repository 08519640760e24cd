"""Environments are slow to build (1-4 s): each test module builds what it needs once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch

from vlajs_training.simulation import make_simulation

MakeEnvironment = Callable[..., Any]


@pytest.fixture(scope="session", autouse=True)
def _one_torch_thread() -> Iterator[None]:
    """Batches are small: threads only fight each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def environment() -> MakeEnvironment:
    """Makes environments and keeps them: the same arguments give the same environment."""
    made: dict[tuple[Any, ...], Any] = {}

    def make(task: str, num_envs: int, backend: str, control_mode: str = "pd_joint_delta_pos") -> Any:
        key = (task, num_envs, backend, control_mode)
        if key not in made:
            made[key] = make_simulation(task, num_envs=num_envs, backend=backend, control_mode=control_mode)  # type: ignore[arg-type]
        return made[key]

    return make


@pytest.fixture(scope="session")
def random_actions() -> Callable[[int, int, int, float], torch.Tensor]:
    """actions(steps, num_envs, seed, size): uniform in [-size, size], 8 numbers each (7 joints, gripper)."""

    def make(steps: int, num_envs: int, seed: int, size: float) -> torch.Tensor:
        drawn = np.random.default_rng(seed).uniform(-size, size, (steps, num_envs, 8))
        return torch.from_numpy(drawn.astype(np.float32))

    return make
