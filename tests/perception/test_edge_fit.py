import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from tests.support.drawn_objects import drawn, grey, noisy
from tests.support.seen_objects import error_of, flat, looking
from vlajs_perception.edge_fit import sharpen, support_of
from vlajs_perception.edge_image import EdgeImage
from vlajs_perception.estimate import Estimate, Source
from vlajs_perception.fit_settings import EdgeSettings, Table
from vlajs_perception.objects import ObjectModel, box, cube, peg

CUBE, PEG = cube("cube", 0.02), peg("peg", 0.12, 0.025)
CAMERA = looking([1.1, 0.3, 0.6], [0.6, 0.0, 0.0])
TABLE = Table()
EDGES = EdgeSettings()
KEYPOINT_STD_M, KEYPOINT_STD_RAD = 3e-3, 0.05


def seen_at(position_m: np.ndarray, rotation: np.ndarray, source: Source = "plane") -> Estimate:
    return Estimate(
        position_m=position_m,
        quat_wxyz=Rotation.from_matrix(rotation).as_quat(scalar_first=True),
        covariance=np.diag([KEYPOINT_STD_M**2] * 3 + [KEYPOINT_STD_RAD**2] * 3),
        source=source,
    )


def image_of(picture: np.ndarray) -> EdgeImage:
    return EdgeImage(picture, (0.0, 0.0, 639.0, 479.0), around_px=0, blur_px=EDGES.blur_px)


def sharpened(model: ObjectModel, seen: Estimate, picture: np.ndarray) -> Estimate:
    return sharpen(seen, model, CAMERA, image_of(picture), TABLE, EDGES)


def supported(model: ObjectModel, pose: Estimate, picture: np.ndarray) -> float:
    return support_of(pose, model, CAMERA, image_of(picture), EDGES).share


@given(
    model=st.sampled_from([CUBE, PEG]),
    xy=st.tuples(st.floats(0.5, 0.7), st.floats(-0.12, 0.12)),
    yaw=st.floats(-3.0, 3.0),
    off_m=st.tuples(st.floats(-5e-3, 5e-3), st.floats(-5e-3, 5e-3)),
    off_rad=st.floats(-0.06, 0.06),
    seed=st.integers(0, 2**32 - 1),
)
@settings(max_examples=25, deadline=None)
def test_a_pose_on_the_table_that_is_off_by_millimetres_ends_where_the_object_is(
    model: ObjectModel,
    xy: tuple[float, float],
    yaw: float,
    off_m: tuple[float, float],
    off_rad: float,
    seed: int,
) -> None:
    position_m = np.array([*xy, model.half_size_m[2]])
    picture = drawn(model, CAMERA, position_m, flat(yaw), on=noisy(np.random.default_rng(seed)))
    seen = seen_at(position_m + np.array([*off_m, 0.0]), flat(yaw + off_rad))
    found = sharpened(model, seen, picture)
    error = error_of(found, model, position_m, flat(yaw))
    assert np.linalg.norm(error[:3]) < 6e-4
    assert abs(error[5]) < (0.04 if model is CUBE else 0.005)  # a pixel at a cube's corner is 3 degrees
    assert found.position_m[2] == position_m[2]  # the table says how high
    assert supported(model, found, picture) > 0.9


@pytest.mark.parametrize("model", [PEG, box("brick", (0.06, 0.05, 0.04))])
def test_in_the_air_all_six_are_moved(model: ObjectModel) -> None:
    position_m, rotation = np.array([0.6, 0.05, 0.12]), Rotation.from_rotvec([0.5, -0.3, 0.8]).as_matrix()
    picture = drawn(model, CAMERA, position_m, rotation)
    off = Rotation.from_rotvec([0.04, -0.03, 0.04]).as_matrix() @ rotation
    seen = seen_at(position_m + np.array([8e-3, -6e-3, 1e-2]), off, "free")  # by 14 mm and 3.7 degrees
    error = error_of(sharpened(model, seen, picture), model, position_m, rotation)
    along = position_m - CAMERA.position_in_base_m
    along /= np.linalg.norm(along)
    assert abs(error[:3] @ along) < 8e-3  # 1 % of the distance: of a pixel, that is a third at either end
    assert np.linalg.norm(error[:3] - (error[:3] @ along) * along) < 1e-3
    assert np.linalg.norm(error[3:]) < 0.02


def test_half_hidden_it_is_still_found() -> None:
    position_m = np.array([0.6, 0.0, 0.025])
    picture = drawn(PEG, CAMERA, position_m, flat(0.4))
    middle = CAMERA.project(position_m).astype(int)
    picture[:, middle[0] + 10 :] = grey(60)[:, middle[0] + 10 :]  # as if something dark stood before its right half
    found = sharpened(PEG, seen_at(position_m + np.array([3e-3, -2e-3, 0.0]), flat(0.43)), picture)
    error = error_of(found, PEG, position_m, flat(0.4))
    assert np.linalg.norm(error[:3]) < 2.5e-3
    assert abs(error[5]) < 0.01


def test_without_edges_nothing_is_moved() -> None:
    seen = seen_at(np.array([0.6, 0.0, 0.02]), flat(0.3))
    assert sharpened(CUBE, seen, grey()) is seen
    assert supported(CUBE, seen, grey()) == 0.0


def test_edges_of_something_else_move_nothing() -> None:
    """A cube's pose over the middle of a peg: along two sides there are edges, the ends are far."""
    picture = drawn(PEG, CAMERA, np.array([0.6, 0.0, 0.025]), flat(0.0))
    lines = seen_at(np.array([0.6, 0.0, 0.04]), flat(0.0))
    assert supported(cube("cube", 0.04), lines, picture) < EDGES.support
    assert sharpened(cube("cube", 0.04), lines, picture) is lines


def test_outside_the_picture_nothing_is_moved() -> None:
    seen = seen_at(np.array([0.6, 2.0, 0.02]), flat(0.3))
    assert sharpened(CUBE, seen, grey()) is seen


def test_the_covariance_holds_what_the_edges_are_off_by_and_the_table_adds() -> None:
    rng = np.random.default_rng(5)
    squares = []
    for _ in range(40):
        yaw = rng.uniform(-3.0, 3.0)
        position_m = np.array([*rng.uniform([0.5, -0.12], [0.7, 0.12]), 0.02])
        picture = drawn(CUBE, CAMERA, position_m, flat(yaw), on=noisy(rng))
        off = rng.normal(0.0, [KEYPOINT_STD_M, KEYPOINT_STD_M, 0.0])
        found = sharpened(CUBE, seen_at(position_m + off, flat(yaw)), picture)
        error = error_of(found, CUBE, position_m, flat(yaw))[[0, 1, 5]]
        squares.append(error @ np.linalg.solve(found.covariance[np.ix_([0, 1, 5], [0, 1, 5])], error))
    # of three degrees of freedom: 95 of 100 below 7.8 if it were exact; it is rather too large than too small
    assert np.quantile(squares, 0.95) < 7.8
    low = sharpened(CUBE, seen_at(position_m, flat(yaw)), picture)
    # the camera looks down at 45 degrees or so: 1 mm of the table's height is about 1 mm along its view
    assert 0.7e-3 < low.position_std_m < 3e-3


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"support": 1.5}, "a share is at most 1"),
        ({"reaches_px": ()}, "at least one reach"),
        ({"start_reaches_px": (8, 0)}, "each of 1 px or more"),
        ({"chosen_reaches_px": ()}, "at least one reach"),
        ({"blur_px": 0.0}, "blur_px is 0.0, it must be positive"),
    ],
)
def test_settings_without_meaning_are_refused(words: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        EdgeSettings(**words)
