"""A detector that needs no training: it reads a cube's corners from a picture in which each has a colour of its own.

``python -m tests.support.seen_by_colour`` runs the pose estimator node with it.
"""

import sys
from pathlib import Path

import cv2
import numpy as np

from vlajs.nodes.lifecycle import run_lifecycle_node
from vlajs.nodes.pose_estimator_node import PoseEstimatorNode
from vlajs_perception.camera import Camera
from vlajs_perception.detection.detection import Detection
from vlajs_perception.estimate import Keypoints
from vlajs_perception.objects import ObjectModel

RADIUS_PX = 3


def corner_rgb(number: int) -> np.ndarray:
    """The colour of a corner: far from those of others and from the grey behind."""
    return np.array([255 * (number >> 2 & 1), 255 * (number >> 1 & 1), 255 * (number & 1)], dtype=np.uint8)


def picture_of(model: ObjectModel, camera: Camera, object_in_base: np.ndarray, size_px: tuple[int, int]) -> np.ndarray:
    """A dark object with dots where its corners are, (H, W, 3) RGB, noise on the grey behind it."""
    image = np.full((size_px[1], size_px[0], 3), 128, np.uint8)
    image += np.random.default_rng().integers(0, 3, image.shape, dtype=np.uint8)
    points = model.keypoints_m @ object_in_base[:3, :3].T + object_in_base[:3, 3]
    pixels = camera.project(points)
    hull = cv2.convexHull(np.round(pixels * 16).astype(np.int32))
    cv2.fillConvexPoly(image, hull, (40, 40, 40), cv2.LINE_AA, shift=4)
    for number, (u, v) in enumerate(pixels.round().astype(int)):
        cv2.circle(image, (int(u), int(v)), RADIUS_PX, corner_rgb(number).tolist(), cv2.FILLED)
    return image


class ColourDetector:
    """Finds the dots of :func:`picture_of`."""

    def detect(self, image_rgb: np.ndarray) -> list[Detection]:
        pixels, confidence = np.full((8, 2), np.nan), np.zeros(8)
        for number in range(8):
            rows, columns = np.nonzero((image_rgb == corner_rgb(number)).all(axis=2))
            if len(rows) >= 5:
                pixels[number], confidence[number] = (columns.mean(), rows.mean()), 1.0
        if confidence.sum() < 4:
            return []
        seen = pixels[confidence > 0]
        box_px = np.concatenate([seen.min(axis=0), seen.max(axis=0)])
        keypoints = Keypoints(pixels=pixels, confidence=confidence)
        return [Detection(name="cube", score=0.9, box_px=box_px, numberings=(keypoints,))]


def load(file: Path, threads: int, min_score: float) -> ColourDetector:
    assert file.is_file()
    assert threads >= 1
    assert min_score > 0
    return ColourDetector()


if __name__ == "__main__":
    sys.exit(run_lifecycle_node(lambda: PoseEstimatorNode(load), executor_threads=1))
