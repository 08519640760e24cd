"""The twin's world: a table, the tasks' objects, goal markers and cameras around a Franka arm, as MuJoCo XML.

Everything is in ``panda_link0``, which is MuJoCo's world here: the table's top is z = 0, as in ManiSkill.
"""

import xml.etree.ElementTree as ET
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from franky_sim.mujoco_simulator import MujocoSimulator
from scipy.spatial.transform import Rotation

from vlajs.geometry import quat_of
from vlajs.tasks import (
    CUBE_HALF_SIZE_M,
    PEG_HALF_SIZE_M,
    PLACE_RADIUS_M,
    POKE_GOAL_RADIUS_M,
    PUSH_GOAL_RADIUS_M,
    Task,
)
from vlajs.twin.arm import ArmConfig, TwinArm

OBJECT_NAMES = ("cube", "peg")
"""Objects that a scene can place; each is a free body of that name. One that a scene has not is kept under the floor,
where nothing touches it and nothing pulls at it."""

FIRST_OBJECT = "cube"
"""What lies on the table until a scene is set."""

MARKER_NAMES = ("disc", "small_disc", "sphere", "spot")
"""Goal markers; they are seen and never touched. A marker that is not in use is kept under the floor."""

MARKER_OF_TASK = {
    "push_cube": "disc",
    "push_cube_v2": "disc",
    "pick_cube": "sphere",
    "pick_place_cube": "spot",
    "lift_peg_upright": None,
    "poke_cube": "small_disc",
}
"""What shows the goal of each task that the twin has the objects for; standing a peg on its end has no place."""

HIDDEN_Z_M = -1.0
ROBOT_PREFIX = "robot0_"
TCP_SITE = "tcp"
TCP_IN_HAND_M = 0.1034
_GOAL_SPHERE_RADIUS_M = 0.02


@dataclass(frozen=True, kw_only=True)
class CameraConfig:
    """A camera fixed in a body's frame; MuJoCo's camera looks along its -z, its y is up in the image.

    Attributes:
        position_m: in the frame of the body it is mounted on.
        quat_wxyz: rotation of the camera's axes in that frame.
        fovy_deg: vertical field of view, degrees.
    """

    position_m: tuple[float, float, float]
    quat_wxyz: tuple[float, float, float, float]
    fovy_deg: float

    @staticmethod
    def looking(
        *, position_m: tuple[float, float, float], at_m: tuple[float, float, float], fovy_deg: float
    ) -> "CameraConfig":
        """A camera that looks at a point, its image upright.

        Raises:
            ValueError: it looks straight up or down, where "upright" means nothing, or at its own place; or the field
                of view is none.
        """
        ahead = np.subtract(at_m, position_m)
        right = np.cross(ahead, [0.0, 0.0, 1.0])
        if not np.all(np.isfinite(ahead)) or np.linalg.norm(right) < 1e-3 * np.linalg.norm(ahead) or not ahead.any():
            raise ValueError(
                f"a camera at {position_m} m that looks at {at_m} m has no upright image: both must be finite, and "
                "not one above the other"
            )
        if not 5.0 <= fovy_deg <= 120.0:
            raise ValueError(f"fovy_deg is {fovy_deg}: the vertical field of view lies in [5, 120] degrees")
        back = -ahead / np.linalg.norm(ahead)
        right = right / np.linalg.norm(right)
        turn = Rotation.from_matrix(np.stack([right, np.cross(back, right), back], axis=-1))
        w, x, y, z = quat_of(turn).tolist()
        return CameraConfig(position_m=position_m, quat_wxyz=(w, x, y, z), fovy_deg=fovy_deg)


FRONT_POSITION_M = (1.245, 0.0, 0.685)
FRONT_AT_M = (0.66, 0.0, 0.14)
FRONT_FOVY_DEG = 45.0
"""From across the table, at 43 degrees: x 0.4 to 0.8 m, y -0.28 to 0.28 m and 0.3 m of height fill the picture, and the
line of sight passes under the hand to what the fingers hold."""


@dataclass(frozen=True, kw_only=True)
class SceneConfig:
    """Physical facts of the scene. Friction coefficients are Coulomb's; a contact takes the larger of its two.

    Attributes:
        cube_half_size_m: half an edge; the tasks' cube by default.
        cube_mass_kg: 4 cm of ManiSkill's 1000 kg/m3, a hard wood or filled plastic cube.
        peg_mass_kg: the peg of the tasks, of the same stuff.
        object_friction: painted wood or plastic on a table top.
        table_friction: see ``object_friction``.
        fingertip_friction: rubber fingertips on wood or plastic.
        torsional_friction_m: resistance of a contact patch to spinning, about the patch's radius times friction.
        contact_time_s: time constant of a contact's spring; two simulation steps is the least MuJoCo accepts.
        friction_stiffness_ratio: how much stiffer friction is than the normal direction. MuJoCo's friction gives way
            under any load, however hard fingers squeeze: with 10 a peg held 4 cm from its middle turns by 0.7 degrees a
            second, with 100 by 0.07.
        front_camera: faces the robot from across the table.
        wrist_camera: on the hand, looks at the fingertips.
    """

    cube_half_size_m: float = CUBE_HALF_SIZE_M
    cube_mass_kg: float = 0.064
    peg_mass_kg: float = 0.6
    object_friction: float = 0.4
    table_friction: float = 0.4
    fingertip_friction: float = 1.0
    torsional_friction_m: float = 0.005
    contact_time_s: float = 0.01
    friction_stiffness_ratio: float = 100.0
    front_camera: CameraConfig = field(
        default_factory=lambda: CameraConfig.looking(
            position_m=FRONT_POSITION_M, at_m=FRONT_AT_M, fovy_deg=FRONT_FOVY_DEG
        )
    )
    wrist_camera: CameraConfig = field(
        default_factory=lambda: CameraConfig(
            position_m=(0.06, 0.0, 0.03), quat_wxyz=(0.0, 0.7071, 0.7071, 0.0), fovy_deg=70.0
        )
    )

    def __post_init__(self) -> None:
        for name in (
            "cube_half_size_m",
            "cube_mass_kg",
            "peg_mass_kg",
            "object_friction",
            "table_friction",
            "fingertip_friction",
        ):
            value = getattr(self, name)
            if not 0.0 < value < 10.0:
                raise ValueError(f"scene.{name} is {value}: it must be above 0 and below 10")
        if self.cube_half_size_m >= 0.04:
            raise ValueError(f"scene.cube_half_size_m is {self.cube_half_size_m}: the hand opens 0.08 m, so below 0.04")
        if self.contact_time_s < 0.002:
            raise ValueError(f"scene.contact_time_s is {self.contact_time_s}: at least two steps, 0.002 s")


def require_objects(task: Task, config: SceneConfig) -> None:
    """Check that the world holds what the task needs.

    Raises:
        ValueError: an object that the twin does not have, or has in another size.
    """
    missing = [name for name in task.objects if name not in OBJECT_NAMES]
    if missing:
        raise ValueError(
            f"the twin has no {' and no '.join(missing)}, which {task.name} needs: it has {', '.join(OBJECT_NAMES)}; "
            f"run {task.name} in simulation (vlajs evaluate)"
        )
    if "cube" not in task.objects:
        return
    wanted_m = task.half_sizes_m["cube"][0]
    if abs(config.cube_half_size_m - wanted_m) > 1e-6:
        raise ValueError(
            f"the twin's cube has half edges of {config.cube_half_size_m} m, {task.name} needs {wanted_m}: start the "
            f"twin with cube_half_size_m:={wanted_m}"
        )


def build_world(
    config: SceneConfig, arm: ArmConfig, initial_joints_rad: Sequence[float], initial_hand_width_m: float
) -> tuple[MujocoSimulator, TwinArm]:
    """A simulator with table, objects and one arm, not started yet, and that arm."""
    sim = MujocoSimulator()
    sim.init()
    robot = sim.add_robot(initial_q=initial_joints_rad, initial_hand_width=initial_hand_width_m)
    extend_scene(sim, config)
    return sim, TwinArm.of(robot, arm)


def extend_scene(sim: MujocoSimulator, config: SceneConfig) -> None:
    """Add table, objects, markers, cameras and solver settings to an initialised simulator with one robot.

    Must be called after ``add_robot`` and before ``start``.
    """
    options = sim.scene.find("option")
    if options is None:
        options = ET.SubElement(sim.scene, "option")
    # Elliptic cones and stiff friction keep a grasped object from creeping out of the fingers.
    options.set("cone", "elliptic")
    options.set("impratio", _text(config.friction_stiffness_ratio))
    world = sim.worldbody
    table = _named(world, "geom", "ground")
    table.set("friction", _text(config.table_friction, config.torsional_friction_m, 1e-4))
    table.set("solref", _text(config.contact_time_s, 1.0))
    half = config.cube_half_size_m
    _add_object(world, config, "cube", (half, half, half), config.cube_mass_kg, "0.85 0.1 0.1 1")
    _add_object(world, config, "peg", PEG_HALF_SIZE_M, config.peg_mass_kg, "0.1 0.25 0.75 1")
    _add_markers(world)
    hand = _named(world, "body", ROBOT_PREFIX + "hand")
    ET.SubElement(hand, "site", name=TCP_SITE, pos=_text(0.0, 0.0, TCP_IN_HAND_M), size="0.001", group="4")
    _rubber_fingertips(world, config)
    for name, body, camera in (("front", world, config.front_camera), ("wrist", hand, config.wrist_camera)):
        ET.SubElement(
            body,
            "camera",
            name=name,
            pos=_text(*camera.position_m),
            quat=_text(*camera.quat_wxyz),
            fovy=_text(camera.fovy_deg),
        )


def body_name(name: str) -> str:
    """MuJoCo's name of an object or of a link of the arm (``hand``, ``fr3_link4``).

    Raises:
        ValueError: neither; the message lists both.
    """
    links = [*(f"fr3_link{i}" for i in range(1, 8)), "hand", "left_finger", "right_finger"]
    if name in OBJECT_NAMES:
        return name
    if name in links:
        return ROBOT_PREFIX + name
    raise ValueError(f"no object or link {name!r}: objects are {', '.join(OBJECT_NAMES)}; links {', '.join(links)}")


def _add_object(
    world: ET.Element,
    config: SceneConfig,
    name: str,
    half_size_m: tuple[float, float, float],
    mass_kg: float,
    rgba: str,
) -> None:
    # as placement.py puts objects away; that some body is weightless makes MuJoCo look at which ones are
    present = name == FIRST_OBJECT
    height_m, weightless, touched = (half_size_m[2], "0", "1") if present else (HIDDEN_Z_M, "1", "0")
    body = ET.SubElement(world, "body", name=name, pos=_text(0.615, 0.0, height_m), gravcomp=weightless)
    ET.SubElement(body, "freejoint", name=f"{name}_joint")
    ET.SubElement(
        body,
        "geom",
        name=f"{name}_geom",
        type="box",
        size=_text(*half_size_m),
        mass=_text(mass_kg),
        friction=_text(config.object_friction, config.torsional_friction_m, 1e-4),
        condim="4",
        contype=touched,
        conaffinity=touched,
        solref=_text(config.contact_time_s, 1.0),
        rgba=rgba,
    )


def _add_markers(world: ET.Element) -> None:
    """Markers are mocap bodies: placed like objects, but no part of the physics."""
    shapes = {
        "disc": {"type": "cylinder", "size": _text(PUSH_GOAL_RADIUS_M, 1e-3), "rgba": "0.1 0.6 0.2 0.6"},
        "small_disc": {"type": "cylinder", "size": _text(POKE_GOAL_RADIUS_M, 1e-3), "rgba": "0.1 0.6 0.2 0.6"},
        "spot": {"type": "cylinder", "size": _text(PLACE_RADIUS_M, 1e-3), "rgba": "0.1 0.6 0.2 0.6"},
        "sphere": {"type": "sphere", "size": _text(_GOAL_SPHERE_RADIUS_M), "rgba": "0.1 0.8 0.2 0.5"},
    }
    for name, shape in shapes.items():
        body = ET.SubElement(world, "body", name=f"goal_{name}", mocap="true", pos=_text(0.0, 0.0, HIDDEN_Z_M))
        ET.SubElement(body, "geom", {"name": f"goal_{name}_geom", "contype": "0", "conaffinity": "0", **shape})


def _rubber_fingertips(world: ET.Element, config: SceneConfig) -> None:
    for finger in ("left_finger", "right_finger"):
        for geom in _named(world, "body", ROBOT_PREFIX + finger).iter("geom"):
            if geom.get("class") != "visual":
                geom.set("friction", _text(config.fingertip_friction, config.torsional_friction_m, 1e-4))
                geom.set("solref", _text(config.contact_time_s, 1.0))


def _named(root: ET.Element, tag: str, name: str) -> ET.Element:
    for element in root.iter(tag):
        if element.get("name") == name:
            return element
    raise ValueError(f"franky-sim's scene has no {tag} named {name!r}: is it the supported version?")


def _text(*numbers: float) -> str:
    return " ".join(f"{number:.9g}" for number in numbers)
