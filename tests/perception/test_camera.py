import cv2
import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from vlajs_perception.camera import Camera, CameraError

MATRIX = np.array([[500.0, 0.0, 320.0], [0.0, 400.0, 240.0], [0.0, 0.0, 1.0]])


def pose(rotation: np.ndarray, position: list[float]) -> np.ndarray:
    result = np.eye(4)
    result[:3, :3], result[:3, 3] = rotation, position
    return result


# Looks straight down from 1 m over (0.6, 0): image right is -y of the base, image down is -x, forward is -z.
LOOKING_DOWN = pose(np.array([[0.0, -1.0, 0.0], [-1.0, 0.0, 0.0], [0.0, 0.0, -1.0]]), [0.6, 0.0, 1.0])
DOWN = Camera(matrix=MATRIX, camera_in_base=LOOKING_DOWN)
# Looks along +x of the base, level, from 0.5 m: image right is -y, image down is -z.
LEVEL = Camera(
    matrix=MATRIX,
    camera_in_base=pose(np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]]), [0.0, 0.0, 0.5]),
)


def test_projects_a_point_under_a_camera_that_looks_down() -> None:
    # (0.7, 0.1, 0) is 0.1 in +x, 0.1 in +y and 1 m below: right -0.1, down -0.1, forward 1.
    # u = 320 + 500 * -0.1 = 270, v = 240 + 400 * -0.1 = 200.
    np.testing.assert_allclose(DOWN.project([0.7, 0.1, 0.0]), [270.0, 200.0], atol=1e-9)


def test_projects_a_point_before_a_level_camera() -> None:
    # (2, -0.4, 0.25): right 0.4, down 0.25, forward 2. u = 320 + 500 * 0.2 = 420, v = 240 + 400 * 0.125 = 290.
    np.testing.assert_allclose(LEVEL.project([2.0, -0.4, 0.25]), [420.0, 290.0], atol=1e-9)


def test_finds_the_point_on_a_raised_plane() -> None:
    # The pixel of (0.7, 0.1, 0) again, on z = 0.02: the ray has gone 0.98 of its way down, so 0.098 to each side.
    np.testing.assert_allclose(DOWN.on_plane([270.0, 200.0], 0.02), [0.698, 0.098, 0.02], atol=1e-9)


def test_ray_through_the_principal_point_is_the_optical_axis() -> None:
    np.testing.assert_allclose(LEVEL.ray([320.0, 240.0]), [1.0, 0.0, 0.0], atol=1e-12)
    # 45 degrees to the right: 500 px at a focal length of 500 px. Unit length: 1 / sqrt(2) forward and towards -y.
    np.testing.assert_allclose(LEVEL.ray([820.0, 240.0]), [2**-0.5, -(2**-0.5), 0.0], atol=1e-12)


def test_takes_batches() -> None:
    points = np.array([[[0.7, 0.1, 0.0], [0.6, 0.0, 0.0]]])
    pixels = DOWN.project(points)
    assert pixels.shape == (1, 2, 2)
    np.testing.assert_allclose(DOWN.on_plane(pixels, 0.0), points, atol=1e-12)


def test_refuses_a_pixel_on_the_horizon() -> None:
    with pytest.raises(CameraError, match=r"pixel \[400.0, 240.0\] looks along the plane"):
        LEVEL.on_plane([[320.0, 300.0], [400.0, 240.0]], 0.0)


def test_refuses_a_pixel_above_the_horizon() -> None:
    with pytest.raises(CameraError, match=r"pixel \[320.0, 100.0\] looks away from the plane"):
        LEVEL.on_plane([320.0, 100.0], 0.0)


def test_a_plane_above_the_camera_is_met_by_pixels_above_the_horizon() -> None:
    # 140 px over the centre at a focal length of 400 px rises 0.35 per metre: 0.7 m up after 2 m.
    np.testing.assert_allclose(LEVEL.on_plane([320.0, 100.0], 1.2), [2.0, 0.0, 1.2], atol=1e-9)


@pytest.mark.parametrize("point", [[-1.0, 0.0, 0.5], [0.0, 0.3, 0.2]])
def test_refuses_a_point_behind_or_beside_the_camera(point: list[float]) -> None:
    with pytest.raises(CameraError, match="behind the camera"):
        LEVEL.project([[1.0, 0.0, 0.0], point])


@pytest.mark.parametrize(
    "matrix, camera_in_base, message",
    [
        (np.diag([-1.0, 1.0, 1.0]), np.eye(4), "focal lengths"),
        (MATRIX.T, np.eye(4), "matrix must be"),
        (np.full((3, 3), np.nan), np.eye(4), "finite"),
        (MATRIX, np.eye(3), "camera_in_base must be"),
        (MATRIX, np.diag([1.0, 1.0, -1.0, 1.0]), "mirrored"),
        (MATRIX, np.diag([1.01, 1.0, 1.0, 1.0]), "orthonormal"),
        (MATRIX, np.diag([1.0, 1.0, 1.0, 2.0]), "last row"),
    ],
)
def test_refuses_a_camera_that_cannot_be(matrix: np.ndarray, camera_in_base: np.ndarray, message: str) -> None:
    with pytest.raises(CameraError, match=message):
        Camera(matrix=matrix, camera_in_base=camera_in_base)


@pytest.mark.parametrize("pixels", [[1.0, float("nan")], [1.0, 2.0, 3.0], 5.0])
def test_refuses_pixels_that_are_none(pixels: object) -> None:
    with pytest.raises(CameraError, match="pixels"):
        DOWN.ray(pixels)  # type: ignore[arg-type]


small = st.floats(-1.0, 1.0)
cameras = st.builds(
    lambda focal, turn, position: Camera(
        matrix=np.array([[focal, 0.0, 319.5], [0.0, 1.1 * focal, 239.5], [0.0, 0.0, 1.0]]),
        camera_in_base=pose(Rotation.from_rotvec(turn).as_matrix(), position),
    ),
    st.floats(100.0, 2000.0),
    st.tuples(*[st.floats(-3.0, 3.0)] * 3),
    st.tuples(small, small, st.floats(0.2, 2.0)),
)


@given(camera=cameras, in_camera=st.tuples(small, small, st.floats(0.1, 3.0)))
def test_projection_agrees_with_opencv(camera: Camera, in_camera: tuple[float, float, float]) -> None:
    in_base = (camera.camera_in_base @ [*in_camera, 1.0])[:3]
    base_in_camera = np.linalg.inv(camera.camera_in_base)
    rotvec = Rotation.from_matrix(base_in_camera[:3, :3]).as_rotvec()  # cv2.Rodrigues is off by 1e-8 near half turns
    expected, _ = cv2.projectPoints(in_base[None], rotvec, base_in_camera[:3, 3], camera.matrix, None)
    np.testing.assert_allclose(camera.project(in_base), expected[0, 0], atol=1e-5)


@given(camera=cameras, xy=st.tuples(small, small), height_m=st.floats(-0.1, 0.15))
def test_a_point_on_the_plane_comes_back_from_its_pixel(
    camera: Camera, xy: tuple[float, float], height_m: float
) -> None:
    point = np.array([*xy, height_m])
    depth_m = (np.linalg.inv(camera.camera_in_base) @ [*point, 1.0])[2]
    assume(depth_m > 0.05)
    np.testing.assert_allclose(camera.on_plane(camera.project(point), height_m), point, atol=1e-6)
