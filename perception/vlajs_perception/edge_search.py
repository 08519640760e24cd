"""Where an object lies on the table, from a detector's box and the edges inside: no keypoint is looked at.

A box nearly says where an object is, and which few yaws it can have; from each of these the outline is moved to edges
of the image. Where one of them has nearly all of its outline on edges, that is how it lies.
"""

import numpy as np
from numpy.typing import ArrayLike

from vlajs_perception.box_fit import boxes_at, checked_box, turns_of
from vlajs_perception.camera import Camera, CameraError
from vlajs_perception.edge_fit import fit_edges, support_of
from vlajs_perception.edge_image import EdgeImage
from vlajs_perception.estimate import Estimate, PoseError
from vlajs_perception.fit_settings import EdgeSettings, Table
from vlajs_perception.objects import ObjectModel
from vlajs_perception.rigid import FloatArray, quat_of
from vlajs_perception.symmetry import canonicalise
from vlajs_perception.table_covariance import FREE

START_STD_M = 0.02
START_STD_RAD = 0.15
"""What a box and the best of some yaws are taken to be off by."""


def find_on_table(
    model: ObjectModel,
    camera: Camera,
    box_px: ArrayLike,
    image: EdgeImage,
    image_size_px: tuple[int, int],
    table: Table,
    *,
    max_off_px: float,
    near_wxyz: ArrayLike,
    settings: EdgeSettings,
) -> Estimate:
    """The pose on the table, as the model lies, of which the outline is best supported by edges.

    Args:
        model: the object, taken as the box around it.
        camera: the camera.
        box_px: shape (4,), left, top, right, bottom.
        image: around the box.
        image_size_px: width and height of the whole picture, at whose edge a detector's boxes end.
        table: what the object lies on.
        max_off_px: how far the edges of a box to begin with may be off.
        near_wxyz: shape (4,), the track's orientation, whose branch is taken.
        settings: which edges count how much, and how many there must be.

    Returns:
        An estimate of source ``plane``.

    Raises:
        PoseError: nothing that the object can be on the table has the box and enough edges.
    """
    box = checked_box(box_px)
    prior = np.diag([START_STD_M**-2, START_STD_M**-2, START_STD_RAD**-2])

    def fitted(start: Estimate, reaches_px: tuple[int, ...]) -> tuple[float, Estimate] | None:
        found = fit_edges(start, model, camera, image, table, prior=prior, reaches_px=reaches_px, settings=settings)
        return None if found is None else (support_of(found, model, camera, image, settings).rank, found)

    starts = _starts(model, camera, box, image_size_px, table, max_off_px, settings)
    found = [fitted(start, settings.start_reaches_px) for start in starts]
    best = max((item for item in found if item is not None), key=lambda item: item[0], default=None)
    best = best and fitted(best[1], settings.chosen_reaches_px)
    share = 0.0 if best is None else support_of(best[1], model, camera, image, settings).share
    if best is None or share < settings.support_alone:
        raise PoseError(
            f"at most {share:.2f} of the outline that {model.name} has on the table inside its box is on edges of the "
            f"image (limit {settings.support_alone}): hidden, blurred, lifted, or something else"
        )
    pose = best[1]
    return Estimate(
        position_m=pose.position_m,
        quat_wxyz=canonicalise(pose.quat_wxyz, model.symmetries_wxyz, near_wxyz),
        covariance=pose.covariance,
        source="plane",
    )


def _starts(
    model: ObjectModel,
    camera: Camera,
    box: FloatArray,
    image_size_px: tuple[int, int],
    table: Table,
    max_off_px: float,
    settings: EdgeSettings,
) -> list[Estimate]:
    """The poses on the table whose own boxes suit a box best, best first."""
    turns = turns_of(model, int(np.ceil(model.yaw_period_rad / settings.yaw_step_rad)))
    height_m = table.height_m + float(model.half_size_m[2])
    limit = np.tile(np.array(image_size_px) - 1.0, 2)

    def seen_at(positions_m: FloatArray) -> FloatArray:
        return np.clip(boxes_at(model, camera, positions_m, turns), 0.0, limit)

    try:
        positions_m = np.tile(camera.on_plane((box[:2] + box[2:]) / 2, height_m), (len(turns), 1))
        for _ in range(3):
            off_px = (box - seen_at(positions_m)).reshape(-1, 2, 2).mean(axis=1)
            positions_m = camera.on_plane(camera.project(positions_m) + off_px, height_m)
        off_px = np.abs(seen_at(positions_m) - box).max(axis=1)
    except CameraError as error:
        raise PoseError(f"the box of {model.name} looks past the table: {error}") from error
    covariance = np.full(6, 1e-12)
    covariance[list(FREE)] = START_STD_M**2, START_STD_M**2, START_STD_RAD**2
    return [
        Estimate(
            position_m=positions_m[index],
            quat_wxyz=quat_of(turns[index]),
            covariance=np.diag(covariance),
            source="plane",
        )
        for index in np.argsort(off_px)[: settings.tries]
        if off_px[index] <= max_off_px
    ]
