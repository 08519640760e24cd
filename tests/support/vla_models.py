"""A model of a few lines for the VLA server's tests, and a real server on 127.0.0.1 around it."""

import contextlib
import threading
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from tests.support.processes import wait_for
from vlajs.vla.backend import VlaConfig
from vlajs.vla.client import VlaClient
from vlajs.vla.convention import Convention
from vlajs.vla.endpoint import endpoint_from
from vlajs.vla.errors import VlaError
from vlajs.vla.protocol import METRICS_PATH
from vlajs.vla.serving.config import ServerConfig
from vlajs.vla.serving.model import Model
from vlajs.vla.serving.server import VlaServer
from vlajs.vla.transport import Limits, exchange


class MeanModel:
    """x is the image's mean in mm, y the instruction's length in mm, the gripper is open.

    Attributes:
        batches: how many images each call had, the warm-up's included.
        gate: calls about anything but the warm-up wait for it.
    """

    name = "mean"

    def __init__(self, *, horizon: int = 1, convention: Convention | None = Convention(rate_hz=20.0)) -> None:  # noqa: B008
        self.action_horizon, self.convention = horizon, convention
        self.batches: list[int] = []
        self.gate = threading.Event()
        self.gate.set()

    def act(self, images: np.ndarray, instructions: Sequence[str]) -> np.ndarray:
        self.batches.append(len(images))
        if len(self.batches) > 4:
            assert self.gate.wait(60)
        if "crash" in instructions:
            raise ZeroDivisionError("/secret/path")
        actions = np.zeros((len(images), self.action_horizon, 7))
        actions[:, :, 0] = images.mean(axis=(1, 2, 3))[:, None] / 1000
        actions[:, :, 1] = np.array([len(text) for text in instructions])[:, None] / 1000
        actions[:, :, 6] = 1.0
        if "nan" in instructions:
            actions[0, 0, 0] = np.nan
        return actions


@contextlib.contextmanager
def serving(load: Callable[[], Model], *, ready: bool = True, **settings) -> Iterator[VlaServer]:
    """A real server in a thread; what ended it early is raised at the end of the block."""
    server = VlaServer(load, ServerConfig(port=0, **settings))
    failures: list[BaseException] = []

    def run() -> None:
        try:
            server.run()
        except Exception as error:  # noqa: BLE001 (raised again below)
            failures.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        if ready:
            with VlaClient(VlaConfig(backend="vlajs", url=server.url, ca_file=_text(settings))) as probe:
                wait_for(lambda: probe.healthy() or not thread.is_alive(), "the server to be ready")
        yield server
    finally:
        server.stop()
        thread.join(30)
    assert not thread.is_alive(), "the server does not stop"
    if failures:
        raise failures[0]


def metrics_of(server: VlaServer, token: str | None = None) -> dict[str, float]:
    """Name with labels -> value, of GET /metrics."""
    text = get(server, METRICS_PATH, token).decode()
    lines = [line.rpartition(" ") for line in text.splitlines() if not line.startswith("#")]
    return {name: float(value) for name, _, value in lines}


def get(server: VlaServer, path: str, token: str | None = None) -> bytes:
    """The body of a good answer.

    Raises:
        VlaError: as :func:`vlajs.vla.transport.exchange`.
    """
    endpoint = endpoint_from(server.url, schemes=("http", "https"), token=token, ca_file=None)
    return exchange(endpoint, "GET", path, Limits())


def answered(server: VlaServer, path: str) -> str:
    """The body of a good answer, or the message of the error."""
    try:
        return get(server, path).decode()
    except VlaError as error:
        return str(error)


def _text(settings: dict) -> str | None:
    certificate = settings.get("tls_certificate")
    return None if certificate is None else str(certificate)
