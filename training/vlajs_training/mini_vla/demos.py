"""``vlajs teacher demos``: the undegraded scripts act alone, and a camera looks on.

A script acts in the batched simulation; what it saw is rendered afterwards, of the episodes that succeeded alone. Now
and then the tool is pushed off its way: the script's answer to where it then is, is what a clone needs to find back
(Laskey et al. 2017, arXiv:1703.09327). What is stored is always what the script said, never the disturbance.
"""

import sys
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import tyro
from numpy.typing import NDArray
from tqdm import tqdm

from vlajs.files import write_atomically
from vlajs.policy.response import ControllerResponse
from vlajs_training.environment import TaskEnvironment
from vlajs_training.export import environment_facts
from vlajs_training.mini_vla.demo_folder import (
    FORMAT,
    JPEG_QUALITY,
    SHEET_FILE,
    Batch,
    DemoFolder,
    contact_sheet,
    encode_picture,
    read_batch,
)
from vlajs_training.mini_vla.phrasings import PHRASINGS
from vlajs_training.randomisation import get_randomisation
from vlajs_training.ranges import require_range
from vlajs_training.rendered_view import NO_RENDERER, PLAIN, CameraView, RenderedView, RenderError, draw_look
from vlajs_training.responses import TWIN_RESPONSE
from vlajs_training.simulation.headless import renderer_available
from vlajs_training.tasks import TaskDefinition, get_definition
from vlajs_training.teachers.alone import action_of, decisions_per_answer
from vlajs_training.teachers.factory import make_teacher
from vlajs_training.teachers.scripted import RATE_HZ

ALL = "all"
DISTURBED_ANSWERS = (1, 3)
"""A disturbance lasts so many answers, 0.2 to 0.6 s."""
DISTURBANCE_SHARE = (0.3, 1.0)
"""Of the longest move, in a direction of its own."""
MOST_FAILING = 5
"""So many batches without one success are not bad luck."""


@dataclass(frozen=True, kw_only=True)
class DemosConfig:
    """Render demonstrations of the undegraded scripted teachers: vlajs teacher demos push_cube pick_cube demos/"""

    words: Annotated[tyro.conf.Positional[tuple[str, ...]], tyro.conf.arg(metavar="TASK... FOLDER")]
    """Which tasks (all means every one there is), and the folder; if that holds such demonstrations already, those that
    lack are added."""
    episodes: int = 200
    """Successful episodes of each task; whole batches are kept, so there may be a few more."""
    envs: int = 16
    """Environments simulated together; a batch is one episode in each."""
    seed: int = 1
    """Of scenes, looks and disturbances."""
    randomise_look: bool = True
    """Vary light and camera a little from episode to episode."""
    repaint: bool = True
    """Vary with the look, in most episodes, the colours of table, floor, cube and goal: where it knows none of them, a
    model stays where it is."""
    disturb: float = 0.06
    """Share of answers at which the tool begins to be pushed off its way."""
    response: Path = TWIN_RESPONSE
    """Identified response of bridge and arm."""
    camera: CameraView = field(default_factory=CameraView)
    """Where from, and how large the pictures are."""

    @property
    def output(self) -> Path:
        """The folder: the last word."""
        return Path(self.words[-1])

    def check(self) -> tuple[str, ...]:
        """The tasks, once everything is known to be possible.

        Raises:
            ValueError: naming the parameter, its value and the limit.
            RenderError: nothing renders here.
        """
        if len(self.words) < 2 or self.words[-1] in PHRASINGS:
            raise ValueError(f"tasks and a folder are needed, got {self.words}: vlajs teacher demos TASK... FOLDER")
        tasks = tuple(PHRASINGS) if ALL in self.words[:-1] else tuple(dict.fromkeys(self.words[:-1]))
        limits = {"episodes": (1, 1_000_000), "envs": (1, 1024), "seed": (0, 2**31 - 1), "disturb": (0.0, 0.5)}
        require_range("", vars(self), limits)
        self.camera.check()
        for task in tasks:
            definition = get_definition(task)
            if task not in PHRASINGS:
                raise ValueError(f"nobody has written how to ask for {task!r}: known are {', '.join(PHRASINGS)}")
            make_teacher("scripted", definition, num_envs=1, seed=0, level=0.0)
        if not renderer_available():
            raise RenderError(NO_RENDERER)
        return tasks

    def facts(self) -> dict[str, Any]:
        """What ``demos.json`` states."""
        ticks = get_definition("push_cube").control_rate_hz / RATE_HZ
        action = get_definition("push_cube").action
        return {
            "format": FORMAT,
            "camera": self.camera.to_dict(),
            "rate_hz": RATE_HZ,
            "reach_m": action.position_scale_m * ticks,
            "reach_rad": action.rotation_scale_rad * ticks,
            "seed": self.seed,
            "envs": self.envs,
            "randomise_look": self.randomise_look,
            "repaint": self.repaint,
            "disturb": self.disturb,
            "jpeg_quality": JPEG_QUALITY,
            "made_with": environment_facts(),
        }


def demos(words: list[str]) -> int:
    """Carry out ``vlajs teacher demos``."""
    config = tyro.cli(DemosConfig, args=words, prog="vlajs teacher demos", description=DemosConfig.__doc__)
    tasks = config.check()
    folder = DemoFolder(config.output)
    folder.begin(config.facts())
    torch.set_num_threads(1)
    for task in tasks:
        made, pictures = record_task(folder, task, config)
        print(f"RESULT task={task} episodes={made} pictures={pictures} look_at={folder.path / task / SHEET_FILE}")
    return 0


def record_task(folder: DemoFolder, task: str, config: DemosConfig) -> tuple[int, int]:
    """Add batches until there are ``config.episodes`` episodes; returns episodes and pictures there are."""
    definition = get_definition(task)
    have = [read_batch(file) for file in folder.batches(task)]
    episodes, pictures = sum(batch.episodes for batch in have), sum(len(batch.pictures) for batch in have)
    bar = tqdm(
        total=config.episodes, initial=min(episodes, config.episodes), desc=f"demos {task}", unit="ep", file=sys.stderr
    )
    if episodes < config.episodes:
        for number, batch in _new_batches(folder, definition, config):
            folder.write(task, number, batch)
            episodes, pictures = episodes + batch.episodes, pictures + len(batch.pictures)
            bar.update(min(batch.episodes, config.episodes - bar.n))
            if episodes >= config.episodes:
                break
    bar.close()
    first = read_batch(folder.file(task, 0))
    title = f'{task}: "{PHRASINGS[task].training[0]}"'
    write_atomically(folder.path / task / SHEET_FILE, contact_sheet(first, config.camera, title))
    return episodes, pictures


def _new_batches(folder: DemoFolder, definition: TaskDefinition, config: DemosConfig) -> Iterator[tuple[int, Batch]]:
    """Number and content of the batches that are not there yet, without end."""
    task = definition.task.name
    env = TaskEnvironment(
        task,
        num_envs=config.envs,
        response=ControllerResponse.from_yaml(config.response),
        randomisation=get_randomisation("none"),
    )
    view = RenderedView(definition, config.camera)
    number, empty = 0, 0
    try:
        while empty < MOST_FAILING:
            if not folder.file(task, number).exists():
                batch = record_batch(env, view, definition, number, config)
                empty = 0 if batch.episodes else empty + 1
                yield number, batch
            number += 1
    finally:
        view.close()
        env.close()
    raise RuntimeError(
        f"the script of {task} failed in {MOST_FAILING * config.envs} episodes in a row: lower --disturb"
    )


@dataclass(frozen=True, kw_only=True)
class _Moment:
    """What some environments looked like when the script answered: (M,), (M, V) and (M, 7)."""

    env_idx: NDArray[np.int64]
    states: NDArray[np.float32]
    answers: NDArray[np.float64]


def record_batch(
    env: TaskEnvironment, view: RenderedView, definition: TaskDefinition, number: int, config: DemosConfig
) -> Batch:
    """One episode in each environment; the successful ones. It follows from task, seed and number alone."""
    rng = np.random.default_rng([config.seed, zlib.crc32(definition.task.name.encode()), number])
    moments, succeeded = _act(env, definition, rng, config.disturb)
    looks = [draw_look(rng, repaint=config.repaint) if config.randomise_look else PLAIN for _ in range(env.num_envs)]
    pictures: list[bytes] = []
    actions: list[NDArray[np.float64]] = []
    episode: list[int] = []
    for index in np.flatnonzero(succeeded).tolist():
        for moment in moments:
            for row in np.flatnonzero(moment.env_idx == index).tolist():
                pictures.append(encode_picture(view.image(moment.states[row], looks[index])))
                actions.append(moment.answers[row])
                episode.append(index)
    return Batch(
        pictures=tuple(pictures),
        actions=np.array(actions, dtype=np.float32).reshape(-1, 7),
        episode=np.array(episode, dtype=np.int32),
    )


def _act(
    env: TaskEnvironment, definition: TaskDefinition, rng: np.random.Generator, disturb: float
) -> tuple[list[_Moment], NDArray[np.bool_]]:
    """Moments of one episode in each environment, and which of them succeeded (N,)."""
    teacher = make_teacher("scripted", definition, num_envs=env.num_envs, seed=0, level=0.0, magnitude=1.0)
    each = decisions_per_answer(definition, teacher.description.rate_hz)
    everyone = np.arange(env.num_envs)
    action = np.zeros((env.num_envs, env.action_size), dtype=np.float32)
    disturbance = Disturbance(env.num_envs, rng, disturb)
    running, succeeded = np.ones(env.num_envs, dtype=bool), np.zeros(env.num_envs, dtype=bool)
    moments: list[_Moment] = []
    observation = env.reset(int(rng.integers(2**31)))
    teacher.begin(everyone)
    decision = 0
    while running.any():
        teacher.observe(observation)
        if decision % each == 0:
            asked = np.flatnonzero(running)
            answers = teacher.query(asked)
            moments.append(_Moment(env_idx=asked, states=env.visible_state(asked), answers=answers))
            action[asked] = action_of(answers, teacher.description, each, definition.action)
            action = disturbance.applied_to(action)
        result = env.step(action)
        observation = result.observation
        decision += 1
        succeeded |= running & result.success
        running &= ~(result.terminated | result.truncated)
    return moments, succeeded


class Disturbance:
    """Pushes the tools of N environments off their way, now and then, each on its own."""

    def __init__(self, num_envs: int, rng: np.random.Generator, share: float) -> None:
        """``share`` of answers at which one begins."""
        self._rng, self._share = rng, share
        self._left = np.zeros(num_envs, dtype=np.int64)
        self._push = np.zeros((num_envs, 6), dtype=np.float32)

    def applied_to(self, action: NDArray[np.float32]) -> NDArray[np.float32]:
        """The actions (N, 7) of an answer, those of disturbed environments replaced; the hand does as it was told."""
        count, rng = len(self._left), self._rng
        begins = (self._left == 0) & (rng.random(count) < self._share)
        push = rng.normal(size=(count, 2, 3))
        push *= rng.uniform(*DISTURBANCE_SHARE, size=(count, 2, 1)) / np.linalg.norm(push, axis=2, keepdims=True)
        push[:, 1] *= 0.5  # turned less than moved
        lasts = rng.integers(DISTURBED_ANSWERS[0], DISTURBED_ANSWERS[1] + 1, size=count)
        self._push[begins] = push.reshape(count, 6)[begins]
        self._left[begins] = lasts[begins]
        disturbed = self._left > 0
        self._left -= disturbed
        changed = action.copy()
        changed[disturbed, :6] = self._push[disturbed]
        return changed
