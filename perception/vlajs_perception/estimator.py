"""From detections to the poses of the objects one cares about, image after image: what runs behind the camera.

For each image give ``PoseEstimator.observe`` what the detector said, and ask ``PoseEstimator.at`` at any later time.
Which fit is used for a single view is in ``sight``, when an object counts as held in ``grip``, how images are joined
over time in ``tracker``.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from vlajs_perception.detection.detection import Detection
from vlajs_perception.estimate import Estimate, PoseError
from vlajs_perception.estimator_settings import EstimatorSettings, Target, View
from vlajs_perception.grip import Grip, estimate_of
from vlajs_perception.motion import Motion, distance_squared
from vlajs_perception.pose_fit import NO_TURN
from vlajs_perception.pushing import pushed_along
from vlajs_perception.sight import ImplausibleError, gap_m, see
from vlajs_perception.tool_history import ToolHistory
from vlajs_perception.tracker import Status, Track, Tracker


@dataclass(frozen=True, kw_only=True)
class Report:
    """One object at one time.

    Attributes:
        name: of the object.
        status: absent, tracking, coasting or lost.
        pose: in ``panda_link0``, None where it is not known well enough to act on.
        held: whether it is in the gripper.
        last_seen_ns: stamp of the last image that told of it; None if none did.
        reason: why there is no pose, or why the last image told nothing; empty if all is well.
    """

    name: str
    status: Status
    pose: Estimate | None
    held: bool
    last_seen_ns: int | None
    reason: str


class PoseEstimator:
    """Tracks some objects. Stamps are the images' and only go forward."""

    def __init__(self, targets: Sequence[Target], settings: EstimatorSettings | None = None) -> None:
        """An estimator that has seen nothing.

        Raises:
            ValueError: no object, two of one name, or two of one class, which nothing could tell apart.
        """
        for what in ("name", "detected_as"):
            values = [getattr(target, what) for target in targets]
            if not values or len(set(values)) < len(values):
                raise ValueError(
                    f"the objects' {what} are {values}: at least one, and no two alike: two objects of one class "
                    "cannot be told apart"
                )
        settings = settings or EstimatorSettings()
        self._objects = {target.name: _Object(target, settings) for target in targets}

    @property
    def names(self) -> tuple[str, ...]:
        """The objects that are reported."""
        return tuple(self._objects)

    @property
    def refusals(self) -> Counter[str]:
        """How many detections were not believed since the start, by object and kind of reason."""
        return sum((tracked.refusals for tracked in self._objects.values()), Counter())

    def reset(self) -> None:
        """Forget all tracks: after a clock that jumped."""
        for tracked in self._objects.values():
            tracked.reset()

    def observe(self, view: View, hand: ToolHistory | None = None) -> None:
        """Take in what a detector said of an image.

        Args:
            view: the image's moment.
            hand: tool and fingers since the image before; None if only the image's moment is known.

        Raises:
            TrackerError: a stamp that is not later than that of the image before.
        """
        for tracked in self._objects.values():
            tracked.observe(view, hand)

    def at(self, stamp_ns: int, hand: ToolHistory | None = None) -> list[Report]:
        """Where the objects are at a time not before the last image.

        Args:
            stamp_ns: the time; usually now.
            hand: tool and fingers since the last image: what is between closing fingers or held goes with them, what
                they let go of lies on the table, what closed ones meet is pushed. Without it the motion of the last
                images is continued.

        Raises:
            TrackerError: a time before the last image.
        """
        return [tracked.at(stamp_ns, hand) for tracked in self._objects.values()]


class _Object:
    """One object: its track, its grasp, what was refused."""

    def __init__(self, target: Target, settings: EstimatorSettings) -> None:
        self._target = target
        self._settings = settings
        self._tracker = Tracker(target.model.symmetries_wxyz, settings.tracker)
        self._grip = Grip(target.model, settings)
        self.refusals: Counter[str] = Counter()
        self.reset()

    def reset(self) -> None:
        self._tracker.reset()
        self._grip.reset()
        self._last_seen_ns: int | None = None
        self._reason = "not seen yet"
        self._too_vague = ""
        self._touched = True

    def observe(self, view: View, hand: ToolHistory | None) -> None:
        found = [item for item in view.detections if item.name == self._target.detected_as]
        found = found[: self._settings.sight.max_detections]
        track = self._tracker.at(view.stamp_ns)
        before = track.motion
        untouched = None if before is None else estimate_of(self._predicted(track, before))
        dropped = self._grip.update(view, untouched, hand, track.last_seen_ns or view.stamp_ns)
        if dropped is not None:
            self._tracker.restart(dropped, view.stamp_ns)
            before = self._tracker.at(view.stamp_ns).motion
        if self._grip.holds:
            self._observe_held(view, found, before)
        else:
            self._observe_free(view, found, before)
        self._too_vague = self._vagueness(view.stamp_ns)
        self._touched = self._may_be_touched(view)

    def at(self, stamp_ns: int, hand: ToolHistory | None) -> Report:
        track = self._tracker.at(stamp_ns)
        # a track that was given up is lost, not an object that never was
        given_up = track.status is Status.ABSENT and self._last_seen_ns is not None
        pose, reason = None, self._reason
        if track.motion is not None:
            # what the hand has is where the tool is: without that nobody knows
            astray = self._grip.holds and hand is not None and hand.tool_at(stamp_ns) is None
            reason = "it is in the hand, and where the tool is is not known" if astray else self._too_vague or reason
            pose = None if astray or self._too_vague else self._pose(track, track.motion, hand)
        return Report(
            name=self._target.name,
            status=Status.LOST if given_up else track.status,
            pose=pose,
            held=self._grip.holds,
            last_seen_ns=self._last_seen_ns,
            reason=reason,
        )

    def _pose(self, track: Track, motion: Motion, hand: ToolHistory | None) -> Estimate:
        """As the hand has left it where it is in its way, else from the track."""
        assert track.last_seen_ns is not None, "tracked"
        pose = estimate_of(self._predicted(track, motion))
        if hand is None:
            return pose
        gripper = hand.gripper_at(track.stamp_ns)
        if self._grip.holds or gripper.grips:
            return self._grip.pose_at(track.stamp_ns, pose, hand, track.last_seen_ns)
        if not gripper.closed:
            return pose
        path_m = hand.path_m(track.last_seen_ns, track.stamp_ns)
        return pushed_along(pose, self._target.model, path_m, self._settings.finger_m)

    def _predicted(self, track: Track, motion: Motion) -> Motion:
        """The track's motion, but for what noise of the last images would make of it.

        An object that hardly moved when it was last seen, or that nothing touches, is where it was then. One that moved
        goes on for as long as a track counts as seen; then nobody knows, and things that nobody pushes stop.
        """
        settings = self._settings
        assert track.last_seen_ns is not None, "tracked"
        moving = np.linalg.norm(motion.velocity_m_s) > settings.rest_speed_m_s
        turning = np.linalg.norm(motion.angular_velocity_rad_s) > settings.rest_spin_rad_s
        if not (self._touched and (moving or turning)):
            seen = self._tracker.at(track.last_seen_ns).motion
            assert seen is not None, "tracked"
            return _aged(seen, (track.stamp_ns - track.last_seen_ns) * 1e-9 * settings.rest_drift_m_s)
        limit_ns = track.last_seen_ns + int(settings.tracker.fresh_s * 1e9)
        there = self._tracker.at(min(track.stamp_ns, limit_ns)).motion
        assert there is not None, "not older than the track"
        return replace(there, covariance=motion.covariance)

    def _may_be_touched(self, view: View) -> bool:
        """Whether the hand is near enough to move the object; so taken where that is not known."""
        motion = self._tracker.at(view.stamp_ns).motion
        if motion is None or view.tool_in_base is None:
            return True
        near_m = gap_m(estimate_of(motion), self._target.model, view.tool_in_base[:3, 3])
        return self._grip.holds or near_m <= self._settings.touch_m

    def _observe_held(self, view: View, found: list[Detection], before: Motion | None) -> None:
        held = self._grip.pose(np.array(NO_TURN) if before is None else before.quat_wxyz)
        slipped = self._grip.check(held, found, view)
        if slipped:
            self._count("slipped", slipped)
            self._tracker.reset()
            self._observe_free(view, found, None)
        else:
            self._tracker.restart(held, view.stamp_ns)  # however far it went since the last image
            self._last_seen_ns, self._reason = view.stamp_ns, ""

    def _observe_free(self, view: View, found: list[Detection], before: Motion | None) -> None:
        if not found:
            self._reason = "the detector does not see it"
            return
        near_wxyz = NO_TURN if before is None else before.quat_wxyz
        first: Estimate | None = None
        for detection in found:
            try:
                estimate = see(detection, self._target.model, view, self._settings, near_wxyz=near_wxyz)
            except ImplausibleError as error:
                self._count("implausible", str(error))
                continue
            except PoseError as error:
                self._count("no fit", str(error))
                continue
            if before is None or self._is_near(estimate, before):
                self._track(estimate, view.stamp_ns)
                return
            first = first or estimate
        if first is not None:  # none is where the track is: the one of the best score
            self._track(first, view.stamp_ns)

    def _is_near(self, estimate: Estimate, before: Motion) -> bool:
        return distance_squared(before, self._as_tracked(estimate, before)) <= self._tracker.gate

    def _as_tracked(self, estimate: Estimate, before: Motion) -> Estimate:
        """The fits have taken the branch nearest the track; a box says no yaw."""
        return replace(estimate, quat_wxyz=before.quat_wxyz) if estimate.source == "box" else estimate

    def _track(self, measured: Estimate, stamp_ns: int) -> None:
        if self._tracker.observe(measured, stamp_ns):
            self._last_seen_ns, self._reason = stamp_ns, ""
        else:
            self._count("not confirmed", "seen, but not yet where it was expected several times in a row")

    def _vagueness(self, stamp_ns: int) -> str:
        """Why the track is not known well enough, as of the last image that told of it."""
        if self._last_seen_ns != stamp_ns:
            return self._too_vague  # nothing new
        motion, settings = self._tracker.at(stamp_ns).motion, self._settings
        if motion is None:
            return ""
        known = estimate_of(motion)
        if known.position_std_m > settings.max_position_std_m:
            return f"known to {known.position_std_m:.3f} m only (limit {settings.max_position_std_m} m)"
        if known.rotation_std_rad > settings.max_rotation_std_rad:
            return f"its turn is known to {known.rotation_std_rad:.2f} rad only (limit {settings.max_rotation_std_rad})"
        return ""

    def _count(self, kind: str, reason: str) -> None:
        self.refusals[f"{self._target.name}: {kind}"] += 1
        self._reason = reason


def _aged(motion: Motion, std_m: float) -> Motion:
    """The same pose, known worse by ``std_m`` in each axis and as many radians per 0.1 m."""
    covariance = motion.covariance.copy()
    covariance[:6, :6] += np.diag([std_m**2] * 3 + [(std_m / 0.1) ** 2] * 3)
    return replace(motion, covariance=covariance)
