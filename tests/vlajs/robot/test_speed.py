"""How fast the planner may go; the arms here are Jacobians written down, the real one's is tested in test_arm.py."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vlajs.geometry import TOOL_DOWN_WXYZ, Pose, quat_from_rotvec, quat_multiply
from vlajs.robot.speed import JOINT_VELOCITY_LIMITS_RAD_S, SpeedLimits, velocity_share

LIMITS = SpeedLimits(tool_m_s=0.35, tool_rad_s=1.5, joint_share=0.8)
HERE = Pose(position_m=np.array([0.6, 0.0, 0.2]), quat_wxyz=TOOL_DOWN_WXYZ)
JOINTS_RAD = np.zeros(7)


def moved(by_m: tuple[float, ...], turned_rad: tuple[float, ...] = (0.0, 0.0, 0.0)) -> Pose:
    turn = quat_from_rotvec(np.array(turned_rad))
    return Pose(position_m=HERE.position_m + np.array(by_m), quat_wxyz=quat_multiply(turn, HERE.quat_wxyz))


def geared(*rad_per_unit: float) -> np.ndarray:
    """A Jacobian in which joint i alone moves axis i, by this many radians a metre (or a radian)."""
    return np.hstack([np.diag(1.0 / np.array(rad_per_unit)), np.zeros((6, 1))])


def share(target: Pose, jacobian: np.ndarray, limits: SpeedLimits = LIMITS) -> float:
    return velocity_share(HERE, target, JOINTS_RAD, lambda _: jacobian, limits)


def test_along_an_axis_with_slow_joints_the_planner_has_all() -> None:
    # 0.35 m/s of 4 rad/m is 1.4 rad/s, below 0.8 * 2.175 = 1.74 rad/s
    assert share(moved((0.02, 0.0, 0.0)), geared(4, 4, 4, 1, 1, 1)) == pytest.approx(1.0)


def test_along_a_diagonal_the_tool_is_no_faster() -> None:
    # 3 axes of 0.35 m/s make 0.35 * sqrt(3) m/s
    assert share(moved((0.01, 0.01, 0.01)), geared(1, 1, 1, 1, 1, 1)) == pytest.approx(1 / np.sqrt(3))
    # of an axis that is half as long as the other: sqrt(1 + 0.25) times
    assert share(moved((0.02, 0.0, -0.01)), geared(1, 1, 1, 1, 1, 1)) == pytest.approx(1 / np.sqrt(1.25))


def test_the_axes_are_the_tools() -> None:
    # a tool turned by 45 degrees about the vertical: base x is a diagonal of its axes, base (1, 1, 0) is an axis
    turned = quat_multiply(quat_from_rotvec(np.array([0.0, 0.0, np.pi / 4])), TOOL_DOWN_WXYZ)
    here = Pose(position_m=HERE.position_m, quat_wxyz=turned)
    for by_m, expected in (((0.02, 0.0, 0.0), 1 / np.sqrt(2)), ((0.02, 0.02, 0.0), 1.0)):
        there = Pose(position_m=here.position_m + np.array(by_m), quat_wxyz=turned)
        found = velocity_share(here, there, JOINTS_RAD, lambda _: geared(1, 1, 1, 1, 1, 1), LIMITS)
        assert found == pytest.approx(expected)


def test_a_joint_that_would_be_too_fast_slows_all() -> None:
    # 0.35 m/s of 10 rad/m is 3.5 rad/s; 1.74 of it are 0.497 (the damping takes 0.3 % off the speed)
    assert share(moved((0.02, 0.0, 0.0)), geared(10, 1, 1, 1, 1, 1)) == pytest.approx(1.74 / 3.5, rel=0.005)
    # turning: 1.5 rad/s of 2 rad/rad is 3 rad/s; joint 5 has 0.8 * 2.61 = 2.088 rad/s
    turn = moved((0.0, 0.0, 0.0), (0.0, 0.06, 0.0))
    assert share(turn, geared(1, 1, 1, 1, 2, 1)) == pytest.approx(2.088 / 3.0, rel=0.001)


def test_the_end_of_the_way_counts() -> None:
    # from 4 to 12 rad/m while joint 1 makes its 0.08 rad or more: at the end of the way 0.35 m/s would be 4.2 rad/s
    def stretching(joints_rad: np.ndarray) -> np.ndarray:
        return geared(min(4.0 + 100.0 * joints_rad[0], 12.0), 1, 1, 1, 1, 1)

    found = velocity_share(HERE, moved((0.02, 0.0, 0.0)), JOINTS_RAD, stretching, LIMITS)
    assert found == pytest.approx(1.74 / 4.2, rel=0.005)


def test_at_the_target_there_is_nothing_to_slow() -> None:
    assert share(HERE, geared(1, 1, 1, 1, 1, 1)) == 1.0


def test_as_near_to_a_singular_pose_as_the_bridge_allows_the_arm_is_slow() -> None:
    # a singular value of 0.05 m/rad is 20 rad/m: 0.35 m/s would be 7 rad/s; damping takes 0.005^2 / 0.05^2 = 1 % off
    found = share(moved((0.02, 0.0, 0.0)), geared(20, 1, 1, 1, 1, 1))
    assert found == pytest.approx(1.74 / 7.0, rel=0.011)


def test_a_jacobian_that_is_not_finite_is_the_arms_fault() -> None:
    with pytest.raises(ValueError, match="the Jacobian is not finite: the arm's state is at fault"):
        share(moved((0.02, 0.0, 0.0)), np.full((6, 7), np.nan))


small = st.floats(-0.04, 0.04)


@given(
    st.tuples(small, small, small),
    st.tuples(small, small, small),
    st.lists(st.floats(-1.0, 1.0), min_size=42, max_size=42),
)
def test_nothing_is_faster_than_its_limit(by_m: tuple, turned_rad: tuple, numbers: list) -> None:
    jacobian = np.array(numbers).reshape(6, 7) + 0.3 * np.eye(6, 7)
    target = moved(by_m, turned_rad)
    found = share(target, jacobian)
    assert 0.0 < found <= 1.0
    # the planner's time to the target, by its definition, at that share
    axes = np.array([1.0, -1.0, -1.0])  # a tool that points down has y and z the other way round
    duration_s = max(
        np.max(np.abs(axes * by_m)) / (found * LIMITS.tool_m_s),
        np.max(np.abs(axes * turned_rad)) / (found * LIMITS.tool_rad_s),
    )
    if duration_s < 1e-6:
        return
    assert np.linalg.norm(by_m) / duration_s <= LIMITS.tool_m_s * (1 + 1e-9)
    step = np.concatenate([by_m, turned_rad])
    damped = jacobian.T @ np.linalg.solve(jacobian @ jacobian.T + 0.005**2 * np.eye(6), step)
    assert np.all(np.abs(damped) / duration_s <= 0.8 * np.array(JOINT_VELOCITY_LIMITS_RAD_S) * (1 + 1e-6))
