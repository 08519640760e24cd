"""Guards of geometry and rate, on arms simple enough to compute by hand."""

import math
import re

import numpy as np
import pytest

from vlajs.control.guards import (
    JOINT_MAX_RAD,
    GuardConfig,
    RateGuard,
    geometry_refusal,
    joint_limit_distance,
    workspace_refusal,
)
from vlajs.control.target import TargetLimits
from vlajs.tasks import HOME_JOINTS_RAD

HOME = np.array(HOME_JOINTS_RAD)
CONFIG = GuardConfig(joint_margin_rad=0.08, min_singular_value=0.05)


def gantry(joints_rad: np.ndarray) -> np.ndarray:
    """Joint i alone moves tool coordinate i; joint 7 moves nothing: singular values are all 1."""
    return np.eye(6, 7)


def folding(joints_rad: np.ndarray) -> np.ndarray:
    """As the gantry, but joint 1 moves the tool less and less as it nears 0."""
    jacobian = np.eye(6, 7)
    jacobian[0, 0] = joints_rad[0]
    return jacobian


def test_nearest_joint_limit() -> None:
    joints = HOME.copy()
    joints[1] = JOINT_MAX_RAD[1] - 0.05
    assert joint_limit_distance(joints) == (1, pytest.approx(0.05))
    joints[1] = JOINT_MAX_RAD[1] + 0.02
    assert joint_limit_distance(joints) == (1, pytest.approx(-0.02))


def test_start_configuration_is_free() -> None:
    for step in np.vstack([np.eye(6), -np.eye(6)]) * 0.02:
        assert geometry_refusal(HOME, step, gantry, CONFIG) is None


def test_only_motion_away_from_a_joint_limit_is_allowed() -> None:
    joints = HOME.copy()
    joints[1] = JOINT_MAX_RAD[1] - 0.05
    towards, away, across = np.zeros(6), np.zeros(6), np.zeros(6)
    towards[1], away[1], across[2] = 0.01, -0.01, 0.01
    refusal = geometry_refusal(joints, towards, gantry, CONFIG)
    assert refusal is not None
    assert "joint 2 is 0.050 rad from its limit (margin 0.08)" in refusal
    assert geometry_refusal(joints, away, gantry, CONFIG) is None
    assert geometry_refusal(joints, across, gantry, CONFIG) is None
    assert geometry_refusal(joints, np.zeros(6), gantry, CONFIG) is None


def test_only_motion_away_from_a_singular_pose_is_allowed() -> None:
    joints = HOME.copy()
    joints[0] = 0.03  # least singular value 0.03, below 0.05
    inwards = np.array([-0.001, 0, 0, 0, 0, 0])
    refusal = geometry_refusal(joints, inwards, folding, CONFIG)
    assert refusal is not None
    assert "least singular value 0.030, limit 0.05" in refusal
    assert geometry_refusal(joints, -inwards, folding, CONFIG) is None
    joints[0] = 0.3
    assert geometry_refusal(joints, inwards, folding, CONFIG) is None


def test_state_that_is_not_finite_is_refused() -> None:
    joints = HOME.copy()
    joints[3] = math.nan
    assert "not finite" in str(geometry_refusal(joints, np.zeros(6), gantry, CONFIG))


def test_tool_outside_the_workspace_is_refused_beyond_the_margin() -> None:
    limits = TargetLimits()
    assert workspace_refusal(np.array([0.5, 0.0, 0.2]), limits, CONFIG) is None
    assert workspace_refusal(np.array([0.815, 0.0, 0.2]), limits, CONFIG) is None
    refusal = workspace_refusal(np.array([0.83, 0.0, 0.2]), limits, CONFIG)
    assert refusal is not None
    assert "0.030 m outside the workspace" in refusal
    assert "/franka/home" in refusal
    assert workspace_refusal(np.array([math.nan, 0.0, 0.2]), limits, CONFIG) is not None


def test_rate_within_the_limit_passes_however_uneven() -> None:
    guard = RateGuard(0.5, 0.04, "m")
    # 15 mm every 50 ms is 0.3 m/s; two messages that arrive together are still within the burst
    for at_s in (0.0, 0.05, 0.13, 0.131, 0.2, 0.25, 0.3):
        assert guard.refusal(0.015, at_s) is None


def test_rate_above_the_limit_is_refused() -> None:
    guard = RateGuard(0.5, 0.04, "m")
    # 20 mm every 10 ms is 2 m/s: the burst of 40 mm covers two, then 5 ms worth remain
    assert guard.refusal(0.02, 0.00) is None
    assert guard.refusal(0.02, 0.01) is None
    assert "faster than 0.5 m/s" in str(guard.refusal(0.02, 0.02))
    # 40 ms later 0.5 * 0.04 * 1.05 = 21 mm more are allowed
    assert guard.refusal(0.02, 0.06) is None


def test_clock_that_runs_backwards_grants_nothing() -> None:
    guard = RateGuard(0.5, 0.02, "m")
    assert guard.refusal(0.02, 5.0) is None
    assert guard.refusal(0.02, 1.0) is not None


@pytest.mark.parametrize(
    ("name", "value", "range_"),
    [
        ("joint_margin_rad", 0.0, "[0.02, 0.5]"),
        ("joint_margin_rad", -0.1, "[0.02, 0.5]"),
        ("min_singular_value", 0.0, "[0.01, 0.15]"),
        ("max_target_speed_m_s", 1e9, "[0.01, 1.7]"),
        ("max_target_turn_rad_s", 2.6, "[0.01, 2.5]"),
        ("workspace_margin_m", -0.1, "[0, 0.1]"),
        ("workspace_margin_m", 5.0, "[0, 0.1]"),
        ("workspace_margin_m", math.nan, "[0, 0.1]"),
    ],
)
def test_margin_that_guards_nothing_is_refused(name: str, value: float, range_: str) -> None:
    with pytest.raises(ValueError, match=re.escape(f"{name} = {value} is outside {range_}")):
        GuardConfig(**{name: value})
