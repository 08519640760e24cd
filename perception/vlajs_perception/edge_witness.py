"""What the edges of an image, around one detection, say for or against poses of its object."""

from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike

from vlajs_perception.camera import CameraError
from vlajs_perception.detection.detection import Detection
from vlajs_perception.edge_fit import Support, sharpen, support_of
from vlajs_perception.edge_image import EdgeImage
from vlajs_perception.edge_search import find_on_table
from vlajs_perception.estimate import Estimate, PoseError
from vlajs_perception.estimator_settings import EstimatorSettings, View
from vlajs_perception.objects import ObjectModel
from vlajs_perception.rigid import matrix_of

IN_AIR_RANK = 0.1
"""By how much better edges must support a pose in the air, which has three more ways to suit them, than one on the
table."""


class EdgeWitness:
    """Edges around a detection; without an image, one that says nothing: poses stay as they are and none is doubted."""

    def __init__(self, detection: Detection, model: ObjectModel, view: View, settings: EstimatorSettings) -> None:
        """Cut out and smooth what is around the detection's box."""
        self._detection, self._model, self._view, self._settings = detection, model, view, settings
        self._edges = settings.sight.edges
        size_px = float((detection.box_px[2:] - detection.box_px[:2]).max())
        self._max_off_px = settings.sight.allowed_px(size_px)
        around_px = int(self._max_off_px) + 2 * max(self._edges.start_reaches_px)
        self._image = None
        if view.image_rgb is not None:
            self._image = EdgeImage(view.image_rgb, detection.box_px, around_px=around_px, blur_px=self._edges.blur_px)

    @cached_property
    def at_hand(self) -> bool:
        """Whether the middle of what is in the box would be within ``touch_m`` of the tool's.

        A hand hides edges of what it is about to take and has its own: they say little there.
        """
        view, settings = self._view, self._settings
        if view.tool_in_base is None:
            return False
        height_m = settings.table.height_m + float(self._model.half_size_m[2])
        try:
            middle_m = view.camera.on_plane(self._detection.box_px.reshape(2, 2).mean(axis=0), height_m)
        except CameraError:
            return False
        return bool(np.linalg.norm(middle_m - view.tool_in_base[:3, 3]) <= settings.touch_m)

    def is_at_hand(self, pose: Estimate) -> bool:
        """Whether the tool is at an object that lies so, somewhere along its length."""
        tool = self._view.tool_in_base
        if self.at_hand or tool is None:
            return self.at_hand
        core_m = self._model.half_size_m - self._model.half_size_m.min()
        in_object = (tool[:3, 3] - pose.position_m) @ matrix_of(pose.quat_wxyz)
        return float(np.linalg.norm(np.maximum(np.abs(in_object) - core_m, 0.0))) <= self._settings.touch_m

    def sharpened(self, pose: Estimate) -> Estimate:
        """A pose moved to the edges, see ``edge_fit.sharpen``; one of a box alone is too far off for that."""
        if self._image is None or pose.source == "box":
            return pose
        return sharpen(pose, self._model, self._view.camera, self._image, self._settings.table, self._edges)

    def is_sure_of(self, lying: Estimate) -> bool:
        """Whether edges leave no doubt that an object lies so."""
        return self.share_on_edges(lying) >= self._edges.support_alone

    def share_on_edges(self, pose: Estimate) -> float:
        """How much of the outline that an object would have is on edges; all of it where there is no image."""
        return 1.0 if self._image is None else self._support(self._image, pose).share

    def says_in_air(self, free: Estimate, lying: Estimate) -> bool:
        """Whether edges speak for a pose in the air, and much more than for one on the table.

        In the air an object looks nearly like one on the table that is nearer to the camera: its corners may fit both.

        Args:
            free: a free fit, sharpened.
            lying: a fit on the table, sharpened.
        """
        if self._image is None:
            return False
        in_air, on_table = self._support(self._image, free), self._support(self._image, lying)
        return in_air.share >= self._edges.support_alone and in_air.rank > on_table.rank + IN_AIR_RANK

    def lying(self, near_wxyz: ArrayLike) -> Estimate | None:
        """The pose on the table that the box and the edges ask for, see ``edge_search``; None if they ask for none.

        At the hand it is not looked for.

        Args:
            near_wxyz: shape (4,), the track's orientation, whose branch is taken.
        """
        if self._image is None or self.at_hand:
            return None
        view = self._view
        try:
            return find_on_table(
                self._model,
                view.camera,
                self._detection.box_px,
                self._image,
                view.image_size_px,
                self._settings.table,
                max_off_px=self._max_off_px,
                near_wxyz=near_wxyz,
                settings=self._edges,
            )
        except PoseError:
            return None

    def _support(self, image: EdgeImage, pose: Estimate) -> Support:
        return support_of(pose, self._model, self._view.camera, image, self._edges)
