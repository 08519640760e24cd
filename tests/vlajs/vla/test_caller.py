"""Retries, circuit breaker and metrics, on a clock of the test's own."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vlajs.vla.breaker import CircuitBreaker
from vlajs.vla.caller import Caller, Retries
from vlajs.vla.errors import (
    BadAnswerError,
    CircuitOpenError,
    RefusedError,
    ServerFailureError,
    TooLateError,
    UnreachableError,
    VlaError,
)
from vlajs.vla.metrics import BOUNDS_S, LatencyHistogram


class Clock:
    """Time that passes only when it is told to."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.pauses: list[float] = []

    def __call__(self) -> float:
        return self.now_s

    def sleep(self, duration_s: float) -> None:
        self.pauses.append(duration_s)
        self.now_s += duration_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


def caller(clock: Clock, draw: float = 0.5, **changes) -> Caller:
    return Caller(Retries(**{"breaker_failures": 100, **changes}), clock=clock, sleep=clock.sleep, draw=lambda: draw)


def failing(*errors: VlaError | None, last: str = "answer"):
    """A request that raises one error after another (None: answers), and how often it was made."""
    made = []

    def request() -> str:
        made.append(1)
        error = errors[min(len(made), len(errors)) - 1]
        if error is not None:
            raise error
        return last

    return request, made


@pytest.mark.parametrize(
    "draw, pauses",
    [
        # longest pauses 0.2, 0.4, 0.8, 1.6, then capped at 2.0; half of each is certain, the other half drawn
        (0.0, [0.1, 0.2, 0.4, 0.8, 1.0]),
        (0.5, [0.15, 0.3, 0.6, 1.2, 1.5]),
    ],
)
def test_pauses_double_up_to_a_limit_with_jitter(clock, draw: float, pauses: list[float]) -> None:
    request, made = failing(UnreachableError("x"))
    with pytest.raises(UnreachableError):
        caller(clock, draw, attempts=6, backoff_s=0.2, backoff_max_s=2.0).call(request)
    assert len(made) == 6
    assert clock.pauses == pytest.approx(pauses)


@pytest.mark.parametrize(
    "error, requests",
    [
        (UnreachableError("x"), 3),
        (ServerFailureError("x"), 3),
        (TooLateError("x"), 1),
        (RefusedError("x"), 1),
        (BadAnswerError("x"), 1),
    ],
)
def test_only_what_can_help_is_tried_again(clock, error: VlaError, requests: int) -> None:
    request, made = failing(error)
    with pytest.raises(type(error)):
        caller(clock).call(request)
    assert len(made) == requests


def test_a_retry_that_helps(clock) -> None:
    request, _ = failing(UnreachableError("x"), ServerFailureError("y"), None)
    asked = caller(clock)
    assert asked.call(request) == "answer"
    assert asked.metrics.to_dict()["counts"] == {
        "answers": 1,
        "requests": 3,
        "retries": 2,
        "server_failures": 1,
        "unreachable": 1,
    }


def test_the_breakers_life(clock) -> None:
    asked = caller(clock, attempts=1, breaker_failures=3, breaker_pause_s=10.0)
    bad, made = failing(TooLateError("hangs"))
    for _ in range(3):
        with pytest.raises(TooLateError):
            asked.call(bad)
    assert asked.breaker.state == "open"
    clock.now_s += 4.0
    with pytest.raises(CircuitOpenError, match=r"3 failures in a row, the last: hangs. No request .* another 6.0 s"):
        asked.call(bad)
    clock.now_s += 6.0
    assert asked.breaker.state == "half_open"
    with pytest.raises(TooLateError):
        asked.call(bad)
    assert asked.breaker.state == "open"  # for another 10 s after one failure
    clock.now_s += 9.9
    with pytest.raises(CircuitOpenError):
        asked.call(bad)
    clock.now_s += 0.1
    good, _ = failing(None)
    assert asked.call(good) == "answer"
    assert asked.breaker.state == "closed"
    assert len(made) == 4
    assert asked.breaker.times_opened == 2
    assert asked.metrics.to_dict()["counts"]["held_back"] == 2


def test_failures_must_be_in_a_row_and_a_refusal_is_none(clock) -> None:
    asked = caller(clock, attempts=1, breaker_failures=2)
    for error in (BadAnswerError("x"), RefusedError("x"), BadAnswerError("x"), None, BadAnswerError("x")):
        request, _ = failing(error)
        if error is None:
            asked.call(request)
        else:
            with pytest.raises(type(error)):
                asked.call(request)
        assert asked.breaker.state == "closed"


def test_a_breaker_that_opens_between_retries_names_the_failure(clock) -> None:
    request, made = failing(UnreachableError("refused"))
    with pytest.raises(CircuitOpenError, match="refused") as caught:
        caller(clock, attempts=5, breaker_failures=2).call(request)
    assert isinstance(caught.value.__cause__, UnreachableError)
    assert len(made) == 2


def test_half_open_lets_one_pass_even_if_it_never_reports(clock) -> None:
    breaker = CircuitBreaker(failures=1, pause_s=1.0, clock=clock)
    breaker.failed("x")
    clock.now_s = 1.0
    breaker.admit()
    with pytest.raises(CircuitOpenError):
        breaker.admit()
    breaker.gave_up()  # an interrupt: the next one may try
    breaker.admit()


def test_an_interrupt_is_no_failure(clock) -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    asked = caller(clock, breaker_failures=1)
    with pytest.raises(KeyboardInterrupt):
        asked.call(interrupted)
    assert asked.breaker.state == "closed"


def test_quantiles_by_hand() -> None:
    histogram = LatencyHistogram()
    assert histogram.to_dict()["p50_s"] is None
    for duration_s in [0.15] * 98 + [0.7, 60.0]:
        histogram.add(duration_s)
    # 98 of 100 lie in (0.1, 0.2], one in (0.5, 1], one above 50 s; the 50th is 50/98 of the way through the first
    assert histogram.quantile_s(0.5) == pytest.approx(0.1 + 0.1 * 50 / 98)
    assert histogram.quantile_s(0.99) == pytest.approx(1.0)
    assert histogram.quantile_s(1.0) == 60.0
    assert histogram.to_dict()["buckets"]["0.2"] == 98
    assert histogram.to_dict()["buckets"]["inf"] == 1


@given(st.lists(st.floats(0.0, 100.0), min_size=1), st.sampled_from([0.5, 0.9, 0.99]))
def test_a_quantile_lies_in_the_bucket_of_the_true_one(durations: list[float], fraction: float) -> None:
    histogram = LatencyHistogram()
    for duration_s in durations:
        histogram.add(duration_s)
    true = np.quantile(durations, fraction, method="inverted_cdf")
    low = max([0.0, *(bound for bound in BOUNDS_S if bound < true)])
    high = min([max(durations), *(bound for bound in BOUNDS_S if bound >= true)])
    estimate = histogram.quantile_s(fraction)
    assert estimate is not None
    assert low - 1e-12 <= estimate <= high + 1e-12
