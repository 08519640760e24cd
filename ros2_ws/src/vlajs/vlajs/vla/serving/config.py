"""How a server is reached and how much it takes on."""

import re
from dataclasses import dataclass, field
from pathlib import Path

from vlajs.vla.endpoint import MAX_TOKEN_LENGTH, is_loopback, token_from
from vlajs.vla.errors import VlaConfigError
from vlajs.vla.protocol import MAX_BATCH
from vlajs.vla.wire import MAX_MESSAGE_BYTES


@dataclass(frozen=True, kw_only=True)
class ServerConfig:
    """How a server is reached and how much it takes on."""

    host: str = "127.0.0.1"
    """Address to listen on. Any but this machine's own (0.0.0.0 is all of them) needs a token."""
    port: int = 8000
    """TCP port; 0 takes a free one, which the log names."""
    token: str | None = field(default=None, repr=False)
    """Secret that clients must send. The list of processes shows it to all users: better --token-file."""
    token_file: Path | None = None
    """File whose first line is the token."""
    tls_certificate: Path | None = None
    """Certificate (PEM) to speak https with; clients give it as ca_file if nobody they know signed it."""
    tls_key: Path | None = None
    """Its private key (PEM)."""
    max_batch: int = 16
    """Most images the model is asked about at once, and most in one request."""
    batch_window_s: float = 0.01
    """How long a request waits for others to join it."""
    max_queue: int = 64
    """Most requests that wait; a further one is refused with 503."""
    max_request_bytes: int = 16 * 1024 * 1024
    """A larger request is refused with 413 unread. 16 MiB are 85 raw images of 256 x 256."""
    request_timeout_s: float = 30.0
    """Longest a request may take, waiting included; what runs gets as long when the server is stopped."""

    def __post_init__(self) -> None:
        """Refuse what cannot work or is not safe.

        Raises:
            VlaConfigError: the first problem found.
        """
        ranges = {
            "port": (self.port, 0, 65535),
            "max_batch": (self.max_batch, 1, MAX_BATCH),
            "batch_window_s": (self.batch_window_s, 0.0, 10.0),
            "max_queue": (self.max_queue, 1, 100_000),
            "max_request_bytes": (self.max_request_bytes, 1024, MAX_MESSAGE_BYTES),
            "request_timeout_s": (self.request_timeout_s, 0.01, 3600.0),
        }
        for name, (value, low, high) in ranges.items():
            if not low <= value <= high:
                raise VlaConfigError(f"{name} = {value} is outside [{low:g}, {high:g}]")
        if self.token is not None and self.token_file is not None:
            raise VlaConfigError("token and token_file are both given: give one of them")
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise VlaConfigError("tls_certificate and tls_key belong together: give both or neither")
        if not is_loopback(self.host) and self.secret() is None:
            raise VlaConfigError(
                f"host {self.host} can be reached from other machines: give a token (--token-file FILE), or stay on "
                "127.0.0.1 and let clients forward the port (ssh -L 8000:127.0.0.1:8000 HOST)"
            )

    def secret(self) -> str | None:
        """The token, if there is one.

        Raises:
            VlaConfigError: the file cannot be read, or what it holds is no header value.
        """
        token = self.token
        if self.token_file is not None:
            token = token_from(self.token_file)
        if token is not None and not re.fullmatch(rf"[\x21-\x7e]{{1,{MAX_TOKEN_LENGTH}}}", token):
            raise VlaConfigError(f"the token must be 1 to {MAX_TOKEN_LENGTH} visible ASCII characters without spaces")
        return token
