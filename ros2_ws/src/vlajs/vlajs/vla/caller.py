"""Asks again where that can help, never where it cannot, and leaves a failing server alone."""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from vlajs.vla.breaker import CLOSED, CircuitBreaker
from vlajs.vla.errors import (
    BadAnswerError,
    CircuitOpenError,
    RefusedError,
    ServerFailureError,
    TooLateError,
    UnreachableError,
    VlaError,
)
from vlajs.vla.metrics import Metrics

Answer = TypeVar("Answer")

ASKED_AGAIN = (UnreachableError, ServerFailureError)
COUNTERS: dict[type[VlaError], str] = {
    UnreachableError: "unreachable",
    ServerFailureError: "server_failures",
    TooLateError: "too_late",
    RefusedError: "refused",
    BadAnswerError: "bad_answers",
}


@dataclass(frozen=True, kw_only=True)
class Retries:
    """How often and when to ask again.

    Attributes:
        attempts: requests for one question, the first included.
        backoff_s: longest pause before the second; it doubles for each further one.
        backoff_max_s: and never grows beyond this.
        breaker_failures: failed requests in a row after which the server is left alone.
        breaker_pause_s: for how long.
    """

    attempts: int = 3
    backoff_s: float = 0.2
    backoff_max_s: float = 2.0
    breaker_failures: int = 5
    breaker_pause_s: float = 10.0

    def pause_s(self, attempt: int, share: float) -> float:
        """Pause after failed attempt number ``attempt`` (from 1); ``share`` in [0, 1) is drawn at random for jitter.

        Between half of the longest pause and all of it, so that clients that failed together do not return together.
        """
        longest = min(self.backoff_max_s, self.backoff_s * 2 ** (attempt - 1))
        return longest * (0.5 + 0.5 * share)


class Caller:
    """Runs requests; may be used from several threads.

    Attributes:
        metrics: what was done.
        breaker: shared by all requests to one server.
    """

    def __init__(
        self,
        retries: Retries,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        draw: Callable[[], float] = random.random,
    ) -> None:
        """``clock`` and ``sleep`` are in s; ``draw`` gives the jitter, in [0, 1)."""
        self.metrics = Metrics()
        self.breaker = CircuitBreaker(failures=retries.breaker_failures, pause_s=retries.breaker_pause_s, clock=clock)
        self._retries, self._clock, self._sleep, self._draw = retries, clock, sleep, draw

    @property
    def is_probing(self) -> bool:
        """Whether the next request decides if the server is used again: make it alone."""
        return self.breaker.state != CLOSED

    def call(self, request: Callable[[], Answer]) -> Answer:
        """The request's answer.

        Args:
            request: makes one request and checks its answer completely; raises a :class:`VlaError` otherwise.

        Raises:
            CircuitOpenError: no request was made, or no further one.
            VlaError: whatever the last request raised.
        """
        attempt, last = 1, None
        while True:
            try:
                self.breaker.admit()
            except CircuitOpenError as error:
                self.metrics.count("held_back")
                raise error from last
            try:
                return self._once(request)
            except ASKED_AGAIN as error:
                if attempt >= self._retries.attempts:
                    raise
                last = error
            self.metrics.count("retries")
            self._sleep(self._retries.pause_s(attempt, self._draw()))
            attempt += 1

    def _once(self, request: Callable[[], Answer]) -> Answer:
        self.metrics.count("requests")
        start_s = self._clock()
        try:
            answer = request()
        except VlaError as error:
            self.metrics.count(COUNTERS.get(type(error), "other_errors"))
            if isinstance(error, RefusedError):
                self.breaker.succeeded()
            else:
                self.breaker.failed(str(error))
            raise
        except BaseException:  # an interrupt or a mistake of ours says nothing about the server
            self.breaker.gave_up()
            raise
        self.breaker.succeeded()
        self.metrics.answered(self._clock() - start_s)
        return answer
