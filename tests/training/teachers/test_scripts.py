"""What each script says in situations small enough to work out by hand. Positions in the base frame, metres."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from tests.training.teachers.scenes import FLAT_PEG, OPEN_HAND, answer, axes_of, see
from vlajs_training.teachers.script import nearest_turn
from vlajs_training.teachers.scripts import SCRIPTS
from vlajs_training.teachers.scripts.peg import alike_ends, turn_with

unit = st.tuples(*[st.floats(-1, 1)] * 3).map(np.array).filter(lambda v: np.linalg.norm(v) > 0.1)


def test_every_task_has_a_script() -> None:
    assert sorted(SCRIPTS) == [
        "lift_peg_upright",
        "peg_insertion_side",
        "pick_cube",
        "pick_place_cube",
        "poke_cube",
        "push_cube",
        "push_cube_v2",
    ]


# -- push_cube, push_cube_v2 ---------------------------------------------------------------------------------------

CUBE = {"cube_position": [0.6, 0.1, 0.02], "goal_position": [0.8, 0.1, 0.001]}


def test_push_goes_behind_the_cube_first() -> None:
    phase, move_m, turn_rad, gripper = answer("push_cube", see("push_cube", tcp_position=[0.615, 0.0, 0.17], **CUBE))
    assert phase == "go behind"
    # 60 mm before the cube at 90 mm: (0.54, 0.1, 0.09) - (0.615, 0, 0.17)
    assert move_m == pytest.approx([-0.075, 0.1, -0.08])
    assert turn_rad == pytest.approx([0, 0, 0])
    assert gripper == -1.0


def test_a_delta_is_from_the_commanded_tool_not_from_the_measured_one() -> None:
    seen = see("push_cube", tcp_position=[0.615, 0.0, 0.17], target_lead_position=[-0.02, 0.03, 0.0], **CUBE)
    assert answer("push_cube", seen)[1] == pytest.approx([-0.055, 0.07, -0.08])


@pytest.mark.parametrize(
    ("tool_m", "phase", "move_m"),
    [
        ([0.54, 0.1, 0.09], "come down", [0.0, 0.0, -0.063]),  # to 27 mm
        # 63 mm above pushing height the way down is 15 + 0.4 * 63 = 40 mm wide on either side of the line
        ([0.54, 0.13, 0.09], "come down", [0.0, -0.03, -0.063]),
        ([0.54, 0.145, 0.09], "go behind", [0.0, -0.045, 0.0]),
        ([0.54, 0.1, 0.03], "push", [0.11, 0.0, -0.003]),  # to 50 mm beyond the cube's centre
        ([0.66, 0.1, 0.03], "rise", [0.0, 0.0, 0.05]),  # low in front of it: must not push it back
        ([0.54, 0.15, 0.03], "rise", [0.0, 0.0, 0.05]),  # 50 mm off the line
    ],
)
def test_push_phases(tool_m: list[float], phase: str, move_m: list[float]) -> None:
    said, moved_m, _, _ = answer("push_cube", see("push_cube", tcp_position=tool_m, **CUBE))
    assert said == phase
    assert moved_m == pytest.approx(move_m)


def test_push_follows_the_goal_wherever_it_is() -> None:
    sideways = {"cube_position": [0.6, 0.0, 0.025], "goal_position": [0.6, 0.2, 0.001]}
    seen = see("push_cube_v2", tcp_position=[0.6, 0.0, 0.17], **sideways)
    # 60 mm to the right of the cube: (0.6, -0.06, 0.09)
    assert answer("push_cube_v2", seen)[1] == pytest.approx([0.0, -0.06, -0.08])


def test_push_corrects_a_turned_tool() -> None:
    seen = see("push_cube", tcp_position=[0.6, 0.0, 0.17], tcp_rotation=[0.1, 0.0, -0.2], **CUBE)
    assert answer("push_cube", seen)[2] == pytest.approx([-0.1, 0.0, 0.2])


# -- pick_cube, pick_place_cube ------------------------------------------------------------------------------------

AT_CUBE = {"cube_position": [0.6, 0.0, 0.02], "goal_position": [0.65, 0.1, 0.2], "cube_yaw4": [1.0, 0.0]}
HOLDING = {"gripper_width": [0.04], "gripper_command": [0.0]}


@pytest.mark.parametrize(
    ("tool_m", "hand", "phase", "move_m", "gripper"),
    [
        # 70 mm above the cube's centre
        ([0.5, 0.0, 0.15], OPEN_HAND, "hover", [0.1, 0.0, -0.06], 1),
        # beside the cube and low: up before anything
        ([0.55, 0.0, 0.03], OPEN_HAND, "hover", [0.0, 0.0, 0.06], 1),
        # not below 23 mm, where the workspace ends
        ([0.6, 0.0, 0.09], OPEN_HAND, "come down", [0.0, 0.0, -0.067], 1),
        ([0.6, 0.0, 0.03], OPEN_HAND, "close", [0.0, 0.0, -0.007], -1),
        ([0.6, 0.0, 0.023], {"gripper_width": [0.06], "gripper_command": [0.0]}, "close", [0, 0, 0], -1),
        # the tool is 3 mm above the cube, and so it is at the goal: (0.65, 0.1, 0.203) - (0.6, 0, 0.023)
        ([0.6, 0.0, 0.023], HOLDING, "carry", [0.05, 0.1, 0.18], -1),
        # an empty fist is told to open on its way down
        ([0.6, 0.0, 0.09], {"gripper_width": [0.0], "gripper_command": [0.0]}, "come down", [0.0, 0.0, -0.067], 1),
        # 70 mm above the cube the way down is 12 + 0.3 * 70 = 33 mm wide: 25 mm beside it is in it ...
        ([0.575, 0.0, 0.09], OPEN_HAND, "come down", [0.025, 0.0, -0.067], 1),
        # ... 20 mm above it is 12 + 0.3 * 20 = 18 mm wide: 25 mm beside it is not
        ([0.575, 0.0, 0.04], OPEN_HAND, "hover", [0.0, 0.0, 0.06], 1),
    ],
)
def test_pick_phases(tool_m: list[float], hand: dict, phase: str, move_m: list[float], gripper: float) -> None:
    said = answer("pick_cube", see("pick_cube", tcp_position=tool_m, **AT_CUBE, **hand))
    assert said[0] == phase
    assert said[1] == pytest.approx(move_m, abs=1e-9)
    assert said[3] == gripper


@pytest.mark.parametrize(("cube_deg", "turn_deg"), [(30, 30), (60, -30), (100, 10), (-50, 40)])
def test_pick_turns_to_the_nearest_faces(cube_deg: float, turn_deg: float) -> None:
    yaw4 = 4 * np.radians(cube_deg)
    cube = {**AT_CUBE, "cube_yaw4": [np.cos(yaw4), np.sin(yaw4)]}
    seen = see("pick_cube", tcp_position=[0.6, 0.0, 0.15], **cube, **OPEN_HAND)
    assert np.degrees(answer("pick_cube", seen)[2]) == pytest.approx([0, 0, turn_deg])


PLACE = {"cube_yaw4": [1.0, 0.0], "goal_position": [0.6, 0.1, 0.001]}


@pytest.mark.parametrize(
    ("cube_m", "tool_m", "hand", "phase", "move_m", "gripper"),
    [
        ([0.6, -0.1, 0.02], [0.6, -0.1, 0.023], HOLDING, "carry", [0.0, 0.0, 0.075], -1),
        # above half the height: across, to 75 mm
        ([0.6, -0.1, 0.06], [0.6, -0.1, 0.063], HOLDING, "carry", [0.0, 0.2, 0.015], -1),
        ([0.6, 0.095, 0.07], [0.6, 0.095, 0.073], HOLDING, "lower", [0.0, 0.005, -0.05], -1),
        ([0.6, 0.1, 0.021], [0.6, 0.1, 0.024], HOLDING, "let go", [0.0, 0.0, 0.0], 1),
        # 100 mm above the cube
        ([0.6, 0.1, 0.02], [0.6, 0.1, 0.024], OPEN_HAND, "withdraw", [0.0, 0.0, 0.096], 1),
    ],
)
def test_place_phases(
    cube_m: list[float], tool_m: list[float], hand: dict, phase: str, move_m: list[float], gripper: float
) -> None:
    seen = see("pick_place_cube", cube_position=cube_m, tcp_position=tool_m, **PLACE, **hand)
    said = answer("pick_place_cube", seen)
    assert said[0] == phase
    assert said[1] == pytest.approx(move_m, abs=1e-9)
    assert said[3] == gripper


# -- pegs ----------------------------------------------------------------------------------------------------------

HOLDING_PEG = {"gripper_width": [0.05], "gripper_command": [0.0]}


def test_lift_grasps_the_near_half() -> None:
    seen = see("lift_peg_upright", tcp_position=[0.6, 0.0, 0.17], peg_position=[0.6, 0.0, 0.025], peg_axis2=FLAT_PEG)
    # 60 mm towards the base, 90 mm above the axis
    assert answer("lift_peg_upright", seen)[:2] == ("hover", pytest.approx([-0.06, 0.0, -0.055]))


def test_lift_turns_the_tool_towards_the_base() -> None:
    held = {"peg_position": [0.5, 0.0, 0.065], "peg_axis2": FLAT_PEG, **HOLDING_PEG}
    phase, move_m, turn_rad, gripper = answer(
        "lift_peg_upright", see("lift_peg_upright", tcp_position=[0.44, 0.0, 0.065], **held)
    )
    assert phase == "raise"
    # the near end, along -x, goes up: a quarter turn about +y
    assert turn_rad == pytest.approx([0.0, np.pi / 2, 0.0])
    # lying at 65 mm its lower edge is 40 mm above the table already
    assert move_m == pytest.approx([0.0, 0.0, 0.0], abs=1e-9)
    assert gripper == -1.0


def test_lift_sets_an_upright_peg_down() -> None:
    held = {"peg_position": [0.45, 0.0, 0.15], "peg_axis2": [0, 0, 1, 0, 0, 0], **HOLDING_PEG}
    seen = see("lift_peg_upright", tcp_position=[0.45, 0.0, 0.21], tcp_rotation=[0.0, np.pi / 2, 0.0], **held)
    phase, move_m, turn_rad, _ = answer("lift_peg_upright", seen)
    assert phase == "set down"
    assert move_m == pytest.approx([0.0, 0.0, -0.03])  # its middle from 150 to 120 mm
    assert turn_rad == pytest.approx([0.0, 0.0, 0.0], abs=1e-9)


POKE = {"peg_axis2": FLAT_PEG, "goal_position": [0.92, 0.05, 0.001], "cube_yaw4": [1.0, 0.0]}


def test_poke_brings_the_tip_behind_the_cube() -> None:
    seen = see(
        "poke_cube", tcp_position=[0.58, 0.0, 0.025], peg_position=[0.6, 0.0, 0.025], cube_position=[0.82, 0.05, 0.02],
        **POKE, **HOLDING_PEG,
    )  # fmt: skip
    phase, move_m, _, gripper = answer("poke_cube", seen)
    # the tip from (0.72, 0) to 50 mm before the cube, (0.77, 0.05); the peg 5 mm up
    assert (phase, gripper) == ("aim", -1.0)
    assert move_m == pytest.approx([0.05, 0.05, 0.005])


def test_poke_pushes_as_far_as_the_cube_has_to_go() -> None:
    seen = see(
        "poke_cube", tcp_position=[0.66, 0.05, 0.03], peg_position=[0.68, 0.05, 0.03], cube_position=[0.85, 0.05, 0.02],
        **POKE, **HOLDING_PEG,
    )  # fmt: skip
    phase, move_m, _, _ = answer("poke_cube", seen)
    assert phase == "push"
    # the tip at 0.80 is 50 mm from the cube's centre, 25 mm from its face; the cube is 70 mm short of the goal
    assert move_m == pytest.approx([0.025 + 0.07, 0.0, 0.0])


def test_poke_stops_when_the_cube_is_there() -> None:
    seen = see(
        "poke_cube", tcp_position=[0.7, 0.05, 0.03], target_lead_position=[0.01, 0.0, 0.0],
        peg_position=[0.72, 0.05, 0.03], cube_position=[0.91, 0.05, 0.02], **POKE, **HOLDING_PEG,
    )  # fmt: skip
    assert answer("poke_cube", seen)[:2] == ("stop", pytest.approx([-0.01, 0.0, 0.0]))


HOLE = {"hole_position": [0.6, 0.3, 0.1], "hole_axis": [0.0, 1.0, 0.0], "hole_radius": [0.023]}
SHORT_PEG = {"peg_half_size": [0.1, 0.02], "gripper_width": [0.04], "gripper_command": [0.0]}


def test_insert_brings_the_peg_before_the_hole_and_turns_it() -> None:
    """A peg along x at (0.5, 0, 0.1), held 60 mm behind its middle, for a hole along y."""
    seen = see(
        "peg_insertion_side", tcp_position=[0.44, 0.0, 0.1], peg_position=[0.5, 0.0, 0.1], peg_axis=[1.0, 0.0, 0.0],
        **HOLE, **SHORT_PEG,
    )  # fmt: skip
    phase, move_m, turn_rad, gripper = answer("peg_insertion_side", seen)
    assert (phase, gripper) == ("align", -1.0)
    assert turn_rad == pytest.approx([0.0, 0.0, np.pi / 2])
    # box from y = 0.2 on, 30 mm before it the head at 0.17, the middle at 0.07, the tool at 0.01:
    # (0.6, 0.01, 0.1) - (0.44, 0, 0.1)
    assert move_m == pytest.approx([0.16, 0.01, 0.0])


@pytest.mark.parametrize(
    ("peg_m", "axis", "phase"),
    [
        ([0.6, 0.05, 0.1], [0.0, 1.0, 0.0], "enter"),
        ([0.604, 0.05, 0.1], [0.0, 1.0, 0.0], "align"),  # 4 mm off: it would hit the box's face
        ([0.604, 0.2, 0.1], [0.0, 1.0, 0.0], "enter"),  # 4 mm off inside: the walls keep it
        ([0.6, 0.05, 0.1], [np.sin(0.05), np.cos(0.05), 0.0], "align"),  # turned by 0.05 rad
        ([0.6, 0.05, 0.02], [0.0, 1.0, 0.0], "raise"),
    ],
)
def test_insert_enters_only_where_the_hole_is(peg_m: list[float], axis: list[float], phase: str) -> None:
    seen = see(
        "peg_insertion_side", tcp_position=[peg_m[0], peg_m[1] - 0.06, peg_m[2]], peg_position=peg_m, peg_axis=axis,
        tcp_axes=axes_of(Rotation.from_rotvec([0.0, 0.0, np.pi / 2])), **HOLE, **SHORT_PEG,
    )  # fmt: skip
    assert answer("peg_insertion_side", seen)[0] == phase


# -- geometry ------------------------------------------------------------------------------------------------------


@settings(max_examples=50, deadline=None)
@given(rotvec=unit, angle=st.floats(0.0, 3.0))
def test_tool_rotation_from_axes_equals_that_from_the_rotation_vector(rotvec: np.ndarray, angle: float) -> None:
    turn = Rotation.from_rotvec(angle * rotvec / np.linalg.norm(rotvec))
    from_axes = see("peg_insertion_side", tcp_axes=axes_of(turn)).tool_rotation
    from_vector = see("push_cube", tcp_rotation=turn.as_rotvec()).tool_rotation
    assert (from_axes * from_vector.inv()).magnitude()[0] == pytest.approx(0.0, abs=1e-6)


@settings(max_examples=50, deadline=None)
@given(axis=unit, prefer=unit)
def test_alike_ends_gives_the_axis_back_whichever_way_it_points(axis: np.ndarray, prefer: np.ndarray) -> None:
    x, y, z = axis = axis / np.linalg.norm(axis)
    seen = see("poke_cube", peg_axis2=[x * x, y * y, z * z, x * y, x * z, y * z])
    found = alike_ends(seen, prefer)[0]
    assert abs(found @ axis) == pytest.approx(1.0, abs=1e-9)
    assert found @ prefer >= -1e-9


@settings(max_examples=50, deadline=None)
@given(axis=unit, wanted=unit)
def test_turn_with_takes_a_held_peg_where_it_should_point(axis: np.ndarray, wanted: np.ndarray) -> None:
    axis, wanted = axis / np.linalg.norm(axis), wanted / np.linalg.norm(wanted)
    seen = see("peg_insertion_side", tcp_axes=axes_of(Rotation.from_rotvec([0.3, -0.2, 1.0])))
    turn = turn_with(seen, axis[None], wanted[None]) * seen.tool_rotation.inv()
    if axis @ wanted > -0.999:  # opposite directions have no shortest way
        assert turn.apply(axis)[0] == pytest.approx(wanted, abs=1e-6)


@settings(max_examples=50, deadline=None)
@given(yaw=st.floats(-7, 7), near=st.floats(-7, 7), period=st.sampled_from([np.pi / 2, np.pi]))
def test_nearest_turn(yaw: float, near: float, period: float) -> None:
    found = float(nearest_turn(np.array([yaw]), np.array([near]), period)[0])
    assert abs(found - near) <= period / 2 + 1e-9
    assert (found - yaw) / period == pytest.approx(round((found - yaw) / period), abs=1e-9)
