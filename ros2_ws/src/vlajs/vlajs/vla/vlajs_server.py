"""vlajs's own batched server (``vlajs.vla.protocol``)."""

import numpy as np
from numpy.typing import NDArray

from vlajs.vla.answers import check_actions
from vlajs.vla.backend import Question, VlaConfig
from vlajs.vla.caller import Caller
from vlajs.vla.errors import BadAnswerError, VlaConfigError, VlaError, WireError
from vlajs.vla.protocol import (
    ACT_PATH,
    HEALTH_PATH,
    METADATA_PATH,
    ActRequest,
    Metadata,
    read_answer,
    read_metadata,
    write_request,
)
from vlajs.vla.transport import exchange

MSGPACK_HEADERS = {"Content-Type": "application/msgpack", "Accept": "application/msgpack"}


class VlajsServer:
    """A backend; see the module."""

    def __init__(self, config: VlaConfig, caller: Caller) -> None:
        """No request is made yet.

        Raises:
            VlaConfigError: the address.
        """
        self._endpoint = config.endpoint("http", "https")
        self._config, self._caller = config, caller
        self._metadata: Metadata | None = None

    def handshake(self) -> Metadata:
        """As :meth:`vlajs.vla.backend.Backend.handshake`.

        Raises:
            VlaError: no usable answer.
            VlaConfigError: the server does not read the images' encoding.
        """
        metadata = self._caller.call(self._read_metadata)
        if self._config.image_encoding not in metadata.image_encodings:
            raise VlaConfigError(
                f"{self._endpoint.url} does not read image_encoding {self._config.image_encoding!r}: "
                f"it reads {', '.join(metadata.image_encodings)}"
            )
        self._metadata = metadata
        return metadata

    def ask(self, question: Question) -> NDArray[np.float64]:
        """As :meth:`vlajs.vla.backend.Backend.ask`; batches larger than the server's are split."""
        metadata = self._metadata or self.handshake()
        step = metadata.max_batch
        parts = [
            self._ask_batch(question, slice(start, start + step), metadata)
            for start in range(0, len(question.images), step)
        ]
        return np.concatenate(parts)

    def healthy(self) -> bool:
        """Whether GET /healthz is answered well."""
        try:
            exchange(self._endpoint, "GET", HEALTH_PATH, self._config.limits)
        except VlaError:
            return False
        return True

    def close(self) -> None:
        """Nothing is held open."""

    def _read_metadata(self) -> Metadata:
        try:
            return read_metadata(exchange(self._endpoint, "GET", METADATA_PATH, self._config.limits))
        except WireError as error:
            raise BadAnswerError(f"{self._endpoint.url}{METADATA_PATH}: {error}") from error

    def _ask_batch(self, question: Question, rows: slice, metadata: Metadata) -> NDArray[np.float64]:
        request = ActRequest(
            images=question.images[rows],
            instructions=question.instructions[rows],
            unnorm_key=question.convention.unnorm_key,
        )
        body = write_request(request, encoding=self._config.image_encoding, jpeg_quality=self._config.jpeg_quality)
        shape = (len(request.images), metadata.action_horizon, question.convention.action_size)
        return self._caller.call(lambda: self._request(body, shape))

    def _request(self, body: bytes, shape: tuple[int, int, int]) -> NDArray[np.float64]:
        answer = exchange(self._endpoint, "POST", ACT_PATH, self._config.limits, body=body, headers=MSGPACK_HEADERS)
        try:
            value = read_answer(answer)
        except WireError as error:
            raise BadAnswerError(f"{self._endpoint.url}{ACT_PATH}: {error}") from error
        return check_actions(value, shape, self._endpoint.url)
