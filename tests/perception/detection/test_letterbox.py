"""Pictures into inputs, and pixels back."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from vlajs_perception.detection.letterbox import Letterbox


def test_a_picture_is_scaled_and_bordered() -> None:
    # 640 x 480 to 416: 312 high, 8 more make 320, half of them above
    box = Letterbox.fit((480, 640), 416)
    assert (box.scaled_shape, box.input_shape, box.left, box.top) == ((312, 416), (320, 416), 0, 4)
    batch = box.batch_of(np.full((480, 640, 3), 255, np.uint8))
    assert batch.shape == (1, 3, 320, 416)
    assert (batch[0, :, 4:316] == 1.0).all()
    np.testing.assert_allclose(batch[0, :, [0, 3, 316, 319]], 114 / 255)
    # the input's point (208, 160), its middle, is the picture's middle: between pixels 319 and 320, 239 and 240
    np.testing.assert_allclose(box.to_picture(np.array([208.0, 160.0])), [319.5, 239.5])
    # the edge of the first pixel is half a pixel before its middle
    np.testing.assert_allclose(box.to_picture(np.array([0.0, 4.0])), [-0.5, -0.5])


@settings(max_examples=50, deadline=None)
@given(st.integers(32, 900), st.integers(32, 900), st.sampled_from([160, 320, 416, 640]))
def test_the_whole_picture_fits_and_comes_back(height: int, width: int, side: int) -> None:
    box = Letterbox.fit((height, width), side)
    assert max(box.scaled_shape) == side
    assert all(size % 32 == 0 for size in box.input_shape)
    assert all(0 <= spare < 32 for spare in np.subtract(box.input_shape, box.scaled_shape))
    corners = np.array([[0, 0], box.scaled_shape[::-1]], dtype=np.float64) + np.array([box.left, box.top])
    np.testing.assert_allclose(box.to_picture(corners), [[-0.5, -0.5], [width - 0.5, height - 0.5]], atol=1e-9)


def test_a_dot_is_found_where_it_was() -> None:
    image = np.zeros((480, 640, 3), np.uint8)
    image[238:243, 398:403] = 255  # its middle is pixel (400, 240)
    box = Letterbox.fit((480, 640), 320)
    bright = box.batch_of(image)[0, 0, :, :]
    bright = np.where(bright > 0.46, bright, 0.0)  # without the grey borders
    rows, columns = np.indices(bright.shape)
    middle = np.array([(bright * (columns + 0.5)).sum(), (bright * (rows + 0.5)).sum()]) / bright.sum()
    np.testing.assert_allclose(box.to_picture(middle), [400, 240], atol=0.3)
