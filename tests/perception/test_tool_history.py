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
