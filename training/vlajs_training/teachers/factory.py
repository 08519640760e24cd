"""A teacher by its name."""

from collections.abc import Callable
from dataclasses import replace

from vlajs_training.tasks import TaskDefinition
from vlajs_training.tasks.definition import LONG_FACTOR
from vlajs_training.teachers.defaults import calibrated, default_magnitude
from vlajs_training.teachers.degradation import Degradation
from vlajs_training.teachers.scripted import RATE_HZ, ScriptedTeacher, describe
from vlajs_training.teachers.scripts import SCRIPTS
from vlajs_training.teachers.seeing import Scenes
from vlajs_training.teachers.teacher import Teacher
from vlajs_training.teachers.vla import make_mini_vla_teacher, make_network_teacher
from vlajs_training.teachers.vla_config import NETWORK_TEACHERS, VlaTeacherConfig

NO_VLA = VlaTeacherConfig()

TEACHERS = ("scripted", "mini-vla", *NETWORK_TEACHERS)
"""Known teachers."""


def make_teacher(
    name: str,
    definition: TaskDefinition,
    *,
    num_envs: int,
    seed: int,
    magnitude: float | None = None,
    level: float | None = None,
    vla: VlaTeacherConfig = NO_VLA,
    scenes: Callable[[], Scenes] | None = None,
) -> Teacher:
    """A teacher of a task.

    Under the protocol ``long`` a student takes ten times as many steps, each a tenth as large; the teacher stays as
    coarse as it was: an answer asks for the same motion and covers ten times as many decisions.

    Args:
        name: one of ``TEACHERS``.
        definition: the task.
        num_envs: environments it answers for.
        seed: of its errors.
        magnitude: what it says as a multiple of what the student would have to do; 1 is the student's own scale. A
            scripted teacher speaks so, by default twofold; of the others it is stated, by default 1.
        level: degradation from 0 to 1; None takes the calibrated one. The description then states its measured success,
            unless the task is under another protocol than it was calibrated under. Of scripted alone.
        vla: which vision-language-action model, for the teachers that are one.
        scenes: gives the environments that such a teacher looks at; called when it is asked, not before.

    Raises:
        ValueError: unknown teacher, a task without a script or without a calibrated level, a magnitude that is
            not positive, or a level outside [0, 1].
        VlaError: a server does not answer.
        RenderError: a teacher that sees, and nothing renders here.
    """
    if name not in TEACHERS:
        raise ValueError(f"unknown teacher {name!r}: known teachers are {', '.join(TEACHERS)}")
    magnitude = default_magnitude(name) if magnitude is None else magnitude
    if not 0.0 < magnitude < float("inf"):
        raise ValueError(f"teacher scale {magnitude} is not a positive number: 1 is the student's own scale")
    if name != "scripted":
        return _seeing_teacher(name, definition, vla, scenes, num_envs=num_envs, seed=seed, magnitude=magnitude)
    task = definition.task.name
    if task not in SCRIPTS:
        raise ValueError(f"the scripted teacher has no script for {task!r}: it knows {', '.join(SCRIPTS)}")
    success = None
    if level is None:
        level, success = calibrated(task, definition.protocol)
    slower = LONG_FACTOR if definition.protocol == "long" else 1
    degradation = Degradation.at(level)
    return ScriptedTeacher(
        SCRIPTS[task],
        definition,
        num_envs=num_envs,
        seed=seed,
        degradation=replace(degradation, late_decisions=slower * degradation.late_decisions),
        description=describe(success=success, magnitude=magnitude, rate_hz=RATE_HZ / slower),
    )


def _seeing_teacher(
    name: str,
    definition: TaskDefinition,
    vla: VlaTeacherConfig,
    scenes: Callable[[], Scenes] | None,
    *,
    num_envs: int,
    seed: int,
    magnitude: float,
) -> Teacher:
    if scenes is None:
        raise ValueError(f"the teacher {name!r} looks at environments: say which (scenes=)")
    if name == "mini-vla":
        return make_mini_vla_teacher(definition, vla, num_envs=num_envs, seed=seed, scenes=scenes, magnitude=magnitude)
    return make_network_teacher(name, definition, vla, num_envs=num_envs, scenes=scenes, magnitude=magnitude)
