"""Every observation term against values worked out by hand."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vlajs.geometry import TOOL_DOWN_WXYZ, FloatArray, Pose, quat_from_rotvec, quat_multiply
from vlajs.policy.observations import TERMS, Inputs, assemble, required_objects

HALF = np.sqrt(0.5)
# the tool, turned by +90 degrees about the base's z after pointing down: (HALF, 0, 0, HALF) * (0, 1, 0, 0)
# = (0, HALF, HALF, 0)
TURNED = np.array([0.0, HALF, HALF, 0.0])
INPUTS = Inputs(
    tcp=Pose(position_m=np.array([0.5, 0.1, 0.2]), quat_wxyz=TOOL_DOWN_WXYZ),
    target=Pose(position_m=np.array([0.51, 0.1, 0.17]), quat_wxyz=TURNED),
    gripper_width_m=0.04,
    gripper_command_m=0.08,
    # 30 degrees about z: (cos 15, 0, 0, sin 15)
    objects={
        "cube": Pose(
            position_m=np.array([0.6, -0.1, 0.02]),
            quat_wxyz=np.array([np.cos(np.pi / 12), 0, 0, np.sin(np.pi / 12)]),
        ),
        # 60 degrees about z: its x axis is (1/2, sqrt(3)/2, 0)
        "peg": Pose(
            position_m=np.array([0.5, -0.2, 0.03]),
            quat_wxyz=np.array([np.cos(np.pi / 6), 0, 0, np.sin(np.pi / 6)]),
        ),
        # 90 degrees about z: its x axis is the base's y
        "hole": Pose(position_m=np.array([0.6, 0.3, 0.1]), quat_wxyz=np.array([HALF, 0, 0, HALF])),
    },
    goal_m=np.array([0.8, -0.1, 0.1]),
    half_sizes_m={"peg": np.array([0.1, 0.02, 0.02]), "hole": np.array([0.1, 0.023, 0.023])},
)

EXPECTED = {
    "tcp_position": [0.5, 0.1, 0.2],
    "tcp_rotation": [0.0, 0.0, 0.0],
    # target - tool: 0.51 - 0.5, 0.1 - 0.1, 0.17 - 0.2
    "target_lead_position": [0.01, 0.0, -0.03],
    # a quarter turn about the base's z
    "target_lead_rotation": [0.0, 0.0, np.pi / 2],
    "gripper_width": [0.04],
    "gripper_command": [0.08],
    "cube_position": [0.6, -0.1, 0.02],
    # four times 30 degrees is 120 degrees: cos -1/2, sin sqrt(3)/2
    "cube_yaw4": [-0.5, np.sqrt(3) / 2],
    # 0.6 - 0.5, -0.1 - 0.1, 0.02 - 0.2
    "cube_from_tcp": [0.1, -0.2, -0.18],
    "goal_position": [0.8, -0.1, 0.1],
    # 0.8 - 0.6, -0.1 + 0.1, 0.1 - 0.02
    "goal_from_cube": [0.2, 0.0, 0.08],
    # half a turn about x: the fingers' y axis becomes -y, the tool's z axis -z
    "tcp_axes": [0.0, -1.0, 0.0, 0.0, 0.0, -1.0],
    "peg_position": [0.5, -0.2, 0.03],
    "peg_axis": [0.5, np.sqrt(3) / 2, 0.0],
    # 1/2 * 1/2, sqrt(3)/2 * sqrt(3)/2, 0, 1/2 * sqrt(3)/2, 0, 0
    "peg_axis2": [0.25, 0.75, 0.0, np.sqrt(3) / 4, 0.0, 0.0],
    "peg_half_size": [0.1, 0.02],
    # 0.5 - 0.5, -0.2 - 0.1, 0.03 - 0.2
    "peg_from_tcp": [0.0, -0.3, -0.17],
    # 0.6 - 0.5, -0.1 + 0.2, 0.02 - 0.03
    "cube_from_peg": [0.1, 0.1, -0.01],
    "hole_position": [0.6, 0.3, 0.1],
    "hole_axis": [0.0, 1.0, 0.0],
    "hole_radius": [0.023],
    # the head is 0.1 m along the axis: (0.55, -0.2 + 0.05 sqrt(3), 0.03)
    "hole_from_peg_head": [0.05, 0.5 - 0.05 * np.sqrt(3), 0.07],
}


def test_every_term_is_tested() -> None:
    assert set(EXPECTED) == set(TERMS)


@pytest.mark.parametrize("name", TERMS)
def test_a_term_by_hand(name: str) -> None:
    values = TERMS[name].compute(INPUTS)
    assert values.shape == (TERMS[name].size,)
    assert values == pytest.approx(EXPECTED[name], abs=1e-12)


def test_the_tools_rotation_is_from_tool_down_in_base_axes() -> None:
    # tipped by 0.3 rad about the base's x: exp(0.3 x) * tool-down
    tipped = quat_multiply(quat_from_rotvec([0.3, 0.0, 0.0]), TOOL_DOWN_WXYZ)
    inputs = replace(INPUTS, tcp=replace(INPUTS.tcp, quat_wxyz=tipped))
    assert TERMS["tcp_rotation"].compute(inputs) == pytest.approx([0.3, 0.0, 0.0])


@pytest.mark.parametrize("name", TERMS)
def test_the_arbitrary_sign_of_quaternions_is_not_seen(name: str) -> None:
    def flipped(pose: Pose) -> Pose:
        return replace(pose, quat_wxyz=-pose.quat_wxyz)

    inputs = replace(
        INPUTS,
        tcp=flipped(INPUTS.tcp),
        target=flipped(INPUTS.target),
        objects={name: flipped(pose) for name, pose in INPUTS.objects.items()},
    )
    assert TERMS[name].compute(inputs) == pytest.approx(TERMS[name].compute(INPUTS), abs=1e-12)


@given(st.floats(-np.pi, np.pi), st.integers(0, 3))
def test_a_cube_looks_the_same_from_its_four_sides(yaw_rad: float, quarter_turns: int) -> None:
    def yaw4(angle_rad: float) -> FloatArray:
        cube = Pose(position_m=np.zeros(3), quat_wxyz=quat_from_rotvec([0.0, 0.0, angle_rad]))
        return TERMS["cube_yaw4"].compute(replace(INPUTS, objects={"cube": cube}))

    assert yaw4(yaw_rad) == pytest.approx(yaw4(yaw_rad + quarter_turns * np.pi / 2), abs=1e-9)


@given(st.floats(-np.pi, np.pi), st.floats(-1.5, 1.5), st.floats(-np.pi, np.pi))
def test_a_peg_looks_the_same_end_for_end_and_however_it_is_rolled(
    yaw_rad: float, up_rad: float, roll_rad: float
) -> None:
    def axis2(*turns: list[float]) -> FloatArray:
        quat = np.array([1.0, 0.0, 0.0, 0.0])
        for turn in turns:
            quat = quat_multiply(quat_from_rotvec(turn), quat)
        return TERMS["peg_axis2"].compute(
            replace(INPUTS, objects={"peg": Pose(position_m=np.zeros(3), quat_wxyz=quat)})
        )

    pose = ([0.0, up_rad, 0.0], [0.0, 0.0, yaw_rad])
    seen = axis2(*pose)
    assert axis2([roll_rad, 0.0, 0.0], *pose) == pytest.approx(seen, abs=1e-9)
    assert axis2([0.0, 0.0, np.pi], *pose) == pytest.approx(seen, abs=1e-9)
    # xx + yy + zz is the axis' length squared
    assert seen[:3].sum() == pytest.approx(1.0)


def test_a_size_that_nobody_measured_is_an_error_that_names_it() -> None:
    with pytest.raises(KeyError, match=r"the size of 'peg' is not known.*measure it before the trial"):
        assemble(["peg_half_size"], replace(INPUTS, half_sizes_m={}))


def test_terms_are_joined_in_the_contracts_order() -> None:
    joined = assemble(["gripper_width", "goal_position", "tcp_position"], INPUTS)
    assert joined == pytest.approx([0.04, 0.8, -0.1, 0.1, 0.5, 0.1, 0.2])


def test_a_number_that_is_not_finite_is_refused_with_its_term() -> None:
    broken = replace(INPUTS, goal_m=np.array([0.8, np.nan, 0.1]))
    assert assemble(["tcp_position"], broken).shape == (3,)
    with pytest.raises(ValueError, match=r"observation term 'goal_from_cube' is not finite: .*check its source"):
        assemble(["tcp_position", "goal_from_cube"], broken)


def test_a_missing_object_is_an_error() -> None:
    with pytest.raises(KeyError, match="cube"):
        assemble(["cube_position"], replace(INPUTS, objects={}))


def test_the_objects_terms_need() -> None:
    assert required_objects(["tcp_position", "goal_position"]) == set()
    assert required_objects(["goal_from_cube", "cube_from_tcp", "gripper_width"]) == {"cube"}
    assert required_objects(["hole_from_peg_head", "cube_from_peg"]) == {"cube", "peg", "hole"}


@pytest.mark.parametrize("name", TERMS)
def test_a_term_says_whose_size_it_needs(name: str) -> None:
    """On a robot, which knows no sizes, this is what refuses a policy before it moves."""
    sized = TERMS[name].sized
    others = {other: size for other, size in INPUTS.half_sizes_m.items() if other != sized}
    if sized is None:
        assemble([name], replace(INPUTS, half_sizes_m={}))
    else:
        with pytest.raises(KeyError, match=f"the size of '{sized}' is not known"):
            assemble([name], replace(INPUTS, half_sizes_m=others))
        assemble([name], replace(INPUTS, half_sizes_m={sized: INPUTS.half_sizes_m[sized]}))
