"""Staleness on a clock given as numbers."""

import math

import pytest

from vlajs.control.watchdog import Watchdog


def test_stale_only_beyond_the_limit() -> None:
    watchdog = Watchdog(0.09)
    assert watchdog.is_stale(0.0), "nothing was received yet"
    watchdog.feed(10.0)
    assert not watchdog.is_stale(10.05)
    assert not watchdog.is_stale(10.089)
    assert watchdog.is_stale(10.091)
    watchdog.feed(10.1)
    assert not watchdog.is_stale(10.15)


def test_clock_that_is_no_number_is_stale() -> None:
    watchdog = Watchdog(0.09)
    watchdog.feed(10.0)
    assert watchdog.is_stale(math.nan)


@pytest.mark.parametrize("limit_s", [0.0, -1.0, 0.11, math.nan, math.inf])
def test_limit_must_be_positive_and_short(limit_s: float) -> None:
    with pytest.raises(ValueError, match=r"stale_after_s = .* is outside \(0, 0.1\] s"):
        Watchdog(limit_s)
