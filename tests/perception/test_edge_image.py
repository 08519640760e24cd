import numpy as np
import pytest

from tests.support.drawn_objects import grey
from vlajs_perception.edge_image import EdgeImage

WHOLE = (0.0, 0.0, 639.0, 479.0)


def halves(at: float, left: int = 90, right: int = 190) -> np.ndarray:
    """Dark to the left of ``at``, light to the right; the pixel in which the step is is in between."""
    picture = grey(left)
    column = int(np.floor(at + 0.5))
    picture[:, column:] = right
    picture[:, column] = round(left + (right - left) * (column + 0.5 - at))
    return picture


def look(picture: np.ndarray, u: float, reach_px: int = 8) -> tuple[float, float]:
    image = EdgeImage(picture, WHOLE, around_px=0, blur_px=1.0)
    offsets_px, steepness = image.edges_near(np.array([[u, 200.0]]), np.array([[1.0, 0.0]]), reach_px)
    return float(offsets_px[0]), float(steepness[0])


@pytest.mark.parametrize("at", [300.0, 300.25, 300.4, 299.7])
def test_a_step_is_found_to_a_tenth_of_a_pixel(at: float) -> None:
    offset_px, steepness = look(halves(at), 304.0)
    assert offset_px == pytest.approx(at - 304.0, abs=0.1)
    # 100 grey levels, smoothed by 1 px and differenced over 2 px: half the normal distribution's 68 % within 1 px is
    # 34 a pixel at the step itself, 33 half a pixel beside it, less what a pixel averages; in three channels sqrt(3)
    # times as much
    assert 30.0 * 3**0.5 < steepness < 34.2 * 3**0.5


def test_of_two_steps_the_nearer_one_counts_unless_it_is_much_fainter() -> None:
    picture = halves(300.0)
    picture[:, 306:] = 90  # down again at 305.5
    assert look(picture, 304.5)[0] == pytest.approx(1.0, abs=0.1)
    assert look(picture, 301.0)[0] == pytest.approx(-1.0, abs=0.1)
    picture[:, 306:] = 185  # a step of 5 levels beside one of 100
    assert look(picture, 304.5)[0] == pytest.approx(-4.5, abs=0.1)


def test_colours_of_one_brightness_have_an_edge() -> None:
    picture = grey(100)
    picture[:, :300] = (160, 100, 40)
    assert look(picture, 302.0)[0] == pytest.approx(-2.5, abs=0.1)


def test_a_cut_out_says_the_same_as_the_whole() -> None:
    picture = halves(300.0)
    part = EdgeImage(picture, (290.0, 190.0, 310.0, 210.0), around_px=10, blur_px=1.0)
    at, normals = np.array([[303.0, 200.0], [297.0, 195.0]]), np.array([[1.0, 0.0], [1.0, 0.0]])
    whole = EdgeImage(picture, WHOLE, around_px=0, blur_px=1.0)
    for cut, full in zip(part.edges_near(at, normals, 6), whole.edges_near(at, normals, 6), strict=True):
        np.testing.assert_allclose(cut, full, atol=1e-4)


def test_a_picture_holds_what_is_inside_but_for_its_rim() -> None:
    image = EdgeImage(grey(), (-20.0, 10.0, 30.0, 40.0), around_px=5, blur_px=1.0)  # a box may reach beyond the picture
    pixels = np.array([[2.0, 2.0], [1.9, 50.0], [637.0, 477.0], [638.0, 100.0], [-5.0, 10.0], [630.0, 470.0]])
    assert image.holds(pixels).tolist() == [True, False, True, False, False, True]
