"""What every episode on a robot has in common, whoever commands: increments, preparing the hand, and when to stop.

Pure logic: a node feeds an episode readings and the time, and sends what it returns. It fails closed: what is not known
to be in order yields no command, and the bridge then holds the arm.
"""

from dataclasses import dataclass, replace

import numpy as np

from vlajs.geometry import FloatArray
from vlajs.states import PolicyPhase

HAND_TOLERANCE_M = 2e-3
PREPARE_TIMEOUT_S = 5.0
MAX_REFUSED_COMMANDS = 5
"""The bridge's word is older than the commands by up to its period: a few refusals are not yet a verdict."""


@dataclass(frozen=True, kw_only=True)
class Increment:
    """One command to the bridge.

    Attributes:
        delta_pos_m: shape (3,), in base axes.
        delta_rotvec_rad: shape (3,), in base axes, composed on the left of the target.
        gripper_width_m: absolute opening asked for.
    """

    delta_pos_m: FloatArray
    delta_rotvec_rad: FloatArray
    gripper_width_m: float

    def scaled(self, share: float) -> "Increment":
        """The same way, but only ``share`` of its length; the opening asked for is the same."""
        return replace(self, delta_pos_m=share * self.delta_pos_m, delta_rotvec_rad=share * self.delta_rotvec_rad)


def still(gripper_width_m: float) -> Increment:
    """The increment that leaves the target where it is."""
    return Increment(delta_pos_m=np.zeros(3), delta_rotvec_rad=np.zeros(3), gripper_width_m=gripper_width_m)


class Episode:
    """One episode, from its accepted start to its end. Not thread-safe: the caller holds a lock.

    What is done in a tick, and when the horizon is reached, is the subclass's.

    Attributes:
        tick_rate_hz: how often it is to be ticked.
        phase: PREPARING, RUNNING, FINISHED or STOPPED.
        step: how far it is, on the horizon's count; 0 before the first action.
        reason: why the phase is what it is; empty when there is nothing to say.
    """

    def __init__(
        self,
        *,
        tick_rate_hz: float,
        initial_width_m: float,
        stale_grace_s: float,
        refused_commands: int,
        now_s: float,
    ) -> None:
        """Begin.

        Args:
            tick_rate_hz: how often it is to be ticked.
            initial_width_m: opening that the hand is brought to before the first action.
            stale_grace_s: how long a reading may be missing or old before the episode ends; commands stop at once.
            refused_commands: commands the bridge has refused before, on its own count.
            now_s: time on the clock the ticks follow.
        """
        self.tick_rate_hz = tick_rate_hz
        self.phase = PolicyPhase.PREPARING
        self.step = 0
        self.reason = "bringing the hand to its initial width"
        self._initial_width_m, self._stale_grace_s = initial_width_m, stale_grace_s
        self._started_s = now_s
        self._refused_before = refused_commands
        self._stale_since_s: float | None = None

    @property
    def active(self) -> bool:
        """Whether ticks still matter."""
        return self.phase in (PolicyPhase.PREPARING, PolicyPhase.RUNNING)

    def stop(self, reason: str) -> None:
        """End the episode; no command follows. Without effect when it has ended already."""
        if self.active:
            self.phase, self.reason = PolicyPhase.STOPPED, reason

    def _refused_too_often(self, refused_commands: int, cause: str = "") -> str | None:
        """Whether the bridge refuses what this episode sends, in words; ``cause``: why, if that is known."""
        refused = refused_commands - self._refused_before
        if refused > MAX_REFUSED_COMMANDS:
            return f"the bridge refused {refused} commands: {cause or 'see its log'}"
        return None

    def _in_order(self, objection: str | None, stale: str | None, now_s: float) -> bool:
        """Whether a command may be given now; ends the episode when it never may again.

        Args:
            objection: why the bridge would not carry one out, in words; nothing when it would.
            stale: which reading is missing or too old, in words; nothing when none is.
            now_s: time on the clock the ticks follow.
        """
        if objection:
            self.stop(objection)
            return False
        if not stale:
            self._stale_since_s = None
            return True
        if self._stale_since_s is None:
            self._stale_since_s = now_s
        if now_s - self._stale_since_s >= self._stale_grace_s:
            self.stop(stale)
        return False

    def _hand_ready(self, width_m: float, *, busy: bool) -> bool:
        """Whether the hand rests at its initial width."""
        return abs(width_m - self._initial_width_m) <= HAND_TOLERANCE_M and not busy

    def _prepare(self, now_s: float) -> Increment | None:
        """Bring the hand to its initial width; ends the episode when that takes too long."""
        if now_s - self._started_s > PREPARE_TIMEOUT_S:
            self.stop(
                f"the hand did not reach its initial width of {self._initial_width_m:g} m within "
                f"{PREPARE_TIMEOUT_S:g} s; is something between the fingers, or the hand not homed?"
            )
            return None
        return still(self._initial_width_m)
