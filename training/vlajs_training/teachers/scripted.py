"""A teacher that follows a script, degraded to the strength of a real one."""

from collections import deque

import numpy as np
from numpy.typing import NDArray

from vlajs.geometry import FloatArray, clamp_norm
from vlajs.policy.contract import ObservationTerm, terms
from vlajs_training.tasks import TaskDefinition
from vlajs_training.teachers.defaults import MAGNITUDE
from vlajs_training.teachers.degradation import HEIGHT_SHARE, Degradation, DrawSource
from vlajs_training.teachers.script import Script, Seen, advise, phase_of
from vlajs_training.teachers.teacher import BASE_DELTA, TeacherDescription, TeacherError

RATE_HZ = 5.0
"""How often a vision-language-action model of 7 billion parameters answers on one GPU, about."""


class ScriptedTeacher:
    """Answers for N environments by the phases of a task's script (``Teacher``).

    An answer is a delta for the next ``1 / rate_hz`` seconds: at most what the action contract lets the tool move in
    that time, times ``description.magnitude``. Executed alone (``teachers.alone``) that magnitude is divided out
    again: it is a property of how the teacher speaks, not of what it knows.

    Attributes:
        description: what training and results say about it.
        degradation: how wrong it is.
    """

    def __init__(
        self,
        script: Script,
        definition: TaskDefinition,
        *,
        num_envs: int,
        seed: int,
        degradation: Degradation,
        description: TeacherDescription,
    ) -> None:
        """Make a teacher for ``num_envs`` environments of a task; the seed fixes all of its errors."""
        self.description = description
        self.degradation = degradation
        self._script = script
        self._layout = terms(list(definition.terms))
        self._objects = _object_terms(self._layout)
        self._draws = DrawSource(num_envs, len(self._objects), seed)
        self._history: deque[FloatArray] = deque(maxlen=degradation.late_decisions + 1)
        self._age = np.zeros(num_envs, dtype=np.int64)
        ticks = definition.control_rate_hz / description.rate_hz
        self._reach_m = definition.action.position_scale_m * ticks
        self._reach_rad = definition.action.rotation_scale_rad * ticks

    def begin(self, env_idx: NDArray[np.int64]) -> None:
        """New episodes in these environments (M,): new errors, and no memory of what was seen before."""
        env_idx = np.asarray(env_idx, dtype=np.int64)
        self._draws.begin(env_idx)
        self._age[env_idx] = 0

    def observe(self, observation: NDArray[np.floating]) -> None:
        """Take the raw observation (N, D) of a decision.

        Raises:
            TeacherError: another shape than the task's terms in as many environments.
        """
        expected = (len(self._age), self._layout[-1].stop)
        if observation.shape != expected:
            raise TeacherError(
                f"observation of shape {observation.shape}, expected {expected}: "
                "the teacher was made for another task or number of environments"
            )
        self._history.append(np.array(observation, dtype=np.float64))
        self._age += 1

    def query(self, env_idx: NDArray[np.int64]) -> FloatArray:
        """Deltas (M, 7) of these environments (M,): metres and rotation vector in base axes, gripper 1 or -1.

        Raises:
            TeacherError: nothing was observed yet.
        """
        if not self._history:
            raise TeacherError("asked before anything was observed: call observe with the observation to answer for")
        env_idx = np.asarray(env_idx, dtype=np.int64)
        draws = self._draws.draw(env_idx)
        seen = self._see(env_idx, draws.late(self.degradation))
        phase = draws.phase(phase_of(self._script, seen), len(self._script), self.degradation)
        move_m, turn_rad, manner = advise(self._script, seen, phase)
        haste = manner[:, 1:]
        move_m = _at_most(move_m, haste * self._reach_m)
        turn_rad = _at_most(turn_rad, np.full_like(haste, self._reach_rad))
        move_m, turn_rad = draws.disturb(move_m, turn_rad, self.degradation)
        said = self.description.magnitude
        return np.concatenate(
            [said * clamp_norm(move_m, self._reach_m), said * clamp_norm(turn_rad, self._reach_rad), manner[:, :1]],
            axis=1,
        )

    def _see(self, env_idx: NDArray[np.int64], late: NDArray[np.bool_]) -> Seen:
        """What these environments look like to it: objects displaced, some of it late, none from another episode."""
        delay = np.where(late, self.degradation.late_decisions, 0)
        delay = np.minimum(delay, np.maximum(self._age[env_idx] - 1, 0))
        rows = np.stack(self._history)[len(self._history) - 1 - delay, env_idx]
        spread_m = self.degradation.object_bias_m * np.array([1.0, 1.0, HEIGHT_SHARE])
        for number, group in enumerate(self._objects):
            for term in group:
                rows[:, term.start : term.stop] += self._draws.bias[env_idx, number] * spread_m
        return Seen(rows=rows, layout=self._layout)


def describe(*, success: float | None, magnitude: float = MAGNITUDE, rate_hz: float = RATE_HZ) -> TeacherDescription:
    """The description of a scripted teacher whose measured success alone is ``success``.

    Args:
        success: share of episodes it solves when executed alone; None if unknown.
        magnitude: scale it speaks in.
        rate_hz: how often it answers.
    """
    return TeacherDescription(
        name="scripted", rate_hz=rate_hz, magnitude=magnitude, success=success, convention=BASE_DELTA
    )


def _object_terms(layout: tuple[ObservationTerm, ...]) -> list[list[ObservationTerm]]:
    """For each object, the terms that are a point of it in the base frame; scripts look at no other positions."""
    groups: dict[str, list[ObservationTerm]] = {}
    for term in layout:
        if term.source.startswith("object:") and term.unit == "m" and term.name.endswith("_position"):
            groups.setdefault(term.source, []).append(term)
    return list(groups.values())


def _at_most(vectors: FloatArray, limit: FloatArray) -> FloatArray:
    """Shorten vectors (M, 3) to at most their ``limit`` (M, 1)."""
    norm = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors * np.minimum(1.0, limit / np.maximum(norm, 1e-9))
