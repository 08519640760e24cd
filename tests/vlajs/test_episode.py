"""What every episode on a robot has in common: the increment of nothing, and how one ends."""

from vlajs.episode import Episode, still
from vlajs.states import PolicyPhase


def episode() -> Episode:
    return Episode(tick_rate_hz=20.0, initial_width_m=0.08, stale_grace_s=0.1, refused_commands=0, now_s=5.0)


def test_still_moves_nothing() -> None:
    increment = still(0.03)
    assert not increment.delta_pos_m.any()
    assert not increment.delta_rotvec_rad.any()
    assert increment.delta_pos_m.shape == increment.delta_rotvec_rad.shape == (3,)
    assert increment.gripper_width_m == 0.03


def test_an_episode_begins_with_the_hand() -> None:
    begun = episode()
    assert (begun.phase, begun.active, begun.step) == (PolicyPhase.PREPARING, True, 0)
    assert begun.reason == "bringing the hand to its initial width"


def test_the_first_reason_to_stop_is_the_one_that_is_told() -> None:
    ended = episode()
    ended.stop("the arm is gone")
    ended.stop("the tick loop ended unexpectedly")
    assert (ended.phase, ended.active, ended.reason) == (PolicyPhase.STOPPED, False, "the arm is gone")
