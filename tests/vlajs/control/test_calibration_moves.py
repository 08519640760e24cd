"""The moves of an automatic calibration: spread, inside the workspace, and reached step by step."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vlajs.control.calibration_moves import MoveConfig, increment_towards, poses_about
from vlajs.control.target import TargetLimits, integrate_target
from vlajs.geometry import TOOL_DOWN_WXYZ, Pose, quat_from_rotvec, quat_multiply, rotation, rotvec_between
from vlajs_perception.calibration.board import Detection
from vlajs_perception.calibration.quality import Limits, problems_of_motion
from vlajs_perception.calibration.views import ToolReading, View

BOX = TargetLimits()
LOW, HIGH = np.array(BOX.workspace_min_m), np.array(BOX.workspace_max_m)
START = Pose(position_m=np.array([0.6, 0.0, 0.2]), quat_wxyz=TOOL_DOWN_WXYZ)
CONFIG = MoveConfig()


def view(number: int, pose: Pose) -> View:
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = rotation(pose.quat_wxyz).as_matrix(), pose.position_m
    seen = Detection(ids=np.arange(1), pixels=np.zeros((1, 2)), points_in_board_m=np.zeros((1, 3)))
    tool = ToolReading(tool_in_base=matrix, stamp_ns=0, speed_m_s=0.0, turning_rad_s=0.0)
    return View(number=number, stamp_ns=0, detection=seen, tool=tool)


@pytest.mark.parametrize("count", [12, 20, 40])
def test_the_poses_are_enough_for_a_calibration(count: int) -> None:
    poses = poses_about(START, count, CONFIG, LOW, HIGH)
    assert len(poses) == count
    assert poses[0] == START
    assert problems_of_motion([view(i, pose) for i, pose in enumerate(poses)], Limits()) == []


@settings(deadline=None)
@given(st.floats(0.32, 0.78), st.floats(-0.33, 0.33), st.floats(0.04, 0.58))
def test_no_pose_leaves_the_workspace_or_the_reach(x: float, y: float, z: float) -> None:
    start = Pose(position_m=np.array([x, y, z]), quat_wxyz=TOOL_DOWN_WXYZ)
    for pose in poses_about(start, 15, CONFIG, LOW, HIGH):
        assert np.all(pose.position_m >= LOW + CONFIG.margin_m)
        assert np.all(pose.position_m <= HIGH - CONFIG.margin_m)
        assert np.max(np.abs(pose.position_m - start.position_m)) <= CONFIG.reach_m + 1e-12
        # 0.4 of the tilt at most about the vertical, 1 about the horizontal: sqrt(1.16) together
        angle_rad = np.linalg.norm(rotvec_between(start.quat_wxyz, pose.quat_wxyz))
        assert angle_rad <= CONFIG.tilt_rad * np.sqrt(1.16) + 1e-9


def test_a_start_outside_the_workspace_is_refused() -> None:
    with pytest.raises(ValueError, match=r"the tool starts at \[0\.9, 0\.0, 0\.2\] m, outside the workspace"):
        poses_about(Pose(position_m=np.array([0.9, 0, 0.2]), quat_wxyz=TOOL_DOWN_WXYZ), 5, CONFIG, LOW, HIGH)


def test_increments_lead_to_the_goal_by_the_rule_of_the_bridge() -> None:
    goal = Pose(
        position_m=START.position_m + np.array([0.06, -0.03, 0.02]),
        quat_wxyz=quat_multiply(quat_from_rotvec([0.3, -0.2, 0.1]), TOOL_DOWN_WXYZ),
    )
    target, steps = START, 0
    while (increment := increment_towards(goal, target, CONFIG)) is not None:
        assert np.linalg.norm(increment[0]) <= CONFIG.step_m + 1e-12
        assert np.linalg.norm(increment[1]) <= CONFIG.step_rad + 1e-12
        target = integrate_target(target, target, *increment, BOX)
        steps += 1
        assert steps < 100
    # 0.374 rad in steps of 0.0125 are 30 steps; 70 mm in steps of 3 mm would be 24
    assert steps == 30
    assert np.linalg.norm(target.position_m - goal.position_m) < 1e-3


@pytest.mark.parametrize("name", ["reach_m", "tilt_rad", "step_m", "step_rad"])
def test_a_move_out_of_its_range_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=name):
        MoveConfig(**{name: 5.0})
