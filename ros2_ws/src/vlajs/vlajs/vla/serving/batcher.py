"""Joins the requests of several clients into one call of the model, and splits the answer again."""

import asyncio
import contextlib
import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from vlajs.vla.serving.metrics import ServerMetrics

LOG = logging.getLogger(__name__)
Actions = NDArray[np.floating]
Act = Callable[[NDArray[np.uint8], Sequence[str]], Actions]


class QueueFullError(RuntimeError):
    """As many requests wait as are allowed to."""


@dataclass(eq=False, kw_only=True)
class _Waiting:
    images: NDArray[np.uint8]
    instructions: tuple[str, ...]
    arrived_s: float
    answer: asyncio.Future[Actions] = field(repr=False)


class Batcher:
    """A queue in front of a model; lives in one event loop, the model runs in ``executor``.

    A batch begins with the request that waits longest. It is closed when it is full, or when that request has waited
    for the window; while the model works on a batch, the next one fills. Images of one batch have one size: a request
    with another size, or too large for what is left, waits for the next.
    """

    def __init__(
        self, executor: Executor, metrics: ServerMetrics, *, max_batch: int, window_s: float, max_queue: int
    ) -> None:
        """``max_batch`` counts images, ``max_queue`` requests; no request may have more than ``max_batch`` images."""
        self._executor, self._metrics = executor, metrics
        self._max_batch, self._window_s, self._max_queue = max_batch, window_s, max_queue
        self._queue: deque[_Waiting] = deque()
        self._arrival = asyncio.Event()
        self._busy_since_s: float | None = None

    @property
    def length(self) -> int:
        """How many requests wait."""
        return sum(not item.answer.done() for item in self._queue)

    @property
    def busy_s(self) -> float:
        """How long the model has been working on its present call; 0 when it is idle."""
        return 0.0 if self._busy_since_s is None else time.monotonic() - self._busy_since_s

    def submit(self, images: NDArray[np.uint8], instructions: tuple[str, ...]) -> asyncio.Future[Actions]:
        """The answer to come, (B, K, A); cancel it to take the request out of the queue.

        Raises:
            QueueFullError: ``max_queue`` requests wait.
        """
        if self.length >= self._max_queue:
            raise QueueFullError(f"{self._max_queue} requests wait already")
        answer: asyncio.Future[Actions] = asyncio.get_running_loop().create_future()
        item = _Waiting(images=images, instructions=instructions, arrived_s=time.monotonic(), answer=answer)
        self._queue.append(item)
        self._arrival.set()
        return answer

    async def run(self, act: Act) -> None:
        """Answer requests until cancelled; ``act`` is called in the executor."""
        while True:
            await self._answer(act, await self._next_batch())

    async def _next_batch(self) -> list[_Waiting]:
        while True:
            batch = self._best_batch()
            if batch:
                left_s = batch[0].arrived_s + self._window_s - time.monotonic()
                if left_s <= 0 or sum(len(item.images) for item in batch) >= self._max_batch:
                    taken = set(map(id, batch))
                    self._queue = deque(item for item in self._queue if id(item) not in taken)
                    return batch
            self._arrival.clear()
            with contextlib.suppress(TimeoutError):  # then the window is over
                await asyncio.wait_for(self._arrival.wait(), left_s if batch else None)

    def _best_batch(self) -> list[_Waiting]:
        """What of the queue goes together, in the order of arrival; cancelled requests are dropped."""
        self._queue = deque(item for item in self._queue if not item.answer.done())
        batch: list[_Waiting] = []
        size = 0
        for item in self._queue:
            fits = size + len(item.images) <= self._max_batch
            if not batch or (fits and item.images.shape[1:] == batch[0].images.shape[1:]):
                batch.append(item)
                size += len(item.images)
        return batch

    async def _answer(self, act: Act, batch: list[_Waiting]) -> None:
        """One call for all; if it fails, one for each, so that only the culprit gets the error."""
        outcome = await self._call(act, batch)
        if isinstance(outcome, BaseException):
            if len(batch) > 1:
                LOG.warning("a batch of %d requests failed (%s): asking for each alone", len(batch), outcome)
                for item in batch:
                    if not item.answer.done():
                        await self._answer(act, [item])
            elif not batch[0].answer.done():
                batch[0].answer.set_exception(outcome)
            return
        start = 0
        for item in batch:
            if not item.answer.done():
                item.answer.set_result(outcome[start : start + len(item.images)])
            start += len(item.images)

    async def _call(self, act: Act, batch: list[_Waiting]) -> Actions | BaseException:
        images = np.concatenate([item.images for item in batch])
        instructions = [text for item in batch for text in item.instructions]
        self._metrics.batch_size.add(len(images))
        self._busy_since_s = time.monotonic()
        call = asyncio.get_running_loop().run_in_executor(self._executor, act, images, instructions)
        try:
            await asyncio.wait([call])
        finally:
            self._metrics.model_s.add(self.busy_s)
            self._busy_since_s = None
        return call.exception() or call.result()
