import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from vlajs_perception.objects import ObjectModel, cube, peg
from vlajs_perception.symmetry import canonical_yaw, canonicalise, rotation_error_rad

CUBE, PEG = cube("cube", 0.02), peg("peg", 0.1, 0.02)
SHARP = peg("peg", 0.1, 0.02, ends_alike=False)
models = st.sampled_from([CUBE, PEG, SHARP])
rotations = st.tuples(*[st.floats(-1.5, 1.5)] * 3).map(Rotation.from_rotvec)


def quat(rotation: Rotation) -> np.ndarray:
    return rotation.as_quat(canonical=True, scalar_first=True)


def yaw_quat(degrees: float) -> np.ndarray:
    return quat(Rotation.from_euler("z", degrees, degrees=True))


@pytest.mark.parametrize(
    "degrees, period, near, expected",
    [
        (50, 90, 0, -40),  # 50 - 90
        (45, 90, 0, -45),  # the upper edge is not part of the branch, the lower one is
        (-45, 90, 0, -45),
        (-50, 90, 44, 40),  # -50 + 90 is 4 away from 44
        (100, 180, 0, -80),
        (100, 180, 90, 100),
        (200, 360, 0, -160),
        (10, 90, 1000, 1000),  # 10 + 11 * 90
    ],
)
def test_yaw_on_the_branch(degrees: float, period: float, near: float, expected: float) -> None:
    yaw = canonical_yaw(np.radians(degrees), np.radians(period), np.radians(near))
    assert np.degrees(yaw) == pytest.approx(expected, abs=1e-9)


def test_refuses_a_period_that_is_none() -> None:
    with pytest.raises(ValueError, match="period_rad is 0"):
        canonical_yaw(0.1, 0.0)


@pytest.mark.parametrize(
    "model, degrees, near, expected",
    [
        (CUBE, 50, 0, -40),
        (CUBE, 45, 0, -45),
        (CUBE, -50, 44, 40),
        (PEG, 100, 0, -80),
        (PEG, 100, 95, 100),
        (SHARP, 170, 0, 170),
    ],
)
def test_a_lying_object_takes_the_nearest_yaw(model: ObjectModel, degrees: float, near: float, expected: float) -> None:
    found = canonicalise(yaw_quat(degrees), model.symmetries_wxyz, yaw_quat(near))
    np.testing.assert_allclose(found, yaw_quat(expected), atol=1e-9)


def test_a_rolled_peg_lies_as_an_unrolled_one() -> None:
    # as ManiSkill lays it: a quarter roll about its axis, then 30 degrees of yaw
    rolled = Rotation.from_euler("z", 30, degrees=True) * Rotation.from_euler("x", 90, degrees=True)
    np.testing.assert_allclose(canonicalise(quat(rolled), PEG.symmetries_wxyz), yaw_quat(30), atol=1e-9)


@given(model=models, rotation=rotations, near=rotations, data=st.data())
def test_all_equal_orientations_become_one(
    model: ObjectModel, rotation: Rotation, near: Rotation, data: st.DataObject
) -> None:
    turn = Rotation.from_quat(data.draw(st.sampled_from(list(model.symmetries_wxyz))), scalar_first=True)
    one = canonicalise(quat(rotation), model.symmetries_wxyz, quat(near))
    other = canonicalise(quat(rotation * turn), model.symmetries_wxyz, quat(near))
    distances = [(Rotation.from_quat(q, scalar_first=True) * near.inv()).magnitude() for q in (one, other)]
    assert distances[0] == pytest.approx(distances[1], abs=1e-7)
    assert rotation_error_rad(one, other, model.symmetries_wxyz) < 1e-7
    assert rotation_error_rad(one, quat(rotation), model.symmetries_wxyz) < 1e-7


def test_error_up_to_symmetry() -> None:
    # 89 degrees of a cube are 1 degree short of a quarter turn
    assert np.degrees(rotation_error_rad(yaw_quat(89), yaw_quat(0), CUBE.symmetries_wxyz)) == pytest.approx(1.0)
    assert np.degrees(rotation_error_rad(yaw_quat(89), yaw_quat(0), PEG.symmetries_wxyz)) == pytest.approx(89.0)
    assert np.degrees(rotation_error_rad(yaw_quat(179), yaw_quat(0), SHARP.symmetries_wxyz)) == pytest.approx(179.0)
