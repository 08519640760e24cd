"""What is changed about the picture of the twin's camera, to see what a detector and a policy bear.

Everything follows from a few numbers: the same seeds give the same colours, surfaces and clutter.
"""

from dataclasses import dataclass

import numpy as np

from vlajs.geometry import FloatArray
from vlajs_perception.rendering.scene import CLUTTER_COUNT, CLUTTER_KINDS, CLUTTER_PER_KIND

CLUTTER_X_M = (0.3, 1.05)
CLUTTER_Y_M = (-0.5, 0.5)
KEPT_CLEAR_X_M = (0.4, 1.1)
KEPT_CLEAR_Y_M = (-0.2, 0.2)
"""Where the tasks play, up to the camera's side: nothing is put there."""

_MIN_CONTRAST = 0.35
_TRIES = 200
_RANGES = {"light": (0.05, 5.0), "colours": (0, 2**31), "textures": (0, 2**31), "clutter": (0, CLUTTER_COUNT)}


@dataclass(frozen=True, kw_only=True)
class Disturbance:
    """What a test of robustness changes; the defaults change nothing.

    Raises:
        ValueError: a number outside its range; the message names it and the range.
    """

    light: float = 1.0
    """Brightness of all lights, 0.05 to 5."""
    colours: int = 0
    """Seed of the colours of table, walls and objects; 0 for the usual ones."""
    textures: int = 0
    """Seed of the surfaces of table, floor, walls and objects; 0 for the usual ones."""
    clutter: int = 0
    """How many things stand about that belong to no task, 0 to 10; they are seen and touch nothing."""
    clutter_seed: int = 1
    """Which things, and where."""
    camera_offset_m: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """How far the camera was moved, along the axes of the base; at most 0.5 m."""
    camera_offset_deg: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """How far it was turned: rotation vector along its own axes (right, down, ahead); at most 45 degrees."""
    occluded: bool = False
    """Something is before the lens."""

    def __post_init__(self) -> None:
        for name, (low, high) in _RANGES.items():
            if not low <= getattr(self, name) <= high:  # also refuses NaN
                raise ValueError(f"{name} is {getattr(self, name)}, must lie in [{low}, {high}]")
        if not 0 <= self.clutter_seed <= 2**31:
            raise ValueError(f"clutter_seed is {self.clutter_seed}, must lie in [0, {2**31}]")
        for name, limit in (("camera_offset_m", 0.5), ("camera_offset_deg", 45.0)):
            value = np.asarray(getattr(self, name), dtype=np.float64)
            if value.shape != (3,) or not np.linalg.norm(value) <= limit:
                raise ValueError(f"{name} is {value.tolist()}: three numbers are needed, at most {limit:g} long")


@dataclass(frozen=True, kw_only=True)
class ClutterItem:
    """A thing that belongs to no task.

    Attributes:
        index: which of the world's clutter bodies, which gives its shape.
        size_m: shape (3,), as MuJoCo takes it for that shape.
        position_m: shape (3,), its middle in ``panda_link0``.
        yaw_rad: about the vertical.
        rgba: shape (4,).
    """

    index: int
    size_m: FloatArray
    position_m: FloatArray
    yaw_rad: float
    rgba: FloatArray

    @property
    def radius_m(self) -> float:
        """Of a ball that holds it."""
        return radius_m(clutter_kind(self.index), self.size_m)


def clutter_kind(index: int) -> str:
    """Shape of a clutter body, by MuJoCo's name."""
    return CLUTTER_KINDS[index // CLUTTER_PER_KIND]


def radius_m(kind: str, size_m: FloatArray) -> float:
    """Of a ball that holds a shape of this size."""
    if kind == "sphere":
        return float(size_m[0])
    if kind == "capsule":
        return float(size_m[0] + size_m[1])
    return float(np.linalg.norm(size_m[:2] if kind == "cylinder" else size_m))


def draw_clutter(count: int, seed: int) -> list[ClutterItem]:
    """``count`` things on the table, apart from each other and from where the tasks play."""
    rng = np.random.default_rng(seed)
    items: list[ClutterItem] = []
    for index in rng.permutation(CLUTTER_COUNT)[:count]:
        kind = clutter_kind(int(index))
        size = rng.uniform(0.015, 0.045, 3)
        height = {"sphere": size[0], "cylinder": size[1], "capsule": size[0] + size[1]}.get(kind, size[2])
        rgba = np.array([*_vivid(rng), 1.0])
        yaw = float(rng.uniform(-np.pi, np.pi))
        for _ in range(_TRIES):
            spot = np.array([rng.uniform(*CLUTTER_X_M), rng.uniform(*CLUTTER_Y_M), height])
            item = ClutterItem(index=int(index), size_m=size, position_m=spot, yaw_rad=yaw, rgba=rgba)
            if _is_clear(item) and all(_apart(item, other) for other in items):
                items.append(item)
                break
    return items


def _is_clear(item: ClutterItem) -> bool:
    for value, (low, high) in zip(item.position_m, (KEPT_CLEAR_X_M, KEPT_CLEAR_Y_M), strict=False):
        if not low - item.radius_m < value < high + item.radius_m:
            return True
    return False


def _apart(one: ClutterItem, other: ClutterItem) -> bool:
    return float(np.linalg.norm(one.position_m - other.position_m)) > one.radius_m + other.radius_m


def draw_colours(seed: int) -> dict[str, FloatArray]:
    """rgb of ``table``, ``floor``, ``wall``, ``cube`` and ``peg`` in [0, 1]; the objects stand out from the table."""
    rng = np.random.default_rng(seed)
    colours = {name: rng.uniform(0.15, 0.95) * rng.uniform(0.6, 1.0, 3) for name in ("table", "floor", "wall")}
    for name in ("cube", "peg"):
        drawn = _vivid(rng)
        while np.max(np.abs(drawn - colours["table"])) < _MIN_CONTRAST:
            drawn = _vivid(rng)
        colours[name] = drawn
    return colours


def _vivid(rng: np.random.Generator) -> FloatArray:
    """A saturated colour: one channel high, one low."""
    rgb = rng.permutation([rng.uniform(0.6, 1.0), rng.uniform(0.0, 0.6), rng.uniform(0.0, 0.25)])
    return np.asarray(rgb, dtype=np.float64)
