"""Objects before a camera, with their true pose: what the tests of the fits look at."""

import numpy as np
from scipy.spatial.transform import Rotation

from vlajs_perception.camera import Camera
from vlajs_perception.estimate import Estimate, Keypoints
from vlajs_perception.objects import ObjectModel


def looking(eye_m: list[float], at_m: list[float], focal_px: float = 600.0) -> Camera:
    """A camera of 640 x 480 px at ``eye`` whose optical axis goes through ``at``, the image's right level."""
    eye, forward = np.array(eye_m), np.array(at_m) - np.array(eye_m)
    forward = forward / np.linalg.norm(forward)
    right = np.cross(forward, [0.0, 0.0, 1.0])
    right = right / np.linalg.norm(right)
    camera_in_base = np.eye(4)
    camera_in_base[:3, :3] = np.stack([right, np.cross(forward, right), forward], axis=1)
    camera_in_base[:3, 3] = eye
    matrix = np.array([[focal_px, 0.0, 319.5], [0.0, focal_px, 239.5], [0.0, 0.0, 1.0]])
    return Camera(matrix=matrix, camera_in_base=camera_in_base)


def flat(yaw_rad: float) -> np.ndarray:
    """Rotation matrix of an object that lies on the table."""
    return Rotation.from_rotvec([0.0, 0.0, yaw_rad]).as_matrix()


def pixels_of(model: ObjectModel, camera: Camera, position_m: np.ndarray, rotation: np.ndarray) -> np.ndarray:
    """Pixels of the model's keypoints, shape (K, 2)."""
    return camera.project(model.keypoints_m @ rotation.T + position_m)


def keypoints(pixels: np.ndarray, hidden: tuple[int, ...] = ()) -> Keypoints:
    """All certain, but for the hidden ones, which have no pixel."""
    pixels, confidence = pixels.copy(), np.ones(len(pixels))
    pixels[list(hidden)], confidence[list(hidden)] = np.nan, 0.0
    return Keypoints(pixels=pixels, confidence=confidence)


def error_of(estimate: Estimate, model: ObjectModel, position_m: np.ndarray, rotation: np.ndarray) -> np.ndarray:
    """What takes the estimate to the truth or its nearest equal: position (m) and rotation vector (rad), shape (6,)."""
    estimated = Rotation.from_quat(estimate.quat_wxyz, scalar_first=True)
    equal = Rotation.from_matrix(rotation) * Rotation.from_quat(model.symmetries_wxyz, scalar_first=True)
    turns = np.atleast_2d((equal * estimated.inv()).as_rotvec())
    turn = turns[np.linalg.norm(turns, axis=1).argmin()]
    return np.concatenate([position_m - estimate.position_m, turn])
