"""A circuit breaker: a server that keeps failing is left alone for a while, then tried with a single request."""

import threading
import time
from collections.abc import Callable

from vlajs.vla.errors import CircuitOpenError

CLOSED, OPEN, HALF_OPEN = "closed", "open", "half_open"


class CircuitBreaker:
    """Closed: requests pass. After ``failures`` in a row open: none passes for ``pause_s``. Then half-open: one passes,
    and its outcome closes or opens the breaker again. May be used from several threads.

    Attributes:
        times_opened: how often it opened.
    """

    def __init__(self, *, failures: int, pause_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        """A closed breaker that counts time by ``clock`` (s)."""
        self.times_opened = 0
        self._failures, self._pause_s, self._clock = failures, pause_s, clock
        self._in_a_row = 0
        self._opened_s: float | None = None
        self._trying = False
        self._cause = ""
        self._lock = threading.Lock()

    @property
    def state(self) -> str:
        """``closed``, ``open`` or ``half_open``."""
        with self._lock:
            return self._state()

    def admit(self) -> None:
        """Ask before every request, and report its outcome afterwards.

        Raises:
            CircuitOpenError: the request must not be made.
        """
        with self._lock:
            state = self._state()
            if state == CLOSED:
                return
            if state == HALF_OPEN and not self._trying:
                self._trying = True
                return
            left_s = max(0.0, self._pause_s - self._open_for_s())
            raise CircuitOpenError(
                f"{self._in_a_row} failures in a row, the last: {self._cause}. "
                f"No request is made for another {left_s:.1f} s (breaker_pause_s = {self._pause_s:g} s)"
            )

    def succeeded(self) -> None:
        """The server answered, be it with a refusal."""
        with self._lock:
            self._in_a_row, self._opened_s, self._trying = 0, None, False

    def failed(self, cause: str) -> None:
        """The server could not be reached, failed, or gave an answer that cannot be used."""
        with self._lock:
            self._in_a_row += 1
            self._cause = cause
            if self._trying or (self._opened_s is None and self._in_a_row >= self._failures):
                self._opened_s = self._clock()
                self.times_opened += 1
            self._trying = False

    def gave_up(self) -> None:
        """The request ended without an outcome (interrupted): another one may try."""
        with self._lock:
            self._trying = False

    def _state(self) -> str:
        if self._opened_s is None:
            return CLOSED
        return HALF_OPEN if self._open_for_s() >= self._pause_s else OPEN

    def _open_for_s(self) -> float:
        return 0.0 if self._opened_s is None else self._clock() - self._opened_s
