"""When the twin's camera takes a picture, and how much later it is handed out: on robot time."""

from vlajs.twin.arm import TICK_S

_NS_PER_S = 1_000_000_000


class Exposure:
    """Says which ticks are photographed.

    Attributes:
        latency_ns: robot time between a picture's tick and its publication.
    """

    def __init__(self, *, rate_hz: float, latency_s: float) -> None:
        """Begin with the next tick.

        Raises:
            ValueError: a rate outside [0.1, 30] Hz, which is how often the twin tells its state, or a latency outside
                [0, 2] s.
        """
        if not 0.1 <= rate_hz <= 30.0:
            raise ValueError(f"rate_hz is {rate_hz}, must lie in [0.1, 30]: the twin tells its state 30 times a second")
        if not 0.0 <= latency_s <= 2.0:
            raise ValueError(f"latency_s is {latency_s}, must lie in [0, 2]")
        self.latency_ns = round(latency_s * _NS_PER_S)
        self._period_ns = round(_NS_PER_S / rate_hz)
        self._due_ns: int | None = None
        self._latest_ns = 0

    def restarted(self, stamp_ns: int) -> bool:
        """Whether robot time fell back, since another twin has taken over; then exposures begin anew."""
        back = stamp_ns < self._latest_ns
        self._latest_ns = stamp_ns
        if back:
            self._due_ns = None
        return back

    def is_due(self, stamp_ns: int) -> bool:
        """Whether this tick is photographed; if so, the next is a period later. Missed ones are not made up for."""
        if self._due_ns is None:
            self._due_ns = stamp_ns
        # stamps are whole milliseconds, periods are not
        if stamp_ns < self._due_ns - round(TICK_S * _NS_PER_S):
            return False
        missed = max(0, stamp_ns - self._due_ns) // self._period_ns
        self._due_ns += (1 + missed) * self._period_ns
        return True
