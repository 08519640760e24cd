"""Reads the body of an ASGI request within limits of size and time, and refuses what cannot be one."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

Receive = Callable[[], Awaitable[Mapping[str, Any]]]
DRAINED_BYTES = 64 * 1024 * 1024
DRAIN_TIMEOUT_S = 2.0


class RefusalError(Exception):
    """A request is answered with an error.

    Attributes:
        status: of HTTP: 4xx if asking again is of no use, else 5xx.
        reason: one of a fixed set, for the metrics.
    """

    def __init__(self, status: int, reason: str, message: str) -> None:
        """``message`` is sent to the client."""
        super().__init__(message)
        self.status, self.reason = status, reason


class ClientGoneError(Exception):
    """Nobody waits for the answer any more."""


class Incoming:
    """What a client sends after the headers of one request."""

    def __init__(self, receive: Receive, headers: Mapping[bytes, bytes]) -> None:
        """``receive`` is ASGI's; header names are in lower case."""
        self._receive, self.headers = receive, headers
        self._is_whole = False

    async def read(self, *, max_bytes: int, end_s: float) -> bytes:
        """The whole body.

        Args:
            max_bytes: a larger one is refused, before it is read where its length is stated.
            end_s: time of the event loop until which it must have arrived.

        Raises:
            RefusalError: compressed, too large, or too slow.
            ClientGoneError: the client hung up.
        """
        if self.headers.get(b"content-encoding", b"identity") != b"identity":
            raise RefusalError(415, "media_type", "the request has a Content-Encoding: send it uncompressed")
        stated = self.headers.get(b"content-length", b"0")
        if stated.isdigit() and int(stated) > max_bytes:
            raise _too_large(max_bytes, stated.decode())
        body = bytearray()
        try:
            async with asyncio.timeout_at(end_s):
                while not self._is_whole:
                    body += await self._next()
                    if len(body) > max_bytes:
                        raise _too_large(max_bytes, "more")
        except TimeoutError as error:
            raise RefusalError(408, "too_slow", "the request did not arrive in time: is the network slow?") from error
        return bytes(body)

    async def drain(self) -> None:
        """Throw away what is still sent: closing on it may cost the client the answer that says what is wrong.

        At most :data:`DRAINED_BYTES` and for :data:`DRAIN_TIMEOUT_S`.
        """
        seen = 0
        with contextlib.suppress(TimeoutError, ClientGoneError):
            async with asyncio.timeout(DRAIN_TIMEOUT_S):
                while not self._is_whole and seen <= DRAINED_BYTES:
                    seen += len(await self._next())

    async def until_gone(self) -> None:
        """Returns when the client hangs up; the body must have been read."""
        while (await self._receive())["type"] != "http.disconnect":
            pass

    async def _next(self) -> bytes:
        message = await self._receive()
        if message["type"] != "http.request":
            raise ClientGoneError
        self._is_whole = not message.get("more_body", False)
        return message.get("body", b"")


def _too_large(max_bytes: int, size: str) -> RefusalError:
    return RefusalError(
        413,
        "too_large",
        f"a request of {size} bytes, this server reads at most {max_bytes}: send fewer or smaller images, or JPEG; "
        "the limit is max_request_bytes",
    )
