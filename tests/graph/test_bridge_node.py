"""The bridge node as a process of its own, commanded over DDS, on a simulated arm whose true pose is known here."""

import contextlib
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from tests.support.processes import output_of_refused_start, own_domain, python
from tests.support.station import Station, moved_m, position
from vlajs.control.target import TargetLimits
from vlajs.geometry import Pose
from vlajs.twin.server import TwinConfig, TwinServer
from vlajs_msgs.msg import RobotStatus

pytestmark = pytest.mark.graph

DOMAIN_ID = own_domain()
STALE_AFTER_S = 0.09
LIMITS = TargetLimits()


@pytest.fixture(scope="module")
def twin() -> Iterator[TwinServer]:
    usual_s = sys.getswitchinterval()
    sys.setswitchinterval(5e-4)  # the arm shares Python's lock with the tests: it must get it every millisecond
    # at half speed a busy machine has twice the time for what must be done within a time of the arm's clock
    with TwinServer(TwinConfig(speed=0.5)) as twin:
        yield twin
    sys.setswitchinterval(usual_s)


@pytest.fixture(scope="module")
def only_station(twin: TwinServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Station]:
    with contextlib.closing(Station(DOMAIN_ID, twin, tmp_path_factory.mktemp("bridge") / "log")) as station:
        yield station
        station.end_bridge()


@pytest.fixture
def station(only_station: Station) -> Station:
    only_station.make_ready()
    return only_station


def test_state_is_published_in_the_base_frame(station: Station) -> None:
    station.until(lambda: bool(station.joints and station.tcps and station.targets), "joint states and poses")
    joints, tcp = station.joints[-1], station.tcps[-1]
    assert joints.name[:2] == ["panda_joint1", "panda_joint2"]
    assert joints.name[7:] == ["panda_finger_joint1", "panda_finger_joint2"]
    assert np.array(joints.position[:7]) == pytest.approx(station.twin.joint_positions(), abs=2e-3)
    assert sum(joints.position[7:]) == pytest.approx(station.twin.hand_width(), abs=2e-3)
    assert tcp.header.frame_id == "panda_link0"
    assert position(tcp) == pytest.approx(station.twin.tcp_pose().position_m, abs=2e-3)
    assert position(station.targets[-1]) == pytest.approx(position(tcp), abs=2e-3)
    limits = station.status().limits
    assert (limits.max_step_m, limits.leash_m) == (LIMITS.max_step_m, LIMITS.leash_m)
    assert list(limits.workspace_max_m) == pytest.approx(LIMITS.workspace_max_m)


def test_increments_add_up_to_the_commanded_distance(station: Station) -> None:
    before = station.at_rest()
    # 10 steps of 10 mm along y: 100 mm
    station.stream((0.0, 0.01, 0.0), 10)
    station.until_mode(RobotStatus.MODE_HOLDING)
    after = station.at_rest()
    # the last step is cut short by holding when commands stop; at 0.2 m/s the arm lags a few millimetres
    assert after.position_m[1] - before.position_m[1] == pytest.approx(0.1, abs=0.012)
    assert after.position_m[[0, 2]] == pytest.approx(before.position_m[[0, 2]], abs=3e-3)


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        ({"delta_pos_m": (float("nan"), 0.0, 0.0)}, "is not three finite numbers"),
        ({"delta_pos_m": (0.0, float("inf"), 0.0)}, "is not three finite numbers"),
        ({"delta_pos_m": (0.2, 0.0, 0.0)}, "more than 3 times the step limit of 0.02 m"),
        ({"delta_pos_m": (0.01, 0.0, 0.0), "width_m": 0.5}, "outside [0, 0.08] m"),
        ({"delta_pos_m": (0.01, 0.0, 0.0), "frame": "world"}, "is in frame 'world'"),
        ({"delta_pos_m": (0.01, 0.0, 0.0), "age_s": 1.0}, "limit 0.2 s"),
        ({"delta_pos_m": (0.01, 0.0, 0.0), "source": ""}, "names no source"),
    ],
)
def test_nonsense_moves_nothing_and_says_why(station: Station, command: dict[str, Any], reason: str) -> None:
    before = station.at_rest()
    refused_before = station.status().refused_commands
    for _ in range(3):
        station.send(**command)
    station.until(lambda: station.status().refused_commands >= refused_before + 1, "a refusal")
    assert any(reason in fault for fault in station.status().faults), station.statuses[-1].faults
    assert station.status().mode == RobotStatus.MODE_READY
    station.twin.wait(0.3)
    assert moved_m(before, station.at_rest()) < 5e-4


def test_arm_holds_when_its_commander_is_killed(station: Station) -> None:
    twin = station.twin
    words = ["-m", "tests.support.command_stream", "--source", "doomed", "--delta-pos-m", "0", "0.012", "0"]
    with python(DOMAIN_ID, *words, log=station.log) as stream:
        # in full motion: a tenth of a metre on the way
        station.until(lambda: twin.tcp_pose().position_m[1] > 0.1, "the arm under way")
        stream.kill()
        stream.wait()
    killed_s = twin.robot_time_s
    twin.wait(STALE_AFTER_S + 0.1)
    held = twin.tcp_pose()
    status = station.until_mode(RobotStatus.MODE_HOLDING)
    assert status.held
    assert status.last_command_age_s < STALE_AFTER_S + 0.05
    twin.wait(0.5)
    assert twin.robot_time_s > killed_s + 0.5
    assert moved_m(held, station.at_rest()) < 4e-3
    # the target has come back to the measured pose, so the next stream starts without a jump
    station.targets.clear()
    station.until(lambda: bool(station.targets), "the target")
    assert position(station.targets[-1]) == pytest.approx(twin.tcp_pose().position_m, abs=2e-3)


def test_stream_resumes_after_holding_without_a_jump(station: Station) -> None:
    station.stream((0.0, 0.01, 0.0), 6)
    station.until_mode(RobotStatus.MODE_HOLDING)
    held = station.at_rest()
    station.send((0.0, 0.005, 0.0))
    station.until_carried_out()
    station.until_mode(RobotStatus.MODE_HOLDING)
    # one step of 5 mm from where it was held, not from where the old target was
    assert moved_m(held, station.at_rest()) < 7e-3


def test_stop_latches_until_release(station: Station) -> None:
    station.stream((0.0, 0.01, 0.0), 4)
    assert station.ask("stop").success
    stopped = station.until_mode(RobotStatus.MODE_STOPPED)
    resting = station.at_rest()
    station.stream((0.0, 0.01, 0.0), 6)
    status = station.status()
    assert status.mode == RobotStatus.MODE_STOPPED
    assert status.refused_commands > stopped.refused_commands
    assert moved_m(resting, station.at_rest()) < 1e-3
    assert station.ask("home").success is False
    assert station.ask("release").success
    station.until_mode(RobotStatus.MODE_READY)
    station.stream((0.0, -0.01, 0.0), 4)
    assert moved_m(resting, station.at_rest()) > 0.01


def test_stop_works_while_homing(station: Station) -> None:
    station.stream((0.0, 0.015, 0.015), 16)
    station.until_mode(RobotStatus.MODE_HOLDING)
    away = station.at_rest()
    homing = station.begin("home")
    station.until(lambda: moved_m(away, station.twin.tcp_pose()) > 0.01, "the arm on its way home")
    assert not homing.done()
    assert station.ask("stop").success
    station.until(homing.done, "an answer from home")
    assert not homing.result().success
    assert "STOPPED" in homing.result().message
    resting = station.at_rest()
    home = Pose(position_m=np.array([0.615, 0.0, 0.17]), quat_wxyz=resting.quat_wxyz)
    assert moved_m(resting, home) > 0.05, "stopped short of home"
    assert station.status().mode == RobotStatus.MODE_STOPPED


def test_reflex_latches_a_fault_until_recovery(station: Station) -> None:
    station.stream((0.0, 0.01, 0.0), 4)
    station.twin.inject_fault("cartesian_reflex")
    status = station.until_mode(RobotStatus.MODE_FAULT)
    assert any("reflex" in fault for fault in status.faults)
    resting = station.at_rest()
    station.stream((0.0, 0.01, 0.0), 4)
    assert station.status().mode == RobotStatus.MODE_FAULT
    assert moved_m(resting, station.at_rest()) < 1e-3
    assert station.ask("home").success is False
    assert station.ask("release").success is False
    recovered = station.ask("recover")
    assert recovered.success, recovered.message
    assert station.until_mode(RobotStatus.MODE_READY).faults == []
    station.stream((0.0, -0.01, 0.0), 6)
    assert moved_m(resting, station.twin.tcp_pose()) > 0.01


def test_second_commander_is_refused(station: Station) -> None:
    station.stream((0.0, 0.002, 0.0), 4)
    refused_before = station.status().refused_commands
    station.send((0.0, 0.002, 0.0))
    station.send((0.02, 0.0, 0.0), source="openvla")
    station.until(lambda: station.status().refused_commands > refused_before, "the refusal")
    status = station.statuses[-1]
    assert status.commander == "policy"
    assert any("one source at a time" in fault for fault in status.faults), status.faults


def test_leash_and_box_hold_under_a_stream_that_pushes_out(station: Station) -> None:
    # 25 steps of 20 mm outwards are 0.5 m, from y = 0; the box ends at 0.35 m
    station.stream((0.0, 0.02, 0.0), 25)
    ends = station.at_rest()
    assert ends.position_m[1] == pytest.approx(LIMITS.workspace_max_m[1], abs=6e-3)
    # the target was leashed to where the arm was up to a tick before: 0.5 m/s * 10 ms = 5 mm
    assert max(station.leads_m()) < LIMITS.leash_m + 0.01
    assert max(position(message)[1] for message in station.targets) < LIMITS.workspace_max_m[1] + 1e-6


def test_hand_follows_the_width(station: Station) -> None:
    station.stream((0.0, 0.0, 0.0), 4, width_m=0.0)
    station.until(lambda: station.twin.hand_width() < 0.005, "the hand closed")
    station.until(lambda: not station.status().gripper_busy, "the hand at rest")
    status = station.statuses[-1]
    assert not status.grasped, "there is nothing between the fingers"
    assert status.gripper_command_m == 0.0
    # between the thresholds the last command stays
    station.stream((0.0, 0.0, 0.0), 4, width_m=0.04)
    assert station.status().gripper_command_m == 0.0
    station.stream((0.0, 0.0, 0.0), 4, width_m=0.08)
    station.until(lambda: station.twin.hand_width() > 0.075, "the hand open")


@pytest.mark.beside
@pytest.mark.parametrize(
    ("parameters", "reason"),
    [
        ({"robot_ip": "''"}, "robot_ip is empty"),
        ({"robot_ip": "127.0.0.1", "max_step_m": 0.5}, "max_step_m = 0.5 is outside (0, 0.1]"),
        ({"robot_ip": "127.0.0.1", "workspace_min_m": "[0.9,0.0,0.0]"}, "the workspace box is empty"),
        ({"robot_ip": "127.0.0.1", "stale_after_s": 0.0}, "stale_after_s = 0.0"),
        ({"robot_ip": "127.0.0.1", "max_target_speed_m_s": 1e9}, "max_target_speed_m_s = 1000000000.0 is outside"),
        ({"robot_ip": "127.0.0.1", "workspace_min": "[0.4,0.0,0.1]"}, "did you mean workspace_min_m?"),
        ({"robot_ip": "127.0.0.1", "force_n": 400}, "hand force_n = 400.0 is outside (0, 70]"),
        ({"robot_ip": "127.0.0.1", "workspace_min_m": "[1,0,0]"}, "the workspace box is empty: (1.0, 0.0, 0.0)"),
        ({"robot_ip": "127.0.0.1", "force_n": "hard"}, "parameter force_n = 'hard' is of type string, expected double"),
        ({"robot_ip": "127.0.0.1", "workspace_min_m": "[0.3,-0.35,0]"}, "0.0 beside 0.3 and not 0"),
        ({"robot_ip": "127.0.0.1", "velocity_factor": 2.0}, "velocity_factor = 2.0 is outside (0, 1]"),
        ({"robot_ip": "127.254.254.254", "connect_timeout_s": 0.1}, "cannot connect to the arm"),
    ],
)
def test_bad_parameter_ends_the_process_with_the_reason(parameters: dict[str, object], reason: str) -> None:
    output = output_of_refused_start(DOMAIN_ID, "bridge_node", **parameters)
    assert reason in output
    assert "Traceback" not in output
