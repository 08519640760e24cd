"""The target rule, by hand and by property."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vlajs.control.target import TargetLimits, integrate_target
from vlajs.geometry import TOOL_DOWN_WXYZ, Pose, quat_from_rotvec, quat_multiply, rotvec_between

LIMITS = TargetLimits(
    max_step_m=0.02,
    max_step_rad=0.06,
    leash_m=0.04,
    leash_rad=0.2,
    workspace_min_m=(0.3, -0.35, 0.015),
    workspace_max_m=(0.8, 0.35, 0.6),
)
NO_TURN = (0.0, 0.0, 0.0)


def pose(position_m: tuple[float, float, float], rotvec_rad: tuple[float, float, float] = NO_TURN) -> Pose:
    """The tool down, then turned in base axes."""
    quat = quat_multiply(quat_from_rotvec(rotvec_rad), TOOL_DOWN_WXYZ)
    return Pose(position_m=np.array(position_m), quat_wxyz=quat)


START = pose((0.5, 0.0, 0.2))


def test_small_increment_is_added_to_the_previous_target() -> None:
    target = pose((0.51, 0.0, 0.2))
    result = integrate_target(target, START, (0.0, 0.01, -0.005), NO_TURN, LIMITS)
    assert result.position_m == pytest.approx([0.51, 0.01, 0.195])


def test_increment_is_clamped_by_norm_keeping_direction() -> None:
    # (0.03, 0.04, 0) has norm 0.05; shortened to 0.02 it is (0.012, 0.016, 0)
    result = integrate_target(START, START, (0.03, 0.04, 0.0), NO_TURN, LIMITS)
    assert result.position_m == pytest.approx([0.512, 0.016, 0.2])


def test_rotation_is_clamped_by_norm() -> None:
    result = integrate_target(START, START, NO_TURN, (0.0, 0.0, 0.5), LIMITS)
    assert rotvec_between(START.quat_wxyz, result.quat_wxyz) == pytest.approx([0.0, 0.0, 0.06])


def test_rotation_is_composed_on_the_left_in_base_axes() -> None:
    # Tool down is half a turn about x: the body's z axis points to -z. Turning by +0.05 about the base's z must show
    # as +0.05 about the base's z; composed on the right it would be about the body's z, so -0.05 about the base's.
    result = integrate_target(START, START, NO_TURN, (0.0, 0.0, 0.05), LIMITS)
    expected = quat_multiply([math.cos(0.025), 0.0, 0.0, math.sin(0.025)], TOOL_DOWN_WXYZ)
    assert result.quat_wxyz == pytest.approx(expected)
    assert rotvec_between(START.quat_wxyz, result.quat_wxyz) == pytest.approx([0.0, 0.0, 0.05])


def test_box_clips_each_coordinate() -> None:
    near_corner = pose((0.795, 0.345, 0.02))
    # 0.795 + 0.01 -> 0.8; 0.345 + 0.01 -> 0.35; 0.02 - 0.01 -> 0.015
    result = integrate_target(near_corner, near_corner, (0.01, 0.01, -0.01), NO_TURN, LIMITS)
    assert result.position_m == pytest.approx([0.8, 0.35, 0.015])


def test_leash_draws_the_position_towards_the_measured_one() -> None:
    # target 0.05 ahead along x plus a step of 0.01 is 0.06 ahead: drawn in to 0.04
    result = integrate_target(pose((0.55, 0.0, 0.2)), START, (0.01, 0.0, 0.0), NO_TURN, LIMITS)
    assert result.position_m == pytest.approx([0.54, 0.0, 0.2])


def test_leash_draws_the_rotation_towards_the_measured_one() -> None:
    ahead = pose((0.5, 0.0, 0.2), (0.0, 0.3, 0.0))
    result = integrate_target(ahead, START, NO_TURN, (0.0, 0.05, 0.0), LIMITS)
    assert rotvec_between(START.quat_wxyz, result.quat_wxyz) == pytest.approx([0.0, 0.2, 0.0])


def test_leash_comes_after_the_box() -> None:
    # Measured 0.1 m outside along x: the box pulls the target to 0.8, the leash then back to 0.9 - 0.04 = 0.86
    outside = pose((0.9, 0.0, 0.2))
    result = integrate_target(outside, outside, (0.0, 0.0, 0.0), NO_TURN, LIMITS)
    assert result.position_m == pytest.approx([0.86, 0.0, 0.2])


def test_box_comes_before_the_leash() -> None:
    # Target (0.82, 0.03): boxed to (0.80, 0.03), 0.05 from measured (0.76, 0) with direction (0.8, 0.6), leashed to
    # (0.792, 0.024). The other way round the leash would give (0.76, 0) + 0.04 * (0.06, 0.03) / |...| and stay inside.
    result = integrate_target(pose((0.82, 0.03, 0.2)), pose((0.76, 0.0, 0.2)), (0.0, 0.0, 0.0), NO_TURN, LIMITS)
    assert result.position_m == pytest.approx([0.792, 0.024, 0.2])


def test_arguments_are_not_changed() -> None:
    target, measured = pose((0.5, 0.0, 0.2)), pose((0.5, 0.0, 0.21))
    delta = np.array([0.5, 0.0, 0.0])
    integrate_target(target, measured, delta, delta, LIMITS)
    assert target.position_m == pytest.approx([0.5, 0.0, 0.2], abs=0)
    assert measured.position_m == pytest.approx([0.5, 0.0, 0.21], abs=0)
    assert delta == pytest.approx([0.5, 0.0, 0.0], abs=0)


unit = st.floats(0.0, 1.0)
signed = st.floats(-1.0, 1.0)
triple = st.tuples(signed, signed, signed)
inside = st.tuples(*(st.floats(low, high) for low, high in zip((0.3, -0.35, 0.015), (0.8, 0.35, 0.6), strict=True)))


@settings(deadline=None)
@given(target=inside, measured=inside, lead=triple, turn=triple, delta_m=triple, delta_rad=triple)
def test_with_the_arm_in_the_box_the_target_is_in_box_and_leash(
    target, measured, lead, turn, delta_m, delta_rad
) -> None:
    turned = pose(measured, turn)
    result = integrate_target(pose(target, lead), turned, delta_m, delta_rad, LIMITS)
    assert result.is_finite()
    assert result.quat_wxyz[0] >= 0
    assert np.all(result.position_m >= np.array(LIMITS.workspace_min_m) - 1e-12)
    assert np.all(result.position_m <= np.array(LIMITS.workspace_max_m) + 1e-12)
    assert np.linalg.norm(result.position_m - turned.position_m) <= LIMITS.leash_m + 1e-12
    assert np.linalg.norm(rotvec_between(turned.quat_wxyz, result.quat_wxyz)) <= LIMITS.leash_rad + 1e-9


@settings(deadline=None)
@given(start=inside, delta_m=triple, delta_rad=triple)
def test_no_step_is_longer_than_its_limit(start, delta_m, delta_rad) -> None:
    at = pose(start)
    result = integrate_target(at, at, delta_m, delta_rad, LIMITS)
    assert np.linalg.norm(result.position_m - at.position_m) <= LIMITS.max_step_m + 1e-12
    assert np.linalg.norm(rotvec_between(at.quat_wxyz, result.quat_wxyz)) <= LIMITS.max_step_rad + 1e-9


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_numbers_that_are_not_finite_are_refused(bad: float) -> None:
    with pytest.raises(ValueError, match="delta_pos_m"):
        integrate_target(START, START, (bad, 0.0, 0.0), NO_TURN, LIMITS)
    with pytest.raises(ValueError, match="delta_rotvec_rad"):
        integrate_target(START, START, NO_TURN, (0.0, bad, 0.0), LIMITS)
    broken = Pose(position_m=np.array([bad, 0.0, 0.0]), quat_wxyz=TOOL_DOWN_WXYZ)
    with pytest.raises(ValueError, match="measured pose"):
        integrate_target(START, broken, NO_TURN, NO_TURN, LIMITS)
    with pytest.raises(ValueError, match="target pose"):
        integrate_target(broken, START, NO_TURN, NO_TURN, LIMITS)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"max_step_m": 0.0}, "max_step_m"),
        ({"max_step_m": 0.11}, "max_step_m"),
        ({"max_step_rad": math.nan}, "max_step_rad"),
        ({"leash_m": -0.1}, "leash_m"),
        ({"leash_rad": 1.1}, "leash_rad"),
        ({"workspace_min_m": (0.3, 0.0)}, "workspace_min_m"),
        ({"workspace_max_m": (0.8, math.inf, 0.6)}, "workspace_max_m"),
        ({"workspace_min_m": (0.3, 0.35, 0.0)}, "box is empty"),
        ({"workspace_max_m": (10.0, 0.35, 0.6)}, r"workspace_max_m = \(10.0, 0.35, 0.6\): .* within \+-1.2"),
    ],
)
def test_limits_without_meaning_are_refused(values: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TargetLimits(**values)


def test_distance_outside_the_box() -> None:
    assert LIMITS.outside_box_m((0.5, 0.0, 0.2)) == 0.0
    # 0.03 beyond in x, 0.04 beyond in y
    assert LIMITS.outside_box_m((0.83, 0.39, 0.2)) == pytest.approx(0.05)
