"""What HTTP and websocket backends must do alike: a peer that does not read, proxies, TLS, threads."""

import ssl
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from tests.support.vla_servers import DeafServer, HttpServer, OpenpiServer, answers, sends, took
from vlajs.vla.answers import check_actions
from vlajs.vla.convention import Convention
from vlajs.vla.errors import BadAnswerError, RefusedError, TooLateError
from vlajs.vla.wire import from_json, to_json, to_msgpack

OWN = Convention(rate_hz=20.0)


@pytest.mark.parametrize("backend, scheme", [("openvla-rest", "http"), ("openpi", "ws")])
def test_a_server_that_does_not_read(client, backend: str, scheme: str) -> None:
    images = np.zeros((1, 2000, 2000, 3), np.uint8)  # 12 MB, more than the buffers between the two take
    with DeafServer(websocket=scheme == "ws") as server:
        vla = client(backend, f"{scheme}://127.0.0.1:{server.port}", convention=OWN, read_timeout_s=0.4)
        vla.describe()
        with took(at_most_s=1.0), pytest.raises(TooLateError):
            vla.query(images, ["x"])
    assert server.connections == 1


def test_the_environments_proxies_are_ignored(client, images, monkeypatch, free_port) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "ws_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{free_port}")
        monkeypatch.setenv(name.upper(), f"http://127.0.0.1:{free_port}")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    with HttpServer(answers(to_json(np.zeros(7)))) as server:
        assert client("openvla-rest", server.url, convention=OWN).query(images[:1], ["x"]).shape == (1, 7)
    with OpenpiServer({}, sends({"actions": np.zeros((1, 7))})) as server:
        assert client("openpi", server.url, convention=OWN).query(images[:1], ["x"]).shape == (1, 7)


def test_openpi_over_tls(client, images, certificate) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    with OpenpiServer({}, sends({"actions": np.zeros((2, 7))}), tls=context) as server:
        vla = client("openpi", server.url, convention=OWN, ca_file=certificate[0], token="secret")
        assert vla.query_chunks(images, ["x"] * 4).shape == (4, 2, 7)
        assert vla.healthy()
        with pytest.raises(RefusedError, match="ca_file="):
            client("openpi", server.url, convention=OWN).query(images[:1], ["x"])
    assert len(server.connections) == 1


@pytest.mark.parametrize("backend", ["openvla-rest", "openpi"])
def test_threads_get_the_answers_to_their_own_questions(client, backend: str) -> None:
    def answer_of(image: np.ndarray) -> np.ndarray:
        return np.array([image.mean() / 1000, 0, 0, 0, 0, 0, 1.0])

    http = HttpServer(lambda request: request.answer(to_json(answer_of(from_json(request.body)["image"]))))
    websocket = OpenpiServer(
        {},
        lambda connection, seen: connection.send(to_msgpack({"actions": answer_of(seen["observation/image"])[None]})),
    )
    with http if backend == "openvla-rest" else websocket as server, ThreadPoolExecutor(4) as pool:
        vla = client(backend, server.url, convention=OWN)
        values = range(0, 200, 10)
        futures = [pool.submit(vla.query, np.full((2, 4, 4, 3), value, np.uint8), ["x"] * 2) for value in values]
        for value, future in zip(values, futures, strict=True):
            np.testing.assert_allclose(future.result()[:, 0], value / 1000)
    assert vla.stats()["counts"]["answers"] == 40 + (backend == "openpi")


@pytest.mark.parametrize("value", [np.full((1, 7), np.inf), [[10**400, 0, 0, 0, 0, 0, 0]], [[1, 2], [3]], [[True] * 7]])
def test_actions_are_checked_whatever_decoded_them(value: object) -> None:
    with pytest.raises(BadAnswerError, match="it answers"):
        check_actions(value, (1, 7), "it")
