"""The hand through the real client, on the simulated one."""

import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from vlajs.geometry import Pose
from vlajs.robot.arm import ArmError, RobotArm
from vlajs.robot.hand import Hand, HandConfig, fingers_m
from vlajs.tasks import CUBE_HALF_SIZE_M, Scene
from vlajs.twin.server import TwinServer

PATIENCE_S = 40.0


def until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, f"not within {PATIENCE_S} s: {what}"
        time.sleep(0.01)


@pytest.fixture(scope="module")
def only_hand(twin: TwinServer) -> Iterator[Hand]:
    hand = Hand(twin.address)
    yield hand
    hand.close()


@pytest.fixture
def hand(only_hand: Hand) -> Hand:
    only_hand.clear_fault()
    only_hand.open_fingers()
    until(lambda: not only_hand.state().busy and only_hand.state().width_m > 0.075, "an open hand")
    return only_hand


def test_closes_and_opens_on_command(hand: Hand) -> None:
    assert hand.state().command_m == pytest.approx(0.08)
    hand.close_fingers()
    assert hand.state().busy
    until(lambda: not hand.state().busy, "the hand closed")
    closed = hand.state()
    assert closed.width_m < 0.002
    assert closed.command_m == 0.0
    assert not closed.grasped, "nothing is between the fingers"
    hand.open_fingers()
    until(lambda: not hand.state().busy, "the hand open")
    assert hand.state().width_m > 0.075
    assert hand.state().fault is None


def test_stop_ends_the_motion_and_a_later_wish_is_carried_out(hand: Hand, twin: TwinServer) -> None:
    hand.close_fingers()
    until(lambda: twin.hand_width() < 0.07, "the fingers on their way")
    hand.stop()
    assert not hand.state().busy
    twin.wait(0.2)
    stopped_m = twin.hand_width()
    twin.wait(0.3)
    assert twin.hand_width() == pytest.approx(stopped_m, abs=1e-3)
    assert stopped_m > 0.005
    hand.close_fingers()
    until(lambda: twin.hand_width() < 0.002, "the hand closed")


def test_width_is_measured_while_the_fingers_move(hand: Hand) -> None:
    hand.close_fingers()
    seen_m: list[float] = []
    until(lambda: seen_m.append(hand.state().width_m) or not hand.state().busy, "the hand closed")
    assert any(0.02 < width_m < 0.06 for width_m in seen_m)


def test_newest_wish_wins(hand: Hand, twin: TwinServer) -> None:
    hand.close_fingers()
    until(lambda: hand.state().width_m < 0.07, "the fingers on their way")
    for _ in range(5):
        hand.open_fingers()
        hand.close_fingers()
    hand.open_fingers()
    until(lambda: not hand.state().busy, "the hand at rest")
    assert twin.hand_width() > 0.075
    assert hand.state().fault is None


def test_a_wish_that_is_not_upheld_while_the_hand_is_busy_is_forgotten(hand: Hand, twin: TwinServer) -> None:
    hand.close_fingers()
    until(lambda: hand.state().width_m < 0.07, "the fingers on their way")
    hand.open_fingers()
    hand.keep_on()
    until(lambda: not hand.state().busy, "the hand closed")
    twin.wait(0.3)
    assert twin.hand_width() < 0.002
    hand.keep_on()
    assert not hand.state().busy
    hand.open_fingers()
    hand.keep_on()  # the hand was at rest: this one was taken, or is taken next
    until(lambda: hand.state().width_m > 0.075, "the hand open")


def test_repeated_wish_is_carried_out_once(hand: Hand) -> None:
    hand.close_fingers()
    until(lambda: not hand.state().busy, "the hand closed")
    hand.close_fingers()
    assert not hand.state().busy


def test_object_between_the_fingers_is_grasped(hand: Hand, arm: RobotArm, twin: TwinServer) -> None:
    tool = arm.state().tcp_in_base
    at_cube = Pose(position_m=np.array([*tool.position_m[:2], CUBE_HALF_SIZE_M]), quat_wxyz=tool.quat_wxyz)
    upright = np.array([1.0, 0.0, 0.0, 0.0])
    cube = Pose(position_m=at_cube.position_m, quat_wxyz=upright)
    twin.place_objects(Scene(objects={"cube": cube}, goal_m=np.zeros(3)))
    arm.stream_target(at_cube)
    until(lambda: abs(arm.state().tcp_in_base.position_m[2] - CUBE_HALF_SIZE_M) < 2e-3, "the fingers around the cube")
    hand.close_fingers()
    until(lambda: hand.state().grasped, "a grasp")
    assert hand.state().width_m == pytest.approx(2 * CUBE_HALF_SIZE_M, abs=3e-3)
    hand.open_fingers()
    until(lambda: not hand.state().busy, "the hand open")
    assert not hand.state().grasped
    assert hand.state().fault is None


def test_no_hand_at_the_address() -> None:
    with pytest.raises(ArmError, match=r"no Franka Hand answers at 127\.254\.254\.252"):
        Hand("127.254.254.252")


@pytest.mark.parametrize("name", ["speed_m_s", "force_n", "min_grasp_width_m", "poll_rate_hz", "command_timeout_s"])
def test_config_without_meaning_is_refused(name: str) -> None:
    for value in (0.0, float("nan"), 1e3):
        with pytest.raises(ValueError, match=name):
            HandConfig(**{name: value})


def test_fingers_share_the_width() -> None:
    assert fingers_m(0.06) == (0.03, 0.03)
    assert fingers_m(-0.001) == (0.0, 0.0)
