from dataclasses import replace

import cv2
import numpy as np
import pytest

from tests.perception.calibration.synthetic import LENS
from vlajs_perception.calibration.errors import CalibrationError
from vlajs_perception.calibration.lens import NO_PIXEL, Lens
from vlajs_perception.camera import Camera

POINTS = np.random.default_rng(0).uniform([-0.3, -0.2, 0.5], [0.3, 0.2, 1.0], size=(20, 3))
BENT = LENS.with_vector(np.array([600.0, 610.0, 321.0, 236.0, -0.2, 0.1, 0.002, -0.003, 0.05]))


def test_projects_as_opencv_does() -> None:
    expected = cv2.projectPoints(POINTS, np.zeros(3), np.zeros(3), BENT.matrix, BENT.distortion)[0].reshape(-1, 2)
    np.testing.assert_allclose(BENT.project(POINTS), expected, atol=1e-9)


def test_derivatives_are_those_of_small_differences() -> None:
    _, by_point, by_lens = BENT.project_with_derivatives(POINTS)
    for axis in range(3):
        step = 1e-6 * np.eye(3)[axis]
        difference = (BENT.project(POINTS + step) - BENT.project(POINTS - step)) / 2e-6
        np.testing.assert_allclose(by_point[..., axis], difference, rtol=1e-5, atol=1e-4)
    for index in range(9):
        step = 1e-6 * np.eye(9)[index]
        more, less = BENT.with_vector(BENT.vector + step), BENT.with_vector(BENT.vector - step)
        difference = (more.project(POINTS) - less.project(POINTS)) / 2e-6
        np.testing.assert_allclose(by_lens[..., index], difference, rtol=1e-5, atol=1e-4)


def test_rectified_pixels_are_those_of_a_camera_without_distortion() -> None:
    camera = Camera(matrix=BENT.matrix, camera_in_base=np.eye(4))
    np.testing.assert_allclose(BENT.rectify(BENT.project(POINTS)), camera.project(POINTS), atol=1e-6)


def test_points_behind_have_no_pixel() -> None:
    pixels, by_point, by_lens = LENS.project_with_derivatives(np.array([[0.0, 0.0, -1.0]]))
    np.testing.assert_array_equal(pixels, NO_PIXEL)
    assert not by_point.any()
    assert not by_lens.any()


@pytest.mark.parametrize(
    "change, message",
    [
        ({"matrix": np.eye(2)}, r"must be \(3, 3\)"),
        ({"distortion": np.full(5, np.nan)}, "finite"),
        ({"distortion": np.zeros(8)}, r"must be \(5,\)"),
        ({"matrix": LENS.matrix.T}, "transposed"),
        ({"matrix": LENS.matrix * [[-1], [1], [1]]}, "fx, fy > 0"),
        ({"image_size": (0, 480)}, "image_size"),
    ],
)
def test_refuses_what_is_no_lens(change: dict, message: str) -> None:
    with pytest.raises(CalibrationError, match=message):
        replace(LENS, **change)


def test_the_vector_is_the_lens() -> None:
    again = LENS.with_vector(LENS.vector)
    assert isinstance(again, Lens)
    np.testing.assert_array_equal(again.matrix, LENS.matrix)
    np.testing.assert_array_equal(again.distortion, LENS.distortion)
