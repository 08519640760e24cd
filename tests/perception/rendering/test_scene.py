"""What is drawn from a seed."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vlajs_perception.rendering.scene import BOX, CUBE, GOAL, PEG, Ranges, SceneSample, draw_scene

EVERYTHING = Ranges(present=(1.0, 1.0, 1.0, 1.0), lifted=0.0)


def numbers(sample: SceneSample) -> np.ndarray:
    objects = [np.concatenate([o.position_m, o.quat_wxyz, o.colours.ravel()]) for o in sample.objects]
    return np.concatenate([*objects, sample.clutter.ravel(), sample.camera_position_m, sample.lights.ravel()])


def test_the_same_seed_draws_the_same_scene_and_another_does_not() -> None:
    first, again, other = (draw_scene(seed, Ranges()) for seed in ([1, 5], [1, 5], [1, 6]))
    np.testing.assert_array_equal(numbers(first), numbers(again))
    assert not np.array_equal(first.camera_position_m, other.camera_position_m)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6))
def test_every_scene_is_one_that_can_be(seed: int) -> None:
    ranges = Ranges()
    sample = draw_scene([seed, 0], ranges)
    axes = sample.camera_axes
    np.testing.assert_allclose(axes.T @ axes, np.eye(3), atol=1e-12)
    assert np.linalg.det(axes) == pytest.approx(1.0)
    assert axes[2, 1] < 0  # the image's down is down
    assert sample.camera_position_m[2] > 0.1
    for placed in sample.objects:
        assert ranges.object_x_m[0] <= placed.position_m[0] <= ranges.object_x_m[1]
        assert np.linalg.norm(placed.quat_wxyz) == pytest.approx(1.0)
        assert ((placed.colours >= 0) & (placed.colours <= 1)).all()
    for one in sample.objects:
        for other in sample.objects:
            reach = np.linalg.norm(one.half_size_m[:2]) + np.linalg.norm(other.half_size_m[:2])
            assert one is other or np.linalg.norm((one.position_m - other.position_m)[:2]) > reach


def test_what_is_not_lifted_stands_on_the_table() -> None:
    kinds = set()
    for index in range(40):
        for placed in draw_scene([2, index], EVERYTHING).objects:
            kinds.add(placed.kind)
            upright = placed.kind == PEG and abs(placed.quat_wxyz[0]) < 0.99 and placed.position_m[2] > 0.05
            assert placed.position_m[2] == placed.half_size_m[0 if upright else 2]
    assert kinds == {CUBE, PEG, BOX, GOAL}


def test_what_is_lifted_is_tilted_by_no_more_than_asked() -> None:
    lifted = Ranges(present=(1.0, 1.0, 0.0, 0.0), lifted=1.0, lifted_tilt_rad=(0.1, 0.3))
    tilts = []
    for index in range(30):
        for placed in draw_scene([5, index], lifted).objects:
            w, x, y, z = placed.quat_wxyz
            # heights of the object's axes: the resting one was upright
            heights = np.abs([2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)])
            tilts.append(np.arccos(heights.max()))
            assert placed.position_m[2] > placed.half_size_m[2]
    assert 0.1 - 1e-9 <= min(tilts) < max(tilts) <= 0.3 + 1e-9


def test_clutter_keeps_away_from_objects_and_never_looks_like_a_cube() -> None:
    seen = 0
    for index in range(40):
        sample = draw_scene([3, index], Ranges(clutter=1.0, floating=0.0))
        for number, row in enumerate(sample.clutter):
            if row[0] == 0:
                continue
            seen += 1
            assert number > 1 or row[2] < 0.5 * min(row[0], row[1])  # boxes are flat
            for placed in sample.objects:
                away = np.linalg.norm(row[3:5] - placed.position_m[:2])
                assert away > np.linalg.norm(placed.half_size_m[:2]) + row[:2].max()
    assert seen > 50


def test_a_ball_floats_in_free_air_and_old_scenes_stay_what_they_were() -> None:
    always, never = (Ranges(floating=share, present=(1.0, 1.0, 1.0, 1.0)) for share in (1.0, 0.0))
    balls = 0
    for seed in range(60):
        with_ball, without = draw_scene([seed, 1], always), draw_scene([seed, 1], never)
        changed = np.flatnonzero((with_ball.clutter != without.clutter).any(axis=1))
        assert changed.tolist() in ([], [2])  # the first of the two spheres; everything else is the same
        np.testing.assert_array_equal(with_ball.lights, without.lights)
        assert with_ball.lens_seed == without.lens_seed
        if not len(changed):
            continue  # it found no place
        balls += 1
        radius_m, middle_m, colour = with_ball.clutter[2, 0], with_ball.clutter[2, 3:6], with_ball.clutter[2, 10:]
        assert with_ball.clutter[2, :3].tolist() == [radius_m] * 3
        assert max(radius_m, 0.05) <= middle_m[2] <= 0.35
        assert 0.3 <= colour[3] <= 1.0
        for placed in with_ball.objects:
            assert np.linalg.norm(middle_m - placed.position_m) > radius_m + np.linalg.norm(placed.half_size_m)
    assert balls > 40


def test_probabilities_are_kept() -> None:
    never = Ranges(present=(0.0, 0.0, 0.0, 1.0), arm=0.0, clutter=0.0, floating=0.0, shadows=0.0)
    for index in range(20):
        sample = draw_scene([4, index], never)
        assert [placed.kind for placed in sample.objects] == [GOAL]
        assert not sample.arm
        assert sample.reach_m is None
        assert not sample.clutter[:, 0].any()
        assert not sample.lights[:, 6].any()


def test_refused_ranges() -> None:
    with pytest.raises(ValueError, match="object_x_m"):
        Ranges(object_x_m=(0.8, 0.4))
    with pytest.raises(ValueError, match="camera_roll_rad"):
        Ranges(camera_roll_rad=(0.0, float("nan")))
    with pytest.raises(ValueError, match=r"camera_roll_rad = \(-3.0, 0.0\) leaves \[-1.571, 1.571\].*upside down"):
        Ranges(camera_roll_rad=(-3.0, 0.0))
    with pytest.raises(ValueError, match=r"lifted = 1\.5"):
        Ranges(lifted=1.5)
