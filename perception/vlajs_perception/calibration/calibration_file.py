"""The calibration as a file: YAML with a version and a hash of its content, refused when anything in it is off."""

import hashlib
import json
import math
from dataclasses import dataclass, fields
from datetime import date
from pathlib import Path
from typing import Any, get_args

import numpy as np
import yaml
from numpy.typing import NDArray

from vlajs_perception.calibration.board import Board, board_from_dict, board_to_dict
from vlajs_perception.calibration.calibrate import Calibrated
from vlajs_perception.calibration.errors import CalibrationError, CalibrationFileError
from vlajs_perception.calibration.folder import SetInfo
from vlajs_perception.calibration.lens import Lens
from vlajs_perception.calibration.quality import medians
from vlajs_perception.calibration.se3 import checked_pose
from vlajs_perception.calibration.views import Kind
from vlajs_perception.camera import Camera
from vlajs_perception.files import write_whole

FloatArray = NDArray[np.float64]

VERSION = 1
REMEDY = "take it from the backup or calibrate again (vlajs calibrate solve)"


@dataclass(frozen=True, kw_only=True)
class Errors:
    """How good a calibration is.

    Attributes:
        sigma_mm: RMS distance to expect from the camera's true place.
        sigma_deg: RMS angle to expect from its true orientation.
        held_out_mm: median distance between board seen and expected on views the fit has not seen.
        held_out_deg: median angle there.
        pixel_px: error of a detected point.
        tool_mm: error of a tool pose along each axis.
        tool_deg: error of a tool pose about each axis.
        views: how many were fitted.
        views_held_out: how many were not.
    """

    sigma_mm: float
    sigma_deg: float
    held_out_mm: float
    held_out_deg: float
    pixel_px: float
    tool_mm: float
    tool_deg: float
    views: int
    views_held_out: int


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """Where a camera is and how it sees.

    Attributes:
        kind: eye_to_hand or eye_in_hand.
        measured_on: the day of the calibration.
        camera_frame: name of the optical frame.
        base_frame: name of the robot's base.
        tool_frame: name of the frame the tool poses were of.
        lens: the intrinsics; with distortion, rectify before using :meth:`camera`.
        camera_pose: shape (4, 4), ``camera_in_base`` (eye to hand) or ``camera_in_tool`` (eye in hand).
        covariance: shape (6, 6), of the camera's pose: m and rad along the axes of base or tool, as ROS has it.
        board: what was looked for.
        board_pose: shape (4, 4), ``board_in_tool`` (eye to hand) or ``board_in_base`` (eye in hand).
        errors: how good it is.
    """

    kind: Kind
    measured_on: date
    camera_frame: str
    base_frame: str
    tool_frame: str
    lens: Lens
    camera_pose: FloatArray
    covariance: FloatArray
    board: Board
    board_pose: FloatArray
    errors: Errors

    @staticmethod
    def of(info: SetInfo, calibrated: Calibrated, measured_on: date) -> "Calibration":
        """What a set of views has given."""
        solution, noise = calibrated.solution, calibrated.solution.noise
        held_out_mm, held_out_deg = medians(calibrated.held_out)
        return Calibration(
            kind=info.kind,
            measured_on=measured_on,
            camera_frame=info.camera_frame,
            base_frame=info.base_frame,
            tool_frame=info.tool_frame,
            lens=solution.unknowns.lens,
            camera_pose=solution.unknowns.camera,
            covariance=solution.covariance,
            board=info.board,
            board_pose=solution.unknowns.board,
            errors=Errors(
                sigma_mm=1e3 * solution.position_sigma_m,
                sigma_deg=math.degrees(solution.rotation_sigma_rad),
                held_out_mm=held_out_mm,
                held_out_deg=held_out_deg,
                pixel_px=noise.pixel_px,
                tool_mm=1e3 * noise.tool_m,
                tool_deg=math.degrees(noise.tool_rad),
                views=len(calibrated.used),
                views_held_out=len(calibrated.held_out),
            ),
        )

    def camera(self, tool_in_base: FloatArray | None = None) -> Camera:
        """The rectified camera; one on the tool needs the tool's pose (4, 4) at the time of the image.

        Raises:
            CalibrationError: the tool's pose is missing, or given for a camera that stands.
        """
        if (tool_in_base is None) != (self.kind == "eye_to_hand"):
            needed = "stands: give no tool pose" if self.kind == "eye_to_hand" else "rides on the tool: give its pose"
            raise CalibrationError(f"the camera of this calibration {needed}")
        pose = self.camera_pose if tool_in_base is None else tool_in_base @ self.camera_pose
        return Camera(matrix=self.lens.matrix, camera_in_base=pose)

    def write(self, path: Path) -> None:
        """Write the file whole or not at all.

        Raises:
            OSError: it cannot be written; an earlier file stays.
        """
        content = _content(self)
        text = yaml.safe_dump(content | {"hash": _hash(content)}, sort_keys=False, default_flow_style=None, width=120)
        write_whole(path, text.encode())

    @staticmethod
    def read(path: Path) -> "Calibration":
        """Read a file.

        Raises:
            CalibrationFileError: damaged, edited, of another version, or with values that cannot be.
            OSError: it cannot be read.
        """
        content = _checked_content(path)
        try:
            return _calibration(content)
        except CalibrationError as error:
            raise CalibrationFileError(f"{path}: {error}; {REMEDY}") from error


def _pose_keys(kind: Kind) -> tuple[str, str]:
    """What the poses of camera and board are called."""
    return ("camera_in_base", "board_in_tool") if kind == "eye_to_hand" else ("camera_in_tool", "board_in_base")


def _content(calibration: Calibration) -> dict[str, Any]:
    camera, board = _pose_keys(calibration.kind)
    return {
        "version": VERSION,
        "kind": calibration.kind,
        "measured_on": calibration.measured_on.isoformat(),
        "camera_frame": calibration.camera_frame,
        "base_frame": calibration.base_frame,
        "tool_frame": calibration.tool_frame,
        "image_size": list(calibration.lens.image_size),
        "matrix": calibration.lens.matrix.tolist(),
        "distortion": calibration.lens.distortion.tolist(),
        camera: calibration.camera_pose.tolist(),
        "covariance": calibration.covariance.tolist(),
        "board": board_to_dict(calibration.board),
        board: calibration.board_pose.tolist(),
        "errors": {f.name: getattr(calibration.errors, f.name) for f in fields(Errors)},
    }


def _hash(content: dict[str, Any]) -> str:
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=True)
    return "sha256:" + hashlib.sha256(canonical.encode()).hexdigest()


def _checked_content(path: Path) -> dict[str, Any]:
    """The file's keys and values, of this version and with a hash that matches."""
    try:
        content = yaml.safe_load(path.read_bytes().decode())
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise CalibrationFileError(f"{path} is not YAML ({str(error).splitlines()[0]}): {REMEDY}") from error
    if not isinstance(content, dict) or "version" not in content:
        raise CalibrationFileError(f"{path} is no calibration (it has no version): {REMEDY}")
    if content["version"] != VERSION:
        raise CalibrationFileError(
            f"{path} has version {content['version']!r}, this program reads {VERSION}: calibrate again, or read it "
            "with the program that wrote it"
        )
    kind = content.get("kind")
    if kind is None or kind not in get_args(Kind):
        raise CalibrationFileError(f"kind of {path} is {kind!r}, must be one of {', '.join(get_args(Kind))}: {REMEDY}")
    known = {"version", "kind", "measured_on", "camera_frame", "base_frame", "tool_frame", "image_size", "matrix"}
    known |= {"distortion", *_pose_keys(kind), "covariance", "board", "errors", "hash"}
    if set(content) != known:
        raise CalibrationFileError(
            f"{path} lacks {sorted(known - set(content))} or has unknown {sorted(map(str, set(content) - known))}: it "
            f"is truncated or edited; {REMEDY}"
        )
    stated = content.pop("hash")
    try:
        actual = _hash(content)
    except TypeError as error:
        raise CalibrationFileError(f"{path} holds a value no calibration has ({error}): {REMEDY}") from error
    if stated != actual:
        raise CalibrationFileError(
            f"the content of {path} does not match its hash ({actual} is not {stated}): it was edited or damaged; "
            f"{REMEDY}"
        )
    return content


def _calibration(content: dict[str, Any]) -> Calibration:
    """From content whose hash matches: written by a program, but perhaps a wrong one."""
    kind: Kind = content["kind"]
    camera, board = _pose_keys(kind)
    size = content["image_size"]
    if not (isinstance(size, list) and len(size) == 2 and all(type(n) is int and n > 0 for n in size)):
        raise CalibrationError(f"image_size is {size!r}, must be [width, height] in pixels")
    frames = {name: content[name] for name in ("camera_frame", "base_frame", "tool_frame")}
    if not all(isinstance(name, str) and name for name in frames.values()):
        raise CalibrationError(f"the frames are {frames}, must be names")
    covariance = _numbers(content["covariance"], (6, 6), "covariance")
    if not np.allclose(covariance, covariance.T) or np.min(np.linalg.eigvalsh(covariance)) < 0:
        raise CalibrationError("covariance is not symmetric with variances of at least 0")
    matrix, distortion = (
        _numbers(content["matrix"], (3, 3), "matrix"),
        _numbers(content["distortion"], (5,), "distortion"),
    )
    return Calibration(
        kind=kind,
        measured_on=_day(content["measured_on"]),
        lens=Lens(matrix=matrix, distortion=distortion, image_size=(size[0], size[1])),
        camera_pose=checked_pose(_numbers(content[camera], (4, 4), camera), camera),
        covariance=covariance,
        board=board_from_dict(content["board"]),
        board_pose=checked_pose(_numbers(content[board], (4, 4), board), board),
        errors=_errors(content["errors"]),
        **frames,
    )


def _numbers(values: object, shape: tuple[int, ...], name: str) -> FloatArray:
    """An array of this shape from nested lists of finite numbers."""
    found = _shape(values)
    if found != shape:
        raise CalibrationError(f"{name} must be {shape} numbers in lists, not {found or 'these'}: {values!r}")
    array = np.array(values, dtype=np.float64)
    if not np.all(np.isfinite(array)):
        raise CalibrationError(f"{name} holds a number that is not finite: {values!r}")
    return array


def _shape(values: object) -> tuple[int, ...] | None:
    """Lengths of nested lists of numbers; None where they are ragged or hold something else."""
    if not isinstance(values, list):
        return () if type(values) in (int, float) else None
    inner = {_shape(value) for value in values}
    below = inner.pop() if len(inner) == 1 else None
    return None if below is None else (len(values), *below)


def _day(text: object) -> date:
    try:
        return date.fromisoformat(str(text))
    except ValueError as error:
        raise CalibrationError(f"measured_on is {text!r}, must be a day like 2026-11-26") from error


def _errors(values: object) -> Errors:
    known = {f.name for f in fields(Errors)}
    if not isinstance(values, dict) or set(values) != known:
        raise CalibrationError(f"errors must have {sorted(known)}, not {values!r}")
    for name, value in values.items():
        if type(value) not in (int, float) or not 0 <= value < math.inf:
            raise CalibrationError(f"{name} of errors is {value!r}, must be a finite number of at least 0")
    return Errors(**values)
