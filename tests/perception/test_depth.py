import numpy as np
import pytest

from vlajs_perception.camera import Camera
from vlajs_perception.depth import DepthSettings, with_depth
from vlajs_perception.estimate import Estimate, PoseError
from vlajs_perception.objects import cube

CUBE = cube("cube", 0.02)
# 1 m over (0.6, 0), looking down: the image's right is the base's -y, its down the base's -x
ABOVE = np.array([[0.0, -1, 0, 0.6], [-1, 0, 0, 0.0], [0, 0, -1, 1.0], [0, 0, 0, 1]])
CAMERA = Camera(matrix=np.array([[500.0, 0, 160], [0, 500, 120], [0, 0, 1]]), camera_in_base=ABOVE)
BOX_PX = [148.0, 108.0, 172.0, 132.0]


def seen(height_m: float, std_m: float = 0.01) -> Estimate:
    return Estimate(
        position_m=np.array([0.6, 0.0, height_m]),
        quat_wxyz=np.array([1.0, 0.0, 0.0, 0.0]),
        covariance=np.diag([1e-6, 1e-6, std_m**2, 1e-4, 1e-4, 1e-4]),
        source="free",
    )


def depth(metres: float) -> np.ndarray:
    return np.full((240, 320), metres, np.float32)


def test_the_distance_is_that_of_the_surface() -> None:
    # the pose has the top at 0.2 + 0.02 = 0.22, so 0.78 m away; measured are 0.8 m: 20 mm further down. The camera knew
    # the height to 10 mm, the depth to 3 mm: the gain is 100 / (100 + 9), the object moves down by 18.35 mm and is
    # known to sqrt(100 * 9 / 109) = 2.87 mm
    better = with_depth(seen(0.2), CUBE, CAMERA, BOX_PX, depth(0.8), settings=DepthSettings(std_m=3e-3))
    np.testing.assert_allclose(better.position_m, [0.6, 0.0, 0.2 - 0.02 * 100 / 109], atol=1e-6)
    assert np.sqrt(better.covariance[2, 2]) == pytest.approx(2.873e-3, rel=1e-3)
    assert better.source == "free"


def test_pixels_without_depth_and_a_minority_of_others_change_nothing() -> None:
    image = depth(0.8)
    image[::3] = 0.0
    image[1::3, ::2] = np.nan
    image[116:119, 156:158] = 0.5  # a wire before it
    better = with_depth(seen(0.2), CUBE, CAMERA, BOX_PX, image)
    assert better.position_m[2] == pytest.approx(0.2 - 0.02 * 100 / 109, abs=1e-6)


def test_what_is_not_the_objects_surface_is_refused() -> None:
    with pytest.raises(PoseError, match=r"-0\.280 m further .*something else is before or behind"):
        with_depth(seen(0.2), CUBE, CAMERA, BOX_PX, depth(0.5))
    with pytest.raises(PoseError, match="0 pixels in the middle of cube have a depth, 12 are needed"):
        with_depth(seen(0.2), CUBE, CAMERA, BOX_PX, depth(0.0))
    with pytest.raises(PoseError, match="0 pixels"):
        with_depth(seen(0.2), CUBE, CAMERA, [400.0, 300.0, 420.0, 320.0], depth(0.8))  # outside the image
    with pytest.raises(ValueError, match=r"middle is 1\.5"):
        DepthSettings(middle=1.5)
