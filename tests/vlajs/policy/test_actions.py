"""Normalised actions to metres, radians and a width."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tests.support.bundles import make_contract
from vlajs.policy.actions import scale_action

PICK = make_contract("pick_cube").action  # 0.015 m, 0.05 rad, hand 0 to 0.08 m
PUSH = make_contract("push_cube").action  # hand held at 0


def test_a_small_action_is_scaled() -> None:
    increment = scale_action([0.2, -0.4, 0.0, 0.0, 0.5, 0.1, 0.0], PICK)
    # 0.2 * 0.015 = 0.003, -0.4 * 0.015 = -0.006
    assert increment.delta_pos_m == pytest.approx([0.003, -0.006, 0.0])
    # 0.5 * 0.05 = 0.025, 0.1 * 0.05 = 0.005
    assert increment.delta_rotvec_rad == pytest.approx([0.0, 0.025, 0.005])
    # 0.08 * (0 + 1) / 2
    assert increment.gripper_width_m == pytest.approx(0.04)


def test_a_large_action_is_clamped_by_norm_and_keeps_its_direction() -> None:
    increment = scale_action([3.0, 4.0, 0.0, 0.0, 0.0, -7.0, 5.0], PICK)
    # norm 5: (0.6, 0.8, 0) * 0.015
    assert increment.delta_pos_m == pytest.approx([0.009, 0.012, 0.0])
    assert increment.delta_rotvec_rad == pytest.approx([0.0, 0.0, -0.05])
    assert increment.gripper_width_m == pytest.approx(0.08)


@pytest.mark.parametrize(("number", "width_m"), [(-9.0, 0.0), (-1.0, 0.0), (-0.5, 0.02), (0.5, 0.06), (1.0, 0.08)])
def test_the_hands_number_asks_for_a_width(number: float, width_m: float) -> None:
    # 0.08 * (a + 1) / 2: -0.5 -> 0.02, 0.5 -> 0.06
    assert scale_action([0, 0, 0, 0, 0, 0, number], PICK).gripper_width_m == pytest.approx(width_m)


def test_a_hand_that_is_fixed_ignores_the_number() -> None:
    for number in (-1.0, 1.0):
        assert scale_action([0, 0, 0, 0, 0, 0, number], PUSH).gripper_width_m == 0.0
    fixed = replace(PICK, gripper=replace(PICK.gripper, fixed_width_m=0.03))
    assert scale_action([0, 0, 0, 0, 0, 0, 1.0], fixed).gripper_width_m == 0.03


@given(arrays(np.float64, 7, elements=st.floats(-1e6, 1e6)))
def test_no_action_exceeds_the_contracts_step(action: np.ndarray) -> None:
    increment = scale_action(action, PICK)
    assert np.linalg.norm(increment.delta_pos_m) <= 0.015 * (1 + 1e-12)
    assert np.linalg.norm(increment.delta_rotvec_rad) <= 0.05 * (1 + 1e-12)
    assert 0.0 <= increment.gripper_width_m <= 0.08
    # never against the direction asked for
    assert float(increment.delta_pos_m @ action[:3]) >= 0


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("index", [0, 4, 6])
def test_an_action_that_is_not_finite_is_refused(bad: float, index: int) -> None:
    action = np.zeros(7)
    action[index] = bad
    with pytest.raises(ValueError, match="action is not finite"):
        scale_action(action, PICK)


@pytest.mark.parametrize("shape", [(6,), (8,), (1, 7), ()])
def test_an_action_of_another_shape_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"expected \(7,\)"):
        scale_action(np.zeros(shape), PICK)
