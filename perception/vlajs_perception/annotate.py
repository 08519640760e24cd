"""What the detector and the estimator make of an image, drawn into it for people."""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from vlajs_perception.camera import Camera, CameraError
from vlajs_perception.detection.detection import Detection
from vlajs_perception.estimate import Estimate
from vlajs_perception.objects import ObjectModel, box_corners
from vlajs_perception.rigid import FloatArray

Image = NDArray[np.uint8]

DETECTED_RGB = (255, 200, 0)
POSE_RGB = (0, 220, 90)
TRUTH_RGB = (255, 60, 220)
_EDGES = [(a, b) for a in range(8) for b in range(a) if (a ^ b).bit_count() == 1]
_FAR_PX = 10_000


def draw_detections(image: Image, detections: Sequence[Detection]) -> None:
    """Boxes, scores, and the first numbering's keypoints that have any confidence, into an image (H, W, 3) RGB."""
    for detection in detections:
        low, high = (_pixel(corner) for corner in (detection.box_px[:2], detection.box_px[2:]))
        cv2.rectangle(image, low, high, DETECTED_RGB, 1)
        label = f"{detection.name} {detection.score:.2f}"
        cv2.putText(image, label, (low[0], max(low[1] - 4, 10)), cv2.FONT_HERSHEY_SIMPLEX, 0.4, DETECTED_RGB, 1)
        keypoints = detection.numberings[0]
        for pixel, confidence in zip(keypoints.pixels, keypoints.confidence, strict=True):
            if confidence > 0:
                cv2.circle(image, _pixel(pixel), 2, DETECTED_RGB, cv2.FILLED)


def draw_pose(
    image: Image, camera: Camera, model: ObjectModel, pose: Estimate | FloatArray, colour: tuple[int, int, int]
) -> None:
    """The edges of an object at a pose, an estimate or a transform (4, 4), into an image (H, W, 3) RGB."""
    in_base = pose.object_in_base if isinstance(pose, Estimate) else pose
    corners = box_corners(model.half_size_m) @ in_base[:3, :3].T + in_base[:3, 3]
    try:
        pixels = camera.project(corners)
    except CameraError:
        return  # behind the camera: nothing to draw
    for one, other in _EDGES:
        cv2.line(image, _pixel(pixels[one]), _pixel(pixels[other]), colour, 1, cv2.LINE_AA)


def draw_text(image: Image, lines: Sequence[str]) -> None:
    """Lines of text in the upper left corner, into an image (H, W, 3) RGB."""
    for row, line in enumerate(lines):
        at = (6, 16 + 16 * row)
        cv2.putText(image, line, at, cv2.FONT_HERSHEY_SIMPLEX, 0.42, (0, 0, 0), 3, cv2.LINE_AA)
        cv2.putText(image, line, at, cv2.FONT_HERSHEY_SIMPLEX, 0.42, (255, 255, 255), 1, cv2.LINE_AA)


def _pixel(point: FloatArray) -> tuple[int, int]:
    column, row = np.clip(np.nan_to_num(point), -_FAR_PX, _FAR_PX).round().astype(int).tolist()
    return column, row
