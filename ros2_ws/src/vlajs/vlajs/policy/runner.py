"""One episode of a policy on a robot: may it start, prepare the hand, act tick by tick, and when to stop.

Pure logic: the policy node feeds it the newest readings and the time, and sends what it returns. It fails closed:
whatever it cannot judge to be in order yields no command, and the bridge then holds the arm.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from vlajs.episode import Episode, Increment
from vlajs.geometry import FloatArray, Pose
from vlajs.policy.actions import scale_action
from vlajs.policy.bundle import PolicyBundle
from vlajs.policy.contract import Contract
from vlajs.policy.observations import TERMS, Inputs, assemble, required_objects
from vlajs.states import PolicyPhase, RobotMode

TCP_TOPIC = "/franka/tcp_pose"
TARGET_TOPIC = "/franka/target_pose"
STATUS_TOPIC = "/franka/status"
JOINTS_TOPIC = "/franka/joint_states"
GOAL_TOPIC = "/task/goal"

SOURCE = "policy"
"""What this commander calls itself to the bridge."""

MIN_STRIDE = 0.05

LIMIT_TOLERANCE = 1e-6
MAX_AGE_LIMIT_S = 1.0


def object_topic(name: str) -> str:
    """Where the estimated pose of an object is published."""
    return f"/objects/{name}/pose"


_FOLLOWING = (RobotMode.READY, RobotMode.TRACKING, RobotMode.HOLDING)
"""Modes in which the bridge carries out commands; in any other nobody may count on it."""


@dataclass(frozen=True, kw_only=True)
class BridgeLimits:
    """What the bridge enforces: metres and radians, the box in ``panda_link0``."""

    max_step_m: float
    max_step_rad: float
    leash_m: float
    leash_rad: float
    workspace_min_m: tuple[float, float, float]
    workspace_max_m: tuple[float, float, float]


@dataclass(frozen=True, kw_only=True)
class RobotState:
    """The bridge's status, as far as a policy minds it.

    Attributes:
        mode: what the bridge is doing.
        faults: its faults in plain words, newest last.
        gripper_command_m: opening last commanded to the hand.
        gripper_busy: whether the hand is moving.
        commander: source whose commands it accepts; empty if none.
        refused_commands: commands refused since the bridge started.
        limits: what it enforces.
    """

    mode: RobotMode
    faults: tuple[str, ...]
    gripper_command_m: float
    gripper_busy: bool
    commander: str
    refused_commands: int
    limits: BridgeLimits


@dataclass(frozen=True, kw_only=True)
class Readings:
    """The newest of everything; None or missing where nothing usable was received.

    Attributes:
        tcp, target: poses in ``panda_link0``.
        gripper_width_m: measured opening.
        robot: the bridge's status.
        objects: poses by name.
        goal_m: shape (3,).
        ages_s: age in seconds by topic.
        problems: why a topic's newest message was not usable, by topic.
        stamp_ns: stamp of the newest robot state, nanoseconds.
    """

    tcp: Pose | None = None
    target: Pose | None = None
    gripper_width_m: float | None = None
    robot: RobotState | None = None
    objects: Mapping[str, Pose] = field(default_factory=dict)
    goal_m: FloatArray | None = None
    ages_s: Mapping[str, float] = field(default_factory=dict)
    problems: Mapping[str, str] = field(default_factory=dict)
    stamp_ns: int = 0


@dataclass(frozen=True, kw_only=True)
class AgeLimits:
    """How old a reading may be when an action is computed from it, seconds; at most 1 s."""

    state_s: float = 0.1
    """Tool pose, target pose and joint states (100 Hz)."""
    status_s: float = 0.3
    """Bridge status (20 Hz)."""
    objects_s: float = 0.2
    """Object poses (60 Hz)."""
    grace_s: float = 0.1
    """A stale reading stops commands at once, and ends the episode when it lasts this long."""

    def __post_init__(self) -> None:
        """Refuse limits without meaning.

        Raises:
            ValueError: one is not positive (the grace may be 0), or above :data:`MAX_AGE_LIMIT_S`.
        """
        for name, value in vars(self).items():
            positive = value >= 0 if name == "grace_s" else value > 0
            if not (positive and value <= MAX_AGE_LIMIT_S):  # also refuses NaN
                raise ValueError(
                    f"{name} = {value} s: an age limit is a positive number of seconds, such as 0.1, up to "
                    f"{MAX_AGE_LIMIT_S:g} s; what is older says nothing about where things are"
                )

    def by_topic(self, contract: Contract) -> dict[str, float]:
        """The limit of every topic a contract needs that has one; the goal, which is set once, has none."""
        return self.of_robot() | dict.fromkeys(object_topics(contract), self.objects_s)

    def of_robot(self) -> dict[str, float]:
        """The limit of every topic of the robot itself."""
        return {
            TCP_TOPIC: self.state_s,
            TARGET_TOPIC: self.state_s,
            JOINTS_TOPIC: self.state_s,
            STATUS_TOPIC: self.status_s,
        }


def object_topics(contract: Contract) -> dict[str, str]:
    """Object name by topic, for the objects a contract's terms need."""
    return {object_topic(name): name for name in sorted(required_objects(contract.term_names))}


def needs_goal(contract: Contract) -> bool:
    """Whether a term is computed from the goal."""
    return any("goal" in TERMS[name].source.split("+") for name in contract.term_names)


def _needed_by(contract: Contract, source: str) -> str:
    """The first term that uses a source, for messages."""
    return next(name for name in contract.term_names if source in TERMS[name].source.split("+"))


def unknown_size(contract: Contract) -> str | None:
    """Which term no robot can compute, in words, because nothing here measures sizes; None when all can be."""
    for name in contract.term_names:
        if (sized := TERMS[name].sized) is not None:
            return (
                f"term {name!r} has no source: it needs the size of {sized!r}, which nothing on the robot measures; "
                "this policy runs in simulation only, train one without the term"
            )
    return None


def missing_source(contract: Contract, readings: Readings) -> str | None:
    """Which reading a contract needs and has not got, in words; None when all are there."""
    if reason := unknown_size(contract) or missing_robot_state(readings):
        return reason
    for topic, name in object_topics(contract).items():
        if name not in readings.objects:
            term = _needed_by(contract, f"object:{name}")
            return _missing(topic, f"term {term!r}", readings, "start the pose estimator (or the twin)")
    if needs_goal(contract) and readings.goal_m is None:
        return _missing(GOAL_TOPIC, f"term {_needed_by(contract, 'goal')!r}", readings, "publish the goal first")
    return None


def missing_robot_state(readings: Readings) -> str | None:
    """Which reading of the robot itself is missing, in words; None when all are there."""
    robot = {
        TCP_TOPIC: readings.tcp,
        TARGET_TOPIC: readings.target,
        JOINTS_TOPIC: readings.gripper_width_m,
        STATUS_TOPIC: readings.robot,
    }
    for topic, value in robot.items():
        if value is None:
            return _missing(topic, "the robot's state", readings, "start the bridge")
    return None


def _missing(topic: str, what: str, readings: Readings, remedy: str) -> str:
    if problem := readings.problems.get(topic):
        return f"{what} has no source: {topic} was not usable: {problem}"
    return f"{what} has no source: nothing received on {topic}; {remedy}"


def stale_input(contract: Contract, readings: Readings, limits: AgeLimits) -> str | None:
    """Which reading is too old, in words; None when all are fresh. A reading without an age counts as old."""
    return stale_topic(limits.by_topic(contract), readings)


def stale_topic(limits_s: Mapping[str, float], readings: Readings) -> str | None:
    """Which of these topics is older than its limit, in words; None when none is."""
    for topic, limit_s in limits_s.items():
        age_s = readings.ages_s.get(topic, float("inf"))
        if not age_s <= limit_s:
            problem = readings.problems.get(topic)
            cause = f"newer messages were not usable: {problem}" if problem else "its publisher stopped or is too slow"
            return f"stale input: {topic} is {age_s:.3f} s old, limit {limit_s:g} s; {cause}"
    return None


def limits_mismatch(contract: Contract, limits: BridgeLimits) -> str | None:
    """Which limit of the bridge differs from what the policy was trained under, in words; None when none does."""
    action = contract.action
    equal: dict[str, tuple[object, object]] = {
        name: (getattr(action, name), getattr(limits, name))
        for name in ("leash_m", "leash_rad", "workspace_min_m", "workspace_max_m")
    }
    for name, (trained, enforced) in equal.items():
        if not np.allclose(np.asarray(trained), np.asarray(enforced), rtol=0.0, atol=LIMIT_TOLERANCE):
            return (
                f"limits differ: the policy was trained under {name} = {trained}, the bridge enforces {enforced}; "
                "start the bridge with the policy's limits"
            )
    steps = {
        "max_step_m": (action.position_scale_m, limits.max_step_m),
        "max_step_rad": (action.rotation_scale_rad, limits.max_step_rad),
    }
    for name, (scale, maximum) in steps.items():
        if not scale <= maximum + LIMIT_TOLERANCE:
            return (
                f"limits differ: the policy's steps reach {scale}, the bridge's {name} is {maximum}; "
                "start the bridge with the policy's limits"
            )
    return None


def robot_not_following(robot: RobotState, source: str = SOURCE) -> str | None:
    """Why the bridge would not carry out the commands of a source, in words; None when it would."""
    if robot.mode not in _FOLLOWING:
        faults = f" ({'; '.join(robot.faults)})" if robot.faults else ""
        remedy = _REMEDIES.get(robot.mode, "see the bridge's log")
        return f"the robot is in mode {robot.mode.name}{faults}; {remedy}"
    if robot.mode == RobotMode.TRACKING and robot.commander not in ("", source):
        return f"{robot.commander!r} commands the arm; stop it first, one source commands at a time"
    return None


_REMEDIES = {
    RobotMode.DISCONNECTED: "check the arm's power, network and FCI",
    RobotMode.STOPPED: "call /franka/release when it is safe",
    RobotMode.FAULT: "call /franka/recover after checking the arm",
    RobotMode.HOMING: "wait until homing is done",
}


def refusal(contract: Contract, readings: Readings, limits: AgeLimits) -> str | None:
    """Why an episode must not start now, in words; None when it may."""
    if reason := missing_source(contract, readings):
        return reason
    if reason := stale_input(contract, readings, limits):
        return reason
    robot = readings.robot
    assert robot is not None, "missing_source() has seen to it"
    return robot_not_following(robot) or limits_mismatch(contract, robot.limits)


def checked_stride(stride: float) -> float:
    """The share of a policy's increments that is sent.

    Raises:
        ValueError: outside [:data:`MIN_STRIDE`, 1].
    """
    if not MIN_STRIDE <= stride <= 1.0:  # also refuses NaN
        raise ValueError(
            f"stride = {stride} is outside [{MIN_STRIDE:g}, 1]: the share of each of the policy's increments that is "
            "sent, 1 as it was trained, 0.2 for the first runs on an arm; more than it was trained with is not possible"
        )
    return stride


def horizon_steps(contract: Contract, stride: float) -> int:
    """How many steps an episode has: what it has not got in length of steps it has in number."""
    return int(np.ceil(contract.horizon_steps / stride))


class EpisodeRunner(Episode):
    """One episode of a policy; its steps are the actions given out.

    Attributes:
        bundle: the policy; an episode never changes it.
        stride: share of each of its increments that is given out.
    """

    def __init__(
        self, bundle: PolicyBundle, readings: Readings, age_limits: AgeLimits, now_s: float, *, stride: float = 1.0
    ) -> None:
        """Begin.

        Raises:
            ValueError: :func:`refusal` has an objection; the message is its reason. Or a stride out of range.
        """
        self.stride = checked_stride(stride)
        if reason := refusal(bundle.contract, readings, age_limits):
            raise ValueError(reason)
        assert readings.robot is not None, "refusal() has seen to it"
        super().__init__(
            tick_rate_hz=bundle.contract.control_rate_hz,
            initial_width_m=bundle.contract.action.gripper.initial_width_m,
            stale_grace_s=age_limits.grace_s,
            refused_commands=readings.robot.refused_commands,
            now_s=now_s,
        )
        self.bundle = bundle
        self._limits = age_limits
        self._increment: Increment | None = None

    def tick(self, readings: Readings, now_s: float) -> Increment | None:
        """The command of this tick, or None when there must be none.

        Args:
            readings: the newest of everything.
            now_s: time on the clock the ticks follow, seconds.
        """
        contract, robot, width_m = self.bundle.contract, readings.robot, readings.gripper_width_m
        objection = None if robot is None else self._robot_objection(robot)
        stale = missing_source(contract, readings) or stale_input(contract, readings, self._limits)
        if not self.active or not self._in_order(objection, stale, now_s):
            return None
        assert robot is not None, "missing_source() has seen to it"
        assert width_m is not None, "missing_source() has seen to it"
        if self.phase is PolicyPhase.PREPARING:
            if not self._hand_ready(width_m, busy=robot.gripper_busy):
                return self._prepare(now_s)
            self.phase, self.reason = PolicyPhase.RUNNING, ""
        if self.step >= horizon_steps(contract, self.stride):
            self.phase, self.reason = PolicyPhase.FINISHED, f"horizon of {self.step} steps reached"
            return None
        return self._act(readings)

    def _robot_objection(self, robot: RobotState) -> str | None:
        return (
            self._refused_too_often(robot.refused_commands, "; ".join(robot.faults))
            or robot_not_following(robot)
            or limits_mismatch(self.bundle.contract, robot.limits)
        )

    def _act(self, readings: Readings) -> Increment | None:
        """The policy's increment, decided anew every ``ticks_per_action`` ticks."""
        contract = self.bundle.contract
        if self.step % contract.action.ticks_per_action == 0:
            try:
                observation = assemble(contract.term_names, _inputs(readings))
                self._increment = scale_action(self.bundle.act(observation), contract.action).scaled(self.stride)
            except ValueError as error:  # a number that is not finite: no command, and the reason is told
                self.stop(str(error))
                return None
        self.step += 1
        return self._increment


def _inputs(readings: Readings) -> Inputs:
    """Readings that :func:`missing_source` had no objection to; a goal no term needs may be absent."""
    tcp, target, robot, width_m = readings.tcp, readings.target, readings.robot, readings.gripper_width_m
    assert tcp is not None, "missing_source() has seen to it"
    assert target is not None, "missing_source() has seen to it"
    assert robot is not None, "missing_source() has seen to it"
    assert width_m is not None, "missing_source() has seen to it"
    return Inputs(
        tcp=tcp,
        target=target,
        gripper_width_m=width_m,
        gripper_command_m=robot.gripper_command_m,
        objects=readings.objects,
        goal_m=np.full(3, np.nan) if readings.goal_m is None else readings.goal_m,
    )
