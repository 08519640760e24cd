"""Geometry: order and sign of quaternions by hand, the rest against scipy and by properties."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.spatial.transform import Rotation

from vlajs import geometry
from vlajs.geometry import TOOL_DOWN_WXYZ, FloatArray, Pose

HALF = np.sqrt(0.5)
QUARTER_X = np.array([HALF, HALF, 0.0, 0.0])
QUARTER_Z = np.array([HALF, 0.0, 0.0, HALF])

vectors = arrays(np.float64, 3, elements=st.floats(-10, 10))


@st.composite
def quaternions(draw: Any) -> FloatArray:
    """Unit quaternions ``wxyz`` of either sign."""
    raw = draw(arrays(np.float64, 4, elements=st.floats(-1, 1)).filter(lambda q: np.linalg.norm(q) > 0.1))
    return raw / np.linalg.norm(raw)


def scipy_of(quat_wxyz: FloatArray) -> Rotation:
    w, x, y, z = quat_wxyz
    return Rotation.from_quat([x, y, z, w])


def test_orders() -> None:
    assert geometry.xyzw_from_wxyz([1, 2, 3, 4]).tolist() == [2, 3, 4, 1]
    assert geometry.wxyz_from_xyzw([2, 3, 4, 1]).tolist() == [1, 2, 3, 4]
    batch = np.arange(8.0).reshape(2, 4)
    assert geometry.xyzw_from_wxyz(batch).tolist() == [[1, 2, 3, 0], [5, 6, 7, 4]]
    assert np.array_equal(geometry.wxyz_from_xyzw(geometry.xyzw_from_wxyz(batch)), batch)


def test_tool_down_points_down() -> None:
    assert geometry.rotation(TOOL_DOWN_WXYZ).apply([0, 0, 1]) == pytest.approx([0, 0, -1])
    assert geometry.rotation(TOOL_DOWN_WXYZ).apply([1, 0, 0]) == pytest.approx([1, 0, 0])


def test_products_by_hand() -> None:
    # first a quarter turn about x (y -> z), then one about z (x -> y): y stays z, x becomes y
    turned = geometry.rotation(geometry.quat_multiply(QUARTER_Z, QUARTER_X))
    assert turned.apply([0, 1, 0]) == pytest.approx([0, 0, 1])
    assert turned.apply([1, 0, 0]) == pytest.approx([0, 1, 0])
    # (1 + k)(1 + i) / 2 = (1 + i + k + ki) / 2 with ki = j
    assert geometry.quat_multiply(QUARTER_Z, QUARTER_X) == pytest.approx([0.5, 0.5, 0.5, 0.5])


def test_rotation_vectors_by_hand() -> None:
    assert geometry.quat_from_rotvec([0, 0, np.pi / 2]) == pytest.approx(QUARTER_Z)
    assert geometry.rotvec_from_quat(QUARTER_X) == pytest.approx([np.pi / 2, 0, 0])
    # to = exp(v) * from: from a quarter turn about x to a quarter turn about z after it
    after = geometry.quat_multiply(QUARTER_Z, QUARTER_X)
    assert geometry.rotvec_between(QUARTER_X, after) == pytest.approx([0, 0, np.pi / 2])


def test_yaw_by_hand() -> None:
    assert geometry.yaw_of(QUARTER_Z) == pytest.approx(np.pi / 2)
    assert geometry.yaw_of([1.0, 0, 0, 0]) == pytest.approx(0)
    batch = np.stack([QUARTER_Z, -QUARTER_Z, [1.0, 0, 0, 0]])
    assert geometry.yaw_of(batch) == pytest.approx([np.pi / 2, np.pi / 2, 0])


def test_clamping_by_hand() -> None:
    assert geometry.clamp_norm([3.0, 4.0, 0.0], 1.0) == pytest.approx([0.6, 0.8, 0.0])
    assert geometry.clamp_norm([0.3, 0.4, 0.0], 1.0).tolist() == [0.3, 0.4, 0.0]
    assert geometry.clamp_norm([0.0, 0.0, 0.0], 1.0).tolist() == [0, 0, 0]
    batch = geometry.clamp_norm([[0.0, 2.0], [0.0, 0.5]], 1.0)
    assert batch == pytest.approx(np.array([[0, 1], [0, 0.5]]))


@given(quaternions(), quaternions())
def test_products_are_scipys(left: FloatArray, right: FloatArray) -> None:
    product = geometry.quat_multiply(left, right)
    expected = scipy_of(left) * scipy_of(right)
    assert (scipy_of(product) * expected.inv()).magnitude() == pytest.approx(0, abs=1e-7)
    assert product[0] >= 0
    assert np.linalg.norm(product) == pytest.approx(1)


@given(quaternions(), quaternions())
def test_the_rotation_between_two_leads_from_one_to_the_other(start: FloatArray, end: FloatArray) -> None:
    vector = geometry.rotvec_between(start, end)
    assert np.linalg.norm(vector) <= np.pi + 1e-9
    reached = scipy_of(geometry.quat_multiply(geometry.quat_from_rotvec(vector), start))
    assert (reached * scipy_of(end).inv()).magnitude() == pytest.approx(0, abs=1e-6)


@given(quaternions())
def test_the_sign_of_a_quaternion_means_nothing(quat: FloatArray) -> None:
    assert geometry.quat_of(geometry.rotation(quat)) == pytest.approx(geometry.quat_of(geometry.rotation(-quat)))
    assert geometry.yaw_of(quat) == pytest.approx(geometry.yaw_of(-quat))


@given(vectors, st.floats(1e-3, 100))
def test_clamping_shortens_and_never_turns(vector: FloatArray, max_norm: float) -> None:
    before = vector.copy()
    clamped = geometry.clamp_norm(vector, max_norm)
    assert np.array_equal(vector, before)
    assert np.linalg.norm(clamped) <= max_norm * (1 + 1e-12)
    assert np.cross(clamped, vector) == pytest.approx(np.zeros(3), abs=1e-6)
    if np.linalg.norm(vector) <= max_norm:
        assert np.array_equal(clamped, vector)


@pytest.mark.parametrize(
    ("position", "quat", "good"),
    [
        ([0, 0, 0], [1, 0, 0, 0], True),
        ([0, 0, 0], [1.0005, 0, 0, 0], True),  # norm off by 5e-4 < 1e-3
        ([0, 0, 0], [1.002, 0, 0, 0], False),
        ([0, 0, 0], [0, 0, 0, 0], False),
        ([0, np.nan, 0], [1, 0, 0, 0], False),
        ([0, 0, np.inf], [1, 0, 0, 0], False),
        ([0, 0, 0], [np.nan, 0, 0, 0], False),
    ],
)
def test_what_is_a_pose(position: list[float], quat: list[float], good: bool) -> None:
    pose = Pose(position_m=np.array(position, dtype=float), quat_wxyz=np.array(quat, dtype=float))
    assert pose.is_finite() is good
