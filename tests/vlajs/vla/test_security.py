"""Loopback, token, TLS: who is spoken to, and that the token stays where it belongs."""

import logging
import ssl

import numpy as np
import pytest

from tests.support.vla_servers import HttpServer, answers
from vlajs.vla.backend import VlaConfig
from vlajs.vla.client import VlaClient
from vlajs.vla.convention import Convention
from vlajs.vla.endpoint import endpoint_from, is_loopback
from vlajs.vla.errors import RefusedError, ServerFailureError, VlaConfigError
from vlajs.vla.wire import to_json

OWN = Convention(rate_hz=20.0)
TOKEN = "s3cret-t0ken"


def parse(url: str, token: str | None = None):
    return endpoint_from(url, schemes=("http", "https"), token=token, ca_file=None)


def test_loopback_is_judged_by_the_name_alone() -> None:
    assert all(map(is_loopback, ["127.0.0.1", "127.8.9.1", "::1", "localhost"]))
    assert not any(map(is_loopback, ["0.0.0.0", "10.0.0.1", "127.0.0.1.example", "localhost.example", "::", "gpu"]))


@pytest.mark.parametrize(
    "url", ["http://10.0.0.7:8000", "https://gpu.lab", "http://0.0.0.0:8000", "http://[fe80::1]:80"]
)
def test_another_machine_needs_a_token_and_the_message_says_so(url: str) -> None:
    with pytest.raises(VlaConfigError, match=r"is not on this machine: give token=.*ssh -L"):
        parse(url)
    assert parse(url, TOKEN).token == TOKEN


@pytest.mark.parametrize(
    "url, message",
    [
        ("ftp://127.0.0.1", "ftp in the server's address: known are http, https"),
        ("127.0.0.1:8000", "known are http, https"),
        ("http://", "names no host"),
        ("http://127.0.0.1:99999", "99999|range"),
        ("http://user:pass@127.0.0.1", "give token= instead"),
        ("http://127.0.0.1/?token=x", "query"),
        ("http://127.0.0.1/a b", "names no host"),
    ],
)
def test_addresses_that_are_refused(url: str, message: str) -> None:
    with pytest.raises(VlaConfigError, match=message):
        parse(url)


@pytest.mark.parametrize("token", ["", "two words", "line\r\nX-Header: 1", "grün", "x" * 2000])
def test_tokens_that_are_no_header_value(token: str) -> None:
    with pytest.raises(VlaConfigError, match="visible ASCII") as caught:
        parse("http://127.0.0.1", token)
    assert not token or token not in str(caught.value)


def test_an_unknown_backend_and_senseless_numbers() -> None:
    with pytest.raises(VlaConfigError, match="'octo': known are openvla-rest, openpi, vlajs"):
        VlaClient(VlaConfig(backend="octo"))
    with pytest.raises(VlaConfigError, match=r"parallel_requests = 0 is outside \[1, 64\]"):
        VlaConfig(backend="vlajs", parallel_requests=0)
    with pytest.raises(VlaConfigError, match="ws in the server's address: known are http, https"):
        VlaClient(VlaConfig(backend="vlajs", url="ws://127.0.0.1"))


def test_the_token_is_sent_and_never_shown(client, caplog) -> None:
    caplog.set_level(logging.DEBUG)
    echo = answers(f"you sent Bearer {TOKEN}".encode(), 500)
    with HttpServer(echo) as server:
        vla = client("openvla-rest", server.url, convention=OWN, token=TOKEN)
        with pytest.raises(ServerFailureError, match=r"you sent Bearer \*\*\*") as caught:
            vla.query(np.zeros((1, 4, 4, 3), np.uint8), ["x"])
    assert {request.headers["Authorization"] for request in server.requests} == {f"Bearer {TOKEN}"}
    shown = f"{caught.value} {vla.config!r} {vla.describe()} {vla.stats()} {caplog.text} {parse(server.url, TOKEN)}"
    assert TOKEN not in shown


def test_an_unencrypted_way_to_another_machine_is_warned_of(caplog) -> None:
    parse("http://10.0.0.7:8000", TOKEN)
    assert "unencrypted" in caplog.text
    assert TOKEN not in caplog.text


def test_tls_believes_the_certificate_it_was_given_and_no_other(client, certificate) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    images = np.zeros((1, 4, 4, 3), np.uint8)
    with HttpServer(answers(to_json(np.zeros(7))), tls=context) as server:
        vla = client("openvla-rest", server.url, convention=OWN, ca_file=certificate[0])
        assert vla.query(images, ["x"]).shape == (1, 7)
        stranger = client("openvla-rest", server.url, convention=OWN)
        with pytest.raises(RefusedError, match="give its certificate as ca_file="):
            stranger.query(images, ["x"])
        assert stranger.stats()["counts"]["requests"] == 1  # not asked again
    assert len(server.requests) == 1
