"""The twin as a franky client sees it."""

import importlib.metadata
import signal
import subprocess
import sys
import time
from collections.abc import Callable

import franky
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from tests.support.twin_client import TOOL_DOWN_XYZW, cube_at, eventually, go
from vlajs.tasks import HOME_JOINTS_RAD
from vlajs.twin.arm import ArmConfig
from vlajs.twin.config import TwinConfig
from vlajs.twin.placement import PlacementRefusedError
from vlajs.twin.reflex import ERROR_NAMES, ReflexConfig
from vlajs.twin.scene import SceneConfig
from vlajs.twin.server import TwinServer


def errors_of(robot: franky.Robot) -> str:
    return str(robot.state.current_errors)


def end_stream(robot: franky.Robot) -> None:
    """End a stream whose last target is reached: from rest to rest franky's planner now and then finds no plan."""
    try:
        robot.move(franky.CartesianStopMotion())
    except RuntimeError as error:
        if "Motion planner failed" not in str(error):
            raise
    assert not robot.is_in_control


def test_client_reads_the_true_state(twin: TwinServer, robot: franky.Robot) -> None:
    twin.wait(0.3)
    state = robot.state
    assert np.array(state.q) == pytest.approx(twin.joint_positions(), abs=1e-4)
    assert np.array(state.O_T_EE.translation) == pytest.approx(twin.tcp_pose().position_m, abs=1e-4)
    # ManiSkill's rest pose: the tool 0.615 m ahead of the base, pointing down
    assert twin.tcp_pose().position_m == pytest.approx([0.615, 0.0, 0.17], abs=1e-3)
    assert abs(twin.tcp_pose().quat_wxyz[1]) == pytest.approx(1.0, abs=1e-3)


def test_measured_pose_is_not_the_desired_one(robot: franky.Robot) -> None:
    start_m = np.array(robot.state.O_T_EE.translation)
    robot.move(
        franky.CartesianMotion(franky.Affine(start_m + np.array([0, 0, 0.1]), TOOL_DOWN_XYZW)), asynchronous=True
    )
    largest_lag_m = 0.0
    while robot.is_in_control:
        state = robot.state
        lag = np.array(state.O_T_EE_d.translation) - np.array(state.O_T_EE.translation)
        largest_lag_m = max(largest_lag_m, float(np.linalg.norm(lag)))
        time.sleep(0.002)  # the twin runs in this process: a loop that never waits keeps it from its turn
    robot.join_motion()
    # about 0.01 s behind a tool at 0.2 m/s and more: millimetres, but never the centimetres of a sluggish arm
    assert 5e-4 < largest_lag_m < 8e-3


def test_joint_motion_arrives(twin: TwinServer, robot: franky.Robot) -> None:
    joints = np.add(HOME_JOINTS_RAD, [0.2, -0.1, 0.1, 0.1, -0.1, 0.1, 0.2])
    robot.move(franky.JointMotion(list(joints)))
    twin.wait(0.3)
    assert twin.joint_positions() == pytest.approx(joints, abs=1e-3)
    assert np.max(np.abs(twin.joint_velocities())) < 0.01


def test_stream_of_absolute_targets_covers_its_distance(twin: TwinServer, robot: franky.Robot) -> None:
    start_m = np.array(robot.current_pose.end_effector_pose.translation)
    for step in range(1, 51):  # 50 steps of 2 mm at 50 Hz of robot time: 100 mm at 0.1 m/s
        target = franky.Affine(start_m + np.array([0.0, 0.002 * step, 0.0]), TOOL_DOWN_XYZW)
        robot.move(franky.CartesianMotion(target, return_when_finished=False), asynchronous=True)
        twin.wait(0.02)
    twin.wait(0.7)
    moved_m = twin.tcp_pose().position_m - start_m
    end_stream(robot)
    assert moved_m == pytest.approx([0.0, 0.1, 0.0], abs=1e-3)


def test_grasped_cube_is_lifted_and_held(twin: TwinServer, robot: franky.Robot, gripper: franky.Gripper) -> None:
    scene = cube_at(0.6, -0.05, yaw_rad=0.4)
    twin.place_objects(scene)
    gripper.open(0.1)
    turned = (Rotation.from_rotvec([0, 0, 0.4]) * Rotation.from_quat(TOOL_DOWN_XYZW)).as_quat().tolist()
    cube_m = scene.objects["cube"].position_m
    go(robot, cube_m + np.array([0, 0, 0.1]), turned)
    go(robot, cube_m, turned)
    assert gripper.grasp(0.0, 0.1, 40.0, epsilon_inner=0.08, epsilon_outer=0.08)
    assert twin.hand_width() == pytest.approx(0.04, abs=1e-3)
    with pytest.raises(PlacementRefusedError, match=r"arm touches the cube.*open the hand"):
        twin.place_objects(scene)
    go(robot, cube_m + np.array([0, 0, 0.15]), turned)
    twin.wait(1.0)
    lifted_m = twin.object_pose("cube").position_m - cube_m
    # 150 mm up with the tool, creeping less than a millimetre
    assert lifted_m[2] == pytest.approx(0.15, abs=2e-3)
    # its weight on the tool: 0.064 kg * 9.81 m/s2 = 0.628 N downwards
    assert np.array(robot.state.O_F_ext_hat_K)[:3] == pytest.approx([0.0, 0.0, -0.628], abs=0.15)
    gripper.open(0.1)
    eventually(lambda: twin.object_pose("cube").position_m[2] < 0.03, "the released cube falls")


def test_collision_is_a_reflex_that_the_client_recovers(twin: TwinServer, robot: franky.Robot) -> None:
    robot.set_collision_behavior(100.0, 10.0)
    start_m = np.array(robot.current_pose.end_effector_pose.translation)
    with pytest.raises(franky.ControlException, match="cartesian_reflex"):
        go(robot, np.array([start_m[0], start_m[1], -0.05]))  # 5 cm into the table
    assert robot.state.robot_mode == franky.RobotMode.Reflex
    assert twin.faults() == ("cartesian_reflex",)
    with pytest.raises(franky.CommandException, match="Reflex"):
        go(robot, start_m)
    robot.recover_from_errors()
    eventually(lambda: robot.state.robot_mode == franky.RobotMode.Idle, "idle after recovery")
    robot.set_collision_behavior(100.0, 60.0)
    go(robot, start_m)
    twin.wait(0.2)
    assert twin.tcp_pose().position_m == pytest.approx(start_m, abs=1e-3)


def test_speed_beyond_a_pandas_joints_faults(robot: franky.Robot) -> None:
    robot.relative_dynamics_factor = 1.0
    joints = np.add(HOME_JOINTS_RAD, [1.5, 0, 0, 0, 0, 0, 0])
    with pytest.raises(franky.ControlException, match="joint_velocity_violation"):
        robot.move(franky.JointMotion(list(joints)))


def test_every_fault_has_its_name_on_the_wire() -> None:
    with TwinServer(TwinConfig(reflex=ReflexConfig(recovery_time_s=0.005))) as twin:
        robot = franky.Robot(twin.address, realtime_config=franky.RealtimeConfig.Ignore)
        for name in ERROR_NAMES:
            twin.inject_fault(name)
            eventually(lambda name=name: errors_of(robot) == f'["{name}"]', f"{name} reported")
            robot.recover_from_errors()
            eventually(lambda: not robot.has_errors, f"recovery from {name}")


def test_hung_client_stops_the_arm() -> None:
    script = (
        "import sys, time, franky\n"
        "robot = franky.Robot(sys.argv[1], realtime_config=franky.RealtimeConfig.Ignore)\n"
        "robot.move(franky.JointVelocityMotion([0.1] + [0.0] * 6, franky.Duration(60000)), asynchronous=True)\n"
        "time.sleep(60)\n"
    )
    with TwinServer(TwinConfig()) as twin:
        client = subprocess.Popen([sys.executable, "-c", script, twin.address])
        try:
            eventually(lambda: twin.joint_velocities()[0] > 0.05, "the client moves joint 1")
            client.send_signal(signal.SIGSTOP)
            eventually(lambda: twin.faults() == ("communication_constraints_violation",), "the silence is a fault")
            twin.wait(0.5)
            assert np.max(np.abs(twin.joint_velocities())) < 1e-3
        finally:
            client.kill()
            client.wait()


def test_patient_twin_waits_for_a_stopped_client_and_goes_on() -> None:
    script = (
        "import sys, time, franky\n"
        "robot = franky.Robot(sys.argv[1], realtime_config=franky.RealtimeConfig.Ignore)\n"
        "robot.move(franky.JointVelocityMotion([0.1] + [0.0] * 6, franky.Duration(60000)), asynchronous=True)\n"
        "time.sleep(60)\n"
    )
    with TwinServer(TwinConfig(command_patience_s=1.0)) as twin:
        client = subprocess.Popen([sys.executable, "-c", script, twin.address])
        try:
            eventually(lambda: twin.joint_velocities()[0] > 0.05, "the client moves joint 1")
            client.send_signal(signal.SIGSTOP)
            time.sleep(0.1)
            stopped_s = twin.robot_time_s
            time.sleep(0.6)
            # at least a second a tick while nobody answers: one tick in 0.6 s, two at most
            assert twin.robot_time_s - stopped_s < 0.0025
            client.send_signal(signal.SIGCONT)
            twin.wait(0.2)
            assert twin.faults() == ()
            assert twin.joint_velocities()[0] == pytest.approx(0.1, abs=0.01)
        finally:
            client.kill()
            client.wait()


def test_push_moves_the_cube(twin: TwinServer, robot: franky.Robot) -> None:
    before_m = twin.object_pose("cube").position_m
    # Friction holds 0.4 * 0.064 kg * 9.81 m/s2 = 0.251 N: 0.2 N does nothing, 0.6 N moves the cube.
    twin.apply_force("cube", np.array([0.2, 0.0, 0.0]), 0.3)
    twin.wait(0.4)
    assert twin.object_pose("cube").position_m == pytest.approx(before_m, abs=1e-3)
    twin.apply_force("cube", np.array([0.6, 0.0, 0.0]), 0.1)
    twin.wait(0.6)
    # 0.349 N net on 0.064 kg for 0.1 s: 5.45 m/s2, 0.545 m/s, 27 mm; then v^2 / (2 * 3.92 m/s2) = 38 mm: 65 mm in all
    assert twin.object_pose("cube").position_m[0] - before_m[0] == pytest.approx(0.065, abs=0.01)
    with pytest.raises(ValueError, match="no object or link 'table'"):
        twin.apply_force("table", np.zeros(3), 0.1)
    with pytest.raises(ValueError, match="a time above 0"):
        twin.apply_force("cube", np.zeros(3), 0.0)


def test_robot_time_is_one_millisecond_a_tick(twin: TwinServer) -> None:
    with twin.lock:
        robot_s, physics_s = twin.robot_time_s, twin.data.time
    twin.wait(0.3)
    with twin.lock:
        assert twin.robot_time_s - robot_s == pytest.approx(twin.data.time - physics_s, abs=1e-9)
        assert twin.robot_time_s - robot_s >= 0.3 - 1e-9
    assert twin.real_time_factor > 0.0


def test_twins_coexist_and_a_taken_address_is_refused(twin: TwinServer) -> None:
    with TwinServer(TwinConfig()) as other:
        assert other.address != twin.address
        with pytest.raises(OSError, match=rf"{other.address} cannot be had.*another twin"):
            TwinServer(TwinConfig(address=other.address)).start()
    with TwinServer(TwinConfig(address=other.address)) as again:  # free again at once
        assert again.address == other.address


def test_another_franky_sim_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "1.1.0")
    with pytest.raises(RuntimeError, match=r"franky-sim 1\.1\.0 is installed.*pip install franky-sim==1\.0\.4"):
        TwinServer()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: TwinConfig(address="192.168.0.1"), "loopback only"),
        (lambda: TwinConfig(address="panda"), "panda"),
        (lambda: TwinConfig(speed=0.0), "speed is 0.0"),
        (lambda: TwinConfig(command_patience_s=2.0), "command_patience_s is 2.0"),
        (lambda: TwinConfig(initial_joints_rad=(0.0,) * 6), "seven finite numbers"),
        (lambda: TwinConfig(initial_hand_width_m=0.1), "the hand opens 0 to 0.08 m"),
        (lambda: SceneConfig(object_friction=0.0), "object_friction is 0.0"),
        (lambda: SceneConfig(cube_half_size_m=0.05), "below 0.04"),
        (lambda: ArmConfig(stiffness_nm_rad=(1.0,) * 6), "seven finite numbers"),
        (lambda: ArmConfig(command_time_constant_s=0.001), "from 0.004 to 1"),
    ],
)
def test_configuration_is_checked(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_reading_before_start_says_so() -> None:
    twin = TwinServer()
    with pytest.raises(RuntimeError, match="no address before start"):
        _ = twin.address
    twin.stop()
