"""Teachers: whatever gives coarse hints to a student in training."""

from dataclasses import replace

from vlajs_training.tasks import TaskDefinition
from vlajs_training.tasks.definition import LONG_FACTOR
from vlajs_training.teachers.calibration import read_levels
from vlajs_training.teachers.degradation import Degradation
from vlajs_training.teachers.scripted import MAGNITUDE, RATE_HZ, ScriptedTeacher, describe
from vlajs_training.teachers.scripts import SCRIPTS
from vlajs_training.teachers.teacher import Teacher

__all__ = ["MAGNITUDE", "TEACHERS", "calibrated", "make_teacher"]

TEACHERS = ("scripted",)
"""Known teachers."""


def calibrated(task: str, protocol: str) -> tuple[float, float | None]:
    """Degradation level of the scripted teacher of a task, and its measured success under the protocol.

    Raises:
        ValueError: nobody has calibrated it.
    """
    calibration = read_levels().get(task)
    if calibration is None:
        raise ValueError(
            f"the scripted teacher is not calibrated for {task!r}: run `vlajs teacher calibrate {task}`, "
            "or state a degradation level"
        )
    return calibration.level, calibration.success if protocol == "standard" else None


def make_teacher(
    name: str,
    definition: TaskDefinition,
    *,
    num_envs: int,
    seed: int,
    magnitude: float = MAGNITUDE,
    level: float | None = None,
) -> Teacher:
    """A teacher of a task.

    Under the protocol ``long`` a student takes ten times as many steps, each a tenth as large; the teacher stays as
    coarse as it was: an answer asks for the same motion and covers ten times as many decisions.

    Args:
        name: one of ``TEACHERS``.
        definition: the task.
        num_envs: environments it answers for.
        seed: of its errors.
        magnitude: what it says as a multiple of what the student would have to do; 1 is the student's own scale.
        level: degradation from 0 to 1; None takes the calibrated one. The description then states its measured success,
            unless the task is under another protocol than it was calibrated under.

    Raises:
        ValueError: unknown teacher, a task without a script or without a calibrated level, a magnitude that is
            not positive, or a level outside [0, 1].
    """
    if name not in TEACHERS:
        raise ValueError(f"unknown teacher {name!r}: known teachers are {', '.join(TEACHERS)}")
    task = definition.task.name
    if task not in SCRIPTS:
        raise ValueError(f"the scripted teacher has no script for {task!r}: it knows {', '.join(SCRIPTS)}")
    if not 0.0 < magnitude < float("inf"):
        raise ValueError(f"teacher scale {magnitude} is not a positive number: 1 is the student's own scale")
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
