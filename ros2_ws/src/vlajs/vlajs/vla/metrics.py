"""What a client did, in numbers: counters, and how long requests took."""

import bisect
import threading
from collections import Counter
from typing import Any

BOUNDS_S = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0)
"""Upper bounds of the histogram's buckets; one more holds what is above."""


class LatencyHistogram:
    """Durations in fixed buckets: constant memory, quantiles exact to the width of a bucket."""

    def __init__(self) -> None:
        """An empty one."""
        self.counts = [0] * (len(BOUNDS_S) + 1)
        self.max_s = 0.0

    def add(self, duration_s: float) -> None:
        """Count one duration."""
        self.counts[bisect.bisect_left(BOUNDS_S, duration_s)] += 1
        self.max_s = max(self.max_s, duration_s)

    def quantile_s(self, fraction: float) -> float | None:
        """The duration (s) that ``fraction`` of all stay below, interpolated in its bucket; None when empty."""
        wanted, seen = fraction * sum(self.counts), 0
        for index, count in enumerate(self.counts):
            if count and seen + count >= wanted:
                low = BOUNDS_S[index - 1] if index else 0.0
                high = min(self.max_s, BOUNDS_S[index]) if index < len(BOUNDS_S) else self.max_s
                return low + (high - low) * max(0.0, wanted - seen) / count
            seen += count
        return None

    def to_dict(self) -> dict[str, Any]:
        """``p50_s``, ``p99_s``, ``max_s``, ``count`` and ``buckets`` (upper bound in s -> count), plain values."""
        names = [*map(str, BOUNDS_S), "inf"]
        return {
            "count": sum(self.counts),
            "p50_s": self.quantile_s(0.5),
            "p99_s": self.quantile_s(0.99),
            "max_s": self.max_s,
            "buckets": dict(zip(names, self.counts, strict=True)),
        }


class Metrics:
    """Counters and the latency of good answers; may be used from several threads."""

    def __init__(self) -> None:
        """All zero."""
        self._counts: Counter[str] = Counter()
        self._latency = LatencyHistogram()
        self._lock = threading.Lock()

    def count(self, name: str, by: int = 1) -> None:
        """Add to a counter."""
        with self._lock:
            self._counts[name] += by

    def answered(self, duration_s: float) -> None:
        """A good answer after ``duration_s``."""
        with self._lock:
            self._counts["answers"] += 1
            self._latency.add(duration_s)

    def to_dict(self) -> dict[str, Any]:
        """``counts`` (name -> number) and ``latency`` (:meth:`LatencyHistogram.to_dict`)."""
        with self._lock:
            return {"counts": dict(sorted(self._counts.items())), "latency": self._latency.to_dict()}
