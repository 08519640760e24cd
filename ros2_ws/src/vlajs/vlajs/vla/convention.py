"""How a VLA's seven numbers are meant: what a server states of itself, or a user of a server that does not."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from vlajs.vla.errors import ConventionError

BASE, TOOL = "base", "tool"
LEFT, RIGHT = "left", "right"
ROTATION_VECTOR = "rotation_vector"
EULER_SEQUENCES = {"euler_xyz_intrinsic": "XYZ", "euler_xyz_extrinsic": "xyz"}
"""Intrinsic: about the axes that turn along, Rx Ry Rz. Extrinsic (roll, pitch, yaw): about fixed axes, Rz Ry Rx."""
QUATERNIONS = ("quaternion_wxyz", "quaternion_xyzw")
ROTATIONS = (ROTATION_VECTOR, *EULER_SEQUENCES, *QUATERNIONS)
MAX_RATE_HZ = 1000.0
MAX_IMAGE_SIDE = 4096


@dataclass(frozen=True, kw_only=True)
class Convention:
    """What the numbers of an action mean: translation (3), rotation (3, a quaternion 4), gripper (1).

    Attributes:
        rate_hz: one action covers ``1 / rate_hz`` seconds.
        frame: axes of the translation: ``base``, ``tool`` (the end effector's, as it stands), or a camera's by name.
        frame_quat_in_base_wxyz: orientation of a camera's frame in the base; None for ``base`` and ``tool``.
        rotation: one of :data:`ROTATIONS`.
        composition: ``left``: ``R_new = D R_tool``, D in the base's axes (a camera's with a camera's frame); ``right``:
            ``R_new = R_tool D``, D in the tool's axes.
        translation_scale_m: metres for a translation of 1.
        rotation_scale_rad: radians for an angle of 1, negative where the sign is flipped; 1 with quaternions.
        gripper_open: what the last number is with the hand open.
        gripper_closed: and closed; 0..1 and -1..1, either way round, are both a pair of these.
        image_size: height and width in pixels of the images the model was trained on; None: any.
        unnorm_key: which statistics the model's outputs are scaled back with, where a server has several.
    """

    rate_hz: float
    frame: str = BASE
    frame_quat_in_base_wxyz: tuple[float, float, float, float] | None = None
    rotation: str = ROTATION_VECTOR
    composition: str = LEFT
    translation_scale_m: float = 1.0
    rotation_scale_rad: float = 1.0
    gripper_open: float = 1.0
    gripper_closed: float = -1.0
    image_size: tuple[int, int] | None = None
    unnorm_key: str | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot be converted.

        Raises:
            ConventionError: the first problem found.
        """
        _check_numbers(self)
        _check_frame(self)
        if self.rotation not in ROTATIONS:
            raise ConventionError(f"unknown rotation form {self.rotation!r}: known are {', '.join(ROTATIONS)}")
        if self.composition not in (LEFT, RIGHT):
            raise ConventionError(f"unknown composition {self.composition!r}: known are {LEFT}, {RIGHT}")
        if self.rotation in QUATERNIONS and self.rotation_scale_rad != 1.0:
            raise ConventionError(
                f"rotation_scale_rad = {self.rotation_scale_rad}: a quaternion cannot be scaled, use 1"
            )
        if self.image_size is not None and not _is_image_size(self.image_size):
            raise ConventionError(
                f"image_size = {self.image_size!r}: height and width must be whole numbers in [1, {MAX_IMAGE_SIDE}]"
            )
        if self.unnorm_key is not None and not isinstance(self.unnorm_key, str):
            raise ConventionError(f"unnorm_key = {self.unnorm_key!r}: it must be a name or None")

    @property
    def action_size(self) -> int:
        """How many numbers an action has: 7, with a quaternion 8."""
        return 8 if self.rotation in QUATERNIONS else 7

    @property
    def needs_tool_pose(self) -> bool:
        """Whether actions can be converted only with the tool's orientation at hand."""
        return self.frame == TOOL or self.composition == RIGHT

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON and msgpack."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}

    @staticmethod
    def from_dict(data: object) -> "Convention":
        """A convention a server states.

        Raises:
            ConventionError: no map, an unknown or missing key, or a value that is refused.
        """
        if not isinstance(data, Mapping):
            raise ConventionError(f"the convention is a {type(data).__name__}, not a map")
        known = {field.name for field in fields(Convention)}
        if unknown := sorted(map(str, set(data) - known)):
            raise ConventionError(f"the convention has unknown keys {unknown}: known are {sorted(known)}")
        if "rate_hz" not in data:
            raise ConventionError("the convention lacks rate_hz: for how long an action is meant must be stated")
        values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in data.items()}
        return Convention(**values)


def settle(stated: Convention | None, given: Convention | None, server: str) -> Convention:
    """The convention both sides agree on.

    Args:
        stated: what the server says of itself, if anything.
        given: what the user says, if anything.
        server: named in messages.

    Raises:
        ConventionError: nobody says, or the two differ.
    """
    if stated is None and given is None:
        raise ConventionError(
            f"{server} does not say what its actions mean: give convention=, for instance a preset "
            "(vlajs.vla.presets.PRESETS) that fits its weights"
        )
    if stated is not None and given is not None and stated != given:
        mine, theirs = given.to_dict(), stated.to_dict()
        differing = [key for key in mine if mine[key] != theirs[key]]
        raise ConventionError(
            f"{server} states another convention than the one given; "
            + "; ".join(f"{key}: server {theirs[key]!r}, given {mine[key]!r}" for key in differing)
            + ". Leave convention= out to believe the server, or ask the right server"
        )
    agreed = stated or given
    assert agreed is not None, "one of them is there"
    return agreed


def _check_numbers(convention: Convention) -> None:
    for name in ("rate_hz", "translation_scale_m", "rotation_scale_rad", "gripper_open", "gripper_closed"):
        value = getattr(convention, name)
        if not _is_number(value):
            raise ConventionError(f"{name} = {value!r}: it must be a finite number")
    if not 0 < convention.rate_hz <= MAX_RATE_HZ:
        raise ConventionError(f"rate_hz = {convention.rate_hz} is outside (0, {MAX_RATE_HZ:g}]")
    if convention.translation_scale_m <= 0:
        raise ConventionError(f"translation_scale_m = {convention.translation_scale_m}: it must be positive")
    if convention.rotation_scale_rad == 0:
        raise ConventionError("rotation_scale_rad = 0: the rotation would be lost")
    if abs(convention.gripper_open - convention.gripper_closed) < 1e-6:
        raise ConventionError(f"gripper_open = gripper_closed = {convention.gripper_open}: the two must differ")


def _check_frame(convention: Convention) -> None:
    frame, quat = convention.frame, convention.frame_quat_in_base_wxyz
    if not isinstance(frame, str) or not frame:
        raise ConventionError(f"frame = {frame!r}: it must be {BASE!r}, {TOOL!r} or a camera's name")
    if frame in (BASE, TOOL):
        if quat is not None:
            raise ConventionError(f"frame_quat_in_base_wxyz is for a camera's frame only, not for {frame!r}")
        return
    if quat is None:
        raise ConventionError(
            f"frame {frame!r} is unknown: known are {BASE!r} and {TOOL!r}; for a fixed camera's frame give its "
            "calibrated orientation as frame_quat_in_base_wxyz"
        )
    if not isinstance(quat, tuple) or len(quat) != 4 or not all(map(_is_number, quat)):
        raise ConventionError(f"frame_quat_in_base_wxyz = {quat!r}: it must be four finite numbers")
    if abs(math.hypot(*quat) - 1.0) > 1e-3:
        raise ConventionError(f"frame_quat_in_base_wxyz has norm {math.hypot(*quat):.3g}: it must be 1")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_image_size(size: object) -> bool:
    return (
        isinstance(size, tuple)
        and len(size) == 2
        and all(isinstance(side, int) and not isinstance(side, bool) and 1 <= side <= MAX_IMAGE_SIDE for side in size)
    )
