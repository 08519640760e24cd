import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vlajs_perception.estimate import Estimate
from vlajs_perception.motion import Motion, at_time, begin, distance_squared, innovation, update
from vlajs_perception.rigid import exp, quat_of

S = 1_000_000_000
vectors = st.tuples(*[st.floats(-1.0, 1.0)] * 3)


def measured(position_m: object, turn: object = (0.0, 0.0, 0.0), std: float = 1e-3) -> Estimate:
    return Estimate(
        position_m=np.array(position_m), quat_wxyz=quat_of(exp(turn)), covariance=std**2 * np.eye(6), source="plane"
    )


def moving(velocity_m_s: object, spin_rad_s: object) -> Motion:
    return Motion(
        stamp_ns=0,
        position_m=np.array([0.6, 0.0, 0.02]),
        rotation=np.eye(3),
        velocity_m_s=np.array(velocity_m_s),
        angular_velocity_rad_s=np.array(spin_rad_s),
        covariance=1e-4 * np.eye(12),
    )


def test_goes_straight_on() -> None:
    # half a second at 0.2 m/s along x, -0.1 m/s along y, turning about z by pi / 2 a second
    there = at_time(moving([0.2, -0.1, 0.0], [0.0, 0.0, np.pi / 2]), S // 2, 1.0, 3.0)
    np.testing.assert_allclose(there.position_m, [0.7, -0.05, 0.02], atol=1e-12)
    np.testing.assert_allclose(there.rotation, exp([0.0, 0.0, np.pi / 4]), atol=1e-12)
    assert there.stamp_ns == S // 2


def test_uncertainty_grows() -> None:
    # Along x after 2 s: 1e-4 at first, 4 s^2 * 1e-4 m^2/s^2 of the velocity, 0.1^2 * 2^3 / 3 of its wandering.
    there = at_time(moving([0.0, 0.0, 0.0], [0.0, 0.0, 0.0]), 2 * S, 0.1, 0.2)
    assert there.covariance[0, 0] == pytest.approx(1e-4 + 4e-4 + 0.08 / 3)
    assert there.covariance[6, 6] == pytest.approx(1e-4 + 0.02)  # 0.1^2 * 2
    assert there.covariance[0, 6] == pytest.approx(2e-4 + 0.02)  # 2 s * 1e-4, 0.1^2 * 2^2 / 2
    assert there.covariance[3, 3] == pytest.approx(1e-4 + 4e-4 + 0.32 / 3)  # with 0.2^2


@given(velocity=vectors, spin=vectors, first=st.integers(1, 10**9), second=st.integers(1, 10**9))
@settings(max_examples=50, deadline=None)
def test_two_steps_are_one(velocity: tuple[float, ...], spin: tuple[float, ...], first: int, second: int) -> None:
    start = moving(velocity, spin)
    one = at_time(start, first + second, 0.5, 0.0)
    two = at_time(at_time(start, first, 0.5, 0.0), first + second, 0.5, 0.0)
    np.testing.assert_allclose(two.position_m, one.position_m, atol=1e-9)
    np.testing.assert_allclose(two.rotation, one.rotation, atol=1e-9)
    for block in (slice(0, 3), slice(6, 9)):
        np.testing.assert_allclose(two.covariance[block, block], one.covariance[block, block], rtol=1e-9)


def test_a_measurement_counts_by_its_certainty() -> None:
    # The track is 1e-4 m^2 uncertain, the measurement 4e-4 m^2: it counts 1 / 5. It is 10 mm off: 2 mm are taken over.
    after = update(moving([0.0, 0.0, 0.0], [0.0, 0.0, 0.0]), measured([0.61, 0.0, 0.02], std=0.02))
    np.testing.assert_allclose(after.position_m, [0.602, 0.0, 0.02], atol=1e-12)
    assert after.covariance[0, 0] == pytest.approx(0.8e-4)
    # 10 mm off where 5e-4 m^2 are expected: 1e-4 / 5e-4
    assert distance_squared(moving([0] * 3, [0] * 3), measured([0.61, 0.0, 0.02], std=0.02)) == pytest.approx(0.2)


def test_innovation_is_in_the_base_s_axes() -> None:
    here = begin(measured([0.6, 0.0, 0.02], [0.0, 0.0, np.pi / 2]), 0, 0.1, 0.1)
    turned = exp([0.1, 0.0, 0.0]) @ exp([0.0, 0.0, np.pi / 2])
    off = innovation(
        here,
        Estimate(position_m=[0.6, 0.1, 0.02], quat_wxyz=quat_of(turned), covariance=np.eye(6), source="free"),  # type: ignore[arg-type]
    )
    np.testing.assert_allclose(off, [0.0, 0.1, 0.0, 0.1, 0.0, 0.0], atol=1e-9)


@given(velocity=vectors, spin=vectors)
@settings(max_examples=15, deadline=None)
def test_constant_velocity_is_recovered(velocity: tuple[float, float, float], spin: tuple[float, float, float]) -> None:
    motion = begin(measured([0.6, 0.0, 0.02]), 0, 1.0, 2.0)
    for i in range(1, 21):
        t = i * 0.05
        now = measured(np.array([0.6, 0.0, 0.02]) + np.multiply(velocity, t), np.multiply(spin, t))
        motion = update(at_time(motion, i * S // 20, 1e-3, 1e-3), now)
    np.testing.assert_allclose(motion.velocity_m_s, velocity, atol=1e-3)
    np.testing.assert_allclose(motion.angular_velocity_rad_s, spin, atol=0.01)
    assert np.linalg.eigvalsh(motion.covariance)[0] > 0
