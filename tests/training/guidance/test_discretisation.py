"""A teacher's delta cut into the student's steps."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation, Slerp

from vlajs.policy.contract import ActionContract
from vlajs_training.guidance.discretisation import decisions_covered, in_action_units, split

ACTION = ActionContract(
    position_scale_m=0.015,
    rotation_scale_rad=0.05,
    ticks_per_action=2,
    leash_m=0.04,
    leash_rad=0.2,
    workspace_min_m=(0.3, -0.3, 0.0),
    workspace_max_m=(0.8, 0.3, 0.5),
)


def test_translation_is_divided_and_the_gripper_holds() -> None:
    delta = np.array([[0.06, -0.03, 0.0, 0.0, 0.0, 0.4, -1.0]])
    # 0.06 / 4, -0.03 / 4, 0.4 / 4; the command to close stays -1
    np.testing.assert_allclose(split(delta, 4), [[0.015, -0.0075, 0.0, 0.0, 0.0, 0.1, -1.0]])
    np.testing.assert_array_equal(delta[0, :1], [0.06])  # the argument is untouched


@given(
    axis=st.tuples(*[st.floats(-1, 1)] * 3).filter(lambda axis: np.linalg.norm(axis) > 0.1),
    angle=st.floats(0.0, 3.1),
    steps=st.integers(1, 8),
)
def test_rotation_steps_are_those_of_slerp(axis: tuple[float, ...], angle: float, steps: int) -> None:
    rotvec = angle * np.array(axis) / np.linalg.norm(axis)
    whole = Rotation.from_rotvec(rotvec)
    slerp = Slerp([0, steps], Rotation.concatenate([Rotation.identity(), whole]))
    poses = slerp(np.arange(steps + 1))
    step = Rotation.from_rotvec(split(np.array([[0, 0, 0, *rotvec, 0.0]]), steps)[0, 3:6])
    for before, after in pairwise(poses):
        # each increment is composed on the left: after = step * before
        assert (after * (step * before).inv()).magnitude() == pytest.approx(0.0, abs=1e-6)


def test_action_units_are_those_of_a_whole_decision() -> None:
    # one decision moves at most 0.015 * 2 = 0.03 m and 0.05 * 2 = 0.1 rad
    step = np.array([[0.03, -0.015, 0.12, 0.1, 0.0, -0.05, 1.0]])
    np.testing.assert_allclose(in_action_units(step, ACTION), [[1.0, -0.5, 4.0, 1.0, 0.0, -0.5, 1.0]])


def test_decisions_covered_by_a_delta() -> None:
    assert decisions_covered(5.0, 10.0) == 2  # 0.2 s of decisions every 0.1 s
    assert decisions_covered(5.0, 20.0) == 4
    assert decisions_covered(20.0, 10.0) == 1
