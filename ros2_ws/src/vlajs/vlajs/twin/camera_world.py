"""The twin's world as its camera sees it: the same scene with table, room, clutter and lens cap, and no physics."""

# first, before anything that imports MuJoCo: it chooses the OpenGL that MuJoCo is imported with
import vlajs_perception.rendering.world as rendering  # isort: skip

import xml.etree.ElementTree as ET
from typing import Any

from vlajs.tasks import HOME_JOINTS_RAD
from vlajs.twin.arm import ArmConfig
from vlajs.twin.camera_prints import board_in_hand, tags_on_table
from vlajs.twin.disturbance import clutter_kind
from vlajs.twin.scene import OBJECT_NAMES, ROBOT_PREFIX, SceneConfig, build_world
from vlajs_perception.calibration.board import CharucoBoard
from vlajs_perception.rendering.scene import CLUTTER_COUNT
from vlajs_perception.table_tags import TableTags

mujoco: Any = rendering.mujoco

COVER = "lens_cover"
HIDDEN_M = (0.0, 0.0, -5.0)
"""Where a camera world keeps what is not shown: below the floor."""

SURFACES = ("table", "floor", "wall")
USUAL_RGB = {
    "table": (0.64, 0.6, 0.53),
    "floor": (0.35, 0.35, 0.37),
    "wall": (0.75, 0.76, 0.76),
    "cube": (0.85, 0.1, 0.1),
    "peg": (0.1, 0.25, 0.75),
}

_SEEN = {"contype": "0", "conaffinity": "0", "mass": "0"}
"""Of what is seen only."""

_TEXTURE_PX = 256
_OBJECT_TEXTURE_PX = 64


def compile_world(
    scene: SceneConfig,
    width_px: int,
    height_px: int,
    *,
    board: CharucoBoard | None = None,
    tags: TableTags | None = None,
) -> Any:
    """MuJoCo's model of what the camera may see.

    Args:
        scene: of the twin that is looked at.
        width_px: of the pictures.
        height_px: of the pictures.
        board: to mount on the hand; None for none.
        tags: that lie on the table; None for none.
    """
    sim, _ = build_world(scene, ArmConfig(), HOME_JOINTS_RAD, 0.08)
    root = sim.scene
    asset, world, visual = (_child(root, tag) for tag in ("asset", "worldbody", "visual"))
    # full quality takes eight times as long without a graphics card
    _child(visual, "quality").attrib.update(offsamples="0", shadowsize="0")
    _child(visual, "global").attrib.update(offwidth=str(width_px), offheight=str(height_px))
    _add_room(asset, world)
    for name in OBJECT_NAMES:
        _paint_object(asset, world, name)
    for index in range(CLUTTER_COUNT):
        _add_hidden(world, f"clutter_{index}", clutter_kind(index), "0.01 0.01 0.01")
    _add_hidden(world, COVER, "box", "0.5 0.5 0.002")
    hand = next(body for body in world.iter("body") if body.get("name") == ROBOT_PREFIX + "hand")
    on_hand = [] if board is None else [board_in_hand(board)]
    on_table = [] if tags is None else tags_on_table(tags)
    for parent, prints in ((hand, on_hand), (world, on_table)):
        for sheet in prints:
            sheet.mount(asset, parent, _SEEN)
    model: Any = mujoco.MjModel.from_xml_string(ET.tostring(root, encoding="unicode"))
    model.geom(COVER).rgba[:] = (0.3, 0.22, 0.15, 1.0)
    model.vis.map.znear = 0.02 / model.stat.extent
    for sheet in (*on_hand, *on_table):
        sheet.paint(model)
    return model


def _child(parent: ET.Element, tag: str) -> ET.Element:
    found = parent.find(tag)
    return ET.SubElement(parent, tag) if found is None else found


def _add_room(asset: ET.Element, world: ET.Element) -> None:
    """Table, floor and walls, each with a surface of its own; the ground of the physics is out of sight."""
    ground = next(geom for geom in world.iter("geom") if geom.get("name") == "ground")
    ground.set("group", "4")
    for name in SURFACES:
        size = {"width": str(_TEXTURE_PX), "height": str(_TEXTURE_PX)}
        ET.SubElement(asset, "texture", {"name": name, "type": "2d", "builtin": "flat", "rgb1": "1 1 1", **size})
        ET.SubElement(asset, "material", name=name, texture=name, specular="0.1", shininess="0.1")
    boxes = {"table": ("0.9 1.1 0.02", "0.5 0 -0.02"), "floor": ("6 6 0.01", "0 0 -0.8")}
    walls = {"wall_0": ("0.01 3 2.5", "-3 0 1"), "wall_1": ("3 0.01 2.5", "0 3 1"), "wall_2": ("3 0.01 2.5", "0 -3 1")}
    for name, (size, position) in (boxes | walls).items():
        material = name.partition("_")[0]
        ET.SubElement(
            world, "geom", {"name": name, "type": "box", "size": size, "pos": position, "material": material, **_SEEN}
        )


def _paint_object(asset: ET.Element, world: ET.Element, name: str) -> None:
    size = {"width": str(_OBJECT_TEXTURE_PX), "height": str(_OBJECT_TEXTURE_PX)}
    ET.SubElement(asset, "texture", {"name": name, "type": "cube", "builtin": "flat", "rgb1": "1 1 1", **size})
    ET.SubElement(asset, "material", name=name, texture=name)
    geom = next(geom for geom in world.iter("geom") if geom.get("name") == f"{name}_geom")
    geom.set("material", name)


def _add_hidden(world: ET.Element, name: str, kind: str, size: str) -> None:
    body = ET.SubElement(world, "body", name=name, mocap="true", pos=" ".join(map(str, HIDDEN_M)))
    ET.SubElement(body, "geom", {"name": name, "type": kind, "size": size, **_SEEN})
