"""A teacher acts alone: its deltas are executed through the task's own controller, to measure how good it is.

Training never does this; there a teacher only says what should be done (paper, V.B).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vlajs.geometry import clamp_norm
from vlajs.policy.contract import ActionContract
from vlajs_training.simulation.vector import VectorEnv
from vlajs_training.tasks import TaskDefinition
from vlajs_training.teachers.teacher import Teacher, TeacherDescription


def decisions_per_answer(definition: TaskDefinition, rate_hz: float) -> int:
    """How many decisions of the student one answer covers.

    Raises:
        ValueError: not a whole number of at least one.
    """
    decisions = definition.control_rate_hz / (rate_hz * definition.action.ticks_per_action)
    if decisions < 1 or abs(decisions - round(decisions)) > 1e-6:
        raise ValueError(
            f"a teacher at {rate_hz:g} Hz would cover {decisions:g} decisions of {definition.task.name}, which decides "
            f"at {definition.control_rate_hz / definition.action.ticks_per_action:g} Hz: it must be a whole number of "
            "at least 1"
        )
    return round(decisions)


def action_of(
    delta: NDArray[np.floating], description: TeacherDescription, decisions: int, action: ActionContract
) -> NDArray[np.float32]:
    """The normalised action (M, 7) that, repeated for ``decisions`` decisions, carries out answers (M, 7).

    The teacher's own scale is undone first: it is how it speaks, not how far the tool should go. A rotation vector
    divided into equal parts, each composed on the left, adds up to the whole, as SLERP does. What the action contract
    does not allow is shortened, its direction kept.
    """
    steps = description.magnitude * decisions * action.ticks_per_action
    move = clamp_norm(delta[:, :3] / (steps * action.position_scale_m), 1.0)
    turn = clamp_norm(delta[:, 3:6] / (steps * action.rotation_scale_rad), 1.0)
    return np.concatenate([move, turn, delta[:, 6:]], axis=1).astype(np.float32)


@dataclass(frozen=True, kw_only=True)
class Solved:
    """Outcome of episodes that a teacher acted in alone.

    Attributes:
        success: (episodes,) bool, solved at any step before the horizon.
        decisions: (episodes,) decisions until then; the horizon's where it was not solved.
    """

    success: NDArray[np.bool_]
    decisions: NDArray[np.int64]


def run_alone(
    env: VectorEnv,
    teacher_of: Callable[[int], Teacher],
    definition: TaskDefinition,
    *,
    episodes: int,
    seed: int,
    progress: Callable[[int], object] = lambda _: None,
) -> Solved:
    """Let a teacher solve episodes: batches of one episode in each environment.

    The scenes follow from the seed alone, not from how earlier episodes went, so that two teachers are compared on the
    same scenes.

    Args:
        env: environments of the task, which reset themselves when an episode ends.
        teacher_of: a teacher for ``env.num_envs`` environments whose errors follow from the seed it is given.
        definition: the task.
        episodes: how many; the last batch's surplus is not counted.
        seed: of the first batch's scenes and of the teacher's errors; the others' are the next numbers.
        progress: called with the number of episodes that just ended.
    """
    batches = [
        _run_batch(env, teacher_of(batch_seed), definition, seed=batch_seed, count=count, progress=progress)
        for batch_seed, count in _batches(episodes, env.num_envs, seed)
    ]
    return Solved(
        success=np.concatenate([batch.success for batch in batches]),
        decisions=np.concatenate([batch.decisions for batch in batches]),
    )


def _batches(episodes: int, num_envs: int, seed: int) -> Iterator[tuple[int, int]]:
    """Seed and number of counted episodes of each batch."""
    for number, begun in enumerate(range(0, episodes, num_envs)):
        yield seed + number, min(num_envs, episodes - begun)


def _run_batch(
    env: VectorEnv,
    teacher: Teacher,
    definition: TaskDefinition,
    *,
    seed: int,
    count: int,
    progress: Callable[[int], object],
) -> Solved:
    """One episode in each environment; the first ``count`` are counted."""
    decisions_each = decisions_per_answer(definition, teacher.description.rate_hz)
    everyone = np.arange(env.num_envs)
    action = np.zeros((env.num_envs, env.action_size), dtype=np.float32)
    running = everyone < count
    success = np.zeros(env.num_envs, dtype=bool)
    decisions = np.zeros(env.num_envs, dtype=np.int64)
    observation = env.reset(seed)
    teacher.begin(everyone)
    decision = 0
    while running.any():
        teacher.observe(observation)
        if decision % decisions_each == 0:
            asked = np.flatnonzero(running)
            answer = teacher.query(asked)
            action[asked] = action_of(answer, teacher.description, decisions_each, definition.action)
        result = env.step(action)
        observation = result.observation
        decision += 1
        decisions[running] = decision
        success |= running & result.success
        ended = running & (result.terminated | result.truncated)
        running &= ~ended
        progress(int(ended.sum()))
    return Solved(success=success[:count], decisions=decisions[:count])
