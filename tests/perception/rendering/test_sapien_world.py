"""ManiSkill's renderer puts the same scene at the same pixels as MuJoCo's, and lights it otherwise."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from vlajs_perception.rendering.sapien_world import SapienWorld
from vlajs_perception.rendering.scene import BOX, CUBE, GOAL, PEG, Ranges, draw_scene
from vlajs_perception.rendering.world import RenderError, World

WIDTH, HEIGHT = 320, 240


@pytest.fixture(scope="module")
def sapien_world() -> Iterator[SapienWorld]:
    try:
        world = SapienWorld(WIDTH, HEIGHT)
    except RenderError as error:
        pytest.skip(str(error))
    yield world
    world.close()


@pytest.fixture(scope="module")
def mujoco_world() -> Iterator[World]:
    world = World(WIDTH, HEIGHT)
    yield world
    world.close()


def test_both_renderers_show_each_class_at_the_same_pixels(sapien_world: SapienWorld, mujoco_world: World) -> None:
    seen: set[int] = set()
    for seed in range(6):
        # without the arm: it is another model of the same robot
        sample = replace(draw_scene([3, seed], Ranges(present=(1.0, 1.0, 0.5, 1.0), clutter=0.0)), arm=False)
        (_, there), (_, here) = mujoco_world.render(sample), sapien_world.render(sample)
        for kind in (CUBE, PEG, BOX, GOAL):
            one, other = there == kind, here == kind
            if one.sum() < 100:
                continue
            seen.add(kind)
            overlap = (one & other).sum() / (one | other).sum()
            # edges differ by a pixel at most: of 100 pixels in a square, 36 lie at its edge
            assert overlap > (0.8 if one.sum() < 400 else 0.9), (seed, kind, overlap)
    assert seen == {CUBE, PEG, BOX, GOAL}


def test_what_is_behind_a_transparent_ball_is_seen_through_it(sapien_world: SapienWorld) -> None:
    sample = draw_scene([9, 0], Ranges(present=(1.0, 0.0, 0.0, 0.0), arm=0.0, clutter=0.0, floating=0.0))
    (cube,) = sample.objects
    bare, whole = sapien_world.render(sample)
    assert (whole == CUBE).sum() > 100
    between_m = cube.position_m + 0.3 * (sample.camera_position_m - cube.position_m)
    sample.clutter[2] = [0.05, 0.05, 0.05, *between_m, 1.0, 0.0, 0.0, 0.0, 0.1, 0.8, 0.2, 0.5]
    through, seen = sapien_world.render(sample)
    np.testing.assert_array_equal(seen, whole)
    sample.clutter[2, 13] = 1.0
    opaque, hidden = sapien_world.render(sample)
    assert (hidden == CUBE).sum() == 0
    off, far_off = (np.abs(one.astype(float) - bare)[whole == CUBE].mean() for one in (through, opaque))
    assert 5.0 < off < 0.9 * far_off


def test_a_picture_depends_on_its_sample_alone(sapien_world: SapienWorld) -> None:
    one, other = (draw_scene([4, seed], Ranges()) for seed in (1, 2))
    first, shown = sapien_world.render(one)
    between, _ = sapien_world.render(other)
    again, shown_again = sapien_world.render(one)
    np.testing.assert_array_equal(shown_again, shown)
    # rounding of the last bit aside, nothing of the picture between is left
    assert np.abs(again.astype(int) - first).max() <= 1
    assert np.abs(between.astype(int) - first).mean() > 10


def test_light_and_material_are_not_those_of_the_other_renderer(sapien_world: SapienWorld, mujoco_world: World) -> None:
    sample = draw_scene([3, 1], Ranges())
    (there, _), (here, _) = mujoco_world.render(sample), sapien_world.render(sample)
    assert np.abs(there.astype(int) - here).mean() > 5
