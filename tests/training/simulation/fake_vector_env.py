"""Tiny environments for worker processes, which import this module by name."""

from __future__ import annotations

import os
import signal
import time

import numpy as np

from vlajs_training.simulation import StepResult

IMPORTED_BY = os.getpid()


class FakeVectorEnv:
    """Observation: (worker, slot, seed or step count). Reward: sum of the actions. Ends every third step."""

    observation_size = 3
    action_size = 2

    def __init__(self, index: int, num_envs: int) -> None:
        self.index, self.num_envs, self.steps = index, num_envs, 0

    def _observe(self, value: float) -> np.ndarray:
        slots = np.arange(self.num_envs)
        return np.stack([np.full_like(slots, self.index), slots, np.full(slots.shape, value)], 1).astype(np.float32)

    def reset(self, seed: int) -> np.ndarray:
        self.steps = 0
        return self._observe(seed % 1000)

    def step(self, actions: np.ndarray) -> StepResult:
        self.steps += 1
        self._misbehave(float(actions[0, 0]))
        done = np.full(self.num_envs, self.steps % 3 == 0)
        return StepResult(
            observation=self._observe(0.0 if done[0] else self.steps),
            reward=actions.sum(axis=1),
            terminated=done & (self.index == 0),
            truncated=done & (self.index != 0),
            final_observation=self._observe(self.steps),
            success=actions[:, 1] > 0.5,
        )

    def visible_state(self, env_idx: np.ndarray) -> np.ndarray:
        """A row (worker, slot) for each."""
        return np.stack([np.full(len(env_idx), self.index), env_idx], axis=1).astype(np.float32)

    def _misbehave(self, command: float) -> None:
        if command == RAISE:
            raise ZeroDivisionError("the cube is nowhere")
        if command == DIE:
            os.kill(os.getpid(), signal.SIGKILL)
        if command == SLEEP:
            time.sleep(60.0)

    def close(self) -> None:
        """Nothing to free."""


RAISE, DIE, SLEEP = 100.0, 200.0, 300.0


def make(index: int) -> FakeVectorEnv:
    """Worker 0 holds 1 environment, worker 1 holds 2, and so on."""
    return FakeVectorEnv(index, index + 1)


def make_broken(index: int) -> FakeVectorEnv:
    """Worker 1 cannot build its environment."""
    if index == 1:
        raise RuntimeError("no such task")
    return make(index)


def make_killed(index: int) -> FakeVectorEnv:
    """Worker 1 is killed while it builds its environment."""
    if index == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return make(index)


def make_uneven(index: int) -> FakeVectorEnv:
    """Workers disagree on the observation."""
    env = make(index)
    env.observation_size = 3 + index
    return env


class ShowsProcesses(FakeVectorEnv):
    """Shows which processes imported this module and what it needs, and which it runs in."""

    def visible_state(self, env_idx: np.ndarray) -> np.ndarray:
        """A row of three process ids for each; float32 holds them exactly."""
        import needed_late

        return np.array([(IMPORTED_BY, needed_late.IMPORTED_BY, os.getpid())] * len(env_idx), np.float32)


def make_showing_processes(index: int) -> ShowsProcesses:
    """One environment in each worker."""
    return ShowsProcesses(index, 1)
