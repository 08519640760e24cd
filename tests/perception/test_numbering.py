"""Two rules to count corners by: what they depend on, where they jump, and that never both do."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from vlajs_perception.camera import Camera
from vlajs_perception.numbering import NUMBERINGS, NumberingError, numbered_orientations, view_reference
from vlajs_perception.objects import ObjectModel, box, cube, peg

CUBE, PEG = cube("cube", 0.02), peg("peg", 0.1, 0.02)
MODELS = st.sampled_from([CUBE, PEG, box("box", [0.1, 0.05, 0.03])])
MATRIX = np.array([[500.0, 0, 160], [0, 500, 120], [0, 0, 1]])
MIDDLE_M = np.array([0.6, 0.0, 0.02])
LYING, ON_END = Rotation.identity(), Rotation.from_rotvec([0.0, -np.pi / 2, 0.0])

angles = st.floats(-np.pi, np.pi)
elevations = st.floats(0.05, np.pi / 2)
rolls = st.floats(-0.5, 0.5)
turns = st.tuples(*[st.floats(-1.0, 1.0)] * 4).filter(lambda q: np.linalg.norm(q) > 0.1).map(Rotation.from_quat)


def looking(azimuth: float, elevation: float, roll: float = 0.0, at_m: np.ndarray = MIDDLE_M) -> Camera:
    """A camera 0.9 m from a point, which it does not look at exactly."""
    away = np.array([np.cos(elevation) * np.cos(azimuth), np.cos(elevation) * np.sin(azimuth), np.sin(elevation)])
    right = np.array([-np.sin(azimuth), np.cos(azimuth), 0.0])
    axes = (
        np.stack([right, np.cross(-away, right), -away], axis=1) @ Rotation.from_rotvec([0.1, -0.05, roll]).as_matrix()
    )
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = axes, at_m + 0.9 * away
    return Camera(matrix=MATRIX, camera_in_base=pose)


def numbered(model: ObjectModel, turn: Rotation, view: np.ndarray) -> np.ndarray:
    """Corners by each rule, (NUMBERINGS, K, 3), about the object's middle."""
    quats = numbered_orientations(model, turn.as_quat(scalar_first=True), view)
    return np.stack([Rotation.from_quat(quat, scalar_first=True).apply(np.array(model.keypoints_m)) for quat in quats])


def yawed(yaw: float) -> Rotation:
    return Rotation.from_rotvec([0.0, 0.0, yaw])


def jumps_deg(model: ObjectModel, resting: Rotation) -> list[np.ndarray]:
    """Yaws at which each rule jumps, to a degree, seen along the base's x."""
    yaws = np.arange(-180.0, 180.5, 1.0) + 0.3
    corners = np.stack([numbered(model, yawed(yaw) * resting, np.eye(3)) for yaw in np.radians(yaws)])
    step = np.abs(np.diff(corners, axis=0)).max(axis=(2, 3))
    return [yaws[:-1][step[:, rule] > 0.01] + 0.5 for rule in range(NUMBERINGS)]


def test_the_reference_faces_the_camera() -> None:
    # straight ahead across the table, level with the object: the front is towards the camera
    pose = np.array([[0.0, 0, -1, 1.6], [1, 0, 0, 0.0], [0, -1, 0, 0.02], [0, 0, 0, 1]])
    np.testing.assert_allclose(
        view_reference(Camera(matrix=MATRIX, camera_in_base=pose), MIDDLE_M), np.eye(3), atol=1e-12
    )
    # straight down, the picture's down along the base's -y: so is the front
    pose = np.array([[1.0, 0, 0, 0.6], [0, -1, 0, 0.0], [0, 0, -1, 1.0], [0, 0, 0, 1]])
    expected = np.array([[0.0, 1, 0], [-1, 0, 0], [0, 0, 1]])
    np.testing.assert_allclose(
        view_reference(Camera(matrix=MATRIX, camera_in_base=pose), MIDDLE_M), expected, atol=1e-12
    )


def test_a_view_without_a_front_is_refused() -> None:
    upside_down = looking(0.0, np.pi / 4).camera_in_base.copy()
    away = np.array([np.sqrt(0.5), 0.0, np.sqrt(0.5)])
    upside_down[:3, :3] = np.stack([[0.0, -1, 0], np.cross(-away, [0.0, -1, 0]), -away], axis=1)
    with pytest.raises(NumberingError, match="upside down"):
        view_reference(Camera(matrix=MATRIX, camera_in_base=upside_down), MIDDLE_M)
    with pytest.raises(NumberingError, match="not before the camera"):
        view_reference(looking(0.0, 0.8), np.array([3.0, 0.0, 3.0]))


@settings(max_examples=50, deadline=None)
@given(MODELS, turns, angles, elevations, rolls, st.integers(0, 23))
def test_equal_orientations_are_counted_alike(
    model: ObjectModel, turn: Rotation, azimuth: float, elevation: float, roll: float, index: int
) -> None:
    view = view_reference(looking(azimuth, elevation, roll), MIDDLE_M)
    same = Rotation.from_quat(model.symmetries_wxyz[index % len(model.symmetries_wxyz)].copy(), scalar_first=True)
    first, again = numbered(model, turn, view), numbered(model, turn * same, view)
    np.testing.assert_allclose(first, again, atol=1e-9)
    # and each is a way to count the object's own corners
    corners = turn.apply(np.array(model.keypoints_m))
    for numbering in first:
        assert np.abs(numbering[:, None] - corners).max(axis=-1).min(axis=-1).max() < 1e-9


@settings(max_examples=50, deadline=None)
@given(MODELS, turns, angles, elevations, rolls, angles)
def test_turning_camera_and_object_together_changes_nothing(
    model: ObjectModel, turn: Rotation, azimuth: float, elevation: float, roll: float, about_z: float
) -> None:
    camera, together = looking(azimuth, elevation, roll), yawed(about_z)
    pose = np.eye(4)
    pose[:3, :3] = together.as_matrix()
    turned_camera = Camera(matrix=MATRIX, camera_in_base=pose @ camera.camera_in_base)
    before = numbered(model, turn, view_reference(camera, MIDDLE_M))
    after = numbered(model, together * turn, view_reference(turned_camera, together.apply(MIDDLE_M)))
    # at a jump rounding decides: there both answers count the same corners, and that is all there is to say
    for one, other in zip(before, after, strict=True):
        if np.abs(together.apply(one) - other).max() > 1e-6:
            assert _is_near_a_jump(model, turn, view_reference(camera, MIDDLE_M), one)


def _is_near_a_jump(model: ObjectModel, turn: Rotation, view: np.ndarray, numbering: np.ndarray) -> bool:
    for axis in np.vstack([np.eye(3), -np.eye(3)]):
        nudged = numbered(model, Rotation.from_rotvec(1e-5 * axis) * turn, view)
        if np.abs(nudged - numbering).max(axis=(1, 2)).min() > 1e-3:
            return True
    return False


@pytest.mark.parametrize(
    "model, resting, period_deg, expected_deg",
    [(CUBE, LYING, 90.0, (45.0, 0.0)), (PEG, LYING, 180.0, (90.0, 45.0)), (PEG, ON_END, 90.0, (45.0, 0.0))],
    ids=["cube", "lying peg", "peg on end"],
)
def test_each_rule_jumps_once_in_a_period_and_the_other_far_from_there(
    model: ObjectModel, resting: Rotation, period_deg: float, expected_deg: tuple[float, float]
) -> None:
    for found, expected in zip(jumps_deg(model, resting), expected_deg, strict=True):
        assert len(found) == 360.0 / period_deg
        off = (found - expected + period_deg / 2) % period_deg - period_deg / 2
        assert np.abs(off).max() < 1.0


@settings(max_examples=100, deadline=None)
@given(st.sampled_from([(CUBE, LYING), (PEG, LYING), (PEG, ON_END)]), angles, turns)
def test_never_do_both_rules_jump_near_what_rests_on_the_table(
    case: tuple[ObjectModel, Rotation], yaw: float, way: Rotation
) -> None:
    """Nudged by 4 degrees any way, by one rule at least the corners move by their arc and no more."""
    model, resting = case
    turn = yawed(yaw) * resting
    nudge = Rotation.from_rotvec(np.radians(4.0) * way.apply([0.0, 0.0, 1.0]))
    moved = np.abs(numbered(model, nudge * turn, np.eye(3)) - numbered(model, turn, np.eye(3))).max(axis=(1, 2))
    arc_m = np.radians(4.0) * float(np.linalg.norm(model.half_size_m))
    assert moved.min() <= arc_m


def test_a_peg_on_end_is_never_counted_upside_down() -> None:
    """Its +x end is up by both rules, tilted by up to 20 degrees too, whichever end was up when it was drawn."""
    for tilt, way, flip in [(t, w, f) for t in (0.0, 10.0, 20.0) for w in range(0, 360, 40) for f in (1, -1)]:
        axis = np.array([np.cos(np.radians(way)), np.sin(np.radians(way)), 0.0])
        turn = Rotation.from_rotvec(np.radians(tilt) * axis) * Rotation.from_rotvec([0.0, flip * np.pi / 2, 0.0])
        corners = numbered(PEG, turn, np.eye(3))
        assert (corners[:, 4:, 2] > 0).all()  # bit 2 of a corner's number is +x
