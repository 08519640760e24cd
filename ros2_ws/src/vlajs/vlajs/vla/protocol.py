"""vlajs's own protocol for a batch of images: what client and server send each other, and how it is checked.

    GET  /healthz    200 while the model is loaded and answers; no token needed
    GET  /metadata   JSON: protocol, version, name, action_horizon, max_batch, image_encodings, convention
    POST /act        msgpack -> msgpack
    GET  /metrics    what the server did, as Prometheus reads it

A request is a map: ``version``, ``instructions`` (B strings), ``images`` (an array (B, H, W, 3) uint8, or with ``jpeg``
as ``encoding`` a list of B JPEG files), ``encoding``, ``unnorm_key`` (a string or nil). An answer is a map:
``version``, ``actions`` (an array (B, K, 7), with a quaternion 8, of the convention's numbers, K the action horizon).
An error is a status 4xx (the request is at fault: asking again is of no use) or 5xx with JSON ``{"error": "..."}``.
With a token, all but ``/healthz`` want ``Authorization: Bearer TOKEN`` and answer 401 without. Arrays:
``vlajs.vla.wire``.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from vlajs.vla.convention import Convention
from vlajs.vla.errors import ConventionError, WireError
from vlajs.vla.images import ENCODINGS, JPEG, RAW, from_jpeg, to_jpeg
from vlajs.vla.wire import MAX_MESSAGE_BYTES, fields_of, from_json, from_msgpack, to_json, to_msgpack

PROTOCOL = "vlajs-vla"
VERSION = 1
HEALTH_PATH, METADATA_PATH, ACT_PATH, METRICS_PATH = "/healthz", "/metadata", "/act", "/metrics"
MAX_HORIZON = 256
MAX_BATCH = 4096
MAX_INSTRUCTION_CHARACTERS = 2000
MAX_NAME_CHARACTERS = 200
MAX_REQUEST_PIXELS = MAX_MESSAGE_BYTES // 3


@dataclass(frozen=True, kw_only=True)
class Metadata:
    """What a server says of itself.

    Attributes:
        name: of the model, recorded with results.
        convention: what its actions mean; None if it does not know.
        action_horizon: K, actions in an answer.
        max_batch: most images in one request.
        image_encodings: those of ``raw`` and ``jpeg`` it reads.
    """

    name: str
    convention: Convention | None = None
    action_horizon: int = 1
    max_batch: int = 64
    image_encodings: tuple[str, ...] = ENCODINGS

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON and msgpack, protocol and version included."""
        return {
            "protocol": PROTOCOL,
            "version": VERSION,
            "name": self.name,
            "action_horizon": self.action_horizon,
            "max_batch": self.max_batch,
            "image_encodings": list(self.image_encodings),
            "convention": None if self.convention is None else self.convention.to_dict(),
        }

    @staticmethod
    def from_dict(data: object) -> "Metadata":
        """Parse and check; unknown keys are ignored, so that servers may say more.

        Raises:
            WireError: another protocol or version, a missing or senseless value.
            ConventionError: a convention that is refused.
        """
        values = fields_of(data, "the metadata")
        if values.get("protocol") != PROTOCOL or values.get("version") != VERSION:
            raise WireError(
                f"the server speaks {values.get('protocol')!r} version {values.get('version')!r}, this client "
                f"{PROTOCOL!r} version {VERSION}: is the backend right, and are both vlajs of the same release?"
            )
        name, encodings = values.get("name"), values.get("image_encodings")
        if not isinstance(name, str) or not 1 <= len(name) <= MAX_NAME_CHARACTERS:
            raise WireError("the metadata's name must be a string of 1 to 200 characters")
        if not isinstance(encodings, list) or not encodings or any(item not in ENCODINGS for item in encodings):
            raise WireError(f"the metadata's image_encodings must be some of {', '.join(ENCODINGS)}")
        stated = values.get("convention")
        return Metadata(
            name=name,
            convention=None if stated is None else Convention.from_dict(stated),
            action_horizon=_count(values.get("action_horizon"), "action_horizon", MAX_HORIZON),
            max_batch=_count(values.get("max_batch"), "max_batch", MAX_BATCH),
            image_encodings=tuple(encodings),
        )

    def to_json(self) -> bytes:
        """The answer to GET /metadata."""
        return to_json(self.to_dict())


def read_metadata(data: bytes) -> Metadata:
    """Metadata of an answer to GET /metadata.

    Raises:
        WireError: no JSON, or as :meth:`Metadata.from_dict`; a convention that is refused too.
    """
    try:
        return Metadata.from_dict(from_json(data, max_bytes=1024 * 1024))
    except ConventionError as error:
        raise WireError(f"the metadata's convention: {error}") from error


@dataclass(frozen=True, kw_only=True)
class ActRequest:
    """What a server is asked.

    Attributes:
        images: (B, H, W, 3) uint8, RGB.
        instructions: B strings.
        unnorm_key: statistics to scale actions back with; None: the server's only or default ones.
    """

    images: np.ndarray
    instructions: tuple[str, ...]
    unnorm_key: str | None = None


def write_request(request: ActRequest, *, encoding: str = RAW, jpeg_quality: int = 90) -> bytes:
    """The body of POST /act; ``encoding`` is ``raw`` or ``jpeg``.

    Raises:
        WireError: it cannot be sent.
    """
    images: object = request.images
    if encoding == JPEG:
        images = [to_jpeg(image, jpeg_quality) for image in request.images]
    return to_msgpack(
        {
            "version": VERSION,
            "instructions": list(request.instructions),
            "encoding": encoding,
            "images": images,
            "unnorm_key": request.unnorm_key,
        }
    )


def read_request(data: bytes, *, max_bytes: int = MAX_MESSAGE_BYTES, max_batch: int = MAX_BATCH) -> ActRequest:
    """What :func:`write_request` wrote, for servers.

    Raises:
        WireError: whatever a server should answer with 400; the message can be sent back.
    """
    values = fields_of(from_msgpack(data, max_bytes=max_bytes), "the request")
    if values.get("version") != VERSION:
        raise WireError(f"request of version {values.get('version')!r}, this server reads {VERSION}")
    instructions, unnorm_key = values.get("instructions"), values.get("unnorm_key")
    if not isinstance(instructions, list) or not all(isinstance(item, str) for item in instructions):
        raise WireError("instructions must be a list of strings")
    if not 1 <= len(instructions) <= max_batch:
        raise WireError(f"{len(instructions)} instructions, this server answers 1 to {max_batch} at once")
    if any(len(item) > MAX_INSTRUCTION_CHARACTERS for item in instructions):
        raise WireError(f"an instruction of more than {MAX_INSTRUCTION_CHARACTERS} characters")
    if unnorm_key is not None and not isinstance(unnorm_key, str):
        raise WireError("unnorm_key must be a string or nil")
    images = _images_of(values)
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] != 3 or 0 in images.shape:
        raise WireError(f"images of shape {images.shape} and dtype {images.dtype}, expected (B, H, W, 3) uint8")
    if len(images) != len(instructions):
        raise WireError(f"{len(images)} images and {len(instructions)} instructions: there must be one for each")
    return ActRequest(images=images, instructions=tuple(instructions), unnorm_key=unnorm_key)


def write_answer(actions: np.ndarray) -> bytes:
    """The answer to POST /act; ``actions`` (B, K, 7 or 8), float.

    Raises:
        WireError: NaN or infinity, which must never leave a server.
    """
    return to_msgpack({"version": VERSION, "actions": actions})


def read_answer(data: bytes, *, max_bytes: int = MAX_MESSAGE_BYTES) -> object:
    """The ``actions`` of what :func:`write_answer` wrote, still to be checked (``vlajs.vla.answers``).

    Raises:
        WireError: no msgpack, no map, or another version.
    """
    values = fields_of(from_msgpack(data, max_bytes=max_bytes), "the answer")
    if values.get("version") != VERSION:
        raise WireError(f"answer of version {values.get('version')!r}, this client reads {VERSION}")
    return values.get("actions")


def write_error(message: str) -> bytes:
    """The body of an answer with status 4xx or 5xx."""
    return to_json({"error": message})


def _images_of(values: Any) -> np.ndarray:
    encoding, images = values.get("encoding"), values.get("images")
    if encoding == JPEG and isinstance(images, list) and images:
        return from_jpeg(images, max_pixels=MAX_REQUEST_PIXELS)
    if encoding == RAW and isinstance(images, np.ndarray):
        return images
    raise WireError("images must be an array with encoding 'raw', or a list of JPEG files with encoding 'jpeg'")


def _count(value: object, name: str, limit: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= limit:
        raise WireError(f"the metadata's {name} = {value!r} must be a whole number in [1, {limit}]")
    return value


def check_instructions(instructions: Sequence[str]) -> None:
    """Refuse instructions no server reads.

    Raises:
        ValueError: an empty or overlong one.
    """
    for item in instructions:
        if not isinstance(item, str) or not 1 <= len(item) <= MAX_INSTRUCTION_CHARACTERS:
            raise ValueError(f"an instruction must be a string of 1 to {MAX_INSTRUCTION_CHARACTERS} characters")
