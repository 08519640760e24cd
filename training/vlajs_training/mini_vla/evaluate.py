"""``vlajs teacher evaluate --weights FILE``: a mini-VLA acts alone, on what it sees and is told.

Three numbers for each task, on the same scenes: told what to do in words it was never trained with; told another task
(one that ignores language does as well); shown a blank picture (one that is blind does as well).
"""

import csv
import io
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import torch
import tyro
from numpy.typing import NDArray
from tqdm import tqdm

from vlajs.files import write_atomically
from vlajs_training.evaluate import wilson95
from vlajs_training.mini_vla.model import MiniVla, load_model
from vlajs_training.ranges import require_range
from vlajs_training.rendered_view import RenderedView
from vlajs_training.simulation.vector import VectorEnv
from vlajs_training.tasks import TaskDefinition, get_definition
from vlajs_training.teachers.alone import run_alone
from vlajs_training.teachers.commands import Simulation
from vlajs_training.teachers.seeing import BlankView, Scenes, SeeingTeacher, View
from vlajs_training.teachers.teacher import BASE_DELTA, Teacher, TeacherDescription

COLUMNS = (
    "task",
    "success",
    "episodes",
    "wrong_instruction",
    "blank_image",
    "wilson_low",
    "wilson_high",
    "check_episodes",
)


@dataclass(frozen=True, kw_only=True)
class EvaluateMiniVlaConfig:
    """Let a mini-VLA act alone; print its success with a 95 % Wilson interval, and what is left of it when it is told
    another task or shown nothing."""

    tasks: tyro.conf.Positional[tuple[str, ...]] = ()
    """Which tasks; by default all it was trained on."""
    weights: Path
    """File of `vlajs teacher train`."""
    output: Path | None = None
    """CSV to write: task, success, episodes, wrong_instruction, blank_image, all shares between 0 and 1."""
    episodes: int = 100
    """Episodes of each task."""
    check_episodes: int = 50
    """Of those, how many are repeated with the wrong instruction, and with a blank picture."""
    phrasings: Literal["held-out", "training"] = "held-out"
    """In which words it is told: such as it never heard, or its training's."""
    seed: int = 870_000
    """Of scenes and phrasings."""
    device: Literal["cpu", "cuda"] = "cpu"
    """Where the network runs."""
    simulation: Annotated[Simulation, tyro.conf.OmitArgPrefixes] = field(default_factory=Simulation)


@dataclass(frozen=True, kw_only=True)
class Score:
    """What a mini-VLA does in one task, alone.

    Attributes:
        task: which.
        episodes: how many.
        successes: of those, at any step before the horizon.
        check_episodes: how many with the wrong instruction, and as many with a blank picture.
        wrong_instruction: successes with the wrong instruction.
        blank_image: successes with a blank picture.
    """

    task: str
    episodes: int
    successes: int
    check_episodes: int
    wrong_instruction: int
    blank_image: int

    def row(self) -> dict[str, str]:
        """A line of the CSV: shares."""
        low, high = wilson95(self.successes, self.episodes)
        return {
            "task": self.task,
            "success": f"{self.successes / self.episodes:.4f}",
            "episodes": str(self.episodes),
            "wrong_instruction": f"{self.wrong_instruction / self.check_episodes:.4f}",
            "blank_image": f"{self.blank_image / self.check_episodes:.4f}",
            "wilson_low": f"{low:.4f}",
            "wilson_high": f"{high:.4f}",
            "check_episodes": str(self.check_episodes),
        }


def evaluate(words: list[str]) -> int:
    """Carry out ``vlajs teacher evaluate --weights FILE``."""
    config = tyro.cli(
        EvaluateMiniVlaConfig, args=words, prog="vlajs teacher evaluate", description=EvaluateMiniVlaConfig.__doc__
    )
    require_range(
        "", vars(config), {"episodes": (1, 1e6), "check_episodes": (1, config.episodes), "seed": (0, 2**31 - 1e6)}
    )
    model = load_model(config.weights, config.device)
    tasks = config.tasks or model.contract.tasks
    for task in tasks:
        get_definition(task)
        if task not in model.contract.phrasings:
            raise ValueError(
                f"{config.weights} holds no phrasings of {task}: it holds {', '.join(model.contract.phrasings)}"
            )
    torch.set_num_threads(1)
    scores: list[Score] = []
    for task in tasks:
        scores.append(_score(model, task, config))
        print(_report(scores[-1], task in model.contract.tasks), flush=True)
        if config.output is not None:
            write_atomically(config.output, csv_text(scores).encode())
    return 0


def _score(model: MiniVla, task: str, config: EvaluateMiniVlaConfig) -> Score:
    definition = get_definition(task)
    view = RenderedView(definition, model.contract.camera)
    env = config.simulation.environments(task)
    try:
        return score(model, definition, env, env, view, config)  # type: ignore[arg-type]  (it has visible_state)
    finally:
        env.close()
        view.close()


def score(
    model: MiniVla,
    definition: TaskDefinition,
    env: VectorEnv,
    scenes: Scenes,
    view: View,
    config: EvaluateMiniVlaConfig,
) -> Score:
    """Run the episodes of one task.

    Args:
        model: who acts.
        definition: the task.
        env: environments.
        scenes: the same, as what is to be seen.
        view: makes pictures of them.
        config: how many, and in which words.
    """
    task, group = definition.task.name, config.phrasings.replace("-", "_")
    own = model.contract.phrasings[task][group]
    wrong = other_instructions(model.contract.phrasings, task, group)
    camera = model.contract.camera

    def successes(name: str, instructions: Sequence[str], seen: View, episodes: int) -> int:
        teacher_of = teacher_factory(model, definition, env.num_envs, scenes, seen, instructions)
        with tqdm(total=episodes, desc=f"{task} {name}", unit="ep", file=sys.stderr) as bar:
            solved = run_alone(env, teacher_of, definition, episodes=episodes, seed=config.seed, progress=bar.update)
        return int(solved.success.sum())

    return Score(
        task=task,
        episodes=config.episodes,
        successes=successes("alone", own, view, config.episodes),
        check_episodes=config.check_episodes,
        wrong_instruction=successes("wrong instruction", wrong, view, config.check_episodes),
        blank_image=successes(
            "blank picture", own, BlankView(camera.height_px, camera.width_px), config.check_episodes
        ),
    )


def other_instructions(phrasings: dict[str, dict[str, list[str]]], task: str, group: str) -> list[str]:
    """What the other tasks are told in."""
    return [phrase for other, known in phrasings.items() if other != task for phrase in known[group]]


def teacher_factory(
    model: MiniVla,
    definition: TaskDefinition,
    num_envs: int,
    scenes: Scenes,
    view: View,
    instructions: Sequence[str],
) -> Callable[[int], Teacher]:
    """Makes the model a teacher whose choice of words follows from the seed."""

    def ask(images: NDArray[np.uint8], said: Sequence[str], _: NDArray[np.float64]) -> NDArray[np.float64]:
        return model.answer(images, said)

    def teacher_of(seed: int) -> Teacher:
        return SeeingTeacher(
            describe(model),
            definition,
            num_envs=num_envs,
            scenes=lambda: scenes,
            view=view,
            ask=ask,
            instructions=instructions,
            seed=seed,
        )

    return teacher_of


def describe(model: MiniVla) -> TeacherDescription:
    """What training and results say of a mini-VLA; it speaks in the student's own scale."""
    return TeacherDescription(
        name=model.name, rate_hz=model.contract.convention.rate_hz, magnitude=1.0, success=None, convention=BASE_DELTA
    )


def csv_text(scores: Sequence[Score]) -> str:
    """The CSV of some scores."""
    text = io.StringIO()
    writer: csv.DictWriter[str] = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(score.row() for score in scores)
    return text.getvalue()


def _report(score: Score, trained: bool) -> str:
    low, high = wilson95(score.successes, score.episodes)
    return (
        f"{score.wrong_instruction}/{score.check_episodes} with the wrong instruction, "
        f"{score.blank_image}/{score.check_episodes} with a blank picture"
        f"{'' if trained else '; not trained on this task'}\n"
        f"RESULT teacher=mini-vla task={score.task} episodes={score.episodes} success={score.successes} "
        f"wilson95=[{low:.3f},{high:.3f}]"
    )
