"""What learning code sees of any set of environments that step together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np


@dataclass(frozen=True)
class StepResult:
    """Outcome of one step in N environments; finished ones have already begun a new episode.

    Attributes:
        observation: (N, D) float32, what the policy acts on next (after the automatic reset).
        reward: (N,) float32.
        terminated: (N,) bool, the episode ended by itself (success or failure).
        truncated: (N,) bool, the episode reached its horizon.
        final_observation: (N, D) float32, the observation before the automatic reset; equal to `observation` where
            no episode ended.
        success: (N,) bool, the task is fulfilled in this step.
    """

    observation: np.ndarray
    reward: np.ndarray
    terminated: np.ndarray
    truncated: np.ndarray
    final_observation: np.ndarray
    success: np.ndarray


class VectorEnv(Protocol):
    """N environments that step together and reset themselves."""

    num_envs: int
    observation_size: int
    action_size: int

    def reset(self, seed: int) -> np.ndarray:
        """Start new episodes everywhere; the seed fixes these and all later ones. Returns (N, D) float32."""
        ...

    def step(self, actions: np.ndarray) -> StepResult:
        """Apply normalised actions (N, A) in [-1, 1]."""
        ...

    def close(self) -> None:
        """Free everything; no call may follow."""
        ...
