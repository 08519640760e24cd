import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from tests.support.seen_objects import flat, looking
from vlajs_perception.camera import Camera
from vlajs_perception.objects import box, cube
from vlajs_perception.outline import Outline, outline_of

CUBE = cube("cube", 0.02)
DOWN = np.array([[0.0, -1.0, 0.0, 0.6], [-1.0, 0.0, 0.0, 0.0], [0.0, 0.0, -1.0, 1.0], [0.0, 0.0, 0.0, 1.0]])
FROM_ABOVE = Camera(matrix=np.array([[500.0, 0, 320], [0, 500, 240], [0, 0, 1]]), camera_in_base=DOWN)


def outline(camera: Camera, position_m: list[float], rotation: np.ndarray, spacing_px: float = 2.0) -> Outline:
    found = outline_of(CUBE, camera, np.array(position_m), rotation, spacing_px)
    assert found is not None
    return found


def test_from_above_the_outline_is_the_top_square() -> None:
    # 1 m over the table, 0.96 m over the top of the cube: it reaches 500 * 0.02 / 0.96 = 10.417 px to each side
    seen = outline(FROM_ABOVE, [0.6, 0.0, 0.02], flat(0.0))
    off_px = np.abs(seen.pixels - [320, 240])
    np.testing.assert_allclose(off_px.max(axis=1), 10.417, atol=1e-3)
    assert seen.outer.all()  # the sides are hidden
    np.testing.assert_allclose(seen.points_m[:, 2], 0.02)
    # an edge is 20.8 px long, a point every 2 px: 10 points each
    assert len(seen.pixels) == 40
    # 6 % and half a share of the rest, 0.88 / 10 / 2, are left out at either end: 10.4 % of 20.83 px
    assert off_px.min(axis=1).max() == pytest.approx(10.417 - 0.104 * 20.833, abs=1e-3)


def test_from_a_corner_six_edges_end_the_object_and_three_lie_inside() -> None:
    seen = outline(looking([1.0, 0.4, 0.42], [0.6, 0.0, 0.02]), [0.6, 0.0, 0.02], flat(0.0))
    # of the three edges inside, each ends at the corner (+, +, +) that is nearest to the camera
    inside = seen.points_m[~seen.outer]
    assert np.all((inside > 0.02 - 1e-9).sum(axis=1) == 2)
    # none of the three edges at the farthest corner (-, -, -) is seen
    assert not np.any((seen.points_m < -0.02 + 1e-9).sum(axis=1) == 2)


@given(turn=st.tuples(*[st.floats(-1.7, 1.7)] * 3), x=st.floats(0.45, 0.75), y=st.floats(-0.2, 0.2))
def test_points_lie_where_the_camera_has_them_and_normals_across_their_edge(
    turn: tuple[float, float, float], x: float, y: float
) -> None:
    model = box("brick", [0.05, 0.03, 0.02])
    camera, rotation = looking([1.1, 0.3, 0.6], [0.6, 0.0, 0.0]), Rotation.from_rotvec(turn).as_matrix()
    position_m = np.array([x, y, 0.1])
    seen = outline_of(model, camera, position_m, rotation, 3.0)
    assert seen is not None
    np.testing.assert_allclose(camera.project(seen.points_m @ rotation.T + position_m), seen.pixels)
    np.testing.assert_allclose(np.linalg.norm(seen.normals, axis=1), 1.0)
    # every point lies on an edge: two of its three coordinates are those of a face
    at_face = np.isclose(np.abs(seen.points_m), model.half_size_m)
    assert np.all(at_face.sum(axis=1) >= 2)
    axis = np.argmin(at_face, axis=1)
    along = 1e-4 * np.eye(3)[axis]
    ahead = camera.project((seen.points_m + along) @ rotation.T + position_m) - seen.pixels
    np.testing.assert_allclose((ahead * seen.normals).sum(axis=1) / np.linalg.norm(ahead, axis=1), 0.0, atol=1e-3)


def test_a_step_of_the_pose_moves_points_along_their_normals_as_the_jacobian_says() -> None:
    camera, rotation = looking([1.1, 0.3, 0.6], [0.6, 0.0, 0.0]), Rotation.from_rotvec([0.4, -0.2, 0.7])
    position_m = np.array([0.58, 0.04, 0.1])
    seen = outline_of(CUBE, camera, position_m, rotation.as_matrix(), 3.0)
    assert seen is not None
    for number in range(6):
        step = np.zeros(6)
        step[number] = 1e-6
        turned = (Rotation.from_rotvec(step[3:]) * rotation).as_matrix()
        moved = camera.project(seen.points_m @ turned.T + position_m + step[:3]) - seen.pixels
        along = (moved * seen.normals).sum(axis=1) / 1e-6
        np.testing.assert_allclose(along, seen.jacobian[:, number], rtol=1e-3, atol=1e-2)


def test_an_object_that_reaches_behind_the_camera_has_no_outline() -> None:
    assert outline_of(CUBE, FROM_ABOVE, np.array([0.6, 0.0, 0.99]), flat(0.0), 2.0) is None
