"""Scenes and success of the tasks, as ManiSkill 3.0.1 defines them, in the robot's frame."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vlajs.geometry import FloatArray, Pose, quat_from_rotvec, rotation, yaw_of
from vlajs.tasks import TASKS, SceneState, get_task, sample_scene

seeds = st.integers(0, 2**32 - 1)


def state(cube_m: list[float], goal_m: list[float], speed_rad_s: float = 0.0) -> SceneState:
    return SceneState(
        objects={"cube": Pose(position_m=np.array(cube_m), quat_wxyz=np.array([1.0, 0, 0, 0]))},
        goal_m=np.array(goal_m),
        joint_velocities_rad_s=np.array([0, 0, 0, 0, 0, 0, speed_rad_s]),
    )


@pytest.mark.parametrize("name", TASKS)
def test_a_task_knows_itself(name: str) -> None:
    task = get_task(name)
    assert task.name == name
    assert task.instruction
    assert set(sample_scene(task, 0).objects) == set(task.objects)


def test_an_unknown_task_is_refused() -> None:
    with pytest.raises(ValueError, match=r"unknown task 'juggle': known tasks are lift_peg_upright, .*, push_cube_v2"):
        get_task("juggle")


@given(seeds)
def test_push_scenes(seed: int) -> None:
    scene = sample_scene(get_task("push_cube"), seed)
    cube = scene.objects["cube"].position_m
    # world (0, 0) +- 0.1 is base (0.615, 0) +- 0.1; the 4 cm cube lies on the table
    assert np.all(np.abs(cube[:2] - [0.615, 0.0]) <= 0.1)
    assert cube[2] == pytest.approx(0.02)
    # ManiSkill: goal at cube x + 0.1 + goal radius 0.1
    assert scene.goal_m == pytest.approx([cube[0] + 0.2, cube[1], 1e-3])
    assert yaw_of(scene.objects["cube"].quat_wxyz) == pytest.approx(0)


@given(seeds)
def test_pick_scenes(seed: int) -> None:
    scene = sample_scene(get_task("pick_cube"), seed)
    cube = scene.objects["cube"].position_m
    assert np.all(np.abs(cube[:2] - [0.615, 0.0]) <= 0.1)
    assert np.all(np.abs(scene.goal_m[:2] - [0.615, 0.0]) <= 0.1)
    # up to 0.3 m above a cube on the table
    assert 0.02 <= scene.goal_m[2] <= 0.32


@pytest.mark.parametrize("name", TASKS)
def test_a_seed_stands_for_one_scene(name: str) -> None:
    task = get_task(name)
    one, again, other = sample_scene(task, 7), sample_scene(task, 7), sample_scene(task, 8)
    assert np.array_equal(one.goal_m, again.goal_m)
    for thing in task.objects:
        assert np.array_equal(one.objects[thing].quat_wxyz, again.objects[thing].quat_wxyz)
    assert not np.array_equal(one.goal_m, other.goal_m)


def test_scenes_fill_their_range() -> None:
    xy = np.array([sample_scene(get_task("pick_cube"), seed).objects["cube"].position_m[:2] for seed in range(300)])
    # 300 uniform draws miss the outer tenth of one side with probability 0.95^300 = 2e-7
    assert np.all(xy.min(axis=0) < np.array([0.615, 0.0]) - 0.09)
    assert np.all(xy.max(axis=0) > np.array([0.615, 0.0]) + 0.09)


@pytest.mark.parametrize(
    ("cube_m", "succeeded", "distance_m"),
    [
        ([0.80, 0.0, 0.02], True, 0.0),
        ([0.71, 0.0, 0.02], True, 0.09),  # within the radius of 0.1
        ([0.69, 0.0, 0.02], False, 0.11),
        ([0.80, 0.11, 0.02], False, 0.11),
        ([0.80, 0.0, 0.026], False, 0.0),  # lifted by 6 mm, 5 are allowed
        ([0.80, 0.0, 0.024], True, 0.0),
    ],
)
def test_push_success(cube_m: list[float], succeeded: bool, distance_m: float) -> None:
    task = get_task("push_cube")
    scene = state(cube_m, [0.8, 0.0, 0.001], speed_rad_s=5.0)
    assert task.succeeded(scene) is succeeded
    assert task.goal_distance(scene) == pytest.approx(distance_m)


@pytest.mark.parametrize(
    ("cube_m", "speed_rad_s", "succeeded", "distance_m"),
    [
        ([0.6, 0.0, 0.2], 0.0, True, 0.0),
        ([0.6, 0.0, 0.2], 0.19, True, 0.0),
        ([0.6, 0.0, 0.2], -0.21, False, 0.0),  # still moving, either way
        ([0.615, 0.0, 0.219], 0.0, True, float(np.hypot(0.015, 0.019))),  # 24.2 mm < 25
        ([0.6, 0.0, 0.226], 0.0, False, 0.026),
    ],
)
def test_pick_success(cube_m: list[float], speed_rad_s: float, succeeded: bool, distance_m: float) -> None:
    task = get_task("pick_cube")
    scene: Any = state(cube_m, [0.6, 0.0, 0.2], speed_rad_s)
    assert task.succeeded(scene) is succeeded
    assert task.goal_distance(scene) == pytest.approx(distance_m)


def pose(position_m: list[float], rotvec_rad: tuple[float, float, float] = (0.0, 0.0, 0.0)) -> Pose:
    return Pose(position_m=np.array(position_m), quat_wxyz=quat_from_rotvec(rotvec_rad))


def judged(objects: dict[str, Pose], goal_m: list[float], speed_rad_s: float = 0.0, **more: Any) -> SceneState:
    still = np.array([0, 0, 0, speed_rad_s, 0, 0, 0])
    return SceneState(objects=objects, goal_m=np.array(goal_m), joint_velocities_rad_s=still, **more)


@given(seeds)
def test_push_v2_scenes(seed: int) -> None:
    scene = sample_scene(get_task("push_cube_v2"), seed)
    cube = scene.objects["cube"].position_m
    assert np.all(np.abs(cube[:2] - [0.615, 0.0]) <= 0.1)
    assert cube[2] == pytest.approx(0.025)  # a 5 cm cube
    assert scene.goal_m == pytest.approx([cube[0], cube[1] + 0.2, 1e-3])  # to the left


@given(seeds)
def test_place_scenes(seed: int) -> None:
    scene = sample_scene(get_task("pick_place_cube"), seed)
    cube, spot = scene.objects["cube"].position_m, scene.goal_m
    for place in (cube, spot):
        assert abs(place[0] - 0.615) <= 0.1
        assert 0.05 <= abs(place[1]) <= 0.15
    assert cube[1] * spot[1] < 0, "on opposite sides"


@given(seeds)
def test_lift_scenes(seed: int) -> None:
    peg = sample_scene(get_task("lift_peg_upright"), seed).objects["peg"]
    assert np.all(np.abs(peg.position_m[:2] - [0.615, 0.0]) <= 0.1)
    assert peg.position_m[2] == pytest.approx(0.025)
    assert rotation(peg.quat_wxyz).apply([1.0, 0.0, 0.0]) == pytest.approx([1.0, 0.0, 0.0])


@given(seeds)
def test_poke_scenes(seed: int) -> None:
    scene = sample_scene(get_task("poke_cube"), seed)
    peg, cube = scene.objects["peg"].position_m, scene.objects["cube"].position_m
    assert np.all(np.abs(peg[:2] - [0.615, 0.0]) <= 0.1)
    # the peg's half length 0.12 m and 0.1 m more
    assert cube[0] - peg[0] == pytest.approx(0.22)
    assert abs(cube[1]) <= 0.1
    assert abs(yaw_of(scene.objects["cube"].quat_wxyz)) <= np.pi / 6
    assert scene.goal_m == pytest.approx([cube[0] + 0.1, cube[1], 1e-3])


@given(seeds)
def test_insertion_scenes(seed: int) -> None:
    scene = sample_scene(get_task("peg_insertion_side"), seed)
    peg, hole = scene.objects["peg"], scene.objects["hole"]
    (length, width, height), (depth, radius, _) = scene.half_sizes_m["peg"], scene.half_sizes_m["hole"]
    assert 0.085 <= length <= 0.125
    assert 0.015 <= width <= 0.025
    assert (height, depth) == (width, length)
    assert radius == pytest.approx(width + 0.003)
    assert peg.position_m[2] == pytest.approx(width), "it lies on the table"
    assert -0.1 <= peg.position_m[0] - 0.615 <= 0.1
    assert -0.3 <= peg.position_m[1] <= 0.0
    assert abs(yaw_of(peg.quat_wxyz) - np.pi / 2) <= np.pi / 3
    assert abs(yaw_of(hole.quat_wxyz) - np.pi / 2) <= np.pi / 8
    # the box' middle is at half its edge; the hole at most half of (length - width) higher or lower
    assert abs(hole.position_m[2] - length) <= 0.5 * (length - width) + 1e-9
    assert scene.goal_m == pytest.approx(hole.position_m)


@pytest.mark.parametrize(
    ("cube_m", "tool_m", "speed_rad_s", "succeeded"),
    [
        ([0.6, 0.1, 0.02], [0.6, 0.1, 0.09], 0.0, True),
        ([0.62, 0.1, 0.02], [0.6, 0.1, 0.09], 0.0, True),  # 20 mm of 25 off the spot
        ([0.63, 0.1, 0.02], [0.6, 0.1, 0.09], 0.0, False),
        ([0.6, 0.1, 0.026], [0.6, 0.1, 0.09], 0.0, False),  # 6 mm above the table, 5 are allowed
        ([0.6, 0.1, 0.02], [0.6, 0.1, 0.07], 0.0, False),  # the tool is 50 mm away, 60 are withdrawn
        ([0.6, 0.1, 0.02], [0.6, 0.1, 0.09], 0.3, False),  # the arm moves
        ([0.6, 0.1, 0.02], None, 0.0, False),  # nobody knows where the tool is
    ],
)
def test_place_success(cube_m: list[float], tool_m: list[float] | None, speed_rad_s: float, succeeded: bool) -> None:
    tool = None if tool_m is None else np.array(tool_m)
    scene = judged({"cube": pose(cube_m)}, [0.6, 0.1, 0.001], speed_rad_s, tool_m=tool)
    assert get_task("pick_place_cube").succeeded(scene) is succeeded


@pytest.mark.parametrize(
    ("turn_rad", "height_m", "succeeded", "distance_m"),
    [
        (np.pi / 2, 0.12, True, 0.0),
        (-np.pi / 2, 0.12, True, 0.0),  # on its other end
        (np.pi / 2 - 0.07, 0.12, True, 0.12 * (1 - np.cos(0.07))),
        (np.pi / 2 - 0.09, 0.12, False, 0.12 * (1 - np.cos(0.09))),
        (np.pi / 2, 0.126, False, 0.006),  # 6 mm above the table, 5 are allowed
        (0.0, 0.12, False, 0.12),  # held flat
        (0.0, 0.025, False, 0.215),  # lies: its upper end at 0.025 of 0.24 m
    ],
)
def test_lift_success(turn_rad: float, height_m: float, succeeded: bool, distance_m: float) -> None:
    task = get_task("lift_peg_upright")
    scene = judged({"peg": pose([0.6, 0.0, height_m], (0.0, turn_rad, 0.0))}, [0.6, 0.0, 0.12])
    assert task.succeeded(scene) is succeeded
    assert task.goal_distance(scene) == pytest.approx(distance_m, abs=1e-9)


@pytest.mark.parametrize(
    ("cube_m", "speed_rad_s", "succeeded"),
    [([0.76, 0.0, 0.02], 0.0, True), ([0.74, 0.0, 0.02], 0.0, False), ([0.8, 0.0, 0.02], 0.3, False)],
)
def test_poke_success(cube_m: list[float], speed_rad_s: float, succeeded: bool) -> None:
    scene = judged({"cube": pose(cube_m), "peg": pose([0.6, 0.0, 0.025])}, [0.8, 0.0, 0.001], speed_rad_s)
    assert get_task("poke_cube").succeeded(scene) is succeeded


@pytest.mark.parametrize(
    ("head_in_hole_m", "succeeded", "distance_m"),
    [
        ([0.0, 0.0, 0.0], True, 0.0),
        ([-0.014, 0.0, 0.0], True, 0.0),
        ([-0.016, 0.0, 0.0], False, 0.001),  # 15 mm short of the middle will do
        ([0.0, 0.022, 0.0], True, 0.022),  # the hole's radius is 23 mm
        ([0.0, 0.024, 0.0], False, 0.024),
        ([0.0, 0.0, -0.024], False, 0.024),
    ],
)
def test_insertion_success(head_in_hole_m: list[float], succeeded: bool, distance_m: float) -> None:
    # a hole that points along the base's y: its x axis is y, its y axis is -x
    x, y, z = head_in_hole_m
    head_m: FloatArray = np.array([0.6 - y, 0.3 + x, 0.1 + z])
    quarter = (0.0, 0.0, np.pi / 2)
    peg_m = head_m - [0.0, 0.1, 0.0]  # half a length of 0.1 m behind its head
    sizes = {"peg": np.array([0.1, 0.02, 0.02]), "hole": np.array([0.1, 0.023, 0.023])}
    objects = {"peg": pose(peg_m.tolist(), quarter), "hole": pose([0.6, 0.3, 0.1], quarter)}
    scene = judged(objects, [0.6, 0.3, 0.1], half_sizes_m=sizes)
    task = get_task("peg_insertion_side")
    assert task.succeeded(scene) is succeeded
    assert task.goal_distance(scene) == pytest.approx(distance_m, abs=1e-9)
