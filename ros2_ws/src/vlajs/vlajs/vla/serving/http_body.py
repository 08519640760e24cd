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


async def read_body(receive: Receive, headers: Mapping[bytes, bytes], *, max_bytes: int, end_s: float) -> bytes:
    """The whole body.

    Args:
        receive: of ASGI.
        headers: names in lower case.
        max_bytes: a larger one is refused, before it is read where its length is stated.
        end_s: time of the event loop until which it must have arrived.

    Raises:
        RefusalError: compressed, too large, or too slow.
        ClientGoneError: the client hung up.
    """
    if headers.get(b"content-encoding", b"identity") != b"identity":
        raise RefusalError(415, "media_type", "the request has a Content-Encoding: send it uncompressed")
    stated = headers.get(b"content-length", b"0")
    if stated.isdigit() and int(stated) > max_bytes:
        raise _too_large(max_bytes, stated.decode())
    body = bytearray()
    try:
        async with asyncio.timeout_at(end_s):
            more = True
            while more:
                message = await receive()
                if message["type"] != "http.request":
                    raise ClientGoneError
                body += message.get("body", b"")
                if len(body) > max_bytes:
                    raise _too_large(max_bytes, "more")
                more = message.get("more_body", False)
    except TimeoutError as error:
        raise RefusalError(408, "too_slow", "the request did not arrive in time: is the network too slow?") from error
    return bytes(body)


async def drain_body(receive: Receive) -> None:
    """Throw away what a client still sends: closing on it may cost it the answer that says what is wrong.

    At most :data:`DRAINED_BYTES` and :data:`DRAIN_TIMEOUT_S`; returns at once when the body was read.
    """
    seen = 0
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(DRAIN_TIMEOUT_S):
            while seen <= DRAINED_BYTES:
                message = await receive()
                seen += len(message.get("body", b""))
                if message["type"] != "http.request" or not message.get("more_body", False):
                    return


async def until_gone(receive: Receive) -> None:
    """Returns when the client hangs up; the body must have been read."""
    while (await receive())["type"] != "http.disconnect":
        pass


def _too_large(max_bytes: int, size: str) -> RefusalError:
    return RefusalError(
        413,
        "too_large",
        f"a request of {size} bytes, this server reads at most {max_bytes}: send fewer or smaller images, or JPEG; "
        "the limit is max_request_bytes",
    )
