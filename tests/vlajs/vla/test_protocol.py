"""Our own protocol from the server's side: what it reads, and what it must refuse."""

import msgpack
import numpy as np
import pytest

from vlajs.vla.convention import Convention
from vlajs.vla.errors import WireError
from vlajs.vla.images import from_jpeg, to_jpeg
from vlajs.vla.protocol import (
    ActRequest,
    Metadata,
    read_answer,
    read_metadata,
    read_request,
    write_answer,
    write_request,
)
from vlajs.vla.wire import to_json, to_msgpack

IMAGES = np.arange(2 * 8 * 6 * 3, dtype=np.uint8).reshape(2, 8, 6, 3)
REQUEST = ActRequest(images=IMAGES, instructions=("a", "b"), unnorm_key="k")
PLAIN = {"version": 1, "instructions": ["a", "b"], "encoding": "raw", "images": IMAGES, "unnorm_key": None}


def test_a_raw_request_is_read_exactly() -> None:
    back = read_request(write_request(REQUEST))
    np.testing.assert_array_equal(back.images, IMAGES)
    assert (back.instructions, back.unnorm_key) == (("a", "b"), "k")


def test_a_jpeg_request_is_read_nearly_and_is_smaller() -> None:
    smooth = np.repeat(np.arange(0, 256, 2, dtype=np.uint8)[None, None, :, None], 3, axis=3).repeat(128, axis=1)
    request = ActRequest(images=smooth, instructions=("a",))
    data = write_request(request, encoding="jpeg")
    assert len(data) * 5 < len(write_request(request))
    assert np.abs(read_request(data).images.astype(int) - smooth).max() <= 4


def test_an_answer_and_metadata_are_read_exactly() -> None:
    actions = np.random.default_rng(1).normal(size=(2, 3, 7))
    np.testing.assert_array_equal(read_answer(write_answer(actions)), actions)
    metadata = Metadata(name="m", convention=Convention(rate_hz=5.0, image_size=(8, 6)), action_horizon=3, max_batch=2)
    assert read_metadata(metadata.to_json()) == metadata
    more = to_json({**metadata.to_dict(), "gpu": "none"})
    assert read_metadata(more) == metadata  # a later server may say more


def test_a_server_cannot_send_nan() -> None:
    with pytest.raises(WireError, match="NaN"):
        write_answer(np.full((1, 1, 7), np.nan))


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"version": 2}, "version 2, this server reads 1"),
        ({"instructions": "ab"}, "list of strings"),
        ({"instructions": []}, "0 instructions"),
        ({"instructions": ["a"] * 5}, "5 instructions, this server answers 1 to 4"),
        ({"instructions": ["a"]}, "2 images and 1 instructions"),
        ({"instructions": ["a", "b" * 2001]}, "more than 2000 characters"),
        ({"unnorm_key": 3}, "unnorm_key"),
        ({"encoding": "png"}, "images must be"),
        ({"images": [b"x"]}, "images must be"),
        ({"images": IMAGES.astype(np.float32)}, "dtype float32"),
        ({"images": IMAGES[0]}, r"shape \(8, 6, 3\)"),
        ({"images": IMAGES[:, :0]}, r"shape \(2, 0, 6, 3\)"),
        ({"images": IMAGES[..., :1]}, r"\(2, 8, 6, 1\)"),
        ({"encoding": "jpeg", "images": [b"x", b"y"]}, "no readable JPEG"),
        ({"encoding": "jpeg", "images": [1, 2]}, "must be bytes"),
        ({"encoding": "jpeg", "images": []}, "images must be"),
    ],
)
def test_requests_a_server_refuses(changes: dict, message: str) -> None:
    with pytest.raises(WireError, match=message):
        read_request(to_msgpack({**PLAIN, **changes}), max_batch=4)


def test_a_request_over_the_limit_and_one_that_is_no_map() -> None:
    with pytest.raises(WireError, match="at most 100 are read"):
        read_request(write_request(REQUEST), max_bytes=100)
    with pytest.raises(WireError, match="a list, not a map"):
        read_request(msgpack.packb([1]))


def test_jpegs_that_would_unfold_too_far_or_differ() -> None:
    small, large = to_jpeg(IMAGES[0], 90), to_jpeg(np.zeros((64, 64, 3), np.uint8), 90)
    noisy = to_jpeg(np.random.default_rng(1).integers(0, 255, (64, 64, 3), np.uint8), 90)
    with pytest.raises(WireError, match="more than 4000 pixels"):
        from_jpeg([large], max_pixels=4000)  # 64 x 64 = 4096
    with pytest.raises(WireError, match="different sizes"):
        from_jpeg([small, large], max_pixels=10_000)
    with pytest.raises(WireError, match="cannot be decoded"):
        from_jpeg([noisy[: len(noisy) // 2]], max_pixels=10_000)
