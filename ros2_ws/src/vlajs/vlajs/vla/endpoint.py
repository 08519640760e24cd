"""Where a server is, and what may be sent there: loopback freely, elsewhere only with a token."""

import ipaddress
import logging
import re
import ssl
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from vlajs.vla.errors import VlaConfigError

LOG = logging.getLogger(__name__)
TLS_SCHEMES = {"http": False, "https": True, "ws": False, "wss": True}
MAX_TOKEN_LENGTH = 1024


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """A server's address.

    Attributes:
        scheme: ``http``, ``https``, ``ws`` or ``wss``.
        host: name or address, IPv6 without brackets.
        port: TCP port.
        path: prefix of every path, empty or ``/...`` without a slash at the end.
        token: secret sent in the ``Authorization`` header; never in a message, a log or a ``repr``.
        ca_file: certificates (PEM) to believe besides the system's, with TLS.
    """

    scheme: str
    host: str
    port: int
    path: str = ""
    token: str | None = field(default=None, repr=False)
    ca_file: str | None = None

    @property
    def tls(self) -> bool:
        """Whether the connection is encrypted and the server's certificate checked."""
        return TLS_SCHEMES[self.scheme]

    @property
    def url(self) -> str:
        """The address, for messages."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}{self.path}"

    def headers(self, kind: str = "Bearer") -> dict[str, str]:
        """The header with the token, if there is one; ``kind`` is what the server calls it."""
        return {} if self.token is None else {"Authorization": f"{kind} {self.token}"}

    def tls_context(self) -> ssl.SSLContext | None:
        """Certificates and host name are checked; None without TLS.

        Raises:
            VlaConfigError: ``ca_file`` cannot be read.
        """
        if not self.tls:
            return None
        context = ssl.create_default_context()
        if self.ca_file is not None:
            try:
                context.load_verify_locations(self.ca_file)
            except OSError as error:  # SSLError is one
                raise VlaConfigError(f"ca_file {self.ca_file!r} holds no readable certificates: {error}") from error
        return context

    def quote(self, text: str | bytes | bytearray) -> str:
        """What a server said, fit for a message: one line, at most 200 characters, without the token."""
        if not isinstance(text, str):
            text = text[:4096].decode(errors="replace")
        if self.token:
            text = text.replace(self.token, "***")
        text = re.sub(r"[^\x20-\x7e]+", " ", text).strip()
        return text if len(text) <= 200 else text[:100] + " ... " + text[-95:]


def endpoint_from(url: str, *, schemes: tuple[str, ...], token: str | None, ca_file: str | None) -> Endpoint:
    """Parse and check an address.

    Args:
        url: for instance ``http://127.0.0.1:8000``.
        schemes: those the backend speaks, without and with TLS.
        token: the secret, if the server wants one.
        ca_file: certificates to believe besides the system's.

    Raises:
        VlaConfigError: no such address, a scheme the backend does not speak, a user or query in it, a token that is no
            header value, or another machine's address without a token.
    """
    parts = urlsplit(url)
    if parts.scheme not in schemes:
        raise VlaConfigError(f"{parts.scheme or 'no scheme'} in the server's address: known are {', '.join(schemes)}")
    if parts.username or parts.password:
        raise VlaConfigError("user and password do not belong in the server's address: give token= instead")
    if parts.query or parts.fragment:
        raise VlaConfigError(f"the server's address {url!r} has a query or fragment: leave it out")
    try:
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise VlaConfigError(f"the server's address {url!r}: {error}") from error
    if not host or re.search(r"[\s\x00-\x20]", url):
        raise VlaConfigError(f"the server's address {url!r} names no host: {schemes[0]}://127.0.0.1:8000 would be one")
    if token is not None and not re.fullmatch(rf"[\x21-\x7e]{{1,{MAX_TOKEN_LENGTH}}}", token):
        raise VlaConfigError(f"the token must be 1 to {MAX_TOKEN_LENGTH} visible ASCII characters without spaces")
    endpoint = Endpoint(
        scheme=parts.scheme,
        host=host,
        port=port or (443 if TLS_SCHEMES[parts.scheme] else 80),
        path=parts.path.rstrip("/"),
        token=token,
        ca_file=ca_file,
    )
    if not is_loopback(host):
        if token is None:
            raise VlaConfigError(
                f"{endpoint.url} is not on this machine: give token= (the server must ask for the same one), "
                "or forward its port here: ssh -L 8000:127.0.0.1:8000 HOST"
            )
        if not endpoint.tls:
            LOG.warning("%s: images and token travel unencrypted; prefer https, wss or a tunnel", endpoint.url)
    return endpoint


def token_from(file: Path) -> str:
    """The secret that is a file's first line.

    Raises:
        VlaConfigError: the file cannot be read as ASCII.
    """
    try:
        return file.read_text(encoding="ascii").partition("\n")[0].strip()
    except (OSError, UnicodeDecodeError) as error:
        raise VlaConfigError(f"token_file {file} cannot be read as ASCII ({error})") from error


def is_loopback(host: str) -> bool:
    """Whether ``host`` is this machine by its name alone: ``localhost``, 127.0.0.0/8 or ::1; nothing is looked up."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
