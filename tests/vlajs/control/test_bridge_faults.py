"""How the state machine stops, faults and recovers, on a stand-in arm that fails as it is told."""

from dataclasses import replace

import pytest

from tests.support.bridge_rig import Rig
from vlajs.states import RobotMode


@pytest.fixture
def rig() -> Rig:
    return Rig()


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
