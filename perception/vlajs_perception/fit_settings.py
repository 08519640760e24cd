"""What the fits must be told besides camera, object and keypoints: the table, and how far pixels can be trusted."""

from dataclasses import dataclass, fields

import numpy as np


@dataclass(frozen=True, kw_only=True)
class Table:
    """A horizontal plane in ``panda_link0`` and how well it is known.

    Attributes:
        height_m: of the surface that objects lie on.
        height_std_m: standard deviation of that height where the object is.
        tilt_std_rad: standard deviation of the surface's slope, about either horizontal axis.

    Raises:
        ValueError: a number that is not finite, a deviation that is not positive.
    """

    height_m: float = 0.0
    height_std_m: float = 1e-3
    tilt_std_rad: float = 5e-3

    def __post_init__(self) -> None:
        if not np.isfinite(self.height_m):
            raise ValueError(f"height_m is {self.height_m}: give the height of the table over panda_link0 in metres")
        _check_positive(self, "height_std_m", "tilt_std_rad")


@dataclass(frozen=True, kw_only=True)
class FitSettings:
    """How far the detector's pixels can be trusted. The defaults suit images of 640 px.

    Attributes:
        min_confidence: keypoints below it count as missing.
        min_keypoints: fewer leave the plane fit only the box; the free fit needs four in any case.
        noise_floor_px: standard deviation of a keypoint of confidence 1 in u and in v, if the residuals claim less.
        huber_px: distance of a keypoint from its projection up to which its square counts, beyond it its length.
        outlier_px: keypoints further off than this are not counted as used.
        box_std_px: standard deviation of the box's centre, besides what its size and the unknown yaw add.
        box_std: the same as a share of the box's width and height, each for its direction.
        box_tolerance: part by which the box may be larger or smaller than the object can look.

    Raises:
        ValueError: a number out of range.
    """

    min_confidence: float = 0.3
    min_keypoints: int = 3
    noise_floor_px: float = 0.5
    huber_px: float = 3.0
    outlier_px: float = 8.0
    box_std_px: float = 1.0
    box_std: float = 0.03  # root mean square of the shipped detector's on its validation pictures
    box_tolerance: float = 0.25

    def __post_init__(self) -> None:
        _check_positive(self, *(field.name for field in fields(self)))
        if self.min_confidence > 1.0 or self.box_tolerance >= 1.0:
            raise ValueError(
                f"min_confidence {self.min_confidence} must be at most 1, box_tolerance {self.box_tolerance} below 1"
            )
        if self.min_keypoints < 3:
            raise ValueError(f"min_keypoints is {self.min_keypoints}, at least 3: two cannot show that one is wrong")


def _check_positive(settings: object, *names: str) -> None:
    for name in names:
        value = getattr(settings, name)
        if not (np.isfinite(value) and value > 0):
            raise ValueError(f"{name} is {value}, it must be positive and finite")
