"""Notices that a stream of commands has gone stale, on a clock that the caller reads."""

MAX_STALE_AFTER_S = 0.1
"""An arm at full speed goes on for at most 35 mm before it is held."""


class Watchdog:
    """Stale when nothing was fed for longer than a limit.

    Times are seconds of one clock, which may run at any speed: the bridge uses the arm's own.
    """

    def __init__(self, stale_after_s: float) -> None:
        """Raises: ValueError: the limit is outside (0, 0.1] s."""
        if not 0 < stale_after_s <= MAX_STALE_AFTER_S:  # also refuses NaN
            raise ValueError(
                f"stale_after_s = {stale_after_s} is outside (0, {MAX_STALE_AFTER_S:g}] s: an arm must not go on for "
                "longer without commands; a source that is slower must send more often"
            )
        self.stale_after_s = stale_after_s
        self._fed_s: float | None = None

    def feed(self, now_s: float) -> None:
        """A valid command was received."""
        self._fed_s = now_s

    def is_stale(self, now_s: float) -> bool:
        """Whether the stream is stale; true before the first command, and on a clock that is not a number."""
        return self._fed_s is None or not now_s - self._fed_s <= self.stale_after_s
