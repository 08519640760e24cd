"""The twin's world as its camera sees it: the same scene with table, room, clutter and lens cap, and no physics."""

# first, before anything that imports MuJoCo: it chooses the OpenGL that MuJoCo is imported with
import vlajs_perception.rendering.world as rendering  # isort: skip

import xml.etree.ElementTree as ET
from typing import Any

import cv2
import numpy as np

from vlajs.geometry import FloatArray
from vlajs.tasks import HOME_JOINTS_RAD
from vlajs.twin.arm import ArmConfig
from vlajs.twin.disturbance import clutter_kind
from vlajs.twin.scene import ROBOT_PREFIX, SceneConfig, build_world
from vlajs_perception.calibration.board import CharucoBoard
from vlajs_perception.rendering.scene import CLUTTER_COUNT

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
}

_SEEN = {"contype": "0", "conaffinity": "0", "mass": "0"}
"""Of what is seen only."""

_TEXTURE_PX = 256
_CUBE_TEXTURE_PX = 64
_BOARD_PX = 40
"""Pixels of the texture to a square of the board."""
_BOARD_MARGIN = 0.3
"""White around the board, in squares."""
_BOARD_THICKNESS_M = 0.003
_BOARD_IN_HAND_M = (0.13, 0.0, 0.0)
_BOARD_TILT_RAD = np.radians(35.0)
"""The board's middle is before the hand, and looks forward and up when the tool points down: to the front camera."""


def compile_world(scene: SceneConfig, width_px: int, height_px: int, board: CharucoBoard | None) -> Any:
    """MuJoCo's model of what the camera may see.

    Args:
        scene: of the twin that is looked at.
        width_px: of the pictures.
        height_px: of the pictures.
        board: to mount on the hand; None for none.
    """
    sim, _ = build_world(scene, ArmConfig(), HOME_JOINTS_RAD, 0.08)
    root = sim.scene
    asset, world, visual = (_child(root, tag) for tag in ("asset", "worldbody", "visual"))
    # full quality takes eight times as long without a graphics card
    _child(visual, "quality").attrib.update(offsamples="0", shadowsize="0")
    _child(visual, "global").attrib.update(offwidth=str(width_px), offheight=str(height_px))
    _add_room(asset, world)
    _paint_cube(asset, world)
    for index in range(CLUTTER_COUNT):
        _add_hidden(world, f"clutter_{index}", clutter_kind(index), "0.01 0.01 0.01")
    _add_hidden(world, COVER, "box", "0.5 0.5 0.002")
    if board is not None:
        _mount_board(asset, world, board)
    model: Any = mujoco.MjModel.from_xml_string(ET.tostring(root, encoding="unicode"))
    model.geom(COVER).rgba[:] = (0.3, 0.22, 0.15, 1.0)
    model.vis.map.znear = 0.02 / model.stat.extent
    if board is not None:
        texture = model.texture("board")
        model.tex_data[texture.adr[0] :][: 3 * texture.height[0] * texture.width[0]] = _board_pixels(board).ravel()
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


def _paint_cube(asset: ET.Element, world: ET.Element) -> None:
    size = {"width": str(_CUBE_TEXTURE_PX), "height": str(_CUBE_TEXTURE_PX)}
    ET.SubElement(asset, "texture", {"name": "cube", "type": "cube", "builtin": "flat", "rgb1": "1 1 1", **size})
    ET.SubElement(asset, "material", name="cube", texture="cube")
    cube = next(geom for geom in world.iter("geom") if geom.get("name") == "cube_geom")
    cube.set("material", "cube")


def _add_hidden(world: ET.Element, name: str, kind: str, size: str) -> None:
    body = ET.SubElement(world, "body", name=name, mocap="true", pos=" ".join(map(str, HIDDEN_M)))
    ET.SubElement(body, "geom", {"name": name, "type": kind, "size": size, **_SEEN})


# -- the board ------------------------------------------------------------------------------------------------------


def _mount_board(asset: ET.Element, world: ET.Element, board: CharucoBoard) -> None:
    """A thin plate on the hand with the board on its face: a mesh, since only a mesh says where each pixel goes."""
    pixels = _board_pixels(board)
    height, width = pixels.shape[:2]
    ET.SubElement(
        asset, "texture", name="board", type="2d", builtin="flat", rgb1="1 1 1", width=str(width), height=str(height)
    )
    ET.SubElement(asset, "material", name="board", texture="board", specular="0", shininess="0")
    margin, (board_width, board_height) = _BOARD_MARGIN * board.square_m, board.size_m
    xs, ys = (-margin, board_width + margin), (-margin, board_height + margin)
    corners = [(x, y, z) for z in (0.0, _BOARD_THICKNESS_M) for y in ys for x in xs]
    # the first row of the texture is at v = 0; the corners of the back take those of the face, and nobody looks there
    uv = [(u, v) for _ in range(2) for v in (0, 1) for u in (0, 1)]
    # counterclockwise as seen from outside; the face (z = 0) is looked at along z
    faces = [0, 2, 1, 1, 2, 3, 4, 5, 6, 5, 7, 6, 0, 1, 4, 1, 5, 4, 2, 6, 3, 3, 6, 7, 0, 4, 2, 2, 4, 6, 1, 3, 5, 3, 7, 5]
    ET.SubElement(
        asset,
        "mesh",
        name="board",
        vertex=_text(np.ravel(corners)),
        texcoord=_text(np.ravel(uv)),
        face=" ".join(map(str, faces)),
    )
    hand = next(body for body in world.iter("body") if body.get("name") == ROBOT_PREFIX + "hand")
    position, axes = _board_in_hand(board)
    ET.SubElement(
        hand,
        "geom",
        {
            "name": "board",
            "type": "mesh",
            "mesh": "board",
            "material": "board",
            "pos": _text(position),
            "xyaxes": _text(np.concatenate([axes[:, 0], axes[:, 1]])),
            **_SEEN,
        },
    )


def _board_in_hand(board: CharucoBoard) -> tuple[FloatArray, FloatArray]:
    """Origin (3,) and axes (3, 3) of the board's frame in the hand's."""
    sin, cos = np.sin(_BOARD_TILT_RAD), np.cos(_BOARD_TILT_RAD)
    # tool down: the hand's x is the base's, y and z are opposite; the board's x runs along the base's y
    axes = np.array([[0.0, sin, -cos], [-1.0, 0.0, 0.0], [0.0, cos, sin]])
    return np.array(_BOARD_IN_HAND_M) - axes @ board.centre_m, axes


def _board_pixels(board: CharucoBoard) -> rendering.Image:
    """The board with its white margin, shape (H, W, 3)."""
    margin = round(_BOARD_MARGIN * _BOARD_PX)
    sheet = cv2.copyMakeBorder(
        board.face(_BOARD_PX), margin, margin, margin, margin, cv2.BORDER_CONSTANT, value=(255, 255, 255)
    )
    return np.repeat(np.asarray(sheet, dtype=np.uint8)[..., None], 3, axis=2)


def _text(numbers: Any) -> str:
    return " ".join(f"{number:.9g}" for number in np.asarray(numbers, dtype=np.float64))
