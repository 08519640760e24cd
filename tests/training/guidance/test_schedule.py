"""Query schedule, reward gain, number of calls, weight and deactivation, computed by hand."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vlajs_training.guidance.config import GuidanceConfig
from vlajs_training.guidance.schedule import (
    call_count,
    guidance_weight,
    learning_has_begun,
    query_schedule,
    reward_gain,
)


def test_calls_are_spread_evenly_from_a_phase() -> None:
    due = query_schedule(np.array([0.0, 0.5, 0.99]), calls=3, steps=16)
    # (k + phase) * 16 / 3: 0, 5.33, 10.67;  2.67, 8, 13.33;  5.28, 10.61, 15.95
    assert [np.nonzero(column)[0].tolist() for column in due.T] == [[0, 5, 10], [2, 8, 13], [5, 10, 15]]
    assert not query_schedule(np.array([0.3]), calls=0, steps=4).any()


@given(
    phase=st.lists(st.floats(0, 1, exclude_max=True), min_size=1, max_size=5),
    steps=st.integers(1, 40),
    share=st.floats(0, 1),
)
def test_every_environment_makes_exactly_its_calls(phase: list[float], steps: int, share: float) -> None:
    calls = int(share * steps)
    due = query_schedule(np.array(phase), calls, steps)
    assert due.shape == (steps, len(phase))
    assert (due.sum(axis=0) == calls).all()


def test_gain_is_the_newer_half_less_the_older_and_never_negative() -> None:
    assert reward_gain([]) == 0.0
    assert reward_gain([7.0]) == 0.0
    assert reward_gain([1.0, 1.5]) == pytest.approx(0.5)
    # (3 + 5) / 2 - (1 + 2) / 2 = 2.5; the middle 100 is left out
    assert reward_gain([1.0, 2.0, 100.0, 3.0, 5.0]) == pytest.approx(2.5)
    assert reward_gain([3.0, 1.0]) == 0.0


def test_calls_and_weight_decay_with_the_gain() -> None:
    # N_max = 10, kappa = 2: gain 0 -> 10; gain 0.1 -> floor(10 e^-0.2) = floor(8.187) = 8; gain 5 -> N_min
    assert call_count(0.0, kappa=2.0, min_calls=1, max_calls=10) == 10
    assert call_count(0.1, kappa=2.0, min_calls=1, max_calls=10) == 8
    assert call_count(5.0, kappa=2.0, min_calls=2, max_calls=10) == 2
    assert guidance_weight(0.0, kappa=2.0, weight=0.3) == pytest.approx(0.3)
    assert guidance_weight(0.5, kappa=2.0, weight=0.3) == pytest.approx(0.3 * math.exp(-1.0))


@pytest.mark.parametrize(
    ("history", "begun"),
    [
        ([2.0, 2.5, 3.1], True),
        ([9.0, 2.0, 2.5, 3.1], True),  # only the last three count
        ([2.0, 2.5, 3.0], False),  # the threshold is not exceeded
        ([3.2, 3.1, 3.3], False),  # above it, but not rising throughout
        ([3.1, 3.1, 3.3], False),
        ([2.5, 3.1], False),  # too short a history
    ],
)
def test_learning_has_begun_after_a_rise_above_the_threshold(history: list[float], begun: bool) -> None:
    assert learning_has_begun(history, rise_rollouts=3, threshold=3.0) is begun


def test_at_most_the_share_of_steps_are_calls() -> None:
    # 20 % of 16 steps are 3.2, of 15 exactly 3, of 10 exactly 2 (not 1.9999)
    most = [GuidanceConfig().max_calls(steps) for steps in (16, 15, 10, 5)]
    assert [call_count(0.0, kappa=5.0, min_calls=1, max_calls=calls) for calls in most] == [3, 3, 2, 1]
    # of 3.2 calls three are left until e^-(5 gain) < 3 / 3.2, a gain of 0.0129
    assert [call_count(gain, kappa=5.0, min_calls=1, max_calls=most[0]) for gain in (0.012, 0.013)] == [3, 2]
    with pytest.raises(ValueError, match=r"min_calls = 1 is outside \[1, 0\].*of 4 rollout steps: raise the share"):
        GuidanceConfig().max_calls(4)
    with pytest.raises(ValueError, match=r"max_call_share = 1.2 is outside \(0, 1\]"):
        GuidanceConfig(max_call_share=1.2).max_calls(16)
    with pytest.raises(ValueError, match=r"guidance.rise_rollouts = 1: it must be at least 2"):
        GuidanceConfig(rise_rollouts=1).max_calls(16)
