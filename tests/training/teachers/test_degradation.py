"""Errors of a degraded teacher: none at level 0, larger with the level, the same random numbers at every level."""

import dataclasses

import numpy as np
import pytest

from vlajs_training.teachers.degradation import Degradation, Draws, DrawSource


def draws_of(count: int, seed: int = 0) -> Draws:
    source = DrawSource(count, objects=1, seed=seed)
    return source.draw(np.arange(count))


def test_level_0_is_the_script_itself() -> None:
    draws = draws_of(50)
    none = Degradation.at(0.0)
    move_m, turn_rad = np.full((50, 3), 0.01), np.full((50, 3), 0.1)
    moved_m, turned_rad = draws.disturb(move_m, turn_rad, none)
    np.testing.assert_allclose(moved_m, move_m, atol=1e-12)
    np.testing.assert_array_equal(turned_rad, turn_rad)
    assert not draws.late(none).any()
    np.testing.assert_array_equal(draws.phase(np.arange(50), 50, none), np.arange(50))


def test_every_error_is_proportional_to_the_level() -> None:
    half, full = dataclasses.asdict(Degradation.at(0.5)), dataclasses.asdict(Degradation.at(1.0))
    for name, value in full.items():
        assert half[name] == pytest.approx(value if name == "late_decisions" else value / 2)


@pytest.mark.parametrize("level", [-0.01, 1.01, float("nan")])
def test_a_level_outside_0_to_1_is_refused(level: float) -> None:
    with pytest.raises(ValueError, match=r"is outside \[0, 1\]: 0 is the script as it is"):
        Degradation.at(level)


def test_one_disturbed_answer_by_hand() -> None:
    errors = dataclasses.replace(Degradation.at(0.0), direction_rad=np.pi / 4, length=1.0, turn_rad=0.1)
    # axis (0, 0, 2), normalised; twice the deviation of the angle; ln 3 in length; the turn's own three numbers
    normal = np.array([[0.0, 0.0, 2.0, 2.0, np.log(3.0), 1.0, 0.0, -2.0]])
    draws = Draws(normal=normal, uniform=np.full((1, 4), 0.5))
    moved_m, turned_rad = draws.disturb(np.array([[0.01, 0.0, 0.0]]), np.array([[0.0, 0.2, 0.2]]), errors)
    # a quarter turn about z, three times as long
    np.testing.assert_allclose(moved_m, [[0.0, 0.03, 0.0]], atol=1e-12)
    np.testing.assert_allclose(turned_rad, [[0.1, 0.2, 0.0]], atol=1e-12)


def test_dropped_late_and_wrong_answers_are_as_frequent_as_stated() -> None:
    draws = draws_of(4000)
    errors = dataclasses.replace(Degradation.at(0.0), wrong_phase=0.3, late=0.2, dropped=0.1)
    moved_m, _ = draws.disturb(np.ones((4000, 3)), np.ones((4000, 3)), errors)
    phase = draws.phase(np.full(4000, 9), 3, errors)  # 9 is none of the three: every wrong one shows
    # standard error at most sqrt(0.3 0.7 / 4000) = 0.007
    assert np.mean(~moved_m.any(axis=1)) == pytest.approx(0.1, abs=0.03)
    assert draws.late(errors).mean() == pytest.approx(0.2, abs=0.03)
    assert np.mean(phase != 9) == pytest.approx(0.3, abs=0.03)
    assert [np.mean(phase == wrong) for wrong in range(3)] == pytest.approx([0.1] * 3, abs=0.02)


def test_an_environments_draws_do_not_depend_on_the_others() -> None:
    alone, together = DrawSource(3, objects=2, seed=5), DrawSource(3, objects=2, seed=5)
    together.draw(np.array([0, 1]))
    together.begin(np.array([0]))
    np.testing.assert_array_equal(alone.draw(np.array([2])).normal, together.draw(np.array([2])).normal)
    np.testing.assert_array_equal(alone.bias[1:], together.bias[1:])
    assert not np.allclose(alone.bias[0], together.bias[0])
    assert not np.allclose(DrawSource(3, objects=2, seed=6).bias, alone.bias)
