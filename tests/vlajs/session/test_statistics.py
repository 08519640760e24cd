"""Figures of a session against hand-computed ones."""

import pytest

from tests.support.session_graph import make_result
from vlajs.session.statistics import result_line, summarise, wilson95


def test_wilson_interval_by_hand():
    # z = 1.959964, n = 20, k = 19, p = 0.95; z^2 = 3.841459
    # centre = (p + z^2/2n) / (1 + z^2/n) = (0.95 + 0.0960365) / 1.192073 = 0.877494
    # half = z sqrt(p(1-p)/n + z^2/4n^2) / (1 + z^2/n) = 1.959964 sqrt(0.002375 + 0.00240091) / 1.192073 = 0.113624
    assert wilson95(19, 20) == pytest.approx((0.763870, 0.991118), abs=2e-6)


def test_wilson_interval_at_the_ends():
    # k = n = 20: low = 1 / (1 + z^2/n) = 1 / 1.192073 = 0.838875
    assert wilson95(20, 20) == pytest.approx((0.838875, 1.0), abs=1e-6)
    assert wilson95(0, 20) == pytest.approx((0.0, 0.161125), abs=1e-6)
    assert wilson95(0, 0) == (0.0, 1.0)


def test_impossible_counts_are_refused():
    with pytest.raises(ValueError):
        wilson95(21, 20)


def test_result_line_counts_successes():
    results = [make_result(trial, success=trial != 4) for trial in range(1, 21)]
    assert result_line("push_cube", results) == ("RESULT task=push_cube trials=20 success=19 wilson95=[0.764,0.991]")


def test_times_are_those_of_successes():
    results = [
        make_result(1, success=True, time_s=1.0),
        make_result(2, success=True, time_s=3.0),
        make_result(3, success=True, time_s=1.5),
        make_result(4, success=False),
    ]
    summary = summarise(results)
    assert (summary.fastest_s, summary.median_time_to_success_s, summary.slowest_s) == (1.0, 1.5, 3.0)
    assert summary.outcomes == {"success": 3, "time_limit": 1}
    assert summarise(results[3:]).median_time_to_success_s is None
