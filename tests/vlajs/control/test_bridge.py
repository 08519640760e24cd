"""The state machine on a stand-in arm that does exactly what it is told: commands, homing, the hand."""

from dataclasses import replace

import numpy as np
import pytest

from tests.support.bridge_rig import Rig, StandInArm, StandInHand
from vlajs.control.bridge import Bridge, BridgeConfig
from vlajs.states import RobotMode
from vlajs.tasks import HOME_JOINTS_RAD


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


def test_command_that_cannot_be_read_is_counted_and_shown(rig: Rig) -> None:
    rig.bridge.refuse("in frame 'world'")
    status = rig.bridge.status()
    assert status.refused_commands == 1
    assert status.faults == ("refused: in frame 'world'",)


@pytest.mark.parametrize("stale_after_s", [0.0, 0.101, 1e9, float("nan")])
def test_config_that_would_let_an_arm_run_on_is_refused(stale_after_s: float) -> None:
    with pytest.raises(ValueError, match="stale_after_s"):
        BridgeConfig(home_joints_rad=HOME_JOINTS_RAD, stale_after_s=stale_after_s)


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
    assert rig.hand.calls == ["keep on", "open", "keep on", "close", "keep on"]


def test_second_source_is_refused_until_the_first_is_silent(rig: Rig) -> None:
    rig.send()
    assert "one source at a time" in str(rig.send(source="openvla"))
    rig.later(1.1)
    assert rig.send(source="openvla") is None
