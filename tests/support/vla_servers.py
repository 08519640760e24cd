"""Real servers on 127.0.0.1 for the VLA client's tests, good ones and ones that misbehave as they are told."""

import base64
import contextlib
import hashlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import msgpack
import numpy as np
import websockets.sync.server

from vlajs.vla.convention import Convention
from vlajs.vla.protocol import Metadata, read_request, write_answer
from vlajs.vla.wire import from_json, from_msgpack, to_json, to_msgpack


@dataclass
class Request:
    """One HTTP request as a server saw it."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    reply: BaseHTTPRequestHandler = field(repr=False)

    def answer(self, body: bytes, status: int = 200, **headers: str) -> None:
        """A whole answer; ``Content_Type`` stands for Content-Type."""
        self.reply.send_response(status)
        sent = {"Content_Length": str(len(body)), **headers}
        for name, value in sent.items():
            self.reply.send_header(name.replace("_", "-"), value)
        self.reply.end_headers()
        self.reply.wfile.write(body)

    def raw(self, data: bytes) -> None:
        """Bytes as they are; the connection is closed afterwards."""
        self.reply.close_connection = True
        self.reply.wfile.write(data)
        self.reply.wfile.flush()


Behaviour = Callable[[Request], None]


class HttpServer:
    """Answers request number n by the nth of ``behaviours``, from the last one on by that one; keeps all requests."""

    def __init__(self, *behaviours: Behaviour, tls: Any = None) -> None:
        self.requests: list[Request] = []
        self.behaviours = list(behaviours)
        self.most_at_once = 0
        self._at_once = 0
        self._lock = threading.Lock()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer._handle(self)

            do_POST = do_GET

            def log_message(self, format: str, *args: object) -> None:
                pass

        class Quiet(ThreadingHTTPServer):
            daemon_threads = True
            block_on_close = False

            def handle_error(self, request: object, client_address: object) -> None:
                pass  # clients that hang up are what the tests are about

        self._server = Quiet(("127.0.0.1", 0), Handler)
        if tls is not None:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self.port = self._server.server_address[1]
        self.url = f"{'http' if tls is None else 'https'}://127.0.0.1:{self.port}"

    def __enter__(self) -> "HttpServer":
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _handle(self, reply: BaseHTTPRequestHandler) -> None:
        body = reply.rfile.read(int(reply.headers.get("Content-Length", 0)))
        request = Request(reply.command, reply.path, dict(reply.headers), body, reply)
        with self._lock:
            number = len(self.requests)
            self.requests.append(request)
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)
        try:
            self.behaviours[min(number, len(self.behaviours) - 1)](request)
        finally:
            with self._lock:
                self._at_once -= 1


def answers(body: bytes, status: int = 200, **headers: str) -> Behaviour:
    """Always the same answer."""
    return lambda request: request.answer(body, status, **headers)


def sleeps(duration_s: float) -> Behaviour:
    """Nothing for a while, then an empty answer that nobody waits for."""

    def behave(request: Request) -> None:
        time.sleep(duration_s)
        request.answer(b"")

    return behave


def drips_headers(request: Request) -> None:
    """A header byte every 20 ms: each arrives in time, the whole never does."""
    request.raw(b"HTTP/1.1 200 OK\r\nX-Slow: ")
    for _ in range(250):
        request.raw(b"x")
        time.sleep(0.02)


def drips_body(request: Request) -> None:
    """A body byte every 20 ms."""
    request.raw(b"HTTP/1.1 200 OK\r\nContent-Length: 250\r\n\r\n")
    for _ in range(250):
        request.raw(b" ")
        time.sleep(0.02)


def claims_a_huge_body(request: Request) -> None:
    """A gigabyte announced."""
    request.raw(b"HTTP/1.1 200 OK\r\nContent-Length: 1073741824\r\n\r\n")


@dataclass
class Endless:
    """A body without an end; ``sent`` says how far it got before the client hung up."""

    chunked: bool = False
    sent: int = 0
    hung_up: threading.Event = field(default_factory=threading.Event)

    def __call__(self, request: Request) -> None:
        request.raw(b"HTTP/1.1 200 OK\r\n" + (b"Transfer-Encoding: chunked\r\n\r\n" if self.chunked else b"\r\n"))
        block = b" " * 65536
        try:
            while self.sent < 1 << 30:
                request.raw(b"10000\r\n" + block + b"\r\n" if self.chunked else block)
                self.sent += len(block)
        except OSError:
            self.hung_up.set()


def endless_headers(request: Request) -> None:
    """Interim answers without an end."""
    with contextlib.suppress(OSError):
        while True:
            request.raw(b"HTTP/1.1 100 Continue\r\n\r\n" * 1000)


def closes_mid_answer(request: Request) -> None:
    """Half of what was announced."""
    request.raw(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n[0, 0, 0")


def closes_at_once(request: Request) -> None:
    """No answer at all."""
    request.reply.close_connection = True


class OpenpiServer:
    """A policy server over websockets: sends ``metadata``, then answers message number n by the nth of ``behaviours``.

    A behaviour takes the connection and the decoded observation. ``metadata`` may be bytes, which are sent as they are,
    or a list, of which every further connection gets the next.
    """

    def __init__(
        self, metadata: Any, *behaviours: Callable[[Any, Any], None], status: int = 0, headers=(), tls: Any = None
    ) -> None:
        self.metadata = metadata if isinstance(metadata, list) else [metadata]
        self.behaviours = list(behaviours)
        self.observations: list[Any] = []
        self.connections: list[dict[str, str]] = []
        self.health_checks = 0
        self._status, self._headers = status, headers
        self._server = websockets.sync.server.serve(
            self._handle,
            "127.0.0.1",
            0,
            process_request=self._process,
            ssl=tls,
            compression=None,
            max_size=None,
            close_timeout=0.1,
        )
        self.port = self._server.socket.getsockname()[1]
        self.url = f"{'ws' if tls is None else 'wss'}://127.0.0.1:{self.port}"

    def __enter__(self) -> "OpenpiServer":
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()

    def _process(self, connection: Any, request: Any) -> Any:
        if request.path == "/healthz":
            self.health_checks += 1
            return connection.respond(200, "OK\n")
        self.connections.append(dict(request.headers.raw_items()))
        if self._status:
            response = connection.respond(self._status, "because")
            for name, value in self._headers:
                response.headers[name] = value
            return response
        return None

    def _handle(self, connection: Any) -> None:
        metadata = self.metadata[min(len(self.connections), len(self.metadata)) - 1]
        with contextlib.suppress(websockets.exceptions.ConnectionClosed, OSError):
            connection.send(metadata if isinstance(metadata, bytes | str) else to_msgpack(metadata))
            for message in connection:
                number = len(self.observations)
                self.observations.append(from_msgpack(message))
                self.behaviours[min(number, len(self.behaviours) - 1)](connection, self.observations[-1])


def sends(message: Any) -> Callable[[Any, Any], None]:
    """Always the same message: bytes and text as they are, anything else as msgpack."""
    data = message if isinstance(message, bytes | str) else to_msgpack(message)
    return lambda connection, _: connection.send(data)


def unchecked_array(data: bytes, dtype: str, shape: list[int]) -> dict[bytes, Any]:
    """An array in msgpack that ``vlajs.vla.wire`` would not send."""
    return msgpack.unpackb(msgpack.packb({b"__ndarray__": True, b"data": data, b"dtype": dtype, b"shape": shape}))


@contextlib.contextmanager
def took(*, at_most_s: float) -> Iterator[None]:
    """The block takes no longer than that, with 1.5 s of patience for a busy machine."""
    start_s = time.monotonic()
    yield
    assert time.monotonic() - start_s < at_most_s + 1.5


class DeafServer:
    """Takes connections and never reads from them, once a websocket is open with an empty metadata map."""

    def __init__(self, *, websocket: bool) -> None:
        self.connections = 0
        self._websocket = websocket
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._open: list[socket.socket] = []
        self.port = self._listening.getsockname()[1]

    def __enter__(self) -> "DeafServer":
        threading.Thread(target=self._serve, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        for item in [self._listening, *self._open]:
            item.close()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listening.accept()
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                self._open.append(connection)
                self.connections += 1
                if self._websocket:
                    self._shake_hands(connection)

    def _shake_hands(self, connection: socket.socket) -> None:
        request = b""
        while b"\r\n\r\n" not in request:
            request += connection.recv(4096)
        key = request.split(b"Sec-WebSocket-Key: ")[1].split(b"\r\n")[0]
        accept = base64.b64encode(hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())
        connection.sendall(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n\x82\x01\x80"
        )


# --- good servers

OWN = Convention(rate_hz=20.0)
METADATA = Metadata(name="test-model", convention=OWN, action_horizon=2, max_batch=3)


def good_openvla(request: Request) -> None:
    """Moves by the mean of the image, in millimetres along x."""
    payload = from_json(request.body)
    request.answer(to_json(np.array([payload["image"].mean() / 1000, 0, 0, 0, 0, 0, 1.0])))


def vlajs(act: Behaviour, metadata: bytes | None = None) -> Behaviour:
    """Our protocol, with ``act`` for POST /act."""

    def behave(request: Request) -> None:
        if request.path == "/act":
            act(request)
        elif request.path == "/metadata":
            request.answer(METADATA.to_json() if metadata is None else metadata)
        else:
            request.answer(b"ok")

    return behave


def good_act(request: Request) -> None:
    """Two actions an image: the first along x by its mean in mm, the second along z."""
    asked = read_request(request.body)
    chunk = np.zeros((len(asked.images), 2, 7))
    chunk[:, 0, 0] = asked.images.mean(axis=(1, 2, 3)) / 1000
    chunk[:, 1, 2] = 0.001
    request.answer(write_answer(chunk))


def acts(server: HttpServer) -> int:
    """How often it was asked for actions."""
    return sum(request.path == "/act" for request in server.requests)
