"""The arm through the real client, on the simulated one."""

import time
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace

import franky
import numpy as np
import pytest

from vlajs.control.target import TargetLimits, integrate_target
from vlajs.geometry import TOOL_DOWN_WXYZ, Pose, quat_from_rotvec, quat_multiply, rotvec_between, xyzw_from_wxyz
from vlajs.robot.arm import ArmConfig, ArmError, RobotArm
from vlajs.robot.end_effector import FLANGE_TO_TCP_WXYZ
from vlajs.tasks import HOME_JOINTS_RAD
from vlajs.twin.server import TwinServer

PATIENCE_S = 40.0


def until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, f"not within {PATIENCE_S} s: {what}"
        time.sleep(0.005)


def shifted(pose: Pose, *by_m: float) -> Pose:
    return replace(pose, position_m=pose.position_m + np.array(by_m))


def off_m(arm: RobotArm, target: Pose) -> float:
    return float(np.linalg.norm(arm.state().tcp_in_base.position_m - target.position_m))


def test_tool_at_home_is_where_maniskill_has_it(arm: RobotArm, twin: TwinServer) -> None:
    state = arm.state()
    assert state.joints_rad == pytest.approx(HOME_JOINTS_RAD, abs=2e-3)
    assert state.fault is None
    # ManiSkill's Panda in this configuration: tool centre point at (0.615, 0, 0.17) m in the base, straight down
    assert state.tcp_in_base.position_m == pytest.approx([0.615, 0.0, 0.17], abs=2e-3)
    assert np.linalg.norm(rotvec_between(TOOL_DOWN_WXYZ, state.tcp_in_base.quat_wxyz)) < 5e-3
    truth = twin.tcp_pose()
    assert state.tcp_in_base.position_m == pytest.approx(truth.position_m, abs=1e-3)
    assert np.linalg.norm(rotvec_between(truth.quat_wxyz, state.tcp_in_base.quat_wxyz)) < 2e-3


def test_streamed_targets_are_reached_and_held_in_control(arm: RobotArm) -> None:
    start = arm.state().tcp_in_base
    turn = quat_from_rotvec([0.0, 0.0, 0.2])
    for step in range(1, 11):
        arm.stream_target(shifted(start, 0.005 * step, 0.0, 0.005 * step))
    goal = replace(shifted(start, 0.05, 0.0, 0.05), quat_wxyz=quat_multiply(turn, start.quat_wxyz))
    arm.stream_target(goal)
    until(lambda: off_m(arm, goal) < 1e-3, "the last target")
    assert np.linalg.norm(rotvec_between(arm.state().tcp_in_base.quat_wxyz, goal.quat_wxyz)) < 0.02
    assert arm.is_moving, "the stream goes on until it is ended"
    arm.check_motion()
    arm.stop()
    assert not arm.is_moving


def test_hold_brakes_without_waiting_for_the_target(arm: RobotArm, twin: TwinServer) -> None:
    start = arm.state().tcp_in_base
    goal = shifted(start, 0.0, 0.25, 0.0)
    arm.stream_target(goal)
    until(lambda: off_m(arm, start) > 0.05, "the arm under way")
    arm.hold()
    until(lambda: not arm.is_moving, "the brake")
    held = twin.tcp_pose()
    twin.wait(0.3)
    # what is left is the arm catching up with its last command: 10 ms or so of at most 0.5 m/s
    assert np.linalg.norm(twin.tcp_pose().position_m - held.position_m) < 6e-3
    assert off_m(arm, goal) > 0.05
    arm.hold()  # at rest: nothing to do
    arm.stream_target(start)
    until(lambda: off_m(arm, start) < 1e-3, "the way back")


def test_reaching_forward_the_elbow_stays_below_its_limit(arm: RobotArm, twin: TwinServer) -> None:
    """15 mm at 20 Hz to the box's far edge: at 0.3 m/s joint 4 would pass 2.175 rad/s, which is a reflex."""
    target = arm.state().tcp_in_base
    fastest_rad_s, next_s = np.zeros(7), arm.state().robot_time_s
    until_s = next_s + 1.2
    while (state := arm.state()).robot_time_s < until_s:
        assert state.fault is None, f"{state.fault} at {state.tcp_in_base.position_m}"
        fastest_rad_s = np.maximum(fastest_rad_s, np.abs(state.joint_velocities_rad_s))
        if state.robot_time_s >= next_s:
            next_s += 0.05
            target = integrate_target(target, state.tcp_in_base, [0.015, 0.0, -0.004], np.zeros(3), TargetLimits())
            arm.stream_target(target)
        time.sleep(5e-4)
    arm.check_motion()
    assert twin.tcp_pose().position_m[0] > 0.79
    assert 1.5 < fastest_rad_s[3] < 2.1, "joint 4 is what bounds this motion"


class StumblingClient:
    """The real client, whose braking motions end with an error, as they now and then do from rest to rest."""

    def __init__(self, client: object, message: str = "Motion planner failed with error code -111") -> None:
        self._client = client
        self._message = message

    def __getattr__(self, name: str) -> object:
        return getattr(self._client, name)

    def join_motion(self, timeout_s: float) -> bool:
        self._client.join_motion(timeout_s)  # type: ignore[attr-defined]
        raise RuntimeError(self._message)


def test_brake_that_finds_no_plan_is_no_failure_at_rest(arm: RobotArm, monkeypatch: pytest.MonkeyPatch) -> None:
    start = arm.state().tcp_in_base
    goal = shifted(start, 0.0, 0.05, 0.0)
    arm.stream_target(goal)
    until(lambda: off_m(arm, goal) < 1e-3, "the target")
    until(lambda: bool(np.max(np.abs(arm.state().joint_velocities_rad_s)) < 5e-3), "rest")
    monkeypatch.setattr(arm, "_robot", StumblingClient(arm._robot))
    arm.stop()
    assert not arm.is_moving
    arm.stream_target(shifted(start, 0.0, 0.25, 0.0))
    until(lambda: off_m(arm, goal) > 0.05, "the arm under way")
    with pytest.raises(ArmError, match="braking failed: Motion planner failed"):
        arm.stop()
    assert not arm.is_moving


class LateClient:
    """The real client, which tells with the next motion how a brake from rest to rest ended."""

    def __init__(self, client: object) -> None:
        self._client = client
        self.told = 0

    def __getattr__(self, name: str) -> object:
        return getattr(self._client, name)

    def move(self, motion: object, asynchronous: bool) -> None:
        self.told += 1
        if self.told == 1:
            raise RuntimeError("Motion planner failed with error code -111")
        self._client.move(motion, asynchronous=asynchronous)  # type: ignore[attr-defined]


@pytest.mark.parametrize("from_rest", [True, False])
def test_only_a_brake_at_rest_may_have_found_no_plan_before_a_motion(
    arm: RobotArm, monkeypatch: pytest.MonkeyPatch, from_rest: bool
) -> None:
    arm.stop()
    late = LateClient(arm._robot)
    monkeypatch.setattr(arm, "_robot", late)
    monkeypatch.setattr(arm, "_braked_at_rest", from_rest)
    goal = shifted(arm.state().tcp_in_base, 0.0, 0.02, 0.0)
    if from_rest:
        arm.stream_target(goal)
        until(lambda: off_m(arm, goal) < 1e-3, "the target")
    else:
        with pytest.raises(ArmError, match="motion refused: Motion planner failed"):
            arm.stream_target(goal)
        assert late.told == 1


def test_any_other_error_of_a_brake_at_rest_is_a_failure(arm: RobotArm, monkeypatch: pytest.MonkeyPatch) -> None:
    start = arm.state().tcp_in_base
    arm.stream_target(shifted(start, 0.0, 0.005, 0.0))
    until(lambda: off_m(arm, shifted(start, 0.0, 0.005, 0.0)) < 1e-3, "the target")
    until(lambda: bool(np.max(np.abs(arm.state().joint_velocities_rad_s)) < 5e-3), "rest")
    monkeypatch.setattr(arm, "_robot", StumblingClient(arm._robot, "connection reset"))
    with pytest.raises(ArmError, match="braking failed: connection reset"):
        arm.stop()


def test_brake_without_a_state_ends_control(arm: RobotArm, monkeypatch: pytest.MonkeyPatch) -> None:
    start = arm.state().tcp_in_base
    arm.stream_target(shifted(start, 0.0, 0.25, 0.0))
    until(lambda: off_m(arm, start) > 0.05, "the arm under way")

    def no_state() -> None:
        raise ArmError("no state from the arm")

    with monkeypatch.context() as patch:
        patch.setattr(arm, "state", no_state)
        with pytest.raises(ArmError, match="no state"):
            arm.hold()
        until(lambda: not arm.is_moving, "the end of control")


def test_state_follows_the_arms_clock_during_motion(arm: RobotArm) -> None:
    start = arm.state()
    arm.stream_target(shifted(start.tcp_in_base, 0.0, 0.1, 0.0))
    times_s = []
    until(lambda: times_s.append(arm.state().robot_time_s) or times_s[-1] > start.robot_time_s + 0.5, "half a second")
    assert np.all(np.diff(times_s) >= 0)
    # read every 5 ms or so of wall time: a copy that lagged or stuck would show far fewer different times
    assert len(set(times_s)) > 20


def test_where_the_planner_finds_no_way_home_a_slower_one_is_tried(
    arm: RobotArm, monkeypatch: pytest.MonkeyPatch
) -> None:
    away = shifted(arm.state().tcp_in_base, 0.0, 0.1, 0.05)
    arm.stream_target(away)
    until(lambda: off_m(arm, away) < 2e-3, "away")
    arm.stop()
    refusals = ["motion refused: Motion planner failed with error code -111"] * 2
    move, asked = arm._move, []

    def refused_twice(motion: franky.JointMotion) -> None:
        asked.append(motion)
        if len(asked) <= len(refusals):
            raise ArmError(refusals[len(asked) - 1])
        move(motion)

    monkeypatch.setattr(arm, "_move", refused_twice)
    arm.home(HOME_JOINTS_RAD)
    assert arm.state().joints_rad == pytest.approx(HOME_JOINTS_RAD, abs=2e-3)
    refusals += refusals[:1]  # three speeds, three refusals: nothing is left to try
    asked.clear()
    with pytest.raises(ArmError, match="-111"):
        arm.start_home(HOME_JOINTS_RAD)
    assert len(asked) == 3
    refusals[0] = "the arm is in reflex"  # any other refusal is the last word
    asked.clear()
    with pytest.raises(ArmError, match="reflex"):
        arm.start_home(HOME_JOINTS_RAD)
    assert len(asked) == 1


def test_motion_home_can_be_stopped(arm: RobotArm) -> None:
    away = shifted(arm.state().tcp_in_base, 0.0, 0.2, 0.1)
    arm.stream_target(away)
    until(lambda: off_m(arm, away) < 2e-3, "away")
    with pytest.raises(ArmError, match="motion refused"):
        arm.start_home(HOME_JOINTS_RAD)  # another kind of motion while the stream goes on
    arm.stop()
    arm.start_home(HOME_JOINTS_RAD)
    until(lambda: off_m(arm, away) > 0.01, "on the way home")
    arm.stop()
    assert np.max(np.abs(arm.state().joints_rad - HOME_JOINTS_RAD)) > 0.02


def test_reflex_surfaces_and_blocks_motion_until_recovery(arm: RobotArm, twin: TwinServer) -> None:
    start = arm.state().tcp_in_base
    arm.stream_target(shifted(start, 0.0, 0.1, 0.0))
    until(lambda: off_m(arm, start) > 0.01, "the arm under way")
    twin.inject_fault("joint_reflex")
    until(lambda: arm.state().fault is not None, "the fault")
    state = arm.state()
    assert state.mode == "Reflex"
    assert "joint_reflex" in state.errors
    assert "joint_reflex" in str(state.fault)
    for _ in range(3):  # franky reports the failure once and would then accept motions in reflex
        with pytest.raises(ArmError):
            arm.stream_target(start)
    arm.recover()
    assert arm.state().fault is None
    arm.check_motion()
    arm.stream_target(start)
    until(lambda: off_m(arm, start) < 1e-3, "the way back")


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_target_that_is_no_pose_is_refused(arm: RobotArm, bad: float) -> None:
    start = arm.state().tcp_in_base
    with pytest.raises(ArmError, match="not a pose"):
        arm.stream_target(shifted(start, bad, 0.0, 0.0))
    with pytest.raises(ArmError, match="not a pose"):
        arm.stream_target(replace(start, quat_wxyz=np.zeros(4)))
    with pytest.raises(ArmError, match="seven finite numbers"):
        arm.start_home([bad] * 7)
    assert not arm.is_moving


def test_jacobian_predicts_tool_motion(arm: RobotArm) -> None:
    state = arm.state()
    jacobian = arm.tool_jacobian(state.joints_rad)
    # joint 1 turns the tool about the base's z axis: v = z x r = (-y, x, 0), w = (0, 0, 1)
    x, y, _ = state.tcp_in_base.position_m
    assert jacobian[:, 0] == pytest.approx([-y, x, 0.0, 0.0, 0.0, 1.0], abs=5e-3)
    # at home, joint 7's axis is the tool's, pointing down: it turns about -z and moves nothing
    assert jacobian[:, 6] == pytest.approx([0.0, 0.0, 0.0, 0.0, 0.0, -1.0], abs=5e-3)


def test_an_arm_with_another_tool_is_not_connected(monkeypatch: pytest.MonkeyPatch) -> None:
    tool = SimpleNamespace(
        state=SimpleNamespace(F_T_EE=franky.Affine([0.0, 0.0, 0.2], xyzw_from_wxyz(FLANGE_TO_TCP_WXYZ))),
        set_collision_behavior=lambda *_: None,
        translation_velocity_limit=SimpleNamespace(set=lambda _: None, max=1.7),
    )
    monkeypatch.setattr(franky, "Robot", lambda *_args, **_options: tool)
    with pytest.raises(ArmError, match=r"^the arm's end effector is at \[0\.\s+0\.\s+0\.2\] m"):
        RobotArm(ArmConfig(robot_ip="127.0.0.2"))


def test_no_arm_at_the_address() -> None:
    with pytest.raises(ArmError, match=r"cannot connect to the arm at 127\.254\.254\.253"):
        RobotArm(ArmConfig(robot_ip="127.254.254.253"))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"robot_ip": ""}, "robot_ip is empty"),
        ({"acceleration_factor": 0.0}, "acceleration_factor = 0.0"),
        ({"jerk_factor": 1.1}, "jerk_factor = 1.1"),
        ({"max_tool_speed_m_s": float("nan")}, "max_tool_speed_m_s = nan"),
        ({"max_joint_speed_share": 1.0}, r"max_joint_speed_share = 1.0 is outside \(0, 0.95\]"),
        ({"collision_force_n": 500.0}, "collision_force_n = 500.0"),
    ],
)
def test_config_without_meaning_is_refused(values: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ArmConfig(**({"robot_ip": "127.0.0.2"} | values))
