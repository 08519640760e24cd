"""What holds of a teacher where nothing else is said of it; read before anything is simulated."""

from vlajs_training.teachers.calibration import read_levels

MAGNITUDE = 2.0
"""Scale a scripted teacher speaks in unless told otherwise, as a multiple of what the student would have to do."""


def default_magnitude(teacher: str) -> float:
    """The scale a teacher speaks in unless something else is said of it."""
    return MAGNITUDE if teacher == "scripted" else 1.0


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
