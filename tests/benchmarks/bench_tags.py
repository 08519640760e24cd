"""Tags on the table: how well corners are found against OpenCV's own refinement, and what a picture costs.

    .venv/bin/python tests/benchmarks/bench_tags.py --draws 60

Drawn pictures of 640 x 480 px with a little noise, four tags of 80 mm about a metre away, the camera moved by up to 2
cm and 2 degrees along and about each axis. Ratios are the result.
"""

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2]))  # for tests.support, when run as a file

from tests.support.drawn_tags import TAGS, table_with
from tests.support.seen_episode import CAMERA, IMAGE_SIZE_PX
from vlajs_perception.calibration.board import AprilTag, Image
from vlajs_perception.camera import Camera
from vlajs_perception.camera_watch import CameraWatch, located
from vlajs_perception.rigid import exp
from vlajs_perception.table_tags import TagFinder

WORK_AREA = np.array([[x, y, 0.02] for x in (0.45, 0.6, 0.75) for y in (-0.2, 0.0, 0.2)])


def median_ms(function: Callable[[], object], times: int = 40) -> float:
    """Of one call."""
    taken_s = []
    for _ in range(times):
        begin_s = time.perf_counter()
        function()
        taken_s.append(time.perf_counter() - begin_s)
    return 1e3 * float(np.median(taken_s))


def by_opencv(grey: Image) -> dict[int, np.ndarray]:
    """Corners by cv2's refinement, tag by tag."""
    colour = cv2.cvtColor(grey, cv2.COLOR_GRAY2BGR)
    return {
        tag.tag_id: AprilTag(size_m=tag.size_m, tag_id=tag.tag_id).detect(np.asarray(colour, dtype=np.uint8)).pixels
        for tag in TAGS.tags
    }


def off(found: dict[int, np.ndarray], really: Camera) -> tuple[float, float]:
    """Corners' root mean square error in px, and how far (mm) the worst place of the work area is taken to be off."""
    points = np.concatenate([TAGS.corners_in_base_m[tag] for tag in found])
    pixels = np.concatenate(list(found.values()))
    off_px = float(np.sqrt(np.mean((pixels - really.project(points)) ** 2)))
    taken = located(CAMERA, points, pixels).on_plane(really.project(WORK_AREA), 0.02)
    return off_px, 1e3 * float(np.linalg.norm(taken - WORK_AREA, axis=1).max())


def main() -> None:
    """Draw, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=60)
    draws = parser.parse_args().draws
    cv2.setNumThreads(1)
    rng, finder = np.random.default_rng(1), TagFinder(TAGS.corners_in_base_m)
    ours, theirs = [], []
    for seed in range(draws):
        pose = CAMERA.camera_in_base.copy()
        pose[:3, 3] += rng.uniform(-0.02, 0.02, 3)
        pose[:3, :3] = pose[:3, :3] @ exp(rng.uniform(-0.03, 0.03, 3))
        really = Camera(matrix=CAMERA.matrix, camera_in_base=pose)
        picture = table_with(TAGS.tags, really, IMAGE_SIZE_PX, seed=seed)
        grey = np.asarray(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), dtype=np.uint8)
        ours.append(off(finder.find(grey), really))
        theirs.append(off(by_opencv(grey), really))
    (our_px, our_mm), (their_px, their_mm) = np.median(ours, axis=0), np.median(theirs, axis=0)
    print(f"corners: {our_px:.2f} px, OpenCV's refinement {their_px:.2f} px, ratio {their_px / our_px:.1f}")
    print(f"worst place of the work area: {our_mm:.2f} mm, {their_mm:.2f} mm, ratio {their_mm / our_mm:.1f}")
    watch, everywhere = CameraWatch(TAGS), TagFinder()
    watched = median_ms(lambda: watch.camera(picture, CAMERA, 0))
    whole = median_ms(lambda: everywhere.find(grey))
    print(f"a picture: {watched:.1f} ms, all of the family everywhere {whole:.1f} ms, ratio {whole / watched:.1f}")


if __name__ == "__main__":
    main()
