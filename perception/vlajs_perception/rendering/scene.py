"""What a picture shows, drawn from a seed: objects, clutter, arm, light, colours, camera.

A :class:`SceneSample` is plain numbers; :mod:`world` renders it. Everything is in ``panda_link0``, metres and radians;
the table's top is z = 0.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

CUBE, PEG, BOX, GOAL = range(4)
CLASS_NAMES = ("cube", "peg", "box", "goal")
"""What is labelled; a poking tool is a peg."""

CLUTTER_KINDS = ("box", "sphere", "cylinder", "capsule", "ellipsoid")
CLUTTER_PER_KIND = 2
CLUTTER_COUNT = CLUTTER_PER_KIND * len(CLUTTER_KINDS)
SEEN_THROUGH_ALPHA = 0.65
"""Clutter less opaque than this hides nothing: a detector should find what a person sees through it."""
LIGHT_COUNT = 3
HOME_JOINTS_RAD = (0.0, np.pi / 8, 0.0, -5 * np.pi / 8, 0.0, 3 * np.pi / 4, np.pi / 4)
_TRIES = 60


@dataclass(frozen=True, kw_only=True)
class Ranges:
    """What is drawn uniformly, (low, high), and with which probability; the defaults suit a camera across the table.

    Raises:
        ValueError: a range whose ends are out of order, or a probability outside [0, 1].
    """

    object_x_m: tuple[float, float] = (0.40, 0.80)
    """Where the middles of objects lie along the arm's reach."""
    object_y_m: tuple[float, float] = (-0.28, 0.28)
    cube_half_size_m: tuple[float, float] = (0.015, 0.03)
    peg_half_length_m: tuple[float, float] = (0.07, 0.13)
    peg_half_width_m: tuple[float, float] = (0.012, 0.027)
    goal_radius_m: tuple[float, float] = (0.025, 0.1)
    camera_distance_m: tuple[float, float] = (0.5, 1.1)
    """From the point it looks at."""
    camera_azimuth_rad: tuple[float, float] = (-1.3, 1.3)
    """0 looks at the robot from across the table, positive from its left."""
    camera_elevation_rad: tuple[float, float] = (0.45, 1.25)
    """Above the horizon."""
    camera_roll_rad: tuple[float, float] = (-0.08, 0.08)
    """At most a quarter turn: keypoints are counted from the front, and down in the picture says where that is."""
    fovy_rad: tuple[float, float] = (0.6, 1.0)
    """Vertical field of view."""
    present: tuple[float, float, float, float] = (0.8, 0.5, 0.2, 0.4)
    """Probability that each class is in the picture; pictures of nothing are wanted too."""
    lifted: float = 0.3
    """Probability that cube or peg is off the table, as when it is held."""
    lifted_tilt_rad: tuple[float, float] = (0.0, float(np.radians(30.0)))
    """How far what is lifted is tilted, any way, from how it lies or stands; a gripper holds most things so."""
    arm: float = 0.8
    """Probability that the arm is in the picture."""
    reaching: float = 0.5
    """Probability, with the arm there, that its hand is at an object and hides part of it."""
    clutter: float = 0.7
    """Probability of any clutter."""
    floating: float = 0.3
    """Probability of a ball in the air, as a simulator marks a goal there: more or less transparent, often green."""
    floating_radius_m: tuple[float, float] = (0.01, 0.05)
    floating_height_m: tuple[float, float] = (0.05, 0.35)
    shadows: float = 0.3

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            values = np.atleast_1d(value)
            if name.endswith(("_m", "_rad")):
                if len(values) != 2 or not np.isfinite(values).all() or values[0] > values[1]:
                    raise ValueError(f"{name} = {value}: expected two finite numbers, the lower first")
            elif not ((values >= 0.0) & (values <= 1.0)).all():
                raise ValueError(f"{name} = {value}: probabilities lie in [0, 1]")
        for name, low, high in (("camera_elevation_rad", 0.0, np.pi / 2), ("camera_roll_rad", -np.pi / 2, np.pi / 2)):
            if getattr(self, name)[0] < low or getattr(self, name)[1] > high:
                raise ValueError(
                    f"{name} = {getattr(self, name)} leaves [{low:.4g}, {high:.4g}]: from below or upside down, the "
                    "front of an object is not defined and its keypoints cannot be counted; turn the picture instead"
                )


@dataclass(frozen=True, kw_only=True)
class Placed:
    """An object in the picture.

    Attributes:
        kind: one of the classes.
        half_size_m: shape (3,), in its own axes; of a goal (radius, radius, thickness / 2).
        position_m: shape (3,), its middle.
        quat_wxyz: shape (4,).
        colours: shape (2, 4), rgba in [0, 1]; a box-shaped object's two ends, a goal's rings.
        hole_half_m: half the opening of a box's hole; 0 for others.
    """

    kind: int
    half_size_m: FloatArray
    position_m: FloatArray
    quat_wxyz: FloatArray
    colours: FloatArray
    hole_half_m: float = 0.0


@dataclass(frozen=True, kw_only=True)
class SceneSample:
    """One picture's worth of numbers.

    Attributes:
        objects: at most one of each class.
        clutter: (CLUTTER_COUNT, 3 + 3 + 4 + 4): size, position, quaternion, colour; nothing where the size is 0.
        arm: whether it is shown.
        joints_rad: (9,) arm and fingers.
        reach_m: (3,) where the tool is put instead, or None.
        camera_position_m: (3,).
        camera_axes: (3, 3), columns are the optical axes x right, y down, z forward in the base.
        fovy_rad: vertical field of view.
        lights: (LIGHT_COUNT, 7): position (3), colour (3), 1 if it casts shadows.
        ambient: rgb of the light from everywhere, (3,).
        texture_seed: of table, floor and walls.
        lens_seed: of blur, noise and exposure.
    """

    objects: tuple[Placed, ...]
    clutter: FloatArray
    arm: bool
    joints_rad: FloatArray
    reach_m: FloatArray | None
    camera_position_m: FloatArray
    camera_axes: FloatArray
    fovy_rad: float
    lights: FloatArray
    ambient: FloatArray
    texture_seed: int
    lens_seed: int


def draw_scene(seed: Sequence[int], ranges: Ranges) -> SceneSample:
    """The scene of a seed: the same numbers for the same seed and ranges, whatever was drawn before."""
    rng = np.random.default_rng(seed)
    objects = _draw_objects(rng, ranges)
    target = objects[int(rng.integers(len(objects)))].position_m if objects else np.array([0.6, 0.0, 0.0])
    arm = bool(rng.random() < ranges.arm)
    reach = None
    if arm and objects and rng.random() < ranges.reaching:
        reach = target + rng.normal(0, 0.02, 3) + [0, 0, rng.uniform(0.0, 0.12)]
    joints = np.array([*HOME_JOINTS_RAD, 0.0, 0.0]) + np.append(rng.normal(0, 0.25, 7), [0, 0])
    joints[7:] = rng.uniform(0.0, 0.04)
    look_at = target + rng.normal(0, 0.06, 3) * [1, 1, 0.3]
    position, axes = _draw_camera(rng, ranges, look_at)
    clutter = _draw_clutter(rng, ranges, objects)
    sample = SceneSample(
        objects=objects,
        clutter=clutter,
        arm=arm,
        joints_rad=joints,
        reach_m=reach,
        camera_position_m=position,
        camera_axes=axes,
        fovy_rad=float(rng.uniform(*ranges.fovy_rad)),
        lights=_draw_lights(rng, ranges),
        ambient=rng.uniform(0.2, 0.55) * rng.uniform(0.85, 1.0, 3),
        texture_seed=int(rng.integers(2**31)),
        lens_seed=int(rng.integers(2**31)),
    )
    # last, so that with floating=0 a seed's scene is what it was before there were balls
    _draw_ball(rng, ranges, objects, clutter)
    return sample


def _draw_objects(rng: np.random.Generator, ranges: Ranges) -> tuple[Placed, ...]:
    """Objects that do not stand in one another."""
    placed: list[Placed] = []
    for kind in np.flatnonzero(rng.random(len(CLASS_NAMES)) < ranges.present):
        for _ in range(_TRIES):
            candidate = _draw_object(rng, ranges, int(kind))
            if all(_apart(candidate, other) for other in placed):
                placed.append(candidate)
                break
    return tuple(placed)


def _draw_object(rng: np.random.Generator, ranges: Ranges, kind: int) -> Placed:
    x, y = rng.uniform(*ranges.object_x_m), rng.uniform(*ranges.object_y_m)
    colours, hole = _draw_colours(rng, kind), 0.0
    yaw = rng.uniform(-np.pi, np.pi)
    quat = np.array([np.cos(yaw / 2), 0, 0, np.sin(yaw / 2)])
    if kind == CUBE:
        half = np.full(3, rng.uniform(*ranges.cube_half_size_m))
    elif kind == PEG:
        width = rng.uniform(*ranges.peg_half_width_m)
        half = np.array([rng.uniform(*ranges.peg_half_length_m), width, width])
    elif kind == BOX:
        half = np.array([rng.uniform(0.06, 0.12), *np.repeat(rng.uniform(0.07, 0.12), 2)])
        hole = float(rng.uniform(0.012, 0.03))
    else:
        radius = rng.uniform(*ranges.goal_radius_m)
        half, quat = np.array([radius, radius, 1e-3]), np.array([1.0, 0, 0, 0])
    height = half[2]
    if kind == PEG and rng.random() < 0.2:  # upright
        quat = _times(quat, np.array([np.sqrt(0.5), 0, -np.sqrt(0.5), 0]))
        height = half[0]
    if kind in (CUBE, PEG) and rng.random() < ranges.lifted:
        height += rng.uniform(0.02, 0.25)
        tilt, way = rng.uniform(*ranges.lifted_tilt_rad), rng.uniform(-np.pi, np.pi)
        axis = np.array([np.cos(way), np.sin(way), 0.0])
        quat = _times(np.array([np.cos(tilt / 2), *(np.sin(tilt / 2) * axis)]), quat)
    return Placed(
        kind=kind,
        half_size_m=half,
        position_m=np.array([x, y, height]),
        quat_wxyz=quat,
        colours=colours,
        hole_half_m=hole,
    )


def _draw_colours(rng: np.random.Generator, kind: int) -> FloatArray:
    """Mostly saturated colours, any hue; half of the pegs have two."""
    colours = np.ones((2, 4))
    for row in colours:
        row[:3] = _hsv(rng.random(), rng.uniform(0.3, 1.0) ** 0.5, rng.uniform(0.4, 1.0))
    if kind in (CUBE, BOX) or (kind == PEG and rng.random() < 0.5):
        colours[1] = colours[0]
    if kind == GOAL:
        colours[1, :3] = rng.uniform(0.8, 1.0)
    return colours


def _apart(one: Placed, other: Placed) -> bool:
    reach_m = np.linalg.norm(one.half_size_m[:2]) + np.linalg.norm(other.half_size_m[:2])
    return bool(np.linalg.norm(one.position_m[:2] - other.position_m[:2]) > reach_m)


def _draw_camera(rng: np.random.Generator, ranges: Ranges, look_at_m: FloatArray) -> tuple[FloatArray, FloatArray]:
    distance, azimuth, elevation, roll = (
        rng.uniform(*bounds)
        for bounds in (
            ranges.camera_distance_m,
            ranges.camera_azimuth_rad,
            ranges.camera_elevation_rad,
            ranges.camera_roll_rad,
        )
    )
    away = np.array([np.cos(elevation) * np.cos(azimuth), np.cos(elevation) * np.sin(azimuth), np.sin(elevation)])
    forward = -away
    right = np.cross(forward, [0.0, 0.0, 1.0])
    right /= np.linalg.norm(right)
    down = np.cross(forward, right)
    cos, sin = np.cos(roll), np.sin(roll)
    axes = np.stack([cos * right + sin * down, cos * down - sin * right, forward], axis=1)
    return look_at_m + distance * away, axes


def _draw_clutter(rng: np.random.Generator, ranges: Ranges, objects: tuple[Placed, ...]) -> FloatArray:
    """Things that are none of the classes, on the table, next to the objects."""
    clutter = np.zeros((CLUTTER_COUNT, 14))
    clutter[:, 6] = 1.0
    if rng.random() >= ranges.clutter:
        return clutter
    for index in np.flatnonzero(rng.random(CLUTTER_COUNT) < rng.uniform(0.1, 0.9)):
        kind = CLUTTER_KINDS[index // CLUTTER_PER_KIND]
        size = rng.uniform(0.008, 0.06, 3)
        if kind == "box":  # one that looks like a cube or peg would make the labels wrong
            size[2] = size.min() * rng.uniform(0.15, 0.45)
        height = {"sphere": size[0], "cylinder": size[1], "capsule": size[0] + size[1]}.get(kind, size[2])
        yaw = rng.uniform(-np.pi, np.pi)
        for _ in range(_TRIES):
            spot = np.array([rng.uniform(0.25, 1.0), rng.uniform(-0.5, 0.5)])
            gaps = [np.linalg.norm(spot - o.position_m[:2]) - np.linalg.norm(o.half_size_m[:2]) for o in objects]
            if all(gap > 1.3 * size[:2].max() for gap in gaps):
                pose = [*spot, height, np.cos(yaw / 2), 0, 0, np.sin(yaw / 2)]
                colour = [*_hsv(rng.random(), rng.random(), rng.uniform(0.1, 1.0)), 1.0]
                clutter[index] = [*size, *pose, *colour]
                break
    return clutter


def _draw_ball(rng: np.random.Generator, ranges: Ranges, objects: tuple[Placed, ...], clutter: FloatArray) -> None:
    """Now and then put a ball in the air in place of the first sphere on the table; nothing is inside it."""
    if rng.random() >= ranges.floating:
        return
    radius_m = rng.uniform(*ranges.floating_radius_m)
    hue = rng.normal(0.33, 0.04) % 1.0 if rng.random() < 0.5 else rng.random()
    colour = [*_hsv(hue, rng.uniform(0.5, 1.0), rng.uniform(0.4, 1.0)), rng.uniform(0.3, 1.0)]
    for _ in range(_TRIES):
        middle_m = np.array(
            [rng.uniform(*ends) for ends in (ranges.object_x_m, ranges.object_y_m, ranges.floating_height_m)]
        )
        gaps_m = [np.linalg.norm(middle_m - o.position_m) - np.linalg.norm(o.half_size_m) for o in objects]
        if middle_m[2] > radius_m and all(gap_m > radius_m for gap_m in gaps_m):
            row = CLUTTER_KINDS.index("sphere") * CLUTTER_PER_KIND
            clutter[row] = [*np.full(3, radius_m), *middle_m, 1.0, 0.0, 0.0, 0.0, *colour]
            return


def _draw_lights(rng: np.random.Generator, ranges: Ranges) -> FloatArray:
    lights = np.zeros((LIGHT_COUNT, 7))
    lights[:, :3] = rng.uniform([-1.5, -1.5, 0.8], [2.0, 1.5, 2.5], (LIGHT_COUNT, 3))
    brightness = rng.uniform(0.1, 0.7, (LIGHT_COUNT, 1)) * (rng.random((LIGHT_COUNT, 1)) < 0.8)
    lights[:, 3:6] = brightness * rng.uniform(0.75, 1.0, (LIGHT_COUNT, 3))
    lights[0, 3:6] = np.maximum(lights[0, 3:6], 0.3)
    lights[0, 6] = rng.random() < ranges.shadows
    return lights


def _hsv(hue: float, saturation: float, value: float) -> FloatArray:
    """rgb of a hue, saturation and value, all in [0, 1]."""
    phase = (np.array([5.0, 3.0, 1.0]) + 6.0 * hue) % 6.0
    return value * (1.0 - saturation * np.clip(np.minimum(phase, 4.0 - phase), 0.0, 1.0))


def _times(first_wxyz: FloatArray, second_wxyz: FloatArray) -> FloatArray:
    """The rotation ``second`` followed by ``first``."""
    w, v = first_wxyz[0], first_wxyz[1:]
    u, x = second_wxyz[0], second_wxyz[1:]
    return np.array([w * u - v @ x, *(w * x + u * v + np.cross(v, x))])
