from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.seen_episode import TOOL_DOWN, pose, turned
from vlajs_perception.closing import InHand, follow, may_hold
from vlajs_perception.estimate import Estimate
from vlajs_perception.estimator_settings import EstimatorSettings
from vlajs_perception.objects import cube, peg
from vlajs_perception.rigid import exp, matrix_of, quat_of
from vlajs_perception.symmetry import rotation_error_rad
from vlajs_perception.tool_history import Gripper, HandMoment

CUBE, PEG, SETTINGS = cube("cube", 0.02), peg("peg", 0.12, 0.025), EstimatorSettings()


def lying(x_m: float, y_m: float, z_m: float, yaw_rad: float = 0.0) -> Estimate:
    return Estimate(
        position_m=np.array([x_m, y_m, z_m]),
        quat_wxyz=quat_of(turned(yaw_rad)),
        covariance=1e-6 * np.eye(6),
        source="plane",
    )


def closing(width_m: float, z_m: float = 0.02) -> HandMoment:
    """The tool points down, its fingers move along y."""
    tool_in_base = pose([0.6, 0.0, z_m], TOOL_DOWN)
    return HandMoment(tool_in_base=tool_in_base, gripper=Gripper(closing=True, width_m=width_m))


def late_hand() -> Iterator[HandMoment]:
    """As measured: told to close 26 mm over the cube's middle, begins when it is down there, then rises by 100 mm."""
    for share in np.linspace(0.0, 1.0, 10):
        yield closing(0.08, 0.046 - 0.026 * share)
    for width_m in np.linspace(0.08, 0.04, 15):
        yield closing(width_m)
    for share in np.linspace(0.0, 1.0, 10):
        yield closing(0.04, 0.02 + 0.1 * share)


def test_what_is_not_touched_yet_stays_and_what_is_held_goes_along() -> None:
    in_hand, heights_m, held = InHand(pose=lying(0.605, 0.0, 0.02)), [], []
    for moment in late_hand():
        in_hand = follow(in_hand, CUBE, [moment], SETTINGS)
        heights_m.append(in_hand.pose.position_m[2])
        held.append(in_hand.grasp is not None)
    assert heights_m[:25] == pytest.approx([0.02] * 25)
    assert held.index(True) == 24  # at 40 mm: the step before it is 43 mm, 2 mm are a touch
    assert in_hand.pose.position_m == pytest.approx([0.605, 0.0, 0.12])
    at_once = follow(InHand(pose=lying(0.605, 0.0, 0.02)), CUBE, list(late_hand()), SETTINGS)
    assert at_once.pose.position_m == pytest.approx(in_hand.pose.position_m)
    # of sight (1 mm), of the slip (3 mm) once, of the tool (0.5 mm), not of each moment again
    assert at_once.pose.covariance[2, 2] == pytest.approx(1e-6 + 9e-6 + 0.25e-6, rel=0.05)


def test_fingers_that_still_come_down_slide_along_what_the_table_stops() -> None:
    moments = [closing(0.04, z_m) for z_m in (0.03, 0.025, 0.02, 0.05, 0.12)]
    in_hand, heights_m = InHand(pose=lying(0.6, 0.0, 0.02)), []
    for moment in moments:
        in_hand = follow(in_hand, CUBE, [moment], SETTINGS)
        heights_m.append(in_hand.pose.position_m[2])
    # touched 10 mm over its middle, then by its middle: from there on it goes with the tool
    assert heights_m == pytest.approx([0.02, 0.02, 0.02, 0.05, 0.12])
    at_once = follow(InHand(pose=lying(0.6, 0.0, 0.02)), CUBE, moments, SETTINGS)
    assert at_once.pose.position_m[2] == pytest.approx(0.12)


def test_fingers_push_it_to_their_middle() -> None:
    # Off by 12 mm along y, 40 mm wide. At 80 mm there are 20 mm of room on each side; at 50 mm 5; at 40 mm none.
    off_mm = []
    for width_m in (0.08, 0.05, 0.04):
        found = follow(InHand(pose=lying(0.6, 0.012, 0.02)), CUBE, [closing(width_m)], SETTINGS)
        assert found.pose.position_m[0] == pytest.approx(0.6)
        off_mm.append(1e3 * found.pose.position_m[1])
    assert off_mm == pytest.approx([12.0, 5.0, 0.0], abs=1e-6)


def test_fingers_turn_it_flush() -> None:
    # A cube turned by 0.3 rad is 40 mm * (cos 0.3 + sin 0.3) = 50.03 mm wide, by 0.15 rad 45.53 mm, by none 40 mm.
    turned_rad = []
    for width_m in (0.0501, 0.0456, 0.04, 0.038):
        found = follow(InHand(pose=lying(0.6, 0.0, 0.02, 0.3)), CUBE, [closing(width_m)], SETTINGS)
        turned_rad.append(rotation_error_rad(found.pose.quat_wxyz, np.array([1.0, 0, 0, 0]), CUBE.symmetries_wxyz))
        assert found.grasp is not None
    assert turned_rad == pytest.approx([0.3, 0.15, 0.0, 0.0], abs=0.001)


def test_fingers_slide_along_what_they_touch_until_they_come_to_rest() -> None:
    # the tool leans by 0.12 rad about the peg's axis: across the fingers it is 50 (cos 0.12 + sin 0.12) = 55.6 mm wide
    leaning = TOOL_DOWN @ exp(np.array([0.12, 0.0, 0.0]))
    in_hand, drawn_back_mm = InHand(pose=lying(0.6, 0.0, 0.025)), []
    for moved_mm, (width_m, closing_m_s) in enumerate(((0.056, 0.16), (0.054, 0.16), (0.053, 0.01), (0.053, 0.0))):
        tool = pose([0.6 - 0.001 * moved_mm, 0.0, 0.025], leaning)
        gripper = Gripper(closing=True, width_m=width_m, closing_m_s=closing_m_s)
        in_hand = follow(in_hand, PEG, [HandMoment(tool_in_base=tool, gripper=gripper)], SETTINGS)
        drawn_back_mm.append(1e3 * (0.6 - in_hand.pose.position_m[0]))
    # touched all the time, held where 10 mm/s are left: from there on it goes with the tool
    assert drawn_back_mm == pytest.approx([0.0, 0.0, 0.0, 1.0], abs=1e-6)


def test_fingers_that_rest_a_little_too_far_apart_have_closed_on_it_askew_but_not_those_that_have_not_begun() -> None:
    resting = Gripper(closing=True, width_m=0.055, closing_m_s=0.0)
    for width_m, held in ((0.055, True), (0.057, False), (0.08, False)):
        tool = pose([0.6, 0.0, 0.025], TOOL_DOWN)
        moment = HandMoment(tool_in_base=tool, gripper=replace(resting, width_m=width_m))
        found = follow(InHand(pose=lying(0.6, 0.0, 0.025)), PEG, [moment], SETTINGS)
        assert (found.grasp is not None) == held  # 50 mm, and 6


def test_an_open_hand_lets_go_and_fingers_beyond_reach_touch_nothing() -> None:
    start = InHand(pose=lying(0.6, 0.01, 0.02))
    # told to open it still holds, until its fingers come apart: 2 mm are a touch; it is let go 30 mm up
    opening = [
        replace(moment, gripper=replace(moment.gripper, closing=False))
        for moment in (closing(0.041, 0.03), closing(0.041, 0.05), closing(0.05, 0.05), closing(0.08, 0.1))
    ]
    taken = follow(start, CUBE, [closing(0.04)], SETTINGS)
    assert taken.grasp is not None
    assert follow(taken, CUBE, opening[:1], SETTINGS).pose.position_m == pytest.approx([0.6, 0.0, 0.03])
    let_go = follow(taken, CUBE, opening, SETTINGS)
    assert let_go.grasp is None
    assert let_go.dropped
    assert let_go.pose.position_m == pytest.approx([0.6, 0.0, 0.02])  # on the table beneath
    # 15 mm in each axis, besides 1 mm of sight, 3 mm of slip, 0.5 mm of the tool
    assert let_go.pose.covariance[0, 0] == pytest.approx(225e-6 + 10.25e-6, rel=0.05)
    # the cube's top is at 40 mm, fingertips end 9 mm below the tool's middle
    above = follow(start, CUBE, [closing(0.03, 0.0495)], SETTINGS)
    assert above == start
    assert follow(start, CUBE, [], SETTINGS) == start


def test_fingers_that_come_together_further_than_it_is_wide_have_lost_it() -> None:
    # 40 mm wide, 6 mm may give: at 34 mm it is held, at 33 mm not, and not taken again though the hand still closes
    for width_m, held in ((0.034, True), (0.033, False)):
        moments = [closing(0.04), closing(0.04, 0.05), closing(width_m, 0.08), closing(width_m, 0.09)]
        found = follow(InHand(pose=lying(0.6, 0.0, 0.02)), CUBE, moments, SETTINGS)
        assert (found.grasp is not None) == held
        assert found.pose.position_m == pytest.approx([0.6, 0.0, 0.09 if held else 0.02])
    # nor is it ever taken by fingers that closed beside it
    beside = follow(InHand(pose=lying(0.6, 0.0, 0.02)), CUBE, [closing(0.03)], SETTINGS)
    assert beside == InHand(pose=beside.pose)


def test_a_hand_that_has_grasped_holds_though_its_width_is_not_known() -> None:
    grasped = HandMoment(tool_in_base=pose([0.6, 0.0, 0.02], TOOL_DOWN), gripper=Gripper(grasped=True))
    found = follow(InHand(pose=lying(0.6, 0.01, 0.02)), CUBE, [grasped], SETTINGS)
    assert found.grasp is not None
    assert found.pose.position_m == pytest.approx([0.6, 0.01, 0.02])


@given(off_m=st.floats(-0.02, 0.02), yaw_rad=st.floats(-0.6, 0.6), width_m=st.floats(0.03, 0.08), long=st.booleans())
@settings(max_examples=100, deadline=None)
def test_what_is_between_fingers_fits_there(off_m: float, yaw_rad: float, width_m: float, long: bool) -> None:
    model = PEG if long else CUBE
    tool = closing(width_m)
    found = follow(InHand(pose=lying(0.6, off_m, 0.02, yaw_rad)), model, [tool], SETTINGS).pose
    if not may_hold(found, model, tool, SETTINGS.grasp):
        assert found.position_m == pytest.approx([0.6, off_m, 0.02])
        return
    wide_m = 2 * np.abs(matrix_of(found.quat_wxyz)[1]) @ model.half_size_m
    assert wide_m <= max(width_m, 2 * model.half_size_m[1]) + 1e-9
    assert abs(found.position_m[1]) <= max((width_m - wide_m) / 2, 0.0) + 1e-9
    assert found.position_m[[0, 2]] == pytest.approx([0.6, 0.02])
