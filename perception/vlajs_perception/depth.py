"""What a depth image adds to a pose from a colour image: the distance, which pixels tell worst."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vlajs_perception.camera import Camera
from vlajs_perception.estimate import Estimate, PoseError
from vlajs_perception.objects import ObjectModel
from vlajs_perception.rigid import FloatArray, exp, matrix_of, quat_of

_PARALLEL = 1e-12
"""A ray whose direction has less along an axis never leaves the space between the two faces across it."""


@dataclass(frozen=True, kw_only=True)
class DepthSettings:
    """When to believe a depth image.

    Attributes:
        std_m: standard deviation of the median depth over an object's middle, bias of the sensor included.
        middle: part of the box's width and height, around its middle, that is looked at.
        min_pixels: fewer that have a depth and show the object say nothing.
        max_off_m: a surface further than this from where the pose has it belongs to something else.

    Raises:
        ValueError: a number out of range.
    """

    std_m: float = 3e-3
    middle: float = 0.4
    min_pixels: int = 12
    max_off_m: float = 0.1

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not (np.isfinite(value) and value > 0):
                raise ValueError(f"{name} is {value}, it must be positive and finite")
        if self.middle > 1.0:
            raise ValueError(f"middle is {self.middle}, it must be at most 1: the whole box")


def with_depth(
    estimate: Estimate,
    model: ObjectModel,
    camera: Camera,
    box_px: ArrayLike,
    depth_m: NDArray[np.float32],
    *,
    settings: DepthSettings | None = None,
) -> Estimate:
    """A pose whose distance has been measured: median depth over the box's middle against the model's surface there.

    The pose is taken to be right up to its distance, so that the difference is the object's own along the optical
    axis; position and rotation change as far as their errors go with it.

    Args:
        estimate: of a free fit.
        model: the object, taken for the box that its half edges span.
        camera: the camera of both images.
        box_px: shape (4,), left, top, right, bottom of the object in the image.
        depth_m: shape (H, W), along the optical axis, registered to the colour image; 0 or not finite: no depth.
        settings: see ``DepthSettings``.

    Returns:
        The better estimate.

    Raises:
        PoseError: too few pixels with a depth, or a surface that is something else's, such as a hand before it.
    """
    settings = settings or DepthSettings()
    pixels = _middle_pixels(np.asarray(box_px, dtype=np.float64), depth_m.shape, settings.middle)
    expected_m = _surface_depth_m(estimate, model, camera, pixels.astype(np.float64))
    measured_m = depth_m[pixels[:, 1], pixels[:, 0]].astype(np.float64)
    usable = np.isfinite(expected_m) & np.isfinite(measured_m) & (measured_m > 0)
    if usable.sum() < settings.min_pixels:
        raise PoseError(
            f"{int(usable.sum())} pixels in the middle of {model.name} have a depth, {settings.min_pixels} are needed: "
            "too near or too shiny for the sensor, or the depth image is not registered to the colour image"
        )
    off_m = float(np.median(measured_m[usable] - expected_m[usable]))
    if abs(off_m) > settings.max_off_m:
        raise PoseError(
            f"the surface in the middle of {model.name} is {off_m:.3f} m further than its pose says (limit "
            f"{settings.max_off_m} m): something else is before or behind it"
        )
    return _moved(estimate, camera.camera_in_base[:3, 2], off_m, settings.std_m)


def _moved(estimate: Estimate, axis: FloatArray, off_m: float, std_m: float) -> Estimate:
    """The Kalman update by a measured distance along a unit vector of the base."""
    along = np.concatenate([axis, np.zeros(3)])
    spread = estimate.covariance @ along
    gain = spread / (along @ spread + std_m**2)
    change = gain * off_m
    keep = np.eye(6) - np.outer(gain, along)
    covariance = keep @ estimate.covariance @ keep.T + np.outer(gain, gain) * std_m**2
    return replace(
        estimate,
        position_m=estimate.position_m + change[:3],
        quat_wxyz=quat_of(exp(change[3:]) @ matrix_of(estimate.quat_wxyz)),
        covariance=(covariance + covariance.T) / 2,
    )


def _middle_pixels(box: FloatArray, shape: tuple[int, ...], part: float) -> NDArray[np.int64]:
    """Columns and rows, shape (n, 2), of the pixels in the middle of a box and in the image."""
    centre, half = (box[:2] + box[2:]) / 2, (box[2:] - box[:2]) / 2 * part
    height, width = shape
    low = np.maximum(np.ceil(centre - half), 0).astype(int)
    high = np.minimum(np.floor(centre + half), [width - 1, height - 1]).astype(int)
    columns, rows = np.meshgrid(np.arange(low[0], high[0] + 1), np.arange(low[1], high[1] + 1))
    return np.stack([columns.ravel(), rows.ravel()], axis=-1)


def _surface_depth_m(estimate: Estimate, model: ObjectModel, camera: Camera, pixels: FloatArray) -> FloatArray:
    """Depth along the optical axis, shape (n,), at which pixels (n, 2) show the box; infinite where they miss it."""
    if len(pixels) == 0:
        return np.zeros(0)
    turn = matrix_of(estimate.quat_wxyz)
    directions = camera.ray(pixels)
    eye, rays = (camera.position_in_base_m - estimate.position_m) @ turn, directions @ turn
    rays = np.where(np.abs(rays) < _PARALLEL, _PARALLEL, rays)
    one, other = (-model.half_size_m - eye) / rays, (model.half_size_m - eye) / rays
    enter, leave = np.minimum(one, other).max(axis=1), np.maximum(one, other).min(axis=1)
    along_axis = directions @ camera.camera_in_base[:3, 2]
    return np.where((enter <= leave) & (enter > 0), enter * along_axis, np.inf)
