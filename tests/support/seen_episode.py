"""A simulated episode before a camera: reach, grasp, lift, carry, release, with what a detector would say of it."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation

from tests.support.seen_objects import looking, pixels_of
from vlajs_perception.camera import Camera
from vlajs_perception.detection.detection import Detection
from vlajs_perception.estimate import Keypoints
from vlajs_perception.estimator_settings import View
from vlajs_perception.objects import ObjectModel
from vlajs_perception.tool_history import Gripper, ToolHistory

IMAGE_SIZE_PX = (640, 480)
CAMERA = looking([1.5, 0.0, 0.7], [0.55, 0.0, 0.05])
TOOL_DOWN = np.diag([1.0, -1.0, -1.0])
IMAGE_PERIOD_S = 1 / 15
NS = 1_000_000_000


def pose(position_m: object, rotation: np.ndarray | None = None) -> np.ndarray:
    result = np.eye(4)
    result[:3, 3] = position_m
    result[:3, :3] = np.eye(3) if rotation is None else rotation
    return result


def turned(yaw_rad: float) -> np.ndarray:
    return Rotation.from_rotvec([0.0, 0.0, yaw_rad]).as_matrix()


@dataclass(frozen=True, kw_only=True)
class Moment:
    """The truth at one time."""

    time_s: float
    object_in_base: np.ndarray
    tool_in_base: np.ndarray
    gripper: Gripper
    hidden: bool

    @property
    def stamp_ns(self) -> int:
        return round(self.time_s * NS)


def detection_of(
    model: ObjectModel,
    object_in_base: np.ndarray,
    rng: np.random.Generator,
    *,
    noise_px: float = 1.0,
    camera: Camera = CAMERA,
    score: float = 0.9,
) -> Detection:
    """What a detector says: one numbering turned by some symmetry of the object, one that mixes two of them."""
    rotation, position_m = object_in_base[:3, :3], object_in_base[:3, 3]
    numberings = []
    truth = pixels_of(model, camera, position_m, rotation)
    symmetries = Rotation.from_quat(model.symmetries_wxyz, scalar_first=True).as_matrix()
    turns = model.yaw_symmetries
    upright = pixels_of(model, camera, position_m, rotation @ turns[rng.integers(len(turns))])
    other = pixels_of(model, camera, position_m, rotation @ symmetries[rng.integers(len(symmetries))])
    for pixels in (upright, (upright + other) / 2):
        noisy = pixels + rng.normal(0.0, noise_px, pixels.shape)
        numberings.append(Keypoints(pixels=noisy, confidence=np.full(len(pixels), 0.9)))
    low, high = truth.min(axis=0), truth.max(axis=0)
    box_px = np.concatenate([low, high]) + rng.normal(0.0, noise_px, 4)
    return Detection(name=model.name, score=score, box_px=box_px, numberings=tuple(numberings))


def view_of(moment: Moment, detections: list[Detection], camera: Camera = CAMERA) -> View:
    return View(
        stamp_ns=moment.stamp_ns,
        detections=detections,
        camera=camera,
        image_size_px=IMAGE_SIZE_PX,
        tool_in_base=moment.tool_in_base,
        gripper=moment.gripper,
    )


def hand_of(*moments: Moment) -> ToolHistory:
    """What tool and fingers did at some moments, in order."""
    hand = ToolHistory()
    for moment in moments:
        hand.add_pose(moment.tool_in_base, moment.stamp_ns)
        hand.add_gripper(moment.gripper, moment.stamp_ns)
    return hand


def _ramp(time_s: float, start_s: float, end_s: float) -> float:
    """0 before, 1 after, smooth between."""
    share = float(np.clip((time_s - start_s) / (end_s - start_s), 0.0, 1.0))
    return 3 * share**2 - 2 * share**3


PICK_SECONDS = 8.0


def pick_and_place(
    *, half_height_m: float, grasp_yaw_rad: float = 0.3, start_m: tuple[float, float] = (0.6, -0.05)
) -> Iterator[Moment]:
    """Moments at the image rate: down in 1.5 s, close until 2.2 s, up and across until 5 s, down, open at 6.2 s, away.

    The fingers hide the object from 1.2 s to 2.4 s but for moments, and now and then later.
    """
    grasp_in_tool: np.ndarray | None = None
    start = pose([*start_m, half_height_m], turned(grasp_yaw_rad))
    placed = start
    for index in range(int(PICK_SECONDS / IMAGE_PERIOD_S)):
        time_s = index * IMAGE_PERIOD_S
        down = _ramp(time_s, 0.3, 1.5) - _ramp(time_s, 2.3, 3.3) + _ramp(time_s, 5.0, 6.0) - _ramp(time_s, 6.6, 7.5)
        across = _ramp(time_s, 3.0, 5.0)
        # the fingers meet the object 3 mm off its middle
        tool_m = [start_m[0] - 0.1 * across, start_m[1] + 0.2 * across, half_height_m + 0.003 + 0.2 * (1 - down)]
        tool = pose(tool_m, turned(grasp_yaw_rad + 0.5 * across) @ TOOL_DOWN)
        held = 1.9 <= time_s < 6.2
        if held and grasp_in_tool is None:
            grasp_in_tool = np.linalg.inv(tool) @ start
        if held:
            assert grasp_in_tool is not None
            placed = tool @ grasp_in_tool
        open_share = np.clip((1.9 - time_s) / 0.3, 0.0, 1.0) + _ramp(time_s, 6.2, 6.5)
        width_m = 2 * half_height_m + float(open_share) * (0.08 - 2 * half_height_m)
        yield Moment(
            time_s=time_s,
            object_in_base=placed,
            tool_in_base=tool,
            gripper=Gripper(closing=1.6 <= time_s < 2.2, grasped=2.2 <= time_s < 6.2, width_m=width_m),
            hidden=1.2 <= time_s <= 2.4 or ((index // 8) % 3 == 2 and time_s > 2.4),
        )
