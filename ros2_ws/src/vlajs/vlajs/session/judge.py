"""Success and failure of one trial, from ground truth, in robot time."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from vlajs.geometry import FloatArray, Pose
from vlajs.session.records import Outcome, SessionError
from vlajs.tasks import SceneState, Task

LOST_BELOW_M = -0.05
"""An object whose centre is this far under the table's surface (z = 0) has left the table."""

HARDLY_MOVED_M = 0.01
LIFTED_M = 0.02
TIME_TOLERANCE_S = 1e-6


@dataclass(frozen=True, kw_only=True)
class GroundTruth:
    """One instant of the scene in ``panda_link0``.

    Attributes:
        time_s: robot time.
        objects: true pose of every object of the task.
        joint_velocities_rad_s: shape (7,).
        tool_m: measured tool position, shape (3,); None where it was not measured.
    """

    time_s: float
    objects: dict[str, Pose]
    joint_velocities_rad_s: FloatArray
    tool_m: FloatArray | None = None


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """How a trial ended; fields as in :class:`vlajs.session.records.TrialResult`."""

    success: bool
    outcome: Outcome
    reason: str
    duration_s: float
    time_to_success_s: float | None
    final_distance_m: float | None
    closest_m: float | None
    judged_by: Literal["ground truth", "operator"]


class TrialJudge:
    """Follows one trial sample by sample. Success counts once, at the first sample that meets the task's criterion."""

    def __init__(self, task: Task, goal_m: FloatArray, start_s: float, horizon_s: float) -> None:
        """``start_s``: robot time of the policy's first action; samples outside the horizon do not count."""
        self._task = task
        self._goal_m = goal_m
        self._start_s = start_s
        self._horizon_s = horizon_s
        self._first: GroundTruth | None = None
        self._distance_m: float | None = None
        self._closest: tuple[float, float] | None = None
        self._highest_m = -np.inf
        self._travelled_m = 0.0

    @property
    def distance_m(self) -> float | None:
        """Object to goal at the last sample that counted."""
        return self._distance_m

    def observe(self, sample: GroundTruth) -> Verdict | None:
        """Take a sample in; a verdict when it decides the trial.

        Raises:
            SessionError: a pose or velocity is no number that could be judged.
        """
        elapsed_s = sample.time_s - self._start_s
        if not -TIME_TOLERANCE_S <= elapsed_s <= self._horizon_s + TIME_TOLERANCE_S:
            return None
        for name, pose in sample.objects.items():
            if not pose.is_finite():
                raise SessionError(
                    f"the {name} is at {pose.position_m} m, wxyz {pose.quat_wxyz}, which is no pose: has the twin "
                    "diverged, or the pose estimator failed? Start it anew"
                )
        if not np.all(np.isfinite(sample.joint_velocities_rad_s)):
            raise SessionError(
                f"joint velocities are not finite: {sample.joint_velocities_rad_s} rad/s: start the bridge anew"
            )
        state = SceneState(
            objects=sample.objects,
            goal_m=self._goal_m,
            joint_velocities_rad_s=sample.joint_velocities_rad_s,
            tool_m=sample.tool_m,
        )
        self._follow(sample, elapsed_s, self._task.goal_distance(state))
        # before success: a cube that fell past the edge may be under the goal
        for name, pose in sample.objects.items():
            if pose.position_m[2] < LOST_BELOW_M:
                reason = f"the {name} left the table after {elapsed_s:.1f} s (z = {pose.position_m[2]:.3f} m)"
                return self._verdict("object_lost", reason, elapsed_s)
        if self._task.succeeded(state):
            return self._verdict("success", f"success after {elapsed_s:.2f} s", elapsed_s, success=True)
        return None

    def time_limit(self) -> Verdict:
        """The horizon passed without success."""
        reason = f"time limit of {self._horizon_s:.1f} s{self._progress()}"
        return self._verdict("time_limit", reason, self._horizon_s)

    def failure(self, outcome: Outcome, cause: str, time_s: float) -> Verdict:
        """Something ended the trial early at robot time ``time_s``."""
        elapsed_s = max(0.0, time_s - self._start_s)
        return self._verdict(outcome, f"{cause} (after {elapsed_s:.1f} s{self._progress()})", elapsed_s)

    def operator_says(self, success: bool, reason: str, time_s: float, pressed: bool) -> Verdict:
        """The operator of a real arm judged; ``pressed``: they marked the moment, so it is timed."""
        elapsed_s = min(max(0.0, time_s - self._start_s), self._horizon_s)
        return Verdict(
            success=success,
            outcome="success" if success else "operator",
            reason=reason,
            duration_s=elapsed_s,
            time_to_success_s=elapsed_s if success and pressed else None,
            final_distance_m=self._distance_m,
            closest_m=self._closest[0] if self._closest else None,
            judged_by="operator",
        )

    def _follow(self, sample: GroundTruth, elapsed_s: float, distance_m: float) -> None:
        if self._first is None:
            self._first = sample
        self._distance_m = distance_m
        if self._closest is None or distance_m < self._closest[0]:
            self._closest = (distance_m, elapsed_s)
        for name, pose in sample.objects.items():
            rise_m = pose.position_m[2] - self._first.objects[name].position_m[2]
            moved_m = float(np.linalg.norm(pose.position_m - self._first.objects[name].position_m))
            self._highest_m = max(self._highest_m, float(rise_m))
            self._travelled_m = max(self._travelled_m, moved_m)

    def _progress(self) -> str:
        if self._distance_m is None or self._closest is None:
            return "; no ground truth was seen"
        thing = self._task.objects[0]
        text = f"; {thing} {self._distance_m:.3f} m from the goal, {self._closest[0]:.3f} m at best"
        if self._travelled_m < HARDLY_MOVED_M:
            return f"{text}; it was hardly touched (moved {1000 * self._travelled_m:.0f} mm)"
        if self._highest_m > LIFTED_M:
            return f"{text}; it was lifted by up to {self._highest_m:.3f} m"
        return f"{text}, at {self._closest[1]:.1f} s"

    def _verdict(self, outcome: Outcome, reason: str, elapsed_s: float, success: bool = False) -> Verdict:
        return Verdict(
            success=success,
            outcome=outcome,
            reason=reason,
            duration_s=elapsed_s,
            time_to_success_s=elapsed_s if success else None,
            final_distance_m=self._distance_m,
            closest_m=self._closest[0] if self._closest else None,
            judged_by="ground truth",
        )
