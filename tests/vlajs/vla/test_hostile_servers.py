"""The HTTP backends against real servers that stall, flood, lie and talk nonsense: what the client then did."""

import base64
import json
from dataclasses import replace

import msgpack
import numpy as np
import pytest

from tests.support.vla_servers import (
    METADATA,
    OWN,
    Endless,
    HttpServer,
    acts,
    answers,
    claims_a_huge_body,
    closes_at_once,
    closes_mid_answer,
    drips_body,
    drips_headers,
    endless_headers,
    good_act,
    sleeps,
    took,
    unchecked_array,
    vlajs,
)
from vlajs.vla.errors import (
    BadAnswerError,
    ConventionError,
    RefusedError,
    ServerFailureError,
    TooLateError,
    UnreachableError,
)
from vlajs.vla.protocol import write_answer
from vlajs.vla.wire import to_json

NAN = base64.b64encode(np.array([np.nan] * 7).tobytes()).decode()
TEXT = {"__numpy__": base64.b64encode(b"x" * 28).decode(), "dtype": "<U1", "shape": [7]}
OBJECT = {"__numpy__": base64.b64encode(b"x" * 56).decode(), "dtype": "|O", "shape": [7]}

# behaviour, error, message, requests made
HOSTILE_HTTP = {
    "slow": (sleeps(1.0), TooLateError, "read_timeout_s = 0.3 s", 1),
    "drips headers": (drips_headers, TooLateError, "no whole answer", 1),
    "drips the body": (drips_body, TooLateError, "no whole answer", 1),
    "huge": (claims_a_huge_body, BadAnswerError, "1073741824 bytes, at most max_answer_bytes = 100000", 1),
    "endless": (Endless(), BadAnswerError, "at most max_answer_bytes = 100000", 1),
    "endless chunks": (Endless(chunked=True), BadAnswerError, "at most max_answer_bytes = 100000", 1),
    "endless headers": (endless_headers, BadAnswerError, "max_answer_bytes|does not speak HTTP", 1),
    "closes mid-answer": (closes_mid_answer, UnreachableError, "before its answer was whole", 3),
    "closes at once": (closes_at_once, UnreachableError, "before its answer was whole", 3),
    "500": (answers(b"CUDA out of memory", 500), ServerFailureError, "answers 500: CUDA out of memory", 3),
    "503": (answers(b"", 503), ServerFailureError, "answers 503: nothing more", 3),
    "400": (answers(b"no such key", 400), RefusedError, "answers 400: no such key", 1),
    "404": (answers(b"", 404), RefusedError, "answers 404", 1),
    "429": (answers(b"", 429), RefusedError, "answers 429", 1),
    "401": (answers(b"", 401), RefusedError, "give the token", 1),
    "not HTTP": (lambda request: request.raw(b"SSH-2.0-OpenSSH_9.6\r\n"), BadAnswerError, "does not speak HTTP", 1),
    "compressed": (answers(b"x", Content_Encoding="gzip"), BadAnswerError, "Content-Encoding 'gzip'", 1),
}


@pytest.mark.parametrize("backend", ["openvla-rest", "vlajs"])
@pytest.mark.parametrize("case", HOSTILE_HTTP)
def test_hostile_http(client, images, backend: str, case: str) -> None:
    behaviour, error, message, requests = HOSTILE_HTTP[case]
    with HttpServer(behaviour if backend == "openvla-rest" else vlajs(behaviour)) as server:
        vla = client(backend, server.url, convention=OWN, read_timeout_s=0.3 if error is TooLateError else 2.0)
        with took(at_most_s=2.5), pytest.raises(error, match=message):
            vla.query(images[:1], ["x"])
        assert acts(server) == requests
    handshakes = 1 if backend == "vlajs" else 0
    assert vla.stats()["counts"].get("answers", 0) == handshakes


def test_an_endless_answer_is_cut_off_not_buffered(client, images) -> None:
    endless = Endless()
    with HttpServer(endless) as server:
        with pytest.raises(BadAnswerError):
            client("openvla-rest", server.url, convention=OWN).query(images[:1], ["x"])
        assert endless.hung_up.wait(timeout=5)  # the client closed the connection
    assert endless.sent < 20_000_000  # what the sockets' buffers hold, not the gigabyte


BAD_OPENVLA = {
    "error": (b'"error"', RefusedError, "answers 'error': its log says why"),
    "error map": (b'{"error": "no cat"}', RefusedError, "answers 'no cat'"),
    "NaN": (json.dumps({"__numpy__": NAN, "dtype": "<f8", "shape": [7]}).encode(), BadAnswerError, "NaN"),
    "NaN in a list": (b"[NaN, 0, 0, 0, 0, 0, 0]", BadAnswerError, "not finite"),
    "six numbers": (to_json(np.zeros(6)), BadAnswerError, r"shape \(6,\), expected floats of shape \(7\)"),
    "a batch": (to_json(np.zeros((1, 7))), BadAnswerError, r"shape \(1, 7\)"),
    "integers": (to_json(np.zeros(7, np.int64)), BadAnswerError, "dtype int64"),
    "text array": (json.dumps(TEXT).encode(), BadAnswerError, "dtype '<U1'"),
    "object array": (json.dumps(OBJECT).encode(), BadAnswerError, r"dtype '\|O'"),
    "text in a list": (b'["a", 0, 0, 0, 0, 0, 0]', BadAnswerError, "not of numbers"),
    "no JSON": (b"<html></html>", BadAnswerError, "no JSON"),
    "empty": (b"", BadAnswerError, "no JSON"),
    "null": (b"null", BadAnswerError, "answers a NoneType"),
    "a metre": (to_json(np.array([1.0, 0, 0, 0, 0, 0, 0])), BadAnswerError, "translation of 1 m, at most 0.5 m"),
    "another gripper": (to_json(np.array([0, 0, 0, 0, 0, 0, 4.0])), BadAnswerError, "gripper 4 is outside"),
}


@pytest.mark.parametrize("case", BAD_OPENVLA)
def test_bad_answers_of_openvla(client, images, case: str) -> None:
    body, error, message = BAD_OPENVLA[case]
    with HttpServer(answers(body)) as server, pytest.raises(error, match=message):
        client("openvla-rest", server.url, convention=OWN).query(images[:1], ["x"])
    assert len(server.requests) == 1  # never asked again


def packed(actions: object) -> bytes:
    return msgpack.packb({"version": 1, "actions": actions})


BAD_VLAJS = {
    "NaN": (packed(unchecked_array(np.full(14, np.nan).tobytes(), "<f8", [1, 2, 7])), "NaN"),
    "object array": (packed(unchecked_array(b"x" * 112, "|O", [1, 2, 7])), r"dtype '\|O'"),
    "negative shape": (packed(unchecked_array(b"x" * 112, "<f8", [-1, 2, 7])), ">= 0"),
    "too little data": (packed(unchecked_array(b"x" * 8, "<f8", [1, 2, 7])), "needs 112 bytes, got 8"),
    "integers": (write_answer(np.zeros((1, 2, 7), np.int64)), "dtype int64"),
    "other batch": (write_answer(np.zeros((2, 2, 7))), r"\(2, 2, 7\), expected floats of shape \(1, 2, 7\)"),
    "other horizon": (write_answer(np.zeros((1, 3, 7))), r"\(1, 3, 7\)"),
    "six numbers": (write_answer(np.zeros((1, 2, 6))), r"\(1, 2, 6\)"),
    "no msgpack": (b"\xc1", "no msgpack"),
    "no map": (msgpack.packb([1]), "is a list, not a map"),
    "other version": (msgpack.packb({"version": 2}), "version 2, this client reads 1"),
    "no actions": (msgpack.packb({"version": 1}), "answers a NoneType"),
}


@pytest.mark.parametrize("case", BAD_VLAJS)
def test_bad_answers_of_vlajs(client, images, case: str) -> None:
    body, message = BAD_VLAJS[case]
    with HttpServer(vlajs(answers(body))) as server, pytest.raises(BadAnswerError, match=message):
        client("vlajs", server.url).query(images[:1], ["x"])
    assert acts(server) == 1


BAD_METADATA = {
    "missing": (vlajs(good_act, b"{}"), BadAnswerError, "speaks None version None"),
    "another protocol": (
        vlajs(good_act, to_json({**METADATA.to_dict(), "protocol": "octo"})),
        BadAnswerError,
        "'octo' version 1, this client 'vlajs-vla' version 1",
    ),
    "no JSON": (vlajs(good_act, b"hello"), BadAnswerError, "no JSON"),
    "no horizon": (
        vlajs(good_act, to_json({**METADATA.to_dict(), "action_horizon": 0})),
        BadAnswerError,
        r"\[1, 256\]",
    ),
    "garbled convention": (
        vlajs(good_act, to_json({**METADATA.to_dict(), "convention": {"rate_hz": -1}})),
        BadAnswerError,
        "rate_hz = -1",
    ),
    "no convention": (
        vlajs(good_act, replace(METADATA, convention=None).to_json()),
        ConventionError,
        "give convention=, for instance a preset",
    ),
    "not there": (answers(b"", 404), RefusedError, "/metadata answers 404"),
}


@pytest.mark.parametrize("case", BAD_METADATA)
def test_bad_metadata(client, images, case: str) -> None:
    behaviour, error, message = BAD_METADATA[case]
    with HttpServer(behaviour) as server, pytest.raises(error, match=message):
        client("vlajs", server.url).query(images[:1], ["x"])
    assert [request.path for request in server.requests] == ["/metadata"]  # no action was asked for
