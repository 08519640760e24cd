"""The real server on a real socket, asked by the real client: batches, limits, refusals, stopping."""

import http.client
import json
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.support.processes import wait_for
from tests.support.vla_models import MeanModel, answered, metrics_of, serving
from vlajs.vla.convention import Convention
from vlajs.vla.errors import ConventionError, RefusedError, ServerFailureError, TooLateError, VlaConfigError
from vlajs.vla.presets import preset
from vlajs.vla.protocol import ACT_PATH, HEALTH_PATH, METADATA_PATH, METRICS_PATH, ActRequest, write_request
from vlajs.vla.serving import server as server_module
from vlajs.vla.serving.config import ServerConfig
from vlajs.vla.serving.model import ModelError
from vlajs.vla.serving.server import VlaServer
from vlajs.vla.vlajs_server import MSGPACK_HEADERS

ONE = np.full((1, 4, 6, 3), 100, np.uint8)


def post(server: VlaServer, body: bytes, path: str = ACT_PATH, **headers: str) -> tuple[int, str]:
    """Status and error of a raw request."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
    sent = {**MSGPACK_HEADERS, **{name.replace("_", "-"): value for name, value in headers.items()}}
    connection.request("POST", path, body, sent)
    answer = connection.getresponse()
    text = answer.read()
    connection.close()
    return answer.status, json.loads(text)["error"] if answer.status >= 400 else ""


@pytest.mark.parametrize("encoding", ["raw", "jpeg"])
def test_each_image_gets_its_own_answer(client, encoding: str) -> None:
    images = np.stack([np.full((8, 8, 3), value, np.uint8) for value in (0, 100, 200)])
    with serving(lambda: MeanModel(horizon=2)) as server:
        vla = client("vlajs", server.url, image_encoding=encoding)
        chunks = vla.query_chunks(images, ["a", "ab", "abc"])
    assert chunks.shape == (3, 2, 7)
    np.testing.assert_allclose(chunks[:, 1, 0], [0.0, 0.1, 0.2], atol=1e-3)  # means 0, 100, 200 in mm; JPEG loses some
    np.testing.assert_allclose(chunks[:, 0, 1], [0.001, 0.002, 0.003])
    np.testing.assert_allclose(chunks[:, :, 6], 1.0)


def test_requests_of_several_clients_are_joined_and_split_again(client) -> None:
    model = MeanModel()
    with serving(lambda: model, batch_window_s=5.0, max_batch=6) as server, ThreadPoolExecutor(3) as pool:
        clients = [client("vlajs", server.url, read_timeout_s=30.0) for _ in range(3)]
        values = (10, 20, 30)
        images = [np.full((2, 4, 4, 3), value, np.uint8) for value in values]
        futures = [
            pool.submit(vla.query, part, ["x" * value] * 2)
            for vla, part, value in zip(clients, images, values, strict=True)
        ]
        actions = [future.result() for future in futures]
        metrics = metrics_of(server)
    # Three requests of two images fill a batch of six: the window of 5 s is never waited for to its end.
    assert model.batches == [1, 1, 1, 1, 6]
    for value, action in zip(values, actions, strict=True):
        np.testing.assert_allclose(action[:, :2], value / 1000)
    assert metrics['vlajs_vla_batch_size_bucket{le="4.0"}'] == 0
    assert metrics['vlajs_vla_batch_size_bucket{le="8.0"}'] == metrics["vlajs_vla_batch_size_count"] == 1
    assert metrics["vlajs_vla_batch_size_sum"] == 6
    assert metrics["vlajs_vla_latency_seconds_count"] == 3
    assert metrics['vlajs_vla_requests_total{path="/act",status="200"}'] == 3


def test_images_of_different_sizes_are_not_joined(client) -> None:
    model = MeanModel()
    with serving(lambda: model, batch_window_s=0.2) as server, ThreadPoolExecutor(2) as pool:
        vla = client("vlajs", server.url)
        futures = [pool.submit(vla.query, np.full((2, side, side, 3), side, np.uint8), ["x"] * 2) for side in (4, 8)]
        np.testing.assert_allclose([future.result()[0, 0] for future in futures], [0.004, 0.008])
    assert model.batches == [1, 1, 1, 1, 2, 2]


def test_a_client_splits_what_is_more_than_a_batch(client) -> None:
    model = MeanModel()
    with serving(lambda: model, max_batch=2, batch_window_s=0.0) as server:
        assert client("vlajs", server.url).query(np.repeat(ONE, 5, axis=0), ["x"] * 5).shape == (5, 7)
        status, error = post(server, write_request(ActRequest(images=np.repeat(ONE, 3, 0), instructions=("x",) * 3)))
    assert model.batches[4:] == [2, 2, 1]
    assert (status, error) == (400, "3 instructions, this server answers 1 to 2 at once")


def test_a_failing_request_takes_no_other_with_it(client, caplog) -> None:
    model = MeanModel()
    with serving(lambda: model, batch_window_s=5.0, max_batch=3) as server, ThreadPoolExecutor(3) as pool:
        futures = [
            pool.submit(client("vlajs", server.url, attempts=1, read_timeout_s=30.0).query, ONE, [text])
            for text in ("good", "crash", "nan")
        ]
        np.testing.assert_allclose(futures[0].result()[0, :2], [0.1, 0.004])
        with pytest.raises(ServerFailureError, match=r"answers 500: .*the model failed \(ZeroDivisionError\)") as crash:
            futures[1].result()
        with pytest.raises(ServerFailureError, match="mean answered NaN or infinity"):
            futures[2].result()
        metrics = metrics_of(server)
    assert model.batches[4:] == [3, 1, 1, 1]
    assert "/secret/path" not in str(crash.value)
    assert "/secret/path" in caplog.text  # the log has the traceback
    assert metrics['vlajs_vla_errors_total{reason="model"}'] == 2


def test_health_before_and_after_the_model_is_ready(client) -> None:
    go = threading.Event()

    def load() -> MeanModel:
        assert go.wait(60)
        return MeanModel()

    with serving(load, ready=False) as server:
        vla = client("vlajs", server.url)
        assert not vla.healthy()
        for path in (HEALTH_PATH, METADATA_PATH):
            assert "answers 503: " in answered(server, path)
            assert "the model is being loaded" in answered(server, path)
        assert metrics_of(server)["vlajs_vla_ready"] == 0
        go.set()
        wait_for(vla.healthy, "the server to be ready")
        assert json.loads(answered(server, HEALTH_PATH)) == {"status": "ok", "name": "mean"}
        assert vla.query(ONE, ["x"]).shape == (1, 7)
        assert metrics_of(server)["vlajs_vla_ready"] == 1


def test_what_cannot_be_loaded_or_does_not_see_ends_the_server() -> None:
    def fail() -> MeanModel:
        raise ModelError("no such weights")

    class Blind(MeanModel):
        def act(self, images, instructions):
            return super().act(np.zeros_like(images), instructions)

    with pytest.raises(ModelError, match="no such weights"), serving(fail):
        pass
    with (
        pytest.raises(ModelError, match="same action for 4 entirely different images: it does not see"),
        serving(Blind),
    ):
        pass
    quaternions = MeanModel(convention=Convention(rate_hz=5.0, rotation="quaternion_wxyz"))
    message = r"answered float64 \(1, 1, 7\), expected floats of shape \(1, 1, 8\)"
    with pytest.raises(ModelError, match=message), serving(lambda: quaternions):
        pass


def test_a_token_is_asked_for_everywhere_but_health(client) -> None:
    with serving(MeanModel, token="s3cret") as server:
        assert client("vlajs", server.url, token="s3cret").query(ONE, ["x"]).shape == (1, 7)
        for token in (None, "s3cre", "s3cretx"):
            with pytest.raises(RefusedError, match=r"answers 401: .*the token is missing or wrong"):
                client("vlajs", server.url, token=token).query(ONE, ["x"])
        for path in (METADATA_PATH, METRICS_PATH):
            assert "401" in answered(server, path)
        assert post(server, b"x" * 100_000)[0] == 401  # before anything of it is decoded
        assert "ok" in answered(server, HEALTH_PATH)
        assert metrics_of(server, "s3cret")['vlajs_vla_errors_total{reason="token"}'] == 6


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"host": "0.0.0.0"}, "host 0.0.0.0 can be reached from other machines: give a token"),
        ({"host": "::"}, "host :: can be reached"),
        ({"token": "two words"}, "visible ASCII"),
        ({"token": "a", "token_file": Path("b")}, "give one of them"),
        ({"token_file": Path("/nowhere")}, "/nowhere cannot be read"),
        ({"max_batch": 0}, r"max_batch = 0 is outside \[1, 4096\]"),
        ({"request_timeout_s": float("nan")}, "request_timeout_s = nan is outside"),
        ({"tls_key": Path("key.pem")}, "belong together"),
    ],
)
def test_settings_that_are_refused(settings: dict, message: str) -> None:
    with pytest.raises(VlaConfigError, match=message):
        ServerConfig(**settings).secret()
    assert "two words" not in repr(replace(ServerConfig(), token="two_words"))


def test_a_token_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("s3cret\nrest\n")
    config = ServerConfig(host="0.0.0.0", token_file=tmp_path / "token")
    assert config.secret() == "s3cret"
    (tmp_path / "token").write_text("\n")
    with pytest.raises(VlaConfigError, match="visible ASCII"):
        config.secret()


def test_over_tls(client, certificate) -> None:
    files = {"tls_certificate": Path(certificate[0]), "tls_key": Path(certificate[1])}
    with serving(MeanModel, **files) as server:
        assert server.url.startswith("https://")
        assert client("vlajs", server.url, ca_file=certificate[0]).query(ONE, ["x"]).shape == (1, 7)
    with (
        pytest.raises(VlaConfigError, match=r"certificate .*key\.pem"),
        serving(MeanModel, ready=False, tls_certificate=files["tls_key"], tls_key=files["tls_key"]),
    ):
        pass


def test_a_port_that_is_taken() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(VlaConfigError, match="is another server"):
        VlaServer(MeanModel, ServerConfig(port=taken.getsockname()[1]))


@pytest.mark.parametrize("length", [20_000, 3_000_000])
def test_a_request_beyond_the_limit(client, length: int) -> None:
    with serving(MeanModel, max_request_bytes=10_000) as server:
        status, error = post(server, b"x" * length)
        assert status == 413
        assert error.startswith(f"a request of {length} bytes, this server reads at most 10000")
        vla = client("vlajs", server.url)
        with pytest.raises(RefusedError, match="answers 413"):
            vla.query(np.zeros((1, 100, 100, 3), np.uint8), ["x"])
        assert vla.stats()["counts"]["requests"] == 2  # metadata and one question: a refusal is not repeated
        chunks = iter([b"x" * 8000, b"x" * 8000])  # no Content-Length: counted while it comes
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
        connection.request("POST", ACT_PATH, chunks, MSGPACK_HEADERS, encode_chunked=True)
        assert connection.getresponse().status == 413
        assert vla.query(ONE, ["x"]).shape == (1, 7)


def test_requests_that_are_no_requests(client) -> None:
    good = write_request(ActRequest(images=ONE, instructions=("x",)))
    with serving(lambda: MeanModel(convention=preset("openvla-maniskill")), batch_window_s=0.0) as server:
        for body, message in [
            (b"", "no msgpack"),
            (b"\xc1", "no msgpack"),
            (good[:-20], "no msgpack"),
            (b"\x93\x01\x02\x03", "the request is a list"),
            (b"\x80", "request of version None"),
            (write_request(ActRequest(images=ONE, instructions=("",))), "1 to 2000 characters"),
            (good, "images of 4 x 6 pixels, the model wants 256 x 256"),
            (
                write_request(ActRequest(images=ONE, instructions=("x",), unnorm_key="bridge_orig")),
                "with 'maniskill_hu",
            ),
            (good.replace(b"|u1", b"|O8"), "dtype '|O8'"),
            (good.replace(b"raw", b"bmp"), "images must be an array with encoding"),
        ]:
            status, error = post(server, body)
            assert status == 400, body
            assert message in error
        assert post(server, good, Content_Type="text/plain")[0] == 415  # what a web page may send unasked
        assert post(server, good, Content_Encoding="gzip")[0] == 415
        assert post(server, good, path="/act/../etc/passwd")[0] == 404
        assert post(server, good, path=HEALTH_PATH)[0] == 405
        assert client("vlajs", server.url).query(np.zeros((1, 256, 256, 3), np.uint8), ["x"]).shape == (1, 7)
        metrics = metrics_of(server)
    assert metrics['vlajs_vla_errors_total{reason="bad_request"}'] == 10
    assert metrics['vlajs_vla_requests_total{path="other",status="404"}'] == 1


@pytest.mark.parametrize("jpeg", [b"", b"no image", b"\xff\xd8\xff\xe0" + b"\0" * 100])
def test_a_jpeg_that_is_none(jpeg: bytes) -> None:
    from vlajs.vla.wire import to_msgpack

    message = {"version": 1, "instructions": ["x"], "encoding": "jpeg", "images": [jpeg], "unnorm_key": None}
    with serving(MeanModel) as server:
        status, error = post(server, to_msgpack(message))
    assert status == 400
    assert "JPEG" in error


def test_a_full_queue_refuses_and_recovers(client) -> None:
    model = MeanModel()
    with serving(lambda: model, max_queue=1, max_batch=1, batch_window_s=0.0) as server, ThreadPoolExecutor(2) as pool:
        vla = client("vlajs", server.url, attempts=1, read_timeout_s=30.0)
        vla.describe()
        model.gate.clear()
        running = pool.submit(vla.query, ONE, ["x"])
        wait_for(lambda: len(model.batches) == 5, "the first request to run")
        waiting = pool.submit(vla.query, ONE, ["x"])
        wait_for(lambda: metrics_of(server)["vlajs_vla_queue_length"] == 1, "the second request to wait")
        with pytest.raises(ServerFailureError, match=r"answers 503: .*1 requests wait already"):
            vla.query(ONE, ["x"])
        model.gate.set()
        assert running.result().shape == waiting.result().shape == (1, 7)
        assert vla.query(ONE, ["x"]).shape == (1, 7)
        assert metrics_of(server)['vlajs_vla_errors_total{reason="queue_full"}'] == 1


def test_a_request_that_takes_too_long_is_given_up_and_health_says_that_the_model_hangs(client) -> None:
    model = MeanModel()
    with serving(lambda: model, request_timeout_s=0.3, batch_window_s=0.0, max_batch=1) as server:
        vla = client("vlajs", server.url, attempts=1, read_timeout_s=30.0)
        vla.describe()
        model.gate.clear()
        with ThreadPoolExecutor(2) as pool:
            for future in [pool.submit(vla.query, ONE, ["x"]) for _ in range(2)]:
                with pytest.raises(ServerFailureError, match=r"no action within request_timeout_s = 0\.3 s"):
                    future.result()
        wait_for(lambda: "it hangs" in answered(server, HEALTH_PATH), "health to say that the model hangs")
        model.gate.set()
        wait_for(vla.healthy, "the model to go on")
        assert vla.query(ONE, ["x"]).shape == (1, 7)
    assert model.batches[4:] == [1, 1]  # the request that had only waited was never asked about


def test_nothing_is_asked_for_a_client_that_went_away(client) -> None:
    model = MeanModel()
    with serving(lambda: model, batch_window_s=0.0, max_batch=1) as server, ThreadPoolExecutor(1) as pool:
        patient, hasty = client("vlajs", server.url, read_timeout_s=30.0), client("vlajs", server.url)
        patient.describe(), hasty.describe()
        model.gate.clear()
        running = pool.submit(patient.query, ONE, ["x"])
        wait_for(lambda: len(model.batches) == 5, "the first request to run")
        with pytest.raises(TooLateError):
            hasty.query(ONE, ["x"])
        wait_for(lambda: metrics_of(server)["vlajs_vla_queue_length"] == 0, "the server to notice")
        model.gate.set()
        assert running.result().shape == (1, 7)
        assert metrics_of(server)['vlajs_vla_errors_total{reason="client_gone"}'] == 1
    assert len(model.batches) == 5


def test_connections_that_say_nothing_or_too_slowly_are_closed(monkeypatch) -> None:
    monkeypatch.setattr(server_module, "HEADER_TIMEOUT_S", 0.3)
    with serving(MeanModel, request_timeout_s=0.5) as server:
        with socket.create_connection(("127.0.0.1", server.port), timeout=20) as silent:
            silent.sendall(b"POST /act HTTP/1.1\r\nX-Slow: ")
            assert silent.recv(1) == b""
        with socket.create_connection(("127.0.0.1", server.port), timeout=20) as slow:
            slow.sendall(b"POST /act HTTP/1.1\r\nHost: x\r\nContent-Type: application/msgpack\r\n")
            slow.sendall(b"Content-Length: 9000\r\n\r\nabc")
            assert slow.recv(4096).startswith(b"HTTP/1.1 408 ")
        with socket.create_connection(("127.0.0.1", server.port), timeout=20) as babbling:
            babbling.sendall(b"\x16\x03\x01 no HTTP at all\r\n\r\n")
            assert babbling.recv(4096).startswith(b"HTTP/1.1 400 ")
        assert "ok" in answered(server, HEALTH_PATH)


def test_what_was_sent_is_answered_before_it_stops(client) -> None:
    model = MeanModel()
    with serving(lambda: model, batch_window_s=0.0, max_batch=1) as server, ThreadPoolExecutor(2) as pool:
        vla = client("vlajs", server.url, read_timeout_s=30.0)
        vla.describe()
        model.gate.clear()
        futures = [pool.submit(vla.query, ONE, ["x"]) for _ in range(2)]
        wait_for(lambda: len(model.batches) == 5, "the first request to run")
        wait_for(lambda: metrics_of(server)["vlajs_vla_queue_length"] == 1, "the second request to wait")
        server.stop()
        wait_for(lambda: "no connection" in answered(server, HEALTH_PATH), "the port to close")
        time.sleep(0.3)
        assert not any(future.done() for future in futures)
        model.gate.set()
        assert [future.result().shape for future in futures] == [(1, 7)] * 2


def test_a_model_without_a_convention_needs_one_from_the_client(client) -> None:
    with serving(lambda: MeanModel(convention=None)) as server:
        with pytest.raises(ConventionError, match="does not say what its actions mean"):
            client("vlajs", server.url).query(ONE, ["x"])
        doubled = Convention(rate_hz=5.0, translation_scale_m=2.0)
        np.testing.assert_allclose(client("vlajs", server.url, convention=doubled).query(ONE, ["x"])[0, 0], 0.2)
