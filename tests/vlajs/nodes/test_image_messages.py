"""Images, cameras and the twin's state as messages: back and forth, and refused when they are none."""

import array
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from sensor_msgs.msg import CameraInfo, Image

from vlajs.geometry import Pose, quat_from_rotvec
from vlajs.nodes.image_messages import (
    MessageRefusedError,
    bgr_from,
    camera_info_message,
    depth_from,
    facts_from,
    image_message,
    lens_from,
    rgb_from,
)
from vlajs.nodes.messages import stamp_ns_of
from vlajs.nodes.twin_messages import bodies_message, joints_message, seen_from
from vlajs.twin.seen import SeenState

RGB = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)
MATRIX = np.array([[600.0, 0.0, 319.5], [0.0, 600.0, 239.5], [0.0, 0.0, 1.0]])


def changed(message: Any, **values: Any) -> Any:
    for name, value in values.items():
        setattr(message, name, value)
    return message


def test_an_image_comes_back_in_the_order_of_opencv() -> None:
    message = image_message(RGB, 3_000_000_017, "camera_optical_frame")
    assert stamp_ns_of(message.header) == 3_000_000_017
    np.testing.assert_array_equal(bgr_from(message), RGB[..., ::-1])


def test_rows_may_be_padded_and_images_grey() -> None:
    grey = RGB[..., 0]
    padded = np.hstack([grey, np.zeros((4, 2), np.uint8)])
    message = Image(height=4, width=6, encoding="mono8", step=8, data=array.array("B", padded.tobytes()))
    np.testing.assert_array_equal(bgr_from(message), np.repeat(grey[..., None], 3, axis=2))


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"encoding": "16UC1"}, "the image's encoding is '16UC1', readable are rgb8, bgr8, mono8"),
        ({"data": array.array("B", [1, 2])}, "the image has 2 bytes, 18 x 4 are needed"),
        ({"step": 5}, "with 5 bytes a row, 18 are needed"),
        ({"width": 0}, "the image is 0 x 4 px"),
    ],
)
def test_a_wrong_image_is_refused(values: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        bgr_from(changed(image_message(RGB, 1, "camera"), **values))


@pytest.mark.parametrize("encoding", ["rgb8", "bgr8"])
def test_a_picture_of_either_order_is_read_as_rgb(encoding: str) -> None:
    taken = RGB if encoding == "rgb8" else RGB[..., ::-1]
    message = changed(image_message(np.ascontiguousarray(taken), 1, "camera"), encoding=encoding)
    np.testing.assert_array_equal(rgb_from(message, (6, 4)), RGB)


@pytest.mark.parametrize(
    ("values", "kind", "reason"),
    [
        ({"encoding": "mono8"}, "encoding", "the image's encoding is 'mono8', readable are rgb8, bgr8"),
        ({"width": 5}, "size", "the image has 5 x 4 px, camera_info says 6 x 4 px"),
        ({"data": array.array("B", [1, 2])}, "size", "the image has 2 bytes, 18 x 4 are needed"),
    ],
)
def test_a_picture_that_does_not_fit_its_camera_is_refused(values: dict[str, Any], kind: str, reason: str) -> None:
    with pytest.raises(MessageRefusedError, match=reason) as refused:
        rgb_from(changed(image_message(RGB, 1, "camera"), **values), (6, 4))
    assert refused.value.kind == kind


def depth_message(numbers: np.ndarray, encoding: str, **values: Any) -> Image:
    """Of shape (2, 3), its rows padded by two bytes."""
    rows = numbers.reshape(2, 3).view(np.uint8)
    padded = np.hstack([rows, np.full((2, 2), 255, np.uint8)])
    return Image(
        height=2, width=3, encoding=encoding, step=padded.shape[1], data=array.array("B", padded.tobytes()), **values
    )


@pytest.mark.parametrize("order", ["<", ">"])
def test_depth_is_metres_whatever_the_camera_counts_in(order: str) -> None:
    big = int(order == ">")
    mm = np.array([0, 1, 1500, 65535, 2, 3], dtype=f"{order}u2")
    expected_m = [[0.0, 0.001, 1.5], [65.535, 0.002, 0.003]]
    np.testing.assert_allclose(depth_from(depth_message(mm, "16UC1", is_bigendian=big), (3, 2)), expected_m, rtol=1e-6)
    metres = np.array([0.5, np.nan, 1.5, np.inf, 2.0, 0.0], dtype=f"{order}f4")
    found_m = depth_from(depth_message(metres, "32FC1", is_bigendian=big), (3, 2))
    np.testing.assert_array_equal(found_m, [[0.5, 0.0, 1.5], [0.0, 2.0, 0.0]])  # 0 where there is none
    assert found_m.dtype == np.float32


def test_depth_that_does_not_fit_the_picture_is_refused() -> None:
    message = depth_message(np.zeros(6, dtype="<u2"), "16UC1")
    with pytest.raises(MessageRefusedError, match="the image has 3 x 2 px, camera_info says 4 x 2 px"):
        depth_from(message, (4, 2))
    with pytest.raises(MessageRefusedError, match="the depth image's encoding is 'mono16'") as refused:
        depth_from(changed(message, encoding="mono16"), (3, 2))
    assert refused.value.kind == "depth encoding"


def test_a_camera_comes_back() -> None:
    lens = lens_from(camera_info_message(MATRIX, (640, 480), 5, "camera"))
    np.testing.assert_array_equal(lens.matrix, MATRIX)
    assert not lens.distortion.any()
    assert lens.image_size == (640, 480)


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"k": [0.0] * 9}, "has no intrinsics"),
        ({"k": [float("nan")] * 9}, "finite"),
        ({"distortion_model": "equidistant"}, "'equidistant'"),
        ({"d": [0.0] * 8}, "8 numbers"),
        ({"binning_x": 2}, "binning"),
    ],
)
def test_a_wrong_camera_is_refused(values: dict[str, Any], reason: str) -> None:
    message: CameraInfo = changed(camera_info_message(MATRIX, (640, 480), 5, "camera"), **values)
    with pytest.raises(ValueError, match=reason):
        lens_from(message)


def test_what_a_camera_says_of_itself() -> None:
    facts = facts_from(camera_info_message(MATRIX, (640, 480), 5, "camera"))
    assert facts.size_px == (640, 480)
    assert (facts.calibrated, facts.distorted) == (True, False)
    np.testing.assert_array_equal(facts.matrix, MATRIX)
    with pytest.raises(MessageRefusedError, match="camera_info says 0 x 480 px: its driver is not set up"):
        facts_from(CameraInfo(width=0, height=480))


def seen() -> SeenState:
    cube = Pose(position_m=np.array([0.6, 0.1, 0.02]), quat_wxyz=quat_from_rotvec([0.1, 0.2, 0.3]))
    return SeenState(
        stamp_ns=1_016_000_000, joints_rad=np.arange(7) / 7, fingers_m=np.array([0.01, 0.02]), bodies={"cube": cube}
    )


def test_a_state_comes_back() -> None:
    state = seen()
    again = seen_from(joints_message(state), bodies_message(state))
    assert again.stamp_ns == state.stamp_ns
    np.testing.assert_array_equal(again.joints_rad, state.joints_rad)
    np.testing.assert_array_equal(again.fingers_m, state.fingers_m)
    np.testing.assert_array_equal(again.bodies["cube"].position_m, state.bodies["cube"].position_m)
    np.testing.assert_allclose(again.bodies["cube"].quat_wxyz, state.bodies["cube"].quat_wxyz)


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda joints, bodies: setattr(joints.header.stamp, "sec", 7), "match them by stamp"),
        (lambda joints, bodies: setattr(bodies.header, "frame_id", "world"), "is in frame 'world'"),
        (lambda joints, bodies: setattr(joints, "name", ["a"]), r"has joints \['a'\]"),
        (lambda joints, bodies: setattr(joints, "position", [0.0]), "1 positions"),
        (lambda joints, bodies: setattr(bodies, "transforms", []), "1 names and 0 transforms"),
        (lambda joints, bodies: setattr(bodies.transforms[0].translation, "x", float("inf")), "the pose of 'cube'"),
    ],
)
def test_messages_of_no_state_are_refused(spoil: Callable[[Any, Any], None], reason: str) -> None:
    joints, bodies = joints_message(seen()), bodies_message(seen())
    spoil(joints, bodies)
    with pytest.raises(ValueError, match=reason):
        seen_from(joints, bodies)
