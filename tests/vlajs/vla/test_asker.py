"""The asking thread against real servers: it answers every question, with actions or with why there are none."""

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import pytest

from tests.support.processes import wait_for
from tests.support.vla_models import MeanModel, serving
from tests.support.vla_servers import HttpServer, answers, closes_at_once, sleeps
from vlajs.vla.asker import Asker, Contact, Question
from vlajs.vla.backend import VlaConfig
from vlajs.vla.baseline import Answer
from vlajs.vla.caller import Retries
from vlajs.vla.convention import Convention
from vlajs.vla.errors import VlaConfigError
from vlajs.vla.images import fit_image
from vlajs.vla.presets import OPENVLA_MANISKILL
from vlajs.vla.transport import Limits
from vlajs.vla.wire import to_json

CONFIG = VlaConfig(backend="vlajs", limits=Limits(read_timeout_s=20.0), retries=Retries(attempts=1))
GREY = np.full((8, 8, 3), 100, np.uint8)
NO_TURN = np.array([1.0, 0.0, 0.0, 0.0])


class Desk:
    """An asker and its answers."""

    def __init__(self, url: str, **changes) -> None:
        self.answers: list[Answer] = []
        self.asker = Asker(replace(CONFIG, url=url, **changes), self.answers.append, reconnect_s=0.05)

    def contact(self) -> Contact:
        wait_for(lambda: self.asker.contact is not None, "the server", told=lambda: self.asker.problem)
        contact = self.asker.contact
        assert contact is not None
        return contact

    def ask(self, contact: Contact, shown: np.ndarray = GREY, **changes) -> Answer:
        """The answer to the next question."""
        values = {
            "episode": 3,
            "taken_s": 12.5,
            "picture": lambda: shown,
            "instruction": "push",
            "tool_quat_in_base_wxyz": NO_TURN,
            "expected": contact.description,
        }
        count = len(self.answers)
        assert self.asker.ask(Question(**(values | changes)))
        wait_for(lambda: len(self.answers) > count, "an answer")
        return self.answers[-1]


@pytest.fixture
def desk() -> Iterator[Callable[..., Desk]]:
    made: list[Desk] = []

    def make(url: str, **changes) -> Desk:
        made.append(Desk(url, **changes))
        return made[-1]

    yield make
    for item in made:
        item.asker.close()
        assert not item.asker.alive


def test_an_answer_carries_what_the_question_was(desk) -> None:
    with serving(lambda: MeanModel(horizon=2)) as server:
        asking = desk(server.url)
        contact = asking.contact()
        assert (contact.description.name, contact.pacing.tick_rate_hz) == ("mean", 20.0)
        answer = asking.ask(contact)
    assert (answer.episode, answer.taken_s, answer.problem) == (3, 12.5, "")
    assert answer.actions is not None
    # the mean of 100 in mm, the four letters of "push" in mm, both actions
    np.testing.assert_allclose(answer.actions, [[0.1, 0.004, 0, 0, 0, 0, 1]] * 2)


def test_pictures_are_brought_to_the_models_size(desk) -> None:
    with serving(lambda: MeanModel(convention=Convention(rate_hz=20.0, image_size=(6, 6)))) as server:
        asking = desk(server.url)
        wide = np.zeros((12, 24, 3), np.uint8)
        wide[:, 6:18] = 200  # its middle square
        answer = asking.ask(asking.contact(), wide)
    assert answer.actions is not None
    assert answer.actions[0, 0] == pytest.approx(0.2)


def test_one_question_at_a_time(desk) -> None:
    model = MeanModel()
    with serving(lambda: model) as server:
        asking = desk(server.url)
        contact = asking.contact()
        model.gate.clear()
        values = {"taken_s": 0.0, "picture": lambda: GREY, "instruction": "push", "tool_quat_in_base_wxyz": NO_TURN}
        question = Question(episode=1, expected=contact.description, **values)
        assert asking.asker.ask(question)
        assert not asking.asker.ask(question)
        model.gate.set()
        wait_for(lambda: len(asking.answers) == 1, "the answer")
        assert asking.asker.ask(question)


def test_a_server_that_comes_later_is_found_and_one_that_goes_is_noticed(desk, free_port: int) -> None:
    asking = desk(f"http://127.0.0.1:{free_port}")
    wait_for(lambda: "127.0.0.1" in asking.asker.problem, "the refusal", told=lambda: asking.asker.problem)
    assert asking.asker.contact is None
    with serving(MeanModel) as server:
        asking = desk(server.url)
        contact = asking.contact()
    answer = asking.ask(contact)
    assert answer.actions is None
    assert not answer.final
    assert str(server.port) in answer.problem
    assert asking.asker.contact is None  # whoever comes there next is asked what it is


def test_another_model_at_the_same_address_is_not_obeyed(desk) -> None:
    with serving(MeanModel) as server:
        asking = desk(server.url)
        contact = asking.contact()
        changed = replace(contact.description, name="the one before")
        answer = asking.ask(contact, expected=changed)
    assert answer.final
    assert "no longer the one before" in answer.problem
    assert "it is mean now" in answer.problem


def test_looking_again_finds_the_new_model(desk) -> None:
    model = MeanModel()
    with serving(lambda: model) as server:
        asking = desk(server.url)
        first = asking.contact()
        asking.asker.look_again()
        wait_for(lambda: asking.asker.contact not in (None, first), "a new contact")
        assert asking.asker.contact is not None
        assert asking.asker.contact.description == first.description


@pytest.mark.parametrize(
    ("behaviour", "words"),
    [
        (answers(b"[NaN, 0, 0, 0, 0, 0, 1]"), "NaN"),
        (answers(b'"error"'), "error"),
        (answers(to_json(np.array([100.0, 0, 0, 0, 0, 0, 1]))), "at most"),
        (answers(to_json(np.zeros(3))), "shape"),
        (answers(b"busy", status=500), "500"),
        (answers(b"no", status=403), "403"),
        (closes_at_once, "127.0.0.1"),
        (sleeps(3.0), "0.3 s"),
    ],
    ids=["nan", "error", "absurd", "shape", "fails", "refuses", "closes", "slow"],
)
def test_whatever_the_server_does_there_is_an_answer_that_says_so(desk, behaviour, words: str) -> None:
    with HttpServer(behaviour) as server:
        asking = desk(
            server.url,
            backend="openvla-rest",
            convention=replace(OPENVLA_MANISKILL, image_size=None),
            limits=Limits(read_timeout_s=0.3),
        )
        answer = asking.ask(asking.contact())
    assert answer.actions is None
    assert not answer.final
    assert words in answer.problem
    assert asking.asker.alive


def test_a_picture_that_is_none_is_a_problem_like_any_other(desk) -> None:
    def damaged() -> np.ndarray:
        raise ValueError("the image is 'yuv422'")

    with serving(MeanModel) as server:
        asking = desk(server.url)
        assert "yuv422" in asking.ask(asking.contact(), picture=damaged).problem


def test_a_rate_that_no_arm_is_driven_at_is_told(desk) -> None:
    with serving(lambda: MeanModel(convention=Convention(rate_hz=500.0))) as server:
        asking = desk(server.url)
        wait_for(lambda: "500 actions a second" in asking.asker.problem, "the refusal")
        assert asking.asker.contact is None


def test_closing_does_not_wait_for_a_server_that_hangs(desk) -> None:
    model = MeanModel()
    with serving(lambda: model) as server:
        asking = Desk(server.url)
        contact = asking.contact()
        model.gate.clear()
        threading.Timer(3.0, model.gate.set).start()
        values = {"taken_s": 0.0, "picture": lambda: GREY, "instruction": "push", "tool_quat_in_base_wxyz": NO_TURN}
        asking.asker.ask(Question(episode=1, expected=contact.description, **values))
        wait_for(lambda: len(model.batches) > 4, "the question to be under way")
        asking.asker.close()
        assert asking.asker.alive  # left to itself
        assert not asking.asker.ask(Question(episode=1, expected=contact.description, **values))
        wait_for(lambda: not asking.asker.alive, "the thread to end")
        time.sleep(0.1)
        assert asking.answers == []


def test_a_configuration_that_cannot_work_is_refused_at_once() -> None:
    with pytest.raises(VlaConfigError, match="not on this machine"):
        Asker(replace(CONFIG, url="http://gpu.example.org:8000"), lambda _: None)


def test_fitting_keeps_proportions_and_the_middle() -> None:
    image = np.arange(6 * 8 * 3, dtype=np.uint8).reshape(6, 8, 3)
    assert fit_image(image, (6, 8)) is image
    # 8 columns to 6: one is cut off at either side
    np.testing.assert_array_equal(fit_image(image, (6, 6)), image[:, 1:7])
    # every pixel is the mean of four
    blocks = np.zeros((4, 4, 3), np.uint8)
    blocks[:2, :2], blocks[2:, 2:] = 40, 80
    blocks[0, 0] = 80
    np.testing.assert_array_equal(fit_image(blocks, (2, 2))[..., 0], [[50, 0], [0, 80]])  # (80 + 3 x 40) / 4
    assert fit_image(image, (12, 12)).shape == (12, 12, 3)
