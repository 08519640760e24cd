import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from tests.support.seen_episode import pose, turned
from vlajs_perception.rigid import TransformError
from vlajs_perception.tool_history import Gripper, ToolHistory

MS = 1_000_000


def test_between_two_poses_the_tool_is_on_its_way() -> None:
    history = ToolHistory()
    history.add_pose(pose([0.5, 0.0, 0.2]), 100 * MS)
    history.add_pose(pose([0.6, 0.0, 0.3], turned(0.4)), 120 * MS)
    at = history.tool_at(105 * MS)  # a quarter of the way
    assert at is not None
    np.testing.assert_allclose(at[:3, 3], [0.525, 0.0, 0.225])
    np.testing.assert_allclose(Rotation.from_matrix(at[:3, :3]).as_rotvec(), [0, 0, 0.1], atol=1e-9)


def test_a_time_that_is_too_far_has_none() -> None:
    history = ToolHistory(max_gap_s=0.1, keep_s=0.5)
    assert history.tool_at(0) is None
    history.add_pose(pose([0.5, 0.0, 0.2]), 100 * MS)
    nearest = history.tool_at(200 * MS)
    assert nearest is not None
    np.testing.assert_allclose(nearest[:3, 3], [0.5, 0.0, 0.2])
    assert history.tool_at(201 * MS) is None
    history.add_pose(pose([0.5, 0.0, 0.4]), 700 * MS)  # a gap: nobody knows where it was in it
    assert history.tool_at(400 * MS) is None
    assert history.tool_at(100 * MS) is None  # forgotten
    with pytest.raises(TransformError, match="tool_in_base must be"):
        history.add_pose(np.full((4, 4), np.nan), 710 * MS)


def test_the_hand_did_what_it_was_last_said_to_do() -> None:
    history = ToolHistory(keep_s=0.5)
    assert history.gripper_at(0) == Gripper()
    history.add_gripper(Gripper(closing=True), 100 * MS)
    history.add_gripper(Gripper(grasped=True), 200 * MS)
    assert [history.gripper_at(ms * MS) for ms in (99, 100, 199, 5000)] == [
        Gripper(),
        Gripper(closing=True),
        Gripper(closing=True),
        Gripper(grasped=True),
    ]


def test_the_width_is_between_what_was_said_before_and_next() -> None:
    history = ToolHistory()
    history.add_gripper(Gripper(closing=True, width_m=0.08), 100 * MS)
    history.add_gripper(Gripper(closing=True, width_m=0.06), 200 * MS)
    history.add_gripper(Gripper(grasped=True), 300 * MS)
    # 20 mm in 0.1 s
    at_speed = pytest.approx(0.2)
    assert history.gripper_at(150 * MS) == Gripper(closing=True, width_m=pytest.approx(0.07), closing_m_s=at_speed)
    # nobody knows whereto: as before
    assert history.gripper_at(250 * MS) == Gripper(closing=True, width_m=0.06, closing_m_s=at_speed)
    assert history.gripper_at(300 * MS) == Gripper(grasped=True)


def test_moments_are_a_hundredth_of_a_second_apart_and_end_at_the_time_asked_for() -> None:
    history = ToolHistory()
    for ms in range(0, 101, 4):
        history.add_pose(pose([0.5, 0.0, ms * 1e-3]), ms * MS)
    history.add_gripper(Gripper(closing=True, width_m=0.08), 30 * MS)
    moments = history.moments(0, 50 * MS)
    # the first poses 10 ms or more after the last: 12, 24, 36, 48, then 50 itself
    assert [moment.tool_in_base[2, 3] for moment in moments] == pytest.approx([0.012, 0.024, 0.036, 0.048, 0.05])
    assert [moment.gripper.closing for moment in moments] == [False, False, True, True, True]
    assert history.moments(500 * MS, 600 * MS) == []  # nobody knows where the tool was
