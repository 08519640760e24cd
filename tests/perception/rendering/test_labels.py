"""Boxes, keypoints and what hides them, against hand-computed pictures."""

import numpy as np
import pytest

from vlajs_perception.camera import Camera
from vlajs_perception.rendering.dataset import label_line
from vlajs_perception.rendering.labels import HIDDEN, OUTSIDE, VISIBLE, Label, label_of
from vlajs_perception.rendering.scene import CUBE, GOAL, Placed

ABOVE = np.array([[0.0, -1, 0, 0.6], [-1, 0, 0, 0.0], [0, 0, -1, 1.02], [0, 0, 0, 1]])
"""1.02 m over (0.6, 0): the image's right is the base's -y, its down the base's -x."""

CAMERA = Camera(matrix=np.array([[500.0, 0, 160], [0, 500, 120], [0, 0, 1]]), camera_in_base=ABOVE)


def cube(x: float = 0.6, y: float = 0.0, half: float = 0.02) -> Placed:
    return Placed(
        kind=CUBE,
        half_size_m=np.full(3, half),
        position_m=np.array([x, y, half]),
        quat_wxyz=np.array([1.0, 0, 0, 0]),
        colours=np.ones((2, 4)),
    )


def test_equal_orientations_have_the_same_label() -> None:
    picture = shown(slice(105, 136), slice(145, 176))
    turned = cube()
    w, z = np.cos(0.15), -np.sin(0.15)
    turned.quat_wxyz[:] = [w, 0.0, 0.0, z]  # a yaw of -17 degrees
    label = label_of(turned, CAMERA, picture)
    assert label is not None
    # the front is at 180 degrees, nearest is 163; the second reference is at 225, nearest is 253: corner 0 (-, -, -) by
    # the second rule is corner 4 (+, -, -) by the first, a quarter turn on
    np.testing.assert_allclose(label.keypoints_px[8], label.keypoints_px[4], atol=1e-9)
    # a quarter turn about the object's x, then one about its z: (0.5, 0.5, 0.5, 0.5) on the right
    turned.quat_wxyz[:] = [0.5 * (w - z), 0.5 * (w - z), 0.5 * (w + z), 0.5 * (w + z)]
    again = label_of(turned, CAMERA, picture)
    assert again is not None
    np.testing.assert_allclose(again.keypoints_px, label.keypoints_px, atol=1e-9)
    np.testing.assert_array_equal(again.visibility, label.visibility)


def shown(rows: slice, columns: slice, kind: int = CUBE) -> np.ndarray:
    picture = np.full((240, 320), -1, np.int8)
    picture[rows, columns] = kind
    return picture


def test_a_cube_seen_from_straight_above() -> None:
    # its top, 0.98 m below the camera, spans 0.02 * 500 / 0.98 = 10.204 px each way from (160, 120)
    label = label_of(cube(), CAMERA, shown(slice(110, 131), slice(150, 171)))
    assert label is not None
    np.testing.assert_allclose(label.box_px, [149.796, 109.796, 170.204, 130.204], atol=1e-3)
    # z changes fastest: lower corners are behind the top, upper ones are seen
    assert label.visibility.tolist() == [HIDDEN, VISIBLE] * 8
    # straight down, the front is down in the picture, the base's -x: the corner (-, -, +) is 0.02 m to the back,
    # 10.204 px up, and 0.02 m along the front's -y, the base's +y: as far to the left
    np.testing.assert_allclose(label.keypoints_px[1], [149.796, 109.796], atol=1e-3)
    # and on the table, 1.02 m away: 0.02 * 500 / 1.02 = 9.804 px
    np.testing.assert_allclose(label.keypoints_px[0], [150.196, 110.196], atol=1e-3)
    assert label.visible_share == pytest.approx(1.0, abs=0.05)


def test_corners_behind_something_are_hidden_and_the_box_stays_whole() -> None:
    label = label_of(cube(), CAMERA, shown(slice(110, 131), slice(150, 160)))  # the right half is covered
    assert label is not None
    assert label.box_px[2] == pytest.approx(170.204, abs=1e-3)
    # the front's y is the base's -y, to the right: the upper ones on the left are numbers 1 and 5
    assert label.visibility[:8].tolist() == [HIDDEN, VISIBLE, HIDDEN, HIDDEN, HIDDEN, VISIBLE, HIDDEN, HIDDEN]
    assert (label.visibility[8:] == VISIBLE).sum() == 2
    assert label.visible_share == pytest.approx(0.5, abs=0.06)


def test_what_can_hardly_be_seen_is_not_labelled() -> None:
    assert label_of(cube(), CAMERA, shown(slice(110, 112), slice(150, 171))) is None  # 42 of 441 pixels
    assert label_of(cube(), CAMERA, shown(slice(0, 0), slice(0, 0))) is None
    assert label_of(cube(half=0.003), CAMERA, shown(slice(119, 122), slice(159, 162))) is None  # 9 pixels


def test_an_object_at_the_edge_is_cut_there() -> None:
    # y = 0.318 is 0.318 * 500 / 0.98 = 162 px to the left: the top spans -12 to 8 px
    label = label_of(cube(y=0.318), CAMERA, shown(slice(110, 131), slice(0, 9)))
    assert label is not None
    assert label.box_px[0] == 0.0
    # its lower edge is farther away and nearer the middle: 160 - 0.298 * 500 / 1.02
    assert label.box_px[2] == pytest.approx(13.9216, abs=1e-3)
    # counted from the front the base's +y, to the left, is -y
    assert set(label.visibility[[0, 1, 4, 5]]) == {OUTSIDE}
    assert label.visibility[[3, 7]].tolist() == [VISIBLE, VISIBLE]


def test_an_object_behind_the_camera_is_not_labelled() -> None:
    floating = cube()
    floating.position_m[2] = 1.1
    assert label_of(floating, CAMERA, shown(slice(0, 240), slice(0, 320))) is None


def test_a_goal_has_its_rim_as_box_and_its_middle_as_keypoint() -> None:
    goal = Placed(
        kind=GOAL,
        half_size_m=np.array([0.1, 0.1, 1e-3]),
        position_m=np.array([0.6, 0.0, 0.0]),
        quat_wxyz=np.array([1.0, 0, 0, 0]),
        colours=np.ones((2, 4)),
    )
    label = label_of(goal, CAMERA, shown(slice(71, 170), slice(111, 210), GOAL))
    assert label is not None
    # 0.1 * 500 / 1.02 = 49.02 px
    np.testing.assert_allclose(label.box_px, [110.98, 70.98, 209.02, 169.02], atol=1e-2)
    np.testing.assert_allclose(label.keypoints_px[0], [160, 120], atol=1e-9)
    np.testing.assert_allclose(label.keypoints_px[8], [160, 120], atol=1e-9)
    assert label.visibility.tolist() == ([VISIBLE] + [OUTSIDE] * 7) * 2


def test_a_line_of_a_label_file() -> None:
    keypoints = np.zeros((16, 2))
    keypoints[0] = (49.5, 24.5)
    label = Label(
        kind=1,
        box_px=np.array([9.5, 19.5, 29.5, 39.5]),
        keypoints_px=keypoints,
        visibility=np.array([VISIBLE] + [OUTSIDE] * 15),
        visible_share=1.0,
    )
    # 100 x 50 pixels: the box from 10 to 30 and 20 to 40, its middle at 20 / 100 and 30 / 50; the point at 50 and 25
    assert label_line(label, 100, 50) == "1 0.2 0.6 0.2 0.4 0.5 0.5 2" + " 0 0 0" * 15 + "\n"
