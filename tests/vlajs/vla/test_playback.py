"""How actions become increments: divided, shortened, in order."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vlajs.geometry import quat_from_rotvec, quat_multiply
from vlajs.vla.errors import ConventionError
from vlajs.vla.playback import TICK_RATE_HZ, Playback, StepLimits, pacing_of

WIDE = StepLimits(max_step_m=10.0, max_step_rad=10.0)


def action(x: float = 0.0, yaw: float = 0.0, gripper: float = 1.0) -> np.ndarray:
    return np.array([x, 0.0, 0.0, 0.0, 0.0, yaw, gripper])


@pytest.mark.parametrize(
    ("rate_hz", "ticks", "tick_rate_hz"),
    [(20.0, 1, 20.0), (50.0, 1, 50.0), (5.0, 4, 20.0), (6.0, 4, 24.0), (15.0, 2, 30.0), (0.5, 40, 20.0)],
)
def test_slow_actions_are_divided_so_that_the_bridge_is_never_left_waiting(
    rate_hz: float, ticks: int, tick_rate_hz: float
) -> None:
    pacing = pacing_of(rate_hz)
    assert (pacing.ticks_per_action, pacing.tick_rate_hz) == (ticks, pytest.approx(tick_rate_hz))


@pytest.mark.parametrize("rate_hz", [0.4, 101.0, float("nan")])
def test_a_rate_no_arm_is_driven_at_is_refused(rate_hz: float) -> None:
    with pytest.raises(ConventionError, match="correct rate_hz"):
        pacing_of(rate_hz)


def test_an_action_of_5_hz_is_four_increments() -> None:
    playback = Playback(np.array([action(x=0.04, yaw=0.2, gripper=0.5)]), 4)
    motions = []
    while not playback.finished:
        motions.append(playback.next(WIDE))
    assert len(motions) == 4
    for motion in motions:
        np.testing.assert_allclose(motion.delta_pos_m, [0.01, 0.0, 0.0])  # 0.04 / 4
        np.testing.assert_allclose(motion.delta_rotvec_rad, [0.0, 0.0, 0.05])  # 0.2 / 4
        assert motion.gripper_width_m == pytest.approx(0.06)  # 0.08 (0.5 + 1) / 2
    assert playback.shortened == 0


@given(
    st.lists(st.floats(-1.5, 1.5), min_size=3, max_size=3),
    st.lists(st.floats(-0.2, 0.2), min_size=3, max_size=3),
    st.floats(0.5, 100.0),
)
def test_the_increments_of_an_action_make_up_the_action(rotvec: list[float], pos: list[float], rate_hz: float) -> None:
    playback = Playback(np.array([[*pos, *rotvec, 0.0]]), pacing_of(rate_hz).ticks_per_action)
    reached_m, turned = np.zeros(3), np.array([1.0, 0.0, 0.0, 0.0])
    while not playback.finished:
        motion = playback.next(WIDE)
        reached_m += motion.delta_pos_m
        turned = quat_multiply(quat_from_rotvec(motion.delta_rotvec_rad), turned)
    np.testing.assert_allclose(reached_m, pos, atol=1e-12)
    np.testing.assert_allclose(np.abs(turned @ quat_from_rotvec(rotvec)), 1.0, atol=1e-9)


@given(st.lists(st.floats(-1.0, 1.0), min_size=6, max_size=6), st.floats(0.5, 100.0))
def test_no_increment_is_longer_than_the_limits_and_none_is_turned_aside(numbers: list[float], rate_hz: float) -> None:
    limits = StepLimits(max_step_m=0.015, max_step_rad=0.05)
    ticks = pacing_of(rate_hz).ticks_per_action
    motion = Playback(np.array([[*numbers, 0.0]]), ticks).next(limits)
    for sent, asked, limit in (
        (motion.delta_pos_m, np.array(numbers[:3]), 0.015),
        (motion.delta_rotvec_rad, np.array(numbers[3:]), 0.05),
    ):
        length = np.linalg.norm(asked) / ticks
        assert np.linalg.norm(sent) == pytest.approx(min(length, limit), abs=1e-12)
        np.testing.assert_allclose(np.cross(sent, asked), 0.0, atol=1e-12)
        assert sent @ asked >= 0.0


def test_what_was_shortened_is_counted() -> None:
    playback = Playback(np.array([action(x=0.1), action(x=0.01)]), 1)
    limits = StepLimits(max_step_m=0.02, max_step_rad=0.06)
    np.testing.assert_allclose(playback.next(limits).delta_pos_m, [0.02, 0.0, 0.0])
    assert playback.shortened == 1
    playback.next(limits)
    assert playback.shortened == 1


def test_the_last_action_is_known_while_it_is_played() -> None:
    playback = Playback(np.array([action(), action()]), 2)
    seen = []
    while not playback.finished:
        playback.next(WIDE)
        seen.append(playback.on_last_action)
    assert seen == [False, False, True, True]


def test_grippers_beyond_their_range_are_clipped() -> None:
    assert Playback(np.array([action(gripper=1.4)]), 1).next(WIDE).gripper_width_m == 0.08
    assert Playback(np.array([action(gripper=-1.4)]), 1).next(WIDE).gripper_width_m == 0.0


def test_ticks_come_before_the_bridge_misses_them() -> None:
    assert TICK_RATE_HZ == 20.0  # 50 ms: within the 90 ms after which the bridge holds
