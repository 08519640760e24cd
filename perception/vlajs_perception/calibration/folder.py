"""Views of the board in a folder that grows view by view.

``set.yaml`` says once what all views share. ``view_0001.png`` is the image as taken, ``view_0001.npz`` the rest,
written last: without it the view was interrupted and is not there. Object points are not stored: they follow from the
board in ``set.yaml``, so that a size measured later can be corrected there.
"""

import hashlib
import io
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import cv2
import numpy as np
import yaml

from vlajs_perception.calibration.board import Board, Detection, Image, board_from_dict, board_to_dict, png_of
from vlajs_perception.calibration.errors import CalibrationError
from vlajs_perception.calibration.lens import Lens
from vlajs_perception.calibration.views import Kind, ToolReading, View
from vlajs_perception.files import write_whole

SET_VERSION = 1
SET_FILE = "set.yaml"
_ARRAYS = {"stamp_ns": (), "ids": (None,), "pixels": (None, 2), "tool_in_base": (4, 4), "tool_stamp_ns": ()}
_NUMBERS = {"tool_speed_m_s": (), "tool_turning_rad_s": (), "image_sha256": ()}


@dataclass(frozen=True, kw_only=True)
class SetInfo:
    """What the views of a set share.

    Attributes:
        kind: whether the camera stands or rides on the tool.
        board: what is looked for.
        image_size: width and height in pixels.
        lens: the intrinsics where they are known, else None.
        camera_frame: name of the optical frame.
        base_frame: name of the robot's base.
        tool_frame: name of the frame the tool poses are of.
    """

    kind: Kind
    board: Board
    image_size: tuple[int, int]
    lens: Lens | None = None
    camera_frame: str = "camera_optical_frame"
    base_frame: str = "panda_link0"
    tool_frame: str = "panda_hand_tcp"

    def __post_init__(self) -> None:
        """Refuse what does not fit together.

        Raises:
            CalibrationError: an unknown kind, or a lens for images of another size.
        """
        if self.kind not in get_args(Kind):
            raise CalibrationError(f"kind is {self.kind!r}, must be one of {', '.join(get_args(Kind))}")
        if self.lens is not None and self.lens.image_size != tuple(self.image_size):
            raise CalibrationError(
                f"the lens is for images of {self.lens.image_size}, the views have {tuple(self.image_size)}: take the "
                "intrinsics of this resolution, or none to have them estimated"
            )

    def to_yaml(self) -> str:
        """The text of ``set.yaml``."""
        lens = self.lens and {"matrix": self.lens.matrix.tolist(), "distortion": self.lens.distortion.tolist()}
        values = {
            "version": SET_VERSION,
            "kind": self.kind,
            "board": board_to_dict(self.board),
            "image_size": list(self.image_size),
            "lens": lens,
            "camera_frame": self.camera_frame,
            "base_frame": self.base_frame,
            "tool_frame": self.tool_frame,
        }
        return yaml.safe_dump(values, sort_keys=False)

    @staticmethod
    def from_yaml(text: str, name: str) -> "SetInfo":
        """Read ``set.yaml``; ``name`` is what messages call it.

        Raises:
            CalibrationError: not YAML, another version, keys missing or unknown, or values that cannot be.
        """
        values = _mapping(text, name)
        if values.get("version") != SET_VERSION:
            raise CalibrationError(
                f"{name} has version {values.get('version')!r}, this program reads {SET_VERSION}: take the views again"
            )
        known = {"version", "kind", "board", "image_size", "lens", "camera_frame", "base_frame", "tool_frame"}
        if set(values) != known:
            raise CalibrationError(f"{name} lacks or has too much of {sorted(set(values) ^ known)}: restore the file")
        size, lens = values["image_size"], values["lens"]
        if not (isinstance(size, list) and len(size) == 2 and all(isinstance(n, int) and n > 0 for n in size)):
            raise CalibrationError(f"image_size of {name} is {size!r}, must be [width, height] in pixels")
        image_size = (size[0], size[1])
        if lens is not None:
            if not isinstance(lens, dict) or set(lens) != {"matrix", "distortion"}:
                raise CalibrationError(f"lens of {name} is {lens!r}, must be null or matrix and distortion")
            lens = Lens(matrix=lens["matrix"], distortion=lens["distortion"], image_size=image_size)
        frames = {key: values[key] for key in ("camera_frame", "base_frame", "tool_frame")}
        if not all(isinstance(frame, str) and frame for frame in frames.values()):
            raise CalibrationError(f"the frames of {name} are {frames}, must be names")
        board = board_from_dict(values["board"])
        return SetInfo(kind=values["kind"], board=board, image_size=image_size, lens=lens, **frames)


@dataclass(frozen=True, kw_only=True)
class ViewFolder:
    """A set of views on disk. Make one with :meth:`create` or :meth:`open`."""

    path: Path
    info: SetInfo

    @staticmethod
    def create(path: Path, info: SetInfo) -> "ViewFolder":
        """Begin a set, or take up the one that is there.

        Raises:
            CalibrationError: the folder holds a set of another board, camera or kind.
            OSError: it cannot be written.
        """
        if (path / SET_FILE).exists():
            found = ViewFolder.open(path)
            if found.info.to_yaml() != info.to_yaml():
                raise CalibrationError(
                    f"{path} holds a set that differs from this one (board, camera, frames or kind); it has:\n"
                    f"{found.info.to_yaml()}take another folder, or remove this one"
                )
            return found
        write_whole(path / SET_FILE, info.to_yaml().encode())
        return ViewFolder(path=path, info=info)

    @staticmethod
    def open(path: Path) -> "ViewFolder":
        """Open a set that is there.

        Raises:
            CalibrationError: it is none, or its ``set.yaml`` cannot be used.
        """
        file = path / SET_FILE
        if not file.is_file():
            raise CalibrationError(f"{path} has no {SET_FILE}: it is not a folder of views")
        return ViewFolder(path=path, info=SetInfo.from_yaml(_text(file), str(file)))

    def numbers(self) -> list[int]:
        """The numbers of the views that are there, rising."""
        return sorted(int(file.stem.removeprefix("view_")) for file in self.path.glob("view_[0-9]*.npz"))

    def add(self, image: Image, *, stamp_ns: int, tool: ToolReading) -> View:
        """Find the board in an image, store the view whole, and return it.

        Args:
            image: shape (H, W) or (H, W, 3) in BGR, as taken, not rectified.
            stamp_ns: when it was taken.
            tool: where the tool was then, see :func:`vlajs_perception.calibration.views.reading_at`.

        Raises:
            NotSeenError: the board is not seen; nothing is stored.
            CalibrationError: an image of another size or type.
            OSError: it could not be written.
        """
        size = (image.shape[1], image.shape[0]) if image.ndim >= 2 else ()
        if size != tuple(self.info.image_size):
            raise CalibrationError(f"the image is {size}, the set's are {self.info.image_size} pixels: set the camera")
        detection = self.info.board.detect(image)
        number = max(self.numbers(), default=0) + 1
        png = png_of(image)
        write_whole(self._file(number, "png"), png)
        data = io.BytesIO()
        np.savez(
            data,
            stamp_ns=np.int64(stamp_ns),
            ids=detection.ids,
            pixels=detection.pixels,
            tool_in_base=tool.tool_in_base,
            tool_stamp_ns=np.int64(tool.stamp_ns),
            tool_speed_m_s=np.float64(tool.speed_m_s),
            tool_turning_rad_s=np.float64(tool.turning_rad_s),
            image_sha256=np.str_(hashlib.sha256(png).hexdigest()),
        )
        write_whole(self._file(number, "npz"), data.getvalue())
        return View(number=number, stamp_ns=stamp_ns, detection=detection, tool=tool)

    def view(self, number: int) -> View:
        """Read one view.

        Raises:
            CalibrationError: it is not there, damaged, or of another board.
        """
        values = self._values(number)
        ids = np.asarray(values["ids"], dtype=np.int64)
        detection = Detection(ids=ids, pixels=values["pixels"], points_in_board_m=self.info.board.points_of(ids))
        tool = ToolReading(
            tool_in_base=values["tool_in_base"],
            stamp_ns=int(values["tool_stamp_ns"]),
            speed_m_s=float(values["tool_speed_m_s"]),
            turning_rad_s=float(values["tool_turning_rad_s"]),
        )
        return View(number=number, stamp_ns=int(values["stamp_ns"]), detection=detection, tool=tool)

    def views(self) -> list[View]:
        """All views by number.

        Raises:
            CalibrationError: one is damaged; the message names it.
        """
        return [self.view(number) for number in self.numbers()]

    def image(self, number: int) -> Image:
        """The image of a view in BGR, as taken.

        Raises:
            CalibrationError: it is missing, damaged, or not the one the view was made from.
        """
        file = self._file(number, "png")
        data = file.read_bytes() if file.is_file() else b""
        if hashlib.sha256(data).hexdigest() != str(self._values(number)["image_sha256"]):
            raise CalibrationError(f"{file} is missing or not the image that was stored: {self._remedy(number)}")
        image = cv2.imdecode(np.frombuffer(data, dtype=np.uint8), cv2.IMREAD_COLOR)
        return np.asarray(image, dtype=np.uint8)

    def remove(self, number: int) -> None:
        """Take a view out of the set; the others keep their numbers.

        Raises:
            CalibrationError: it is not there.
        """
        if number not in self.numbers():
            raise CalibrationError(f"{self.path} has no view {number}; it has {self.numbers()}")
        self._file(number, "npz").unlink()
        self._file(number, "png").unlink(missing_ok=True)

    def _file(self, number: int, suffix: str) -> Path:
        return self.path / f"view_{number:04d}.{suffix}"

    def _remedy(self, number: int) -> str:
        return f"remove view_{number:04d}.npz and .png and take the view again"

    def _values(self, number: int) -> dict[str, Any]:
        file = self._file(number, "npz")
        if not file.is_file():
            raise CalibrationError(f"{self.path} has no view {number}; it has {self.numbers()}")
        shapes = _ARRAYS | _NUMBERS
        try:
            with np.load(file, allow_pickle=False) as archive:
                values = {name: archive[name] for name in shapes}
        except (KeyError, ValueError, EOFError, zipfile.BadZipFile) as error:
            raise CalibrationError(f"{file} is damaged ({error}): {self._remedy(number)}") from error
        for name, shape in shapes.items():
            value = values[name]
            fits = value.ndim == len(shape) and all(a in (None, b) for a, b in zip(shape, value.shape, strict=True))
            if not fits or (value.dtype.kind == "f" and not np.all(np.isfinite(value))):
                raise CalibrationError(
                    f"{name} of {file} has shape {value.shape} or a number that is not finite: {self._remedy(number)}"
                )
        if not 0 < len(values["ids"]) == len(values["pixels"]):
            raise CalibrationError(
                f"{file} has {len(values['ids'])} ids and {len(values['pixels'])} pixels: {self._remedy(number)}"
            )
        return values


def _text(file: Path) -> str:
    try:
        return file.read_bytes().decode()
    except UnicodeDecodeError as error:
        raise CalibrationError(f"{file} is not text ({error}): restore the file") from error


def _mapping(text: str, name: str) -> dict[str, Any]:
    try:
        values = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise CalibrationError(f"{name} is not YAML ({error}): restore the file") from error
    if not isinstance(values, dict):
        raise CalibrationError(f"{name} holds {type(values).__name__}, not keys and values: restore the file")
    return values
