"""A moving rigid body as a Kalman filter sees it: the step in time, the distance of a measurement, the update.

The error state lies on the manifold: position, rotation vector (base axes, on the left), velocity, angular velocity.
Velocities wander as random walks, so that two short steps in time are one long step.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from vlajs_perception.estimate import Estimate
from vlajs_perception.rigid import exp, log, matrix_of, quat_of

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Motion:
    """Pose and velocity of an object in ``panda_link0`` at one time.

    Attributes:
        stamp_ns: the time.
        position_m: shape (3,).
        rotation: shape (3, 3), object to base.
        velocity_m_s: shape (3,).
        angular_velocity_rad_s: shape (3,), in the base's axes.
        covariance: shape (12, 12), of the errors of position, rotation vector, velocity, angular velocity.
    """

    stamp_ns: int
    position_m: FloatArray
    rotation: FloatArray
    velocity_m_s: FloatArray
    angular_velocity_rad_s: FloatArray
    covariance: FloatArray

    @property
    def quat_wxyz(self) -> FloatArray:
        """Orientation, shape (4,), w >= 0."""
        return quat_of(self.rotation)

    @property
    def pose_covariance(self) -> FloatArray:
        """Shape (6, 6), of position and rotation vector."""
        return self.covariance[:6, :6]


def begin(measured: Estimate, stamp_ns: int, speed_std_m_s: float, spin_std_rad_s: float) -> Motion:
    """At rest where it was measured, its velocities known to the given standard deviations in each axis."""
    covariance = np.zeros((12, 12))
    covariance[:6, :6] = measured.covariance
    covariance[6:, 6:] = np.diag([speed_std_m_s**2] * 3 + [spin_std_rad_s**2] * 3)
    return Motion(
        stamp_ns=stamp_ns,
        position_m=measured.position_m,
        rotation=matrix_of(measured.quat_wxyz),
        velocity_m_s=np.zeros(3),
        angular_velocity_rad_s=np.zeros(3),
        covariance=covariance,
    )


def at_time(motion: Motion, stamp_ns: int, speed_drift: float, spin_drift: float) -> Motion:
    """The motion at a later time, straight on.

    Args:
        motion: now.
        stamp_ns: later.
        speed_drift: standard deviation by which a velocity wanders within one second, m/s after 1 s, in each axis.
        spin_drift: the same for angular velocities, rad/s after 1 s.
    """
    dt_s = (stamp_ns - motion.stamp_ns) * 1e-9
    turn = exp(motion.angular_velocity_rad_s * dt_s)
    step = np.eye(12)
    step[3:6, 3:6] = turn
    step[:6, 6:] = dt_s * np.eye(6)
    intensity = np.array([speed_drift**2] * 3 + [spin_drift**2] * 3)
    wander = np.kron([[dt_s**3 / 3, dt_s**2 / 2], [dt_s**2 / 2, dt_s]], np.diag(intensity))
    return replace(
        motion,
        stamp_ns=stamp_ns,
        position_m=motion.position_m + motion.velocity_m_s * dt_s,
        rotation=turn @ motion.rotation,
        covariance=step @ motion.covariance @ step.T + wander,
    )


def innovation(motion: Motion, measured: Estimate) -> FloatArray:
    """What was measured less what was expected: position (m) and rotation vector (rad), shape (6,)."""
    turn = log(matrix_of(measured.quat_wxyz) @ motion.rotation.T)
    return np.concatenate([measured.position_m - motion.position_m, turn])


def distance_squared(motion: Motion, measured: Estimate) -> float:
    """Mahalanobis distance of a measurement from what was expected, squared: chi-square of 6 degrees of freedom."""
    off = innovation(motion, measured)
    return float(off @ np.linalg.solve(motion.pose_covariance + measured.covariance, off))


def update(motion: Motion, measured: Estimate) -> Motion:
    """The motion after a measurement at its own time."""
    spread = motion.pose_covariance + measured.covariance
    gain = np.linalg.solve(spread, motion.covariance[:6]).T
    change = gain @ innovation(motion, measured)
    keep = np.eye(12)
    keep[:, :6] -= gain
    covariance = keep @ motion.covariance @ keep.T + gain @ measured.covariance @ gain.T  # Joseph: stays positive
    return replace(
        motion,
        position_m=motion.position_m + change[:3],
        rotation=matrix_of(quat_of(exp(change[3:6]) @ motion.rotation)),
        velocity_m_s=motion.velocity_m_s + change[6:9],
        angular_velocity_rad_s=motion.angular_velocity_rad_s + change[9:],
        covariance=(covariance + covariance.T) / 2,
    )
