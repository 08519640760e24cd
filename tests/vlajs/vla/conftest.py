"""What the tests of the client share."""

import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import pytest

from vlajs.vla.backend import VlaConfig
from vlajs.vla.caller import Retries
from vlajs.vla.client import VlaClient
from vlajs.vla.convention import Convention
from vlajs.vla.transport import Limits

OWN = Convention(rate_hz=20.0)
CONFIG = VlaConfig(
    backend="vlajs",
    limits=Limits(connect_timeout_s=2.0, read_timeout_s=2.0, max_answer_bytes=100_000),
    retries=Retries(attempts=3, backoff_s=0.01, breaker_failures=100),
)


@pytest.fixture
def client() -> Iterator[Callable[..., VlaClient]]:
    """Makes clients: ``client(backend, url, **changes of the configuration, limits or retries)``."""
    made = []

    def make(backend: str, url: str, **changes) -> VlaClient:
        config = CONFIG
        for part in ("limits", "retries"):
            inner = {key: changes.pop(key) for key in list(changes) if hasattr(getattr(config, part), key)}
            config = replace(config, **{part: replace(getattr(config, part), **inner)})
        made.append(VlaClient(replace(config, backend=backend, url=url, **changes)))
        return made[-1]

    yield make
    for item in made:
        item.close()


@pytest.fixture
def images() -> np.ndarray:
    """Four different images (4, 8, 6, 3)."""
    return np.arange(4 * 8 * 6 * 3, dtype=np.uint8).reshape(4, 8, 6, 3)


@pytest.fixture
def free_port() -> Iterator[int]:
    """A port of 127.0.0.1 that nobody listens on: it is taken, without listening."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


@pytest.fixture(scope="session")
def certificate(tmp_path_factory) -> tuple[str, str]:
    """A certificate for 127.0.0.1 that nobody has signed, and its key."""
    if shutil.which("openssl") is None:
        pytest.skip("needs openssl to make a certificate")
    folder = tmp_path_factory.mktemp("tls")
    key, cert = folder / "key.pem", folder / "cert.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-days", "2", "-subj", "/CN=test", "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run([*command, "-keyout", str(key), "-out", str(cert)], check=True, capture_output=True)
    return str(cert), str(key)
