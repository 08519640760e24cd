"""Action tokens against numbers worked out by hand, and back."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vlajs_training.vla_server.action_tokens import ActionTokens, scale, statistics_of, unscale

LLAMA = 32_000


def test_tokens_are_counted_from_the_vocabularys_end() -> None:
    tokens = ActionTokens(LLAMA)
    # 256 edges from -1 to 1, 2 / 255 = 0.00784 apart; an action's number is how many edges are at or below it.
    values = {
        -1.0: 31_999,  # 1 edge
        -0.9922: 31_999,  # the second edge is at -0.99216
        -0.9921: 31_998,
        0.0: 31_872,  # 128 edges: the 128th is at -0.00392, the 129th at 0.00392
        0.99: 31_745,  # 255 edges: the last but one is at 0.99216, the one before at 0.98431: 254 edges, 31,746
        1.0: 31_744,  # 256 edges
        7.0: 31_744,  # clipped
    }
    values[0.99] = 31_746
    np.testing.assert_array_equal(tokens.encode(np.array(list(values))), list(values.values()))
    assert tokens.first == 31_744
    # Centres: -1 + 1 / 255, 0 between the edges around it, 1 - 1 / 255; tokens beyond count as the nearest.
    decoded = tokens.decode(np.array([31_999, 31_872, 31_745, 31_744, 2, 40_000]))
    np.testing.assert_allclose(decoded, [-254 / 255, 0.0, 254 / 255, 254 / 255, 254 / 255, -254 / 255], atol=1e-12)


@given(st.floats(-1.0, 1.0))
def test_there_and_back_is_at_most_half_a_bin_away(value: float) -> None:
    tokens = ActionTokens(LLAMA)
    there = tokens.encode(np.array([value]))
    assert 31_744 <= there[0] <= 31_999
    assert abs(tokens.decode(there)[0] - value) <= 1 / 255 + 1e-12


def test_numbers_are_scaled_by_their_quantiles_and_the_gripper_is_not() -> None:
    # x: 0, 0.01 .. 1.00 of 101 actions, so that the quantiles are 0.01 and 0.99; y never changes; the hand is -1 or 1.
    actions = np.zeros((101, 7))
    actions[:, 0] = np.linspace(0.0, 1.0, 101)
    actions[:, 1] = 0.3
    actions[:, 6] = np.where(np.arange(101) % 2, 1.0, -1.0)
    statistics = statistics_of(actions, episodes=4)
    assert statistics["action"]["q01"][0] == pytest.approx(0.01)
    assert statistics["action"]["q99"][0] == pytest.approx(0.99)
    assert statistics["action"]["mask"] == [True] * 6 + [False]
    assert (statistics["num_transitions"], statistics["num_trajectories"]) == (101, 4)
    scaled = scale(actions, statistics)
    # 2 * (0.255 - 0.01) / 0.98 - 1 = -0.5; beyond the quantiles it is clipped
    np.testing.assert_allclose(scale(np.array([0.255, 0.3, 0, 0, 0, 0, 1.0]), statistics), [-0.5, 0, 0, 0, 0, 0, 1.0])
    assert scaled[0, 0] == -1.0
    assert scaled[-1, 0] == 1.0
    np.testing.assert_array_equal(scaled[:, 6], actions[:, 6])
    back = unscale(scaled, statistics)
    np.testing.assert_allclose(back[1:-1], actions[1:-1], atol=1e-12)
    np.testing.assert_allclose(back[[0, -1], 0], [0.01, 0.99])
