"""Objects of a scene are put on the twin's table and away; an arm in the way refuses it."""

import franky
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from tests.support.twin_client import FAR_GOAL_M, cube_at, eventually, go
from vlajs.geometry import Pose, quat_of, rotation, yaw_of
from vlajs.tasks import Scene, get_task, sample_scene
from vlajs.twin.placement import PlacementRefusedError
from vlajs.twin.server import TwinServer


def test_placed_cube_stays_where_the_seed_says(twin: TwinServer, robot: franky.Robot) -> None:
    poses = []
    for seed in (5, 6, 5):
        # the arm stands over the scenes' square at home; it must be high enough not to be in the way
        scene = sample_scene(get_task("pick_cube"), seed)
        twin.place_objects(scene, marker="sphere")
        twin.wait(0.5)
        pose, wanted = twin.object_pose("cube"), scene.objects["cube"]
        assert pose.position_m == pytest.approx(wanted.position_m, abs=1e-3)
        assert np.exp(1j * yaw_of(pose.quat_wxyz)) == pytest.approx(np.exp(1j * yaw_of(wanted.quat_wxyz)), abs=0.01)
        poses.append(pose.position_m)
        with twin.lock:
            assert twin.data.body("goal_sphere").xpos == pytest.approx(scene.goal_m)
            assert twin.data.body("goal_disc").xpos[2] < 0.0
    assert poses[0] == pytest.approx(poses[2], abs=1e-6)
    assert np.linalg.norm(poses[0] - poses[1]) > 1e-3


def test_a_scene_puts_away_what_it_has_not_and_another_brings_it_back(twin: TwinServer, robot: franky.Robot) -> None:
    lying = sample_scene(get_task("lift_peg_upright"), 5)
    twin.place_objects(lying)
    twin.wait(0.5)
    _, poses = twin.object_poses()
    assert list(poses) == ["peg"]
    assert poses["peg"].position_m == pytest.approx(lying.objects["peg"].position_m, abs=1e-3)
    with pytest.raises(ValueError, match="no cube is there to push: the scene has peg"):
        twin.apply_force("cube", np.array([1.0, 0.0, 0.0]), 0.1)
    with pytest.raises(ValueError, match="no object 'cube' is there: the scene has peg"):
        twin.object_pose("cube")
    # into the peg, were it still there
    twin.place_objects(cube_at(*lying.objects["peg"].position_m[:2], z_m=0.1))
    twin.wait(0.5)
    assert "peg" not in twin.seen().bodies
    # dropped from 8 cm: it has weight, and is stopped by the table
    assert twin.object_pose("cube").position_m[2] == pytest.approx(0.02, abs=1e-3)
    with twin.lock:
        assert twin.data.body("peg").xpos[2] < -0.9


def test_a_scene_that_is_refused_leaves_everything_where_it_is(twin: TwinServer, robot: franky.Robot) -> None:
    tool = twin.tcp_pose()
    # across the fingers, which are open by 8 cm: along them it would fit in between
    across = quat_of(Rotation.from_rotvec([0.0, 0.0, np.pi / 2]))
    in_the_hand = Scene(objects={"peg": Pose(position_m=tool.position_m, quat_wxyz=across)}, goal_m=FAR_GOAL_M)
    with pytest.raises(PlacementRefusedError, match=r"place of the peg .* is taken by robot0_"):
        twin.place_objects(in_the_hand)
    twin.wait(0.3)
    _, poses = twin.object_poses()
    assert list(poses) == ["cube"]
    assert poses["cube"].position_m == pytest.approx([0.5, 0.25, 0.02], abs=1e-3)


def test_a_scene_is_cleared_even_of_what_the_hand_holds(
    twin: TwinServer, robot: franky.Robot, gripper: franky.Gripper
) -> None:
    cube_m = np.array([0.6, -0.05, 0.02])
    twin.place_objects(cube_at(*cube_m), marker="disc")
    gripper.open(0.1)
    go(robot, cube_m + np.array([0, 0, 0.1]))
    go(robot, cube_m)
    assert gripper.grasp(0.0, 0.1, 40.0, epsilon_inner=0.08, epsilon_outer=0.08)
    with pytest.raises(PlacementRefusedError, match="arm touches the cube"):
        twin.place_objects(cube_at(0.5, 0.25))
    twin.clear_objects()
    _, poses = twin.object_poses()
    assert poses == {}
    eventually(lambda: twin.hand_width() < 0.002, "fingers that close on nothing")
    assert twin.seen().bodies["goal_disc"].position_m[2] < 0.0
    twin.place_objects(cube_at(0.5, 0.25))
    assert twin.object_pose("cube").position_m == pytest.approx([0.5, 0.25, 0.02], abs=1e-3)


def test_grasped_peg_is_lifted_and_weighs_what_it_weighs(
    twin: TwinServer, robot: franky.Robot, gripper: franky.Gripper
) -> None:
    scene = sample_scene(get_task("lift_peg_upright"), 5)
    twin.place_objects(scene)
    gripper.open(0.1)
    peg_m = scene.objects["peg"].position_m
    go(robot, peg_m + np.array([0, 0, 0.1]))
    go(robot, peg_m)
    assert gripper.grasp(0.0, 0.1, 40.0, epsilon_inner=0.08, epsilon_outer=0.08)
    assert twin.hand_width() == pytest.approx(0.05, abs=1e-3)  # twice a half width of 0.025
    with pytest.raises(PlacementRefusedError, match=r"arm touches the peg.*open the hand"):
        twin.place_objects(cube_at(0.5, 0.25))
    go(robot, peg_m + np.array([0, 0, 0.15]))
    twin.wait(1.0)
    assert twin.object_pose("peg").position_m[2] - peg_m[2] == pytest.approx(0.15, abs=2e-3)
    # 0.6 kg * 9.81 m/s2 = 5.89 N
    assert np.array(robot.state.O_F_ext_hat_K)[2] == pytest.approx(-5.89, abs=0.3)
    gripper.open(0.1)
    eventually(lambda: twin.object_pose("peg").position_m[2] < 0.03, "the released peg falls")


def test_a_peg_held_off_its_middle_does_not_creep_round_in_the_fingers(
    twin: TwinServer, robot: franky.Robot, gripper: franky.Gripper
) -> None:
    def slope_rad() -> float:
        return float(np.arcsin(rotation(twin.object_pose("peg").quat_wxyz).apply([1.0, 0.0, 0.0])[2]))

    peg_m = np.array([0.55, 0.0, 0.025])
    lying = Pose(position_m=peg_m, quat_wxyz=np.array([1.0, 0.0, 0.0, 0.0]))
    twin.place_objects(Scene(objects={"peg": lying}, goal_m=FAR_GOAL_M))
    gripper.open(0.1)
    held_m = peg_m + np.array([0.04, 0.0, 0.0])
    go(robot, held_m + np.array([0, 0, 0.1]))
    go(robot, held_m)
    assert gripper.grasp(0.0, 0.1, 40.0, epsilon_inner=0.08, epsilon_outer=0.08)
    go(robot, held_m + np.array([0, 0, 0.15]))
    twin.wait(0.5)
    assert twin.object_pose("peg").position_m[2] > 0.15  # lifted, by 0.15 m
    before_rad = slope_rad()
    twin.wait(1.0)
    # its weight turns it with 0.6 kg * 9.81 m/s2 * 0.04 m = 0.24 Nm; two pads of rubber, 40 N each, hold several times
    # that. With MuJoCo's friction as soft as contacts are by default it would be 0.013 rad.
    assert abs(slope_rad() - before_rad) < 0.003
    gripper.open(0.1)
    eventually(lambda: twin.object_pose("peg").position_m[2] < 0.03, "the released peg falls")


def test_placing_into_arm_or_table_is_refused(twin: TwinServer, robot: franky.Robot) -> None:
    before = twin.object_pose("cube").position_m
    finger_m = twin.tcp_pose().position_m + np.array([0.0, twin.hand_width() / 2 + 0.005, 0.0])
    with pytest.raises(PlacementRefusedError, match=r"taken by robot0_.*finger"):
        twin.place_objects(cube_at(*finger_m))
    with pytest.raises(PlacementRefusedError, match=r"taken by world \(10.0 mm overlap, 1 mm allowed\)"):
        twin.place_objects(cube_at(0.5, 0.2, z_m=0.01))
    assert twin.object_pose("cube").position_m == pytest.approx(before, abs=1e-4)


@pytest.mark.parametrize(
    ("scene", "marker", "message"),
    [
        (Scene(objects={"ball": cube_at(0.5, 0.2).objects["cube"]}, goal_m=FAR_GOAL_M), None, "no object 'ball'"),
        (cube_at(float("nan"), 0.2), None, "must be finite"),
        (cube_at(0.5, 0.2), "cross", "no marker 'cross'"),
    ],
)
def test_bad_scenes_are_refused(twin: TwinServer, scene: Scene, marker: str | None, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        twin.place_objects(scene, marker=marker)
