"""Where an object lies on the table, from its bounding box alone: no yaw, but hardly anything can go wrong."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vlajs_perception.camera import Camera
from vlajs_perception.estimate import UNOBSERVED_RAD, Estimate, PoseError
from vlajs_perception.fit_settings import FitSettings, Table
from vlajs_perception.objects import ObjectModel, box_corners
from vlajs_perception.refine import Observation, evaluate, project_or_inf
from vlajs_perception.rigid import FloatArray, exp
from vlajs_perception.table_covariance import with_table

YAWS = 16
"""Yaws of one period that are tried, to see what box the object has from here."""


def fit_box(
    model: ObjectModel,
    camera: Camera,
    box_px: ArrayLike,
    table: Table,
    *,
    near_wxyz: ArrayLike = (1.0, 0.0, 0.0, 0.0),
    settings: FitSettings | None = None,
) -> Estimate:
    """The pose of an object that lies on the table, from the centre of its box.

    The ray through the centre meets the plane at the height of the object's middle. Seen at an angle, the middle of
    the box is not the middle of the object: what the yaws agree on is corrected, what they differ by is covariance.

    Args:
        model: the object.
        camera: the camera.
        box_px: shape (4,), left, top, right and bottom edge.
        table: what it lies on.
        near_wxyz: shape (4,), the orientation to report, the track's or none; its yaw counts as unobserved.
        settings: see ``FitSettings``.

    Returns:
        An estimate of source ``box``.

    Raises:
        PoseError: no box, or one that the object cannot have where it would lie.
        CameraError: the centre looks past the table.
    """
    settings = settings or FitSettings()
    box = checked_box(box_px)
    centre_px = (box[:2] + box[2:]) / 2
    height_m = table.height_m + float(model.half_size_m[2])
    position_m = camera.on_plane(centre_px, height_m)
    turns = turns_of(model, YAWS)
    boxes = boxes_at(model, camera, position_m, turns)
    for _ in range(2):
        centres = (boxes[:, :2] + boxes[:, 2:]) / 2
        position_m = camera.on_plane(centre_px - (centres.mean(axis=0) - camera.project(position_m)), height_m)
        boxes = boxes_at(model, camera, position_m, turns)
    _check_size(model, box, boxes, settings.box_tolerance)

    spread = np.cov(((boxes[:, :2] + boxes[:, 2:]) / 2).T)
    middle = Observation(points_m=np.zeros((1, 3)), pixels=centre_px[None], confidence=np.ones(1), huber_px=1.0)
    fitted = evaluate(camera, middle, position_m, np.eye(3))
    if fitted is None:
        raise PoseError(f"{model.name} would lie behind the camera at {position_m.tolist()} m")
    jacobian = fitted.jacobian[0]
    to_plane = np.linalg.inv(jacobian[:, :2])
    free = np.zeros((3, 3))
    by_detector = np.diag(settings.box_std_px**2 + (settings.box_std * (box[2:] - box[:2])) ** 2)
    free[:2, :2] = to_plane @ (spread + by_detector) @ to_plane.T
    free[2, 2] = UNOBSERVED_RAD**2
    by_table = np.zeros((3, 3))
    by_table[:2] = -to_plane @ jacobian[:, 2:5]
    return Estimate(
        position_m=position_m,
        quat_wxyz=np.asarray(near_wxyz, dtype=np.float64),
        covariance=with_table(free, by_table, table),
        source="box",
    )


def turns_of(model: ObjectModel, count: int) -> FloatArray:
    """Rotations about the vertical, evenly over one period of an object's yaw, shape (count, 3, 3)."""
    return np.array([exp([0.0, 0.0, number * model.yaw_period_rad / count]) for number in range(count)])


def boxes_at(model: ObjectModel, camera: Camera, positions_m: FloatArray, turns: FloatArray) -> FloatArray:
    """The boxes in the image, shape (n, 4), of an object at places (n, 3) or one place (3,), turned by (n, 3, 3).

    Raises:
        PoseError: one reaches behind the camera.
    """
    corners = box_corners(model.half_size_m) @ np.swapaxes(turns, 1, 2) + np.atleast_2d(positions_m)[:, None]
    pixels = project_or_inf(camera, corners)
    if not np.all(np.isfinite(pixels)):
        raise PoseError(
            f"{model.name} at {np.atleast_2d(positions_m)[0].tolist()} m would reach behind the camera: the box is not "
            "its"
        )
    return np.concatenate([pixels.min(axis=1), pixels.max(axis=1)], axis=-1)


def checked_box(box_px: ArrayLike) -> NDArray[np.float64]:
    """Left, top, right and bottom edge, shape (4,).

    Raises:
        PoseError: no box.
    """
    box = np.asarray(box_px, dtype=np.float64)
    if box.shape != (4,) or not np.all(np.isfinite(box)) or np.any(box[2:] <= box[:2]):
        raise PoseError(
            f"box_px is {box.tolist()}: it must be left, top, right and bottom in pixels, finite, right of left and "
            "bottom below top; centre and size are another convention"
        )
    return box


def _check_size(model: ObjectModel, box: FloatArray, boxes: FloatArray, tolerance: float) -> None:
    size, sizes = box[2:] - box[:2], boxes[:, 2:] - boxes[:, :2]
    smallest, largest = sizes.min(axis=0) * (1 - tolerance), sizes.max(axis=0) * (1 + tolerance)
    if np.any(size < smallest) or np.any(size > largest):
        raise PoseError(
            f"the box is {size.round(1).tolist()} px, {model.name} on the table there has {smallest.round(1).tolist()} "
            f"to {largest.round(1).tolist()} px: another object, half hidden, cut off by the image's edge, or lifted"
        )
