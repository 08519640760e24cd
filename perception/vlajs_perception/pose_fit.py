"""From keypoints to a pose: x, y and yaw on the known table, or all six where the object is in the air.

The table replaces what a camera tells worst, the distance: the plane fit is the one to use wherever it holds.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike

from vlajs_perception.box_fit import fit_box
from vlajs_perception.camera import Camera
from vlajs_perception.estimate import Estimate, Keypoints, PoseError, Source
from vlajs_perception.fit_settings import FitSettings, Table
from vlajs_perception.objects import SAME_M, ObjectModel
from vlajs_perception.pose_starts import MIN_PNP_KEYPOINTS, costs_of, plane_starts, pnp_starts
from vlajs_perception.refine import Fitted, Observation, covariance_of, project_or_inf, refine
from vlajs_perception.rigid import FloatArray, quat_of
from vlajs_perception.symmetry import canonicalise
from vlajs_perception.table_covariance import FREE, HELD, with_table

NO_TURN = (1.0, 0.0, 0.0, 0.0)


def fit_on_plane(
    model: ObjectModel,
    camera: Camera,
    keypoints: Keypoints,
    table: Table,
    *,
    box_px: ArrayLike | None = None,
    near_wxyz: ArrayLike = NO_TURN,
    settings: FitSettings | None = None,
) -> Estimate:
    """The pose of an object that lies on the table as its model does, z axis up.

    Every keypoint's height is known, so its pixel is a point; every pair of such points is a pose, all yaws alike.
    The pose that most keypoints agree with is refined on the pixels. Labels may be given up to the object's turns about
    its upright axis, all alike or, as detectors do near the edge of the symmetry, some this way and some that.

    Args:
        model: the object.
        camera: the camera.
        keypoints: in the model's order.
        table: what it lies on.
        box_px: shape (4,), left, top, right, bottom: used where the keypoints are too few or do not agree, see
            ``fit_box``.
        near_wxyz: shape (4,), the track's orientation, whose branch is taken.
        settings: see ``FitSettings``.

    Returns:
        An estimate of source ``plane``, or ``box`` with the yaw unobserved.

    Raises:
        PoseError: too few keypoints, or keypoints that do not fit the object on the table, and no box, or a box that
            does not fit either.
        CameraError: the box's centre looks past the table.
    """
    settings = settings or FitSettings()
    try:
        used = _usable(model, keypoints, settings.min_confidence, settings.min_keypoints)
        return _fit_keypoints_on_plane(model, camera, keypoints, used, table, near_wxyz, settings)
    except PoseError:
        if box_px is None:
            raise
        return fit_box(model, camera, box_px, table, near_wxyz=near_wxyz, settings=settings)


def fit_free(
    model: ObjectModel,
    camera: Camera,
    keypoints: Keypoints,
    *,
    near_wxyz: ArrayLike = NO_TURN,
    settings: FitSettings | None = None,
) -> Estimate:
    """The pose of an object anywhere before the camera: SQPnP, refined on the pixels.

    Where a keypoint does not fit, SQPnP is also asked without each of them: one wrong one is survived. The distance is
    many times less certain than the direction (see the covariance): where the object lies on the table or is held, the
    other fits are better.

    Args:
        model: the object.
        camera: the camera.
        keypoints: in the model's order, at least four of them seen.
        near_wxyz: shape (4,), the track's orientation, whose branch is taken.
        settings: see ``FitSettings``.

    Returns:
        An estimate of source ``free``.

    Raises:
        PoseError: too few keypoints, or keypoints that do not fit the object.
    """
    settings = settings or FitSettings()
    used = _usable(model, keypoints, settings.min_confidence, max(settings.min_keypoints, MIN_PNP_KEYPOINTS))
    seen = Observation(
        points_m=model.keypoints_m[used],
        pixels=keypoints.pixels[used],
        confidence=keypoints.confidence[used],
        huber_px=settings.huber_px,
    )
    fitted = _best_free(camera, seen, leave_one_out=False)
    doubtful = fitted is None or fitted.distances_px.max() > settings.outlier_px
    if doubtful and len(used) > MIN_PNP_KEYPOINTS:
        fits = (fitted, _best_free(camera, seen, leave_one_out=True))
        fitted = min((fit for fit in fits if fit is not None), key=lambda fit: fit.cost, default=None)
    if fitted is None:
        raise PoseError(f"no pose projects {model.name} on its {len(used)} keypoints: do they lie on one line?")
    cause = "the keypoints are another object's"
    fitted, seen, agree = _settled(model, camera, seen, fitted, range(6), MIN_PNP_KEYPOINTS, settings.outlier_px, cause)
    covariance = covariance_of(fitted, seen, settings.noise_floor_px, range(6))
    return _estimate(model, fitted, used[agree], covariance, near_wxyz, "free")


def _best_free(camera: Camera, seen: Observation, *, leave_one_out: bool) -> Fitted | None:
    """The refined pose of least cost, of the two best of SQPnP; None if it finds none."""
    starts = pnp_starts(camera, seen, leave_one_out=leave_one_out)
    positions, rotations = starts[:, :3, 3], starts[:, :3, :3]
    costs = costs_of(camera, seen, positions, rotations)
    fits = [refine(camera, seen, positions[i], rotations[i], range(6)) for i in np.argsort(costs)[:2]]
    return min((fit for fit in fits if fit is not None), key=lambda fit: fit.cost, default=None)


def _fit_keypoints_on_plane(
    model: ObjectModel,
    camera: Camera,
    keypoints: Keypoints,
    used: np.ndarray,
    table: Table,
    near_wxyz: ArrayLike,
    settings: FitSettings,
) -> Estimate:
    height_m = table.height_m + float(model.half_size_m[2])
    seen = Observation(
        points_m=model.keypoints_m[used],
        pixels=keypoints.pixels[used],
        confidence=keypoints.confidence[used],
        huber_px=settings.huber_px,
    )
    positions, rotations = plane_starts(camera, seen, height_m)
    if len(positions) == 0:
        raise PoseError(
            f"the {len(used)} keypoints of {model.name} lie over each other or look past the table: they say no yaw"
        )
    best = int(np.argmin(costs_of(camera, seen, positions, rotations)))
    seen = _relabelled(model, camera, seen, positions[best], rotations[best])
    fitted = refine(camera, seen, positions[best], rotations[best], FREE)
    cause = f"it does not lie on the table at {table.height_m} m, or is another object"
    fitted, seen, agree = _settled(
        model, camera, seen, fitted, FREE, settings.min_keypoints, settings.outlier_px, cause
    )
    free = covariance_of(fitted, seen, settings.noise_floor_px, FREE)
    covariance = with_table(free, _by_table(fitted, seen), table)
    return _estimate(model, fitted, used[agree], covariance, near_wxyz, "plane")


def _usable(model: ObjectModel, keypoints: Keypoints, min_confidence: float, at_least: int) -> np.ndarray:
    """Indices of the keypoints that can be used."""
    if len(keypoints.pixels) != len(model.keypoints_m):
        raise ValueError(
            f"{len(keypoints.pixels)} keypoints were given, {model.name} has {len(model.keypoints_m)}: the detector "
            "was trained for another object"
        )
    used = np.flatnonzero(keypoints.confidence >= min_confidence)
    if len(used) < at_least:
        raise PoseError(
            f"{len(used)} keypoints of {model.name} have a confidence of {min_confidence} or more, {at_least} are "
            f"needed: it is hidden or hardly seen ({keypoints.confidence.round(2).tolist()})"
        )
    return used


def _relabelled(
    model: ObjectModel, camera: Camera, seen: Observation, position_m: FloatArray, rotation: FloatArray
) -> Observation:
    """The same pixels, each for the keypoint nearest to it among those that a turn makes of the one it was named.

    Between two ways of naming, two names meet at one keypoint. Where more do the names stay: pixels heaped in one place
    are no object.
    """
    named = seen.points_m @ np.swapaxes(model.yaw_symmetries, 1, 2)
    pixels = project_or_inf(camera, named @ rotation.T + position_m)
    nearest = np.linalg.norm(pixels - seen.pixels, axis=-1).argmin(axis=0)
    renamed = named[nearest, np.arange(len(nearest))]
    same = np.linalg.norm(renamed[:, None] - renamed, axis=-1) < SAME_M
    if same.sum(axis=0).max() > 2:
        return seen
    return replace(seen, points_m=renamed)


def _settled(
    model: ObjectModel,
    camera: Camera,
    seen: Observation,
    fitted: Fitted | None,
    free: Sequence[int],
    at_least: int,
    outlier_px: float,
    cause: str,
) -> tuple[Fitted, Observation, np.ndarray]:
    """The fit to the keypoints that agree with it, these keypoints, and which they are, shape (K,) of bool.

    Raises:
        PoseError: most do not.
    """
    if fitted is None:
        raise PoseError(f"{model.name} would lie behind the camera: {cause}")
    off = fitted.distances_px
    agree = off <= outlier_px
    needed = max(at_least, len(off) // 2 + 1)  # of two halves that contradict each other, none is believed
    if agree.sum() < needed:
        raise PoseError(
            f"{agree.sum()} of {len(off)} keypoints of {model.name} are within {outlier_px} px of where the best pose "
            f"has them (off by {off.round(1).tolist()} px), at least {needed} must be: {cause}"
        )
    if not agree.all():
        seen = replace(
            seen,
            points_m=seen.points_m[agree],
            pixels=seen.pixels[agree],
            confidence=seen.confidence[agree],
        )
        fitted = refine(camera, seen, fitted.position_m, fitted.rotation, free) or fitted
    return fitted, seen, agree


def _by_table(fitted: Fitted, seen: Observation) -> FloatArray:
    """Change of the fitted x, y, yaw by an error in the assumed z, roll, pitch, shape (3, 3)."""
    root = np.sqrt(seen.confidence)[:, None, None]
    jacobian = (fitted.jacobian * root).reshape(-1, 6)
    change = np.linalg.lstsq(jacobian[:, list(FREE)], -jacobian[:, list(HELD)], rcond=None)[0]
    return np.asarray(change, dtype=np.float64)


def _estimate(
    model: ObjectModel,
    fitted: Fitted,
    used: np.ndarray,
    covariance: FloatArray,
    near_wxyz: ArrayLike,
    source: Source,
) -> Estimate:
    residual_px = float(np.sqrt(np.mean(fitted.distances_px**2)))
    return Estimate(
        position_m=fitted.position_m,
        quat_wxyz=canonicalise(quat_of(fitted.rotation), model.symmetries_wxyz, near_wxyz),
        covariance=covariance,
        source=source,
        residual_px=residual_px,
        keypoints_used=tuple(int(i) for i in used),
    )
