"""Which end effector is taken for the Franka Hand."""

import franky
import numpy as np
import pytest

from vlajs.geometry import Pose, quat_from_rotvec, quat_multiply, xyzw_from_wxyz
from vlajs.robot.end_effector import end_effector_refusal, pose_of

TO_HAND = quat_from_rotvec([0.0, 0.0, -np.pi / 4])


def pose(offset_m: list[float], quat_wxyz: np.ndarray) -> Pose:
    return pose_of(franky.Affine(offset_m, xyzw_from_wxyz(quat_wxyz)))


def test_the_hand_is_taken_for_the_hand() -> None:
    assert end_effector_refusal(pose([0.0, 0.0, 0.1034], TO_HAND)) is None
    assert end_effector_refusal(pose([0.0, 0.0, 0.1034], -TO_HAND)) is None, "the same rotation"


@pytest.mark.parametrize(
    ("offset_m", "quat_wxyz", "off_deg"),
    [
        ([0.0, 0.0, 0.107], TO_HAND, "0.0 degrees"),
        ([0.0, 0.0, 0.1034], np.array([1.0, 0.0, 0.0, 0.0]), "45.0 degrees"),
        # turned on about the tool's own x axis, which stays where it was: a tilted tool
        ([0.0, 0.0, 0.1034], quat_multiply(TO_HAND, quat_from_rotvec([np.radians(30.0), 0.0, 0.0])), "30.0 degrees"),
        ([0.0, 0.0, 0.1034], quat_multiply(TO_HAND, quat_from_rotvec([np.pi, 0.0, 0.0])), "180.0 degrees"),
    ],
)
def test_another_tool_is_refused(offset_m: list[float], quat_wxyz: np.ndarray, off_deg: str) -> None:
    refusal = end_effector_refusal(pose(offset_m, quat_wxyz))
    assert refusal is not None
    assert f"{off_deg} from the Franka Hand's" in refusal
    assert "select the Franka Hand" in refusal
