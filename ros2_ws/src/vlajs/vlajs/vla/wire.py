"""Arrays on the wire, in JSON (the json_numpy convention) and in msgpack (openpi's), with limits and without pickle.

Only the dtypes of :data:`DTYPES` pass, little-endian and C-contiguous; every float must be finite. What comes from
elsewhere is checked before anything is made of it: size of the message, dtype against the list (a dtype string is never
handed to numpy unseen), shape, and that the bytes are as many as the shape needs.
"""

import base64
import binascii
import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from vlajs.vla.errors import VlaConfigError, WireError

DTYPES = ("|b1", "|u1", "<i4", "<i8", "<f2", "<f4", "<f8")
"""What arrays may hold: bool, uint8, int32, int64, float16, float32, float64."""
MAX_MESSAGE_BYTES = 64 * 1024 * 1024
MAX_DIMENSIONS = 8
MAX_ITEMS = 65536
"""The most entries a list or map of a message may have: large data travels as arrays."""


def to_json(value: object) -> bytes:
    """UTF-8 JSON; an array becomes ``{"__numpy__": base64, "dtype": "<f8", "shape": [2, 3]}``.

    Raises:
        WireError: something that has no place on the wire (:func:`array_parts`), NaN or infinity.
    """
    try:
        return json.dumps(value, default=_json_default, allow_nan=False).encode()
    except (TypeError, ValueError) as error:
        raise WireError(f"cannot be written as JSON: {error}") from error


def from_json(data: bytes | str, *, max_bytes: int = MAX_MESSAGE_BYTES) -> Any:
    """What :func:`to_json` wrote; arrays are numpy's.

    Raises:
        WireError: more than ``max_bytes``, no JSON, nested too deeply, NaN or infinity, or an array that
            :func:`array_from` refuses.
    """
    _check_size(len(data), max_bytes)
    try:
        return json.loads(data, object_hook=_json_hook, parse_constant=_refuse_constant, parse_float=_finite)
    except WireError:
        raise
    except (ValueError, RecursionError) as error:
        raise WireError(f"no JSON ({error or 'nested too deeply'}): is this the right server and port?") from error


def to_msgpack(value: object) -> bytes:
    """msgpack; an array becomes ``{b"__ndarray__": True, b"data": ..., b"dtype": "<f8", b"shape": [2, 3]}``.

    Raises:
        WireError: something that has no place on the wire (:func:`array_parts`).
        VlaConfigError: msgpack is not installed.
    """
    try:
        return _msgpack().packb(value, default=_msgpack_default)
    except (TypeError, ValueError, OverflowError) as error:
        raise WireError(f"cannot be written as msgpack: {error}") from error


def from_msgpack(data: bytes, *, max_bytes: int = MAX_MESSAGE_BYTES) -> Any:
    """What :func:`to_msgpack` wrote; lists stay lists, arrays are numpy's.

    Raises:
        WireError: more than ``max_bytes``, no msgpack, a list or map with more than :data:`MAX_ITEMS` entries, an
            extension type, or an array that :func:`array_from` refuses.
        VlaConfigError: msgpack is not installed.
    """
    _check_size(len(data), max_bytes)
    msgpack = _msgpack()
    try:
        return msgpack.unpackb(
            data,
            object_hook=_msgpack_hook,
            ext_hook=_refuse_extension,
            max_array_len=MAX_ITEMS,
            max_map_len=MAX_ITEMS,
            strict_map_key=True,
        )
    except WireError:
        raise
    except (ValueError, msgpack.exceptions.UnpackException, RecursionError) as error:
        cause = str(error) or type(error).__name__
        raise WireError(f"no msgpack ({cause}): is this the right server and port?") from error


def array_parts(array: np.ndarray) -> tuple[bytes, str, list[int]]:
    """Data, dtype and shape of an array as they are sent.

    Raises:
        WireError: a dtype not in :data:`DTYPES`, or a float that is not finite.
    """
    array = np.ascontiguousarray(array).reshape(array.shape)  # ascontiguousarray alone makes a list of a number
    if array.dtype.str not in DTYPES:
        raise WireError(f"an array of dtype {array.dtype} has no place on the wire: convert to one of {DTYPES}")
    _check_finite(array)
    return array.tobytes(), array.dtype.str, list(array.shape)


def array_from(data: object, dtype: object, shape: object) -> np.ndarray:
    """The array of three values from elsewhere; a copy, writable.

    Raises:
        WireError: a dtype not in :data:`DTYPES`, a shape that is no list of at most :data:`MAX_DIMENSIONS` numbers
            >= 0, a number of bytes that does not match, or a float that is not finite.
    """
    if not isinstance(dtype, str) or dtype not in DTYPES:
        raise WireError(f"array of dtype {_short(dtype)}: only {', '.join(DTYPES)} are read")
    if not isinstance(shape, list) or len(shape) > MAX_DIMENSIONS:
        raise WireError(f"array of shape {_short(shape)}: it must be a list of at most {MAX_DIMENSIONS} numbers")
    if not all(isinstance(size, int) and not isinstance(size, bool) and size >= 0 for size in shape):
        raise WireError(f"array of shape {_short(shape)}: every size must be a whole number >= 0")
    if not isinstance(data, bytes):
        raise WireError(f"array data of type {type(data).__name__}: it must be bytes")
    expected = math.prod(shape) * np.dtype(dtype).itemsize
    if len(data) != expected:
        raise WireError(f"array of shape {_short(shape)} and dtype {dtype} needs {expected} bytes, got {len(data)}")
    array = np.frombuffer(data, dtype=dtype).reshape(shape).copy()
    _check_finite(array)
    return array


def _json_default(value: object) -> dict[str, Any]:
    if not isinstance(value, np.ndarray | np.generic):
        raise WireError(f"a {type(value).__name__} has no place on the wire")
    data, dtype, shape = array_parts(np.asarray(value))
    return {"__numpy__": base64.b64encode(data).decode(), "dtype": dtype, "shape": shape}


def _json_hook(item: dict[str, Any]) -> object:
    if "__numpy__" not in item:
        return item
    try:
        data = base64.b64decode(item["__numpy__"], validate=True)
    except (TypeError, ValueError, binascii.Error) as error:
        raise WireError(f"array data is no base64 ({error})") from error
    return array_from(data, item.get("dtype"), item.get("shape"))


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise WireError(f"the number {_short(text)} is too large for a float")
    return value


def _refuse_constant(name: str) -> None:
    raise WireError(f"the number {name} is not finite")


def _msgpack_default(value: object) -> dict[bytes, Any]:
    if not isinstance(value, np.ndarray | np.generic):
        raise WireError(f"a {type(value).__name__} has no place on the wire")
    data, dtype, shape = array_parts(np.asarray(value))
    return {b"__ndarray__": True, b"data": data, b"dtype": dtype, b"shape": shape}


def _msgpack_hook(item: dict[Any, Any]) -> object:
    if b"__ndarray__" in item:
        return array_from(item.get(b"data"), item.get(b"dtype"), item.get(b"shape"))
    if b"__npgeneric__" in item:  # numpy's scalars, in openpi's metadata and timings
        value = item.get(b"data")
        if not isinstance(value, bool | int | float):
            raise WireError(f"a scalar of type {type(value).__name__} has no place on the wire")
        return value
    return item


def _refuse_extension(code: int, data: bytes) -> None:
    raise WireError(f"msgpack extension {code} of {len(data)} bytes: extensions have no place on the wire")


def _check_size(size: int, max_bytes: int) -> None:
    if size > max_bytes:
        raise WireError(f"message of {size} bytes, at most {max_bytes} are read: ask for less, or raise the limit")


def _check_finite(array: np.ndarray) -> None:
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise WireError(
            f"an array of shape {array.shape} holds NaN or infinity: such numbers are neither sent nor read"
        )


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def _msgpack() -> Any:
    try:
        import msgpack
    except ImportError as error:
        raise VlaConfigError("msgpack is not installed: pip install 'vlajs[vla]'") from error
    return msgpack


def fields_of(value: object, what: str) -> Mapping[Any, Any]:
    """``value`` if it is a map.

    Raises:
        WireError: anything else; ``what`` names it.
    """
    if not isinstance(value, dict):
        raise WireError(f"{what} is a {type(value).__name__}, not a map")
    return value
