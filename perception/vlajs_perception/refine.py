"""Robust least squares of reprojection over SE(3): from a start near by to the pose that the pixels fit best.

A pose moves by steps (dx, dy, dz, rotation vector) in the base's axes, ``exp(v) @ rotation``; a fit says which of the
six are free. Residuals are distances in pixels, weighted by confidence and by Huber's loss of each keypoint's distance.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vlajs_perception.camera import MIN_DEPTH_M, Camera
from vlajs_perception.estimate import UNOBSERVED_M, UNOBSERVED_RAD
from vlajs_perception.rigid import exp

FloatArray = NDArray[np.float64]

MAX_STEPS = 30
MIN_STEP = 1e-6
"""Metres and radians: steps shorter than this end the search."""


@dataclass(frozen=True, kw_only=True)
class Observation:
    """The keypoints that take part.

    Attributes:
        points_m: shape (K, 3), in the object's frame.
        pixels: shape (K, 2).
        confidence: shape (K,), positive.
        huber_px: see ``FitSettings``.
    """

    points_m: FloatArray
    pixels: FloatArray
    confidence: FloatArray
    huber_px: float


@dataclass(frozen=True, kw_only=True)
class Fitted:
    """A pose and how the pixels fit it.

    Attributes:
        position_m: shape (3,), in the base.
        rotation: shape (3, 3), object to base.
        residuals: shape (K, 2), projection less pixel.
        jacobian: shape (K, 2, 6), of the residuals by a step in position (m) and rotation (rad), base axes.
        cost: half the weighted loss, px^2.
    """

    position_m: FloatArray
    rotation: FloatArray
    residuals: FloatArray
    jacobian: FloatArray
    cost: float

    @property
    def distances_px(self) -> FloatArray:
        """How far each keypoint is from its projection, shape (K,)."""
        return np.linalg.norm(self.residuals, axis=-1)


def project_or_inf(camera: Camera, points_in_base_m: FloatArray) -> FloatArray:
    """As ``Camera.project``, shape (..., 2), but infinite for points that have no pixel."""
    in_camera = (points_in_base_m - camera.position_in_base_m) @ camera.camera_in_base[:3, :3]
    depth_m = in_camera[..., 2:]
    seen = depth_m > MIN_DEPTH_M
    pixels = (in_camera / np.where(seen, depth_m, 1.0)) @ camera.matrix.T
    return np.where(seen, pixels[..., :2], np.inf)


def huber_loss(distances_px: FloatArray, confidence: FloatArray, huber_px: float) -> FloatArray:
    """Half the weighted loss, summed over the last axis: of shapes (..., K) and (K,), shape (...)."""
    square = 0.5 * np.minimum(distances_px, huber_px) ** 2
    line = huber_px * np.maximum(distances_px - huber_px, 0.0)
    return ((square + line) * confidence).sum(axis=-1)


def project_with_jacobian(
    camera: Camera, points_m: FloatArray, position_m: FloatArray, rotation: FloatArray
) -> tuple[FloatArray, FloatArray] | None:
    """Pixels (K, 2) of an object's points (K, 3), and their change by a step of the pose; None if one lies behind.

    The Jacobian, shape (K, 2, 6), is by position (m) and rotation vector (rad) in the base's axes.
    """
    turned = points_m @ rotation.T
    base_in_camera = camera.camera_in_base[:3, :3].T
    in_camera = (turned + position_m - camera.position_in_base_m) @ base_in_camera.T
    depth_m = in_camera[:, 2:]
    if np.any(depth_m < MIN_DEPTH_M):
        return None
    pixels = ((in_camera / depth_m) @ camera.matrix.T)[:, :2]
    # d(pixel) / d(point in camera): the quotient rule on the first two rows of K x / z
    by_point = (camera.matrix[:2] - pixels[..., None] * [0.0, 0.0, 1.0]) / depth_m[..., None]
    by_position = by_point @ base_in_camera
    # a step v turns the arm t by v x t, and g . (v x t) = v . (t x g)
    by_rotation = np.cross(turned[:, None, :], by_position)
    return pixels, np.concatenate([by_position, by_rotation], axis=-1)


def evaluate(camera: Camera, seen: Observation, position_m: FloatArray, rotation: FloatArray) -> Fitted | None:
    """Residuals and their Jacobian at a pose; None if a keypoint would lie behind the camera."""
    projected = project_with_jacobian(camera, seen.points_m, position_m, rotation)
    if projected is None:
        return None
    pixels, jacobian = projected
    residuals = pixels - seen.pixels
    return Fitted(
        position_m=position_m,
        rotation=rotation,
        residuals=residuals,
        jacobian=jacobian,
        cost=float(huber_loss(np.linalg.norm(residuals, axis=-1), seen.confidence, seen.huber_px)),
    )


def refine(
    camera: Camera, seen: Observation, position_m: FloatArray, rotation: FloatArray, free: Sequence[int]
) -> Fitted | None:
    """The pose of least cost near a start, by damped Gauss-Newton (Levenberg-Marquardt) steps.

    Args:
        camera: the camera.
        seen: the keypoints.
        position_m: of the start, shape (3,), in the base.
        rotation: of the start, shape (3, 3), object to base.
        free: which of the six steps are taken: (0, 1, 5) is x, y and yaw.

    Returns:
        The fit, or None if a keypoint lies behind the camera at the start.
    """
    here = evaluate(camera, seen, position_m, rotation)
    if here is None:
        return None
    columns = list(free)
    damping = 1e-4
    for _ in range(MAX_STEPS):
        weights = seen.confidence * _huber_weights(here.distances_px, seen.huber_px)
        jacobian = here.jacobian[:, :, columns].reshape(-1, len(columns))
        weighted = jacobian * np.repeat(weights, 2)[:, None]
        information, gradient = weighted.T @ jacobian, weighted.T @ here.residuals.ravel()
        there = None
        while there is None or there.cost > here.cost:
            damped = information + np.diag(damping * np.diag(information) + 1e-12)
            step = np.zeros(6)
            step[columns] = -np.linalg.solve(damped, gradient)
            if np.abs(step).max() < MIN_STEP:
                return here
            there = evaluate(camera, seen, here.position_m + step[:3], exp(step[3:]) @ here.rotation)
            damping *= 10
        here, damping = there, damping / 100
    return here


def covariance_of(fitted: Fitted, seen: Observation, noise_floor_px: float, free: Sequence[int]) -> FloatArray:
    """Covariance of the free steps, shape (len(free),) * 2: ``s^2 (J^T J)^-1`` with J weighted by confidence.

    ``s^2`` is the variance of a keypoint of confidence 1 given the residuals, after Huber, and at least the floor's.
    It divides by two less than the degrees of freedom: the mean of the variance given the residuals rather than its
    best single guess, so that the normalised error of few keypoints is right on average. Directions that the pixels
    do not determine end at ``UNOBSERVED_M`` or ``UNOBSERVED_RAD`` squared.
    """
    columns = list(free)
    distances = fitted.distances_px
    weights = _huber_weights(distances, seen.huber_px)
    # by how much the influence w r of a keypoint grows with r: 1 inside, in the plane half of w outside
    slope = float(np.mean(np.where(weights < 1.0, weights / 2, 1.0)))
    freedom = max(2 * len(distances) - len(columns) - 2, 1)
    spread = float((seen.confidence * (weights * distances) ** 2).sum()) / freedom / slope**2
    jacobian = fitted.jacobian[:, :, columns].reshape(-1, len(columns))
    weighted = jacobian * np.repeat(seen.confidence, 2)[:, None]
    information = weighted.T @ jacobian / max(spread, noise_floor_px**2)
    ignorance = np.array([UNOBSERVED_M] * 3 + [UNOBSERVED_RAD] * 3)[columns]
    covariance = np.linalg.inv(information + np.diag(ignorance**-2.0))
    return (covariance + covariance.T) / 2


def _huber_weights(distances_px: FloatArray, huber_px: float) -> FloatArray:
    return huber_px / np.maximum(distances_px, huber_px)
