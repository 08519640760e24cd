"""Asks a VLA server on a thread of its own: one question at a time, and again and again who is there while nobody is.

A node's executor and its ticks never wait for a server: they leave a question and are told the answer.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vlajs.geometry import FloatArray
from vlajs.vla.backend import VlaConfig
from vlajs.vla.baseline import Answer
from vlajs.vla.client import VlaClient, VlaDescription
from vlajs.vla.errors import CircuitOpenError, ServerFailureError, UnreachableError, VlaError
from vlajs.vla.images import fit_image
from vlajs.vla.playback import Pacing, pacing_of

RECONNECT_S = 2.0
CLOSE_TIMEOUT_S = 2.0

_PERHAPS_RESTARTED = (UnreachableError, ServerFailureError, CircuitOpenError)
"""After these another model may be behind the address."""


@dataclass(frozen=True, kw_only=True)
class Contact:
    """A server that has said what it is.

    Attributes:
        pacing: how its actions are played.
    """

    client: VlaClient
    description: VlaDescription
    pacing: Pacing


@dataclass(frozen=True, kw_only=True)
class Question:
    """What is to be asked.

    Attributes:
        episode: that it belongs to.
        taken_s: when the picture was taken, on the episode's clock.
        picture: gives it when the question is asked, (H, W, 3) uint8 RGB; raises ValueError if it is none.
        instruction: what the VLA is told.
        tool_quat_in_base_wxyz: orientation of the tool at that time, shape (4,).
        expected: what the server was when the episode began.
    """

    episode: int
    taken_s: float
    picture: Callable[[], NDArray[np.uint8]]
    instruction: str
    tool_quat_in_base_wxyz: FloatArray
    expected: VlaDescription


class Asker:
    """See the module's description. All methods may be called from any thread."""

    def __init__(
        self, config: VlaConfig, on_answer: Callable[[Answer], None], *, reconnect_s: float = RECONNECT_S
    ) -> None:
        """Begin to look for the server.

        Args:
            config: which server.
            on_answer: told every answer, in the asking thread.
            reconnect_s: pause between two looks.

        Raises:
            VlaConfigError: as :class:`vlajs.vla.client.VlaClient`.
        """
        VlaClient(config).close()  # a configuration that cannot work is refused here, not in the thread
        self._config, self._on_answer, self._reconnect_s = config, on_answer, reconnect_s
        self._changed = threading.Condition()  # guards what follows
        self._contact: Contact | None = None
        self._left: list[VlaClient] = []  # to be closed by the thread that may be using them
        self._question: Question | None = None
        self._problem = "it has not answered yet"
        self._busy = self._ending = False
        self._look = True
        # a daemon: a server that does not answer must not keep the process from ending
        self._thread = threading.Thread(target=self._run, name="vla questions", daemon=True)
        self._thread.start()

    @property
    def contact(self) -> Contact | None:
        """The server, once it has said what it is."""
        with self._changed:
            return self._contact

    @property
    def problem(self) -> str:
        """Why there is no contact or the last question had no answer; empty when all is well."""
        with self._changed:
            return self._problem

    @property
    def alive(self) -> bool:
        """Whether questions are still answered; False after :meth:`close`, or a defect whose traceback was printed."""
        return self._thread.is_alive()

    def ask(self, question: Question) -> bool:
        """Leave a question; False while another one is under way, for instance one of an episode before."""
        with self._changed:
            if self._busy or self._ending:
                return False
            self._busy, self._question = True, question
            self._changed.notify_all()
            return True

    def look_again(self) -> None:
        """Forget what is known of the server: another model may have been started there meanwhile."""
        with self._changed:
            self._forget("it is being asked what it is")
            self._changed.notify_all()

    def stats(self) -> dict[str, Any]:
        """:meth:`VlaClient.stats` of the present contact; empty without one."""
        contact = self.contact
        return {} if contact is None else contact.client.stats()

    def close(self) -> None:
        """Ask nothing more; a question under way is left to itself, and its answer dropped."""
        with self._changed:
            self._ending = True
            self._changed.notify_all()
        self._thread.join(CLOSE_TIMEOUT_S)

    # -- the asking thread ---------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            self._answer_questions()
        finally:  # whatever ended it, nobody may believe that an answer will come
            with self._changed:
                self._forget("the asking thread has ended" + ("" if self._ending else " unexpectedly; see the log"))
                self._close_left()

    def _close_left(self) -> None:
        """The lock is held."""
        for client in self._left:
            client.close()
        self._left.clear()

    def _answer_questions(self) -> None:
        while True:
            with self._changed:
                self._close_left()
                self._changed.wait_for(lambda: self._ending or self._look or self._question, self._reconnect_s)
                if self._ending:
                    return
                self._look = False
                question, self._question = self._question, None
            contact = self.contact or self._connect()
            if question is not None:
                answer = self._answer(contact, question)
                with self._changed:
                    self._busy, ending = False, self._ending
                if not ending:
                    self._on_answer(answer)

    def _connect(self) -> Contact | None:
        """A handshake; None, and the problem noted, when it fails."""
        client = VlaClient(self._config)
        try:
            description = client.describe()
            contact = Contact(client=client, description=description, pacing=pacing_of(description.rate_hz))
            if not client.healthy():  # openvla-rest has no handshake
                raise UnreachableError(f"nobody answers at {self._config.url}: start the server, or correct url")
        except (VlaError, ValueError) as error:  # ValueError: no agreed convention
            client.close()
            with self._changed:
                self._problem = str(error)
            return None
        with self._changed:
            if self._look or self._ending:  # asked to look again meanwhile
                client.close()
                return None
            self._contact, self._problem = contact, ""
        return contact

    def _answer(self, contact: Contact | None, question: Question) -> Answer:
        if contact is None:
            return self._without(question, self.problem)
        if contact.description != question.expected:
            problem = (
                f"the server is no longer {question.expected.name} as when the episode began, or states another "
                f"convention: it is {contact.description.name} now; start a new episode"
            )
            return self._without(question, problem, final=True)
        size = contact.description.image_size
        try:
            picture = question.picture()
            picture = picture if size is None else fit_image(picture, size)
            chunks = contact.client.query_chunks(
                picture[None],
                [question.instruction],
                tool_quat_in_base_wxyz=question.tool_quat_in_base_wxyz[None],
            )
        except (VlaError, ValueError) as error:
            with self._changed:
                self._problem = str(error)
                if isinstance(error, _PERHAPS_RESTARTED):
                    self._forget(str(error))
            return self._without(question, str(error))
        with self._changed:
            self._problem = ""
        return Answer(episode=question.episode, taken_s=question.taken_s, actions=chunks[0])

    def _without(self, question: Question, problem: str, *, final: bool = False) -> Answer:
        return Answer(episode=question.episode, taken_s=question.taken_s, problem=problem, final=final)

    def _forget(self, problem: str) -> None:
        """The lock is held."""
        if self._contact is not None:
            self._left.append(self._contact.client)
        self._contact, self._problem, self._look = None, problem, True
