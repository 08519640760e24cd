"""Absolute deadlines: never early, skipped when missed, counted."""

import itertools
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vlajs.policy.deadline import NS_PER_S, ClockStalledError, Deadlines, SteadyClock, run_ticks

MS = 1_000_000


class ScriptedClock:
    """Jumps to each deadline; the work of tick k takes ``work_ns[k]``."""

    def __init__(self, start_ns: int = 0) -> None:
        self.time_ns = start_ns

    def now_ns(self) -> int:
        return self.time_ns

    def wait_until(self, deadline_ns: int, cancel: threading.Event) -> bool:
        self.time_ns = max(self.time_ns, deadline_ns)
        return not cancel.is_set()


def ticks_with_work(work_ms: list[int], rate_hz: float = 20.0) -> tuple[list[float], int]:
    """Start times of the ticks in ms, and the overruns the last one was told."""
    clock = ScriptedClock()
    starts_ms: list[float] = []
    overruns = 0

    def tick(so_far: int) -> bool:
        nonlocal overruns
        overruns = so_far
        starts_ms.append(clock.time_ns / MS)
        clock.time_ns += work_ms[len(starts_ms) - 1] * MS
        return len(starts_ms) < len(work_ms)

    run_ticks(clock, rate_hz, tick, threading.Event())
    return starts_ms, overruns


def test_ticks_keep_to_the_grid_whatever_the_work_takes() -> None:
    # 20 Hz: every 50 ms, however much of it is used
    assert ticks_with_work([1, 20, 5, 24, 0]) == ([0, 50, 100, 150, 200], 0)


def test_missed_deadlines_are_skipped_and_counted() -> None:
    # tick 1 works from 50 to 180 ms; 100 and 150 are past, 200 is 20 ms away: less than half a period after the late
    # work, so it is skipped too; the next is 250. Three were skipped.
    assert ticks_with_work([0, 130, 0, 0]) == ([0, 50, 250, 300], 3)


def test_work_of_less_than_half_a_period_skips_nothing() -> None:
    # work until 24 ms: the deadline at 50 ms is 26 ms (> 25) away; until 26 ms it is 24 ms away: skipped
    assert ticks_with_work([24, 0])[0] == [0, 50]
    assert ticks_with_work([26, 0]) == ([0, 100], 1)


def test_deadlines_do_not_drift_at_rates_that_are_no_whole_number_of_ns() -> None:
    deadlines = Deadlines(rate_hz=30.0, start_ns=7)
    for _ in range(3000):
        deadlines.advance(deadlines.next_ns)
    # 3000 periods of 1/30 s are 100 s exactly; 3000 * 33333333 ns would be 1 us short
    assert deadlines.next_ns == 7 + 100 * NS_PER_S
    assert deadlines.overruns == 0


@given(st.lists(st.integers(0, 400), min_size=1, max_size=30), st.sampled_from([1.0, 15.0, 20.0, 100.0]))
def test_ticks_are_on_the_grid_apart_and_accounted_for(work_ms: list[int], rate_hz: float) -> None:
    starts_ms, overruns = ticks_with_work(work_ms, rate_hz)
    index = [start * rate_hz / 1000 for start in starts_ms]
    assert index == pytest.approx([round(i) for i in index], abs=1e-4)
    assert all(b - a > 0.5 for a, b in itertools.pairwise(index))
    # every deadline up to the last tick was either a tick or an overrun
    assert overruns == round(index[-1]) + 1 - len(starts_ms)


def test_cancel_ends_the_ticks() -> None:
    cancel = threading.Event()
    ticked: list[int] = []

    def tick(_overruns: int) -> bool:
        ticked.append(1)
        cancel.set()
        return True

    run_ticks(SteadyClock(), 100.0, tick, cancel)
    assert ticked == [1]


def test_the_steady_clock_is_never_early_and_yields_to_cancel() -> None:
    clock = SteadyClock()
    cancel = threading.Event()
    deadline_ns = clock.now_ns() + 5 * MS
    assert clock.wait_until(deadline_ns, cancel)
    assert clock.now_ns() >= deadline_ns
    cancel.set()
    assert not clock.wait_until(clock.now_ns() + 3600 * NS_PER_S, cancel)


def test_a_clock_that_falls_back_during_a_tick_is_told() -> None:
    clock = ScriptedClock(start_ns=10 * NS_PER_S)

    def tick(_overruns: int) -> bool:
        clock.time_ns = NS_PER_S
        return True

    with pytest.raises(ClockStalledError, match=r"went back to 1.000 s after 10.000 s"):
        run_ticks(clock, 20.0, tick, threading.Event())


def test_a_rate_must_be_positive() -> None:
    with pytest.raises(ValueError, match=r"0\.0 Hz must be positive"):
        Deadlines(rate_hz=0.0, start_ns=0)
