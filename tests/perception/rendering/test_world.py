"""MuJoCo's pictures show what their labels say."""

from collections.abc import Iterator
from dataclasses import replace

import cv2
import numpy as np
import pytest

from vlajs_perception.objects import box_corners
from vlajs_perception.rendering.labels import camera_of
from vlajs_perception.rendering.lens import through_the_lens
from vlajs_perception.rendering.scene import BOX, CUBE, GOAL, PEG, Ranges, draw_scene
from vlajs_perception.rendering.world import World, parts_of

WIDTH, HEIGHT = 480, 360


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    made = World(WIDTH, HEIGHT)
    yield made
    made.close()


def silhouette(points_px: np.ndarray) -> np.ndarray:
    canvas = np.zeros((HEIGHT, WIDTH), np.uint8)
    hull = cv2.convexHull(points_px.astype(np.float32))
    cv2.fillConvexPoly(canvas, np.round(hull * 16).astype(np.int32), 1, shift=4)
    return canvas > 0


def turned(quat_wxyz: np.ndarray, points: np.ndarray) -> np.ndarray:
    w, x, y, z = quat_wxyz
    return (
        points
        @ np.array(
            [
                [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
                [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
                [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
            ]
        ).T
    )


def test_objects_are_where_their_numbers_say(world: World) -> None:
    """Silhouettes in the picture against those the camera model projects, for every class and many poses."""
    for kind in (CUBE, PEG, BOX, GOAL):
        ranges = Ranges(present=tuple(float(kind == other) for other in range(4)), arm=0.0, clutter=0.0)  # type: ignore[arg-type]
        for index in range(5):
            sample = draw_scene([7, index], ranges)
            (placed,) = sample.objects
            _, shown = world.render(sample)
            if placed.kind == GOAL:
                angle = np.linspace(0, 2 * np.pi, 60)
                local = placed.half_size_m[0] * np.stack([np.cos(angle), np.sin(angle), 0 * angle], axis=1)
            else:
                local = box_corners(placed.half_size_m)
            points_m = placed.position_m + turned(placed.quat_wxyz, local)
            expected = silhouette(camera_of(sample, WIDTH, HEIGHT).project(points_m))
            agreement = (expected & (shown == kind)).sum() / (expected | (shown == kind)).sum()
            assert agreement > (0.75 if kind == BOX else 0.85), (kind, index)  # one may look through a box's hole


def test_the_parts_of_a_peg_and_of_a_box_make_the_whole() -> None:
    for index in range(40):
        for placed in draw_scene([8, index], Ranges(present=(0.0, 1.0, 1.0, 0.0))).objects:
            volume = sum(8 * np.prod(size) for size, _, _ in parts_of(placed))
            hole = 8 * placed.half_size_m[0] * placed.hole_half_m**2
            assert volume == pytest.approx(8 * np.prod(placed.half_size_m) - hole)
            for size, offset, _ in parts_of(placed):
                assert (np.abs(offset) + size <= placed.half_size_m + 1e-12).all()


def test_the_hand_hides_what_it_reaches_for(world: World) -> None:
    ranges = Ranges(present=(1.0, 0.0, 0.0, 0.0), arm=1.0, reaching=1.0, clutter=0.0, lifted=0.0)
    hidden = 0
    for index in range(8):
        sample = draw_scene([9, index], ranges)
        _, with_arm = world.render(sample)
        _, without = world.render(replace(sample, arm=False))
        hidden += int((without == CUBE).sum() > (with_arm == CUBE).sum())
    assert hidden >= 3


def test_what_is_behind_a_ball_is_seen_through_it_if_it_is_transparent_enough(world: World) -> None:
    sample = draw_scene([9, 0], Ranges(present=(1.0, 0.0, 0.0, 0.0), arm=0.0, clutter=0.0, floating=0.0))
    (cube,) = sample.objects
    between_m = cube.position_m + 0.3 * (sample.camera_position_m - cube.position_m)
    bare, whole = world.render(sample)
    assert (whole == CUBE).sum() > 100
    pictures, shown = {}, {}
    for alpha in (0.5, 1.0, 0.5):  # again after the opaque one: nothing is left of it
        sample.clutter[2] = [0.05, 0.05, 0.05, *between_m, 1.0, 0.0, 0.0, 0.0, 0.1, 0.8, 0.2, alpha]
        pictures[alpha], shown[alpha] = world.render(sample)
    np.testing.assert_array_equal(shown[0.5], whole)
    # 5 cm of radius, 0.3 of the way nearer, cover 5 / 0.7 = 7.1 cm; a corner is 3 * sqrt(3) = 5.2 cm from the middle
    assert (shown[1.0] == CUBE).sum() == 0
    inside = whole == CUBE
    through, opaque = (np.abs(pictures[alpha].astype(float) - bare)[inside].mean() for alpha in (0.5, 1.0))
    assert 5.0 < through < 0.9 * opaque


def test_colours_textures_and_light_vary(world: World) -> None:
    pictures = [world.render(draw_scene([10, index], Ranges()))[0].astype(float) for index in range(6)]
    means = np.array([picture.mean(axis=(0, 1)) for picture in pictures])
    assert means.std(axis=0).min() > 10


def test_a_scene_renders_the_same_whatever_was_rendered_before(world: World) -> None:
    sample = draw_scene([11, 0], Ranges())
    first, _ = world.render(sample)
    world.render(draw_scene([11, 1], Ranges(arm=1.0, reaching=1.0)))
    again, _ = world.render(sample)
    np.testing.assert_array_equal(first, again)


def test_the_lens_follows_its_seed() -> None:
    picture = np.random.default_rng(0).integers(0, 255, (48, 64, 3)).astype(np.uint8)
    first, again, other = (through_the_lens(picture, seed) for seed in (4, 4, 5))
    np.testing.assert_array_equal(first, again)
    assert first.shape == picture.shape
    assert not np.array_equal(first, other)
