"""Actions of every convention in the project's own: cases computed by hand, and properties against the definitions."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from vlajs.geometry import TOOL_DOWN_WXYZ
from vlajs.vla.convention import EULER_SEQUENCES, ROTATIONS, Convention
from vlajs.vla.conversion import chunks_to_base_delta, to_base_delta
from vlajs.vla.errors import BadAnswerError, ConventionError
from vlajs.vla.presets import OPENVLA_BRIDGE, OPENVLA_MANISKILL, PRESETS, preset

OWN = Convention(rate_hz=20.0)
S = math.sqrt(0.5)
THIRD = 2 * math.pi / 3 / math.sqrt(3)  # a third of a turn about a space diagonal, along each axis


def one(convention: Convention, *numbers: float, tool: object = None) -> np.ndarray:
    quat = None if tool is None else np.array([tool], dtype=float)
    return to_base_delta(np.array([numbers]), convention, quat)[0]


def test_the_projects_own_convention_is_left_alone() -> None:
    action = (0.01, -0.02, 0.03, 0.1, -0.2, 0.3, -0.5)
    np.testing.assert_allclose(one(OWN, *action), action, atol=1e-15)


@pytest.mark.parametrize(
    "rotation, numbers, expected",
    [
        ("rotation_vector", (0, 0, 0.3), (0, 0, 0.3)),
        # Rx(90) Ry(90): (S + S i)(S + S j) = (1 + i + j + k)/2, a third of a turn about (1, 1, 1)
        ("euler_xyz_intrinsic", (math.pi / 2, math.pi / 2, 0), (THIRD, THIRD, THIRD)),
        # Ry(90) Rx(90): (S + S j)(S + S i) = (1 + i + j - k)/2, a third of a turn about (1, 1, -1)
        ("euler_xyz_extrinsic", (math.pi / 2, math.pi / 2, 0), (THIRD, THIRD, -THIRD)),
        # a quarter turn about z: (cos 45, 0, 0, sin 45)
        ("quaternion_wxyz", (S, 0, 0, S), (0, 0, math.pi / 2)),
        ("quaternion_xyzw", (0, 0, S, S), (0, 0, math.pi / 2)),
        ("quaternion_wxyz", (-S, 0, 0, -S), (0, 0, math.pi / 2)),  # q and -q are one rotation
    ],
)
def test_every_rotation_form_by_hand(rotation: str, numbers: tuple[float, ...], expected: tuple[float, ...]) -> None:
    delta = one(replace(OWN, rotation=rotation), 0, 0, 0, *numbers, 1)
    np.testing.assert_allclose(delta[3:6], expected, atol=1e-12)


def test_degrees_and_centimetres() -> None:
    convention = replace(OWN, translation_scale_m=0.01, rotation_scale_rad=math.pi / 180)
    np.testing.assert_allclose(one(convention, 2, 0, 0, 0, 90, 0, 1), (0.02, 0, 0, 0, math.pi / 2, 0, 1), atol=1e-12)


@pytest.mark.parametrize(
    "frame, composition, expected",
    [
        # The tool points down: half a turn about x, so that its y and z axes are the base's -y and -z.
        ("tool", "right", (0.01, -0.02, -0.03, 0.1, -0.2, -0.3)),
        ("tool", "left", (0.01, -0.02, -0.03, 0.1, 0.2, 0.3)),
        ("base", "right", (0.01, 0.02, 0.03, 0.1, -0.2, -0.3)),
        ("base", "left", (0.01, 0.02, 0.03, 0.1, 0.2, 0.3)),
    ],
)
def test_every_frame_by_hand(frame: str, composition: str, expected: tuple[float, ...]) -> None:
    convention = replace(OWN, frame=frame, composition=composition)
    delta = one(convention, 0.01, 0.02, 0.03, 0.1, 0.2, 0.3, 1, tool=TOOL_DOWN_WXYZ)
    np.testing.assert_allclose(delta[:6], expected, atol=1e-12)


def test_a_known_camera_by_hand() -> None:
    # The camera stands turned by 90 degrees about z: its x axis is the base's y, its y the base's -x.
    convention = replace(OWN, frame="front_camera", frame_quat_in_base_wxyz=(S, 0.0, 0.0, S))
    delta = one(convention, 0.01, 0.02, 0.03, 0.1, 0, 0, 1)
    np.testing.assert_allclose(delta[:6], (-0.02, 0.01, 0.03, 0, 0.1, 0), atol=1e-12)


@pytest.mark.parametrize(
    "opened, closed, value, expected",
    [
        (1, 0, 1, 1),
        (1, 0, 0, -1),
        (1, 0, 0.25, -0.5),  # a quarter of the way from closed (-1) to open (1)
        (0, 1, 1, -1),
        (0, 1, 0, 1),
        (1, -1, 0.3, 0.3),
        (-1, 1, 0.3, -0.3),
        (1, 0, 1.004, 1),  # statistics overshoot a little: clipped
    ],
)
def test_every_gripper_range_by_hand(opened: float, closed: float, value: float, expected: float) -> None:
    convention = replace(OWN, gripper_open=opened, gripper_closed=closed)
    assert one(convention, 0, 0, 0, 0, 0, 0, value)[6] == pytest.approx(expected, abs=1e-12)


def test_openvla_maniskill_by_hand() -> None:
    # 1 is 0.1 m; a turn of 1 about z is -0.1 rad (rot_lower); a gripper of 0.75 is half open (2 * 0.75 - 1).
    delta = one(OPENVLA_MANISKILL, 1, 0, -0.5, 0, 0, 1, 0.75)
    np.testing.assert_allclose(delta, (0.1, 0, -0.05, 0, 0, -0.1, 0.5), atol=1e-12)


def test_openvla_bridge_by_hand() -> None:
    # metres and radians in base axes; roll 90 then pitch 90 about fixed axes: a third of a turn about (1, 1, -1)
    delta = one(OPENVLA_BRIDGE, 0.02, 0, 0, math.pi / 2, math.pi / 2, 0, 0)
    np.testing.assert_allclose(delta, (0.02, 0, 0, THIRD, THIRD, -THIRD, -1), atol=1e-12)


def test_presets_have_names() -> None:
    assert PRESETS.keys() == {"openvla-maniskill", "openvla-bridge"}
    assert preset("openvla-maniskill").unnorm_key == "maniskill_human:7.0.0"
    with pytest.raises(ConventionError, match=r"'octo'.*known are openvla-maniskill, openvla-bridge"):
        preset("octo")


def test_a_chunk_turns_the_tool_its_later_actions_are_relative_to() -> None:
    # Twice 1 cm along the tool's x, then a quarter turn about its z: the second centimetre goes along the base's y.
    action = (0.01, 0, 0, 0, 0, math.pi / 2, 1)
    convention = replace(OWN, frame="tool", composition="right")
    (chunk,) = chunks_to_base_delta([[action, action]], convention, [[1, 0, 0, 0]])
    np.testing.assert_allclose(chunk[0], (0.01, 0, 0, 0, 0, math.pi / 2, 1), atol=1e-12)
    np.testing.assert_allclose(chunk[1], (0, 0.01, 0, 0, 0, math.pi / 2, 1), atol=1e-12)


def test_nothing_asked_is_nothing_answered() -> None:
    assert to_base_delta(np.zeros((0, 7)), OWN).shape == (0, 7)
    assert chunks_to_base_delta(np.zeros((0, 3, 7)), OWN).shape == (0, 3, 7)


angle = st.floats(-1.0, 1.0)
metre = st.floats(-0.2, 0.2)
quats = st.tuples(angle, angle, angle, angle).filter(lambda q: math.hypot(*q) > 0.1)


def spoken(form: str, turn: Rotation) -> np.ndarray:
    """A rotation in the numbers of a form; scipy is the judge."""
    if form in EULER_SEQUENCES:
        return turn.as_euler(EULER_SEQUENCES[form])
    if form == "rotation_vector":
        return turn.as_rotvec()
    return turn.as_quat(scalar_first=form == "quaternion_wxyz")


@settings(max_examples=150, deadline=None)
@given(
    form=st.sampled_from(ROTATIONS),
    frame=st.sampled_from(["base", "tool"]),
    composition=st.sampled_from(["left", "right"]),
    translation=st.tuples(metre, metre, metre),
    rotvec=st.tuples(angle, angle, angle),
    tool_quat=quats,
)
def test_the_tool_ends_where_the_convention_says(form, frame, composition, translation, rotvec, tool_quat) -> None:
    tool, turn = Rotation.from_quat(tool_quat, scalar_first=True), Rotation.from_rotvec(rotvec)
    convention = replace(OWN, rotation=form, frame=frame, composition=composition)
    delta = one(convention, *translation, *spoken(form, turn), 1, tool=tool.as_quat(scalar_first=True))
    reached = Rotation.from_rotvec(delta[3:6]) * tool  # the project's own rule: composed on the left
    meant = turn * tool if composition == "left" else tool * turn
    assert (reached * meant.inv()).magnitude() < 1e-6
    moved = tool.apply(translation) if frame == "tool" else translation
    np.testing.assert_allclose(delta[:3], moved, atol=1e-12)


@settings(max_examples=50, deadline=None)
@given(rotvecs=st.lists(st.tuples(angle, angle, angle), min_size=1, max_size=6), tool_quat=quats)
def test_a_whole_chunk_ends_where_its_actions_lead(rotvecs, tool_quat) -> None:
    tool = Rotation.from_quat(tool_quat, scalar_first=True)
    chunk = [[0, 0, 0, *rotvec, 1] for rotvec in rotvecs]
    convention = replace(OWN, frame="tool", composition="right")
    (deltas,) = chunks_to_base_delta([chunk], convention, tool.as_quat(scalar_first=True)[None])
    meant = reached = tool
    for rotvec, delta in zip(rotvecs, deltas, strict=True):
        meant = meant * Rotation.from_rotvec(rotvec)
        reached = Rotation.from_rotvec(delta[3:6]) * reached
    assert (reached * meant.inv()).magnitude() < 1e-6


@pytest.mark.parametrize(
    "changes, numbers, message",
    [
        ({}, (0.6, 0, 0, 0, 0, 0, 1), r"translation of 0.6 m, at most 0.5 m .*translation_scale_m or unnorm_key"),
        ({}, (0, 0, 0, 0, 4, 0, 1), r"rotation of 4 rad, at most 3.14 rad"),
        ({}, (0, 0, 0, 0, 0, math.nan, 1), "NaN"),
        ({"gripper_closed": 0.0}, (0, 0, 0, 0, 0, 0, -1), r"gripper -1 is outside 0 \(closed\) to 1 \(open\).*another"),
        ({"rotation": "quaternion_wxyz"}, (0, 0, 0, 0.1, 0.1, 0, 0, 1), "quaternion of norm 0.141"),
        ({}, (0, 0, 0, 0, 0, 0, 0, 1), r"shape \(1, 8\), expected \(B, 7\)"),
    ],
)
def test_what_no_arm_should_follow_is_refused(changes: dict, numbers: tuple[float, ...], message: str) -> None:
    with pytest.raises(BadAnswerError, match=message):
        one(replace(OWN, **changes), *numbers)


@pytest.mark.parametrize(
    "tool, message",
    [(None, "give tool_quat_in_base_wxyz"), ([1, 0, 0], r"shape \(1, 3\)"), ([2, 0, 0, 0], "norm is not 1")],
)
def test_a_tools_action_needs_the_tool(tool: object, message: str) -> None:
    with pytest.raises(ConventionError, match=message):
        one(replace(OWN, frame="tool"), 0, 0, 0, 0, 0, 0, 1, tool=tool)
