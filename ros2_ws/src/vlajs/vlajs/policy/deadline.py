"""Ticks at absolute deadlines on a clock of the caller's choice: steady time on an arm, robot time on the twin.

A deadline is ``start + k / rate`` for whole k, so that rounding and late wake-ups never add up to drift. A tick is
never early. Deadlines that were missed are skipped and counted, never made up for in a burst: two increments of a
policy a millisecond apart would be one increment of twice the size.
"""

import threading
import time
from collections.abc import Callable
from typing import Protocol

NS_PER_S = 1_000_000_000


class ClockStalledError(RuntimeError):
    """The clock stopped or ran backwards; ticking on it has no meaning."""


class TickClock(Protocol):
    """A clock that can be waited on."""

    def now_ns(self) -> int:
        """Time now, nanoseconds since this clock's own zero."""
        ...

    def wait_until(self, deadline_ns: int, cancel: threading.Event) -> bool:
        """Block until ``now_ns() >= deadline_ns``; False as soon as ``cancel`` is set.

        Raises:
            ClockStalledError: the clock stopped or ran backwards.
        """
        ...


class SteadyClock:
    """The machine's monotonic clock."""

    def now_ns(self) -> int:
        """Nanoseconds of ``time.monotonic``."""
        return time.monotonic_ns()

    def wait_until(self, deadline_ns: int, cancel: threading.Event) -> bool:
        """Block until the deadline; False as soon as ``cancel`` is set."""
        while not cancel.is_set():
            remaining_ns = deadline_ns - time.monotonic_ns()
            if remaining_ns <= 0:
                return True
            cancel.wait(remaining_ns / NS_PER_S)
        return False


class Deadlines:
    """The sequence of deadlines of one run.

    Attributes:
        overruns: deadlines skipped so far.
    """

    def __init__(self, *, rate_hz: float, start_ns: int) -> None:
        """The first deadline is ``start_ns``.

        Raises:
            ValueError: a rate that is not positive.
        """
        if not rate_hz > 0:
            raise ValueError(f"tick rate {rate_hz} Hz must be positive")
        self._rate_hz = rate_hz
        self._start_ns = start_ns
        self._index = 0
        self.overruns = 0

    @property
    def next_ns(self) -> int:
        """The deadline to wait for, nanoseconds."""
        return self._start_ns + round(self._index * NS_PER_S / self._rate_hz)

    def advance(self, now_ns: int) -> None:
        """Go on to the next deadline after the tick that was worked on until ``now_ns``.

        It is the first one at least half a period ahead: a nearer one would follow the late tick as a burst, so it
        is skipped and counted.

        Raises:
            ClockStalledError: it is earlier than the deadline that was met: the clock ran backwards.
        """
        if now_ns < self.next_ns:
            raise ClockStalledError(
                f"the clock went back to {now_ns / NS_PER_S:.3f} s after {self.next_ns / NS_PER_S:.3f} s had come: "
                "the twin was restarted; start the episode again"
            )
        periods = (now_ns - self._start_ns) * self._rate_hz / NS_PER_S
        following = max(self._index + 1, int(-(-(periods + 0.5) // 1)))
        self.overruns += following - self._index - 1
        self._index = following


def run_ticks(clock: TickClock, rate_hz: float, tick: Callable[[int], bool], cancel: threading.Event) -> None:
    """Call ``tick(overruns so far)`` at every deadline from now on until it returns False or ``cancel`` is set.

    Raises:
        ClockStalledError: the clock stopped or ran backwards.
    """
    deadlines = Deadlines(rate_hz=rate_hz, start_ns=clock.now_ns())
    while clock.wait_until(deadlines.next_ns, cancel):
        if not tick(deadlines.overruns):
            return
        deadlines.advance(clock.now_ns())
