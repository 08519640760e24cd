import numpy as np
import pytest

from vlajs_perception.estimate import Estimate, Keypoints, PoseError

GOOD = {
    "position_m": [0.6, 0.0, 0.02],
    "quat_wxyz": [1.0, 0.0, 0.0, 0.0],
    "covariance": np.diag([1e-6, 4e-6, 4e-6, 1e-4, 4e-4, 4e-4]),
    "source": "plane",
}


def test_standard_deviations() -> None:
    estimate = Estimate(**GOOD)  # type: ignore[arg-type]
    assert estimate.position_std_m == pytest.approx(3e-3)  # root of 1 + 4 + 4 mm^2
    assert estimate.rotation_std_rad == pytest.approx(3e-2)
    np.testing.assert_allclose(estimate.object_in_base[:, 3], [0.6, 0.0, 0.02, 1.0])


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"position_m": [np.nan, 0.0, 0.0]}, "position_m must be .* finite"),
        ({"position_m": [0.0, 0.0]}, r"position_m must be \(3,\)"),
        ({"quat_wxyz": [0.0, 0.0, 0.0, 0.0]}, "norm 0"),
        ({"covariance": np.full((6, 6), np.inf)}, "covariance must be .* finite"),
        ({"covariance": np.zeros((6, 6))}, "positive definite"),
        ({"covariance": np.eye(6) + np.eye(6, k=1) * 0.1}, "symmetric"),
        ({"covariance": -np.eye(6)}, "positive definite"),
    ],
)
def test_refuses_an_estimate_that_is_none(changes: dict[str, object], message: str) -> None:
    with pytest.raises(PoseError, match=message):
        Estimate(**(GOOD | changes))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "pixels, confidence, message",
    [
        (np.zeros((8, 3)), np.ones(8), "shapes"),
        (np.zeros((8, 2)), np.ones(7), "shapes"),
        (np.zeros((2, 2)), np.array([1.0, 1.1]), "confidence is"),
        (np.zeros((2, 2)), np.array([1.0, np.nan]), "confidence is"),
        (np.array([[np.nan, 0.0], [0.0, 0.0]]), np.array([0.1, 1.0]), "has no pixel"),
    ],
)
def test_refuses_keypoints_that_are_none(pixels: np.ndarray, confidence: np.ndarray, message: str) -> None:
    with pytest.raises(PoseError, match=message):
        Keypoints(pixels=pixels, confidence=confidence)


def test_a_hidden_keypoint_needs_no_pixel() -> None:
    Keypoints(pixels=np.array([[np.nan, np.nan], [1.0, 2.0]]), confidence=np.array([0.0, 1.0]))
