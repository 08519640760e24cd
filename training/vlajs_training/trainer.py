"""One training run: environments, guidance and learner joined, validated, logged and saved.

Under ``torchrun`` the processes train one policy together, each with its share of the environments; process 0
validates, logs and saves.
"""

import math
import time
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from vlajs.policy.bundle import save_bundle
from vlajs.policy.response import ControllerResponse
from vlajs_training.distributed import join_processes
from vlajs_training.evaluate import SIMULATOR, Evaluation, make_environment, run_episodes
from vlajs_training.export import environment_facts, to_bundle
from vlajs_training.guidance import METHODS, Guide, deactivation_reward
from vlajs_training.ppo import PPO, Rollout
from vlajs_training.randomisation import get_randomisation
from vlajs_training.run_folder import RunFolder, StorageError
from vlajs_training.runs import read_config
from vlajs_training.simulation.parallel import ParallelVectorEnv
from vlajs_training.simulation.vector import VectorEnv
from vlajs_training.tasks import TaskDefinition, get_definition
from vlajs_training.teachers.factory import make_teacher
from vlajs_training.train_config import TrainConfig

VALIDATION_SEED = 500_000


@dataclass(kw_only=True)
class Progress:
    """What a run has done so far; part of the checkpoint."""

    steps: int = 0
    seconds: float = 0.0
    success: float = 0.0
    best_success: float = -1.0
    best_steps_to_success: float = float("inf")
    best_at: int = 0
    next_validation: int = 0


def make_vector_env(
    config: TrainConfig, *, num_envs: int, device: torch.device, exploring: bool, end_at_success: bool = True
) -> VectorEnv:
    """Environments to explore in, or to validate in: worker processes on the CPU, one batch on the GPU."""
    factory = partial(
        make_environment,
        task=config.task,
        reward=config.reward,
        protocol=config.protocol,
        num_envs=num_envs // config.workers if device.type == "cpu" else num_envs,
        response=ControllerResponse.from_yaml(config.response),
        randomisation=get_randomisation(config.randomise),
        backend="batched_cpu" if device.type == "cpu" else "cuda",
        end_at_success=end_at_success,
        random_ages=exploring,
        reflexes_from_success=config.reflexes_from_success if exploring else 0.0,
    )
    if device.type == "cuda":
        return factory(0)
    return ParallelVectorEnv(factory, config.workers, preload=SIMULATOR)


def stream_seed(seed: int, rank: int, purpose: int) -> int:
    """A seed of its own for each process and purpose of a run, 0 to 2**31 - 1."""
    return int(np.random.SeedSequence([seed, rank, purpose]).generate_state(1)[0]) & 0x7FFFFFFF


class Trainer:
    """One run: environments, teacher, learner, log, checkpoints, validation."""

    def __init__(self, config: TrainConfig) -> None:
        """Start the environments.

        Raises:
            ValueError: something in the configuration is unknown or does not fit; nothing runs then.
        """
        config.check()
        self.config = config
        self.definition: TaskDefinition = get_definition(config.task, reward=config.reward, protocol=config.protocol)
        get_randomisation(config.randomise)
        self.folder = RunFolder(config.run_folder)
        self.progress = Progress(next_validation=config.validate_every if config.validate_from_success <= 0 else 0)
        self.processes, self.device = join_processes(config.device)
        num_envs = self._share_of_envs()
        torch.set_num_threads(1)  # in rollouts the workers need the cores
        torch.manual_seed(config.seed)
        np.random.seed(config.seed)  # noqa: NPY002 - ManiSkill draws from the global generator
        self.guide = self._make_guide(num_envs)
        self.env = make_vector_env(config, num_envs=num_envs, device=self.device, exploring=True)
        self.validation_env: VectorEnv | None = None
        if self.processes.rank == 0:
            self.validation_env = make_vector_env(
                config,
                num_envs=num_envs,
                device=self.device,
                exploring=False,
                end_at_success=not config.validate_held,
            )
        self.ppo = PPO(self.env, config.ppo, self.device, self.guide, self.processes)
        self._said_so = False

    def _share_of_envs(self) -> int:
        """Environments of this process."""
        config, count = self.config, self.processes.count
        parts = count * (config.workers if config.device == "cpu" else 1)
        if config.num_envs < 1 or config.num_envs % parts:
            raise ValueError(
                f"--num-envs {config.num_envs} cannot be shared evenly by {count} process(es) of "
                f"{parts // count} worker(s): use a multiple of {parts}"
            )
        return config.num_envs // count

    def _make_guide(self, num_envs: int) -> Guide | None:
        """Whoever guides the method, if anyone does."""
        config, definition, rank = self.config, self.definition, self.processes.rank
        method = METHODS[config.method]
        if method is None:
            return None
        teacher = make_teacher(
            config.teacher,
            definition,
            num_envs=num_envs,
            seed=stream_seed(config.seed, rank, 1),
            magnitude=config.teacher_magnitude,
            vla=config.vla,
            scenes=lambda: self.env,  # type: ignore[arg-type, return-value]  (both kinds have visible_state)
        )
        return Guide(
            teacher,
            method,
            config.guidance,
            action=definition.action,
            decision_rate_hz=definition.control_rate_hz / definition.action.ticks_per_action,
            deactivation_reward=deactivation_reward(config.task, config.reward),
            num_envs=num_envs,
            rollout_steps=config.ppo.rollout_steps,
            seed=stream_seed(config.seed, rank, 2),
            device=self.device,
            processes=self.processes,
        )

    # ------------------------------------------------------------------------------------------ begin and resume

    def prepare_folder(self) -> None:
        """Create the run folder, or take up the checkpoint in it.

        Raises:
            ValueError: the folder holds a run and ``--resume`` was not given, or the other way round, or the run's
                format or configuration differs, or another process trains in it; or what it should begin with cannot be
                used: then nothing is written.
            StorageError: it cannot be written.
        """
        state = None
        if self.config.begin_with is not None and not self.config.resume:
            self.ppo.begin_with(self._earlier(self.config.begin_with))
        if self.processes.rank == 0:
            if self.config.resume:
                state = self.folder.resume(self.config.settings())
            else:
                self.folder.begin(self.config.settings())
        self.processes.wait()
        if self.config.resume and self.processes.rank > 0:
            state = self.folder.checkpoint()
        if state is not None:
            self.ppo.load_state_dict(state["ppo"])
            self.progress = Progress(**state["progress"])
            torch.set_rng_state(state["rng"])
            self._said_so = self.guide is not None and self.guide.deactivated_at is not None
        if self.processes.rank > 0:  # exploration of its own; the network is the same
            torch.manual_seed(stream_seed(self.config.seed, self.processes.rank, 3 + self.progress.steps))
        # simulator states are not stored: a resumed run starts new episodes, with scenes it has not seen
        seed = self.config.seed + self.progress.steps
        self.ppo.start(seed if self.processes.rank == 0 else stream_seed(seed, self.processes.rank, 0))

    def _earlier(self, folder: Path) -> dict[str, Any]:
        """The learner's state at the end of an earlier run.

        Raises:
            ValueError: there is none, it is damaged, or of another task.
        """
        earlier = read_config(folder)
        for name, now in (("task", self.config.task), ("protocol", self.config.protocol)):
            if earlier[name] != now:
                raise ValueError(f"--begin-with {folder}: its {name} is {earlier[name]}, this run's {now}")
        state = RunFolder(folder, "--begin-with").checkpoint()
        if state is None:
            raise ValueError(f"--begin-with {folder}: the run has made no checkpoint yet")
        return state["ppo"]

    def save(self) -> None:
        """Replace the checkpoint.

        Raises:
            StorageError: it cannot be written; the one before stays.
        """
        state = {"ppo": self.ppo.state_dict(), "progress": asdict(self.progress), "rng": torch.get_rng_state()}
        self.folder.save(state)

    # ------------------------------------------------------------------------------------------ validation

    def validate(self) -> Evaluation:
        """Mean actions on validation scenes; keeps the bundle when it is the best so far.

        The better of two equal success counts is the faster policy.
        """
        bundle = to_bundle(self.definition, self.ppo.network, self.ppo.normaliser, self._provenance())

        def act(batch: np.ndarray) -> np.ndarray:
            with torch.no_grad():
                normalised = self.ppo.normaliser(torch.from_numpy(batch)).to(self.ppo.device)
                return self.ppo.network.actor(normalised).cpu().numpy()

        assert self.validation_env is not None
        result = run_episodes(self.validation_env, act, self.config.validation_episodes, VALIDATION_SEED)
        success = result.once / result.episodes
        progress = self.progress
        if (success, -result.mean_steps) > (progress.best_success, -progress.best_steps_to_success):
            progress.best_success, progress.best_steps_to_success = success, result.mean_steps
            progress.best_at = progress.steps
            bundle.contract.provenance["validation_success"] = {
                "successes": result.once,
                "episodes": result.episodes,
                "randomise": self.config.randomise,
            }
            try:
                save_bundle(bundle, self.config.bundle_path)
            except OSError as error:
                raise StorageError(self.config.bundle_path, error) from error
        return result

    def _provenance(self) -> dict[str, object]:
        config = self.config
        return {
            "method": config.method,
            "reward": config.reward,
            "protocol": config.protocol,
            "seed": config.seed,
            "steps": self.progress.steps,
            "training_seconds": round(self.progress.seconds),
            "num_envs": config.num_envs,
            "randomise": config.randomise,
            "randomisation": asdict(get_randomisation(config.randomise).applied_on(self.device.type)),
            "begun_with_sha256": config.begun_with_sha256,
            "response": asdict(ControllerResponse.from_yaml(config.response)),
            "ppo": asdict(config.ppo),
            "guidance": None if self.guide is None else {**asdict(config.guidance), **self.guide.provenance()},
            **environment_facts(),
        }

    # ------------------------------------------------------------------------------------------ training

    def run(self) -> None:
        """Train to the budget.

        Raises:
            TrainingError: observations, rewards or losses are not finite.
            StorageError: log, checkpoint or bundle cannot be written.
        """
        config, progress = self.config, self.progress
        if self.processes.rank > 0:
            while progress.steps < config.budget:
                self._iterate()
            return
        last_save = time.monotonic()
        writer = SummaryWriter(str(self.folder.tensorboard), purge_step=progress.steps)
        bar = tqdm(total=config.budget, initial=progress.steps, desc=config.run_name, unit="step", unit_scale=True)
        while progress.steps < config.budget:
            before = progress.steps
            figures = self._iterate()
            validated = self._validate_if_due(figures, bar)
            self._announce(bar)
            self._log(writer, figures)
            self._show(bar, progress.steps - before)
            if validated or time.monotonic() - last_save >= config.checkpoint_every_s:
                self.save()
                last_save = time.monotonic()
        bar.close()
        writer.close()
        self.save()

    def _iterate(self) -> dict[str, float]:
        """One rollout and one update; figures for the log."""
        config, progress = self.config, self.progress
        started = time.perf_counter()
        for group in self.ppo.optimiser.param_groups:
            group["lr"] = config.ppo.learning_rate * (1 - 0.9 * progress.steps / config.budget)
        rollout = self.ppo.collect()
        collected = time.perf_counter()
        if config.device == "cpu":  # the workers wait: their cores help
            torch.set_num_threads(config.workers)
        figures = self.ppo.update(rollout)
        torch.set_num_threads(1)
        finished = time.perf_counter()
        batch = self.ppo.steps - progress.steps
        progress.steps = self.ppo.steps
        progress.seconds += finished - started
        figures |= self._episode_figures(rollout)
        figures["speed/steps_per_s"] = batch / (finished - started)
        figures["speed/rollout_share"] = (collected - started) / (finished - started)
        return figures

    def _episode_figures(self, rollout: Rollout) -> dict[str, float]:
        """Success and return of the episodes that ended, of all processes; success as a running mean."""
        episodes = self.processes.sum(rollout.episodes)
        successes = self.processes.sum(rollout.successes)
        rewards = self.processes.sum(rollout.episode_rewards)
        if not episodes:
            return {"rollout/success": self.progress.success}
        self.progress.success += 0.2 * (successes / episodes - self.progress.success)
        return {"rollout/success": self.progress.success, "rollout/return": rewards / episodes}

    def _validate_if_due(self, figures: dict[str, float], bar: tqdm) -> bool:
        """Validate where the schedule says so, and add its figures; whether it did."""
        config, progress = self.config, self.progress
        due = progress.steps >= progress.next_validation and progress.success >= config.validate_from_success
        if not due and progress.steps < config.budget:
            return False
        progress.next_validation = (progress.steps // config.validate_every + 1) * config.validate_every
        started = time.perf_counter()
        result = self.validate()
        figures["validation/seconds"] = time.perf_counter() - started
        figures["validation/success"] = result.once / result.episodes
        if config.validate_held:
            figures["validation/held"] = result.held / result.episodes
        figures["validation/steps_to_success"] = result.mean_steps
        bar.write(
            f"{progress.steps:>9,} steps  {progress.seconds:5.0f} s  validation "
            f"{result.once}/{result.episodes}  best {progress.best_success:.3f} at {progress.best_at:,}"
        )
        return True

    def _announce(self, bar: tqdm) -> None:
        """Say once that guidance has ended, and why."""
        guide = self.guide
        if guide is None or guide.active or self._said_so:
            return
        if guide.deactivated_at is not None:
            message = f"guidance off for good: mean reward rises and exceeds {guide.deactivation_reward:g}"
        else:
            message = (
                f"teacher {guide.teacher.description.name!r} given up after {guide.teacher.max_failures} failures in a "
                f"row (last: {guide.teacher.last_failure or 'in another process'}): training goes on as PPO"
            )
        self._said_so = True
        bar.write(f"{self.progress.steps:>9,} steps  {message}; {guide.calls:,} calls made")

    def _show(self, bar: tqdm, steps: int) -> None:
        progress = self.progress
        shown = {"success": f"{progress.success:.2f}", "best": f"{max(progress.best_success, 0):.2f}"}
        if self.guide is not None:
            shown["guidance"] = self.guide.summary()
        bar.set_postfix(shown, refresh=False)
        bar.update(steps)

    def _log(self, writer: SummaryWriter, figures: dict[str, float]) -> None:
        """To TensorBoard and progress.jsonl; what could not be measured (NaN) is left out."""
        steps = self.progress.steps
        figures = {name: value for name, value in figures.items() if math.isfinite(value)}
        try:
            for name, value in figures.items():
                writer.add_scalar(name, value, steps)
        except OSError as error:
            raise StorageError(self.folder.tensorboard, error) from error
        self.folder.append({"steps": steps, "seconds": round(self.progress.seconds, 1), **figures})

    def close(self) -> None:
        """End the worker processes, and leave the run's folder."""
        self.folder.close()
        if self.guide is not None:
            self.guide.close()
        self.env.close()
        if self.validation_env is not None:
            self.validation_env.close()
