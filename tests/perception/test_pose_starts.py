import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from tests.support.seen_objects import flat, looking, pixels_of
from vlajs_perception.objects import cube
from vlajs_perception.pose_starts import costs_of, plane_starts, pnp_starts
from vlajs_perception.refine import Observation

CUBE = cube("cube", 0.02)
CAMERA = looking([1.1, 0.3, 0.6], [0.6, 0.0, 0.0])
POSITION_M = np.array([0.6, 0.05, 0.02])


def observed(pixels: np.ndarray) -> Observation:
    return Observation(points_m=CUBE.keypoints_m, pixels=pixels, confidence=np.ones(len(pixels)), huber_px=3.0)


def test_every_pair_asks_for_the_pose() -> None:
    positions, rotations = plane_starts(CAMERA, observed(pixels_of(CUBE, CAMERA, POSITION_M, flat(2.5))), 0.02)
    # 8 * 7 / 2 = 28 pairs less the 4 vertical edges, which say no yaw, and all eight together
    assert len(positions) == 25
    np.testing.assert_allclose(positions, np.tile(POSITION_M, (25, 1)), atol=1e-9)
    np.testing.assert_allclose(rotations, np.tile(flat(2.5), (25, 1, 1)), atol=1e-9)


def test_pixels_above_the_horizon_ask_for_nothing() -> None:
    positions, _ = plane_starts(CAMERA, observed(np.tile([320.0, -3000.0], (8, 1))), 0.02)
    assert len(positions) == 0


@pytest.mark.parametrize("leave_one_out, count", [(False, 1), (True, 8)])
def test_sqpnp_finds_the_pose(leave_one_out: bool, count: int) -> None:
    rotation = Rotation.from_rotvec([0.4, -0.3, 0.2]).as_matrix()
    seen = observed(pixels_of(CUBE, CAMERA, POSITION_M, rotation))
    starts = pnp_starts(CAMERA, seen, leave_one_out=leave_one_out)
    np.testing.assert_allclose(starts[:, :3, 3], np.tile(POSITION_M, (count, 1)), atol=1e-5)
    np.testing.assert_allclose(starts[:, :3, :3], np.tile(rotation, (count, 1, 1)), atol=1e-4)


def test_costs() -> None:
    seen = observed(pixels_of(CUBE, CAMERA, POSITION_M, flat(0.3)) + np.array([2.0, 0.0]))
    behind = 2 * CAMERA.position_in_base_m
    costs = costs_of(CAMERA, seen, np.array([POSITION_M, behind]), np.tile(flat(0.3), (2, 1, 1)))
    assert costs[0] == pytest.approx(16.0)  # eight times 1 / 2 * 2^2
    assert np.isinf(costs[1])
