"""When the teacher is asked, how much it weighs, and when it is dismissed (paper, III.B)."""

from collections.abc import Sequence

import numpy as np

from vlajs_training.guidance.config import whole_calls


def query_schedule(phase: np.ndarray, calls: int, steps: int) -> np.ndarray:
    """Which steps are calls, (T, N) bool: ``calls`` in each environment, evenly spread.

    Args:
        phase: (N,) in [0, 1): where in its interval of ``steps / calls`` steps an environment asks, so that the calls
            of a batch are spread over all steps.
        calls: calls in the rollout, at most ``steps``.
        steps: T.
    """
    due = np.zeros((steps, len(phase)), dtype=bool)
    for call in range(calls):
        # an interval is at least one step long: no two calls fall on the same one
        due[np.minimum(((call + phase) * steps / calls).astype(int), steps - 1), np.arange(len(phase))] = True
    return due


def reward_gain(history: Sequence[float]) -> float:
    """Rise of the mean rollout reward: mean of the newer half less mean of the older, clipped at zero.

    With an odd number of rollouts the middle one is left out; with fewer than two there is no gain.
    """
    half = len(history) // 2
    if half == 0:
        return 0.0
    return max(0.0, float(np.mean(history[-half:]) - np.mean(history[:half])))


def call_count(gain: float, *, kappa: float, min_calls: int, max_calls: float) -> int:
    """N_calls = max(N_min, floor(N_max exp(-kappa gain)))."""
    return max(min_calls, whole_calls(max_calls * np.exp(-kappa * gain)))


def guidance_weight(gain: float, *, kappa: float, weight: float) -> float:
    """lambda_t = lambda_0 exp(-kappa gain)."""
    return float(weight * np.exp(-kappa * gain))


def learning_has_begun(history: Sequence[float], *, rise_rollouts: int, threshold: float) -> bool:
    """Whether the last ``rise_rollouts`` mean rewards rise strictly and the last exceeds the threshold."""
    if len(history) < rise_rollouts:
        return False
    recent = np.array(history[-rise_rollouts:])
    return bool((np.diff(recent) > 0).all() and recent[-1] > threshold)
