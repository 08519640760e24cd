"""What not knowing the table exactly adds to a fit of x, y and yaw on it."""

import numpy as np
from numpy.typing import NDArray

from vlajs_perception.fit_settings import Table

FloatArray = NDArray[np.float64]

FREE = (0, 1, 5)
"""x, y and yaw among position and rotation vector."""

HELD = (2, 3, 4)
"""z, roll and pitch: given by the table."""


def with_table(free: FloatArray, by_table: FloatArray, table: Table) -> FloatArray:
    """The (6, 6) covariance of a pose of which x, y and yaw were fitted and z, roll and pitch were taken as known.

    Args:
        free: shape (3, 3), covariance of x (m), y (m) and yaw (rad) if the table were exact.
        by_table: shape (3, 3), change of the fitted x, y, yaw by an error in the assumed z, roll, pitch.
        table: how well it is known.
    """
    known = np.diag([table.height_std_m**2, table.tilt_std_rad**2, table.tilt_std_rad**2])
    cross = by_table @ known
    covariance = np.zeros((6, 6))
    covariance[np.ix_(FREE, FREE)] = free + cross @ by_table.T
    covariance[np.ix_(FREE, HELD)] = cross
    covariance[np.ix_(HELD, FREE)] = cross.T
    covariance[np.ix_(HELD, HELD)] = known
    return (covariance + covariance.T) / 2
