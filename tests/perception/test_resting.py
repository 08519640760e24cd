import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from tests.support.seen_objects import flat
from vlajs_perception.estimate import Estimate
from vlajs_perception.objects import box, peg
from vlajs_perception.resting import resting_on

PEG = peg("peg", 0.12, 0.025)
BRICK = box("brick", [0.03, 0.02, 0.01])


def test_a_peg_that_stands_rests_on_its_end() -> None:
    # a quarter turn about y takes the peg's x axis to -z: the end +x is down
    standing = Rotation.from_euler("y", 90, degrees=True).as_matrix()
    resting, lean_rad = resting_on(PEG, standing)
    assert lean_rad == pytest.approx(0.0, abs=1e-9)
    np.testing.assert_allclose(resting.model.half_size_m, [0.025, 0.025, 0.12])
    # -x is up: the keypoint (-, -, -) is an upper one, (+, -, -) a lower one
    assert resting.model.keypoints_m[0, 2] == pytest.approx(0.12)
    assert resting.model.keypoints_m[4, 2] == pytest.approx(-0.12)
    assert len(resting.model.yaw_symmetries) == 4  # a square seen from above


@given(
    axis=st.sampled_from(["x", "y"]), quarters=st.integers(0, 3), yaw=st.floats(-3.0, 3.0), lean=st.floats(-0.5, 0.5)
)
@settings(max_examples=40, deadline=None)
def test_the_pose_of_what_rests_is_the_pose_of_the_object(axis: str, quarters: int, yaw: float, lean: float) -> None:
    rotation = flat(yaw) @ Rotation.from_euler(axis, 90 * quarters, degrees=True).as_matrix()
    leaning = Rotation.from_euler("x", lean).as_matrix() @ rotation
    resting, lean_rad = resting_on(BRICK, leaning)
    assert lean_rad == pytest.approx(abs(lean), abs=1e-6)
    # upright in its own axes: rotation @ turn^T has z up
    upright = rotation @ resting.turn.T
    np.testing.assert_allclose(upright[:, 2], [0, 0, 1], atol=1e-9)
    quat = Rotation.from_matrix(upright).as_quat(scalar_first=True)
    seen = Estimate(position_m=np.zeros(3), quat_wxyz=quat, covariance=np.eye(6), source="plane")
    np.testing.assert_allclose(resting.own(seen).object_in_base[:3, :3], rotation, atol=1e-9)
    np.testing.assert_allclose(resting.model.keypoints_m @ upright.T, BRICK.keypoints_m @ rotation.T, atol=1e-9)
