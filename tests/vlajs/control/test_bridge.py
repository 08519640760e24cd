"""The state machine on a stand-in arm that does exactly what it is told."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
import pytest

from vlajs.control.bridge import Bridge, BridgeConfig
from vlajs.control.command_filter import Command
from vlajs.geometry import TOOL_DOWN_WXYZ, FloatArray, Pose
from vlajs.states import RobotMode
from vlajs.tasks import HOME_JOINTS_RAD

START_M = np.array([0.5, 0.0, 0.2])


@dataclass(frozen=True, kw_only=True)
class Reading:
    tcp_in_base: Pose = field(default_factory=lambda: Pose(position_m=START_M, quat_wxyz=TOOL_DOWN_WXYZ))
    joints_rad: FloatArray = field(default_factory=lambda: np.array(HOME_JOINTS_RAD))
    joint_velocities_rad_s: FloatArray = field(default_factory=lambda: np.zeros(7))
    robot_time_s: float = 100.0
    fault: str | None = None


class StandInArm:
    def __init__(self) -> None:
        self.reading = Reading()
        self.is_moving = False
        self.calls: list[str] = []
        self.targets: list[Pose] = []
        self.errors: dict[str, str] = {}
        self.meanwhile: Callable[[], object] = lambda: None
        """What happens while the arm recovers."""

    def _call(self, name: str) -> None:
        if name in self.errors:
            raise RuntimeError(self.errors[name])
        self.calls.append(name)

    def state(self) -> Reading:
        if "state" in self.errors:
            raise RuntimeError(self.errors["state"])
        return self.reading

    def tool_jacobian(self, joints_rad: FloatArray) -> FloatArray:
        return np.eye(6, 7)

    def stream_target(self, target_in_base: Pose) -> None:
        self._call("stream")
        self.targets.append(target_in_base)
        self.is_moving = True

    def start_home(self, joints_rad) -> None:
        self._call("home")
        self.is_moving = True

    def hold(self) -> None:
        self._call("hold")
        self.is_moving = False

    def check_motion(self) -> None:
        if "motion" in self.errors:
            raise RuntimeError(self.errors.pop("motion"))

    def recover(self) -> None:
        self._call("recover")
        self.reading = replace(self.reading, fault=None)
        self.meanwhile()

    def pass_time(self, seconds: float) -> None:
        self.reading = replace(self.reading, robot_time_s=self.reading.robot_time_s + seconds)

    def be_at(self, *position_m: float) -> None:
        pose = Pose(position_m=np.array(position_m), quat_wxyz=TOOL_DOWN_WXYZ)
        self.reading = replace(self.reading, tcp_in_base=pose)


@dataclass
class StandInHand:
    width_m: float = 0.08
    command_m: float = 0.08
    busy: bool = False
    grasped: bool = False
    fault: str | None = None
    calls: list[str] = field(default_factory=list)

    def state(self) -> "StandInHand":
        return self

    def open_fingers(self) -> None:
        self.calls.append("open")

    def close_fingers(self) -> None:
        self.calls.append("close")

    def stop(self) -> None:
        self.calls.append("stop")

    def clear_fault(self) -> None:
        self.fault = None


class Rig:
    """A bridge in READY with its stand-ins; commands count up by themselves."""

    def __init__(self) -> None:
        self.arm, self.hand = StandInArm(), StandInHand()
        self.bridge = Bridge(self.arm, self.hand, BridgeConfig(home_joints_rad=HOME_JOINTS_RAD))
        self.sequence = 0
        self.bridge.tick()

    def send(self, *delta_pos_m: float, width_m: float = 0.08, source: str = "policy") -> str | None:
        self.sequence += 1
        return self.bridge.accept(
            Command(
                source=source,
                sequence=self.sequence,
                delta_pos_m=np.array(delta_pos_m or (0.01, 0.0, 0.0)),
                delta_rotvec_rad=np.zeros(3),
                gripper_width_m=width_m,
                age_s=0.0,
            )
        )

    def later(self, seconds: float) -> RobotMode:
        self.arm.pass_time(seconds)
        self.bridge.tick()
        return self.bridge.mode


@pytest.fixture
def rig() -> Rig:
    return Rig()


def test_nothing_is_accepted_before_the_first_state() -> None:
    arm = StandInArm()
    bridge = Bridge(arm, StandInHand(), BridgeConfig(home_joints_rad=HOME_JOINTS_RAD))
    rig = Rig()
    rig.bridge = bridge
    assert "no connection" in str(rig.send())
    assert arm.calls == []


def test_increments_add_to_the_target_not_to_the_measured_pose(rig: Rig) -> None:
    assert rig.send(0.01, 0.0, 0.0) is None
    rig.later(0.05)
    assert rig.send(0.01, 0.0, 0.0) is None  # the stand-in has not moved
    assert rig.bridge.mode == RobotMode.TRACKING
    assert [target.position_m[0] for target in rig.arm.targets] == pytest.approx([0.51, 0.52])
    assert rig.bridge.status().commander == "policy"


def test_unchanged_target_is_not_planned_again(rig: Rig) -> None:
    rig.send(0.01, 0.0, 0.0)
    rig.later(0.05)
    assert rig.send(0.0, 0.0, 0.0) is None
    assert rig.arm.calls.count("stream") == 1
    # but it keeps the arm from being held
    assert rig.later(0.06) == RobotMode.TRACKING


def test_small_increments_are_not_lost(rig: Rig) -> None:
    # 10 um is below what is worth planning for, but ten of them are 0.1 mm
    rig.send(0.0, 0.0, 0.0)
    for _ in range(10):
        rig.later(0.05)
        rig.send(1e-5, 0.0, 0.0)
    assert rig.bridge.status().target_in_base.position_m[0] == pytest.approx(0.5001)
    assert rig.arm.targets[-1].position_m[0] == pytest.approx(0.5001, abs=2e-5)


def test_stale_stream_is_held_and_resumes_from_the_measured_pose(rig: Rig) -> None:
    rig.send(0.02, 0.0, 0.0)
    assert rig.later(0.08) == RobotMode.TRACKING
    assert rig.later(0.02) == RobotMode.HOLDING
    assert rig.arm.calls[-1] == "hold"
    rig.arm.be_at(0.505, 0.0, 0.2)
    assert rig.later(1.0) == RobotMode.HOLDING
    assert rig.bridge.status().target_in_base.position_m[0] == pytest.approx(0.505)
    rig.arm.be_at(0.507, 0.0, 0.2)  # no tick has seen this
    assert rig.send(0.01, 0.0, 0.0) is None
    assert rig.bridge.mode == RobotMode.TRACKING
    assert rig.arm.targets[-1].position_m[0] == pytest.approx(0.517)


def test_refused_commands_do_not_keep_a_stream_alive(rig: Rig) -> None:
    rig.send()
    rig.later(0.05)
    assert rig.send(float("nan"), 0.0, 0.0) is not None
    assert rig.later(0.05) == RobotMode.HOLDING
    status = rig.bridge.status()
    assert status.refused_commands == 1
    assert "not three finite numbers" in status.faults[-1]
    # shown for two seconds
    rig.later(2.1)
    assert rig.bridge.status().faults == ()


def test_stop_latches_until_release(rig: Rig) -> None:
    rig.send()
    assert rig.bridge.stop() is None
    assert rig.arm.calls[-1] == "hold"
    assert rig.hand.calls[-1] == "stop"
    assert rig.bridge.mode == RobotMode.STOPPED
    assert "/franka/release" in str(rig.send())
    assert rig.bridge.home() is not None
    assert rig.bridge.recover() is not None
    assert rig.later(5.0) == RobotMode.STOPPED
    assert rig.bridge.release() is None
    assert rig.bridge.mode == RobotMode.READY
    assert rig.bridge.release() is not None
    assert rig.send() is None


def test_stop_that_cannot_brake_is_a_fault(rig: Rig) -> None:
    rig.send()
    rig.arm.errors["hold"] = "no"
    assert rig.bridge.stop() == "no"
    assert rig.bridge.mode == RobotMode.FAULT


def test_arm_fault_latches_until_recovery(rig: Rig) -> None:
    rig.send()
    rig.arm.reading = replace(rig.arm.reading, fault="the arm reports cartesian_reflex")
    rig.arm.is_moving = False
    assert rig.later(0.01) == RobotMode.FAULT
    rig.arm.reading = replace(rig.arm.reading, fault=None)
    assert rig.later(0.01) == RobotMode.FAULT, "latched although the arm looks well again"
    assert "/franka/recover" in str(rig.send())
    assert rig.bridge.home() is not None
    assert "cartesian_reflex" in rig.bridge.status().faults[0]
    assert rig.bridge.recover() is None
    assert rig.bridge.mode == RobotMode.READY
    assert rig.bridge.status().faults == ()


def test_planner_failure_and_hand_failure_are_faults_that_brake(rig: Rig) -> None:
    rig.send()
    rig.arm.errors["motion"] = "Motion planner failed with error code -110"
    assert rig.later(0.01) == RobotMode.FAULT
    assert rig.arm.calls[-1] == "hold"
    rig.bridge.recover()
    rig.send()
    rig.hand.fault = "the hand failed to close"
    assert rig.later(0.01) == RobotMode.FAULT
    assert rig.arm.calls[-1] == "hold"


def test_target_that_the_arm_refuses_is_a_fault(rig: Rig) -> None:
    rig.arm.errors["stream"] = "motion refused"
    assert rig.send() == "motion refused"
    assert rig.bridge.mode == RobotMode.FAULT


def test_failed_recovery_stays_a_fault(rig: Rig) -> None:
    rig.arm.reading = replace(rig.arm.reading, fault="reflex")
    rig.later(0.01)
    rig.arm.errors["recover"] = "errors remain"
    assert rig.bridge.recover() == "errors remain"
    assert rig.bridge.mode == RobotMode.FAULT


def faulted(rig: Rig) -> None:
    rig.arm.reading = replace(rig.arm.reading, fault="reflex")
    assert rig.later(0.01) == RobotMode.FAULT


def test_second_recovery_is_refused_while_one_is_under_way(rig: Rig) -> None:
    faulted(rig)
    answers: list[str | None] = []
    rig.arm.meanwhile = lambda: answers.append(rig.bridge.recover())
    assert rig.bridge.recover() is None
    assert answers == ["a recovery is under way: wait for its answer"]
    assert rig.arm.calls.count("recover") == 1
    # and the next fault may be recovered from again
    rig.arm.meanwhile = lambda: None
    faulted(rig)
    assert rig.bridge.recover() is None


def test_motion_that_fails_during_a_recovery_keeps_the_fault(rig: Rig) -> None:
    faulted(rig)

    def fails() -> None:
        rig.arm.errors["motion"] = "motion failed: power limit"
        rig.bridge.tick()  # the arm tells it once, and this is the look that hears it

    rig.arm.meanwhile = fails
    assert "motion failed: power limit" in str(rig.bridge.recover())
    assert rig.bridge.mode == RobotMode.FAULT
    assert rig.bridge.status().faults == ("motion failed: power limit",)
    rig.arm.meanwhile = lambda: None
    assert rig.bridge.recover() is None
    assert rig.bridge.mode == RobotMode.READY


def test_connection_lost_during_a_recovery_is_not_readiness(rig: Rig) -> None:
    faulted(rig)

    def lost() -> None:
        rig.arm.errors["state"] = "timeout"
        rig.bridge.tick()
        del rig.arm.errors["state"]

    rig.arm.meanwhile = lost
    assert "DISCONNECTED" in str(rig.bridge.recover())
    assert rig.bridge.mode == RobotMode.DISCONNECTED
    assert "timeout" in rig.bridge.status().faults


def test_fault_that_is_back_at_the_end_of_a_recovery_stays(rig: Rig) -> None:
    faulted(rig)

    def back() -> None:
        rig.arm.reading = replace(rig.arm.reading, fault="the stop button is pressed")

    rig.arm.meanwhile = back
    assert "the stop button is pressed" in str(rig.bridge.recover())
    assert rig.bridge.mode == RobotMode.FAULT


def test_command_that_cannot_be_read_is_counted_and_shown(rig: Rig) -> None:
    rig.bridge.refuse("in frame 'world'")
    status = rig.bridge.status()
    assert status.refused_commands == 1
    assert status.faults == ("refused: in frame 'world'",)


@pytest.mark.parametrize("stale_after_s", [0.0, 0.101, 1e9, float("nan")])
def test_config_that_would_let_an_arm_run_on_is_refused(stale_after_s: float) -> None:
    with pytest.raises(ValueError, match="stale_after_s"):
        BridgeConfig(home_joints_rad=HOME_JOINTS_RAD, stale_after_s=stale_after_s)


def test_stop_behind_a_fault_outlives_recovery(rig: Rig) -> None:
    rig.arm.reading = replace(rig.arm.reading, fault="reflex")
    rig.later(0.01)
    rig.bridge.stop()
    assert rig.bridge.mode == RobotMode.FAULT
    assert rig.bridge.recover() is None
    assert rig.bridge.mode == RobotMode.STOPPED
    rig.bridge.release()
    assert rig.bridge.mode == RobotMode.READY


def test_lost_connection_ends_everything(rig: Rig) -> None:
    rig.send()
    rig.arm.errors["state"] = "timeout"
    rig.bridge.tick()
    assert rig.bridge.mode == RobotMode.DISCONNECTED
    assert rig.bridge.status().faults == ("timeout",)
    del rig.arm.errors["state"]
    rig.bridge.tick()
    assert rig.bridge.mode == RobotMode.DISCONNECTED
    assert "configure" in str(rig.send())


def test_homing_brakes_first_and_ends_ready(rig: Rig) -> None:
    rig.send()
    assert "stop the source" in str(rig.bridge.home())
    rig.later(0.1)
    assert rig.bridge.home() is None
    assert rig.bridge.mode == RobotMode.HOMING
    assert "homing" in str(rig.send())
    assert rig.later(0.01) == RobotMode.HOMING
    assert rig.arm.calls[-1] == "home"
    assert rig.later(1.0) == RobotMode.HOMING, "still moving"
    rig.arm.is_moving = False
    assert rig.later(0.01) == RobotMode.READY


def test_homing_that_ends_elsewhere_is_a_fault(rig: Rig) -> None:
    rig.bridge.home()
    rig.later(0.01)
    joints = np.array(HOME_JOINTS_RAD)
    joints[2] += 0.1
    rig.arm.reading = replace(rig.arm.reading, joints_rad=joints)
    rig.arm.is_moving = False
    assert rig.later(0.01) == RobotMode.FAULT
    assert "0.100 rad" in rig.bridge.status().faults[0]


def test_stop_ends_homing(rig: Rig) -> None:
    rig.bridge.home()
    rig.later(0.01)
    assert rig.bridge.stop() is None
    assert rig.later(1.0) == RobotMode.STOPPED
    assert rig.arm.calls.count("home") == 1


def test_tool_outside_the_workspace_is_not_tracked(rig: Rig) -> None:
    rig.arm.be_at(0.2, 0.0, 0.2)
    assert "outside the workspace" in str(rig.send())
    assert rig.bridge.mode == RobotMode.READY
    assert rig.arm.targets == []


def test_flood_of_commands_is_refused(rig: Rig) -> None:
    # 20 mm each at the same instant: the burst of two steps is used up
    assert [rig.send(0.02, 0.0, 0.0) is None for _ in range(4)] == [True, True, False, False]


def test_hand_follows_with_hysteresis(rig: Rig) -> None:
    for width_m in (0.04, 0.08, 0.04, 0.0, 0.04):
        rig.send(0.0, 0.0, 0.0, width_m=width_m)
    assert rig.hand.calls == ["open", "open", "close", "close"]


def test_second_source_is_refused_until_the_first_is_silent(rig: Rig) -> None:
    rig.send()
    assert "one source at a time" in str(rig.send(source="openvla"))
    rig.later(1.1)
    assert rig.send(source="openvla") is None
