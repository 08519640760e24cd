"""A folder of labelled pictures, in the form Ultralytics reads, with the truth beside it.

::

    settings.json        seed, size and ranges: what the folder is made of; a folder goes on with the same ones only
    images/000000.jpg
    labels/000000.txt    a line an object: class, box (middle and size), 16 keypoints (u, v, visibility), shares of size
    truth/000000.json    camera, poses and the tool's middle in panda_link0 (null: no arm), written last: a picture
                         without it is made again
    contact_sheet.png    the first pictures with what their labels say

Picture i of a folder follows from (seed, i) and the settings alone.
"""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from vlajs_perception.files import write_whole
from vlajs_perception.rendering.labels import CORNERS, HIDDEN, OUTSIDE, Label, camera_of, label_of
from vlajs_perception.rendering.lens import through_the_lens
from vlajs_perception.rendering.sapien_world import SapienWorld
from vlajs_perception.rendering.scene import CLASS_NAMES, Ranges, SceneSample, draw_scene
from vlajs_perception.rendering.world import ArmPoser, World

Image = NDArray[np.uint8]

FORMAT = 2
"""Of the folder: 1 had eight keypoints, counted from the orientation drawn."""
SHEET_COLUMNS, SHEET_ROWS = 4, 4
_JPEG_QUALITY = 95
_X_END = [4, 5, 7, 6]
"""Corners around the face at +x."""
_COLOURS_BGR = ((60, 60, 255), (60, 200, 60), (255, 160, 60), (60, 220, 255))


Renderer = Literal["mujoco", "sapien"]


class DatasetError(ValueError):
    """The folder cannot be used; the message names it, what is wrong and the remedy."""


@dataclass(frozen=True, kw_only=True)
class DatasetSettings:
    """What a folder's pictures follow from.

    Raises:
        ValueError: a size too small or too large, or a negative seed.
    """

    seed: int = 1
    """Of the scenes; use another for pictures to validate with."""
    width_px: int = 640
    """Of the pictures."""
    height_px: int = 480
    renderer: Renderer = "mujoco"
    """What renders them; ManiSkill's, "sapien", for pictures to judge a detector with that never saw any of it."""
    ranges: Ranges = field(default_factory=Ranges)

    def __post_init__(self) -> None:
        for name in ("width_px", "height_px"):
            if not 64 <= getattr(self, name) <= 4096:
                raise ValueError(f"{name} = {getattr(self, name)} is outside [64, 4096]")
        if self.seed < 0:
            raise ValueError(f"seed = {self.seed}: it must be at least 0")


def render_dataset(
    folder: Path, settings: DatasetSettings, images: int, progress: Callable[[int], object] = lambda _: None
) -> int:
    """Bring a folder to ``images`` pictures; those that are there stay.

    Args:
        folder: made if it is not there.
        settings: of the folder.
        images: how many it shall hold.
        progress: called with the number of pictures just done, those found included.

    Returns:
        How many were rendered.

    Raises:
        DatasetError: the folder holds pictures of other settings.
        RenderError: nothing can be rendered here.
        OSError: the disk is full, or the like; the same call goes on later.
    """
    _begin(folder, settings)
    missing = [index for index in range(images) if not (folder / "truth" / f"{index:06d}.json").exists()]
    progress(images - len(missing))
    if missing:
        world, poser = _world_of(settings), ArmPoser()
        try:
            for index in missing:
                _render_one(folder, settings, world, poser, index)
                progress(1)
        finally:
            world.close()
    write_whole(folder / "contact_sheet.png", _encoded(contact_sheet(folder, images), ".png"))
    return len(missing)


def _begin(folder: Path, settings: DatasetSettings) -> None:
    text = json.dumps({"format": FORMAT, "classes": CLASS_NAMES, **asdict(settings)}, indent=1)
    file = folder / "settings.json"
    if file.exists() and _settings_of(file) != json.loads(text):
        raise DatasetError(
            f"{folder} holds pictures of other settings (see {file.name}): give the same, or another folder"
        )
    for name in ("images", "labels", "truth"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    if not file.exists():
        write_whole(file, text.encode())


def _settings_of(file: Path) -> dict[str, Any]:
    """What a folder says it is made of; of folders from before there was a choice, what was the only one."""
    written = {"renderer": "mujoco"} | json.loads(file.read_text())
    # no ball floats in them, so that its size and height are any
    no_ball = asdict(Ranges(floating=0.0))
    ball = {name: value for name, value in no_ball.items() if name.startswith("floating")}
    return json.loads(json.dumps(written | {"ranges": ball | written["ranges"]}))


def _world_of(settings: DatasetSettings) -> World | SapienWorld:
    kind = World if settings.renderer == "mujoco" else SapienWorld
    return kind(settings.width_px, settings.height_px)


def _render_one(
    folder: Path, settings: DatasetSettings, world: World | SapienWorld, poser: ArmPoser, index: int
) -> None:
    sample = draw_scene([settings.seed, index], settings.ranges)
    image, shown = world.render(sample)
    camera = camera_of(sample, settings.width_px, settings.height_px)
    found = [(placed, label_of(placed, camera, shown)) for placed in sample.objects]
    labels = [label for _, label in found if label is not None]
    picture = through_the_lens(image, sample.lens_seed)
    name = f"{index:06d}"
    write_whole(folder / "images" / f"{name}.jpg", _encoded(picture[..., ::-1], ".jpg"))
    lines = [label_line(label, settings.width_px, settings.height_px) for label in labels]
    write_whole(folder / "labels" / f"{name}.txt", "".join(lines).encode())
    tool_m = poser.tool_m(sample).tolist() if sample.arm else None
    truth = {"tool_m": tool_m} | _truth(sample, camera.matrix, [label is not None for _, label in found])
    write_whole(folder / "truth" / f"{name}.json", json.dumps(truth).encode())


def _truth(sample: SceneSample, matrix: NDArray[np.float64], labelled: list[bool]) -> dict[str, Any]:
    return {
        "matrix": matrix.tolist(),
        "camera_position_m": sample.camera_position_m.tolist(),
        "camera_axes": sample.camera_axes.tolist(),
        "objects": [
            {
                "class": CLASS_NAMES[placed.kind],
                "labelled": seen,
                "half_size_m": placed.half_size_m.tolist(),
                "position_m": placed.position_m.tolist(),
                "quat_wxyz": placed.quat_wxyz.tolist(),
                "hole_half_m": placed.hole_half_m,
            }
            for placed, seen in zip(sample.objects, labelled, strict=True)
        ],
    }


def label_line(label: Label, width_px: int, height_px: int) -> str:
    """A line of a label file; pixel centres are whole numbers here, and half a pixel in from the edge there."""
    size = np.array([width_px, height_px], dtype=np.float64)
    low, high = (label.box_px[:2] + 0.5) / size, (label.box_px[2:] + 0.5) / size
    numbers = [*((low + high) / 2), *(high - low)]
    for point, visibility in zip((label.keypoints_px + 0.5) / size, label.visibility, strict=True):
        numbers += [*(point if visibility != OUTSIDE else (0.0, 0.0)), float(visibility)]
    return " ".join([str(label.kind), *(f"{number:.6g}" for number in numbers)]) + "\n"


# -- looking at it --------------------------------------------------------------------------------------------------


def contact_sheet(folder: Path, images: int) -> Image:
    """The first pictures of a folder, BGR, with boxes and keypoints drawn (hidden ones hollow).

    Of a box-shaped object the +x end is outlined: by the first rule in the object's colour, by the second in white.
    """
    tiles = []
    for index in range(min(images, SHEET_COLUMNS * SHEET_ROWS)):
        picture = np.asarray(cv2.imread(str(folder / "images" / f"{index:06d}.jpg")), dtype=np.uint8)
        for line in (folder / "labels" / f"{index:06d}.txt").read_text().splitlines():
            _draw_label(picture, [float(word) for word in line.split()])
        tiles.append(cv2.resize(picture, (400, round(400 * picture.shape[0] / picture.shape[1]))))
    blank = np.zeros_like(tiles[0])
    tiles += [blank] * (-len(tiles) % SHEET_COLUMNS)
    rows = [np.hstack(tiles[start : start + SHEET_COLUMNS]) for start in range(0, len(tiles), SHEET_COLUMNS)]
    return np.vstack(rows)


def _draw_label(picture: Image, numbers: list[float]) -> None:
    height, width = picture.shape[:2]
    colour, size = _COLOURS_BGR[int(numbers[0])], np.array([width, height])
    middle, extent = np.array(numbers[1:3]) * size, np.array(numbers[3:5]) * size
    low, high = ((middle + sign * extent / 2).round().astype(int).tolist() for sign in (-1, 1))
    cv2.rectangle(picture, low, high, colour, 1)
    for number, keypoints in enumerate(np.array(numbers[5:]).reshape(-1, CORNERS, 3)):
        spots = (keypoints[:, :2] * size).round().astype(int)
        if (keypoints[_X_END, 2] != OUTSIDE).all():
            cv2.polylines(picture, [spots[_X_END].astype(np.int32)], True, (255, 255, 255) if number else colour, 1)
        for spot, visibility in zip(spots.tolist(), keypoints[:, 2], strict=True):
            if visibility != OUTSIDE:
                cv2.circle(picture, spot, 3, colour, 1 if visibility == HIDDEN else cv2.FILLED)


def _encoded(picture: NDArray[Any], suffix: str) -> bytes:
    options = [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY] if suffix == ".jpg" else []
    _, data = cv2.imencode(suffix, picture, options)
    return data.tobytes()
