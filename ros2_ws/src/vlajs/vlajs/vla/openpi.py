"""openpi's policy server: a websocket that speaks msgpack, one observation a message.

On connecting the server sends its metadata, a map; ours is read from the key ``vlajs`` where a server has it
(``vlajs.vla.protocol.Metadata``). Then every observation (a map of names) is answered by a map with the chunk (K, 7)
under ``actions``. A text message is the server's stated error (a traceback), and it closes. The health of the process
is at GET /healthz on the same port. A token travels as ``Authorization: Api-Key TOKEN``.
"""

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vlajs.vla.answers import check_actions
from vlajs.vla.backend import Question, VlaConfig
from vlajs.vla.caller import Caller
from vlajs.vla.errors import (
    BadAnswerError,
    ConventionError,
    RefusedError,
    ServerFailureError,
    TooLateError,
    UnreachableError,
    VlaConfigError,
    VlaError,
    WireError,
)
from vlajs.vla.protocol import HEALTH_PATH, MAX_HORIZON, Metadata
from vlajs.vla.transport import connect, exchange
from vlajs.vla.wire import fields_of, from_msgpack, to_msgpack

METADATA_KEY = "vlajs"
TOO_BIG_CODE = 1009
CLOSE_TIMEOUT_S = 0.2


class Openpi:
    """A backend; see the module. Requests are made one after another over one connection, opened when needed."""

    def __init__(self, config: VlaConfig, caller: Caller) -> None:
        """No request is made yet.

        Raises:
            VlaConfigError: the address, or websockets is not installed.
        """
        _websockets()
        self._endpoint = config.endpoint("ws", "wss")
        self._config, self._limits, self._caller = config, config.limits, caller
        self._connection: Any = None
        self._metadata: Metadata | None = None
        self._known = False
        self._lock = threading.Lock()

    def handshake(self) -> Metadata | None:
        """As :meth:`vlajs.vla.backend.Backend.handshake`; None where the metadata does not speak of vlajs."""
        with self._lock:
            self._caller.call(self._connected)
            return self._metadata

    def ask(self, question: Question) -> NDArray[np.float64]:
        """As :meth:`vlajs.vla.backend.Backend.ask`."""
        with self._lock:
            chunks = [self._ask_one(question, row) for row in range(len(question.images))]
        lengths = sorted({len(chunk) for chunk in chunks})
        if len(lengths) > 1:
            raise BadAnswerError(f"{self._endpoint.url} answers chunks of {lengths} actions: they must be as long")
        return np.stack(chunks)

    def healthy(self) -> bool:
        """Whether GET /healthz is answered well."""
        try:
            exchange(self._endpoint, "GET", HEALTH_PATH, self._limits)
        except VlaError:
            return False
        return True

    def close(self) -> None:
        """Close the connection."""
        with self._lock:
            if self._connection is not None:
                with _deadline(self._connection.socket, CLOSE_TIMEOUT_S), contextlib.suppress(OSError):
                    self._connection.close()
            self._drop()

    def _ask_one(self, question: Question, row: int) -> NDArray[np.float64]:
        keys = self._config.openpi
        observation = {name: values[row] for name, values in question.inputs.items()}
        observation |= {keys.image: question.images[row], keys.prompt: question.instructions[row]}
        message = to_msgpack(observation)
        return self._caller.call(lambda: self._request(message, question.convention.action_size))

    def _request(self, message: bytes, action_size: int) -> NDArray[np.float64]:
        self._connected()
        try:
            answer = self._exchange(message)
            horizon = None if self._metadata is None else self._metadata.action_horizon
            actions = check_actions(
                self._map_of(answer).get(self._config.openpi.actions), (horizon, action_size), self._endpoint.url
            )
            if len(actions) > MAX_HORIZON:
                raise BadAnswerError(f"{self._endpoint.url} answers {len(actions)} actions, at most {MAX_HORIZON}")
        except BaseException:  # whatever happened, the next answer could be this question's: start afresh
            self._drop()
            raise
        return actions

    def _connected(self) -> None:
        """Connect and read the metadata, unless that was done."""
        if self._connection is not None:
            return
        self._connection = self._open()
        try:
            metadata = self._read_metadata()
            if self._known and metadata != self._metadata:
                raise RefusedError(
                    f"{self._endpoint.url} is another server since it was connected to again: its metadata was "
                    f"{self._metadata}, and is {metadata}; make a new client"
                )
        except BaseException:  # a connection without metadata must not be used
            self._drop()
            raise
        self._metadata, self._known = metadata, True

    def _read_metadata(self) -> Metadata | None:
        stated = self._map_of(self._exchange(None)).get(METADATA_KEY)
        try:
            return None if stated is None else Metadata.from_dict(stated)
        except (WireError, ConventionError) as error:
            raise BadAnswerError(f"{self._endpoint.url}: {error}") from error

    def _map_of(self, answer: bytes | str) -> Any:
        if isinstance(answer, str):
            last_line = answer.strip().rpartition("\n")[2]
            raise RefusedError(f"{self._endpoint.url} states an error: {self._endpoint.quote(last_line)}")
        try:
            return fields_of(from_msgpack(answer, max_bytes=self._limits.max_answer_bytes), "the message")
        except WireError as error:
            raise BadAnswerError(f"{self._endpoint.url}: {error}") from error

    def _open(self) -> Any:
        websockets, endpoint = _websockets(), self._endpoint
        # A socket of our own: websockets would follow redirects, also to other hosts, and proxies of the environment.
        sock = connect(endpoint, self._limits.connect_timeout_s)
        try:
            with _deadline(sock, self._limits.connect_timeout_s):
                sock.settimeout(None)
                return websockets.sync.client.connect(
                    endpoint.url.replace("wss:", "ws:", 1) + ("" if endpoint.path else "/"),
                    sock=sock,  # speaks TLS already where it must
                    compression=None,
                    additional_headers=endpoint.headers("Api-Key"),
                    proxy=None,
                    open_timeout=self._limits.connect_timeout_s,
                    ping_interval=None,  # a model at work does not answer pings; read_timeout_s watches instead
                    close_timeout=CLOSE_TIMEOUT_S,
                    max_size=self._limits.max_answer_bytes,
                    legacy=True,
                )
        except websockets.exceptions.InvalidStatus as error:
            sock.close()
            raise _status_error(endpoint.url, endpoint.quote(error.response.body or b""), error.response) from error
        except ValueError as error:  # a redirect
            sock.close()
            raise RefusedError(
                f"{endpoint.url}: {endpoint.quote(str(error))}; give the address that is meant"
            ) from error
        except websockets.exceptions.WebSocketException as error:
            sock.close()
            broken = isinstance(error.__cause__, EOFError | OSError)
            kind = UnreachableError if broken else BadAnswerError
            raise kind(f"{endpoint.url}: no websocket ({endpoint.quote(str(error))}): is the port right?") from error
        except OSError as error:
            sock.close()
            raise UnreachableError(
                f"{endpoint.url}: no websocket ({error}): does the server speak it there?"
            ) from error

    def _exchange(self, message: bytes | None) -> bytes | str:
        """Send ``message``, if any, and receive one, both within ``read_timeout_s``."""
        websockets, connection, limits = _websockets(), self._connection, self._limits
        end_s = time.monotonic() + limits.read_timeout_s
        try:
            with _deadline(connection.socket, limits.read_timeout_s) as expired:
                try:
                    if message is not None:
                        connection.send(message)
                    return connection.recv(timeout=max(0.0, end_s - time.monotonic()))
                except websockets.exceptions.ConnectionClosed:
                    if expired.is_set():
                        raise TimeoutError from None
                    raise
        except TimeoutError as error:
            raise TooLateError(
                f"{self._endpoint.url} gave no whole answer within read_timeout_s = {limits.read_timeout_s:g} s: "
                "the server is overloaded or hangs; look at it, or raise the limit"
            ) from error
        except websockets.exceptions.ConnectionClosed as error:
            if error.sent is not None and error.sent.code == TOO_BIG_CODE:
                raise BadAnswerError(
                    f"{self._endpoint.url}: an answer of more than max_answer_bytes = {limits.max_answer_bytes} bytes: "
                    "is this the right server?"
                ) from error
            raise UnreachableError(f"{self._endpoint.url} closed the connection instead of answering") from error

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            _cut(connection.socket)  # no polite good-bye to a peer that may not read it
            with contextlib.suppress(OSError):
                connection.close()


@contextlib.contextmanager
def _deadline(sock: socket.socket, timeout_s: float) -> Iterator[threading.Event]:
    """Shut ``sock`` down when the block takes longer: a peer that does not read would block a send for ever."""
    expired = threading.Event()

    def expire() -> None:
        expired.set()
        _cut(sock)

    timer = threading.Timer(timeout_s, expire)
    timer.daemon = True
    timer.start()
    try:
        yield expired
    finally:
        timer.cancel()


def _cut(sock: socket.socket) -> None:
    with contextlib.suppress(OSError):
        socket.socket.shutdown(sock, socket.SHUT_RDWR)  # the plain one, also under TLS


def _status_error(url: str, said: str, response: Any) -> VlaError:
    status, where = response.status_code, f"{url} answers {response.status_code} instead of a websocket"
    if status >= 500:
        return ServerFailureError(f"{where}: {said}")
    remedy = ": give the token the server asks for" if status in (401, 403) else ""
    return RefusedError(f"{where}: {said}{remedy}")


def _websockets() -> Any:
    try:
        import websockets.exceptions
        import websockets.sync.client
    except ImportError as error:
        raise VlaConfigError("websockets is not installed: pip install 'vlajs[vla]'") from error
    return websockets
