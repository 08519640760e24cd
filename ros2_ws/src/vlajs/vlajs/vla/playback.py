"""How the actions of a VLA become increments at a rate that the bridge takes, at most as long as it takes them."""

import math
from dataclasses import dataclass

import numpy as np

from vlajs.episode import Increment
from vlajs.geometry import FloatArray, clamp_norm
from vlajs.vla.errors import ConventionError

TICK_RATE_HZ = 20.0
"""An action that covers a longer time is divided: the bridge holds the arm when nothing comes for 0.09 s."""

RATE_RANGE_HZ = (0.5, 100.0)
HAND_WIDTH_MAX_M = 0.08


@dataclass(frozen=True, kw_only=True)
class Pacing:
    """How often something is sent.

    Attributes:
        rate_hz: an action covers ``1 / rate_hz`` seconds.
        ticks_per_action: increments that it is divided into.
    """

    rate_hz: float
    ticks_per_action: int

    @property
    def tick_rate_hz(self) -> float:
        """Increments a second."""
        return self.rate_hz * self.ticks_per_action


def pacing_of(rate_hz: float) -> Pacing:
    """How the actions of a server with this rate are played: at 20 Hz or more.

    Raises:
        ConventionError: a rate that no arm is driven at.
    """
    lowest, highest = RATE_RANGE_HZ
    if not lowest <= rate_hz <= highest:
        raise ConventionError(
            f"the server states {rate_hz:g} actions a second, outside [{lowest:g}, {highest:g}] Hz: correct rate_hz of "
            "its convention"
        )
    return Pacing(rate_hz=rate_hz, ticks_per_action=math.ceil(TICK_RATE_HZ / rate_hz))


@dataclass(frozen=True, kw_only=True)
class StepLimits:
    """Longest increment, as norms: metres and radians."""

    max_step_m: float
    max_step_rad: float


class Playback:
    """A chunk of actions as increments, in order.

    Attributes:
        shortened: increments that were longer than the limits allow.
    """

    def __init__(self, actions: FloatArray, ticks_per_action: int) -> None:
        """``actions``: (K, 7) ``base_delta`` (:mod:`vlajs.vla.conversion`), K >= 1, finite."""
        self._actions, self._ticks_per_action = actions, ticks_per_action
        self._played = 0
        self.shortened = 0

    @property
    def finished(self) -> bool:
        """Whether nothing is left."""
        return self._played >= len(self._actions) * self._ticks_per_action

    @property
    def on_last_action(self) -> bool:
        """Whether what was given out last belongs to the last action."""
        return self._played > (len(self._actions) - 1) * self._ticks_per_action

    def next(self, limits: StepLimits) -> Increment:
        """The next increment; a translation or rotation that is too long keeps its direction.

        A rotation vector is divided as the translation is: about one axis, n turns of v / n are the turn of v.
        """
        action = self._actions[self._played // self._ticks_per_action]
        self._played += 1
        pos_m, rotvec_rad = action[:3] / self._ticks_per_action, action[3:6] / self._ticks_per_action
        if np.linalg.norm(pos_m) > limits.max_step_m or np.linalg.norm(rotvec_rad) > limits.max_step_rad:
            self.shortened += 1
        return Increment(
            delta_pos_m=clamp_norm(pos_m, limits.max_step_m),
            delta_rotvec_rad=clamp_norm(rotvec_rad, limits.max_step_rad),
            gripper_width_m=HAND_WIDTH_MAX_M * (float(np.clip(action[6], -1.0, 1.0)) + 1.0) / 2.0,
        )
