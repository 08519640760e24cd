"""Poses to start from, in closed form: those that pairs of keypoints ask for on the table, and those of SQPnP."""

import cv2
import numpy as np
from numpy.typing import NDArray

from vlajs_perception.camera import MIN_SLOPE, Camera
from vlajs_perception.refine import Observation, huber_loss, project_or_inf
from vlajs_perception.rigid import FloatArray, exp, transform

MIN_PNP_KEYPOINTS = 4
"""Three keypoints fit up to four poses."""


def costs_of(camera: Camera, seen: Observation, positions_m: FloatArray, rotations: FloatArray) -> FloatArray:
    """Loss of each of n poses, shape (n,)."""
    points = seen.points_m @ np.swapaxes(rotations, 1, 2) + positions_m[:, None]
    distances = np.linalg.norm(project_or_inf(camera, points) - seen.pixels, axis=-1)
    return huber_loss(distances, seen.confidence, seen.huber_px)


def plane_starts(camera: Camera, seen: Observation, height_m: float) -> tuple[FloatArray, FloatArray]:
    """Positions (n, 3) and rotations (n, 3, 3) that two keypoints each, or all together, ask for on the table.

    Seen from above, points are complex numbers: a yaw is a factor of length 1.
    """
    rays = camera.ray(seen.pixels)
    rise_m = height_m + seen.points_m[:, 2] - camera.position_in_base_m[2]
    level = np.abs(rays[:, 2]) < MIN_SLOPE
    distance_m = np.where(level, -1.0, rise_m / np.where(level, 1.0, rays[:, 2]))
    met = distance_m > 0
    points = camera.position_in_base_m[:2] + distance_m[met, None] * rays[met, :2]
    there, model = points @ [1, 1j], seen.points_m[met, :2] @ [1, 1j]
    if len(there) < 2:
        return np.zeros((0, 3)), np.zeros((0, 3, 3))
    first, second = np.triu_indices(len(there), k=1)
    all_together = np.vdot(model - model.mean(), (there - there.mean()))
    turns = np.append((there[second] - there[first]) * np.conj(model[second] - model[first]), all_together)
    middles = np.append((there[first] + there[second]) / 2, there.mean())
    arms = np.append((model[first] + model[second]) / 2, model.mean())
    reach = np.append(np.abs(model[second] - model[first]) ** 2, np.abs(model - model.mean()).max() ** 2)
    tells = (reach > 1e-3 * np.abs(model - model.mean()).max() ** 2) & (np.abs(turns) > 0)
    turns = turns[tells] / np.abs(turns[tells])
    origins = middles[tells] - turns * arms[tells]
    positions = np.stack([origins.real, origins.imag, np.full(len(origins), height_m)], axis=-1)
    rotations = np.zeros((len(turns), 3, 3))
    rotations[:, 0, 0] = rotations[:, 1, 1] = turns.real
    rotations[:, 1, 0], rotations[:, 0, 1], rotations[:, 2, 2] = turns.imag, -turns.imag, 1.0
    return positions, rotations


def pnp_starts(camera: Camera, seen: Observation, *, leave_one_out: bool) -> FloatArray:
    """Poses of the object in the base, shape (n, 4, 4): SQPnP's of all keypoints, or of all but each in turn.

    Of four keypoints, where SQPnP misses the pose once in a hundred times, P3P's are among them too.
    """
    count = len(seen.pixels)
    leaving = np.eye(count, dtype=bool) if leave_one_out else np.zeros((1, count), dtype=bool)
    starts = []
    for kept in ~leaving:
        starts += _solutions(camera, seen, kept, cv2.SOLVEPNP_SQPNP)
        if kept.sum() == MIN_PNP_KEYPOINTS:
            starts += _solutions(camera, seen, kept, cv2.SOLVEPNP_AP3P)
    starts = np.array(starts).reshape(-1, 4, 4)
    return starts[np.all(np.isfinite(starts), axis=(1, 2))]


def _solutions(camera: Camera, seen: Observation, kept: NDArray[np.bool_], method: int) -> list[FloatArray]:
    try:
        _, rotvecs, positions, _ = cv2.solvePnPGeneric(
            seen.points_m[kept], seen.pixels[kept], camera.matrix, None, flags=method
        )
    except cv2.error:
        return []  # keypoints that determine no pose
    return [
        camera.camera_in_base @ transform(position[:, 0], exp(rotvec))
        for rotvec, position in zip(rotvecs, positions, strict=True)
    ]
