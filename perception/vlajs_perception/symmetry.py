"""One pose out of those that look the same: on the branch nearest the track, or nearest the object's own upright.

A cube's yaw is known up to quarter turns, a peg's up to half turns. Left as it comes, a pose jumps between branches and
a filter or a policy sees a turn that never was.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial.transform import Rotation

FloatArray = NDArray[np.float64]

TIE = 1e-10
"""Branches whose distances (cosines of half the angle) differ by less lie on the edge: the smaller yaw is taken."""


def canonical_yaw(yaw_rad: ArrayLike, period_rad: float, near_rad: float = 0.0) -> FloatArray:
    """Yaws, shape (...), moved by whole periods into ``[near - period/2, near + period/2)``.

    Raises:
        ValueError: a period that is not positive.
    """
    if not period_rad > 0:
        raise ValueError(f"period_rad is {period_rad}, it must be positive: 2 pi stands for no symmetry")
    offset = np.asarray(yaw_rad, dtype=np.float64) - near_rad
    return near_rad + (offset + period_rad / 2) % period_rad - period_rad / 2


def canonicalise(
    quat_wxyz: ArrayLike, symmetries_wxyz: ArrayLike, near_wxyz: ArrayLike = (1.0, 0.0, 0.0, 0.0)
) -> FloatArray:
    """The equal orientation that is nearest to ``near``, shape (4,), w >= 0.

    Without a track, the nearest to no rotation: for an object that lies flat, the yaw in [-period/2, period/2).

    Args:
        quat_wxyz: orientation in the base, shape (4,).
        symmetries_wxyz: shape (n, 4), of the object, see ``ObjectModel``.
        near_wxyz: the track's orientation in the base, shape (4,).
    """
    w, x, y, z = np.asarray(quat_wxyz, dtype=np.float64)
    product = np.array([[w, -x, -y, -z], [x, w, -z, y], [y, z, w, -x], [z, -y, x, w]])
    equal = np.asarray(symmetries_wxyz, dtype=np.float64) @ product.T
    close = np.abs(equal @ np.asarray(near_wxyz, dtype=np.float64))  # cosine of half the angle to near
    ties = np.flatnonzero(close > close.max() - TIE)
    best = equal[ties[0]]
    if len(ties) > 1:
        away = (_rotation(equal[ties]) * _rotation(near_wxyz).inv()).as_rotvec()
        best = equal[ties[np.argmin(away[:, 2])]]
    return best * np.where(best[0] < 0, -1.0, 1.0)


def rotation_error_rad(estimate_wxyz: ArrayLike, truth_wxyz: ArrayLike, symmetries_wxyz: ArrayLike) -> float:
    """The smallest angle between two orientations of an object with these symmetries, in [0, pi]."""
    nearest = _rotation(canonicalise(estimate_wxyz, symmetries_wxyz, truth_wxyz))
    return float((nearest * _rotation(truth_wxyz).inv()).magnitude())


def _rotation(quat_wxyz: ArrayLike) -> Rotation:
    return Rotation.from_quat(np.asarray(quat_wxyz, dtype=np.float64), scalar_first=True)
