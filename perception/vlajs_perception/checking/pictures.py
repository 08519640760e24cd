"""The pictures of a folder of ``vlajs perception render`` and what is true of them."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from vlajs_perception.camera import Camera, CameraError
from vlajs_perception.objects import ObjectModel, box
from vlajs_perception.rigid import FloatArray, matrix_of, transform

OBJECT_CLASSES = ("cube", "peg", "box")
"""Classes that have a pose; a goal is a place."""

NO_ARM_M = (0.0, 0.0, 100.0)
"""Where the tool is taken to be in a picture without an arm: near nothing."""

LYING_M = 1e-6
"""An object whose middle is higher over the table than half its height by more is not on it."""


class PicturesError(ValueError):
    """The folder cannot be used; the message names it, what is wrong and the remedy."""


@dataclass(frozen=True, kw_only=True)
class TrueObject:
    """One object in one picture.

    Attributes:
        name: its class.
        model: with its size in this picture.
        object_in_base: shape (4, 4).
        labelled: whether enough of it is to be seen.
        lies: whether it lies on the table as its model does.
    """

    name: str
    model: ObjectModel
    object_in_base: FloatArray
    labelled: bool
    lies: bool


@dataclass(frozen=True, kw_only=True)
class Picture:
    """One picture.

    Attributes:
        name: of its file, without suffix.
        image_rgb: (H, W, 3).
        camera: that took it.
        objects: all there are, seen or not.
        tool_in_base: shape (4, 4), its turn unknown and left out; None in folders from before it was noted.
    """

    name: str
    image_rgb: NDArray[np.uint8]
    camera: Camera
    objects: tuple[TrueObject, ...]
    tool_in_base: FloatArray | None = None


def names_in(folder: Path) -> list[str]:
    """The pictures of a folder that are whole.

    Raises:
        PicturesError: there are none.
    """
    names = sorted(path.stem for path in (folder / "truth").glob("*.json"))
    if not names:
        raise PicturesError(f"{folder} holds no pictures with truth: make some (vlajs perception render {folder})")
    return names


def pictures(folder: Path, names: list[str]) -> Iterator[Picture]:
    """The pictures, one after another.

    Raises:
        PicturesError: a file that is missing or damaged.
    """
    for name in names:
        yield _picture(folder, name)


def _picture(folder: Path, name: str) -> Picture:
    truth, file = folder / "truth" / f"{name}.json", folder / "images" / f"{name}.jpg"
    image = cv2.imread(str(file)) if file.is_file() else None
    if image is None:
        raise PicturesError(f"{file} is missing or no picture: render the folder again, it fills in what is missing")
    try:
        content = json.loads(truth.read_text())
        pose = transform(content["camera_position_m"], content["camera_axes"])
        camera = Camera(matrix=np.array(content["matrix"]), camera_in_base=pose)
        objects = tuple(_object(item) for item in content["objects"] if item["class"] in OBJECT_CLASSES)
        tool_in_base = _tool_of(content)
    except (KeyError, TypeError, ValueError, CameraError) as error:
        raise PicturesError(
            f"{truth} is damaged ({type(error).__name__}: {error}): delete it and render the folder again"
        ) from error
    return Picture(
        name=name,
        image_rgb=np.ascontiguousarray(image[..., ::-1], dtype=np.uint8),
        camera=camera,
        objects=objects,
        tool_in_base=tool_in_base,
    )


def _tool_of(content: dict[str, Any]) -> FloatArray | None:
    if "tool_m" not in content:
        return None
    return transform(NO_ARM_M if content["tool_m"] is None else content["tool_m"], np.eye(3))


def _object(item: dict[str, Any]) -> TrueObject:
    pose = transform(item["position_m"], matrix_of(item["quat_wxyz"]))
    half_size_m = np.array(item["half_size_m"])
    upright = pose[2, 2] > 1.0 - 1e-9
    return TrueObject(
        name=item["class"],
        model=box(item["class"], half_size_m),
        object_in_base=pose,
        labelled=bool(item["labelled"]),
        lies=bool(upright and abs(pose[2, 3] - half_size_m[2]) < LYING_M),
    )
