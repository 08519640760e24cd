import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import least_squares
from scipy.spatial.transform import Rotation

from tests.support.seen_objects import flat, looking, pixels_of
from vlajs_perception import rigid
from vlajs_perception.objects import cube
from vlajs_perception.refine import Observation, covariance_of, evaluate, huber_loss, project_or_inf, refine

CUBE = cube("cube", 0.02)
CAMERA = looking([1.1, 0.3, 0.6], [0.6, 0.0, 0.0])
POSITION_M = np.array([0.6, 0.05, 0.02])


def observed(pixels: np.ndarray, huber_px: float = 1e6) -> Observation:
    return Observation(points_m=CUBE.keypoints_m, pixels=pixels, confidence=np.ones(len(pixels)), huber_px=huber_px)


def test_the_loss_is_a_square_and_then_a_line() -> None:
    # up to 2 px: 1 / 2 * 1.5^2 = 1.125; beyond: 1 / 2 * 2^2 + 2 * (5 - 2) = 8, of confidence 0.5: 4
    assert huber_loss(np.array([1.5, 5.0]), np.array([1.0, 0.5]), 2.0) == pytest.approx(5.125)


def test_points_behind_the_camera_are_infinitely_far() -> None:
    points = np.array([POSITION_M, [2.0, 0.6, 1.2]])
    pixels = project_or_inf(CAMERA, points)
    np.testing.assert_allclose(pixels[0], CAMERA.project(POSITION_M))
    assert np.all(np.isinf(pixels[1]))
    behind = Observation(points_m=points, pixels=np.zeros((2, 2)), confidence=np.ones(2), huber_px=1.0)
    assert evaluate(CAMERA, behind, np.zeros(3), np.eye(3)) is None
    assert refine(CAMERA, behind, np.zeros(3), np.eye(3), range(6)) is None


@given(turn=st.tuples(*[st.floats(-1.5, 1.5)] * 3), column=st.integers(0, 5))
@settings(max_examples=40, deadline=None)
def test_the_jacobian_is_the_slope(turn: tuple[float, float, float], column: int) -> None:
    rotation = rigid.exp(turn)
    seen = observed(np.zeros((8, 2)))
    step = np.zeros(6)
    step[column] = 1e-6
    there = evaluate(CAMERA, seen, POSITION_M + step[:3], rigid.exp(step[3:]) @ rotation)
    here = evaluate(CAMERA, seen, POSITION_M - step[:3], rigid.exp(-step[3:]) @ rotation)
    middle = evaluate(CAMERA, seen, POSITION_M, rotation)
    assert there is not None
    assert here is not None
    assert middle is not None
    slope = (there.residuals - here.residuals) / 2e-6
    np.testing.assert_allclose(middle.jacobian[:, :, column], slope, rtol=1e-5, atol=1e-3)


def test_agrees_with_scipy_on_noisy_pixels() -> None:
    rng = np.random.default_rng(1)
    pixels = pixels_of(CUBE, CAMERA, POSITION_M, flat(0.3)) + rng.normal(0.0, 1.0, (8, 2))
    fitted = refine(CAMERA, observed(pixels), POSITION_M, flat(0.2), (0, 1, 5))
    assert fitted is not None

    def residuals(x: np.ndarray) -> np.ndarray:
        return (pixels_of(CUBE, CAMERA, np.array([x[0], x[1], 0.02]), flat(x[2])) - pixels).ravel()

    expected = least_squares(residuals, [0.6, 0.05, 0.2], xtol=1e-12, ftol=1e-12)
    np.testing.assert_allclose(fitted.position_m, [*expected.x[:2], 0.02], atol=1e-5)
    assert Rotation.from_matrix(fitted.rotation).as_rotvec()[2] == pytest.approx(expected.x[2], abs=1e-4)
    assert fitted.cost == pytest.approx(expected.cost, rel=1e-6)


def test_covariance_is_the_variance_over_the_information() -> None:
    pixels = pixels_of(CUBE, CAMERA, POSITION_M, flat(0.3))
    seen = observed(pixels)
    exact = refine(CAMERA, seen, POSITION_M, flat(0.3), (0, 1, 5))
    assert exact is not None
    jacobian = exact.jacobian[:, :, [0, 1, 5]].reshape(16, 3)
    expected = np.linalg.inv(jacobian.T @ jacobian)
    # no residuals: the floor of 0.5 px counts, 0.25 px^2
    floor = covariance_of(exact, seen, 0.5, (0, 1, 5))
    np.testing.assert_allclose(floor, 0.25 * expected, rtol=1e-3)
    # every residual 2 px long: 8 * 4 px^2 over 16 - 3 - 2 = 11 is 2.909 px^2, and the floor does not count
    off = type(exact)(**(vars(exact) | {"residuals": np.tile([2.0, 0.0], (8, 1))}))
    np.testing.assert_allclose(covariance_of(off, seen, 0.5, (0, 1, 5)), 32 / 11 * expected, rtol=1e-3)


def test_what_one_pixel_does_not_tell_is_unknown() -> None:
    seen = Observation(points_m=np.zeros((1, 3)), pixels=np.zeros((1, 2)), confidence=np.ones(1), huber_px=2.0)
    fitted = evaluate(CAMERA, seen, POSITION_M, np.eye(3))
    assert fitted is not None
    covariance = covariance_of(fitted, seen, 0.5, range(6))
    towards = (POSITION_M - CAMERA.position_in_base_m) / np.linalg.norm(POSITION_M - CAMERA.position_in_base_m)
    assert towards @ covariance[:3, :3] @ towards == pytest.approx(1.0, rel=1e-3)  # 1 m along the ray
    np.testing.assert_allclose(covariance[3:, 3:], np.pi**2 * np.eye(3), rtol=1e-6)
