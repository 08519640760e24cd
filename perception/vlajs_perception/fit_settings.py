"""What the fits must be told besides camera, object and keypoints: the table, and how far pixels and edges count."""

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


@dataclass(frozen=True, kw_only=True)
class EdgeSettings:
    """When to believe that an edge of the image is an object's. Chosen on MuJoCo's validation pictures of 640 px.

    Attributes:
        blur_px: standard deviation of the smoothing before edges are looked for.
        spacing_px: between the points of an outline.
        reaches_px: how far from the outline edges are looked for, step by step.
        min_steepness: grey levels a pixel, of the three channels together, below which nothing is an edge.
        full_steepness: the same from which an edge counts in full.
        inner_weight: of edges between two faces that are both to be seen, beside 1 of those where the object ends.
        point_std_px: standard deviation of an edge point. Neighbours err alike, so it is more than one point's own.
        prior_share: of the information in the pose to begin with that is kept beside the edges: fits of keypoints are
            surer of themselves than they are right.
        on_edge_px: a point of an outline is on an edge that is no further off.
        support: least share of an outer outline that must be on edges for them to move a pose.
        support_alone: the same for a pose that no keypoints speak for, and for any away from the hand to be believed.
        yaw_step_rad: between yaws that are tried where there are no keypoints.
        tries: how many of them, of those that suit the detector's box best.
        start_reaches_px: as ``reaches_px``, from each of them; the one of which most is then on edges goes on alone.
        chosen_reaches_px: as ``reaches_px``, from that one.

    Raises:
        ValueError: a number that is not positive, or a share above 1.
    """

    blur_px: float = 1.0
    spacing_px: float = 3.0
    reaches_px: tuple[int, ...] = (10, 6, 4, 3, 3)
    min_steepness: float = 6.0
    full_steepness: float = 30.0
    inner_weight: float = 0.3
    point_std_px: float = 1.2
    prior_share: float = 0.02
    on_edge_px: float = 2.0
    support: float = 0.5
    support_alone: float = 0.8
    yaw_step_rad: float = 0.13
    tries: int = 4
    start_reaches_px: tuple[int, ...] = (16, 10, 6)
    chosen_reaches_px: tuple[int, ...] = (4, 3, 3)

    def __post_init__(self) -> None:
        names = {field.name for field in fields(self)}
        reaching = {"reaches_px", "start_reaches_px", "chosen_reaches_px"}
        _check_positive(self, *sorted(names - reaching))
        for name in ("prior_share", "support", "support_alone"):
            if getattr(self, name) > 1.0:
                raise ValueError(f"{name} is {getattr(self, name)}, a share is at most 1")
        for name in sorted(reaching):
            reaches = getattr(self, name)
            if not reaches or min(reaches) < 1:
                raise ValueError(f"{name} is {reaches}: at least one reach, each of 1 px or more")


def _check_positive(settings: object, *names: str) -> None:
    for name in names:
        value = getattr(settings, name)
        if not (np.isfinite(value) and value > 0):
            raise ValueError(f"{name} is {value}, it must be positive and finite")
