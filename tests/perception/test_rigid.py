import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vlajs_perception import rigid
from vlajs_perception.rigid import TransformError

HALF = 2**-0.5
vectors = st.tuples(*[st.floats(-1.7, 1.7)] * 3)


def test_a_quarter_about_z() -> None:
    # takes x to y and y to -x
    quarter = [[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]
    np.testing.assert_allclose(rigid.exp([0.0, 0.0, np.pi / 2]), quarter, atol=1e-12)
    np.testing.assert_allclose(rigid.quat_of(quarter), [HALF, 0.0, 0.0, HALF], atol=1e-12)
    np.testing.assert_allclose(rigid.matrix_of([HALF, 0.0, 0.0, HALF]), quarter, atol=1e-12)


def test_skew_is_the_cross_product() -> None:
    # (1, 2, 3) x (4, 5, 6) = (12 - 15, 12 - 6, 5 - 8)
    np.testing.assert_allclose(rigid.skew([1.0, 2.0, 3.0]) @ [4.0, 5.0, 6.0], [-3.0, 6.0, -3.0])


@given(rotvec=vectors, position=vectors)
def test_log_undoes_exp_and_inverse_undoes_transform(rotvec: tuple[float, ...], position: tuple[float, ...]) -> None:
    turn = rigid.exp(rotvec)
    np.testing.assert_allclose(rigid.log(turn), rotvec, atol=1e-6)
    motion = rigid.transform(position, turn)
    np.testing.assert_allclose(rigid.inverse(motion) @ motion, np.eye(4), atol=1e-12)


@pytest.mark.parametrize(
    "value, message",
    [
        (np.eye(3), r"must be \(4, 4\)"),
        (np.full((4, 4), np.nan), "finite"),
        (np.diag([1.0, 1.0, -1.0, 1.0]), "determinant -1"),
        (np.diag([1.01, 1.0, 1.0, 1.0]), "orthonormal"),
        (np.diag([1.0, 1.0, 1.0, 2.0]), "last row"),
    ],
)
def test_refuses_what_is_no_rigid_motion(value: np.ndarray, message: str) -> None:
    with pytest.raises(TransformError, match=f"tool_in_base .*{message}"):
        rigid.checked_transform(value, "tool_in_base")
