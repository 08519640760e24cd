"""What closed fingers push goes with them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vlajs_perception.estimate import Estimate
from vlajs_perception.objects import cube
from vlajs_perception.pushing import pushed_along
from vlajs_perception.rigid import matrix_of, quat_of
from vlajs_perception.sight import gap_m
from vlajs_perception.tool_history import ToolHistory

FINGER_M = 0.011
CUBE = cube("cube", 0.02)
MS = 1_000_000


def lying(x_m: float, y_m: float = 0.0, yaw_rad: float = 0.0) -> Estimate:
    cos, sin = np.cos(yaw_rad), np.sin(yaw_rad)
    return Estimate(
        position_m=np.array([x_m, y_m, 0.02]),
        quat_wxyz=quat_of(np.array([[cos, -sin, 0.0], [sin, cos, 0.0], [0.0, 0.0, 1.0]])),
        covariance=1e-6 * np.eye(6),
        source="plane",
    )


def path(*points_m: tuple[float, float, float]) -> np.ndarray:
    return np.array(points_m)


def test_it_is_before_the_fingers_where_they_are_now() -> None:
    # from 5 cm behind its middle to 1 cm past it: its near side is then 11 mm before the fingers' middle,
    # its own middle 0.7 + 0.01 + 0.011 + 0.02 = 0.741
    pushed = pushed_along(lying(0.7), CUBE, path((0.65, 0.0, 0.02), (0.71, 0.0, 0.02)), FINGER_M)
    assert pushed.position_m == pytest.approx([0.741, 0.0, 0.02], abs=5e-4)
    # also by fingers that went past where it lay: it did not stay behind them
    pushed = pushed_along(lying(0.7), CUBE, path((0.65, 0.0, 0.02), (0.80, 0.0, 0.02)), FINGER_M)
    assert pushed.position_m == pytest.approx([0.831, 0.0, 0.02], abs=5e-4)


def test_the_further_it_was_pushed_the_less_is_known() -> None:
    still = pushed_along(lying(0.7), CUBE, path((0.60, 0.0, 0.02), (0.65, 0.0, 0.02)), FINGER_M)
    np.testing.assert_array_equal(still.covariance, 1e-6 * np.eye(6))
    # by 41 mm: 0.3 * 0.041 = 12.3 mm in x and y, 12.3 / 20 = 0.615 rad of yaw; the table still bears it upright
    pushed = pushed_along(lying(0.7), CUBE, path((0.65, 0.0, 0.02), (0.71, 0.0, 0.02)), FINGER_M)
    deviations = np.sqrt(np.diag(pushed.covariance) - 1e-6)
    assert deviations == pytest.approx([0.0123, 0.0123, 0.0, 0.0, 0.0, 0.615], rel=0.02)


@pytest.mark.parametrize(
    "points_m",
    [
        ((0.60, 0.0, 0.02), (0.665, 0.0, 0.02)),  # up to 4 mm from it: 0.7 - 0.02 - 0.011 - 0.004 = 0.665
        ((0.65, 0.05, 0.02), (0.80, 0.05, 0.02)),  # beside it: 0.05 - 0.02 > 0.011
        ((0.65, 0.0, 0.06), (0.80, 0.0, 0.06)),  # over it
        ((0.70, 0.0, 0.20), (0.70, 0.0, 0.03)),  # straight down on it
        ((0.80, 0.0, 0.02), (0.90, 0.0, 0.02)),  # away from it
        (),
    ],
)
def test_what_is_not_in_the_way_stays(points_m: tuple[tuple[float, float, float], ...]) -> None:
    track = np.array(points_m).reshape(-1, 3)
    assert pushed_along(lying(0.7), CUBE, track, FINGER_M).position_m == pytest.approx([0.7, 0.0, 0.02])


@given(
    yaw_rad=st.floats(-3.1, 3.1),
    off_m=st.floats(-0.03, 0.03),
    way_rad=st.floats(-3.1, 3.1),
    length_m=st.floats(0.0, 0.2),
)
def test_nothing_is_left_inside_the_fingers(yaw_rad: float, off_m: float, way_rad: float, length_m: float) -> None:
    ahead, aside = np.array([np.cos(way_rad), np.sin(way_rad)]), np.array([-np.sin(way_rad), np.cos(way_rad)])
    begin = np.array([0.7, 0.0]) - 0.06 * ahead + off_m * aside
    end = begin + length_m * ahead
    track = path((*begin, 0.02), (*end, 0.02))
    pushed = pushed_along(lying(0.7, yaw_rad=yaw_rad), CUBE, track, FINGER_M)
    assert gap_m(pushed, CUBE, track[-1]) >= FINGER_M - 1e-3
    moved = pushed.position_m[:2] - [0.7, 0.0]
    assert moved @ ahead >= -1e-9
    assert abs(moved @ aside) < 1e-9
    # as far as it must and no further: to the fingers' end, its own half diagonal and a finger's width
    assert moved @ ahead <= max(0.0, length_m - 0.06 + FINGER_M + 0.02 * 2**0.5 + 2e-3)
    assert matrix_of(pushed.quat_wxyz) == pytest.approx(matrix_of(lying(0.7, yaw_rad=yaw_rad).quat_wxyz))


def test_the_path_is_what_was_known_between_two_times() -> None:
    history = ToolHistory()
    for index in range(5):
        pose = np.eye(4)
        pose[0, 3] = 0.1 * index
        history.add_pose(pose, index * 20 * MS)
    # 10 ms: half way between the first two
    assert history.path_m(10 * MS, 60 * MS)[:, 0] == pytest.approx([0.05, 0.1, 0.2, 0.3])
    assert history.path_m(10 * MS, 900 * MS).shape == (0, 3)
