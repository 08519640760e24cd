"""What the estimator must be told: which objects to look for, where they can be, and when to believe what."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from vlajs_perception.camera import Camera
from vlajs_perception.depth import DepthSettings
from vlajs_perception.detection.detection import Detection
from vlajs_perception.fit_settings import EdgeSettings, FitSettings, Table
from vlajs_perception.held import HeldSettings
from vlajs_perception.objects import ObjectModel
from vlajs_perception.rigid import FloatArray
from vlajs_perception.tool_history import Gripper
from vlajs_perception.tracker import TrackerSettings

Vector = tuple[float, float, float]


@dataclass(frozen=True, kw_only=True)
class Target:
    """An object to report.

    Attributes:
        name: in the world, as others call it.
        detected_as: class of the detector.
        model: its size, keypoints and symmetries.
    """

    name: str
    detected_as: str
    model: ObjectModel


@dataclass(frozen=True, kw_only=True)
class View:
    """What is known of the moment of one image.

    Attributes:
        stamp_ns: when it was taken.
        detections: what the detector says of it.
        camera: rectified, with its pose at that moment.
        image_size_px: width and height.
        tool_in_base: shape (4, 4), at that moment; None if not known.
        gripper: what the hand did then.
        depth_m: shape (height, width), registered to the image; None without a depth camera.
        image_rgb: shape (height, width, 3), rectified, whose edges the poses are moved to; None leaves them as the
            detections have them.
    """

    stamp_ns: int
    detections: list[Detection]
    camera: Camera
    image_size_px: tuple[int, int]
    tool_in_base: FloatArray | None = None
    gripper: Gripper = field(default_factory=Gripper)
    depth_m: NDArray[np.float32] | None = None
    image_rgb: NDArray[np.uint8] | None = None


@dataclass(frozen=True, kw_only=True)
class WorkArea:
    """The box in ``panda_link0`` in which the middle of an object can be.

    Attributes:
        min_m: lowest x, y, z.
        max_m: highest x, y, z.

    Raises:
        ValueError: numbers that are not finite or not in order.
    """

    min_m: Vector = (0.1, -0.7, -0.05)
    max_m: Vector = (1.1, 0.7, 0.9)

    def __post_init__(self) -> None:
        low, high = np.asarray(self.min_m), np.asarray(self.max_m)
        if low.shape != (3,) or high.shape != (3,) or not np.all(np.isfinite([low, high])) or np.any(low >= high):
            raise ValueError(
                f"the work area goes from {list(self.min_m)} to {list(self.max_m)} m: three finite numbers each, the "
                "first lower than the second"
            )

    def holds(self, position_m: FloatArray) -> bool:
        """Whether a point (3,) is inside."""
        return bool(np.all(position_m >= self.min_m) and np.all(position_m <= self.max_m))


@dataclass(frozen=True, kw_only=True)
class SightSettings:
    """When to believe a single view.

    Attributes:
        fit: see ``FitSettings``.
        edges: see ``EdgeSettings``.
        max_plane: a fit on the table whose keypoints are off by more than this share of the detector's box, root mean
            square, is none: the object is not on the table.
        max_plane_px: the least such limit.
        max_lean_rad: an object that leans further than this from all of its faces does not rest on the table.
        reach_m: how far from the object's surface the tool's middle may be where the fingers hold it.
        lifted_m: an object that is held is taken to be off the table where the tool is higher than the object's middle
            would be on the table by this.
        sunk_m: a free fit may reach below the table's top by this, which is what its distance is uncertain by.
        hand_m: an object that does not rest on the table is believed where the tool's middle is no further than this
            from its surface: what nothing holds does not float, it is something else. Things that lie or lean on
            others, away from the hand, are not reported; a larger value reports them.
        box_off: share of its size by which the detector's box may differ from the fitted object's, at each edge.
        box_off_px: the least such difference that counts.
        max_detections: of one class, the best of which are looked at.

    Raises:
        ValueError: a number that is not positive.
    """

    fit: FitSettings = field(default_factory=FitSettings)
    edges: EdgeSettings = field(default_factory=EdgeSettings)
    max_plane: float = 0.06
    max_plane_px: float = 4.0
    max_lean_rad: float = 0.2
    reach_m: float = 0.03
    lifted_m: float = 0.02
    sunk_m: float = 0.03
    hand_m: float = 0.1
    box_off: float = 0.35
    box_off_px: float = 12.0
    max_detections: int = 4

    def __post_init__(self) -> None:
        _check_positive(self, "max_plane", "max_plane_px", "max_lean_rad", "reach_m", "lifted_m", "sunk_m", "hand_m")
        _check_positive(self, "box_off", "box_off_px")
        if self.max_detections < 1:
            raise ValueError(f"max_detections is {self.max_detections}, at least 1")

    def plane_px(self, box_px: FloatArray) -> float:
        """How far keypoints may be off a fit on the table, of an object with that box (4,) in the image."""
        return max(self.max_plane * float((box_px[2:] - box_px[:2]).max()), self.max_plane_px)

    def allowed_px(self, size_px: float) -> float:
        """How far each edge of a box of that size may be off."""
        return max(self.box_off * size_px, self.box_off_px)


@dataclass(frozen=True, kw_only=True)
class GraspSettings:
    """When an object is in the gripper, and when it no longer is.

    Attributes:
        held: see ``HeldSettings``.
        reach_m: how far from the object's surface the tool's middle may be when fingers that close hide it: from then
            on it is where tool and fingers leave it, not where it is seen.
        tip_m: how far beyond the tool's middle fingertips reach: what is further away they do not touch.
        touch_m: fingers that are no further apart than the object is wide, and this, both touch it.
        resting_m_s: fingers that still come together faster than this slide along what they touch. A hand whose width
            is read rarely seems to rest in between: then what it touches goes with it at once.
        rest_m: fingers that rest no further apart than the object is wide, and this, have closed on it: it may lie
            askew between them, which is not seen.
        soft_m: fingers that are closer together than the object is wide, by more than this, do not hold it.
        slip_m: the detector's box may stick out of that of the held object by this, taken to the object's distance;
            about twice what a detector is off.
        slip_images: images in a row that must say so.

    Raises:
        ValueError: a number that is not positive.
    """

    held: HeldSettings = field(default_factory=HeldSettings)
    reach_m: float = 0.015
    tip_m: float = 0.009
    touch_m: float = 0.002
    resting_m_s: float = 0.04
    rest_m: float = 0.006
    soft_m: float = 0.006
    slip_m: float = 0.025
    slip_images: int = 4

    def __post_init__(self) -> None:
        _check_positive(self, "reach_m", "tip_m", "touch_m", "resting_m_s", "rest_m", "soft_m", "slip_m")
        if self.slip_images < 1:
            raise ValueError(f"slip_images is {self.slip_images}, at least 1")


@dataclass(frozen=True, kw_only=True)
class EstimatorSettings:
    """All of it.

    Attributes:
        table: what objects lie on.
        work_area: where they can be.
        sight: of single views.
        grasp: of what is held.
        depth: of depth images.
        tracker: of the track of each object.
        max_position_std_m: an object known worse than this (root of the summed variances) has no pose.
        max_rotation_std_rad: the same for its orientation; a box alone tells none.
        rest_speed_m_s: an object slower than this when it was last seen is taken to be at rest.
        rest_spin_rad_s: the same for its turning.
        touch_m: an object on the table whose surface is further than this from the tool's middle is at rest, whatever
            noise says of its speed; a finger is about 2 cm wide.
        finger_m: from the tool's middle to the surface of closed fingers.
        rest_drift_m_s: how fast the knowledge of an object at rest ages, as a standard deviation in each axis.

    Raises:
        ValueError: a number that is not positive.
    """

    table: Table = field(default_factory=Table)
    work_area: WorkArea = field(default_factory=WorkArea)
    sight: SightSettings = field(default_factory=SightSettings)
    grasp: GraspSettings = field(default_factory=GraspSettings)
    depth: DepthSettings = field(default_factory=DepthSettings)
    tracker: TrackerSettings = field(default_factory=TrackerSettings)
    max_position_std_m: float = 0.03
    max_rotation_std_rad: float = 0.5
    rest_speed_m_s: float = 0.05
    rest_spin_rad_s: float = 0.6
    touch_m: float = 0.06
    finger_m: float = 0.011
    rest_drift_m_s: float = 5e-3

    def __post_init__(self) -> None:
        _check_positive(self, "max_position_std_m", "max_rotation_std_rad", "rest_speed_m_s")
        _check_positive(self, "rest_spin_rad_s", "touch_m", "finger_m", "rest_drift_m_s")


def _check_positive(settings: object, *names: str) -> None:
    for name in names:
        value = getattr(settings, name)
        if not (np.isfinite(value) and value > 0):
            raise ValueError(f"{name} is {value}, it must be positive and finite")
