import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.seen_objects import flat, looking, pixels_of
from vlajs_perception.box_fit import fit_box
from vlajs_perception.camera import Camera
from vlajs_perception.estimate import PoseError
from vlajs_perception.fit_settings import FitSettings, Table
from vlajs_perception.objects import ObjectModel, cube, peg

CUBE, PEG = cube("cube", 0.02), peg("peg", 0.12, 0.025)
CAMERA = looking([1.1, 0.3, 0.6], [0.6, 0.0, 0.0])


def box_of(model: ObjectModel, position_m: np.ndarray, yaw_rad: float, camera: Camera = CAMERA) -> np.ndarray:
    pixels = pixels_of(model, camera, position_m, flat(yaw_rad))
    return np.concatenate([pixels.min(axis=0), pixels.max(axis=0)])


def test_straight_below_the_camera_the_middle_is_the_middle() -> None:
    # Looks down from 1 m over (0.6, 0), 500 px: the top of the cube, 0.96 m away, reaches 500 * 0.02 / 0.96 =
    # 10.4 px to each side. Its centre is that of the image, and 0.98 m below it lies the cube's.
    down = np.array([[0.0, -1.0, 0.0, 0.6], [-1.0, 0.0, 0.0, 0.0], [0.0, 0.0, -1.0, 1.0], [0.0, 0.0, 0.0, 1.0]])
    camera = Camera(matrix=np.array([[500.0, 0, 320], [0, 500, 240], [0, 0, 1]]), camera_in_base=down)
    table = Table(height_std_m=1e-9, tilt_std_rad=1e-9)
    estimate = fit_box(CUBE, camera, [309.6, 229.6, 330.4, 250.4], table)
    np.testing.assert_allclose(estimate.position_m, [0.6, 0.0, 0.02], atol=1e-9)
    # the box stays centred at every yaw: what is left are 1 px and 3 % of 20.8 px, together 1.179 px of 0.98 m / 500 px
    np.testing.assert_allclose(np.sqrt(np.diag(estimate.covariance)[:2]), 2.310e-3, rtol=1e-3)
    # told to be ten times as certain of its size: hypot(1, 0.0624) = 1.002 px
    surer_settings = FitSettings(box_std=0.003)
    surer = fit_box(CUBE, camera, [309.6, 229.6, 330.4, 250.4], table, settings=surer_settings)
    np.testing.assert_allclose(np.sqrt(np.diag(surer.covariance)[:2]), 1.964e-3, rtol=1e-3)
    assert estimate.covariance[5, 5] == pytest.approx(np.pi**2)
    assert estimate.source == "box"


@given(model=st.sampled_from([CUBE, PEG]), yaw=st.floats(-4.0, 4.0), x=st.floats(0.45, 0.75), y=st.floats(-0.2, 0.2))
@settings(max_examples=60, deadline=None)
def test_the_error_is_within_three_deviations(model: ObjectModel, yaw: float, x: float, y: float) -> None:
    position_m = np.array([x, y, model.half_size_m[2]])
    estimate = fit_box(model, CAMERA, box_of(model, position_m, yaw), Table())
    error = (estimate.position_m - position_m)[:2]
    assert error @ np.linalg.solve(estimate.covariance[:2, :2], error) < 9.0
    if model is CUBE:
        assert np.linalg.norm(error) < 1.5e-3


def test_the_orientation_is_the_track_s() -> None:
    near_wxyz = np.array([np.cos(0.2), 0.0, 0.0, np.sin(0.2)])
    box_px = box_of(CUBE, np.array([0.6, 0.0, 0.02]), 0.0)
    np.testing.assert_allclose(fit_box(CUBE, CAMERA, box_px, Table(), near_wxyz=near_wxyz).quat_wxyz, near_wxyz)


@pytest.mark.parametrize("side", [0, 1, 2, 3])
def test_refuses_a_box_of_which_half_is_hidden(side: int) -> None:
    box_px = box_of(CUBE, np.array([0.6, 0.0, 0.02]), 0.3)
    box_px[side] = (box_px[side] + box_px[(side + 2) % 4]) / 2
    with pytest.raises(PoseError, match="half hidden"):
        fit_box(CUBE, CAMERA, box_px, Table())


def test_refuses_another_size() -> None:
    box_px = box_of(cube("big", 0.03), np.array([0.6, 0.0, 0.03]), 0.3)
    with pytest.raises(PoseError, match="another object"):
        fit_box(CUBE, CAMERA, box_px, Table())
    fit_box(CUBE, CAMERA, box_px, Table(), settings=FitSettings(box_tolerance=0.6))


@pytest.mark.parametrize("box_px", [[0.0, 0.0, 1.0], [0.0, 0.0, np.nan, 1.0], [10.0, 0.0, 5.0, 10.0], [0, 0, 5, 0]])
def test_refuses_a_box_that_is_none(box_px: list[float]) -> None:
    with pytest.raises(PoseError, match="left, top, right and bottom"):
        fit_box(CUBE, CAMERA, box_px, Table())
