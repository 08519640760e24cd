"""Printed sheets in the twin's camera world: the calibration board on the hand, tags on the table."""

import xml.etree.ElementTree as ET
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vlajs.geometry import FloatArray
from vlajs_perception.calibration.board import AprilTag, CharucoBoard
from vlajs_perception.table_tags import FAMILY, TableTag, TableTags

_BOARD_PX = 40
"""Pixels of the texture to a square of the board."""
_BOARD_MARGIN = 0.3
"""White around the board, in squares."""
_BOARD_IN_HAND_M = (0.13, 0.0, 0.0)
_BOARD_TILT_RAD = np.radians(35.0)
"""The board's middle is before the hand, and looks forward and up when the tool points down: to the front camera."""
_TAG_PX = 16
"""Pixels of the texture to a module of a tag."""
_TAG_MARGIN = 1.0
"""White around a tag, in modules."""
_THICKNESS_M = 0.003


@dataclass(frozen=True, kw_only=True)
class Print:
    """A thin plate with a picture on its face.

    Attributes:
        name: of its geom, mesh, material and texture.
        grey: shape (H, W), the picture with its margin.
        low_m: shape (2,), x and y of the picture's upper left corner in the plate's frame: x right, y down.
        high_m: shape (2,), of its lower right corner.
        position_m: shape (3,), of the plate's frame in what it is mounted on.
        axes: shape (3, 3), of that frame.
    """

    name: str
    grey: NDArray[np.uint8]
    low_m: FloatArray
    high_m: FloatArray
    position_m: FloatArray
    axes: FloatArray

    def mount(self, asset: ET.Element, parent: ET.Element, geom: dict[str, str]) -> None:
        """Add it to a model's XML: a mesh, since only a mesh says where each pixel goes."""
        height, width = self.grey.shape
        size = {"width": str(width), "height": str(height)}
        ET.SubElement(asset, "texture", {"name": self.name, "type": "2d", "builtin": "flat", "rgb1": "1 1 1", **size})
        ET.SubElement(asset, "material", name=self.name, texture=self.name, specular="0", shininess="0")
        xs, ys = (self.low_m[0], self.high_m[0]), (self.low_m[1], self.high_m[1])
        corners = [(x, y, z) for z in (0.0, _THICKNESS_M) for y in ys for x in xs]
        # the first row of the texture is at v = 0; the corners of the back take those of the face: nobody looks there
        uv = [(u, v) for _ in range(2) for v in (0, 1) for u in (0, 1)]
        # counterclockwise as seen from outside; the face (z = 0) is looked at along z
        face = [0, 2, 1, 1, 2, 3]
        back_and_sides = [4, 5, 6, 5, 7, 6, 0, 1, 4, 1, 5, 4, 2, 6, 3, 3, 6, 7, 0, 4, 2, 2, 4, 6, 1, 3, 5, 3, 7, 5]
        mesh = {
            "vertex": _text(np.ravel(corners)),
            "texcoord": _text(np.ravel(uv)),
            "face": " ".join(map(str, face + back_and_sides)),
        }
        ET.SubElement(asset, "mesh", {"name": self.name, **mesh})
        place = {
            "pos": _text(self.position_m),
            "xyaxes": _text(np.concatenate([self.axes[:, 0], self.axes[:, 1]])),
        }
        named = {"name": self.name, "type": "mesh", "mesh": self.name, "material": self.name}
        ET.SubElement(parent, "geom", {**named, **place, **geom})

    def paint(self, model: Any) -> None:
        """Put the picture into the compiled model's texture."""
        texture = model.texture(self.name)
        rgb = np.repeat(self.grey[..., None], 3, axis=2).ravel()
        model.tex_data[int(texture.adr[0]) :][: rgb.size] = rgb


def board_in_hand(board: CharucoBoard) -> Print:
    """The calibration board, to be mounted on the hand."""
    sin, cos = np.sin(_BOARD_TILT_RAD), np.cos(_BOARD_TILT_RAD)
    # tool down: the hand's x is the base's, y and z are opposite; the board's x runs along the base's y
    axes = np.array([[0.0, sin, -cos], [-1.0, 0.0, 0.0], [0.0, cos, sin]])
    margin_m = _BOARD_MARGIN * board.square_m
    return Print(
        name="board",
        grey=_with_margin(board.face(_BOARD_PX), round(_BOARD_MARGIN * _BOARD_PX)),
        low_m=np.full(2, -margin_m),
        high_m=np.array(board.size_m) + margin_m,
        position_m=np.array(_BOARD_IN_HAND_M) - axes @ board.centre_m,
        axes=axes,
    )


def tags_on_table(tags: TableTags) -> Sequence[Print]:
    """The tags, to be mounted on the world."""
    return [_tag_on_table(tag) for tag in tags.tags]


def _tag_on_table(tag: TableTag) -> Print:
    grey = AprilTag(size_m=tag.size_m, tag_id=tag.tag_id, family=FAMILY).face(_TAG_PX)
    modules = len(grey) // _TAG_PX
    half_m = tag.size_m * (0.5 + _TAG_MARGIN / modules)
    return Print(
        name=f"tag_{tag.tag_id}",
        grey=_with_margin(grey, round(_TAG_MARGIN * _TAG_PX)),
        low_m=np.full(2, -half_m),
        high_m=np.full(2, half_m),
        position_m=np.asarray(tag.position_m),
        axes=tag.axes_in_base,
    )


def _with_margin(grey: NDArray[np.uint8], margin_px: int) -> NDArray[np.uint8]:
    return np.pad(grey, margin_px, constant_values=255)


def _text(numbers: Any) -> str:
    return " ".join(f"{number:.9g}" for number in np.asarray(numbers, dtype=np.float64))
