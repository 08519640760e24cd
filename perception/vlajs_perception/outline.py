"""Points along those edges of a box that a camera sees, from its pose."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vlajs_perception.camera import Camera
from vlajs_perception.objects import ObjectModel, box_corners
from vlajs_perception.refine import project_or_inf, project_with_jacobian
from vlajs_perception.rigid import FloatArray

MAX_PER_EDGE = 40
_ENDS = 0.06
"""Share of an edge that is left out at either end: where edges meet, neither runs alone."""
_SHORTEST_PX = 1e-3
"""Length of an edge in the image below which it has no direction."""


@dataclass(frozen=True, kw_only=True)
class Outline:
    """Points on the edges of an object.

    Attributes:
        points_m: shape (n, 3), in the object's frame.
        pixels: shape (n, 2), where the camera has them.
        normals: shape (n, 2), at right angles to the edge in the image, unit length.
        jacobian: shape (n, 6), change of the pixel along its normal by a step of the pose, position (m) and rotation
            vector (rad) in the base's axes.
        outer: shape (n,) of bool, whether one of the edge's two faces is hidden: there the object ends, and what is
            behind it begins.
    """

    points_m: FloatArray
    pixels: FloatArray
    normals: FloatArray
    jacobian: FloatArray
    outer: NDArray[np.bool_]

    def of(self, which: NDArray[np.bool_]) -> "Outline":
        """Those points alone for which ``which``, shape (n,), holds."""
        return Outline(
            points_m=self.points_m[which],
            pixels=self.pixels[which],
            normals=self.normals[which],
            jacobian=self.jacobian[which],
            outer=self.outer[which],
        )


def outline_of(
    model: ObjectModel, camera: Camera, position_m: FloatArray, rotation: FloatArray, spacing_px: float
) -> Outline | None:
    """Points on the edges of which at least one face is to be seen; None if the box reaches behind the camera.

    What stands before the box is not known here: a point may be hidden by something else, or lie outside the image.

    Args:
        model: the object, taken as the box around it.
        camera: the camera.
        position_m: shape (3,), of the object in the base.
        rotation: shape (3, 3), object to base.
        spacing_px: between points; an edge has at least two and at most ``MAX_PER_EDGE``.
    """
    corners = box_corners(model.half_size_m)
    pixels = project_or_inf(camera, corners @ rotation.T + position_m)
    if not np.all(np.isfinite(pixels)):
        return None
    seen = _faces_seen(model, camera, position_m, rotation)[_FACES]
    edges = np.flatnonzero(seen.any(axis=1))
    first, last = corners[_FIRST[edges]], corners[_LAST[edges]]
    length_px = np.linalg.norm(pixels[_LAST[edges]] - pixels[_FIRST[edges]], axis=1)
    counts = np.clip((length_px / spacing_px).astype(int), 2, MAX_PER_EDGE)
    edge = np.repeat(np.arange(len(edges)), counts)
    number = np.arange(len(edge)) - np.repeat(np.cumsum(counts) - counts, counts)
    share = _ENDS + (1 - 2 * _ENDS) * (number + 0.5) / counts[edge]
    points_m = first[edge] + share[:, None] * (last - first)[edge]
    outer = ~np.all(seen[edges], axis=1)[edge]
    return _in_image(camera, position_m, rotation, points_m, (last - first)[edge], outer)


def _in_image(
    camera: Camera,
    position_m: FloatArray,
    rotation: FloatArray,
    points_m: FloatArray,
    along: FloatArray,
    outer: NDArray[np.bool_],
) -> Outline | None:
    """The outline, without points at which an edge runs straight away from the camera and has no direction."""
    projected = project_with_jacobian(camera, points_m, position_m, rotation)
    if projected is None:
        return None
    pixels, jacobian = projected
    # a point that moves along its edge is a step in position
    tangents = (jacobian[:, :, :3] @ (along @ rotation.T)[:, :, None])[..., 0]
    length_px = np.linalg.norm(tangents, axis=1)
    runs = length_px > _SHORTEST_PX
    normals = np.stack([-tangents[:, 1], tangents[:, 0]], axis=-1) / np.maximum(length_px, _SHORTEST_PX)[:, None]
    outline = Outline(
        points_m=points_m,
        pixels=pixels,
        normals=normals,
        jacobian=(normals[:, :, None] * jacobian).sum(axis=1),
        outer=outer,
    )
    return outline if runs.all() else outline.of(runs)


def _faces_seen(model: ObjectModel, camera: Camera, position_m: FloatArray, rotation: FloatArray) -> NDArray[np.bool_]:
    """Whether the camera is before each face, shape (6,): -x, +x, -y, +y, -z, +z."""
    camera_in_object = (camera.position_in_base_m - position_m) @ rotation
    return np.stack([-camera_in_object, camera_in_object], axis=-1).ravel() > np.repeat(model.half_size_m, 2)


def _edges() -> tuple[NDArray[np.int_], NDArray[np.int_], NDArray[np.int_]]:
    """The twelve edges: the corners at their ends, shape (12,) each, and the two faces that meet there, (12, 2).

    Corners are counted as in ``box_corners``, faces as in ``_faces_seen``.
    """
    edges = []
    for axis in range(3):
        bit = 4 >> axis
        for corner in range(8):
            if not corner & bit:
                faces = [2 * other + bool(corner & (4 >> other)) for other in range(3) if other != axis]
                edges.append((corner, corner | bit, *faces))
    first, last, *faces = np.array(edges).T
    return first, last, np.stack(faces, axis=-1)


_FIRST, _LAST, _FACES = _edges()
