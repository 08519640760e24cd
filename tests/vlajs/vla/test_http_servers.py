"""The HTTP backends against real servers: what is asked, what comes of the answers, and what is asked again."""

import json
import threading
from dataclasses import replace

import numpy as np
import pytest

from tests.support.vla_servers import (
    METADATA,
    OWN,
    HttpServer,
    Request,
    acts,
    answers,
    good_act,
    good_openvla,
    took,
    vlajs,
)
from vlajs.vla.errors import (
    CircuitOpenError,
    ConventionError,
    RefusedError,
    ServerFailureError,
    UnreachableError,
    VlaConfigError,
)
from vlajs.vla.presets import OPENVLA_MANISKILL
from vlajs.vla.protocol import read_request, write_error
from vlajs.vla.wire import from_json, to_json

ACTION = [0.01, -0.02, 0.03, 0.1, -0.2, 0.3, 1.0]


# --- good servers


def test_openvla_rest_asks_once_for_each_image_and_converts(client, images) -> None:
    with HttpServer(good_openvla) as server:
        vla = client("openvla-rest", server.url, convention=replace(OPENVLA_MANISKILL, image_size=(8, 6)))
        actions = vla.query(images, ["a", "b", "c", "d"])
        description = vla.describe()
    # a millimetre's mean, times 0.1 m for a translation of 1
    np.testing.assert_allclose(actions[:, 0], images.mean(axis=(1, 2, 3)) / 1000 * 0.1)
    assert actions.shape == (4, 7)
    assert actions.dtype == np.float64
    sent = sorted((from_json(request.body) for request in server.requests), key=lambda payload: payload["instruction"])
    assert [payload["instruction"] for payload in sent] == ["a", "b", "c", "d"]
    assert all(payload["unnorm_key"] == "maniskill_human:7.0.0" for payload in sent)
    for payload, image in zip(sent, images, strict=True):
        np.testing.assert_array_equal(payload["image"], image)
    assert [request.path for request in server.requests] == ["/act"] * 4
    assert description.convention == "base_delta"
    assert (description.rate_hz, description.action_horizon, description.image_size) == (20.0, 1, (8, 6))
    counts = vla.stats()["counts"]
    assert (counts["requests"], counts["answers"], counts["images"], counts["queries"]) == (4, 4, 4, 1)
    assert vla.stats()["latency"]["count"] == 4
    assert 0 < vla.stats()["latency"]["p50_s"] <= vla.stats()["latency"]["p99_s"]


def test_openvla_rest_asks_in_parallel_up_to_the_bound(client) -> None:
    gate = threading.Barrier(3)

    def together(request: Request) -> None:
        gate.wait(timeout=5)  # passes only when three are here at once
        request.answer(to_json(np.zeros(7)))

    with HttpServer(together) as server:
        vla = client("openvla-rest", server.url, convention=OWN, parallel_requests=3, read_timeout_s=8.0)
        assert vla.query(np.zeros((6, 4, 4, 3), np.uint8), ["x"] * 6).shape == (6, 7)
    assert server.most_at_once == 3


@pytest.mark.parametrize(
    "body",
    [
        to_json(np.array(ACTION, dtype=np.float32)),
        json.dumps(ACTION).encode(),
        json.dumps(to_json(np.array(ACTION)).decode()).encode(),  # double_encode: JSON in a JSON string
    ],
)
def test_every_way_openvla_writes_an_action(client, images, body: bytes) -> None:
    with HttpServer(answers(body)) as server:
        (action,) = client("openvla-rest", server.url, convention=OWN).query(images[:1], ["x"])
    np.testing.assert_allclose(action, ACTION, atol=1e-7)


@pytest.mark.parametrize("encoding", ["raw", "jpeg"])
def test_vlajs_batches_splits_and_converts(client, encoding: str) -> None:
    images = np.stack([np.full((8, 6, 3), 10 * row, np.uint8) for row in range(4)])
    with HttpServer(vlajs(good_act)) as server:
        vla = client("vlajs", server.url, image_encoding=encoding)
        chunks = vla.query_chunks(images, ["a", "b", "c", "d"])
        first = vla.query(images, ["a", "b", "c", "d"])
        description = vla.describe()
        assert vla.healthy()
    np.testing.assert_allclose(chunks[:, 0, 0], [0, 0.01, 0.02, 0.03], atol=2e-3 if encoding == "jpeg" else 1e-12)
    np.testing.assert_allclose(chunks[:, 1, 2], 0.001)
    np.testing.assert_array_equal(first, chunks[:, 0])
    batches = [read_request(request.body).instructions for request in server.requests if request.path == "/act"]
    assert batches == [("a", "b", "c"), ("d",)] * 2  # at most three at once
    assert (description.name, description.action_horizon) == ("test-model", 2)
    assert [request.path for request in server.requests].count("/metadata") == 1


def test_nothing_is_sent_for_no_images(client) -> None:
    with HttpServer(good_openvla) as server:
        assert client("openvla-rest", server.url, convention=OWN).query(np.zeros((0, 8, 6, 3), np.uint8), []).shape == (
            0,
            7,
        )
    assert server.requests == []


# --- what is asked wrongly is not sent


@pytest.mark.parametrize(
    "images, instructions, changes, message",
    [
        (np.zeros((1, 8, 6, 3)), ["x"], {}, "dtype float64, expected uint8"),
        (np.zeros((8, 6, 3), np.uint8), ["x"], {}, r"shape \(8, 6, 3\), expected \(B, H, W, 3\)"),
        (np.zeros((1, 8, 6, 3), np.uint8), ["x", "y"], {}, "1 images and 2 instructions"),
        (np.zeros((1, 8, 6, 3), np.uint8), [""], {}, "1 to 2000 characters"),
        (np.zeros((1, 8, 6, 3), np.uint8), ["x"], {"convention": replace(OWN, image_size=(8, 8))}, "8 x 6 .*on 8 x 8"),
        (np.zeros((1, 8, 6, 3), np.uint8), ["x"], {"convention": replace(OWN, frame="tool")}, "tool_quat_in_base_wxyz"),
    ],
)
def test_wrong_questions(client, images, instructions, changes, message) -> None:
    with HttpServer(good_openvla) as server:
        vla = client("openvla-rest", server.url, **{"convention": OWN, **changes})
        with pytest.raises(ValueError, match=message):
            vla.query(images, instructions)
    assert server.requests == []


def test_inputs_are_for_openpi(client, images) -> None:
    with HttpServer(good_openvla) as server, pytest.raises(ValueError, match="openpi only"):
        client("openvla-rest", server.url, convention=OWN).query(images[:1], ["x"], inputs={"state": np.zeros((1, 8))})


def test_metadata_that_contradicts_the_given_convention_shows_both(client, images) -> None:
    given = replace(OWN, gripper_closed=0.0)
    message = r"gripper_closed: server -1.0, given 0.0"
    with HttpServer(vlajs(good_act)) as server, pytest.raises(ConventionError, match=message):
        client("vlajs", server.url, convention=given).query(images[:1], ["x"])
    assert acts(server) == 0


def test_a_server_that_states_nothing_needs_a_convention(client, images) -> None:
    with HttpServer(good_openvla) as server, pytest.raises(ConventionError, match="does not say what its actions mean"):
        client("openvla-rest", server.url).query(images[:1], ["x"])
    assert server.requests == []


def test_an_image_encoding_the_server_does_not_read(client) -> None:
    metadata = replace(METADATA, image_encodings=("raw",)).to_json()
    with (
        HttpServer(vlajs(good_act, metadata)) as server,
        pytest.raises(VlaConfigError, match=r"does not read .*'jpeg'"),
    ):
        client("vlajs", server.url, image_encoding="jpeg").describe()


# --- retries, redirects, breaker


def test_a_failure_then_a_good_answer_is_retried_once(client, images) -> None:
    with HttpServer(answers(b"", 500), answers(to_json(np.array(ACTION)))) as server:
        vla = client("openvla-rest", server.url, convention=OWN)
        np.testing.assert_allclose(vla.query(images[:1], ["x"])[0], ACTION, atol=1e-12)
    assert len(server.requests) == 2
    counts = vla.stats()["counts"]
    assert (counts["retries"], counts["server_failures"], counts["answers"]) == (1, 1, 1)


def test_a_redirect_is_not_followed(client, images) -> None:
    with HttpServer(good_openvla) as other:
        moved = answers(b"", 307, Location=other.url + "/act")
        with (
            HttpServer(moved) as server,
            pytest.raises(RefusedError, match=f"redirect to {other.url}/act: not followed"),
        ):
            client("openvla-rest", server.url, convention=OWN, token="secret").query(images[:1], ["x"])
    assert (len(server.requests), len(other.requests)) == (1, 0)


def test_the_breaker_opens_and_then_no_request_is_made(client, images) -> None:
    with HttpServer(answers(b"", 500)) as server:
        vla = client("openvla-rest", server.url, convention=OWN, breaker_failures=4, breaker_pause_s=60.0)
        with pytest.raises(ServerFailureError):
            vla.query(images[:1], ["x"])  # three requests
        with pytest.raises(CircuitOpenError, match=r"4 failures in a row.*answers 500.*No request is made for"):
            vla.query(images[:1], ["x"])  # the fourth opens it
        assert len(server.requests) == 4
        for _ in range(5):
            with took(at_most_s=0.1), pytest.raises(CircuitOpenError):
                vla.query(images, ["x"] * 4)
        assert len(server.requests) == 4
        assert vla.stats()["breaker"] == {"state": "open", "times_opened": 1}


def test_a_half_open_breaker_lets_one_request_decide_for_a_batch(client, images) -> None:
    with HttpServer(answers(b"", 500), answers(b"", 500), good_openvla) as server:
        vla = client("openvla-rest", server.url, convention=OWN, attempts=1, breaker_failures=1, breaker_pause_s=0.0)
        for requests in (1, 2):
            with pytest.raises(ServerFailureError):
                vla.query(images[:1] if requests == 1 else images, ["x"] * (1 if requests == 1 else 4))
            assert len(server.requests) == requests  # of the batch of four only one was asked
        assert vla.query(images, ["x"] * 4).shape == (4, 7)
        assert vla.stats()["breaker"]["state"] == "closed"
    assert len(server.requests) == 6


def test_nobody_listens(client, images, free_port) -> None:
    vla = client("openvla-rest", f"http://127.0.0.1:{free_port}", convention=OWN)
    with took(at_most_s=0.5), pytest.raises(UnreachableError, match="is the server running there, and the port right"):
        vla.query(images[:1], ["x"])
    assert vla.stats()["counts"]["unreachable"] == 3
    assert not vla.healthy()


def test_health(client) -> None:
    with HttpServer(vlajs(good_act)) as server:
        assert client("vlajs", server.url).healthy()
        assert client("openvla-rest", server.url, convention=OWN).healthy()
    with HttpServer(answers(b"", 503)) as server:
        assert not client("vlajs", server.url).healthy()
    assert [request.path for request in server.requests] == ["/healthz"]


def test_errors_of_our_protocol_reach_the_user(client, images) -> None:
    refuses = answers(write_error("unknown unnorm_key 'x': valid are a, b"), 400)
    with HttpServer(vlajs(refuses)) as server, pytest.raises(RefusedError, match="valid are a, b"):
        client("vlajs", server.url).query(images[:1], ["x"])
    assert acts(server) == 1
