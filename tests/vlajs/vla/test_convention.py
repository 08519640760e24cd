"""What a convention may say, and that two sides which say different things are told so."""

import json
from dataclasses import replace

import pytest

from vlajs.vla.convention import Convention, settle
from vlajs.vla.errors import ConventionError
from vlajs.vla.presets import PRESETS

OWN = Convention(rate_hz=20.0)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"frame": "wrist_camera"}, "'wrist_camera' is unknown.*frame_quat_in_base_wxyz"),
        ({"frame": "cam", "frame_quat_in_base_wxyz": (1.0, 1.0, 0.0, 0.0)}, "norm 1.41"),
        ({"frame": "cam", "frame_quat_in_base_wxyz": (1.0, 0.0)}, "four finite numbers"),
        ({"frame_quat_in_base_wxyz": (1.0, 0.0, 0.0, 0.0)}, "camera's frame only"),
        ({"frame": 3}, "camera's name"),
        ({"rotation": "rpy"}, "'rpy': known are rotation_vector, euler_xyz_intrinsic"),
        ({"composition": "above"}, "'above': known are left, right"),
        ({"rotation": "quaternion_wxyz", "rotation_scale_rad": 0.1}, "cannot be scaled"),
        ({"rate_hz": 0.0}, r"outside \(0, 1000\]"),
        ({"rate_hz": float("nan")}, "finite"),
        ({"rate_hz": "20"}, "finite number"),
        ({"translation_scale_m": -1.0}, "positive"),
        ({"rotation_scale_rad": 0.0}, "rotation would be lost"),
        ({"gripper_open": -1.0}, "must differ"),
        ({"image_size": (0, 256)}, r"\[1, 4096\]"),
        ({"image_size": (256.0, 256.0)}, "whole numbers"),
        ({"unnorm_key": 7}, "a name or None"),
    ],
)
def test_what_cannot_be_converted_is_refused_at_once(changes: dict, message: str) -> None:
    with pytest.raises(ConventionError, match=message):
        replace(OWN, **changes)


@pytest.mark.parametrize(
    "convention", [OWN, *PRESETS.values(), replace(OWN, frame="c", frame_quat_in_base_wxyz=(1, 0, 0, 0))]
)
def test_a_convention_survives_json(convention: Convention) -> None:
    assert Convention.from_dict(json.loads(json.dumps(convention.to_dict()))) == convention


@pytest.mark.parametrize(
    "data, message",
    [
        ("base_delta", "a str, not a map"),
        ({"rate_hz": 5, "speed": 1}, r"unknown keys \['speed'\]"),
        ({"frame": "base"}, "lacks rate_hz"),
        ({"rate_hz": None}, "finite number"),
    ],
)
def test_a_garbled_statement_is_refused(data: object, message: str) -> None:
    with pytest.raises(ConventionError, match=message):
        Convention.from_dict(data)


def test_both_sides_must_agree() -> None:
    assert settle(OWN, None, "it") == settle(None, OWN, "it") == settle(OWN, replace(OWN), "it") == OWN
    with pytest.raises(ConventionError, match="it does not say what its actions mean: give convention="):
        settle(None, None, "it")
    with pytest.raises(
        ConventionError, match=r"rate_hz: server 5.0, given 20.0; gripper_closed: server 0.0, given -1.0"
    ):
        settle(Convention(rate_hz=5.0, gripper_closed=0.0), OWN, "it")
