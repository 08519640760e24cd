import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.drawn_objects import HEIGHT, WIDTH, drawn, grey
from tests.support.seen_objects import error_of, flat, looking, pixels_of
from vlajs_perception.edge_image import EdgeImage
from vlajs_perception.edge_search import find_on_table
from vlajs_perception.estimate import Estimate, PoseError
from vlajs_perception.fit_settings import EdgeSettings, Table
from vlajs_perception.objects import ObjectModel, box, cube, peg

CUBE, PEG, BOX = cube("cube", 0.02), peg("peg", 0.12, 0.025), box("box", (0.09, 0.06, 0.05))
CAMERA = looking([1.2, 0.3, 0.6], [0.6, 0.0, 0.0])
EDGES = EdgeSettings()


def box_px_of(model: ObjectModel, position_m: np.ndarray, yaw: float) -> np.ndarray:
    pixels = pixels_of(model, CAMERA, position_m, flat(yaw))
    return np.concatenate([pixels.min(axis=0), pixels.max(axis=0)])


def find(model: ObjectModel, box_px: np.ndarray, picture: np.ndarray, near_yaw: float = 0.0) -> Estimate:
    image = EdgeImage(picture, box_px, around_px=60, blur_px=EDGES.blur_px)
    near = [np.cos(near_yaw / 2), 0.0, 0.0, np.sin(near_yaw / 2)]
    size_px = (WIDTH, HEIGHT)
    return find_on_table(
        model, CAMERA, box_px, image, size_px, Table(), max_off_px=12.0, near_wxyz=near, settings=EDGES
    )


@given(
    model=st.sampled_from([CUBE, PEG, BOX]),
    xy=st.tuples(st.floats(0.5, 0.7), st.floats(-0.12, 0.12)),
    yaw=st.floats(-3.0, 3.0),
    off_px=st.tuples(*[st.floats(-2.0, 2.0)] * 4),
)
@settings(max_examples=25, deadline=None)
def test_a_box_and_edges_say_how_an_object_lies(
    model: ObjectModel, xy: tuple[float, float], yaw: float, off_px: tuple[float, float, float, float]
) -> None:
    position_m = np.array([*xy, model.half_size_m[2]])
    picture = drawn(model, CAMERA, position_m, flat(yaw))
    found = find(model, box_px_of(model, position_m, yaw) + off_px, picture)
    error = error_of(found, model, position_m, flat(yaw))
    assert np.linalg.norm(error[:3]) < 1e-3
    assert abs(error[5]) < (0.05 if model is CUBE else 0.01)
    assert found.source == "plane"
    assert found.residual_px is None


def test_the_branch_nearest_the_track_is_taken() -> None:
    position_m = np.array([0.6, 0.0, 0.025])
    picture = drawn(PEG, CAMERA, position_m, flat(0.3))
    for near_yaw in (0.4, 0.4 + np.pi):
        found = find(PEG, box_px_of(PEG, position_m, 0.3), picture, near_yaw)
        cosine = abs(np.dot(found.quat_wxyz, [np.cos(near_yaw / 2), 0.0, 0.0, np.sin(near_yaw / 2)]))
        assert 2 * np.arccos(cosine) == pytest.approx(0.1, abs=0.02)


def test_another_object_in_the_same_place_is_not_taken_for_it() -> None:
    """A box of other proportions whose bounding box a yaw of the peg could have."""
    position_m = np.array([0.6, 0.0, 0.05])
    other = box("other", (0.09, 0.09, 0.05))
    picture = drawn(other, CAMERA, position_m, flat(0.3))
    with pytest.raises(PoseError, match=r"of the outline that peg has on the table .* \(limit 0.8\)"):
        find(PEG, box_px_of(PEG, np.array([0.6, 0.0, 0.025]), 0.3), picture)


def test_nothing_in_the_box_is_nothing() -> None:
    with pytest.raises(PoseError, match=r"at most 0\.00 of the outline"):
        find(CUBE, box_px_of(CUBE, np.array([0.6, 0.0, 0.02]), 0.3), grey())


def test_a_box_that_no_yaw_has_is_refused() -> None:
    middle = CAMERA.project(np.array([0.6, 0.0, 0.02]))
    picture = drawn(CUBE, CAMERA, np.array([0.6, 0.0, 0.02]), flat(0.3))
    with pytest.raises(PoseError, match=r"at most 0\.00"):
        find(CUBE, np.concatenate([middle - 80, middle + 80]), picture)


def test_a_box_over_the_horizon_is_refused() -> None:
    with pytest.raises(PoseError, match="looks past the table"):
        find(CUBE, np.array([300.0, -900.0, 340.0, -860.0]), grey())
