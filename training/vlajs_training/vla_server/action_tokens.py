"""Actions as OpenVLA says them: numbers scaled to [-1, 1] by a data set's quantiles, each a token of the vocabulary.

As in OpenVLA's own fine-tuning (openvla/openvla: ``action_tokenizer.py``, ``rlds/utils/data_utils.py``): 256 edges over
[-1, 1] make 255 bins, and the bins' tokens are the last of the vocabulary, counted from its end.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

EDGES = 256
"""Of the bins over [-1, 1]; there is one bin less."""
SCALED = (True,) * 6 + (False,)
"""Which numbers are scaled: translation and rotation; the gripper comes in [-1, 1] and stays as it is."""


class ActionTokens:
    """Token of each number of an action, and back."""

    def __init__(self, vocabulary: int) -> None:
        """``vocabulary``: how many tokens the language model's own tokenizer has, 32,000 for Llama 2."""
        self._vocabulary = vocabulary
        self._edges = np.linspace(-1.0, 1.0, EDGES)
        self._centres = (self._edges[:-1] + self._edges[1:]) / 2

    @property
    def first(self) -> int:
        """The lowest token that is one of these."""
        return self._vocabulary - EDGES

    def encode(self, scaled: NDArray[np.floating]) -> NDArray[np.int64]:
        """Tokens (..., 7) of numbers in [-1, 1]; what lies beyond is clipped."""
        return self._vocabulary - np.digitize(np.clip(scaled, -1.0, 1.0), self._edges)

    def decode(self, tokens: NDArray[np.integer]) -> NDArray[np.float64]:
        """Centres of the bins; 1 has a token of its own beyond the last bin; any other token counts as the nearest."""
        return self._centres[np.clip(self._vocabulary - tokens - 1, 0, EDGES - 2)]


def statistics_of(actions: NDArray[np.floating], episodes: int) -> dict[str, Any]:
    """What ``dataset_statistics.json`` says of a data set, in OpenVLA's form.

    Args:
        actions: (T, 7) as they are meant: m, rad, gripper.
        episodes: how many these are of.
    """
    values = np.asarray(actions, dtype=np.float64)
    return {
        "action": {
            "mean": values.mean(0).tolist(),
            "std": values.std(0).tolist(),
            "max": values.max(0).tolist(),
            "min": values.min(0).tolist(),
            "q01": np.quantile(values, 0.01, axis=0).tolist(),
            "q99": np.quantile(values, 0.99, axis=0).tolist(),
            "mask": list(SCALED),
        },
        "num_transitions": len(values),
        "num_trajectories": episodes,
    }


def scale(actions: NDArray[np.floating], statistics: Mapping[str, Any]) -> NDArray[np.float64]:
    """Actions (..., 7) with their 1 % and 99 % quantiles at -1 and 1, clipped; 0 for a number that never changes."""
    low, high, mask = _bounds(statistics)
    span = high - low
    between = np.clip(2 * (actions - low) / np.where(span > 0, span, 1.0) - 1, -1.0, 1.0)
    return np.where(mask, np.where(span > 0, between, 0.0), actions)


def unscale(scaled: NDArray[np.floating], statistics: Mapping[str, Any]) -> NDArray[np.float64]:
    """Inverse of :func:`scale`, as OpenVLA's ``predict_action`` does it."""
    low, high, mask = _bounds(statistics)
    return np.where(mask, 0.5 * (scaled + 1) * (high - low) + low, scaled)


def _bounds(statistics: Mapping[str, Any]) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_]]:
    action = statistics["action"]
    return np.array(action["q01"]), np.array(action["q99"]), np.array(action["mask"], dtype=bool)
