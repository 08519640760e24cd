"""From one detection to one pose: which numbering, which fit, and whether the result can be.

In this order:

1. On the table as its model lies: the best of both numberings, if its keypoints fit (``plane_px``).
2. On the table as its model lies, by its box and the image's edges, if nearly all of its outline is on edges.
3. On the table on the face that a free fit has down, if the fit on the table then holds nearly as well as that one.
4. In the air: the free fit, its distance from the depth image where there is one.
5. On the table by its box alone, where the keypoints say nothing.

All but the last are moved to the edges of the image. Where these speak for the free fit, and much more than for the one
on the table, it is in the air, if it can be there: a long thing on the table, its far end hidden, may look like one
that is nearer and half below it. See ``edge_witness``. What lies away from the hand and has few edges where it would
end is refused.

What the gripper holds and has lifted is looked for in the air alone: a lifted object fits on the table too, larger and
nearer than it is. See ``lifted``. In the air away from the hand nothing is believed.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike

from vlajs_perception.box_fit import fit_box
from vlajs_perception.camera import CameraError
from vlajs_perception.depth import with_depth
from vlajs_perception.detection.detection import Detection
from vlajs_perception.edge_witness import EdgeWitness
from vlajs_perception.estimate import Estimate, Keypoints, PoseError
from vlajs_perception.estimator_settings import EstimatorSettings, SightSettings, View
from vlajs_perception.fit_settings import FitSettings
from vlajs_perception.objects import ObjectModel, box_corners
from vlajs_perception.pose_fit import NO_TURN, fit_free, fit_on_plane
from vlajs_perception.refine import project_or_inf
from vlajs_perception.resting import resting_on
from vlajs_perception.rigid import FloatArray, matrix_of
from vlajs_perception.symmetry import canonicalise

Fit = Callable[[Keypoints], Estimate]


class ImplausibleError(PoseError):
    """A pose that fits the pixels and cannot be: outside the work area, in the table, in mid-air, of another size."""


def see(
    detection: Detection,
    model: ObjectModel,
    view: View,
    settings: EstimatorSettings,
    *,
    near_wxyz: ArrayLike = NO_TURN,
) -> Estimate:
    """The pose of a detected object that is not known to be held.

    Args:
        detection: of the object's class.
        model: the object.
        view: camera, tool, gripper and depth at the moment of the image.
        settings: table, work area and when to believe what.
        near_wxyz: shape (4,), the track's orientation, whose branch is taken.

    Returns:
        An estimate of source ``plane``, ``free`` or ``box``.

    Raises:
        PoseError: no fit holds; the message is that of the one that was tried last.
        ImplausibleError: outside the work area, in the table, off it where nothing holds it, of another size than the
            object, or without edges where it would end.
    """
    witness = EdgeWitness(detection, model, view, settings)
    estimate = _fitted(detection, model, view, settings, near_wxyz, witness)
    if not settings.work_area.holds(estimate.position_m):
        raise ImplausibleError(
            f"{model.name} would be at {estimate.position_m.round(3).tolist()} m, outside the work area "
            f"{list(settings.work_area.min_m)} to {list(settings.work_area.max_m)} m: something else, or the camera's "
            "pose is wrong"
        )
    if estimate.source == "free":  # the others lie on the table
        reason = _unsupported(estimate, model, view, settings)
        if reason is not None:
            raise ImplausibleError(reason)
    elif estimate.source == "plane":
        _check_edges(estimate, model, view, settings, witness)
    if estimate.source != "box":  # whose fit has compared the sizes
        _check_size(detection, estimate, model, view, settings.sight)
    return estimate


def best_numbering(detection: Detection, fit: Fit, settings: FitSettings) -> tuple[Estimate, float]:
    """The fit to the numbering it suits best, and how far off its keypoints are (px, root mean square).

    A confident keypoint that a fit does not use counts as off by ``outlier_px``: else a numbering of which half is
    left aside would win by the half that is left.

    Raises:
        PoseError: no numbering fits; the message is the last one's.
    """
    fits: list[tuple[float, Estimate]] = []
    failure: PoseError | None = None
    for keypoints in detection.numberings:
        try:
            estimate = fit(keypoints)
        except PoseError as error:
            failure = error
            continue
        fits.append((_off_px(estimate, keypoints, settings), estimate))
    if not fits:
        assert failure is not None, "a detection has a numbering"
        raise failure
    off_px, estimate = min(fits, key=lambda item: item[0])
    return estimate, off_px


def lifted(free: Estimate, model: ObjectModel, view: View, settings: EstimatorSettings) -> bool:
    """Whether an object is off the table in the gripper: it has closed on something, is at the object, and is high."""
    if not view.gripper.grasped or view.tool_in_base is None:
        return False
    lowest_m = settings.table.height_m + float(model.half_size_m.min())
    high = view.tool_in_base[2, 3] > lowest_m + settings.sight.lifted_m
    return bool(high) and gap_m(free, model, view.tool_in_base[:3, 3]) <= settings.sight.reach_m


def gap_m(estimate: Estimate, model: ObjectModel, point_m: FloatArray) -> float:
    """Distance of a point (3,) in the base from the surface of an object; 0 inside."""
    in_object = (point_m - estimate.position_m) @ matrix_of(estimate.quat_wxyz)
    return float(np.linalg.norm(np.maximum(np.abs(in_object) - model.half_size_m, 0.0)))


def box_of(estimate: Estimate, model: ObjectModel, view: View) -> FloatArray:
    """The box, shape (4,), that an object at a pose has in the image, cut at the image's edge as a detector's is.

    Raises:
        PoseError: it reaches behind the camera.
    """
    corners = box_corners(model.half_size_m) @ matrix_of(estimate.quat_wxyz).T + estimate.position_m
    try:
        pixels = view.camera.project(corners)
    except CameraError as error:
        raise PoseError(f"{model.name} at {estimate.position_m.tolist()} m is behind the camera") from error
    limit = np.array(view.image_size_px, dtype=np.float64) - 1
    return np.concatenate([np.clip(pixels.min(axis=0), 0, limit), np.clip(pixels.max(axis=0), 0, limit)])


def _fitted(
    detection: Detection,
    model: ObjectModel,
    view: View,
    settings: EstimatorSettings,
    near_wxyz: ArrayLike,
    witness: EdgeWitness,
) -> Estimate:
    sight, camera, table = settings.sight, view.camera, settings.table

    def on_table(keypoints: Keypoints) -> Estimate:
        return fit_on_plane(model, camera, keypoints, table, near_wxyz=near_wxyz, settings=sight.fit)

    def anywhere(keypoints: Keypoints) -> Estimate:
        return fit_free(model, camera, keypoints, near_wxyz=near_wxyz, settings=sight.fit)

    lying = _on_table(detection, on_table, sight, witness)
    if lying is not None and not view.gripper.grasped and (witness.is_at_hand(lying) or witness.is_sure_of(lying)):
        return lying
    try:
        coarse, free_px = best_numbering(detection, anywhere, sight.fit)
    except PoseError:
        found = lying or (None if view.gripper.grasped else witness.lying(near_wxyz))
        return found or _by_box(detection, model, view, settings, near_wxyz)
    free = witness.sharpened(coarse)
    if lifted(coarse, model, view, settings):
        return _measured(free, detection, model, view, settings)

    def resting() -> Iterator[Estimate | None]:
        yield lying
        yield None if view.gripper.grasped else witness.lying(near_wxyz)
        yield _on_another_face(detection, coarse, free_px, model, view, settings, witness)

    in_air = _unsupported(free, model, view, settings) is None
    for found in resting():
        if found is not None and not (in_air and witness.says_in_air(free, found)):
            return found
    return _measured(free, detection, model, view, settings)


def _on_table(detection: Detection, on_table: Fit, sight: SightSettings, witness: EdgeWitness) -> Estimate | None:
    """The fit on the table, if it holds."""
    try:
        estimate, off_px = best_numbering(detection, on_table, sight.fit)
    except PoseError:
        return None
    return witness.sharpened(estimate) if off_px <= sight.plane_px(detection.box_px) else None


def _on_another_face(
    detection: Detection,
    free: Estimate,
    free_px: float,
    model: ObjectModel,
    view: View,
    settings: EstimatorSettings,
    witness: EdgeWitness,
) -> Estimate | None:
    """The fit on the table on the face that a free fit has down, if it holds nearly as well as the free one."""
    sight = settings.sight
    if resting_on(model, matrix_of(free.quat_wxyz))[1] > sight.max_lean_rad:
        return None

    def on_face(keypoints: Keypoints) -> Estimate:
        resting, _ = resting_on(model, _as_numbered(free, model, view, keypoints))
        fitted = fit_on_plane(resting.model, view.camera, keypoints, settings.table, settings=sight.fit)
        return _near(resting.own(fitted), model, free.quat_wxyz)

    try:
        estimate, off_px = best_numbering(detection, on_face, sight.fit)
    except PoseError:
        return None
    allowed_px = max(sight.plane_px(detection.box_px), free_px + sight.fit.huber_px)
    return witness.sharpened(estimate) if off_px <= allowed_px else None


def _as_numbered(free: Estimate, model: ObjectModel, view: View, keypoints: Keypoints) -> FloatArray:
    """Of all rotations (3, 3) that look like a free fit's, the one in which the keypoints have these numbers."""
    equal = matrix_of(free.quat_wxyz) @ matrix_of(model.symmetries_wxyz)
    pixels = project_or_inf(view.camera, model.keypoints_m @ np.swapaxes(equal, 1, 2) + free.position_m)
    seen = keypoints.confidence > 0
    off_px = np.linalg.norm(pixels[:, seen] - keypoints.pixels[seen], axis=-1)
    return equal[int(np.argmin(np.median(off_px, axis=1)))]


def _measured(
    free: Estimate, detection: Detection, model: ObjectModel, view: View, settings: EstimatorSettings
) -> Estimate:
    """A free fit, its distance from the depth image where there is one that can be used."""
    if view.depth_m is None:
        return free
    try:
        return with_depth(free, model, view.camera, detection.box_px, view.depth_m, settings=settings.depth)
    except PoseError:
        return free  # no depth there, or of something else: as good as without


def _by_box(
    detection: Detection, model: ObjectModel, view: View, settings: EstimatorSettings, near_wxyz: ArrayLike
) -> Estimate:
    try:
        return fit_box(
            model, view.camera, detection.box_px, settings.table, near_wxyz=near_wxyz, settings=settings.sight.fit
        )
    except CameraError as error:
        raise PoseError(f"the box of {model.name} looks past the table: {error}") from error


def _off_px(estimate: Estimate, keypoints: Keypoints, settings: FitSettings) -> float:
    assert estimate.residual_px is not None, "fitted to keypoints"
    confident = max(int((keypoints.confidence >= settings.min_confidence).sum()), 1)
    used = len(estimate.keypoints_used)
    squares = used * estimate.residual_px**2 + (confident - used) * settings.outlier_px**2
    return float(np.sqrt(squares / confident))


def _near(estimate: Estimate, model: ObjectModel, near_wxyz: ArrayLike) -> Estimate:
    return replace(estimate, quat_wxyz=canonicalise(estimate.quat_wxyz, model.symmetries_wxyz, near_wxyz))


def _unsupported(estimate: Estimate, model: ObjectModel, view: View, settings: EstimatorSettings) -> str | None:
    """Why an object in the air cannot be there: in the table, or held by nothing, as far as it is known what holds."""
    sight, table = settings.sight, settings.table
    corners = box_corners(model.half_size_m) @ matrix_of(estimate.quat_wxyz).T + estimate.position_m
    sunk_m = table.height_m - float(corners[:, 2].min())
    if sunk_m > sight.sunk_m:
        return (
            f"{model.name} would reach {sunk_m:.3f} m into the table (limit {sight.sunk_m} m): something smaller on "
            "it, or keypoints that are off"
        )
    if view.tool_in_base is None:
        return None
    if view.gripper.width_m is not None and not view.gripper.grips:
        return (
            f"{model.name} would be off the table, and the hand, {view.gripper.width_m:.3f} m open, has closed on "
            "nothing: something else, or keypoints that are off"
        )
    away_m = gap_m(estimate, model, view.tool_in_base[:3, 3])
    if away_m > sight.hand_m:
        return (
            f"{model.name} would be off the table, {away_m:.3f} m from the tool (limit {sight.hand_m} m): nothing "
            "holds it there; something else, or keypoints that are off"
        )
    return None


def _check_edges(
    estimate: Estimate, model: ObjectModel, view: View, settings: EstimatorSettings, witness: EdgeWitness
) -> None:
    """That what lies away from the hand ends at edges of the image: corners may fit what has none where it should end.

    As many are asked for as where no keypoint speaks for a pose: on pictures without a cube that leaves one of five
    false ones, and costs 3 of 100 right ones. At the hand, which hides edges, nothing is asked, nor where nobody knows
    where the hand is.
    """
    if view.tool_in_base is None or witness.is_at_hand(estimate):
        return
    share, least = witness.share_on_edges(estimate), settings.sight.edges.support_alone
    if share < least:
        raise ImplausibleError(
            f"{share:.2f} of the outline that {model.name} would have is on edges of the image (limit {least}): "
            "something of another shape, or hidden, blurred, or of the table's colour"
        )


def _check_size(detection: Detection, estimate: Estimate, model: ObjectModel, view: View, sight: SightSettings) -> None:
    expected = box_of(estimate, model, view)
    allowed_px = sight.allowed_px(float((expected[2:] - expected[:2]).max()))
    off_px = float(np.abs(detection.box_px - expected).max())
    if off_px > allowed_px:
        raise ImplausibleError(
            f"the box of {model.name} {detection.box_px.round(1).tolist()} px is off by {off_px:.1f} px from that of "
            f"its size and pose {expected.round(1).tolist()} px (limit {allowed_px:.1f} px): another object or size"
        )
