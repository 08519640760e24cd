"""Whether an object is in the gripper: from the fingers closing on it until they open or it is seen elsewhere.

Fingers that close hide what is between them, so the grasp begins when they begin to close, with the object where it was
tracked. It ends when the hand neither closes nor holds any more, or when the detector finds the object somewhere else
several times in a row: then it has slipped out, and is not taken for held again before the hand has opened.
"""

from vlajs_perception.detection.detection import Detection
from vlajs_perception.estimate import Estimate, PoseError
from vlajs_perception.estimator_settings import GraspSettings, View
from vlajs_perception.held import Grasp, fit_held, grasp_of
from vlajs_perception.motion import Motion
from vlajs_perception.objects import ObjectModel
from vlajs_perception.rigid import FloatArray
from vlajs_perception.sight import box_of, gap_m


class Grip:
    """The grasp of one object."""

    def __init__(self, model: ObjectModel, settings: GraspSettings) -> None:
        """Nothing is held."""
        self._model = model
        self._settings = settings
        self.reset()

    def reset(self) -> None:
        """Forget the grasp."""
        self._grasp: Grasp | None = None
        self._slipped = False
        self._contradictions = 0

    @property
    def holds(self) -> bool:
        """Whether the object is in the gripper."""
        return self._grasp is not None

    def update(self, view: View, tracked: Estimate | None) -> None:
        """Begin or end the grasp by what the hand did at the time of an image.

        Args:
            view: the image's moment.
            tracked: the object then; None if it is not known where it is.
        """
        if not view.gripper.holds:
            self.reset()
            return
        if self.holds or self._slipped or tracked is None or view.tool_in_base is None:
            return
        if gap_m(tracked, self._model, view.tool_in_base[:3, 3]) <= self._settings.reach_m:
            self._grasp = grasp_of(tracked, view.tool_in_base, settings=self._settings.held)
            self._contradictions = 0

    def pose(self, tool_in_base: FloatArray, near_wxyz: FloatArray) -> Estimate:
        """Where the held object is with the tool at a pose (4, 4).

        Raises:
            TransformError: the pose is no rigid motion.
        """
        assert self._grasp is not None, "asked only while the object is held"
        return fit_held(self._model, self._grasp, tool_in_base, near_wxyz=near_wxyz, settings=self._settings.held)

    def check(self, held: Estimate, detections: list[Detection], view: View) -> str | None:
        """Compare the held object with what the detector sees.

        Detections of it or of a part of it, or none at all (the fingers hide it), let the grasp be.

        Returns:
            Why the grasp has ended, if it has.
        """
        if not detections:
            return None
        off_m = min(_off_m(held, self._model, detection, view) for detection in detections)
        self._contradictions = self._contradictions + 1 if off_m > self._settings.slip_m else 0
        if self._contradictions < self._settings.slip_images:
            return None
        self._grasp, self._slipped = None, True
        return (
            f"{self._model.name} was seen {off_m:.3f} m from where the gripper would have it (limit "
            f"{self._settings.slip_m} m) in {self._contradictions} images in a row: it slipped or was never held"
        )


def estimate_of(motion: Motion) -> Estimate:
    """A tracked pose as an estimate."""
    covariance = motion.pose_covariance
    return Estimate(
        position_m=motion.position_m,
        quat_wxyz=motion.quat_wxyz,
        covariance=(covariance + covariance.T) / 2,
        source="plane",
    )


def _off_m(held: Estimate, model: ObjectModel, detection: Detection, view: View) -> float:
    """How far the detector's box sticks out of the held object's, at its distance.

    The fingers, and the arm before the camera, hide parts of what they hold: a box that ends inside says nothing.
    """
    try:
        left, top, right, bottom = detection.box_px - box_of(held, model, view)
        off_px = float(max(-left, -top, right, bottom))
    except PoseError:
        return float("inf")
    camera = view.camera
    depth_m = float((held.position_m - camera.position_in_base_m) @ camera.camera_in_base[:3, 2])
    return off_px * depth_m / float(camera.matrix[0, 0])
