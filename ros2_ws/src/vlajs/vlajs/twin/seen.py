"""What can be seen of the twin at one tick: where every part stands. The twin says it, its camera shows it."""

from dataclasses import dataclass

import numpy as np

from vlajs.geometry import FloatArray, Pose


@dataclass(frozen=True, kw_only=True)
class SeenState:
    """The twin at one tick, in ``panda_link0``.

    Attributes:
        stamp_ns: robot time of the tick.
        joints_rad: arm joints, shape (7,).
        fingers_m: position of each finger, shape (2,).
        bodies: pose of every object that is there (``cube``) and of every goal marker (``goal_disc``).

    Raises:
        ValueError: wrong shapes, or a number that is not finite.
    """

    stamp_ns: int
    joints_rad: FloatArray
    fingers_m: FloatArray
    bodies: dict[str, Pose]

    def __post_init__(self) -> None:
        for name, count in (("joints_rad", 7), ("fingers_m", 2)):
            value = getattr(self, name)
            if value.shape != (count,) or not np.all(np.isfinite(value)):
                raise ValueError(f"{name} is {value}: {count} finite numbers are needed; check who publishes them")
        for name, pose in self.bodies.items():
            if not pose.is_finite():
                raise ValueError(f"the pose of {name!r} is {pose}: it must be finite, its quaternion of unit norm")
