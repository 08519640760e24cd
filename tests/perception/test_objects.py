import numpy as np
import pytest

from vlajs_perception.objects import ObjectError, ObjectModel, box, cube, peg


def test_corners_are_counted_in_binary() -> None:
    corners = peg("peg", 0.1, 0.02).keypoints_m
    # 5 is 101: +x, -y, +z; 2 is 010: -x, +y, -z
    np.testing.assert_allclose(corners[5], [0.1, -0.02, 0.02])
    np.testing.assert_allclose(corners[2], [-0.1, 0.02, -0.02])


@pytest.mark.parametrize(
    "model, symmetries, yaw_period_rad",
    [
        (cube("cube", 0.02), 24, np.pi / 2),
        (peg("peg", 0.1, 0.02), 8, np.pi),  # four quarter rolls, each with and without its ends exchanged
        (peg("peg", 0.1, 0.02, ends_alike=False), 4, 2 * np.pi),  # the rolls alone
        (box("book", [0.1, 0.08, 0.02]), 4, np.pi),  # half turns about each axis
        (box("plate", [0.1, 0.1, 0.01]), 8, np.pi / 2),
        (ObjectModel(name="tool", half_size_m=np.ones(3), keypoints_m=np.ones((5, 3))), 1, 2 * np.pi),
    ],
)
def test_symmetries_follow_from_the_size(model: ObjectModel, symmetries: int, yaw_period_rad: float) -> None:
    assert len(model.symmetries_wxyz) == symmetries
    assert model.yaw_period_rad == pytest.approx(yaw_period_rad)


def test_what_is_known_of_an_object_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="read-only"):
        cube("cube", 0.02).keypoints_m[0] = 0.0


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"half_size_m": [0.1, 0.1]}, r"half_size_m must be \(3,\)"),
        ({"half_size_m": [0.1, 0.0, 0.1]}, "all must be positive"),
        ({"keypoints_m": [[np.nan, 0.0, 0.0]]}, "finite"),
        ({"keypoints_m": np.zeros((0, 3))}, "at least one"),
        ({"symmetries_wxyz": [[1.0, 1.0, 0.0, 0.0]]}, "unit"),
        ({"symmetries_wxyz": [[0.0, 0.0, 0.0, 1.0]]}, "lacks the rotation by nothing"),
        # half a turn about z takes (0.1, 0, 0) to (-0.1, 0, 0), 0.2 m away from the only keypoint
        ({"symmetries_wxyz": [[1.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 1.0]]}, "keypoint 0 to .* 2.00e-01 m"),
    ],
)
def test_refuses_an_object_that_cannot_be(changes: dict[str, object], message: str) -> None:
    known: dict[str, object] = {"half_size_m": [0.1, 0.1, 0.1], "keypoints_m": [[0.1, 0.0, 0.0]]}
    with pytest.raises(ObjectError, match=f"tool: .*{message}"):
        ObjectModel(name="tool", **(known | changes))  # type: ignore[arg-type]


def test_refuses_a_box_without_a_height() -> None:
    with pytest.raises(ObjectError, match="shape"):
        box("box", [0.1, 0.1])
