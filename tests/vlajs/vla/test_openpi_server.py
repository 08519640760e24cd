"""The openpi backend against real websocket servers, good and hostile."""

import contextlib
import socket
import time
from dataclasses import replace

import msgpack
import numpy as np
import pytest

from tests.support.vla_servers import HttpServer, OpenpiServer, answers, sends, took, unchecked_array
from vlajs.vla.backend import OpenpiKeys
from vlajs.vla.convention import Convention
from vlajs.vla.errors import (
    BadAnswerError,
    CircuitOpenError,
    ConventionError,
    RefusedError,
    ServerFailureError,
    TooLateError,
    UnreachableError,
)
from vlajs.vla.protocol import Metadata
from vlajs.vla.wire import to_msgpack

OWN = Convention(rate_hz=20.0)
STATED = {"vlajs": Metadata(name="pi-test", convention=OWN, action_horizon=3).to_dict()}
CHUNK = np.zeros((3, 7))


def good(connection, observation) -> None:
    """Three actions: along x by the image's mean in mm, then nothing."""
    chunk = np.zeros((3, 7), np.float32)
    chunk[0, 0] = observation["observation/image"].mean() / 1000
    connection.send(to_msgpack({"actions": chunk, "server_timing": {"infer_ms": 1.5}}))


def test_chunks_over_one_connection(client, images) -> None:
    with OpenpiServer(STATED, good) as server:
        vla = client("openpi", server.url, token="secret")
        chunks = vla.query_chunks(images, ["a", "b", "c", "d"])
        first = vla.query(images, ["a", "b", "c", "d"], inputs={"observation/state": np.eye(4, 8)})
        description = vla.describe()
        assert vla.healthy()
        assert server.health_checks == 1
    assert chunks.shape == (4, 3, 7)
    np.testing.assert_allclose(chunks[:, 0, 0], images.mean(axis=(1, 2, 3)) / 1000, rtol=1e-6)
    np.testing.assert_array_equal(first, chunks[:, 0])
    assert (description.name, description.action_horizon, description.rate_hz) == ("pi-test", 3, 20.0)
    assert len(server.connections) == 1
    assert server.connections[0]["Authorization"] == "Api-Key secret"
    assert [observation["prompt"] for observation in server.observations] == list("abcdabcd")
    np.testing.assert_array_equal(server.observations[1]["observation/image"], images[1])
    np.testing.assert_array_equal(server.observations[6]["observation/state"], np.eye(4, 8)[2])


def test_a_stock_server_needs_a_convention_and_its_own_names(client, images) -> None:
    with OpenpiServer({"reset_pose": [0.0]}, sends({"action": np.zeros((50, 7))})) as server:
        with pytest.raises(ConventionError, match="give convention="):
            client("openpi", server.url).query(images[:1], ["x"])
        keys = OpenpiKeys(image="image", prompt="task", actions="action")
        vla = client("openpi", server.url, convention=OWN, openpi=keys)
        assert vla.describe().action_horizon is None
        assert vla.query_chunks(images[:1], ["x"]).shape == (1, 50, 7)
    assert set(server.observations[0]) == {"image", "task"}


def sleeps(connection, _) -> None:
    time.sleep(1.0)


def cut(connection, _) -> None:
    """Half a frame: 1000 bytes announced, 10 sent."""
    connection.socket.sendall(b"\x82\x7e\x03\xe8" + b"x" * 10)
    connection.socket.shutdown(socket.SHUT_RDWR)


def endless(connection, _) -> None:
    """Fragments of one message without an end."""
    with contextlib.suppress(OSError):
        connection.socket.sendall(b"\x02\x7e\x40\x00" + b"x" * 16384)
        while True:
            connection.socket.sendall(b"\x00\x7e\x40\x00" + b"x" * 16384)


def announces_a_gigabyte(connection, _) -> None:
    connection.socket.sendall(b"\x82\x7f\x00\x00\x00\x00\x40\x00\x00\x00")
    time.sleep(0.3)


HOSTILE = {
    "slow": (sleeps, TooLateError, "read_timeout_s = 0.3 s", 1),
    "closes": (lambda connection, _: connection.close(), UnreachableError, "closed the connection instead", 3),
    "closes mid-answer": (cut, UnreachableError, "closed the connection instead", 3),
    "huge": (sends(b"x" * 200_000), BadAnswerError, "more than max_answer_bytes = 100000", 1),
    "announces a gigabyte": (announces_a_gigabyte, BadAnswerError, "more than max_answer_bytes", 1),
    "endless": (endless, BadAnswerError, "more than max_answer_bytes", 1),
    "stated error": (
        sends("Traceback\n  ...\nKeyError: 'state'"),
        RefusedError,
        "states an error: KeyError: 'state'",
        1,
    ),
    "no msgpack": (sends(b"\xc1"), BadAnswerError, "no msgpack", 1),
    "no map": (sends([1, 2]), BadAnswerError, "is a list, not a map", 1),
    "no actions": (sends({"pose": CHUNK}), BadAnswerError, "answers a NoneType", 1),
    "NaN": (
        sends(msgpack.packb({"actions": unchecked_array(np.full(21, np.nan).tobytes(), "<f8", [3, 7])})),
        BadAnswerError,
        "NaN",
        1,
    ),
    "object array": (
        sends(msgpack.packb({"actions": unchecked_array(b"x" * 168, "|O", [3, 7])})),
        BadAnswerError,
        r"dtype '\|O'",
        1,
    ),
    "joint velocities": (sends({"actions": np.zeros((3, 8))}), BadAnswerError, r"\(3, 8\), expected .*\(3, 7\)", 1),
    "another horizon": (sends({"actions": np.zeros((4, 7))}), BadAnswerError, r"\(4, 7\)", 1),
    "integers": (sends({"actions": np.zeros((3, 7), np.int32)}), BadAnswerError, "dtype int32", 1),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_servers(client, images, case: str) -> None:
    behaviour, error, message, observations = HOSTILE[case]
    with OpenpiServer(STATED, behaviour) as server:
        vla = client("openpi", server.url, read_timeout_s=0.3 if error is TooLateError else 2.0)
        with took(at_most_s=2.5), pytest.raises(error, match=message):
            vla.query(images[:1], ["x"])
        assert len(server.observations) == observations


def test_a_late_answer_is_never_taken_for_the_next_ones(client, images) -> None:
    def late(connection, _) -> None:
        time.sleep(0.5)
        with contextlib.suppress(Exception):
            connection.send(to_msgpack({"actions": np.full((3, 7), 0.1)}))

    with OpenpiServer(STATED, late, good) as server:
        vla = client("openpi", server.url, read_timeout_s=0.3)
        with pytest.raises(TooLateError):
            vla.query(images[:1], ["x"])
        time.sleep(0.4)
        action = vla.query(images[:1], ["x"])
    np.testing.assert_allclose(action[0, 0], images[0].mean() / 1000, rtol=1e-6)
    assert len(server.connections) == 2


def test_a_broken_connection_is_opened_again(client, images) -> None:
    with OpenpiServer(STATED, cut, good) as server:
        vla = client("openpi", server.url)
        assert vla.query(images[:1], ["x"]).shape == (1, 7)
    assert (len(server.connections), len(server.observations)) == (2, 2)
    assert vla.stats()["counts"]["retries"] == 1


def test_another_server_behind_the_same_address_is_refused(client, images) -> None:
    changed = {"vlajs": Metadata(name="other", convention=OWN, action_horizon=3).to_dict()}
    refused = pytest.raises(RefusedError, match="is another server since")
    with OpenpiServer([STATED, changed], cut, good) as server, refused:
        client("openpi", server.url).query(images[:1], ["x"])
    assert len(server.observations) == 1


@pytest.mark.parametrize(
    "metadata, error, message",
    [
        (b"\xc1", BadAnswerError, "no msgpack"),
        ([[1, 2]], BadAnswerError, "a list, not a map"),
        ("Traceback: no weights", RefusedError, "states an error"),
        ({"vlajs": {"protocol": "x"}}, BadAnswerError, "speaks 'x'"),
        ({"vlajs": {**STATED["vlajs"], "convention": {"rate_hz": 0}}}, BadAnswerError, "rate_hz = 0"),
        (b"x" * 200_000, BadAnswerError, "more than max_answer_bytes"),
    ],
)
def test_bad_metadata(client, images, metadata, error, message) -> None:
    with OpenpiServer(metadata, good) as server, pytest.raises(error, match=message):
        client("openpi", server.url, convention=OWN).query(images[:1], ["x"])
    assert (len(server.connections), server.observations) == (1, [])


def test_metadata_that_contradicts_the_given_convention(client, images) -> None:
    given = replace(OWN, rotation="euler_xyz_extrinsic")
    message = "rotation: server 'rotation_vector', given 'euler_xyz_extrinsic'"
    with OpenpiServer(STATED, good) as server, pytest.raises(ConventionError, match=message):
        client("openpi", server.url, convention=given).query(images[:1], ["x"])
    assert server.observations == []


@pytest.mark.parametrize(
    "status, error, connections", [(401, RefusedError, 1), (404, RefusedError, 1), (503, ServerFailureError, 3)]
)
def test_no_websocket_there(client, images, status: int, error: type[Exception], connections: int) -> None:
    refused = pytest.raises(error, match=f"answers {status} instead of a websocket: because")
    with OpenpiServer(STATED, good, status=status) as server, refused:
        client("openpi", server.url, convention=OWN).query(images[:1], ["x"])
    assert len(server.connections) == connections


def test_a_redirect_is_not_followed(client, images) -> None:
    refused = pytest.raises(RefusedError, match="redirect")
    with OpenpiServer(STATED, good) as other:
        moved = OpenpiServer(STATED, good, status=307, headers=[("Location", other.url)])
        with moved as server, refused:
            client("openpi", server.url, token="secret").query(images[:1], ["x"])
    assert (len(server.connections), len(other.connections)) == (1, 0)


def test_a_server_that_never_shakes_hands(client, images) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        vla = client("openpi", f"ws://127.0.0.1:{silent.getsockname()[1]}", connect_timeout_s=0.2, attempts=2)
        with took(at_most_s=1.0), pytest.raises(UnreachableError):
            vla.query(images[:1], ["x"])


def test_nobody_listens_until_the_breaker_opens(client, images, free_port) -> None:
    vla = client("openpi", f"ws://127.0.0.1:{free_port}", breaker_failures=3, breaker_pause_s=60.0)
    with took(at_most_s=0.5), pytest.raises(UnreachableError):
        vla.query(images[:1], ["x"])
    with took(at_most_s=0.1), pytest.raises(CircuitOpenError):
        vla.query(images[:1], ["x"])
    assert vla.stats()["counts"]["requests"] == 3
    assert not vla.healthy()


def test_a_plain_http_server_is_no_policy_server(client, images) -> None:
    refused = pytest.raises(BadAnswerError, match=r"no websocket .* is the port right")
    with HttpServer(answers(b"hello")) as server, refused:
        client("openpi", server.url.replace("http", "ws"), convention=OWN).query(images[:1], ["x"])
    assert len(server.requests) == 1
