from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation
from scipy.stats import chi2

from tests.support.seen_objects import error_of, flat, keypoints, looking, pixels_of
from vlajs_perception.camera import Camera
from vlajs_perception.estimate import Estimate, Keypoints, PoseError
from vlajs_perception.fit_settings import FitSettings, Table
from vlajs_perception.objects import ObjectModel, cube, peg
from vlajs_perception.pose_fit import fit_free, fit_on_plane

CUBE, PEG = cube("cube", 0.02), peg("peg", 0.12, 0.025)
CAMERA = looking([1.1, 0.3, 0.6], [0.6, 0.0, 0.0])
TABLE = Table(height_m=0.01)
EXACT = Table(height_std_m=1e-9, tilt_std_rad=1e-9)
NO_FLOOR = FitSettings(noise_floor_px=0.01)
DRAWS = 200

models = st.sampled_from([CUBE, PEG])
hidden = st.sets(st.integers(0, 7), max_size=4).map(tuple)
places = st.tuples(st.floats(0.45, 0.75), st.floats(-0.2, 0.2))
cameras = st.builds(
    lambda around, up, far, focal: looking(
        [
            0.6 + far * np.cos(around) * np.cos(up),
            far * np.sin(around) * np.cos(up),
            far * np.sin(up),
        ],
        [0.6, 0.0, 0.0],
        focal,
    ),
    st.floats(-np.pi, np.pi),
    st.floats(0.35, 1.4),
    st.floats(0.6, 1.5),
    st.floats(300.0, 1500.0),
)


def on_table(model: ObjectModel, xy: tuple[float, float], table: Table = TABLE) -> np.ndarray:
    return np.array([*xy, table.height_m + model.half_size_m[2]])


@given(model=models, camera=cameras, xy=places, yaw=st.floats(-7.0, 7.0), hidden=hidden)
@settings(max_examples=50, deadline=None)
def test_a_pose_on_the_table_comes_back(
    model: ObjectModel, camera: Camera, xy: tuple[float, float], yaw: float, hidden: tuple[int, ...]
) -> None:
    position_m = on_table(model, xy)
    pixels = pixels_of(model, camera, position_m, flat(yaw))
    estimate = fit_on_plane(model, camera, keypoints(pixels, hidden), TABLE)
    assert estimate.source == "plane"
    assert np.abs(error_of(estimate, model, position_m, flat(yaw))).max() < 1e-6
    assert set(estimate.keypoints_used) == set(range(8)) - set(hidden)
    assert estimate.residual_px == pytest.approx(0.0, abs=1e-5)


@given(model=models, camera=cameras, turn=st.tuples(*[st.floats(-1.7, 1.7)] * 3), xy=places, hidden=hidden)
@settings(max_examples=50, deadline=None)
def test_a_pose_in_the_air_comes_back(
    model: ObjectModel,
    camera: Camera,
    turn: tuple[float, float, float],
    xy: tuple[float, float],
    hidden: tuple[int, ...],
) -> None:
    position_m, rotation = np.array([*xy, 0.1]), Rotation.from_rotvec(turn).as_matrix()
    pixels = pixels_of(model, camera, position_m, rotation)
    estimate = fit_free(model, camera, keypoints(pixels, hidden))
    assume(estimate.position_std_m < 0.2)  # else the four corners that are left lie on one line of the image
    assert np.abs(error_of(estimate, model, position_m, rotation)).max() < 1e-6


@given(model=models, yaw=st.floats(-4.0, 4.0), seed=st.integers(0, 2**32 - 1), data=st.data())
@settings(max_examples=20, deadline=None)
def test_relabelled_keypoints_give_the_same_pose(
    model: ObjectModel, yaw: float, seed: int, data: st.DataObject
) -> None:
    rng = np.random.default_rng(seed)
    position_m = on_table(model, (0.6, 0.05))
    noise_px = rng.normal(0.0, 0.5, (8, 2))
    pixels = pixels_of(model, CAMERA, position_m, flat(yaw)) + noise_px
    turns = data.draw(st.permutations([*model.yaw_symmetries]).map(lambda turns: turns[0]))
    # the keypoint that the turn puts where keypoint i was is now called i
    moved = model.keypoints_m @ turns.T
    labels = np.abs(moved[:, None] - model.keypoints_m).max(axis=-1).argmin(axis=-1)
    one = fit_on_plane(model, CAMERA, keypoints(pixels), TABLE)
    other = fit_on_plane(model, CAMERA, keypoints(pixels[labels]), TABLE)
    np.testing.assert_allclose(other.position_m, one.position_m, atol=1e-5)
    assert np.abs(error_of(other, model, one.position_m, one.object_in_base[:3, :3])).max() < 1e-4
    near = one.quat_wxyz
    free = fit_free(model, CAMERA, keypoints(pixels), near_wxyz=near)
    free_other = fit_free(model, CAMERA, keypoints(pixels[labels]), near_wxyz=near)
    np.testing.assert_allclose(free_other.position_m, free.position_m, atol=1e-4)
    np.testing.assert_allclose(free_other.quat_wxyz, free.quat_wxyz, atol=1e-3)


@pytest.mark.parametrize("model", [CUBE, PEG])
@pytest.mark.parametrize("turned", [(0, 1, 2), (3, 6), (1, 4, 7)])
def test_labels_of_which_some_are_turned_give_the_same_pose(model: ObjectModel, turned: tuple[int, ...]) -> None:
    position_m = on_table(model, (0.6, 0.05))
    moved = model.keypoints_m.copy()
    moved[list(turned)] = moved[list(turned)] @ flat(model.yaw_period_rad).T
    pixels = CAMERA.project(moved @ flat(0.7).T + position_m)
    estimate = fit_on_plane(model, CAMERA, keypoints(pixels), TABLE)
    assert np.abs(error_of(estimate, model, position_m, flat(0.7))).max() < 1e-6
    assert len(estimate.keypoints_used) == 8


def test_the_branch_is_the_track_s() -> None:
    pixels = pixels_of(CUBE, CAMERA, on_table(CUBE, (0.6, 0.0)), flat(np.radians(50)))
    for near, expected in ((0, -40), (45, 50), (130, 140)):  # 50 - 90, 50, 50 + 90
        near_wxyz = Rotation.from_euler("z", near, degrees=True).as_quat(scalar_first=True)
        estimate = fit_on_plane(CUBE, CAMERA, keypoints(pixels), TABLE, near_wxyz=near_wxyz)
        found = Rotation.from_quat(estimate.quat_wxyz, scalar_first=True).as_euler("zyx", degrees=True)
        np.testing.assert_allclose(found, [expected, 0, 0], atol=1e-4)


@pytest.mark.parametrize("model", [CUBE, PEG])
@pytest.mark.parametrize("wrong", [(0,), (3,), (1, 6), (2, 4, 7)])
def test_wrong_keypoints_on_the_table_are_left_out(model: ObjectModel, wrong: tuple[int, ...]) -> None:
    position_m = on_table(model, (0.6, 0.05))
    pixels = pixels_of(model, CAMERA, position_m, flat(0.3))
    pixels[list(wrong)] += [120.0, -90.0]
    estimate = fit_on_plane(model, CAMERA, keypoints(pixels), TABLE)
    assert set(estimate.keypoints_used) == set(range(8)) - set(wrong)
    assert np.abs(error_of(estimate, model, position_m, flat(0.3))).max() < 1e-6


@pytest.mark.parametrize("wrong", [0, 3, 6])
def test_one_wrong_keypoint_in_the_air_is_left_out(wrong: int) -> None:
    position_m, rotation = np.array([0.6, 0.0, 0.2]), Rotation.from_rotvec([0.4, -0.3, 0.2]).as_matrix()
    pixels = pixels_of(PEG, CAMERA, position_m, rotation)
    pixels[wrong] += [60.0, -40.0]
    estimate = fit_free(PEG, CAMERA, keypoints(pixels))
    assert set(estimate.keypoints_used) == set(range(8)) - {wrong}
    assert np.abs(error_of(estimate, PEG, position_m, rotation)).max() < 1e-6


def test_a_doubtful_keypoint_pulls_less() -> None:
    position_m = on_table(CUBE, (0.6, 0.0))
    pixels = pixels_of(CUBE, CAMERA, position_m, flat(0.3))
    pixels[5] += [2.5, 0.0]
    errors = []
    for confidence in (1.0, 0.3):
        seen = Keypoints(pixels=pixels, confidence=np.where(np.arange(8) == 5, confidence, 1.0))
        errors.append(np.linalg.norm(fit_on_plane(CUBE, CAMERA, seen, TABLE).position_m - position_m))
    assert errors[1] < 0.5 * errors[0]


def draws(
    fit: Callable[[Keypoints], Estimate], model: ObjectModel, noise_px: float, hidden: tuple[int, ...], axes: list[int]
) -> float:
    """Mean normalised squared error over noisy draws: the number of axes if the covariance is right."""
    rng = np.random.default_rng(7)
    squares = []
    for _ in range(DRAWS):
        position_m = on_table(model, (rng.uniform(0.5, 0.7), rng.uniform(-0.1, 0.1)), EXACT)
        rotation = flat(rng.uniform(-4.0, 4.0))
        pixels = pixels_of(model, CAMERA, position_m, rotation) + rng.normal(0.0, noise_px, (8, 2))
        estimate = fit(keypoints(pixels, hidden))
        error = error_of(estimate, model, position_m, rotation)[axes]
        squares.append(error @ np.linalg.solve(estimate.covariance[np.ix_(axes, axes)], error))
    return float(np.mean(squares))


@pytest.mark.parametrize("model, noise_px, hidden", [(CUBE, 1.0, ()), (PEG, 0.5, ()), (PEG, 1.0, (0, 3, 5))])
def test_covariance_on_the_table_is_as_large_as_the_error(
    model: ObjectModel, noise_px: float, hidden: tuple[int, ...]
) -> None:
    mean = draws(
        lambda seen: fit_on_plane(model, CAMERA, seen, EXACT, settings=NO_FLOOR), model, noise_px, hidden, [0, 1, 5]
    )
    low, high = chi2.interval(0.99, 3 * DRAWS)
    assert low < mean * DRAWS < high


def test_covariance_in_the_air_is_as_large_as_the_error() -> None:
    mean = draws(lambda seen: fit_free(PEG, CAMERA, seen, settings=NO_FLOOR), PEG, 0.5, (), list(range(6)))
    low, high = chi2.interval(0.99, 6 * DRAWS)
    assert low < mean * DRAWS < high


def test_less_noise_than_the_floor_makes_no_more_certain() -> None:
    # 0.25 px where the floor says 0.5: a quarter of the variance, so 3 / 4
    fit = lambda seen: fit_on_plane(CUBE, CAMERA, seen, EXACT)  # noqa: E731
    assert draws(fit, CUBE, 0.25, (), [0, 1, 5]) == pytest.approx(0.75, rel=0.2)


def test_a_table_known_badly_is_part_of_the_covariance() -> None:
    table = Table(height_std_m=2e-3, tilt_std_rad=0.02)
    rng = np.random.default_rng(3)
    squares = []
    for _ in range(DRAWS):
        position_m = np.array([0.6, 0.05, 0.02 + rng.normal(0.0, 2e-3)])
        tilt = Rotation.from_rotvec([*rng.normal(0.0, 0.02, 2), 0.0]).as_matrix()
        rotation = tilt @ flat(rng.uniform(-0.7, 0.7))
        pixels = pixels_of(CUBE, CAMERA, position_m, rotation) + rng.normal(0.0, 0.5, (8, 2))
        estimate = fit_on_plane(CUBE, CAMERA, keypoints(pixels), table, settings=NO_FLOOR)
        error = error_of(estimate, CUBE, position_m, rotation)
        squares.append(error @ np.linalg.solve(estimate.covariance, error))
    # what the tilt does to the pixels counts as noise too: the covariance may be somewhat too large, not too small
    low, high = chi2.interval(0.99, 6 * DRAWS)
    assert 0.8 * low < np.sum(squares) < high


def test_the_box_steps_in_for_the_keypoints() -> None:
    position_m = on_table(CUBE, (0.6, 0.05))
    pixels = pixels_of(CUBE, CAMERA, position_m, flat(0.3))
    box_px = [*pixels.min(axis=0), *pixels.max(axis=0)]
    by_keypoints = fit_on_plane(CUBE, CAMERA, keypoints(pixels), TABLE, box_px=box_px)
    assert by_keypoints.source == "plane"
    too_few = keypoints(pixels, hidden=(0, 1, 2, 3, 4, 5))
    upside_down = keypoints(pixels[[1, 0, 3, 2, 5, 4, 7, 6]])
    all_in_the_middle = keypoints(np.tile(pixels.mean(axis=0), (8, 1)))  # of a detector that never learnt yaw
    for seen in (too_few, upside_down, all_in_the_middle):
        by_box = fit_on_plane(CUBE, CAMERA, seen, TABLE, box_px=box_px)
        assert by_box.source == "box"
        assert by_box.keypoints_used == ()
        assert by_box.residual_px is None
        assert np.linalg.norm(by_box.position_m - position_m) < 2e-3
        assert by_box.position_std_m > 2 * by_keypoints.position_std_m
        assert by_box.covariance[5, 5] == pytest.approx(np.pi**2)
        with pytest.raises(PoseError):
            fit_on_plane(CUBE, CAMERA, seen, TABLE)


def test_refuses_an_object_that_is_not_on_the_table() -> None:
    pixels = pixels_of(CUBE, CAMERA, np.array([0.6, 0.0, 0.3]), flat(0.3))
    with pytest.raises(PoseError, match=r"it does not lie on the table at 0\.01 m"):
        fit_on_plane(CUBE, CAMERA, keypoints(pixels), TABLE)
    box_px = [*pixels.min(axis=0), *pixels.max(axis=0)]
    with pytest.raises(PoseError, match="lifted"):
        fit_on_plane(CUBE, CAMERA, keypoints(pixels), TABLE, box_px=box_px)


def test_refuses_what_cannot_be_fitted() -> None:
    pixels = pixels_of(CUBE, CAMERA, np.array([0.6, 0.0, 0.02]), flat(0.3))
    with pytest.raises(PoseError, match=r"2 keypoints of cube .* 3 are needed"):
        fit_on_plane(CUBE, CAMERA, keypoints(pixels, hidden=(0, 1, 2, 3, 4, 5)), TABLE)
    with pytest.raises(PoseError, match=r"3 keypoints of cube .* 4 are needed"):
        fit_free(CUBE, CAMERA, keypoints(pixels, hidden=(0, 1, 2, 3, 4)))
    with pytest.raises(PoseError, match="another object"):
        fit_free(CUBE, CAMERA, keypoints(np.random.default_rng(0).uniform(0.0, 640.0, (8, 2))))
    with pytest.raises(ValueError, match="5 keypoints were given, cube has 8"):
        fit_on_plane(CUBE, CAMERA, keypoints(pixels[:5]), TABLE)
    with pytest.raises(PoseError, match="look past the table"):  # all above the horizon of a camera looking down
        fit_on_plane(CUBE, CAMERA, keypoints(pixels - [0.0, 3000.0]), TABLE)
    line = ObjectModel(name="rod", half_size_m=np.ones(3), keypoints_m=np.arange(4.0)[:, None] * [[0.02, 0.0, 0.0]])
    with pytest.raises(PoseError, match="one line"):
        fit_free(line, CAMERA, keypoints(pixels_of(line, CAMERA, np.array([0.6, 0.0, 0.1]), flat(0.3))))


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: Table(height_m=np.nan), "height_m is nan"),
        (lambda: Table(height_std_m=0.0), "height_std_m is 0.0"),
        (lambda: FitSettings(huber_px=-1.0), "huber_px is -1.0"),
        (lambda: FitSettings(min_keypoints=2), "min_keypoints is 2"),
        (lambda: FitSettings(box_tolerance=1.0), "box_tolerance 1.0"),
    ],
)
def test_refuses_settings_out_of_range(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
