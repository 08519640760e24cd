"""What makes a scripted teacher as imperfect as a vision-language-action model: errors that grow with one level."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from vlajs.geometry import FloatArray
from vlajs_training.teachers.script import BoolArray

HEIGHT_SHARE = 1 / 3
"""Error of an object's seen height as a share of that along the table's axes: the table is known."""


@dataclass(frozen=True, kw_only=True)
class Degradation:
    """How wrong a teacher is.

    Attributes:
        direction_rad: standard deviation of the angle by which a translation points elsewhere, drawn for each answer.
        length: standard deviation of the natural logarithm of the factor on a translation's length.
        turn_rad: standard deviation of what is added to each component of a rotation vector.
        object_bias_m: standard deviation of the error of each object's seen position that lasts an episode, along
            each axis of the table.
        wrong_phase: probability of an answer from a phase chosen at random.
        late: probability that an answer is about a past observation.
        dropped: probability that an answer asks for no motion.
        late_decisions: age of that past observation in decisions of the student.
    """

    direction_rad: float
    length: float
    turn_rad: float
    object_bias_m: float
    wrong_phase: float
    late: float
    dropped: float
    late_decisions: int = 4

    @staticmethod
    def at(level: float) -> "Degradation":
        """The degradation of a level: everything but ``late_decisions`` is proportional to it.

        Args:
            level: from 0, the script as it is, to 1, the strongest there is.

        Raises:
            ValueError: the level is outside [0, 1].
        """
        if not 0.0 <= level <= 1.0:
            raise ValueError(
                f"degradation level {level} is outside [0, 1]: 0 is the script as it is, 1 the strongest there is"
            )
        return Degradation(
            direction_rad=1.2 * level,
            length=0.8 * level,
            turn_rad=0.2 * level,
            object_bias_m=0.05 * level,
            wrong_phase=0.4 * level,
            late=0.5 * level,
            dropped=0.4 * level,
        )


@dataclass(frozen=True, kw_only=True)
class Draws:
    """Random numbers behind M answers.

    Attributes:
        normal: (M, 8) standard normal: axis of the directional error (3), its angle, length, turn (3).
        uniform: (M, 4) in [0, 1): wrong phase, which one, late, dropped.
    """

    normal: FloatArray
    uniform: FloatArray

    def late(self, degradation: Degradation) -> BoolArray:
        """Which answers (M,) are about a past observation."""
        return self.uniform[:, 2] < degradation.late

    def phase(self, phase: NDArray[np.int64], phases: int, degradation: Degradation) -> NDArray[np.int64]:
        """Phases (M,), some of them replaced by one of all ``phases``, each as likely."""
        other = (self.uniform[:, 1] * phases).astype(np.int64)
        return np.where(self.uniform[:, 0] < degradation.wrong_phase, other, phase)

    def disturb(
        self, move_m: FloatArray, turn_rad: FloatArray, degradation: Degradation
    ) -> tuple[FloatArray, FloatArray]:
        """Translations (M, 3) and rotation vectors (M, 3) with errors of direction and length, some of them zero."""
        axis = self.normal[:, :3] / np.maximum(np.linalg.norm(self.normal[:, :3], axis=1, keepdims=True), 1e-9)
        elsewhere = Rotation.from_rotvec(axis * degradation.direction_rad * self.normal[:, 3:4])
        factor = np.exp(degradation.length * self.normal[:, 4:5])
        kept = (self.uniform[:, 3:4] >= degradation.dropped).astype(np.float64)
        return (
            elsewhere.apply(move_m) * factor * kept,
            (turn_rad + degradation.turn_rad * self.normal[:, 5:]) * kept,
        )


class DrawSource:
    """Random numbers of N environments, each a stream of its own for each of its episodes.

    What an environment's teacher draws depends on seed, environment, episode and how often it was asked in this
    episode, and on nothing else: neither on the level nor on what other environments do. Two levels are therefore
    compared on the same errors, smaller and larger (common random numbers).

    Attributes:
        bias: (N, objects, 3) standard normal, drawn for each episode.
    """

    def __init__(self, num_envs: int, objects: int, seed: int) -> None:
        """Begin every environment's first episode."""
        self._seed = seed
        self._episodes = np.zeros(num_envs, dtype=np.int64)
        self.bias = np.zeros((num_envs, objects, 3))
        self._streams = [np.random.default_rng(0)] * num_envs
        for index in range(num_envs):
            self._begin(index)

    def begin(self, env_idx: NDArray[np.int64]) -> None:
        """New episodes in these environments (M,)."""
        self._episodes[env_idx] += 1
        for index in env_idx.tolist():
            self._begin(index)

    def _begin(self, index: int) -> None:
        self._streams[index] = np.random.default_rng([self._seed, index, int(self._episodes[index])])
        self.bias[index] = self._streams[index].standard_normal(self.bias.shape[1:])

    def draw(self, env_idx: NDArray[np.int64]) -> Draws:
        """The next numbers of these environments (M,)."""
        streams = [self._streams[index] for index in env_idx.tolist()]
        normal = [stream.standard_normal(8) for stream in streams]
        return Draws(
            normal=np.array(normal).reshape(-1, 8),
            uniform=np.array([stream.random(4) for stream in streams]).reshape(-1, 4),
        )
