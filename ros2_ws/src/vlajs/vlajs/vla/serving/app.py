"""The protocol's requests, answered: an ASGI application around one model."""

import asyncio
import hmac
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from vlajs.vla.errors import WireError
from vlajs.vla.protocol import (
    ACT_PATH,
    HEALTH_PATH,
    METADATA_PATH,
    METRICS_PATH,
    ActRequest,
    Metadata,
    check_instructions,
    read_request,
    write_answer,
    write_error,
)
from vlajs.vla.serving.batcher import Actions, Batcher, QueueFullError
from vlajs.vla.serving.config import ServerConfig
from vlajs.vla.serving.http_body import ClientGoneError, Incoming, Receive, RefusalError
from vlajs.vla.serving.metrics import CONTENT_TYPE, ServerMetrics
from vlajs.vla.serving.model import ModelError
from vlajs.vla.wire import to_json

LOG = logging.getLogger(__name__)
Send = Callable[[Mapping[str, Any]], Awaitable[None]]
Answer = tuple[str, bytes]
"""Content-Type and body."""
JSON, MSGPACK = "application/json", "application/msgpack"
DISCONNECTED = 499
"""Status in the metrics of a request whose client hung up before the answer (nginx's number)."""


class App:
    """Answers requests; until :attr:`metadata` is set, the model is being loaded and everything but health is refused.

    Attributes:
        metadata: what the server says of itself.
        stopping: whether the server is being stopped: health says so, what was sent is still answered.
    """

    def __init__(self, config: ServerConfig, batcher: Batcher, metrics: ServerMetrics) -> None:
        """The application of one server."""
        self._config, self._batcher, self._metrics = config, batcher, metrics
        self._token = config.secret()
        self.metadata: Metadata | None = None
        self.stopping = False
        self._routes = {
            HEALTH_PATH: ("GET", self._health),
            METADATA_PATH: ("GET", self._describe),
            METRICS_PATH: ("GET", self._measure),
            ACT_PATH: ("POST", self._act),
        }

    async def __call__(self, scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
        """One request, as ASGI has it."""
        path = scope["path"]
        known = path if path in self._routes else "other"
        incoming = Incoming(receive, dict(scope["headers"]))
        extra: list[tuple[bytes, bytes]] = []
        try:
            status, (kind, body) = 200, await self._answer(scope["method"], path, incoming)
        except ClientGoneError:
            self._metrics.answered(known, DISCONNECTED)
            self._metrics.failed("client_gone")
            return
        except RefusalError as refusal:
            status, kind, body = refusal.status, JSON, write_error(str(refusal))
            self._metrics.failed(refusal.reason)
            extra = _headers_of(refusal)
            await incoming.drain()
        self._metrics.answered(known, status)
        sent = {b"content-type": kind.encode(), b"content-length": str(len(body)).encode(), b"connection": b"close"}
        await send({"type": "http.response.start", "status": status, "headers": [*sent.items(), *extra]})
        await send({"type": "http.response.body", "body": body})

    async def _answer(self, method: str, path: str, incoming: Incoming) -> Answer:
        if path not in self._routes:
            raise RefusalError(404, "path", f"there is no such path: known are {', '.join(self._routes)}")
        wanted, handler = self._routes[path]
        if method != wanted:
            raise RefusalError(405, "method", f"{path} takes {wanted}")
        if path != HEALTH_PATH:
            self._check_token(incoming.headers.get(b"authorization", b""))
        return await handler(incoming)

    def _check_token(self, stated: bytes) -> None:
        if self._token is not None and not hmac.compare_digest(stated, b"Bearer " + self._token.encode()):
            raise RefusalError(401, "token", "the token is missing or wrong: send Authorization: Bearer TOKEN")

    def _ready(self) -> Metadata:
        if self.metadata is None:
            raise RefusalError(503, "loading", "the model is being loaded and warmed up: ask again later")
        return self.metadata

    async def _health(self, _incoming: Incoming) -> Answer:
        metadata = self._ready()
        if self.stopping:
            raise RefusalError(503, "stopping", "the server is being stopped")
        if self._batcher.busy_s > self._config.request_timeout_s:
            raise RefusalError(503, "hanging", f"the model has been busy for {self._batcher.busy_s:.0f} s: it hangs")
        return JSON, to_json({"status": "ok", "name": metadata.name})

    async def _describe(self, _incoming: Incoming) -> Answer:
        return JSON, self._ready().to_json()

    async def _measure(self, _incoming: Incoming) -> Answer:
        return CONTENT_TYPE, self._metrics.to_text().encode()

    async def _act(self, incoming: Incoming) -> Answer:
        metadata, loop = self._ready(), asyncio.get_running_loop()
        start_s = loop.time()
        end_s = start_s + self._config.request_timeout_s
        # A web page may send text or a form anywhere without asking; with this type browsers ask first, in vain.
        if incoming.headers.get(b"content-type", b"").partition(b";")[0].strip().lower() != MSGPACK.encode():
            raise RefusalError(415, "media_type", f"{ACT_PATH} takes Content-Type: {MSGPACK}")
        body = await incoming.read(max_bytes=self._config.max_request_bytes, end_s=end_s)
        request = await asyncio.to_thread(self._decode, body, metadata)
        actions = await self._wait_for(self._submit(request), incoming, end_s)
        self._metrics.latency_s.add(loop.time() - start_s)
        return MSGPACK, write_answer(actions)

    def _decode(self, body: bytes, metadata: Metadata) -> ActRequest:
        try:
            request = read_request(body, max_bytes=self._config.max_request_bytes, max_batch=metadata.max_batch)
            check_instructions(request.instructions)
        except ValueError as error:  # WireError is one
            raise RefusalError(400, "bad_request", str(error)) from error
        convention = metadata.convention
        served = None if convention is None else convention.unnorm_key
        if request.unnorm_key is not None and served is not None and request.unnorm_key != served:
            raise RefusalError(
                400, "bad_request", f"unnorm_key {request.unnorm_key!r}: this server answers with {served!r} only"
            )
        size = None if convention is None else convention.image_size
        if size is not None and request.images.shape[1:3] != size:
            height, width = request.images.shape[1:3]
            raise RefusalError(
                400, "bad_request", f"images of {height} x {width} pixels, the model wants {size[0]} x {size[1]}"
            )
        return request

    def _submit(self, request: ActRequest) -> asyncio.Future[Actions]:
        try:
            return self._batcher.submit(request.images, request.instructions)
        except QueueFullError as error:
            raise RefusalError(503, "queue_full", f"{error}: ask again later, or less often") from error

    async def _wait_for(self, answer: asyncio.Future[Actions], incoming: Incoming, end_s: float) -> Actions:
        """The actions, unless they fail, take too long, or nobody waits for them any more."""
        gone = asyncio.ensure_future(incoming.until_gone())
        try:
            left_s = max(0.0, end_s - asyncio.get_running_loop().time())
            await asyncio.wait([answer, gone], timeout=left_s, return_when=asyncio.FIRST_COMPLETED)
            if not answer.done():
                if gone.done():
                    raise ClientGoneError
                limit_s = self._config.request_timeout_s
                raise RefusalError(
                    503, "timeout", f"no action within request_timeout_s = {limit_s:g} s: ask less often"
                )
        finally:
            gone.cancel()
            answer.cancel()
        error = answer.exception()
        if error is None:
            return answer.result()
        if isinstance(error, ModelError | WireError):
            raise RefusalError(500, "model", str(error)) from error
        LOG.error("the model failed", exc_info=error)
        raise RefusalError(500, "model", f"the model failed ({type(error).__name__})") from error


def _headers_of(refusal: RefusalError) -> list[tuple[bytes, bytes]]:
    if refusal.status == 401:
        return [(b"www-authenticate", b"Bearer")]
    return [(b"retry-after", b"1")] if refusal.reason in ("queue_full", "loading") else []
