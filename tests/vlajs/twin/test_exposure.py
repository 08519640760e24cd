"""Which ticks are photographed."""

import pytest

from vlajs.twin.exposure import Exposure

MS = 1_000_000


def taken(exposure: Exposure, stamps_ms: list[int]) -> list[int]:
    return [stamp for stamp in stamps_ms if not exposure.restarted(stamp * MS) and exposure.is_due(stamp * MS)]


def test_the_rate_is_kept_although_ticks_fall_beside_it() -> None:
    # the twin tells its state at multiples of 16.67 ms, in whole milliseconds
    stamps = [round(index * 1000 / 60) for index in range(121)]
    times = taken(Exposure(rate_hz=15.0, latency_s=0.0), stamps)
    # two seconds at 15 Hz, both ends included: every fourth tick
    assert times == stamps[::4]


def test_missed_ones_are_not_made_up_for() -> None:
    assert taken(Exposure(rate_hz=10.0, latency_s=0.0), [0, 450, 460, 500, 600]) == [0, 450, 500, 600]


def test_a_restarted_twin_is_photographed_at_once() -> None:
    exposure = Exposure(rate_hz=10.0, latency_s=0.0)
    assert taken(exposure, [5000, 5100]) == [5000, 5100]
    assert exposure.restarted(20 * MS)
    assert exposure.is_due(20 * MS)


@pytest.mark.parametrize(
    ("rate_hz", "latency_s", "reason"),
    [
        (0.0, 0.0, "rate_hz is 0.0"),
        (100.0, 0.0, "rate_hz is 100.0"),
        (15.0, -0.1, "latency_s is -0.1"),
        (15.0, float("nan"), "latency_s is nan"),
    ],
)
def test_what_no_camera_does_is_refused(rate_hz: float, latency_s: float, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        Exposure(rate_hz=rate_hz, latency_s=latency_s)
