"""The queue by itself: whatever arrives, everybody gets the answer to their own question."""

import asyncio
import contextlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vlajs.vla.serving.batcher import Batcher, QueueFullError
from vlajs.vla.serving.metrics import Histogram, ServerMetrics

MAX_BATCH = 4
REQUESTS = st.lists(
    st.tuples(
        st.integers(1, MAX_BATCH),  # images
        st.sampled_from([2, 3]),  # side
        st.sampled_from(["answer", "answer", "answer", "fail", "cancel"]),
    ),
    min_size=1,
    max_size=12,
)


class Echo:
    """Answers the image's value; fails where an instruction says so."""

    def __init__(self) -> None:
        self.batches: list[tuple[int, ...]] = []

    def __call__(self, images: np.ndarray, instructions: Sequence[str]) -> np.ndarray:
        self.batches.append(images.shape)
        assert len(images) == len(instructions)
        if "fail" in instructions:
            raise ArithmeticError("asked to")
        return np.repeat(images[:, 0, 0, 0].astype(float), 7).reshape(len(images), 1, 7)


def batcher_of(executor: ThreadPoolExecutor, window_s: float = 0.0, max_queue: int = 100) -> Batcher:
    metrics = ServerMetrics(queue_length=lambda: 0, ready=lambda: True)
    return Batcher(executor, metrics, max_batch=MAX_BATCH, window_s=window_s, max_queue=max_queue)


async def outcomes_of(requests: list[tuple[int, int, str]], echo: Echo) -> list[np.ndarray | BaseException]:
    """What each request got, all of them in the queue before the first is answered."""
    with ThreadPoolExecutor(1) as executor:
        batcher = batcher_of(executor)
        futures = [
            batcher.submit(np.full((count, side, side, 3), number, np.uint8), (what,) * count)
            for number, (count, side, what) in enumerate(requests)
        ]
        for future, (_, _, what) in zip(futures, requests, strict=True):
            if what == "cancel":
                future.cancel()
        answering = asyncio.create_task(batcher.run(echo))
        found = await asyncio.gather(*futures, return_exceptions=True)
        answering.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await answering
        assert batcher.length == 0
        assert batcher.busy_s == 0.0
    return found


@settings(max_examples=40, deadline=None)
@given(REQUESTS)
def test_everybody_gets_the_answer_to_their_own_question(requests: list[tuple[int, int, str]]) -> None:
    echo = Echo()
    for number, outcome in enumerate(asyncio.run(outcomes_of(requests, echo))):
        count, _, what = requests[number]
        if what == "answer":
            np.testing.assert_array_equal(outcome, np.full((count, 1, 7), number))
        else:
            assert isinstance(outcome, ArithmeticError if what == "fail" else asyncio.CancelledError)
    assert all(shape[0] <= MAX_BATCH for shape in echo.batches)
    asked = sum(count for count, _, what in requests if what == "answer")
    if not any(what == "fail" for _, _, what in requests):
        assert sum(shape[0] for shape in echo.batches) == asked  # each once; the cancelled never


def test_what_fits_together_goes_together_and_the_longest_wait_comes_first() -> None:
    # Of sizes 3, 2, 1 in batches of 4: the 3 begins, the 2 does not fit, the 1 does; then the 2. Another image size
    # that came in between is a batch of its own, after the one that came before it.
    echo = Echo()
    asyncio.run(outcomes_of([(3, 2, "answer"), (2, 2, "answer"), (1, 3, "answer"), (1, 2, "answer")], echo))
    assert echo.batches == [(4, 2, 2, 3), (2, 2, 2, 3), (1, 3, 3, 3)]


def test_the_window_ends_when_the_batch_is_full() -> None:
    async def run() -> None:
        with ThreadPoolExecutor(1) as executor:
            batcher = batcher_of(executor, window_s=600.0)
            answering = asyncio.create_task(batcher.run(Echo()))
            images = np.zeros((2, 2, 2, 3), np.uint8)
            first = batcher.submit(images, ("a", "b"))
            done, _ = await asyncio.wait([first], timeout=0.2)
            assert not done  # it waits for company
            second = batcher.submit(images, ("a", "b"))
            await asyncio.wait_for(asyncio.gather(first, second), 60)
            answering.cancel()

    asyncio.run(run())


def test_a_cancelled_request_makes_room() -> None:
    async def run() -> None:
        with ThreadPoolExecutor(1) as executor:
            batcher = batcher_of(executor, max_queue=2)
            images = np.zeros((1, 2, 2, 3), np.uint8)
            first = batcher.submit(images, ("a",))
            batcher.submit(images, ("a",))
            with pytest.raises(QueueFullError, match="2 requests wait already"):
                batcher.submit(images, ("a",))
            first.cancel()
            batcher.submit(images, ("a",))
            assert batcher.length == 2

    asyncio.run(run())


def test_a_histogram_counts_up_to_each_bound() -> None:
    histogram = Histogram((1.0, 2.0))
    for value in (0.5, 1.0, 1.5, 9.0):  # two of them up to 1, three up to 2, four in all; 12 together
        histogram.add(value)
    assert histogram.lines("h") == [
        'h_bucket{le="1.0"} 2',
        'h_bucket{le="2.0"} 3',
        'h_bucket{le="+Inf"} 4',
        "h_sum 12.0",
        "h_count 4",
    ]
