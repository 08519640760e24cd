"""What a trial asks of the robot's nodes. ``vlajs.nodes.session_node`` gives it over ROS; tests give a stand-in."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from vlajs.geometry import FloatArray, Pose
from vlajs.session.conditions import Push
from vlajs.session.plan import TrialPlan
from vlajs.session.records import Commander
from vlajs.states import PolicyPhase, RobotMode


@dataclass(frozen=True, kw_only=True)
class RobotView:
    """The bridge's last word.

    Attributes:
        time_s: the arm's own clock when the bridge said so.
        may_hold: the hand has closed on something, or is moving and may yet.
        commander: whose commands the bridge takes, and nobody else's; empty when it takes anybody's.
    """

    mode: RobotMode
    time_s: float
    faults: tuple[str, ...] = ()
    may_hold: bool = False
    commander: str = ""


@dataclass(frozen=True, kw_only=True)
class PolicyView:
    """The chosen commander's last word on the episode that :meth:`Graph.start_policy` began.

    Attributes:
        running_since_s: robot time of the first action; None before it.
        silent_s: wall time since it last spoke; it speaks at 5 Hz whatever the robot's clock does.
    """

    phase: PolicyPhase
    reason: str
    running_since_s: float | None
    silent_s: float


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One instant as the session sees it, in ``panda_link0``; what was not measured yet is None or absent.

    Attributes:
        time_s: robot time of the object poses.
        objects: ground truth on the twin, the estimator's poses on a real arm.
        joint_velocities_rad_s: shape (7,).
    """

    time_s: float
    objects: dict[str, Pose]
    tool: Pose | None
    target: Pose | None
    joint_velocities_rad_s: FloatArray


@dataclass(frozen=True, kw_only=True)
class Episode:
    """What ``/policy/start``, or ``/baseline/start``, answered."""

    contract_id: str
    horizon_s: float


class Graph(Protocol):
    """The robot's nodes. Every call raises ``SessionError`` with a reason when it is refused or takes too long.

    What is said of "the policy" holds of whichever commander was chosen, :meth:`load_checkpoint` excepted.
    """

    def choose(self, commander: Commander) -> None:
        """Have this one be the active commander from now on; the other one is deactivated first. Moves nothing."""
        ...

    def now_s(self) -> float:
        """Robot time."""
        ...

    def robot(self) -> RobotView:
        """The bridge's last word."""
        ...

    def policy(self) -> PolicyView | None:
        """The policy node's last word on the running episode; None before its first."""
        ...

    def object_poses(self) -> dict[str, Pose]:
        """The newest pose of each object."""
        ...

    def load_checkpoint(self, path: Path, control_rate_hz: float) -> None:
        """Have the policy node run the bundle in this file from its next episode on; the rate is its contract's."""
        ...

    def stop_policy(self) -> None:
        """Stop whoever may command; returns when confirmed."""
        ...

    def stop_arm(self) -> None:
        """Brake whatever moves the arm; latched until somebody releases it."""
        ...

    def recover(self) -> None:
        """Clear a fault of the arm. Moves nothing."""
        ...

    def open_hand(self) -> None:
        """Let go of whatever is held; returns when the hand is open."""
        ...

    def home(self) -> None:
        """Move to the start configuration; returns when there."""
        ...

    def clear_scene(self) -> None:
        """Twin only: take every object away, out of the arm's way, as an operator does by hand."""
        ...

    def reset_scene(self, plan: TrialPlan) -> None:
        """Twin only: put the objects where the plan says."""
        ...

    def set_camera(self, parameters: dict[str, Any]) -> None:
        """Twin only: change what its camera sees; parameters of node ``twin_camera``."""
        ...

    def push(self, push: Push) -> None:
        """Twin only: begin to push something."""
        ...

    def look_anew(self, timeout_s: float) -> str:
        """Have the pose estimator forget what it saw before, and wait until it sees every object.

        Empty when it does; else, after ``timeout_s`` of robot time, what the estimator says why it does not.

        Raises:
            SessionError: no picture reached the estimator in that time: a dead camera, not a hidden object.
        """
        ...

    def publish_goal(self, goal_m: FloatArray) -> None:
        """Tell the policy node the goal, shape (3,), in ``panda_link0``."""
        ...

    def start_policy(self) -> Episode:
        """Begin an episode."""
        ...

    def watch(self, timeout_s: float) -> Sample | None:
        """The next sample not yet seen, in order; None when none came within ``timeout_s`` of wall time."""
        ...

    def start_recording(self, path: Path) -> None:
        """Record raw messages to an MCAP file until :meth:`stop_recording`."""
        ...

    def stop_recording(self) -> None:
        """Close the file; does nothing when none is open."""
        ...
