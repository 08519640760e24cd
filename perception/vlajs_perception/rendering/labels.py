"""What a detector should say about a rendered picture: class, box and keypoints of each object that can be seen."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from vlajs_perception.camera import Camera, CameraError
from vlajs_perception.numbering import NUMBERINGS, numbered_orientations, view_reference
from vlajs_perception.objects import ObjectModel, box_corners, cube, peg
from vlajs_perception.rendering.scene import CUBE, GOAL, FloatArray, Placed, SceneSample

CORNERS = 8
KEYPOINT_COUNT = NUMBERINGS * CORNERS
"""The corners of a box-shaped object by the first rule of :mod:`vlajs_perception.numbering`, then by the second; of a
goal the first keypoint of each eight is its middle, and it has no others."""

OUTSIDE, HIDDEN, VISIBLE = range(3)
"""Of a keypoint, in the numbers that COCO and YOLO use; outside the picture it is not labelled."""

MIN_VISIBLE_PX = 16
MIN_VISIBLE_SHARE = 0.15
"""An object of which less is to be seen is not labelled: nobody could tell where it is."""

_NEAR_PX = 2
_RIM_POINTS = 24


@dataclass(frozen=True, kw_only=True)
class Label:
    """One object in one picture.

    Attributes:
        kind: its class.
        box_px: left, top, right, bottom of the whole object, hidden parts included, cut at the picture's edge.
        keypoints_px: (KEYPOINT_COUNT, 2).
        visibility: (KEYPOINT_COUNT,) ``OUTSIDE``, ``HIDDEN`` or ``VISIBLE``.
        visible_share: of its area inside the picture, how much is not behind something else.
    """

    kind: int
    box_px: FloatArray
    keypoints_px: FloatArray
    visibility: NDArray[np.int64]
    visible_share: float


def camera_of(sample: SceneSample, width: int, height: int) -> Camera:
    """The rectified camera that took the picture; MuJoCo's has square pixels and its middle in the picture's."""
    focal_px = height / 2 / np.tan(sample.fovy_rad / 2)
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = sample.camera_axes, sample.camera_position_m
    matrix = np.array([[focal_px, 0, (width - 1) / 2], [0, focal_px, (height - 1) / 2], [0, 0, 1]])
    return Camera(matrix=matrix, camera_in_base=pose)


def label_of(placed: Placed, camera: Camera, shown: NDArray[np.int8]) -> Label | None:
    """The label of an object; None where it cannot be seen well enough, or is partly behind the camera.

    It follows from what can be seen: equal orientations of a symmetric object have the same label.

    Args:
        placed: the object.
        camera: that took the picture.
        shown: (H, W) class that each pixel shows, -1 for none.

    Raises:
        NumberingError: the camera is upside down.
    """
    try:
        outline = camera.project(_outline_m(placed))
    except CameraError:
        return None
    turns = _numbered_turns(placed, camera)
    height, width = shown.shape
    limits = np.array([width - 1, height - 1], dtype=np.float64)
    left_top, right_bottom = np.clip(outline.min(axis=0), 0, limits), np.clip(outline.max(axis=0), 0, limits)
    area_px = _area_inside_px(outline, shown.shape)
    visible_px = int((shown == placed.kind).sum())
    if visible_px < max(MIN_VISIBLE_PX, MIN_VISIBLE_SHARE * area_px):
        return None
    keypoints_px = np.zeros((NUMBERINGS, CORNERS, 2))
    visibility = np.full((NUMBERINGS, CORNERS), OUTSIDE)
    for index, turn in enumerate(turns):
        pixels = camera.project(_keypoints_m(placed, turn))
        keypoints_px[index, : len(pixels)] = pixels
        visibility[index, : len(pixels)] = _visibility(placed, turn, camera, pixels, shown)
    return Label(
        kind=placed.kind,
        box_px=np.concatenate([left_top, right_bottom]),
        keypoints_px=keypoints_px.reshape(KEYPOINT_COUNT, 2),
        visibility=visibility.reshape(KEYPOINT_COUNT),
        visible_share=min(1.0, visible_px / area_px),
    )


def model_of(placed: Placed) -> ObjectModel:
    """What is known of a box-shaped object.

    A box with a hole looks the same from both ends and in quarter turns about the hole: its symmetries are a peg's.
    """
    if placed.kind == CUBE:
        return cube("cube", float(placed.half_size_m[0]))
    return peg("peg", float(placed.half_size_m[0]), float(placed.half_size_m[1]))


def _numbered_turns(placed: Placed, camera: Camera) -> list[Rotation]:
    """From which orientation the keypoints are counted, by each rule."""
    if placed.kind == GOAL:
        return [_turn_of(placed)] * NUMBERINGS
    view = view_reference(camera, placed.position_m)
    quats = numbered_orientations(model_of(placed), placed.quat_wxyz, view)
    return [Rotation.from_quat(quat, scalar_first=True) for quat in quats]


def _turn_of(placed: Placed) -> Rotation:
    return Rotation.from_quat(placed.quat_wxyz, scalar_first=True)


def _keypoints_m(placed: Placed, turn: Rotation) -> FloatArray:
    if placed.kind == GOAL:
        return placed.position_m[None]
    return placed.position_m + turn.apply(box_corners(placed.half_size_m))


def _outline_m(placed: Placed) -> FloatArray:
    """Points whose hull is the object."""
    if placed.kind != GOAL:
        return _keypoints_m(placed, _turn_of(placed))
    angle = np.linspace(0, 2 * np.pi, _RIM_POINTS, endpoint=False)
    rim = np.stack([np.cos(angle), np.sin(angle), np.zeros_like(angle)], axis=1)
    return placed.position_m + placed.half_size_m[0] * rim


def _area_inside_px(outline_px: FloatArray, shape: tuple[int, ...]) -> float:
    """Pixels of the picture that the whole object would cover."""
    canvas = np.zeros(shape, np.uint8)
    hull = cv2.convexHull(outline_px.astype(np.float32))
    cv2.fillConvexPoly(canvas, np.round(hull).astype(np.int32), 1)
    return max(1.0, float(canvas.sum()))


def _visibility(
    placed: Placed, turn: Rotation, camera: Camera, keypoints_px: FloatArray, shown: NDArray[np.int8]
) -> NDArray[np.int64]:
    """Of each keypoint: is it in the picture, on a side that faces the camera, with the object's pixels around it."""
    height, width = shown.shape
    facing = np.ones(len(keypoints_px), dtype=bool)
    if placed.kind != GOAL:
        eye = turn.inv().apply(camera.position_in_base_m - placed.position_m)
        # a corner is seen if the camera is beyond one of its three faces
        facing = (np.sign(box_corners(placed.half_size_m)) * eye > placed.half_size_m).any(axis=1)
    visibility = np.full(len(keypoints_px), OUTSIDE)
    for index, (u, v) in enumerate(keypoints_px):
        if not (-0.5 <= u <= width - 0.5 and -0.5 <= v <= height - 0.5):
            continue
        column, row = round(u), round(v)
        around = shown[max(0, row - _NEAR_PX) : row + _NEAR_PX + 1, max(0, column - _NEAR_PX) : column + _NEAR_PX + 1]
        visibility[index] = VISIBLE if facing[index] and (around == placed.kind).any() else HIDDEN
    return visibility
