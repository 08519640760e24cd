"""Whether an object is in the gripper: from the fingers closing on it until they open or it is seen elsewhere.

Fingers that close hide what is between them, so from then on the object is where they leave it (see ``closing``). That
ends when they come apart, when they come together further than the object is wide, or when the detector finds it
somewhere else several times in a row: then it has slipped out, and is not taken for held before the hand has opened.
"""

from collections.abc import Sequence
from dataclasses import replace

from vlajs_perception.closing import InHand, follow, may_hold
from vlajs_perception.detection.detection import Detection
from vlajs_perception.estimate import Estimate, PoseError
from vlajs_perception.estimator_settings import EstimatorSettings, View
from vlajs_perception.motion import Motion
from vlajs_perception.objects import ObjectModel
from vlajs_perception.rigid import FloatArray
from vlajs_perception.sight import box_of, gap_m
from vlajs_perception.symmetry import canonicalise
from vlajs_perception.tool_history import HandMoment, ToolHistory


class Grip:
    """What the hand does to one object."""

    def __init__(self, model: ObjectModel, settings: EstimatorSettings) -> None:
        """The hand is open."""
        self._model = model
        self._settings = settings
        self.reset()

    def reset(self) -> None:
        """Forget the object in the hand."""
        self._in_hand: InHand | None = None
        self._stamp_ns = 0
        self._slipped = False
        self._contradictions = 0

    @property
    def holds(self) -> bool:
        """Whether the object is between closing fingers, or held."""
        return self._in_hand is not None

    def update(self, view: View, tracked: Estimate | None, hand: ToolHistory | None, since_ns: int) -> Estimate | None:
        """Go on to the time of an image: by what the hand did until then the object is in it or not.

        Args:
            view: the image's moment.
            tracked: the object then, if no hand has touched it; None if it is not known where it is.
            hand: tool and fingers since the image before; None if only the image's moment is known.
            since_ns: when the object was seen last.

        Returns:
            Where the object is if the hand has let go of it since; None else.
        """
        if view.tool_in_base is None:
            self.reset()
            return None
        if not view.gripper.grips:
            self._slipped = False
        moment = HandMoment(tool_in_base=view.tool_in_base, gripper=view.gripper)
        moments = [moment] if hand is None else hand.moments(self._stamp_ns if self.holds else since_ns, view.stamp_ns)
        now = self._followed(tracked, moments)
        if now is not None and (now.grasp is not None or self._hidden(now, moment)):
            self._in_hand, self._stamp_ns = now, view.stamp_ns
            return None
        self._in_hand, self._contradictions = None, 0
        return now.pose if now is not None and now.dropped else None

    def pose(self, near_wxyz: FloatArray) -> Estimate:
        """Where the object in the hand was at the last image.

        Args:
            near_wxyz: the track's orientation, whose branch is taken.
        """
        assert self._in_hand is not None, "asked only while the object is held"
        return self._near(self._in_hand, near_wxyz)

    def pose_at(self, stamp_ns: int, tracked: Estimate, hand: ToolHistory, since_ns: int) -> Estimate:
        """Where the object is some time after the last image, by what the hand did since.

        Args:
            stamp_ns: the time.
            tracked: the object then, if no hand has touched it.
            hand: tool and fingers since the last image.
            since_ns: when the object was seen last.
        """
        now = self._followed(tracked, hand.moments(self._stamp_ns if self.holds else since_ns, stamp_ns))
        return tracked if now is None else self._near(now, tracked.quat_wxyz)

    def _followed(self, tracked: Estimate | None, moments: Sequence[HandMoment]) -> InHand | None:
        if self._in_hand is None and (tracked is None or self._slipped):
            return None
        begun = self._in_hand
        if begun is None:
            assert tracked is not None, "checked above"
            begun = InHand(pose=tracked)
        return follow(begun, self._model, moments, self._settings)

    def _hidden(self, now: InHand, moment: HandMoment) -> bool:
        """Whether fingers close around it: from then on what is seen of it is not to be trusted."""
        near = gap_m(now.pose, self._model, moment.tool_in_base[:3, 3]) <= self._settings.grasp.reach_m
        return near and moment.gripper.grips and may_hold(now.pose, self._model, moment, self._settings.grasp)

    def _near(self, now: InHand, near_wxyz: FloatArray) -> Estimate:
        quat_wxyz = canonicalise(now.pose.quat_wxyz, self._model.symmetries_wxyz, near_wxyz)
        return replace(now.pose, quat_wxyz=quat_wxyz)

    def check(self, held: Estimate, detections: list[Detection], view: View) -> str | None:
        """Compare the held object with what the detector sees.

        Detections of it or of a part of it, or none at all (the fingers hide it), let it be.

        Returns:
            Why it is no longer in the hand, if so.
        """
        if not detections:
            return None
        off_m = min(_off_m(held, self._model, detection, view) for detection in detections)
        self._contradictions = self._contradictions + 1 if off_m > self._settings.grasp.slip_m else 0
        if self._contradictions < self._settings.grasp.slip_images:
            return None
        self._in_hand, self._slipped = None, True
        return (
            f"{self._model.name} was seen {off_m:.3f} m from where the gripper would have it (limit "
            f"{self._settings.grasp.slip_m} m) in {self._contradictions} images in a row: it slipped or was never held"
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
