"""Batched rotations against scipy, and the products and matrices against ManiSkill's."""

import math

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mani_skill.utils.geometry import rotation_conversions as maniskill
from scipy.spatial.transform import Rotation

from vlajs_training import rotations

vectors = st.lists(st.floats(-1.8, 1.8), min_size=3, max_size=3)  # norms up to 3.1: below a half turn
quaternions = vectors.map(lambda v: Rotation.from_rotvec(v).as_quat(scalar_first=True))


def tensor(values: object) -> torch.Tensor:
    return torch.as_tensor(np.asarray(values), dtype=torch.float64)[None]


def test_a_quarter_turn_about_z() -> None:
    half = math.sqrt(0.5)
    turn = rotations.quat_from_rotvec(torch.tensor([[0.0, 0.0, math.pi / 2]]))
    torch.testing.assert_close(turn, torch.tensor([[half, 0.0, 0.0, half]]))
    # x goes to y, y to -x
    expected = torch.tensor([[[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]])
    torch.testing.assert_close(rotations.quaternion_to_matrix(turn), expected)
    # twice a quarter is a half
    torch.testing.assert_close(
        rotations.quaternion_multiply(turn, turn), torch.tensor([[0.0, 0.0, 0.0, 1.0]]), atol=1e-6, rtol=0.0
    )


def test_no_rotation_has_no_vector_and_no_nan() -> None:
    zero = torch.zeros(1, 3)
    quat = rotations.quat_from_rotvec(zero)
    assert quat.tolist() == [[1.0, 0.0, 0.0, 0.0]]
    assert rotations.rotvec_from_quat(quat).tolist() == [[0.0, 0.0, 0.0]]


@settings(max_examples=60, deadline=None)
@given(vectors)
def test_vectors_and_quaternions_as_scipy(vector: list[float]) -> None:
    quat = rotations.quat_from_rotvec(tensor(vector))
    expected = Rotation.from_rotvec(vector)
    np.testing.assert_allclose(quat[0], expected.as_quat(canonical=False, scalar_first=True), atol=1e-12)
    np.testing.assert_allclose(rotations.rotvec_from_quat(-quat)[0], vector, atol=1e-9)
    np.testing.assert_allclose(rotations.quaternion_to_matrix(quat)[0], expected.as_matrix(), atol=1e-12)


@settings(max_examples=60, deadline=None)
@given(quaternions, quaternions)
def test_products_as_maniskill_and_differences_as_scipy(first: np.ndarray, second: np.ndarray) -> None:
    a, b = tensor(first), tensor(second)
    product, theirs = rotations.quaternion_multiply(a, b), maniskill.quaternion_multiply(a, b)
    assert product[0, 0] >= 0
    np.testing.assert_allclose((product * theirs).sum().abs(), 1.0, atol=1e-12)
    between = rotations.rotvec_between(a, b)[0].numpy()
    turned = Rotation.from_rotvec(between) * Rotation.from_quat(first, scalar_first=True)
    assert (turned * Rotation.from_quat(second, scalar_first=True).inv()).magnitude() < 1e-7


@settings(max_examples=60, deadline=None)
@given(quaternions, st.lists(st.floats(-0.1, 0.1), min_size=3, max_size=3))
def test_small_differences_of_matrices(start: np.ndarray, vector: list[float]) -> None:
    first = Rotation.from_quat(start, scalar_first=True)
    second = Rotation.from_rotvec(vector) * first
    small = rotations.small_rotvec_between(tensor(first.as_matrix()), tensor(second.as_matrix()))[0].numpy()
    angle = np.linalg.norm(vector)
    np.testing.assert_allclose(small, np.array(vector) * np.sinc(angle / np.pi), atol=1e-12)
