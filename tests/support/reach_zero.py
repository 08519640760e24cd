"""A vector environment with a known solution."""

import numpy as np

from vlajs_training.simulation.vector import StepResult


class ReachZero:
    """One number in [-1, 1] to be moved to zero by steps of at most 0.2; success within 0.05, horizon 20."""

    observation_size = 1
    action_size = 7

    def __init__(self, num_envs: int = 16) -> None:
        self.num_envs = num_envs
        self.broken_reward = False

    def reset(self, seed: int) -> np.ndarray:
        self.rng = np.random.default_rng(seed)
        self.x = self.rng.uniform(-1, 1, self.num_envs)
        self.age = np.zeros(self.num_envs, dtype=int)
        return self._observation()

    def _observation(self) -> np.ndarray:
        return self.x[:, None].astype(np.float32)

    def step(self, actions: np.ndarray) -> StepResult:
        self.x = self.x + 0.2 * np.clip(actions[:, 0], -1, 1)
        self.age += 1
        success = np.abs(self.x) < 0.05
        truncated = (self.age >= 20) & ~success
        reward = (1 - np.minimum(np.abs(self.x), 1)).astype(np.float32)
        if self.broken_reward:
            reward[3] = np.nan
        final = self._observation()
        done = success | truncated
        self.x = np.where(done, self.rng.uniform(-1, 1, self.num_envs), self.x)
        self.age[done] = 0
        return StepResult(
            observation=self._observation(),
            reward=reward,
            terminated=success,
            truncated=truncated,
            final_observation=final,
            success=success,
        )

    def close(self) -> None:
        pass
