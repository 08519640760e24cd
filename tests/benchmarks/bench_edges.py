"""What the edges of the picture add to a fit of keypoints on the table, and what that costs, in one run.

    .venv/bin/python tests/benchmarks/bench_edges.py --draws 100

Drawn pictures of 640 x 480 px with sensor noise, a camera of 600 px focal length 0.8 m away; all eight corners are
seen, off by Gaussian noise in u and in v. Real edges are blurred and shaded as these are not: for pictures of a
renderer see ``vlajs perception check`` (docs/perception.md). Ratios are the result; times are of this process's own
processor time.
"""

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2]))  # for tests.support, when run as a file

from tests.support.drawn_objects import HEIGHT, WIDTH, drawn, noisy
from tests.support.seen_objects import error_of, flat, keypoints, looking, pixels_of
from vlajs_perception.edge_fit import sharpen
from vlajs_perception.edge_image import EdgeImage
from vlajs_perception.edge_search import find_on_table
from vlajs_perception.estimate import Estimate, Keypoints, PoseError
from vlajs_perception.fit_settings import EdgeSettings, Table
from vlajs_perception.objects import ObjectModel, cube, peg
from vlajs_perception.pose_fit import fit_on_plane

OBJECTS = [("cube 40 mm", cube("cube", 0.02)), ("peg 240 x 50 x 50 mm", peg("peg", 0.12, 0.025))]
NOISE_PX = 3.0
"""About what the shipped detector's corners are off by."""
CAMERA = looking([1.2, 0.2, 0.55], [0.6, 0.0, 0.0])
EDGES, TABLE = EdgeSettings(), Table()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=100, help="poses of each object")
    draws = parser.parse_args().draws
    print(f"{'object':22}{'from':20}{'median':>10}{'p95':>11}{'median yaw':>13}{'time':>10}{'keypoints / this':>19}")
    for label, model in OBJECTS:
        reference_mm = None
        for name, measured in measure(model, draws).items():
            mm, deg, ms = (np.array(values) for values in zip(*measured, strict=True))
            reference_mm = reference_mm or float(np.median(mm))
            print(
                f"{label:22}{name:20}{np.median(mm):7.2f} mm{np.percentile(mm, 95):8.2f} mm{np.median(deg):9.2f} deg"
                f"{np.median(ms):7.2f} ms{reference_mm / np.median(mm):18.1f}x"
            )


@dataclass(frozen=True, kw_only=True)
class Scene:
    """An object on the table, and what is seen of it."""

    model: ObjectModel
    position_m: np.ndarray
    yaw_rad: float
    picture: np.ndarray
    box_px: np.ndarray
    corners: Keypoints

    @property
    def around(self) -> EdgeImage:
        return EdgeImage(self.picture, self.box_px, around_px=60, blur_px=EDGES.blur_px)


def scene(model: ObjectModel, rng: np.random.Generator) -> Scene:
    yaw_rad = rng.uniform(-np.pi, np.pi)
    position_m = np.array([*rng.uniform([0.5, -0.1], [0.7, 0.1]), model.half_size_m[2]])
    pixels = pixels_of(model, CAMERA, position_m, flat(yaw_rad))
    return Scene(
        model=model,
        position_m=position_m,
        yaw_rad=yaw_rad,
        picture=drawn(model, CAMERA, position_m, flat(yaw_rad), on=noisy(rng)),
        box_px=np.concatenate([pixels.min(axis=0), pixels.max(axis=0)]) + rng.normal(0.0, 1.0, 4),
        corners=keypoints(pixels + rng.normal(0.0, NOISE_PX, pixels.shape)),
    )


def by_keypoints(seen: Scene) -> Estimate:
    return fit_on_plane(seen.model, CAMERA, seen.corners, TABLE)


def by_both(seen: Scene) -> Estimate:
    return sharpen(by_keypoints(seen), seen.model, CAMERA, seen.around, TABLE, EDGES)


def by_box(seen: Scene) -> Estimate:
    size_px, no_turn = (WIDTH, HEIGHT), (1.0, 0.0, 0.0, 0.0)
    return find_on_table(
        seen.model,
        CAMERA,
        seen.box_px,
        seen.around,
        size_px,
        TABLE,
        max_off_px=12.0,
        near_wxyz=no_turn,
        settings=EDGES,
    )


WAYS: dict[str, Callable[[Scene], Estimate]] = {
    "keypoints": by_keypoints,
    "keypoints + edges": by_both,
    "box + edges": by_box,
}


def measure(model: ObjectModel, draws: int) -> dict[str, list[tuple[float, float, float]]]:
    """By way: error (mm), of the yaw (degrees), and time (ms) of each draw that gave a pose."""
    rng = np.random.default_rng(1)
    found: dict[str, list[tuple[float, float, float]]] = {name: [] for name in WAYS}
    for _ in range(draws):
        seen = scene(model, rng)
        for name, way in WAYS.items():
            try:
                pose, ms = timed(way, seen)
            except PoseError:
                continue  # no pose: of keypoints that are off by too much, or too little of the outline on edges
            error = error_of(pose, model, seen.position_m, flat(seen.yaw_rad))
            found[name].append((1e3 * float(np.linalg.norm(error[:3])), float(np.degrees(abs(error[5]))), ms))
    return found


def timed(way: Callable[[Scene], Estimate], seen: Scene) -> tuple[Estimate, float]:
    started = time.thread_time()
    pose = way(seen)
    return pose, 1e3 * (time.thread_time() - started)


if __name__ == "__main__":
    main()
