"""Pictures of made-up states of the twin: small ones, one world for all tests."""

from collections.abc import Iterator
from dataclasses import replace

import cv2
import numpy as np
import pytest

from vlajs.bringup import TWIN_TABLE_TAGS
from vlajs.geometry import Pose, quat_from_rotvec
from vlajs.tasks import HOME_JOINTS_RAD, get_task, sample_scene
from vlajs.twin.camera import TwinCamera, TwinCameraConfig, disturbed, optical_in_base
from vlajs.twin.disturbance import Disturbance
from vlajs.twin.scene import MARKER_NAMES, CameraConfig, SceneConfig
from vlajs.twin.seen import SeenState
from vlajs_perception.calibration.board import CharucoBoard
from vlajs_perception.camera_watch import CameraWatch
from vlajs_perception.table_tags import TableTags, TagFinder

CONFIG = TwinCameraConfig(width_px=320, height_px=240, board=CharucoBoard())
UPRIGHT = np.array([1.0, 0.0, 0.0, 0.0])
AWAY_RAD = np.array([1.5, -1.0, 0.0, -2.2, 0.0, 1.5, 0.8])
"""The arm turned out of the picture."""


@pytest.fixture(scope="module")
def camera() -> Iterator[TwinCamera]:
    camera = TwinCamera(CONFIG)
    yield camera
    camera.close()


def state(seed: int = 3, *, joints_rad: np.ndarray = AWAY_RAD) -> SeenState:
    scene = sample_scene(get_task("push_cube"), seed)
    bodies = {"cube": scene.objects["cube"]}
    for name in MARKER_NAMES:
        place = scene.goal_m if name == "disc" else np.array([0.0, 0.0, -1.0])
        bodies[f"goal_{name}"] = Pose(position_m=place, quat_wxyz=UPRIGHT)
    return SeenState(stamp_ns=0, joints_rad=joints_rad, fingers_m=np.array([0.04, 0.04]), bodies=bodies)


def red(picture: np.ndarray) -> np.ndarray:
    """(H, W) whether a pixel is of the cube's usual colour."""
    rgb = picture.astype(int)
    return (rgb[..., 0] > 60) & (rgb[..., 0] > 2 * rgb[..., 1]) & (rgb[..., 0] > 2 * rgb[..., 2])


def test_each_of_two_cameras_paints_its_own_world() -> None:
    first = TwinCamera(CONFIG)
    second = TwinCamera(CONFIG)  # OpenGL's newest context is this one's
    try:
        np.testing.assert_array_equal(first.render(state()), second.render(state()))
    finally:
        second.close()
        first.close()


def test_the_front_camera_looks_at_its_point() -> None:
    pose = optical_in_base(CameraConfig.looking(position_m=(1.0, 0.0, 1.0), at_m=(0.0, 0.0, 0.0), fovy_deg=50.0))
    # ahead is (-1, 0, -1) / sqrt 2; right, seen from across the table, is the base's y
    half = np.sqrt(0.5)
    np.testing.assert_allclose(pose[:3, 2], [-half, 0, -half], atol=1e-9)
    np.testing.assert_allclose(pose[:3, 0], [0, 1, 0], atol=1e-9)
    np.testing.assert_allclose(pose[:3, 1], [half, 0, -half], atol=1e-9)


def test_the_whole_work_area_is_in_the_picture() -> None:
    corners = [[x, y, z] for x in (0.4, 0.8) for y in (-0.28, 0.28) for z in (0.0, 0.3)]
    pixels = TwinCameraConfig().camera.project(corners)
    assert np.all(pixels >= 0)
    assert np.all(pixels <= [639, 479])


def test_of_the_objects_those_that_are_there_are_shown(camera: TwinCamera) -> None:
    peg = sample_scene(get_task("lift_peg_upright"), 3).objects["peg"]
    with_cube = state()
    markers = {name: pose for name, pose in with_cube.bodies.items() if name != "cube"}
    picture = camera.render(replace(with_cube, bodies={**markers, "peg": peg}))
    assert not red(picture).any()
    blue = (picture[..., 2] > 60) & (picture[..., 2] > 2 * picture[..., 0].astype(int))
    rows, columns = np.nonzero(blue)
    # the peg lies along the line of sight: the middle of what is seen of it is 4 px off its middle at most
    expected = camera.camera.project(peg.position_m)
    np.testing.assert_allclose([columns.mean(), rows.mean()], expected, atol=4)
    assert red(camera.render(with_cube)).any()


@pytest.mark.parametrize("seed", range(4))
def test_the_middle_of_the_red_pixels_is_the_cube(camera: TwinCamera, seed: int) -> None:
    seen = state(seed)
    rows, columns = np.nonzero(red(camera.render(seen)))
    expected = camera.camera.project(seen.bodies["cube"].position_m)
    # the middle of what is seen of a cube is near its middle: 4 cm are 13 px here
    np.testing.assert_allclose([columns.mean(), rows.mean()], expected, atol=1.0)


def test_a_board_on_the_hand_is_seen_where_the_hand_is(camera: TwinCamera) -> None:
    board = CharucoBoard()
    assert CONFIG.board == board
    big = TwinCamera(TwinCameraConfig(board=board))
    try:
        picture = big.render(state(joints_rad=np.array(HOME_JOINTS_RAD)))
    finally:
        big.close()
    found = board.detect(np.ascontiguousarray(picture[..., ::-1]))
    assert len(found.ids) == 24
    # id 0 is up and to the left as printed, id 3 at the right, id 20 below
    pixels = dict(zip(found.ids.tolist(), found.pixels, strict=True))
    assert pixels[3][0] > pixels[0][0] + 50
    assert pixels[20][1] > pixels[0][1] + 80


def test_tags_on_the_table_are_seen_where_they_lie_and_tell_of_a_moved_camera() -> None:
    tags = TableTags.read(TWIN_TABLE_TAGS)
    twin = TwinCamera(TwinCameraConfig(tags=tags))
    offset = Disturbance(camera_offset_m=(0.012, 0.012, 0.0106), camera_offset_deg=(1.2, 1.2, 1.06))
    try:
        picture = twin.render(state())
        grey = np.asarray(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), dtype=np.uint8)
        moved = twin.render(state(joints_rad=np.array(HOME_JOINTS_RAD)), offset)
    finally:
        twin.close()
    found = TagFinder().find(grey)
    assert found.keys() == tags.corners_in_base_m.keys()
    for tag_id, pixels in found.items():
        np.testing.assert_allclose(pixels, twin.camera.project(tags.corners_in_base_m[tag_id]), atol=0.3)
    really, watch = disturbed(twin.camera, offset), CameraWatch(tags)
    cube_m = np.array([0.6, 0.1, 0.02])
    believed = watch.camera(moved, twin.camera, 0).on_plane(really.project(cube_m), 0.02)
    np.testing.assert_allclose(believed, cube_m, atol=5e-4)
    # what the calibrated pose would say
    assert np.linalg.norm(twin.camera.on_plane(really.project(cube_m), 0.02) - cube_m) > 0.02


@pytest.mark.parametrize("seed", range(6))
def test_clutter_is_seen_and_covers_no_object(camera: TwinCamera, seed: int) -> None:
    seen = state(seed)
    before = camera.render(seen)
    during = camera.render(seen, Disturbance(clutter=10, clutter_seed=seed + 1))
    assert np.mean(np.any(before != during, axis=2)) > 0.003
    cube = red(before)
    assert cube.sum() > 50
    np.testing.assert_array_equal(during[cube], before[cube])


def test_clutter_in_the_way_is_left_out(camera: TwinCamera) -> None:
    seen = state()
    disturbance = Disturbance(clutter=10, clutter_seed=2)
    camera.render(seen, disturbance)
    item = camera._clutter[0]
    # the cube right behind the item, on the line of sight
    eye = camera.camera.position_in_base_m
    behind = item.position_m + 0.08 * (item.position_m - eye) / np.linalg.norm(item.position_m - eye)
    there = replace(seen, bodies=seen.bodies | {"cube": Pose(position_m=behind, quat_wxyz=UPRIGHT)})
    np.testing.assert_array_equal(
        red(camera.render(there, disturbance)) & red(camera.render(there)), red(camera.render(there))
    )


def test_light_scales_brightness(camera: TwinCamera) -> None:
    seen = state()
    usual, dim = camera.render(seen).mean(), camera.render(seen, Disturbance(light=0.5)).mean()
    assert 0.4 * usual < dim < 0.6 * usual
    np.testing.assert_array_equal(camera.render(seen), camera.render(seen, Disturbance()))
    assert abs(camera.render(seen).mean() - usual) < 1e-9, "back to the usual light"


def test_a_cover_hides_everything(camera: TwinCamera) -> None:
    picture = camera.render(state(), Disturbance(occluded=True)).astype(float)
    assert np.max(np.std(picture, axis=(0, 1))) < 5.0
    assert not red(picture.astype(np.uint8)).any()


def test_a_moved_camera_sees_as_one_that_was_mounted_there(camera: TwinCamera) -> None:
    offset = Disturbance(camera_offset_m=(0.02, -0.01, 0.0), camera_offset_deg=(0.0, 2.0, 0.0))
    real = disturbed(camera.camera, offset)
    np.testing.assert_allclose(real.position_in_base_m - camera.camera.position_in_base_m, [0.02, -0.01, 0.0])
    cosine = (np.trace(real.camera_in_base[:3, :3].T @ camera.camera.camera_in_base[:3, :3]) - 1) / 2
    assert np.degrees(np.arccos(cosine)) == pytest.approx(2.0)
    seen = state()
    rows, columns = np.nonzero(red(camera.render(seen, offset)))
    expected = real.project(seen.bodies["cube"].position_m)
    np.testing.assert_allclose([columns.mean(), rows.mean()], expected, atol=1.0)


def test_a_body_that_the_world_does_not_have_is_refused(camera: TwinCamera) -> None:
    seen = state()
    odd = replace(seen, bodies=seen.bodies | {"teapot": seen.bodies["cube"]})
    with pytest.raises(ValueError, match="the twin has a 'teapot', which its camera cannot show"):
        camera.render(odd)


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"light": float("nan")}, "light is nan"),
        ({"clutter": 11}, r"clutter is 11, must lie in \[0, 10\]"),
        ({"clutter_seed": -1}, "clutter_seed is -1"),
        ({"camera_offset_deg": (0.0, 60.0, 0.0)}, r"camera_offset_deg is \[0.0, 60.0, 0.0\]"),
    ],
)
def test_a_disturbance_out_of_range_is_refused(values: dict, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        Disturbance(**values)


def test_a_state_that_is_none_is_refused() -> None:
    seen = state()
    with pytest.raises(ValueError, match="joints_rad is"):
        replace(seen, joints_rad=np.full(7, np.nan))
    with pytest.raises(ValueError, match="the pose of 'cube' is"):
        replace(seen, bodies={"cube": Pose(position_m=np.zeros(3), quat_wxyz=np.zeros(4))})


@pytest.mark.parametrize(
    ("position_m", "at_m", "fovy_deg", "reason"),
    [
        ((0.6, 0.0, 1.0), (0.6, 0.0, 0.0), 45.0, "no upright image"),
        ((1.0, 0.0, 1.0), (1.0, 0.0, 1.0), 45.0, "no upright image"),
        ((1.0, 0.0, 1.0), (0.0, 0.0, 0.0), 170.0, "fovy_deg is 170"),
    ],
)
def test_a_camera_that_cannot_be_is_refused(position_m: tuple, at_m: tuple, fovy_deg: float, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        CameraConfig.looking(position_m=position_m, at_m=at_m, fovy_deg=fovy_deg)


def test_a_turned_cube_and_another_size_are_shown(camera: TwinCamera) -> None:
    seen = state()
    turned = Pose(position_m=seen.bodies["cube"].position_m, quat_wxyz=quat_from_rotvec([0, 0, np.pi / 4]))
    wider = camera.render(replace(seen, bodies=seen.bodies | {"cube": turned}))
    columns = [np.ptp(np.nonzero(red(picture))[1]) for picture in (camera.render(seen), wider)]
    assert columns[1] > 1.25 * columns[0]  # the diagonal of a square is 1.41 sides
    assert SceneConfig(cube_half_size_m=0.025) != CONFIG.scene
