"""What a trial is disturbed by: the twin's own way to ask whether a policy bears what a lab does to it (paper, Fig. 4).

A condition changes what the camera sees, for a whole trial or for a while, or pushes something. What is drawn at random
follows from the trial's number, so that every policy meets the same disturbances.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

UNDISTURBED = "undisturbed"

OBJECT_PUSHES = {"cube": 0.36, "peg": 3.4}
"""Force on each object, newton: 5.6 N/kg, of which friction on the table takes 3.9, so that it slides some 3 cm."""


@dataclass(frozen=True, kw_only=True)
class Push:
    """A force on an object or on a link of the arm.

    Attributes:
        body: ``cube`` or ``peg``, or a link such as ``fr3_link6``.
        newton: in the base's axes, shape (3,); its sign along y alternates from trial to trial.
        seconds: robot time it lasts.
        at_s: robot time after the policy's first action.
    """

    body: str
    newton: tuple[float, float, float]
    seconds: float
    at_s: float


@dataclass(frozen=True, kw_only=True)
class Condition:
    """One way to disturb a trial.

    Attributes:
        name: on the command line and in results.
        summary: in words.
        camera: parameters of node ``twin_camera`` for the whole trial.
        seeded: parameters of it that are given the trial's number.
        occluded_s: robot time after the policy's first action from which, and until which, the lens is covered.
        pushes: what is pushed: of those on objects, the one on the task's first object that is named here.
    """

    name: str
    summary: str
    camera: dict[str, Any]
    seeded: tuple[str, ...] = ()
    occluded_s: tuple[float, float] | None = None
    pushes: tuple[Push, ...] = ()

    def push_in(self, task_objects: Sequence[str]) -> Push | None:
        """What is pushed in a task with these objects: a link, or the first object that a push is known for."""
        by_body = {push.body: push for push in self.pushes}
        links = [body for body in by_body if body not in OBJECT_PUSHES]
        return next((by_body[body] for body in (*links, *task_objects) if body in by_body), None)

    def camera_of(self, trial: int) -> dict[str, Any]:
        """Parameters of node ``twin_camera`` that a trial begins with; those of no condition are as usual."""
        return {**USUAL_CAMERA, **self.camera, **dict.fromkeys(self.seeded, trial)}

    @property
    def needs_camera(self) -> bool:
        """Whether it changes what the camera sees, which nobody looks at where poses are the truth."""
        return bool(self.camera or self.seeded or self.occluded_s)


USUAL_CAMERA: dict[str, Any] = {
    "light": 1.0,
    "colours": 0,
    "textures": 0,
    "clutter": 0,
    "clutter_seed": 1,
    "camera_offset_m": [0.0, 0.0, 0.0],
    "camera_offset_deg": [0.0, 0.0, 0.0],
    "occluded": False,
}

CONDITIONS: dict[str, Condition] = {
    condition.name: condition
    for condition in (
        Condition(name=UNDISTURBED, summary="nothing changed", camera={}),
        Condition(name="dim", summary="a third of the light", camera={"light": 0.35}),
        Condition(name="bright", summary="twice the light", camera={"light": 2.0}),
        Condition(
            name="colours", summary="other colours of table, walls and cube each trial", camera={}, seeded=("colours",)
        ),
        Condition(
            name="textures",
            summary="patterned table, walls and cube, others each trial",
            camera={},
            seeded=("textures",),
        ),
        Condition(
            name="clutter",
            summary="six things about, others each trial",
            camera={"clutter": 6},
            seeded=("clutter_seed",),
        ),
        Condition(
            name="moved_camera",
            summary="camera moved by 2 cm and turned by 2 degrees since its calibration",
            camera={"camera_offset_m": [0.012, 0.012, 0.0106], "camera_offset_deg": [1.2, 1.2, 1.06]},
        ),
        Condition(
            name="occlusion", summary="lens covered for one second, half a second in", camera={}, occluded_s=(0.5, 1.5)
        ),
        Condition(
            name="object_push",
            summary="5.6 N/kg on the cube or peg for 0.15 s, 0.3 s in",
            camera={},
            pushes=tuple(
                Push(body=name, newton=(0.0, force_n, 0.0), seconds=0.15, at_s=0.3)
                for name, force_n in OBJECT_PUSHES.items()
            ),
        ),
        Condition(
            name="arm_push",
            summary="10 N on the arm's wrist for 0.3 s, half a second in",
            camera={},
            pushes=(Push(body="fr3_link6", newton=(0.0, 10.0, 0.0), seconds=0.3, at_s=0.5),),
        ),
    )
}


def condition_named(name: str) -> Condition:
    """Look up a condition.

    Raises:
        ValueError: there is none of this name.
    """
    try:
        return CONDITIONS[name]
    except KeyError:
        raise ValueError(f"no condition {name!r}: choose from {', '.join(CONDITIONS)}") from None


class TrialDisturbance:
    """One trial's disturbance as time goes by: says what is to be done now, each thing once."""

    def __init__(self, condition: Condition, trial: int, task_objects: Sequence[str]) -> None:
        self._events: list[tuple[float, dict[str, Any] | Push]] = []
        if condition.occluded_s is not None:
            begin_s, end_s = condition.occluded_s
            self._events += [(begin_s, {"occluded": True}), (end_s, {"occluded": False})]
        push = condition.push_in(task_objects)
        if push is not None:
            x, y, z = push.newton
            signed = (x, y if trial % 2 else -y, z)
            self._events.append((push.at_s, Push(body=push.body, newton=signed, seconds=push.seconds, at_s=push.at_s)))
        self._events.sort(key=lambda event: event[0])

    def due(self, elapsed_s: float) -> list[dict[str, Any] | Push]:
        """What is due after this robot time since the policy's first action: camera parameters, or a push."""
        due = [what for at_s, what in self._events if at_s <= elapsed_s]
        self._events = [event for event in self._events if event[0] > elapsed_s]
        return due
