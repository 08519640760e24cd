"""What a task is outside of any simulator: instruction, scene distribution, success. Shared by twin and session.

The numbers are ManiSkill 3.0.1's own, moved from its world frame to the robot base ``panda_link0``: ManiSkill puts the
base at world (-0.615, 0, 0). ``pick_place_cube`` and ``push_cube_v2`` are this project's, in ManiSkill's manner. What
exists in ManiSkill only (contacts, speeds of objects) is left out of the criteria or replaced by what can be measured.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from vlajs.geometry import FloatArray, Pose, quat_from_rotvec, rotation

BASE_IN_WORLD_M: FloatArray = np.array([-0.615, 0.0, 0.0])
"""Position of ``panda_link0`` in ManiSkill's world; its axes are parallel."""

HOME_JOINTS_RAD = (0.0, np.pi / 8, 0.0, -5 * np.pi / 8, 0.0, 3 * np.pi / 4, np.pi / 4)
"""Start configuration of a trial: ManiSkill's rest pose of the Panda, the fingers open along the base's y."""

HOME_JOINTS_ACROSS_RAD = (*HOME_JOINTS_RAD[:6], -np.pi / 4)
"""The same with the hand turned by a quarter: the fingers open along the base's x."""

CUBE_HALF_SIZE_M = 0.02


@dataclass(frozen=True, kw_only=True)
class Scene:
    """Where a trial begins, in ``panda_link0``.

    Attributes:
        objects: pose of each object of the task, by name.
        goal_m: goal position, shape (3,).
        half_sizes_m: half edges, shape (3,), of the objects whose size differs from scene to scene.
    """

    objects: dict[str, Pose]
    goal_m: FloatArray
    half_sizes_m: dict[str, FloatArray] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class SceneState:
    """What success is judged from, in ``panda_link0``.

    Attributes:
        objects: measured pose of each object.
        goal_m: shape (3,).
        joint_velocities_rad_s: shape (7,).
        tool_m: measured tool position, shape (3,); None where it was not measured.
        half_sizes_m: as in the scene.
    """

    objects: dict[str, Pose]
    goal_m: FloatArray
    joint_velocities_rad_s: FloatArray
    tool_m: FloatArray | None = None
    half_sizes_m: Mapping[str, FloatArray] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Task:
    """A task as the robot's side sees it.

    Attributes:
        name: ``push_cube``.
        instruction: what a language-conditioned policy is told.
        objects: names, each with a topic ``/objects/<name>/pose``.
        sample: draws a scene of the training distribution from a generator.
        succeeded: the task's own criterion.
        goal_distance: what the criterion measures, metres, for reports.
        half_sizes_m: half edges (3) of each object whose size is always the same.
        home_joints_rad: where the arm begins.
    """

    name: str
    instruction: str
    objects: tuple[str, ...]
    sample: Callable[[np.random.Generator], Scene]
    succeeded: Callable[[SceneState], bool]
    goal_distance: Callable[[SceneState], float]
    half_sizes_m: Mapping[str, tuple[float, float, float]] = field(default_factory=dict)
    home_joints_rad: tuple[float, ...] = HOME_JOINTS_RAD


def _at(world_x_m: float, world_y_m: float, z_m: float, rotvec_rad: tuple[float, float, float] = (0, 0, 0)) -> Pose:
    """A pose given in ManiSkill's world; the table's top is z = 0 in both frames."""
    position_m = np.array([world_x_m - BASE_IN_WORLD_M[0], world_y_m - BASE_IN_WORLD_M[1], z_m])
    return Pose(position_m=position_m, quat_wxyz=quat_from_rotvec(rotvec_rad))


def _cube_on_table(rng: np.random.Generator, yaw_rad: float, half_size_m: float = CUBE_HALF_SIZE_M) -> Pose:
    """A cube anywhere in the 0.2 m square around (0.615, 0), lying on the table (z = 0)."""
    x, y = rng.uniform(-0.1, 0.1, size=2)
    return _at(x, y, half_size_m, (0.0, 0.0, yaw_rad))


def _is_still(state: SceneState) -> bool:
    return bool(np.max(np.abs(state.joint_velocities_rad_s)) <= STATIC_RAD_S)


STATIC_RAD_S = 0.2
"""Fastest joint of an arm that counts as still (ManiSkill's ``is_static``)."""

MARKER_HEIGHT_M = 1e-3
"""Where ManiSkill draws a disc on the table."""


PUSH_GOAL_RADIUS_M = 0.1
PUSH_MAX_LIFT_M = 5e-3


def _push_sample(rng: np.random.Generator) -> Scene:
    cube = _cube_on_table(rng, yaw_rad=0.0)
    # 0.1 + radius = 0.2 m ahead of the cube
    goal_m = np.array([cube.position_m[0] + 0.1 + PUSH_GOAL_RADIUS_M, cube.position_m[1], MARKER_HEIGHT_M])
    return Scene(objects={"cube": cube}, goal_m=goal_m)


def _table_distance(state: SceneState) -> float:
    return float(np.linalg.norm(state.objects["cube"].position_m[:2] - state.goal_m[:2]))


def _push_succeeded(state: SceneState) -> bool:
    on_table = state.objects["cube"].position_m[2] < CUBE_HALF_SIZE_M + PUSH_MAX_LIFT_M
    return bool(_table_distance(state) < PUSH_GOAL_RADIUS_M and on_table)


PICK_GOAL_THRESHOLD_M = 0.025
PICK_MAX_GOAL_HEIGHT_M = 0.3


def _pick_sample(rng: np.random.Generator) -> Scene:
    cube = _cube_on_table(rng, yaw_rad=rng.uniform(0.0, 2 * np.pi))
    goal_xy = rng.uniform(-0.1, 0.1, size=2) - BASE_IN_WORLD_M[:2]
    goal_z = CUBE_HALF_SIZE_M + rng.uniform(0.0, PICK_MAX_GOAL_HEIGHT_M)
    return Scene(objects={"cube": cube}, goal_m=np.array([goal_xy[0], goal_xy[1], goal_z]))


def _pick_distance(state: SceneState) -> float:
    return float(np.linalg.norm(state.objects["cube"].position_m - state.goal_m))


def _pick_succeeded(state: SceneState) -> bool:
    return bool(_pick_distance(state) <= PICK_GOAL_THRESHOLD_M and _is_still(state))


PUSH_V2_CUBE_HALF_SIZE_M = 0.025


def _push_v2_sample(rng: np.random.Generator) -> Scene:
    cube = _cube_on_table(rng, yaw_rad=0.0, half_size_m=PUSH_V2_CUBE_HALF_SIZE_M)
    # to the left, seen from the base
    goal_m = np.array([cube.position_m[0], cube.position_m[1] + 0.1 + PUSH_GOAL_RADIUS_M, MARKER_HEIGHT_M])
    return Scene(objects={"cube": cube}, goal_m=goal_m)


def _push_v2_succeeded(state: SceneState) -> bool:
    on_table = state.objects["cube"].position_m[2] < PUSH_V2_CUBE_HALF_SIZE_M + PUSH_MAX_LIFT_M
    return bool(_table_distance(state) < PUSH_GOAL_RADIUS_M and on_table)


PLACE_RADIUS_M = 0.025
PLACE_MAX_LIFT_M = 5e-3
PLACE_SIDE_M = (0.05, 0.15)
"""Cube and spot lie on opposite sides of the base's x axis, this far from it: never less than 0.1 m apart."""

RELEASED_M = 0.06
"""Distance of the tool from the cube's centre at which it has let go and withdrawn."""


def _place_sample(rng: np.random.Generator) -> Scene:
    side = rng.choice([-1.0, 1.0])
    (cube_x, spot_x), (cube_y, spot_y) = rng.uniform(-0.1, 0.1, size=2), rng.uniform(*PLACE_SIDE_M, size=2)
    cube = _at(cube_x, side * cube_y, CUBE_HALF_SIZE_M, (0.0, 0.0, rng.uniform(0.0, 2 * np.pi)))
    return Scene(objects={"cube": cube}, goal_m=_at(spot_x, -side * spot_y, MARKER_HEIGHT_M).position_m)


def _place_succeeded(state: SceneState) -> bool:
    if state.tool_m is None:
        return False  # whether the cube was let go is not known yet
    cube_m = state.objects["cube"].position_m
    lies = abs(cube_m[2] - CUBE_HALF_SIZE_M) < PLACE_MAX_LIFT_M
    released = np.linalg.norm(state.tool_m - cube_m) > RELEASED_M
    return bool(_table_distance(state) <= PLACE_RADIUS_M and lies and released and _is_still(state))


PEG_HALF_SIZE_M = (0.12, 0.025, 0.025)
"""The peg of LiftPegUpright-v1 and PokeCube-v1, along its own x axis."""

UPRIGHT_TOLERANCE_RAD = 0.08
UPRIGHT_MAX_LIFT_M = 5e-3


def _lift_sample(rng: np.random.Generator) -> Scene:
    x, y = rng.uniform(-0.1, 0.1, size=2)
    # lying along the base's x axis, rolled by a quarter turn as ManiSkill lays it
    peg = _at(x, y, PEG_HALF_SIZE_M[1], (np.pi / 2, 0.0, 0.0))
    return Scene(objects={"peg": peg}, goal_m=np.array([*peg.position_m[:2], PEG_HALF_SIZE_M[0]]))


def _rise_of(peg: Pose) -> float:
    """Sine of the angle between the table and the peg, whichever end is up."""
    return float(abs(rotation(peg.quat_wxyz).apply([1.0, 0.0, 0.0])[2]))


def _lift_distance(state: SceneState) -> float:
    """How much too low or high the peg's upper end is."""
    peg = state.objects["peg"]
    return abs(float(peg.position_m[2]) + PEG_HALF_SIZE_M[0] * _rise_of(peg) - 2 * PEG_HALF_SIZE_M[0])


def _lift_succeeded(state: SceneState) -> bool:
    # ManiSkill compares an Euler angle, which a peg that is also turned about the vertical may pass lying down
    peg = state.objects["peg"]
    upright = _rise_of(peg) > np.cos(UPRIGHT_TOLERANCE_RAD)
    return bool(upright and abs(peg.position_m[2] - PEG_HALF_SIZE_M[0]) < UPRIGHT_MAX_LIFT_M)


POKE_GOAL_RADIUS_M = 0.05


def _poke_sample(rng: np.random.Generator) -> Scene:
    peg_x, peg_y, cube_y = rng.uniform(-0.1, 0.1, size=3)
    cube_x, cube_yaw = peg_x + PEG_HALF_SIZE_M[0] + 0.1, rng.uniform(-np.pi / 6, np.pi / 6)
    objects = {
        "peg": _at(peg_x, peg_y, PEG_HALF_SIZE_M[1]),
        "cube": _at(cube_x, cube_y, CUBE_HALF_SIZE_M, (0.0, 0.0, cube_yaw)),
    }
    return Scene(objects=objects, goal_m=_at(cube_x + 0.05 + POKE_GOAL_RADIUS_M, cube_y, MARKER_HEIGHT_M).position_m)


def _poke_succeeded(state: SceneState) -> bool:
    return bool(_table_distance(state) < POKE_GOAL_RADIUS_M and _is_still(state))


INSERT_HALF_LENGTH_M = (0.085, 0.125)
INSERT_HALF_WIDTH_M = (0.015, 0.025)
INSERT_CLEARANCE_M = 0.003
INSERT_SHORT_OF_CENTRE_M = 0.015
"""The peg's head must come this near the middle of the box."""


def _insert_sample(rng: np.random.Generator) -> Scene:
    length, width = rng.uniform(*INSERT_HALF_LENGTH_M), rng.uniform(*INSERT_HALF_WIDTH_M)
    peg_yaw = np.pi / 2 + rng.uniform(-np.pi / 3, np.pi / 3)
    box_yaw = np.pi / 2 + rng.uniform(-np.pi / 8, np.pi / 8)
    peg = _at(rng.uniform(-0.1, 0.1), rng.uniform(-0.3, 0.0), width, (0.0, 0.0, peg_yaw))
    box = _at(rng.uniform(-0.05, 0.05), rng.uniform(0.2, 0.4), length, (0.0, 0.0, box_yaw))
    # the hole is off the middle of the box's face by up to half of what the face leaves
    off_m = 0.5 * (length - width) * rng.uniform(-1.0, 1.0, size=2)
    hole_m = box.position_m + rotation(box.quat_wxyz).apply([0.0, *off_m])
    hole = Pose(position_m=hole_m, quat_wxyz=box.quat_wxyz)
    radius = width + INSERT_CLEARANCE_M
    half_sizes_m = {"peg": np.array([length, width, width]), "hole": np.array([length, radius, radius])}
    return Scene(objects={"peg": peg, "hole": hole}, goal_m=hole_m, half_sizes_m=half_sizes_m)


def _head_in_hole(state: SceneState) -> FloatArray:
    """Centre of the peg's leading face in the hole's frame (x points into the hole), shape (3,)."""
    peg, hole = state.objects["peg"], state.objects["hole"]
    head_m = peg.position_m + rotation(peg.quat_wxyz).apply([state.half_sizes_m["peg"][0], 0.0, 0.0])
    return np.asarray(rotation(hole.quat_wxyz).inv().apply(head_m - hole.position_m), dtype=np.float64)


def _insert_distance(state: SceneState) -> float:
    x, y, z = _head_in_hole(state)
    return float(np.linalg.norm([min(x + INSERT_SHORT_OF_CENTRE_M, 0.0), y, z]))


def _insert_succeeded(state: SceneState) -> bool:
    x, y, z = _head_in_hole(state)
    radius = state.half_sizes_m["hole"][1]
    return bool(x >= -INSERT_SHORT_OF_CENTRE_M and abs(y) <= radius and abs(z) <= radius)


_CUBE = {"cube": (CUBE_HALF_SIZE_M, CUBE_HALF_SIZE_M, CUBE_HALF_SIZE_M)}

TASKS: dict[str, Task] = {
    "push_cube": Task(
        name="push_cube",
        instruction="push the cube away from the robot base",
        objects=("cube",),
        sample=_push_sample,
        succeeded=_push_succeeded,
        goal_distance=_table_distance,
        half_sizes_m=_CUBE,
    ),
    "pick_cube": Task(
        name="pick_cube",
        instruction="pick up the cube",
        objects=("cube",),
        sample=_pick_sample,
        succeeded=_pick_succeeded,
        goal_distance=_pick_distance,
        half_sizes_m=_CUBE,
    ),
    "pick_place_cube": Task(
        name="pick_place_cube",
        instruction="pick up the cube and place it on the marked spot",
        objects=("cube",),
        sample=_place_sample,
        succeeded=_place_succeeded,
        goal_distance=_table_distance,
        half_sizes_m=_CUBE,
    ),
    "push_cube_v2": Task(
        name="push_cube_v2",
        instruction="push the green cube to the left",
        objects=("cube",),
        sample=_push_v2_sample,
        succeeded=_push_v2_succeeded,
        goal_distance=_table_distance,
        half_sizes_m={"cube": (PUSH_V2_CUBE_HALF_SIZE_M, PUSH_V2_CUBE_HALF_SIZE_M, PUSH_V2_CUBE_HALF_SIZE_M)},
    ),
    "lift_peg_upright": Task(
        name="lift_peg_upright",
        instruction="lift the peg upright",
        objects=("peg",),
        sample=_lift_sample,
        succeeded=_lift_succeeded,
        goal_distance=_lift_distance,
        half_sizes_m={"peg": PEG_HALF_SIZE_M},
    ),
    "poke_cube": Task(
        name="poke_cube",
        instruction="push the cube by using the blue tool",
        objects=("cube", "peg"),
        sample=_poke_sample,
        succeeded=_poke_succeeded,
        goal_distance=_table_distance,
        half_sizes_m={**_CUBE, "peg": PEG_HALF_SIZE_M},
    ),
    "peg_insertion_side": Task(
        name="peg_insertion_side",
        instruction="insert the peg from the side",
        objects=("peg", "hole"),
        sample=_insert_sample,
        succeeded=_insert_succeeded,
        goal_distance=_insert_distance,
        home_joints_rad=HOME_JOINTS_ACROSS_RAD,
    ),
}


def get_task(name: str) -> Task:
    """The task of that name.

    Raises:
        ValueError: unknown name; the message lists the known ones.
    """
    if name not in TASKS:
        raise ValueError(f"unknown task {name!r}: known tasks are {', '.join(sorted(TASKS))}")
    return TASKS[name]


def sample_scene(task: Task, seed: int) -> Scene:
    """The scene that a seed stands for: the same on the twin, in a session's plan and in a report."""
    return task.sample(np.random.default_rng(seed))
