"""From a pose that is nearly right to one whose outline lies on edges of the image.

A network says where corners are to a few pixels, and only of what it was trained on. Edges of an object whose size is
known are found to a fraction of a pixel, whatever it looks like: along the outline that the pose has in the image the
nearest steep place is looked for to both sides, and the pose moves to where most of them are (RAPID: Harris and
Stennett, 1990). The pose to begin with stays as a prior: where few edges are found it is hardly moved.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from vlajs_perception.camera import Camera
from vlajs_perception.edge_image import EdgeImage
from vlajs_perception.estimate import Estimate
from vlajs_perception.fit_settings import EdgeSettings, Table
from vlajs_perception.objects import ObjectModel
from vlajs_perception.outline import outline_of
from vlajs_perception.rigid import FloatArray, exp, log, matrix_of, quat_of
from vlajs_perception.symmetry import canonicalise
from vlajs_perception.table_covariance import FREE, HELD, with_table

SUPPORT_REACH_PX = 4
OFF_PER_PX = 0.1
"""An outline that is off its edges by a pixel on average ranks as if a tenth less of it were on edges."""


@dataclass(frozen=True, kw_only=True)
class Support:
    """How well edges of an image support a pose.

    Attributes:
        share: of the points of the outline where the object ends, those that lie on an edge.
        off_px: how far the edge is from these, on average.
    """

    share: float
    off_px: float

    @property
    def rank(self) -> float:
        """Of poses that are supported alike, the one that is nearer to the edges is better."""
        return self.share - OFF_PER_PX * self.off_px


@dataclass(frozen=True, kw_only=True)
class _Found:
    """The edges along an outline.

    Attributes:
        offsets_px: shape (n,), from the outline, along its normals.
        jacobian: shape (n, 6), see ``Outline``.
        weights: shape (n,), one over variance (1 / px^2).
    """

    offsets_px: FloatArray
    jacobian: FloatArray
    weights: FloatArray


def fit_edges(
    start: Estimate,
    model: ObjectModel,
    camera: Camera,
    image: EdgeImage,
    table: Table,
    *,
    prior: FloatArray,
    reaches_px: Sequence[int],
    settings: EdgeSettings,
) -> Estimate | None:
    """The pose near a given one whose outline lies on edges of the image; None if none of it is in the image.

    Args:
        start: to begin with; of source ``free`` all six are moved, else x, y and yaw.
        model: the object, taken as the box around it.
        camera: the camera.
        image: of that camera.
        table: what the object lies on, unless ``free``.
        prior: information (inverse covariance) of the start in what is moved, shape (3, 3) or (6, 6).
        reaches_px: how far to look, step by step.
        settings: which edges count how much.
    """
    free = list(range(6)) if start.source == "free" else list(FREE)
    start_rotation = matrix_of(start.quat_wxyz)
    position_m, rotation = start.position_m, start_rotation
    found, information = None, prior
    for reach_px in reaches_px:
        found = _found_at(model, camera, image, position_m, rotation, reach_px, settings)
        if found is None:
            return None
        jacobian = found.jacobian[:, free]
        weighted = jacobian * found.weights[:, None]
        information = weighted.T @ jacobian + prior
        moved = np.concatenate([position_m - start.position_m, log(rotation @ start_rotation.T)])[free]
        step = np.zeros(6)
        step[free] = np.linalg.solve(information, weighted.T @ found.offsets_px - prior @ moved)
        position_m, rotation = position_m + step[:3], exp(step[3:]) @ rotation
    assert found is not None, "at least one reach"
    covariance: FloatArray = np.asarray(np.linalg.inv(information), dtype=np.float64)
    if start.source != "free":
        # an error in the assumed z, roll, pitch moves the outline, and x, y, yaw move it back
        weighted = found.jacobian[:, free] * found.weights[:, None]
        by_table = -np.linalg.solve(information, weighted.T @ found.jacobian[:, list(HELD)])
        covariance = with_table(covariance, np.asarray(by_table, dtype=np.float64), table)
    return replace(
        start,
        position_m=position_m,
        quat_wxyz=canonicalise(quat_of(rotation), model.symmetries_wxyz, start.quat_wxyz),
        covariance=(covariance + covariance.T) / 2,
    )


def sharpen(
    seen: Estimate, model: ObjectModel, camera: Camera, image: EdgeImage, table: Table, settings: EdgeSettings
) -> Estimate:
    """A pose from keypoints moved to the edges of the image; as it was where too few of them support that.

    Args:
        seen: of source ``plane`` or ``free``.
        model: the object, taken as the box around it.
        camera: the camera.
        image: of that camera.
        table: what the object lies on, unless ``free``.
        settings: which edges count how much, and how many there must be.
    """
    free = list(range(6)) if seen.source == "free" else list(FREE)
    certain = np.asarray(np.linalg.inv(seen.covariance[np.ix_(free, free)]), dtype=np.float64)
    sharpened = fit_edges(
        seen,
        model,
        camera,
        image,
        table,
        prior=settings.prior_share * certain,
        reaches_px=settings.reaches_px,
        settings=settings,
    )
    if sharpened is None or support_of(sharpened, model, camera, image, settings).share < settings.support:
        return seen
    return sharpened


def support_of(pose: Estimate, model: ObjectModel, camera: Camera, image: EdgeImage, settings: EdgeSettings) -> Support:
    """How much of where an object ends, as far as it is in the image, lies on edges of it."""
    outline = outline_of(model, camera, pose.position_m, matrix_of(pose.quat_wxyz), settings.spacing_px)
    if outline is None:
        return Support(share=0.0, off_px=0.0)
    ends = outline.of(image.holds(outline.pixels) & outline.outer)
    if len(ends.pixels) == 0:
        return Support(share=0.0, off_px=0.0)
    offsets_px, steepness = image.edges_near(ends.pixels, ends.normals, SUPPORT_REACH_PX)
    on_edge = (np.abs(offsets_px) <= settings.on_edge_px) & (steepness >= settings.min_steepness)
    off_px = float(np.abs(offsets_px[on_edge]).mean()) if on_edge.any() else 0.0
    return Support(share=float(on_edge.mean()), off_px=off_px)


def _found_at(
    model: ObjectModel,
    camera: Camera,
    image: EdgeImage,
    position_m: FloatArray,
    rotation: FloatArray,
    reach_px: int,
    settings: EdgeSettings,
) -> _Found | None:
    outline = outline_of(model, camera, position_m, rotation, settings.spacing_px)
    if outline is None:
        return None
    inside = image.holds(outline.pixels)
    if not inside.all():
        outline = outline.of(inside)
    if len(outline.pixels) == 0:
        return None
    offsets_px, steepness = image.edges_near(outline.pixels, outline.normals, reach_px)
    # Tukey's weight: the further off, the less it is this edge
    weights = (1 - (offsets_px / (reach_px + 1)) ** 2) ** 2
    weights *= np.minimum(steepness / settings.full_steepness, 1.0) * (steepness >= settings.min_steepness)
    weights *= np.where(outline.outer, 1.0, settings.inner_weight) / settings.point_std_px**2
    return _Found(offsets_px=offsets_px, jacobian=outline.jacobian, weights=weights)
