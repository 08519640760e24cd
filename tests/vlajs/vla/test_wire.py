"""Arrays survive the wire exactly; what is not an array of numbers is refused, before anything is made of it."""

import base64
import json
import struct

import msgpack
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from vlajs.vla.errors import WireError
from vlajs.vla.wire import DTYPES, array_from, from_json, from_msgpack, to_json, to_msgpack

WAYS = {"json": (to_json, from_json), "msgpack": (to_msgpack, from_msgpack)}

arrays = st.sampled_from(DTYPES).flatmap(
    lambda dtype: hnp.arrays(
        np.dtype(dtype),
        hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4),
        elements={"allow_nan": False, "allow_infinity": False} if "f" in dtype else None,
    )
)


@pytest.mark.parametrize("way", WAYS)
@settings(max_examples=60, deadline=None)
@given(array=arrays)
def test_a_round_trip_is_exact(way: str, array: np.ndarray) -> None:
    write, read = WAYS[way]
    back = read(write({"actions": array, "text": "grüß"}))
    assert back["text"] == "grüß"
    assert back["actions"].dtype == array.dtype
    assert back["actions"].shape == array.shape
    assert back["actions"].tobytes() == array.tobytes()
    assert back["actions"].flags.writeable


@pytest.mark.parametrize("way", WAYS)
def test_views_and_numbers_travel_too(way: str) -> None:
    write, read = WAYS[way]
    image = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    np.testing.assert_array_equal(read(write(image[:, ::-1])), image[:, ::-1])
    assert read(write(np.float32(0.5))) == 0.5


def test_the_formats_are_those_of_the_servers() -> None:
    array = np.array([[1.0, 2.0]])
    data = struct.pack("<2d", 1.0, 2.0)
    # json-numpy 2.1.1 writes these three fields, openpi's msgpack_numpy these four with keys of bytes
    assert json.loads(to_json(array)) == {"__numpy__": base64.b64encode(data).decode(), "dtype": "<f8", "shape": [1, 2]}
    assert msgpack.unpackb(to_msgpack(array)) == {
        b"__ndarray__": True,
        b"data": data,
        b"dtype": "<f8",
        b"shape": [1, 2],
    }
    assert from_msgpack(msgpack.packb({"t": {b"__npgeneric__": True, b"data": 1.5, b"dtype": "<f8"}})) == {"t": 1.5}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    "value",
    [
        np.array([object()]),
        np.array(["text"]),
        np.array([1 + 2j]),
        np.array([1.0], dtype=">f8"),
        np.array([np.nan]),
        np.array([np.inf], dtype=np.float16),
        {1, 2},
        object(),
    ],
)
def test_what_has_no_place_on_the_wire_is_not_sent(way: str, value: object) -> None:
    with pytest.raises(WireError):
        WAYS[way][0]({"value": value})


@pytest.mark.parametrize(
    "data, dtype, shape, message",
    [
        (b"12345678", "|O", [1], r"dtype '\|O'"),
        (b"12345678", "O", [1], "dtype"),
        (b"12345678", "<f8,<f8", [1], "dtype"),
        (b"12345678", ["<f8"], [1], "dtype"),
        (b"12345678", ">f8", [1], "only .* are read"),
        (b"12345678", "<M8[s]", [1], "dtype"),
        (b"12345678", None, [1], "dtype"),
        (b"12345678", "<f8", [-1], ">= 0"),
        (b"12345678", "<f8", [-1, -1], ">= 0"),
        (b"12345678", "<f8", [True], ">= 0"),
        (b"12345678", "<f8", [1.0], ">= 0"),
        (b"12345678", "<f8", "1", "list"),
        (b"12345678", "<f8", [1] * 9, "at most 8"),
        (b"12345678", "<f8", [2], "needs 16 bytes, got 8"),
        (b"12345678", "<f8", [2**62, 4], "got 8"),
        (b"12345678", "<f8", [0], "needs 0 bytes"),
        ("12345678", "<f8", [1], "must be bytes"),
        (struct.pack("<d", np.nan), "<f8", [1], "NaN"),
        (struct.pack("<d", np.inf), "<f8", [], "NaN or infinity"),
    ],
)
def test_arrays_that_must_not_be_read(data: object, dtype: object, shape: object, message: str) -> None:
    with pytest.raises(WireError, match=message):
        array_from(data, dtype, shape)
    if isinstance(data, bytes):
        sent = msgpack.packb({b"__ndarray__": True, b"data": data, b"dtype": dtype, b"shape": shape})
        with pytest.raises(WireError, match=message):
            from_msgpack(sent)
        text = json.dumps({"__numpy__": base64.b64encode(data).decode(), "dtype": dtype, "shape": shape})
        with pytest.raises(WireError, match=message):
            from_json(text)


@pytest.mark.parametrize(
    "text, message",
    [
        (b"<html>", "no JSON.*right server"),
        (b"", "no JSON"),
        (b"\xff\xfe", "no JSON"),
        (b"[NaN]", "NaN is not finite"),
        (b"[-Infinity]", "not finite"),
        (b"[1e999]", "too large"),
        (b"[" * 100_000, "no JSON"),
        (b'{"__numpy__": "***", "dtype": "<f8", "shape": [1]}', "base64"),
        (b'{"__numpy__": 7, "dtype": "<f8", "shape": [1]}', "base64"),
    ],
)
def test_json_that_is_refused(text: bytes, message: str) -> None:
    with pytest.raises(WireError, match=message):
        from_json(text)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xc1",
        msgpack.packb([1, 2, 3])[:-1],
        msgpack.packb(1) + b"\x00",
        b"\x91" * 100_000,
        b"\xdd\xff\xff\xff\xff",  # a list that claims four billion entries
        msgpack.packb(list(range(70_000))),
        msgpack.packb(msgpack.ExtType(5, b"abc")),
        msgpack.packb({1: 2}),
        msgpack.packb({b"__npgeneric__": True, b"data": "x", b"dtype": "<f8"}),
    ],
)
def test_msgpack_that_is_refused(data: bytes) -> None:
    with pytest.raises(WireError):
        from_msgpack(data)


@pytest.mark.parametrize("way", WAYS)
def test_a_message_over_the_limit_is_not_looked_at(way: str) -> None:
    write, read = WAYS[way]
    data = write(np.zeros(1000))
    assert read(data, max_bytes=len(data)).shape == (1000,)
    with pytest.raises(WireError, match=f"message of {len(data)} bytes, at most {len(data) - 1} are read"):
        read(data, max_bytes=len(data) - 1)
