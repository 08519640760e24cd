"""One object over time: outliers refused, dropouts bridged for a stated time, the pose predicted to any later time.

``absent`` until enough measurements agree, ``tracking`` while they keep coming, ``coasting`` while they do not, and
``lost`` after the longest dropout: then no pose is given until enough measurements agree again. A measurement that does
not belong to the track starts a candidate; one that persists becomes the track: then it was the track that was wrong.
"""

from dataclasses import dataclass, replace
from enum import Enum

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import chdtri

from vlajs_perception.estimate import Estimate
from vlajs_perception.motion import Motion, at_time, begin, distance_squared, update
from vlajs_perception.symmetry import canonicalise


class TrackerError(ValueError):
    """A measurement or a question whose time cannot be."""


class Status(Enum):
    """How a track stands."""

    ABSENT = "absent"
    TRACKING = "tracking"
    COASTING = "coasting"
    LOST = "lost"


@dataclass(frozen=True, kw_only=True)
class TrackerSettings:
    """When to believe what.

    Attributes:
        gate_probability: part of the true measurements that pass the gate: the chi-square quantile of 6 degrees of
            freedom that the squared Mahalanobis distance may reach.
        confirmations: measurements in a row that must agree with each other to begin or to replace a track.
        fresh_s: age of the last accepted measurement up to which the track counts as seen: a little more than the time
            between images and their latency.
        max_dropout_s: age at which it is lost. Predictions reach no further.
        speed_std_m_s: speed that an object may have when it is first seen, in each axis.
        spin_std_rad_s: angular speed it may have then, about each axis.
        speed_drift: standard deviation by which a velocity wanders within one second (m/s), in each axis.
        spin_drift: the same for angular velocities (rad/s).

    Raises:
        ValueError: a number out of range.
    """

    gate_probability: float = 0.999
    confirmations: int = 3
    fresh_s: float = 0.15
    max_dropout_s: float = 1.0
    speed_std_m_s: float = 0.3
    spin_std_rad_s: float = 1.0
    speed_drift: float = 0.5
    spin_drift: float = 3.0

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not (np.isfinite(value) and value > 0):
                raise ValueError(f"{name} is {value}, it must be positive and finite")
        if self.gate_probability >= 1.0 or self.fresh_s > self.max_dropout_s or self.confirmations < 1:
            raise ValueError(
                f"gate_probability {self.gate_probability} must be below 1, fresh_s {self.fresh_s} at most "
                f"max_dropout_s {self.max_dropout_s}, confirmations {self.confirmations} at least 1"
            )


@dataclass(frozen=True, kw_only=True)
class Track:
    """What is known of the object at one time.

    Attributes:
        status: see the module.
        stamp_ns: the time.
        motion: pose and velocity at that time; None when absent or lost.
        last_seen_ns: stamp of the last accepted measurement; None when the object was never tracked.
    """

    status: Status
    stamp_ns: int
    motion: Motion | None
    last_seen_ns: int | None


@dataclass(frozen=True, kw_only=True)
class _Candidate:
    motion: Motion
    count: int


class Tracker:
    """Tracks one object.

    Stamps are the images', in nanoseconds, and only go forward.
    """

    def __init__(self, symmetries_wxyz: ArrayLike, settings: TrackerSettings | None = None) -> None:
        """A tracker that has seen nothing.

        Args:
            symmetries_wxyz: shape (n, 4), the object's, see ``ObjectModel``.
            settings: see ``TrackerSettings``.
        """
        self._symmetries_wxyz = np.array(symmetries_wxyz, dtype=np.float64)
        self._settings = settings or TrackerSettings()
        self._gate = float(chdtri(6, 1.0 - self._settings.gate_probability))
        self.reset()

    @property
    def gate(self) -> float:
        """The squared Mahalanobis distance up to which a measurement belongs to the track."""
        return self._gate

    def reset(self) -> None:
        """Forget everything, also the time: after a clock that jumped or a new trial."""
        self._motion: Motion | None = None
        self._candidate: _Candidate | None = None
        self._newest_ns: int | None = None
        self._refused = False

    def observe(self, measured: Estimate, stamp_ns: int) -> bool:
        """Take in a measurement.

        Args:
            measured: in ``panda_link0``; an ``Estimate`` cannot hold numbers that are not finite.
            stamp_ns: when the image was taken.

        Returns:
            Whether it is part of the track; False where it was refused or still awaits confirmation.

        Raises:
            TrackerError: a stamp that is not later than that of the measurement before, or no integer.
        """
        stamp_ns = _checked_stamp(stamp_ns)
        if self._newest_ns is not None and stamp_ns <= self._newest_ns:
            raise TrackerError(
                f"the measurement's stamp {stamp_ns} ns is not later than the one before, {self._newest_ns} ns: a "
                "frozen camera, images out of order, or a clock that was set back (then reset the tracker)"
            )
        self._newest_ns = stamp_ns
        if self._motion is not None and self._age_s(stamp_ns) <= self._settings.max_dropout_s:
            tracked = self._fuse(self._motion, measured, stamp_ns)
            if tracked is not None:
                self._motion, self._candidate, self._refused = tracked, None, False
                return True
        self._refused = True
        return self._confirm(measured, stamp_ns)

    def restart(self, known: Estimate, stamp_ns: int) -> None:
        """Go on from a pose that is known otherwise than by images, at rest, as well as it is known.

        Args:
            known: in ``panda_link0``.
            stamp_ns: when; an image of the same time may still be taken in.

        Raises:
            TrackerError: no integer.
        """
        stamp_ns = _checked_stamp(stamp_ns)
        self._motion = begin(known, stamp_ns, self._settings.speed_std_m_s, self._settings.spin_std_rad_s)
        self._candidate, self._refused = None, False

    def at(self, stamp_ns: int) -> Track:
        """The track at a time: now, to make up for the latency of the image, or later.

        Raises:
            TrackerError: a time before the last accepted measurement, or no integer.
        """
        stamp_ns = _checked_stamp(stamp_ns)
        if self._motion is None:
            return Track(status=Status.ABSENT, stamp_ns=stamp_ns, motion=None, last_seen_ns=None)
        age_s = self._age_s(stamp_ns)
        if age_s < 0:
            raise TrackerError(
                f"the track was asked for at {stamp_ns} ns, {-age_s:.3f} s before the last image "
                f"({self._motion.stamp_ns} ns): it knows no past; are camera and caller on the same clock?"
            )
        if age_s > self._settings.max_dropout_s:
            return Track(status=Status.LOST, stamp_ns=stamp_ns, motion=None, last_seen_ns=self._motion.stamp_ns)
        seen = age_s <= self._settings.fresh_s and not self._refused
        return Track(
            status=Status.TRACKING if seen else Status.COASTING,
            stamp_ns=stamp_ns,
            motion=self._predicted(self._motion, stamp_ns),
            last_seen_ns=self._motion.stamp_ns,
        )

    def _age_s(self, stamp_ns: int) -> float:
        assert self._motion is not None
        return (stamp_ns - self._motion.stamp_ns) * 1e-9

    def _predicted(self, motion: Motion, stamp_ns: int) -> Motion:
        return at_time(motion, stamp_ns, self._settings.speed_drift, self._settings.spin_drift)

    def _fuse(self, motion: Motion, measured: Estimate, stamp_ns: int) -> Motion | None:
        """The motion with the measurement, taken on its branch; None where it fails the gate."""
        expected = self._predicted(motion, stamp_ns)
        measured = self._on_branch(measured, expected)
        return update(expected, measured) if distance_squared(expected, measured) <= self._gate else None

    def _on_branch(self, measured: Estimate, expected: Motion) -> Estimate:
        """The measurement on the branch nearest to the track; a box says no yaw and changes none."""
        if measured.source == "box":
            return replace(measured, quat_wxyz=expected.quat_wxyz)
        near_wxyz = expected.quat_wxyz
        return replace(measured, quat_wxyz=canonicalise(measured.quat_wxyz, self._symmetries_wxyz, near_wxyz))

    def _confirm(self, measured: Estimate, stamp_ns: int) -> bool:
        """Count a measurement for the candidate; whether that made it the track."""
        confirmed, count = None, 1
        if self._candidate is not None:
            gap_s = (stamp_ns - self._candidate.motion.stamp_ns) * 1e-9
            if gap_s <= self._settings.max_dropout_s:
                confirmed = self._fuse(self._candidate.motion, measured, stamp_ns)
        if confirmed is not None and self._candidate is not None:
            count = self._candidate.count + 1
        else:
            if self._motion is not None:
                measured = self._on_branch(measured, self._motion)
            confirmed = begin(measured, stamp_ns, self._settings.speed_std_m_s, self._settings.spin_std_rad_s)
        self._candidate = _Candidate(motion=confirmed, count=count)
        if count < self._settings.confirmations:
            return False
        self._motion, self._candidate, self._refused = confirmed, None, False
        return True


def _checked_stamp(stamp_ns: int) -> int:
    if isinstance(stamp_ns, bool) or not isinstance(stamp_ns, int | np.integer):
        raise TrackerError(f"stamp_ns is {stamp_ns!r}, it must be an integer of nanoseconds, not seconds as a float")
    return int(stamp_ns)
