"""A model on a TCP port: loads it, warms it up, answers until it is told to stop, finishes what runs."""

import asyncio
import logging
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import numpy as np

from vlajs.vla.endpoint import is_loopback
from vlajs.vla.errors import VlaConfigError
from vlajs.vla.protocol import Metadata
from vlajs.vla.serving.app import App
from vlajs.vla.serving.batcher import Batcher
from vlajs.vla.serving.config import ServerConfig
from vlajs.vla.serving.metrics import ServerMetrics
from vlajs.vla.serving.model import Model, checked_act, warm_up

LOG = logging.getLogger(__name__)
HEADER_TIMEOUT_S = 10.0
"""A connection that has not sent its headers by then is closed."""
MAX_CONNECTIONS = 128


class VlaServer:
    """One model, one port. The port is taken when the object is made; the model is loaded by :meth:`run`."""

    def __init__(self, load: Callable[[], Model], config: ServerConfig) -> None:
        """Listen.

        Args:
            load: gives the model; called in the thread that will ask it.
            config: where and how much.

        Raises:
            VlaConfigError: the address cannot be listened on, or uvicorn is not installed.
        """
        _uvicorn()
        self._load, self._config = load, config
        self._socket = _listen(config)
        host, self.port = self._socket.getsockname()[:2]
        scheme = "http" if config.tls_certificate is None else "https"
        self.url = f"{scheme}://{f'[{host}]' if ':' in host else host}:{self.port}"
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="vla-model")
        self._server: Any = None
        self._stopped = threading.Event()
        self._working = False

    @property
    def is_busy(self) -> bool:
        """After :meth:`run`: whether the model's thread still works, on loading or on a call that hangs."""
        return self._working

    def run(self) -> None:
        """Serve until :meth:`stop`, SIGINT or SIGTERM (in the main thread); blocks.

        Health says "loading" until the model is loaded and warm. When stopped, requests that were sent are answered.

        Raises:
            ModelError: the model must not be served (:func:`vlajs.vla.serving.model.warm_up`).
            Exception: whatever ``load`` raised.
        """
        with _quiet_signals(), self._socket:
            try:
                asyncio.run(self._run())
            finally:
                self._executor.shutdown(wait=False, cancel_futures=True)

    def stop(self) -> None:
        """Ask it to end; from any thread, also before :meth:`run`."""
        self._stopped.set()
        if self._server is not None:
            self._server.should_exit = True

    async def _run(self) -> None:
        config = self._config
        metrics = ServerMetrics(queue_length=lambda: batcher.length, ready=lambda: app.metadata is not None)
        batcher = Batcher(
            self._executor,
            metrics,
            max_batch=config.max_batch,
            window_s=config.batch_window_s,
            max_queue=config.max_queue,
        )
        app = App(config, batcher, metrics)
        self._server = _uvicorn_server(app, config)
        self._server.should_exit = self._stopped.is_set()
        LOG.info("listening on %s, loading the model", self.url)
        if not is_loopback(config.host) and config.tls_certificate is None:
            LOG.warning("images and token travel unencrypted: give --tls-certificate and --tls-key, or use a tunnel")
        work = asyncio.create_task(self._load_and_answer(app, batcher))
        work.add_done_callback(lambda _: self.stop())
        await self._server.serve(sockets=[self._socket])
        if work.done():
            work.result()  # it ends by itself only by an error
        work.cancel()
        LOG.info("stopped")

    async def _load_and_answer(self, app: App, batcher: Batcher) -> None:
        model = await asyncio.get_running_loop().run_in_executor(self._executor, self._load_and_warm_up)
        app.metadata = Metadata(
            name=model.name,
            convention=model.convention,
            action_horizon=model.action_horizon,
            max_batch=self._config.max_batch,
        )
        if model.convention is None:
            LOG.warning("%s states no convention: every client has to give one", model.name)
        LOG.info("ready: %s on %s", model.name, self.url)

        def act(images: np.ndarray, instructions: Any) -> np.ndarray:
            self._working = True
            try:
                return checked_act(model, images, instructions)
            finally:
                self._working = False

        await batcher.run(act)

    def _load_and_warm_up(self) -> Model:
        self._working = True
        try:
            model = self._load()
            warm_up(model)
        finally:
            self._working = False
        return model


def _listen(config: ServerConfig) -> socket.socket:
    family = socket.AF_INET6 if ":" in config.host else socket.AF_INET
    try:
        return socket.create_server((config.host, config.port), family=family)
    except OSError as error:
        raise VlaConfigError(
            f"cannot listen on {config.host} port {config.port} ({error.strerror or error}): "
            "is another server running there, and the address this machine's?"
        ) from error


def _uvicorn_server(app: App, config: ServerConfig) -> Any:
    uvicorn = _uvicorn()

    class Server(uvicorn.Server):
        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            app.stopping = True
            await super().shutdown(sockets)

    try:
        settings = uvicorn.Config(
            app,
            http=_impatient_protocol(),
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            limit_concurrency=MAX_CONNECTIONS,
            timeout_graceful_shutdown=max(1, round(config.request_timeout_s)),
            ssl_certfile=config.tls_certificate,
            ssl_keyfile=config.tls_key,
        )
        settings.load()
    except OSError as error:  # SSLError is one
        raise VlaConfigError(f"certificate {config.tls_certificate} with key {config.tls_key}: {error}") from error
    return Server(settings)


def _impatient_protocol() -> Any:
    from uvicorn.protocols.http.h11_impl import H11Protocol

    class ImpatientProtocol(H11Protocol):
        """Closes connections that do not send their headers: uvicorn itself waits for them for ever."""

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            self._patience = self.loop.call_later(HEADER_TIMEOUT_S, self._close_if_silent)

        def connection_lost(self, exc: Exception | None) -> None:
            self._patience.cancel()
            super().connection_lost(exc)

        def _close_if_silent(self) -> None:
            if self.cycle is None:
                self.transport.abort()

    return ImpatientProtocol


@contextmanager
def _quiet_signals() -> Iterator[None]:
    """uvicorn takes SIGINT and SIGTERM while it runs and raises them again afterwards: then they should do nothing."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, lambda *_: None) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _uvicorn() -> Any:
    try:
        import uvicorn
    except ImportError as error:
        raise VlaConfigError("uvicorn is not installed: pip install 'vlajs[vla-server]'") from error
    return uvicorn
