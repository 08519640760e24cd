"""Which commands are fit to be carried out: finite, in range, in order, fresh, from one source.

Policy between clamping and refusing: a number that is not finite, or an increment beyond
``nonsense_factor`` times the step limit, is nonsense and the command is refused; up to that the target rule clamps
(:mod:`vlajs.control.target`).
"""

from dataclasses import dataclass

import numpy as np

from vlajs.control.ranges import refuse_outside
from vlajs.control.target import TargetLimits
from vlajs.geometry import FloatArray

HAND_WIDTH_MAX_M = 0.08
_WIDTH_TOLERANCE_M = 1e-6
_RANGES = {
    "max_age_s": (0.01, 1.0),
    "max_future_s": (0.001, 0.5),
    "nonsense_factor": (1.0, 10.0),
    "source_hold_s": (0.01, 10.0),
}


@dataclass(frozen=True, kw_only=True)
class Command:
    """One increment as received.

    Attributes:
        source: who commands.
        sequence: counts up within a source; 0 begins a new episode.
        delta_pos_m: shape (3,), base axes.
        delta_rotvec_rad: shape (3,), base axes.
        gripper_width_m: absolute opening wanted, 0 to 0.08.
        age_s: time since the header's stamp when it was received.
    """

    source: str
    sequence: int
    delta_pos_m: FloatArray
    delta_rotvec_rad: FloatArray
    gripper_width_m: float
    age_s: float


@dataclass(frozen=True, kw_only=True)
class FilterConfig:
    """Limits of :class:`CommandFilter`.

    Attributes:
        max_age_s: a command computed from an older observation is refused; in [0.01, 1].
        max_future_s: so is one stamped further ahead: clocks disagree; in [0.001, 0.5].
        nonsense_factor: increments beyond this many step limits are refused instead of clamped; in [1, 10].
        source_hold_s: another source is refused for this long after the last accepted command, robot time; at least
            ``max_age_s``, so that a late command is too old before it can be taken for a new stream, and at most 10.

    Raises:
        ValueError: a number outside its range.
    """

    max_age_s: float = 0.2
    max_future_s: float = 0.05
    nonsense_factor: float = 3.0
    source_hold_s: float = 1.0

    def __post_init__(self) -> None:
        refuse_outside(self, _RANGES)
        if self.source_hold_s < self.max_age_s:
            raise ValueError(
                f"source_hold_s = {self.source_hold_s} is below max_age_s = {self.max_age_s}: a late command would be "
                "taken for a new stream; raise the one or lower the other"
            )


class CommandFilter:
    """Remembers who commands and what came last; says why a command is refused."""

    def __init__(self, limits: TargetLimits, config: FilterConfig) -> None:
        self._limits = limits
        self._config = config
        self._commander = ""
        self._sequence = 0
        self._accepted_s: float | None = None

    @property
    def last_sequence(self) -> int:
        """Sequence of the last accepted command; 0 before the first."""
        return self._sequence

    def commander(self, now_s: float) -> str:
        """The source whose commands are accepted at a robot time; empty when any is."""
        if self._accepted_s is None or now_s - self._accepted_s > self._config.source_hold_s:
            return ""
        return self._commander

    def accepted_age_s(self, now_s: float) -> float:
        """Robot time since the last accepted command; -1 if there was none."""
        return -1.0 if self._accepted_s is None else max(now_s - self._accepted_s, 0.0)

    def refusal(self, command: Command, now_s: float) -> str | None:
        """Why this command must not be carried out at a robot time; None if it may."""
        return (
            self._malformed(command)
            or self._not_fresh(command)
            or self._out_of_range(command)
            or self._out_of_order(command, now_s)
        )

    def accept(self, command: Command, now_s: float) -> None:
        """Take note of a command that is being carried out."""
        self._commander = command.source
        self._sequence = command.sequence
        self._accepted_s = now_s

    def _malformed(self, command: Command) -> str | None:
        if not command.source:
            return "the command names no source: fill the field source"
        for name in ("delta_pos_m", "delta_rotvec_rad"):
            vector = getattr(command, name)
            if vector.shape != (3,) or not np.all(np.isfinite(vector)):
                return f"{name} = {vector} is not three finite numbers: the source {command.source!r} is at fault"
        if not np.isfinite(command.gripper_width_m) or not np.isfinite(command.age_s):
            return f"gripper width {command.gripper_width_m} m, age {command.age_s} s: not finite"
        return None

    def _not_fresh(self, command: Command) -> str | None:
        if command.age_s > self._config.max_age_s:
            return (
                f"the command was computed from an observation {command.age_s:.3f} s old, limit "
                f"{self._config.max_age_s:g} s: the source is too slow or its clock is behind"
            )
        if command.age_s < -self._config.max_future_s:
            return (
                f"the command is stamped {-command.age_s:.3f} s ahead, limit {self._config.max_future_s:g} s: "
                "clocks disagree (use_sim_time on one side only?)"
            )
        return None

    def _out_of_range(self, command: Command) -> str | None:
        factor = self._config.nonsense_factor
        for name, unit, limit in (
            ("delta_pos_m", "m", self._limits.max_step_m),
            ("delta_rotvec_rad", "rad", self._limits.max_step_rad),
        ):
            norm = float(np.linalg.norm(getattr(command, name)))
            if norm > factor * limit:
                return (
                    f"{name} is {norm:.4g} {unit} long, more than {factor:g} times the step limit of {limit:g} {unit}: "
                    "the source uses another scale"
                )
        if not -_WIDTH_TOLERANCE_M <= command.gripper_width_m <= HAND_WIDTH_MAX_M + _WIDTH_TOLERANCE_M:
            return (
                f"gripper width {command.gripper_width_m:.4g} m is outside [0, {HAND_WIDTH_MAX_M}] m: "
                "the source uses another scale"
            )
        return None

    def _out_of_order(self, command: Command, now_s: float) -> str | None:
        commander = self.commander(now_s)
        if commander and command.source != commander:
            return (
                f"{commander!r} commanded {self.accepted_age_s(now_s):.2f} s ago, {command.source!r} must wait "
                f"{self._config.source_hold_s:g} s: one source at a time"
            )
        # 0 begins a new episode; a repeated 0 is a duplicate like any other. Once the hold is over, a late command
        # would be too old: whatever comes begins a stream, so that one lost 0 does not refuse a whole episode
        begins = command.sequence == 0 and self._sequence > 0
        if commander and command.sequence <= self._sequence and not begins:
            return (
                f"sequence {command.sequence} after {self._sequence}: a late or repeated command; a new episode begins "
                f"at 0, or {self._config.source_hold_s:g} s after the last accepted command"
            )
        return None
