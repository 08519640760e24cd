"""One HTTP request and its answer, within limits of time and size that hold whatever the server does.

Time and size are counted where bytes are read from the socket, headers included, so that neither a server that drips
nor one that never stops gets further than that. Redirects are refused, proxies of the environment ignored, compression
not asked for. Each request has a connection of its own: none is left in a doubtful state, and models are slow enough.
"""

import http.client
import io
import socket
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vlajs.vla.endpoint import Endpoint
from vlajs.vla.errors import BadAnswerError, RefusedError, ServerFailureError, TooLateError, UnreachableError

HEADER_ALLOWANCE_BYTES = 64 * 1024
"""Status line and headers may be this large, on top of the body's limit."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How long and how much.

    Attributes:
        connect_timeout_s: to reach the server, TLS included.
        read_timeout_s: from sending the request to the last byte of the answer.
        max_answer_bytes: a larger answer is cut off.
    """

    connect_timeout_s: float = 3.0
    read_timeout_s: float = 10.0
    max_answer_bytes: int = 1024 * 1024


def exchange(
    endpoint: Endpoint,
    method: str,
    path: str,
    limits: Limits,
    *,
    body: bytes = b"",
    headers: Mapping[str, str] | None = None,
) -> bytes:
    """Send one request and return the body of a good (2xx) answer.

    Args:
        endpoint: the server; ``ws`` and ``wss`` are taken for ``http`` and ``https``.
        method: GET or POST.
        path: below the endpoint's own.
        limits: of time and size.
        body: what is sent.
        headers: besides the token's.

    Raises:
        UnreachableError: no connection, or it broke before the answer was whole.
        TooLateError: the whole answer took longer than ``read_timeout_s``.
        ServerFailureError: status 5xx.
        RefusedError: any other status that is not 2xx, redirects among them, or a certificate that is not believed.
        BadAnswerError: no HTTP, compressed, or too large.
    """
    with connect(endpoint, limits.connect_timeout_s) as sock:
        bounded = _BoundedSocket(sock, limits)
        connection = http.client.HTTPConnection(endpoint.host, endpoint.port)
        connection.sock = bounded  # type: ignore[assignment]  (what http.client uses of a socket, it has)
        try:
            try:
                sent = {**endpoint.headers(), **(headers or {}), "Connection": "close"}
                connection.request(method, endpoint.path + path, body=body or None, headers=sent)
            except (BrokenPipeError, ConnectionResetError):
                pass  # it may have answered without reading everything: the answer says why
            response = connection.getresponse()
            answer = _body_of(response, endpoint, limits)
        except _TooMuchError:
            raise _too_large(endpoint, limits, "more") from None
        except TimeoutError as error:
            raise TooLateError(
                f"{endpoint.url}{path} gave no whole answer within read_timeout_s = {limits.read_timeout_s:g} s: "
                "the server is overloaded or hangs; look at it, or raise the limit"
            ) from error
        except (http.client.IncompleteRead, OSError) as error:
            raise UnreachableError(f"{endpoint.url}{path} closed the connection before its answer was whole") from error
        except http.client.HTTPException as error:
            raise BadAnswerError(
                f"{endpoint.url}{path} does not speak HTTP ({type(error).__name__}): is the port right?"
            ) from error
    _check_status(response, answer, endpoint, path)
    return answer


def connect(endpoint: Endpoint, timeout_s: float) -> socket.socket:
    """A connected socket, TLS and all, whose timeout is ``timeout_s``.

    Raises:
        UnreachableError: not within ``timeout_s``, refused, or an unknown host.
        RefusedError: a certificate that is not believed.
    """
    context = endpoint.tls_context()
    sock = connect_tcp(endpoint, timeout_s)
    if context is None:
        return sock
    try:
        return context.wrap_socket(sock, server_hostname=endpoint.host)
    except ssl.SSLCertVerificationError as error:
        sock.close()
        raise RefusedError(f"{endpoint.url}: {error.verify_message}; give its certificate as ca_file=") from error
    except OSError as error:
        sock.close()
        raise UnreachableError(f"{endpoint.url}: no TLS connection ({error}): does the server speak TLS?") from error


def connect_tcp(endpoint: Endpoint, timeout_s: float) -> socket.socket:
    """A connected socket, without TLS.

    Raises:
        UnreachableError: not within ``timeout_s``, refused, or an unknown host.
    """
    try:
        sock = socket.create_connection((endpoint.host, endpoint.port), timeout=timeout_s)
    except OSError as error:
        raise UnreachableError(
            f"{endpoint.url}: no connection within connect_timeout_s = {timeout_s:g} s ({error}): "
            "is the server running there, and the port right?"
        ) from error
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def _body_of(response: http.client.HTTPResponse, endpoint: Endpoint, limits: Limits) -> bytes:
    if (response.length or 0) > limits.max_answer_bytes:
        raise _too_large(endpoint, limits, str(response.length))
    encoding = response.getheader("Content-Encoding", "identity")
    if encoding != "identity":
        raise BadAnswerError(f"{endpoint.url} answers with Content-Encoding {endpoint.quote(encoding)!r}: turn it off")
    body = response.read()
    if len(body) > limits.max_answer_bytes:
        raise _too_large(endpoint, limits, str(len(body)))
    return body


def _check_status(response: http.client.HTTPResponse, body: bytes, endpoint: Endpoint, path: str) -> None:
    status = response.status
    if 200 <= status < 300:
        return
    where, said = f"{endpoint.url}{path} answers {status}", endpoint.quote(body) or "nothing more"
    if status >= 500:
        raise ServerFailureError(f"{where}: {said}: look at the server's log")
    if 300 <= status < 400:
        target = endpoint.quote(response.getheader("Location") or "nowhere")
        raise RefusedError(f"{where}, a redirect to {target}: not followed; give the address that is meant")
    if status in (401, 403):
        raise RefusedError(f"{where}: {said}: give the token the server asks for")
    raise RefusedError(f"{where}: {said}")


def _too_large(endpoint: Endpoint, limits: Limits, size: str) -> BadAnswerError:
    return BadAnswerError(
        f"{endpoint.url}: an answer of {size} bytes, at most max_answer_bytes = {limits.max_answer_bytes} are read: "
        "is this the right server? Otherwise ask for fewer images at once, or raise the limit"
    )


class _TooMuchError(Exception):
    """More bytes than are believed; no OSError, so that nothing on the way takes it for a broken connection."""


class _BoundedReader(io.RawIOBase):
    """Reads a socket until a time and up to a number of bytes."""

    def __init__(self, sock: socket.socket, end_s: float, max_bytes: int) -> None:
        self._sock, self._end_s, self._left = sock, end_s, max_bytes

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if self._left < 0:
            raise _TooMuchError
        self._sock.settimeout(_remaining(self._end_s))
        count = self._sock.recv_into(buffer)
        self._left -= count
        return count


class _BoundedSocket:
    """What http.client uses of a socket, within limits."""

    def __init__(self, sock: socket.socket, limits: Limits) -> None:
        self._sock = sock
        self._end_s = time.monotonic() + limits.read_timeout_s
        self._max_bytes = limits.max_answer_bytes + HEADER_ALLOWANCE_BYTES

    def sendall(self, data: Any) -> None:
        self._sock.settimeout(_remaining(self._end_s))
        self._sock.sendall(data)

    def makefile(self, _mode: str) -> io.BufferedReader:
        return io.BufferedReader(_BoundedReader(self._sock, self._end_s, self._max_bytes), HEADER_ALLOWANCE_BYTES)

    def close(self) -> None:
        """Whoever opened the socket closes it."""


def _remaining(end_s: float) -> float:
    remaining = end_s - time.monotonic()
    if remaining <= 0:
        raise TimeoutError
    return remaining
