"""Hysteresis of the hand."""

import pytest

from vlajs.control.gripper import GripperCommand, GripperThresholds, gripper_command

THRESHOLDS = GripperThresholds(open_above_m=0.048, close_below_m=0.032)
OPEN, CLOSE = GripperCommand.OPEN, GripperCommand.CLOSE


def test_between_the_thresholds_nothing_is_commanded() -> None:
    wanted_m = [0.08, 0.049, 0.048, 0.04, 0.033, 0.032, 0.031, 0.0]
    expected = [OPEN, OPEN, None, None, None, None, CLOSE, CLOSE]
    assert [gripper_command(width_m, THRESHOLDS) for width_m in wanted_m] == expected


@pytest.mark.parametrize("values", [(0.03, 0.03), (0.09, 0.03), (0.05, -0.01), (float("nan"), 0.03)])
def test_thresholds_must_rise(values: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match="thresholds must rise"):
        GripperThresholds(open_above_m=values[0], close_below_m=values[1])
