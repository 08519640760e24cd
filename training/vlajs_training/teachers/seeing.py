"""A teacher that sees: a picture of each environment it is asked about, and an instruction; nothing else."""

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from vlajs.geometry import TOOL_DOWN_WXYZ, rotation
from vlajs.policy.contract import terms
from vlajs_training.tasks import TaskDefinition
from vlajs_training.teachers.script import Seen
from vlajs_training.teachers.teacher import TeacherDescription, TeacherError

BLANK = 127
"""Every channel of a blank picture."""


class Scenes(Protocol):
    """Environments whose visible states can be had."""

    def visible_state(self, env_idx: NDArray[np.int64]) -> NDArray[np.float32]:
        """Rows (M, V) of the environments ``env_idx`` (M,) (``simulation.visible``)."""
        ...


class View(Protocol):
    """What makes pictures of visible states."""

    def images(self, states: NDArray[np.float32]) -> NDArray[np.uint8]:
        """Pictures (M, H, W, 3)."""
        ...


Ask = Callable[[NDArray[np.uint8], Sequence[str], NDArray[np.float64]], NDArray[np.floating]]
"""What answers, a model in this process or a client: from pictures (M, H, W, 3), as many sentences, and orientations
(M, 4, wxyz) of the tool in the base, to answers (M, 7), ``base_delta``."""


class SeeingTeacher:
    """Looks only where it is asked (``Teacher``).

    Attributes:
        description: what training and results say about it.
    """

    def __init__(
        self,
        description: TeacherDescription,
        definition: TaskDefinition,
        *,
        num_envs: int,
        scenes: Callable[[], Scenes],
        view: View,
        ask: Ask,
        instructions: Sequence[str],
        seed: int = 0,
    ) -> None:
        """Make a teacher for ``num_envs`` environments.

        Args:
            description: what it says of itself.
            definition: the task.
            num_envs: environments it answers for.
            scenes: gives those environments; called when the teacher is asked, they may be made later than it.
            view: makes the pictures.
            ask: answers.
            instructions: ways to say the task; each episode is told one of them.
            seed: of that choice.
        """
        self.description = description
        self._scenes, self._view, self._ask = scenes, view, ask
        self._layout = terms(list(definition.terms))
        self._instructions = list(instructions)
        self._rng = np.random.default_rng(seed)
        self._said = np.zeros(num_envs, dtype=np.int64)
        self._observation: NDArray[np.floating] | None = None

    def begin(self, env_idx: NDArray[np.int64]) -> None:
        """New episodes in these environments (M,): another phrasing."""
        self._said[env_idx] = self._rng.integers(len(self._instructions), size=len(env_idx))

    def observe(self, observation: NDArray[np.floating]) -> None:
        """Keep how the tools stand, for models that answer relative to them."""
        self._observation = observation

    def query(self, env_idx: NDArray[np.int64]) -> NDArray[np.floating]:
        """Answers (M, 7) for these environments (M,).

        Raises:
            TeacherError: nothing was observed yet.
        """
        if self._observation is None:
            raise TeacherError("asked before anything was observed: call observe with the observation to answer for")
        if len(env_idx) == 0:
            return np.zeros((0, 7))
        seen = Seen(rows=np.asarray(self._observation[env_idx], dtype=np.float64), layout=self._layout)
        x, y, z, w = (seen.tool_rotation * rotation(TOOL_DOWN_WXYZ)).as_quat().T
        images = self._view.images(self._scenes().visible_state(env_idx))
        instructions = [self._instructions[said] for said in self._said[env_idx].tolist()]
        return self._ask(images, instructions, np.stack([w, x, y, z], axis=1))


class BlankView:
    """Shows nothing, whatever there is to see: to find out whether a model looks at all."""

    def __init__(self, height_px: int, width_px: int) -> None:
        self._shape = (height_px, width_px, 3)

    def images(self, states: NDArray[np.float32]) -> NDArray[np.uint8]:
        """Grey pictures, as many as states."""
        return np.full((len(states), *self._shape), BLANK, dtype=np.uint8)
