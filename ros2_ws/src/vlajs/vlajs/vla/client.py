"""One client for every VLA server: images and instructions in, the project's own actions out."""

import random
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vlajs.vla.backend import Backend, Question, VlaConfig
from vlajs.vla.caller import Caller
from vlajs.vla.convention import Convention, settle
from vlajs.vla.conversion import BASE_DELTA, chunks_to_base_delta
from vlajs.vla.errors import BadAnswerError, ConventionError, VlaConfigError
from vlajs.vla.images import check_images
from vlajs.vla.openpi import Openpi
from vlajs.vla.openvla_rest import OpenvlaRest
from vlajs.vla.protocol import check_instructions
from vlajs.vla.vlajs_server import VlajsServer

BACKENDS: dict[str, Callable[[VlaConfig, Caller], Backend]] = {
    "openvla-rest": OpenvlaRest,
    "openpi": Openpi,
    "vlajs": VlajsServer,
}
"""Backends by name."""


@dataclass(frozen=True, kw_only=True)
class VlaDescription:
    """What must be known of a VLA to use its actions; recorded with every result it had a part in.

    Attributes:
        name: the server's own, or its backend and address.
        backend: protocol it was reached by.
        rate_hz: one action covers ``1 / rate_hz`` seconds.
        action_horizon: actions in an answer; None where the server does not say and was not asked yet.
        image_size: height and width in pixels; None: any.
        convention: of what :meth:`VlaClient.query` returns: ``base_delta``, whatever the server speaks.
        spoken: the server's own convention.
        unnorm_key: statistics the server scales actions back with.
    """

    name: str
    backend: str
    rate_hz: float
    action_horizon: int | None
    image_size: tuple[int, int] | None
    convention: str
    spoken: Convention
    unnorm_key: str | None


class VlaClient:
    """A VLA server to be asked. May be used from several threads, and as a context manager.

    Nothing is sent before the first call. A call takes at most ``attempts`` times (connect + read timeout) plus pauses
    (``openvla-rest``: that for each round of ``parallel_requests`` images; ``openpi``: for each image).
    """

    def __init__(
        self,
        config: VlaConfig,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        draw: Callable[[], float] = random.random,
    ) -> None:
        """Set up, without a request.

        Args:
            config: which server, and how far it is trusted.
            clock, sleep, draw: time (s) and chance of retries and breaker, for tests.

        Raises:
            VlaConfigError: an unknown backend, an address that is refused, a library that is missing.
        """
        if config.backend not in BACKENDS:
            raise VlaConfigError(f"unknown backend {config.backend!r}: known are {', '.join(BACKENDS)}")
        self.config = config
        self._caller = Caller(config.retries, clock=clock, sleep=sleep, draw=draw)
        self._backend = BACKENDS[config.backend](config, self._caller)
        self._description: VlaDescription | None = None
        self._horizon: int | None = None
        self._handshake_lock = threading.Lock()

    def __enter__(self) -> "VlaClient":
        """The client itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self.close()

    def describe(self) -> VlaDescription:
        """What the server is and what its actions mean; makes the handshake if there was none yet.

        Raises:
            VlaError: the server gave no usable answer.
            ConventionError: neither it nor the configuration says what its actions mean, or they say different things.
        """
        with self._handshake_lock:  # threads that begin together make one handshake
            if self._description is None:
                self._description = self._handshake()
            return self._description

    def query(
        self,
        images: np.ndarray,
        instructions: Sequence[str],
        *,
        tool_quat_in_base_wxyz: ArrayLike | None = None,
        inputs: Mapping[str, np.ndarray] | None = None,
    ) -> NDArray[np.float64]:
        """The next action for each image.

        Args:
            images: (B, H, W, 3) uint8, RGB.
            instructions: B strings.
            tool_quat_in_base_wxyz: (B, 4) orientation of the tool in the base when the images were taken; needed where
                the server's actions are relative to the tool.
            inputs: further inputs by name, each (B, ...) (``openpi`` only, for instance the robot's state).

        Returns:
            (B, 7) float64, ``base_delta``: m (3) and rad (3) in base axes, gripper in [-1, 1], 1 open. Of a chunk the
            first action.

        Raises:
            ValueError: images, instructions or inputs of a wrong shape, dtype or size.
            VlaError: no usable answer to one of the images.
            ConventionError: no agreed convention, or the tool's orientation is missing.
        """
        return self.query_chunks(images, instructions, tool_quat_in_base_wxyz=tool_quat_in_base_wxyz, inputs=inputs)[
            :, 0
        ]

    def query_chunks(
        self,
        images: np.ndarray,
        instructions: Sequence[str],
        *,
        tool_quat_in_base_wxyz: ArrayLike | None = None,
        inputs: Mapping[str, np.ndarray] | None = None,
    ) -> NDArray[np.float64]:
        """All actions of the chunk for each image: (B, K, 7), otherwise as :meth:`query`.

        An action relative to the tool is taken to be relative to where the actions before it have led.
        """
        description = self.describe()
        images = check_images(images, len(instructions), description.image_size)
        check_instructions(instructions)
        inputs = self._check_inputs(inputs, len(images))
        if len(images) == 0:
            return np.zeros((0, self._horizon or 1, 7))
        convention = description.spoken
        if convention.needs_tool_pose and tool_quat_in_base_wxyz is None:
            raise ConventionError(
                f"{description.name} answers relative to the tool: give tool_quat_in_base_wxyz, one row for each image"
            )
        question = Question(images=images, instructions=tuple(instructions), convention=convention, inputs=inputs)
        self._caller.metrics.count("queries")
        self._caller.metrics.count("images", len(images))
        raw = self._backend.ask(question)
        self._horizon = raw.shape[1]
        try:
            return chunks_to_base_delta(
                raw,
                convention,
                tool_quat_in_base_wxyz,
                max_translation_m=self.config.max_translation_m,
                max_rotation_rad=self.config.max_rotation_rad,
            )
        except BadAnswerError as error:
            self._caller.metrics.count("out_of_range")
            raise BadAnswerError(f"{description.name}: {error}") from error

    def healthy(self) -> bool:
        """Whether the server is up: one short look, past breaker and retries."""
        return self._backend.healthy()

    def stats(self) -> dict[str, Any]:
        """``counts``, ``latency`` of good answers (buckets, p50, p99) and the ``breaker``, all plain values."""
        breaker = {"state": self._caller.breaker.state, "times_opened": self._caller.breaker.times_opened}
        return {**self._caller.metrics.to_dict(), "breaker": breaker}

    def close(self) -> None:
        """Let go of connections and threads."""
        self._backend.close()

    def _handshake(self) -> VlaDescription:
        where = f"{self.config.backend} at {self.config.url}"
        metadata = self._backend.handshake()
        convention = settle(None if metadata is None else metadata.convention, self.config.convention, where)
        if metadata is not None:
            self._horizon = metadata.action_horizon
        elif self.config.backend == "openvla-rest":
            self._horizon = 1
        return VlaDescription(
            name=where if metadata is None else metadata.name,
            backend=self.config.backend,
            rate_hz=convention.rate_hz,
            action_horizon=self._horizon,
            image_size=convention.image_size,
            convention=BASE_DELTA,
            spoken=convention,
            unnorm_key=convention.unnorm_key,
        )

    def _check_inputs(self, inputs: Mapping[str, np.ndarray] | None, count: int) -> dict[str, np.ndarray]:
        if not inputs:
            return {}
        if self.config.backend != "openpi":
            raise ValueError(f"inputs are for openpi only, {self.config.backend} takes images and instructions")
        checked = {name: np.asarray(values) for name, values in inputs.items()}
        for name, values in checked.items():
            if values.ndim == 0 or len(values) != count:
                raise ValueError(f"input {name!r} has shape {values.shape}, expected ({count}, ...)")
        return checked
