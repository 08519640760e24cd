"""What the client needs of a server's protocol, and how a client is set up."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from vlajs.vla.caller import Retries
from vlajs.vla.convention import Convention
from vlajs.vla.conversion import MAX_ROTATION_RAD, MAX_TRANSLATION_M
from vlajs.vla.endpoint import Endpoint, endpoint_from
from vlajs.vla.errors import VlaConfigError
from vlajs.vla.images import ENCODINGS, RAW
from vlajs.vla.protocol import Metadata
from vlajs.vla.transport import Limits

MAX_PARALLEL = 64


@dataclass(frozen=True, kw_only=True)
class OpenpiKeys:
    """Names of an openpi policy's inputs; they differ from checkpoint to checkpoint.

    Attributes:
        image: where the image goes, (H, W, 3) uint8.
        prompt: where the instruction goes.
        actions: where the answer holds the chunk, (K, 7 or 8).
    """

    image: str = "observation/image"
    prompt: str = "prompt"
    actions: str = "actions"


@dataclass(frozen=True, kw_only=True)
class VlaConfig:
    """How a server is reached and how far it is trusted.

    Attributes:
        backend: ``openvla-rest``, ``openpi`` or ``vlajs`` (``vlajs.vla.client.BACKENDS``).
        url: ``http://`` or ``https://``, with ``openpi`` ``ws://`` or ``wss://``.
        token: sent with every request; needed for a server on another machine.
        ca_file: certificates (PEM) to believe besides the system's.
        convention: what the server's actions mean, where it does not say so itself.
        limits: timeouts and size.
        retries: how often to ask again, and the circuit breaker.
        parallel_requests: how many images at once are asked about with ``openvla-rest``.
        image_encoding: ``raw`` or ``jpeg`` (with ``vlajs``; JPEG loses a little, and sends a tenth).
        jpeg_quality: 1 to 95.
        max_translation_m: an action with a longer translation is refused.
        max_rotation_rad: or with a larger rotation.
        openpi: names of the policy's inputs.
    """

    backend: str
    url: str = "http://127.0.0.1:8000"
    token: str | None = field(default=None, repr=False)
    ca_file: str | None = None
    convention: Convention | None = None
    limits: Limits = field(default_factory=Limits)
    retries: Retries = field(default_factory=Retries)
    parallel_requests: int = 4
    image_encoding: str = RAW
    jpeg_quality: int = 90
    max_translation_m: float = MAX_TRANSLATION_M
    max_rotation_rad: float = MAX_ROTATION_RAD
    openpi: OpenpiKeys = field(default_factory=OpenpiKeys)

    def __post_init__(self) -> None:
        """Refuse numbers that make no sense.

        Raises:
            VlaConfigError: the first problem found.
        """
        limits, retries = self.limits, self.retries
        ranges = {
            "connect_timeout_s": (limits.connect_timeout_s, 1e-3, 60.0),
            "read_timeout_s": (limits.read_timeout_s, 1e-3, 600.0),
            "max_answer_bytes": (limits.max_answer_bytes, 64, 64 * 1024 * 1024),
            "attempts": (retries.attempts, 1, 10),
            "backoff_s": (retries.backoff_s, 0.0, 60.0),
            "backoff_max_s": (retries.backoff_max_s, 0.0, 60.0),
            "breaker_failures": (retries.breaker_failures, 1, 1000),
            "breaker_pause_s": (retries.breaker_pause_s, 0.0, 3600.0),
            "parallel_requests": (self.parallel_requests, 1, MAX_PARALLEL),
            "jpeg_quality": (self.jpeg_quality, 1, 95),
            "max_translation_m": (self.max_translation_m, 1e-4, 1.0),
            "max_rotation_rad": (self.max_rotation_rad, 1e-4, MAX_ROTATION_RAD),
        }
        for name, (value, low, high) in ranges.items():
            if not low <= value <= high:
                raise VlaConfigError(f"{name} = {value} is outside [{low:g}, {high:g}]")
        if self.image_encoding not in ENCODINGS:
            raise VlaConfigError(f"image_encoding {self.image_encoding!r}: known are {', '.join(ENCODINGS)}")

    def endpoint(self, *schemes: str) -> Endpoint:
        """The server's address, for a backend that speaks ``schemes``.

        Raises:
            VlaConfigError: as :func:`vlajs.vla.endpoint.endpoint_from`.
        """
        return endpoint_from(self.url, schemes=schemes, token=self.token, ca_file=self.ca_file)


@dataclass(frozen=True, kw_only=True)
class Question:
    """What is asked, checked already.

    Attributes:
        images: (B, H, W, 3) uint8, RGB, B >= 1.
        instructions: B strings.
        convention: the one agreed on.
        inputs: further inputs by name, each (B, ...).
    """

    images: np.ndarray
    instructions: tuple[str, ...]
    convention: Convention
    inputs: Mapping[str, np.ndarray] = field(default_factory=dict)


class Backend(Protocol):
    """One protocol. Every request goes through the :class:`vlajs.vla.caller.Caller` it was made with."""

    def handshake(self) -> Metadata | None:
        """What the server says of itself; None where the protocol has no such thing, and no request is made.

        Raises:
            VlaError: no usable answer.
        """
        ...

    def ask(self, question: Question) -> NDArray[np.float64]:
        """Actions (B, K, A) in the server's convention, finite, A as the convention's ``action_size``.

        Raises:
            VlaError: no usable answer to one of the images.
        """
        ...

    def healthy(self) -> bool:
        """Whether the server says it is well, or at least listens; one try, no retries, never raises a VlaError."""
        ...

    def close(self) -> None:
        """Let go of connections and threads; may be called twice."""
        ...
