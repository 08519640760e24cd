"""OpenVLA's own server (vla-scripts/deploy.py): POST /act, one image a request, json_numpy.

A request is ``{"image": (H, W, 3) uint8, "instruction": str, "unnorm_key": str}``, the key only where there is one; an
answer is the action (7,) as an array or a list, or a JSON string that holds it (``double_encode``). Whatever goes wrong
inside that server comes back with status 200 and the string ``"error"``; the cause stands in its log only.
"""

from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
from numpy.typing import NDArray

from vlajs.vla.answers import check_actions
from vlajs.vla.backend import Question, VlaConfig
from vlajs.vla.caller import Caller
from vlajs.vla.errors import BadAnswerError, RefusedError, VlaError, WireError
from vlajs.vla.transport import connect, exchange
from vlajs.vla.wire import from_json, to_json

ACT_PATH = "/act"
JSON_HEADERS = {"Content-Type": "application/json", "Accept": "application/json"}


class OpenvlaRest:
    """A backend; see the module."""

    def __init__(self, config: VlaConfig, caller: Caller) -> None:
        """No request is made yet.

        Raises:
            VlaConfigError: the address.
        """
        self._endpoint = config.endpoint("http", "https")
        self._limits, self._caller = config.limits, caller
        self._pool = ThreadPoolExecutor(config.parallel_requests, thread_name_prefix="openvla-rest")

    def handshake(self) -> None:
        """This server says nothing of itself."""

    def ask(self, question: Question) -> NDArray[np.float64]:
        """As :meth:`vlajs.vla.backend.Backend.ask`, K = 1; images are asked about in parallel."""
        asks = [partial(self._ask_one, question, row) for row in range(len(question.images))]
        first = []
        if self._caller.is_probing:  # one request decides whether the others are worth making
            first = [asks.pop(0)()]
        futures = [self._pool.submit(ask) for ask in asks]
        try:
            return np.stack([*first, *(future.result() for future in futures)])[:, None]
        except BaseException:  # also an interrupt must not leave requests waiting; raised again at once
            for future in futures:
                future.cancel()
            raise

    def healthy(self) -> bool:
        """Whether something listens there: this server has no health endpoint."""
        try:
            connect(self._endpoint, self._limits.connect_timeout_s).close()
        except VlaError:
            return False
        return True

    def close(self) -> None:
        """End the pool's threads; requests under way end with their timeout."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _ask_one(self, question: Question, row: int) -> NDArray[np.float64]:
        payload: dict[str, object] = {"image": question.images[row], "instruction": question.instructions[row]}
        if question.convention.unnorm_key is not None:
            payload["unnorm_key"] = question.convention.unnorm_key
        body, size = to_json(payload), question.convention.action_size
        return self._caller.call(lambda: self._request(body, size))

    def _request(self, body: bytes, action_size: int) -> NDArray[np.float64]:
        answer = exchange(self._endpoint, "POST", ACT_PATH, self._limits, body=body, headers=JSON_HEADERS)
        try:
            value = from_json(answer)
            if isinstance(value, str) and value.lstrip()[:1] in ("{", "["):
                value = from_json(value)
        except WireError as error:
            raise BadAnswerError(f"{self._endpoint.url}: {error}") from error
        if isinstance(value, str) or (isinstance(value, dict) and "error" in value):
            said = value if isinstance(value, str) else str(value["error"])
            raise RefusedError(
                f"{self._endpoint.url} answers {self._endpoint.quote(said)!r}: its log says why; an unnorm_key it does "
                "not have, or an image it cannot read, are likely"
            )
        return check_actions(value, (action_size,), self._endpoint.url)
