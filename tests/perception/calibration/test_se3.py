import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vlajs_perception.calibration.errors import CalibrationError
from vlajs_perception.calibration.se3 import (
    checked_pose,
    moved,
    nearest_rotation,
    pose_of,
    step_between,
)
from vlajs_perception.rigid import inverse, skew

vectors = st.lists(st.floats(-2.0, 2.0), min_size=3, max_size=3)
# Less than half a turn, where the rotation vector is unique: 3^0.5 * 1.8 = 3.118 < pi.
turns = st.lists(st.floats(-1.8, 1.8), min_size=3, max_size=3)
poses = st.builds(pose_of, vectors, vectors)


def test_a_quarter_turn_about_z_takes_x_to_y() -> None:
    pose = pose_of([0.0, 0.0, np.pi / 2], [1.0, 2.0, 3.0])
    np.testing.assert_allclose(pose @ [1.0, 0.0, 0.0, 1.0], [1.0, 3.0, 3.0, 1.0], atol=1e-12)


def test_a_step_shifts_along_the_parents_axes_and_turns_about_the_own_origin() -> None:
    # The pose's own x points along the parent's y. A step along the parent's x and a quarter turn about its z:
    # the origin moves by the shift alone, own x then points along the parent's -x.
    pose = pose_of([0.0, 0.0, np.pi / 2], [1.0, 0.0, 0.0])
    after = moved(pose, [0.5, 0.0, 0.0, 0.0, 0.0, np.pi / 2])
    np.testing.assert_allclose(after[:3, 3], [1.5, 0.0, 0.0], atol=1e-12)
    np.testing.assert_allclose(after[:3, 0], [-1.0, 0.0, 0.0], atol=1e-12)


@given(poses, vectors, turns)
def test_step_between_undoes_moved(pose: np.ndarray, shift: list[float], turn: list[float]) -> None:
    np.testing.assert_allclose(step_between(pose, moved(pose, [*shift, *turn])), [*shift, *turn], atol=1e-7)


@given(poses, poses)
def test_moved_reaches_what_step_between_measures(start: np.ndarray, end: np.ndarray) -> None:
    np.testing.assert_allclose(moved(start, step_between(start, end)), end, atol=1e-7)


@given(poses)
def test_a_pose_times_its_inverse_is_nothing(pose: np.ndarray) -> None:
    np.testing.assert_allclose(pose @ inverse(pose), np.eye(4), atol=1e-12)
    np.testing.assert_allclose(inverse(np.stack([pose, pose]))[1] @ pose, np.eye(4), atol=1e-12)


@given(vectors, vectors)
def test_skew(a: list[float], b: list[float]) -> None:
    np.testing.assert_allclose(skew(np.array(a)) @ b, np.cross(a, b), atol=1e-12)


@given(poses)
def test_nearest_rotation_is_one_and_keeps_one(pose: np.ndarray) -> None:
    np.testing.assert_allclose(nearest_rotation(3.0 * pose[:3, :3]), pose[:3, :3], atol=1e-12)


def test_a_mirror_is_no_rotation() -> None:
    turn = nearest_rotation(np.diag([1.0, 1.0, -1.0]))
    assert np.linalg.det(turn) == pytest.approx(1.0)


@pytest.mark.parametrize(
    "pose, message",
    [
        (np.eye(3), r"must be \(4, 4\)"),
        (np.diag([1.0, 1.0, np.nan, 1.0]), "finite"),
        (np.diag([1.0, 1.0, -1.0, 1.0]), "determinant -1"),
        (np.diag([1.0, 1.001, 1.0, 1.0]), "off orthonormal by 2.0e-03"),
        (np.eye(4) + np.eye(4)[:, [3, 0, 1, 2]] * [[0], [0], [0], [1]], "last row"),
    ],
)
def test_refuses_what_is_no_pose(pose: np.ndarray, message: str) -> None:
    with pytest.raises(CalibrationError, match=message):
        checked_pose(pose, "tool_in_base")
