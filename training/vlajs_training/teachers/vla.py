"""Vision-language-action models as teachers: a mini-VLA in this process, or whatever a server answers with.

A picture is rendered only where and when a call is due: one environment with a renderer takes on the state of the one
that is asked about (``rendered_view``).
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vlajs.vla.client import VlaClient
from vlajs_training.tasks import TaskDefinition
from vlajs_training.teachers.seeing import Scenes, SeeingTeacher
from vlajs_training.teachers.teacher import BASE_DELTA, TeacherDescription
from vlajs_training.teachers.vla_config import VlaTeacherConfig


def make_mini_vla_teacher(
    definition: TaskDefinition,
    config: VlaTeacherConfig,
    *,
    num_envs: int,
    seed: int,
    scenes: Callable[[], Scenes],
    magnitude: float = 1.0,
) -> SeeingTeacher:
    """A mini-VLA that answers in this process.

    Raises:
        ValueError: the weights are missing or refused, or were not trained on this task.
        RenderError: nothing renders here.
    """
    from vlajs_training.mini_vla.evaluate import describe
    from vlajs_training.mini_vla.model import load_model
    from vlajs_training.rendered_view import RenderedView  # loads the simulator, which takes seconds

    config.check("mini-vla")
    model, task = load_model(Path(config.weights or "")), definition.task.name
    if task not in model.contract.tasks:
        trained = ", ".join(model.contract.tasks)
        raise ValueError(f"{config.weights} was trained on {trained}, not on {task}: clone its demonstrations first")

    def ask(images: NDArray[np.uint8], said: Sequence[str], tool: NDArray[np.float64]) -> NDArray[np.float64]:
        return model.answer(images, said)

    return SeeingTeacher(
        replace(describe(model), magnitude=magnitude),
        definition,
        num_envs=num_envs,
        scenes=scenes,
        view=RenderedView(definition, model.contract.camera),
        ask=ask,
        instructions=model.contract.phrasings[task]["training"],
        seed=seed,
    )


def make_network_teacher(
    backend: str,
    definition: TaskDefinition,
    config: VlaTeacherConfig,
    *,
    num_envs: int,
    scenes: Callable[[], Scenes],
    magnitude: float = 1.0,
) -> SeeingTeacher:
    """A teacher behind a server, which is asked what it is before anything starts.

    Raises:
        ValueError: a parameter that is not for it, or nobody says what its actions mean.
        VlaError: the server does not answer.
        RenderError: nothing renders here.
    """
    from vlajs_training.rendered_view import RenderedView  # with the simulator, as above

    config.check(backend)
    client = VlaClient(config.client(backend))
    description = client.describe()
    return SeeingTeacher(
        TeacherDescription(
            name=description.name,
            rate_hz=description.rate_hz,
            magnitude=magnitude,
            success=None,
            convention=BASE_DELTA,
        ),
        definition,
        num_envs=num_envs,
        scenes=scenes,
        view=RenderedView(definition, config.camera_for(backend, definition.task.name, description.image_size)),
        ask=lambda images, said, tool: client.query(images, said, tool_quat_in_base_wxyz=tool),
        instructions=[definition.task.instruction],
    )
