"""Accuracy and time of the pose fits on noisy keypoints: on the known table against six numbers without it, in one run.

    .venv/bin/python tests/benchmarks/bench_pose.py --draws 300

A camera of 640 x 480 px, 600 px focal length, looks from 0.75 m away and 0.6 m above at objects of random place and yaw
on the table; all eight corners are seen, off by Gaussian noise in u and in v. PnP alone is OpenCV's SQPnP, refined by
its Levenberg-Marquardt. The ratios are the result; times are of this process's own processor time.
"""

import argparse
import time
from collections.abc import Callable

import cv2
import numpy as np
from scipy.spatial.transform import Rotation

from vlajs_perception.camera import Camera
from vlajs_perception.estimate import Keypoints
from vlajs_perception.fit_settings import Table
from vlajs_perception.objects import ObjectModel, cube, peg
from vlajs_perception.pose_fit import fit_free, fit_on_plane
from vlajs_perception.symmetry import rotation_error_rad

FloatArray = np.ndarray
Fit = Callable[[ObjectModel, Camera, FloatArray], tuple[FloatArray, FloatArray]]
"""Position (m) and quaternion from pixels."""

OBJECTS = [
    ("cube 40 mm", cube("cube", 0.02)),
    ("peg 200 x 40 x 40 mm", peg("peg", 0.1, 0.02)),
    ("peg 240 x 50 x 50 mm", peg("peg", 0.12, 0.025)),
]
NOISE_PX = (0.5, 1.0, 2.0)


def camera() -> Camera:
    """Looks down at the table's middle, (0.6, 0, 0), from beyond it."""
    eye = np.array([1.35, 0.0, 0.6])
    forward = np.array([0.6, 0.0, 0.0]) - eye
    forward = forward / np.linalg.norm(forward)
    right = np.array([0.0, 1.0, 0.0])
    camera_in_base = np.eye(4)
    camera_in_base[:3, :3] = np.stack([right, np.cross(forward, right), forward], axis=1)
    camera_in_base[:3, 3] = eye
    matrix = np.array([[600.0, 0.0, 319.5], [0.0, 600.0, 239.5], [0.0, 0.0, 1.0]])
    return Camera(matrix=matrix, camera_in_base=camera_in_base)


def seen(pixels: FloatArray) -> Keypoints:
    return Keypoints(pixels=pixels, confidence=np.ones(len(pixels)))


def on_plane(model: ObjectModel, view: Camera, pixels: FloatArray) -> tuple[FloatArray, FloatArray]:
    estimate = fit_on_plane(model, view, seen(pixels), Table())
    return estimate.position_m, estimate.quat_wxyz


def free(model: ObjectModel, view: Camera, pixels: FloatArray) -> tuple[FloatArray, FloatArray]:
    estimate = fit_free(model, view, seen(pixels))
    return estimate.position_m, estimate.quat_wxyz


def pnp(model: ObjectModel, view: Camera, pixels: FloatArray) -> tuple[FloatArray, FloatArray]:
    _, rotvec, position = cv2.solvePnP(model.keypoints_m, pixels, view.matrix, None, flags=cv2.SOLVEPNP_SQPNP)
    rotvec, position = cv2.solvePnPRefineLM(model.keypoints_m, pixels, view.matrix, None, rotvec, position)
    turn = Rotation.from_matrix(view.camera_in_base[:3, :3]) * Rotation.from_rotvec(rotvec[:, 0])
    position_m = view.camera_in_base[:3, :3] @ position[:, 0] + view.position_in_base_m
    return position_m, turn.as_quat(scalar_first=True)


def measure(fit: Fit, model: ObjectModel, noise_px: float, draws: int) -> tuple[FloatArray, FloatArray, float]:
    """Errors in mm and in degrees (of the whole rotation, up to symmetry), and milliseconds a fit."""
    rng, view = np.random.default_rng(1), camera()
    off_mm, off_deg, spent_s = [], [], 0.0
    for _ in range(draws):
        truth = Rotation.from_euler("z", rng.uniform(-np.pi, np.pi))
        position_m = np.array([*rng.uniform([0.5, -0.1], [0.7, 0.1]), model.half_size_m[2]])
        pixels = view.project(model.keypoints_m @ truth.as_matrix().T + position_m)
        pixels = pixels + rng.normal(0.0, noise_px, pixels.shape)
        started = time.thread_time()
        found_m, quat_wxyz = fit(model, view, pixels)
        spent_s += time.thread_time() - started
        off_mm.append(1e3 * np.linalg.norm(found_m - position_m))
        error_rad = rotation_error_rad(quat_wxyz, truth.as_quat(scalar_first=True), model.symmetries_wxyz)
        off_deg.append(np.degrees(error_rad))
    return np.array(off_mm), np.array(off_deg), 1e3 * spent_s / draws


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=300, help="poses of each object at each noise")
    draws = parser.parse_args().draws
    numbers = f"{'median':>10}{'p95':>10}{'median':>10}{'p95':>10}{'time':>9}"
    print(f"{'object':22}{'noise':>7}  {'fit':8}{numbers}{'PnP / fit':>11}")
    for label, model in OBJECTS:
        for noise_px in NOISE_PX:
            reference_mm = None
            for name, fit in (("PnP", pnp), ("free", free), ("plane", on_plane)):
                mm, deg, ms = measure(fit, model, noise_px, draws)
                reference_mm = reference_mm or float(np.median(mm))
                print(
                    f"{label:22}{noise_px:4.1f} px  {name:8}{np.median(mm):7.2f} mm{np.percentile(mm, 95):7.2f} mm"
                    f"{np.median(deg):6.2f} deg{np.percentile(deg, 95):6.2f} deg{ms:6.2f} ms"
                    f"{reference_mm / np.median(mm):10.1f}x"
                )


if __name__ == "__main__":
    main()
