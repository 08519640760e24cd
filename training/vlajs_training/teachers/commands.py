"""``vlajs teacher calibrate`` and ``vlajs teacher evaluate``: a scripted teacher acts alone in simulation."""

import math
import sys
from dataclasses import dataclass, field
from datetime import date
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import tyro
from tqdm import tqdm

from vlajs.files import write_atomically
from vlajs.policy.response import ControllerResponse
from vlajs_training.evaluate import SIMULATOR, make_environment, wilson95
from vlajs_training.randomisation import get_randomisation
from vlajs_training.responses import TWIN_RESPONSE
from vlajs_training.simulation.parallel import ParallelVectorEnv
from vlajs_training.simulation.vector import VectorEnv
from vlajs_training.tasks import TaskDefinition, get_definition
from vlajs_training.teachers.alone import Solved, run_alone
from vlajs_training.teachers.calibration import (
    LEVELS_FILE,
    Calibration,
    CalibrationError,
    levels_text,
    read_levels,
    search_level,
)
from vlajs_training.teachers.factory import make_teacher
from vlajs_training.teachers.scripted import RATE_HZ
from vlajs_training.teachers.teacher import Teacher

TOLERANCE = 0.05
"""A calibrated teacher's measured success may differ from the target by this much."""


@dataclass(frozen=True, kw_only=True)
class Simulation:
    """Where teachers act: the batched CPU simulation, nothing randomised, the arm responding as identified."""

    workers: int = 1
    """Processes."""
    envs_per_worker: int = 32
    """Environments in each process. Scenes depend on both numbers and the seed."""
    response: Path = TWIN_RESPONSE
    """Identified response of bridge and arm."""

    def environments(self, task: str, protocol: str = "standard") -> VectorEnv:
        """Start the processes."""
        factory = partial(
            make_environment,
            task=task,
            protocol=protocol,
            num_envs=self.envs_per_worker,
            response=ControllerResponse.from_yaml(self.response),
            randomisation=get_randomisation("none"),
            backend="batched_cpu",
            end_at_success=True,
        )
        return ParallelVectorEnv(factory, self.workers, preload=SIMULATOR)


@dataclass(frozen=True, kw_only=True)
class EvaluateTeacherConfig:
    """Let the scripted teacher act alone and print its success with a 95 % Wilson interval.

    With --weights FILE it is a mini-VLA that acts: vlajs teacher evaluate --weights FILE --help."""

    task: tyro.conf.Positional[str]
    """Which task."""
    level: float | None = None
    """Degradation, from 0 (none) to 1; the calibrated one by default."""
    undegraded: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """The script as it is, an upper bound: level 0."""
    protocol: Literal["standard", "long"] = "standard"
    """long: ten times the horizon, steps a tenth as large; levels are calibrated under standard."""
    episodes: int = 200
    """How many episodes."""
    seed: int = 850_000
    """Seed of scenes and errors."""
    simulation: Annotated[Simulation, tyro.conf.OmitArgPrefixes] = field(default_factory=Simulation)


@dataclass(frozen=True, kw_only=True)
class CalibrateConfig:
    """Find the degradation at which the scripted teacher solves a given share of a task alone, and store it."""

    task: tyro.conf.Positional[str]
    """Which task."""
    target: float = 0.4
    """Share of episodes the teacher should solve."""
    episodes: int = 200
    """Fresh episodes the found level is measured on."""
    search_episodes: int = 192
    """Episodes at each level of the search, the same scenes and errors at all of them; fewer where the share is three
    standard errors from the target sooner."""
    seed: int = 800_000
    """Seed of the fresh episodes; the search draws its own from it."""
    levels: Path = LEVELS_FILE
    """File the level is stored in."""
    simulation: Annotated[Simulation, tyro.conf.OmitArgPrefixes] = field(default_factory=Simulation)


def evaluate(words: list[str]) -> int:
    """Carry out ``vlajs teacher evaluate``: of a scripted teacher, with ``--weights`` of a mini-VLA."""
    if any(word.partition("=")[0] == "--weights" for word in words):
        from vlajs_training.mini_vla.evaluate import evaluate as evaluate_mini_vla

        return evaluate_mini_vla(words)
    config = tyro.cli(EvaluateTeacherConfig, args=words, prog="vlajs teacher evaluate")
    if config.undegraded and config.level is not None:
        raise ValueError(f"--undegraded is level 0, --level {config.level:g} is another: give one of them")
    _require_episodes(config.episodes)
    definition = get_definition(config.task, protocol=config.protocol)
    level = 0.0 if config.undegraded else config.level
    make_teacher("scripted", definition, num_envs=1, seed=0, level=level)  # refuse before anything starts
    if level is None:
        level = read_levels()[config.task].level
    env = config.simulation.environments(config.task, config.protocol)
    try:
        solved = _measure(env, definition, level, config.episodes, config.seed)
    finally:
        env.close()
    _report(config.task, level, solved, f"protocol {config.protocol}, seed {config.seed}")
    return 0


def calibrate(words: list[str]) -> int:
    """Carry out ``vlajs teacher calibrate``."""
    config = tyro.cli(CalibrateConfig, args=words, prog="vlajs teacher calibrate")
    if not 0.0 < config.target < 1.0:
        raise ValueError(f"--target {config.target:g} is outside (0, 1): it is a share of episodes, such as 0.4")
    _require_episodes(config.episodes)
    _require_episodes(config.search_episodes)
    definition = get_definition(config.task)
    make_teacher("scripted", definition, num_envs=1, seed=0, level=0.0)  # refuse before anything starts
    known = read_levels(config.levels) if config.levels.exists() else {}
    env = config.simulation.environments(config.task)
    try:
        level, solved = _search_and_measure(env, definition, config)
    finally:
        env.close()
    rate = float(solved.success.mean())
    low, high = wilson95(int(solved.success.sum()), len(solved.success))
    _report(config.task, level, solved, f"target {config.target:.1%}, fresh episodes, seed {config.seed}")
    if abs(rate - config.target) > TOLERANCE:
        raise CalibrationError(
            f"level {level:.4f} solves {rate:.1%} of the fresh episodes, further than {TOLERANCE:.0%} from the target "
            f"of {config.target:.1%}: nothing was stored; search with more than {config.search_episodes} episodes"
        )
    known[config.task] = Calibration(
        level=level,
        target=config.target,
        success=rate,
        wilson95=(round(low, 4), round(high, 4)),
        episodes=len(solved.success),
        rate_hz=RATE_HZ,
        seed=config.seed,
        measured_on=date.today().isoformat(),
    )
    write_atomically(config.levels, levels_text(known).encode())
    return 0


def _search_and_measure(env: VectorEnv, definition: TaskDefinition, config: CalibrateConfig) -> tuple[float, Solved]:
    """The level the search ends at, and fresh episodes at that level."""
    fresh_batches = math.ceil(config.episodes / env.num_envs)

    def rate_at(level: float) -> float:
        solved = episodes = 0
        batch = config.seed + fresh_batches  # the fresh episodes take the seeds before
        while episodes < config.search_episodes and not _is_far(solved, episodes, config.target):
            outcome = _measure(env, definition, level, env.num_envs, batch)
            solved, episodes, batch = solved + int(outcome.success.sum()), episodes + env.num_envs, batch + 1
        print(f"level {level:.4f}: {solved}/{episodes} = {solved / episodes:.1%}", flush=True)
        return solved / episodes

    level = search_level(rate_at, target=config.target)
    return level, _measure(env, definition, level, config.episodes, config.seed)


def _is_far(solved: int, episodes: int, target: float) -> bool:
    """Whether a share is three standard errors from the target: more episodes would not bring it there."""
    return abs(solved - target * episodes) > 3 * math.sqrt(episodes * target * (1 - target))


def _measure(env: VectorEnv, definition: TaskDefinition, level: float, episodes: int, seed: int) -> Solved:
    def teacher_of(batch_seed: int) -> Teacher:
        return make_teacher("scripted", definition, num_envs=env.num_envs, seed=batch_seed, level=level)

    with tqdm(total=episodes, desc=f"{definition.task.name} level {level:.4f}", unit="ep", file=sys.stderr) as bar:
        return run_alone(env, teacher_of, definition, episodes=episodes, seed=seed, progress=bar.update)


def _report(task: str, level: float, solved: Solved, circumstances: str) -> None:
    successes, episodes = int(solved.success.sum()), len(solved.success)
    low, high = wilson95(successes, episodes)
    print(f"{successes}/{episodes} = {successes / episodes:.1%} solved alone; {circumstances}")
    print(
        f"RESULT teacher=scripted task={task} level={level:.4f} episodes={episodes} success={successes} "
        f"wilson95=[{low:.3f},{high:.3f}]",
        flush=True,
    )


def _require_episodes(episodes: int) -> None:
    if episodes < 1:
        raise ValueError(f"{episodes} episodes: at least 1 is needed to measure anything")
