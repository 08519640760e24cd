"""What a server did, as Prometheus reads it (text format 0.0.4)."""

import bisect
from collections import Counter
from collections.abc import Callable, Sequence

from vlajs.vla.metrics import BOUNDS_S

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
BATCH_BOUNDS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0)


class Histogram:
    """Counts in buckets, with the sum: means and quantiles are the reader's business."""

    def __init__(self, bounds: Sequence[float]) -> None:
        """Empty; ``bounds`` are the buckets' upper ends, rising."""
        self._bounds = tuple(bounds)
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def add(self, value: float) -> None:
        """Count one value."""
        self._counts[bisect.bisect_left(self._bounds, value)] += 1
        self._sum += value

    def lines(self, name: str) -> list[str]:
        """Cumulative buckets, sum and count."""
        total, found = 0, []
        for bound, count in zip((*map(str, self._bounds), "+Inf"), self._counts, strict=True):
            total += count
            found.append(f'{name}_bucket{{le="{bound}"}} {total}')
        return [*found, f"{name}_sum {self._sum}", f"{name}_count {total}"]


class ServerMetrics:
    """Counters of one server; used from its event loop only.

    Attributes:
        batch_size: images the model was asked about at once.
        latency_s: of good answers, from the request's headers to the answer.
        model_s: of the model alone, one call.
    """

    def __init__(self, *, queue_length: Callable[[], int], ready: Callable[[], bool]) -> None:
        """All zero; the two functions are asked when the metrics are."""
        self._queue_length, self._ready = queue_length, ready
        self._requests: Counter[tuple[str, int]] = Counter()
        self._errors: Counter[str] = Counter()
        self.batch_size = Histogram(BATCH_BOUNDS)
        self.latency_s = Histogram(BOUNDS_S)
        self.model_s = Histogram(BOUNDS_S)

    def answered(self, path: str, status: int) -> None:
        """One request was answered; ``path`` is one the server knows, or ``other``."""
        self._requests[path, status] += 1

    def failed(self, reason: str) -> None:
        """One request was refused or failed, for one of a fixed set of reasons."""
        self._errors[reason] += 1

    def to_text(self) -> str:
        """The answer to GET /metrics."""
        lines = _head("vlajs_vla_requests_total", "counter", "answered requests by path and status")
        lines += [
            f'vlajs_vla_requests_total{{path="{path}",status="{status}"}} {count}'
            for (path, status), count in sorted(self._requests.items())
        ]
        lines += _head("vlajs_vla_errors_total", "counter", "requests without an action, by reason")
        lines += [f'vlajs_vla_errors_total{{reason="{reason}"}} {n}' for reason, n in sorted(self._errors.items())]
        for name, histogram, told in (
            ("vlajs_vla_batch_size", self.batch_size, "images in one call of the model"),
            ("vlajs_vla_latency_seconds", self.latency_s, "from a request's headers to its answer"),
            ("vlajs_vla_model_seconds", self.model_s, "one call of the model"),
        ):
            lines += _head(name, "histogram", told) + histogram.lines(name)
        lines += [
            *_head("vlajs_vla_queue_length", "gauge", "requests that wait"),
            _gauge("queue_length", self._queue_length()),
        ]
        lines += [*_head("vlajs_vla_ready", "gauge", "1 once loaded and warm"), _gauge("ready", int(self._ready()))]
        return "\n".join(lines) + "\n"


def _head(name: str, kind: str, told: str) -> list[str]:
    return [f"# HELP {name} {told}", f"# TYPE {name} {kind}"]


def _gauge(name: str, value: int) -> str:
    return f"vlajs_vla_{name} {value}"
