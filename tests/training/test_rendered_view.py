"""Pictures of scenes that another simulation holds."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch

from vlajs.policy.response import ControllerResponse
from vlajs.twin.scene import FRONT_AT_M, FRONT_FOVY_DEG, FRONT_POSITION_M
from vlajs_training import rendered_view
from vlajs_training.camera_view import CameraView, maniskill_camera
from vlajs_training.environment import TaskEnvironment
from vlajs_training.randomisation import get_randomisation
from vlajs_training.rendered_view import (
    PLAIN,
    Look,
    RenderedView,
    RenderError,
    draw_look,
    draw_pattern,
    draw_vivid,
)
from vlajs_training.responses import TWIN_RESPONSE
from vlajs_training.simulation.headless import renderer_available
from vlajs_training.tasks import get_definition

needs_vulkan = pytest.mark.skipif(not renderer_available(), reason=rendered_view.NO_RENDERER)


def test_the_default_camera_is_the_twins() -> None:
    camera = CameraView()
    assert (camera.position_m, camera.at_m, camera.fovy_deg) == (FRONT_POSITION_M, FRONT_AT_M, FRONT_FOVY_DEG)
    assert camera.width_px / camera.height_px == 4 / 3


def test_a_camera_comes_back_from_json_and_others_are_refused() -> None:
    camera = CameraView(width_px=224, height_px=168, fovy_deg=50.0)
    assert CameraView.from_dict(camera.to_dict()) == camera
    for change, message in (
        ({"position_m": [1.0, 0.0]}, r"position_m is \[1.0, 0.0\]"),
        ({"position_m": [1.0, 0.0, "x"]}, "position_m is"),
        ({"fovy_deg": "45"}, "fovy_deg is '45'"),
        ({"fovy_deg": 500.0}, r"fovy_deg = 500.0 is outside \[5, 120\]"),
        ({"width_px": 160.0}, "width_px is 160.0"),
        ({"width_px": 64}, r"width_px = 64 is outside \[128, 256\]"),
        ({"at_m": [1.245, 0.0, 0.0]}, "must be finite and differ in x or y"),
    ):
        with pytest.raises(ValueError, match=message):
            CameraView.from_dict({**camera.to_dict(), **change})
    with pytest.raises(ValueError, match="expected the keys position_m"):
        CameraView.from_dict({"fovy_deg": 45.0})


def test_looks_follow_from_the_generator_and_stay_near_the_plain_one() -> None:
    first, again, other = (draw_look(np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert first == again
    assert first != other
    looks = [draw_look(np.random.default_rng(seed)) for seed in range(200)]
    ambient = np.array([look.ambient for look in looks])
    # 0.3 times 0.6 to 1.4 times 0.9 to 1.1
    assert ambient.min() >= 0.3 * 0.6 * 0.9
    assert ambient.max() <= 0.3 * 1.4 * 1.1
    offsets = np.array([look.position_off_m for look in looks])
    assert 0.005 < offsets.std() < 0.007
    assert {look.paint_seed for look in looks} == {None}
    painted = [draw_look(np.random.default_rng(seed), repaint=True) for seed in range(200)]
    assert [replace(look, paint_seed=None) for look in painted] == looks
    # 0.8 of 200, 4 standard deviations of 5.7 either way
    assert 137 < sum(look.paint_seed is not None for look in painted) < 183


def test_patterns_are_of_all_brightnesses_and_mostly_dull() -> None:
    patterns = [draw_pattern(np.random.default_rng(seed)).astype(float) for seed in range(100)]
    means = np.array([pattern.mean(axis=(0, 1)) for pattern in patterns])
    assert means.max(axis=1).min() < 90
    assert means.max(axis=1).max() > 220
    saturation = 1 - means.min(axis=1) / means.max(axis=1)
    assert np.median(saturation) < 0.3
    assert saturation.max() > 0.5


def test_cubes_and_goals_become_of_any_hue_and_vivid() -> None:
    colours = np.array([draw_vivid(np.random.default_rng(seed)) for seed in range(200)])
    assert ((colours >= 0) & (colours <= 1)).all()
    assert (1 - colours.min(axis=1) / colours.max(axis=1)).min() >= 0.75
    # of each primary colour a third: 67 of 200, four standard deviations of 6.7 either way
    assert all(40 < count < 94 for count in np.bincount(colours.argmax(axis=1)))


def test_without_a_renderer_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rendered_view, "renderer_available", lambda: False)
    with pytest.raises(RenderError, match=r"no Vulkan device.*mesa-vulkan-drivers libvulkan1"):
        RenderedView(get_definition("push_cube"), CameraView())


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def view() -> Iterator[RenderedView]:
    view = RenderedView(get_definition("push_cube"), CameraView())
    yield view
    view.close()


@pytest.fixture(scope="module")
def states() -> np.ndarray:
    env = TaskEnvironment(
        "push_cube",
        num_envs=3,
        response=ControllerResponse.from_yaml(TWIN_RESPONSE),
        randomisation=get_randomisation("none"),
    )
    env.reset(5)
    states = env.visible_state(np.arange(3))
    env.close()
    return states


def blue(picture: np.ndarray) -> tuple[float, float]:
    """Column and row, from the middle in heights of the picture, of what is bluest: the cube of push_cube."""
    values = picture.astype(float)
    rows, columns = np.nonzero(values[:, :, 2] - values[:, :, :2].max(axis=2) > 40)
    height, width = picture.shape[:2]
    return ((columns.mean() + 0.5) - width / 2) / height, ((rows.mean() + 0.5) - height / 2) / height


def projected(point_m: np.ndarray, camera: CameraView) -> tuple[float, float]:
    """A pinhole's picture of a point in the base frame, in the same measure."""
    position_m, ahead = np.array(camera.position_m), np.subtract(camera.at_m, camera.position_m)
    ahead = ahead / np.linalg.norm(ahead)
    right = np.cross(ahead, [0.0, 0.0, 1.0])
    right /= np.linalg.norm(right)
    down = np.cross(ahead, right)
    off = point_m - position_m
    focal = 0.5 / np.tan(np.radians(camera.fovy_deg) / 2)
    return focal * (off @ right) / (off @ ahead), focal * (off @ down) / (off @ ahead)


@needs_vulkan
def test_the_cube_is_where_a_pinhole_would_see_it(view: RenderedView, states: np.ndarray) -> None:
    pictures = view.images(states)
    assert pictures.shape == (3, 120, 160, 3)
    assert pictures.dtype == np.uint8
    for picture, state in zip(pictures, states, strict=True):
        cube_m = state[9:12] + np.array([0.615, 0.0, 0.0])
        # a pixel is 1/120 of the height; of the cube the faces turned to the camera are seen, a little above its middle
        np.testing.assert_allclose(blue(picture), projected(cube_m, view.camera), atol=2.5 / 120)


@needs_vulkan
def test_pictures_follow_from_state_and_look_alone(view: RenderedView, states: np.ndarray) -> None:
    first = view.image(states[0])
    dark = view.image(states[0], Look(ambient=(0.1, 0.1, 0.1), sun=(0.4, 0.4, 0.4), zenith=(0.4, 0.4, 0.4)))
    aside = view.image(states[0], Look(position_off_m=(0.0, 0.05, 0.0), at_off_m=(0.0, 0.05, 0.0)))
    other = view.image(states[1], draw_look(np.random.default_rng(1)))
    assert dark.mean() < 0.7 * first.mean()
    # the camera faces the robot: its left is the base's right, so the cube moves left as the camera moves to +y
    assert blue(aside)[0] < blue(first)[0] - 0.03
    assert (other != first).any()
    painted = view.image(states[0], Look(paint_seed=3))
    table = (slice(80, 115), slice(10, 150))
    assert np.abs(painted[table].astype(float) - first[table]).mean() > 20
    column, row = (round(120 * off) + middle for off, middle in zip(blue(first), (80, 60), strict=True))
    assert np.abs(painted[row, column].astype(float) - first[row, column]).max() > 40
    # the arm does not change: its base stands in the middle of the uppermost rows
    arm = (slice(0, 10), slice(76, 84))
    assert np.abs(painted[arm].astype(float) - first[arm]).mean() < 5
    np.testing.assert_array_equal(view.image(states[0], Look(paint_seed=3)), painted)
    assert (view.image(states[0], Look(paint_seed=4)) != painted).any()
    np.testing.assert_array_equal(view.image(states[0], PLAIN), first)


@needs_vulkan
def test_a_repainted_target_is_of_two_colours_or_one(view: RenderedView, states: np.ndarray) -> None:
    colours = set()
    for seed in range(12):
        view.image(states[0], Look(paint_seed=seed))
        goal = [surface for surface in view._surfaces if surface.thing.endswith("goal_region")]
        shades = [tuple(np.round(surface.material.base_color, 3)) for surface in goal]
        # five discs one upon the other, red and white by turns
        assert shades[0] == shades[2] == shades[4]
        assert shades[1] == shades[3]
        colours.add(shades[0] == shades[1])
    assert colours == {True, False}


@needs_vulkan
def test_a_peg_and_its_hole_are_seen_in_their_own_size() -> None:
    view = RenderedView(get_definition("peg_insertion_side"), maniskill_camera("peg_insertion_side"))
    env = TaskEnvironment(
        "peg_insertion_side",
        num_envs=1,
        response=ControllerResponse.from_yaml(TWIN_RESPONSE),
        randomisation=get_randomisation("none"),
    )
    state = env.visible_state(np.array([0]))[0]
    env.close()

    def seen(half_width_m: float, offset_m: float) -> np.ndarray:
        row = state.copy()
        row[23:27] = 0.1, half_width_m, offset_m, 0.0
        return view.image(row).astype(float)

    reference = seen(0.015, 0.0)
    # a thicker peg changes the picture where the peg is, a hole elsewhere where the box is, and back again nothing
    thicker, moved, again = seen(0.025, 0.0), seen(0.015, 0.03), seen(0.015, 0.0)
    changed = np.abs(thicker - reference).max(axis=2) > 20
    assert 20 < changed.sum() < 5000
    assert (np.abs(moved - reference).max(axis=2) > 20).any()
    np.testing.assert_array_equal(again, reference)
    with pytest.raises(ValueError, match="expected 27 finite numbers"):
        view.image(state[:-1])
    view.close()
