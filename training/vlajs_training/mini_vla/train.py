"""``vlajs teacher train``: clone the scripts' demonstrations into a mini-VLA.

Supervised, one file, top to bottom: draw pictures, say one of their task's phrasings (now and then another task's: then
the right answer is to stay), compare the answer with the script's, step; after every epoch validate, save, write the
weights. The folder is a run folder (``run_folder.py``); ``--resume`` goes on after any kind of end and sees the same
batches as if nothing had happened.
"""

import math
import os
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from vlajs_training.export import environment_facts
from vlajs_training.mini_vla.dataset import BatchSource, Demonstrations, TrainingBatch, load_demonstrations, shaken
from vlajs_training.mini_vla.demo_folder import DemoFolder
from vlajs_training.mini_vla.network import MiniVlaNetwork, NetworkConfig, parameter_count
from vlajs_training.mini_vla.phrasings import PHRASINGS, all_phrasings
from vlajs_training.mini_vla.sentence import WEIGHTS_SHA256, load_encoder
from vlajs_training.mini_vla.weights import ModelContract, convention_of, save_weights
from vlajs_training.ppo import TrainingError
from vlajs_training.ranges import require_range
from vlajs_training.run_folder import RunFolder

WEIGHTS_FILE = "mini_vla.safetensors"
HUBER = 0.05
"""Errors beyond this share of the reach count linearly: a script changes its mind from one picture to the next."""
GRIPPER_WEIGHT = 0.5
WARM_UP = 0.02
"""Share of the training over which the learning rate rises."""
MAX_GRADIENT = 1.0


@dataclass(frozen=True, kw_only=True)
class TrainMiniVlaConfig:
    """Clone demonstrations into a mini-VLA, and write it as one file."""

    demos: tyro.conf.Positional[Path]
    """Folder of `vlajs teacher demos`."""
    tasks: tuple[str, ...] = ()
    """Which tasks; by default all that the folder holds."""
    folder: Path = Path("runs/mini_vla")
    """Where log, checkpoint and weights go."""
    epochs: int = 40
    """How many; after each the run may be killed and resumed."""
    epoch_images: int = 10_000
    """Pictures in an epoch, whatever the folder holds."""
    batch: int = 64
    """Pictures in a step."""
    learning_rate: float = 1e-3
    """Highest; it rises over the first 2 % and falls to nothing along a cosine."""
    weight_decay: float = 1e-4
    """Of AdamW."""
    average: float = 0.998
    """Decay of the running average of weights, which is what is kept."""
    mismatch: float = 0.1
    """Share of pictures that are told another task, to which the right answer is to stay."""
    shake_colours: bool = True
    """Change the pictures' colours at random."""
    seed: int = 1
    """Of the network and of the batches."""
    threads: int = os.cpu_count() or 1
    """Processor cores."""
    device: str = "cpu"
    """cpu or cuda."""
    resume: bool = False
    """Go on from the folder's checkpoint."""
    network: NetworkConfig = field(default_factory=NetworkConfig)
    """How large the network is."""

    def check(self) -> None:
        """Refuse numbers no training can be made with.

        Raises:
            ValueError: naming the parameter, its value and the limit.
        """
        limits = {
            "epochs": (1, 1e6),
            "epoch_images": (self.batch, 1e9),
            "batch": (1, 4096),
            "learning_rate": (1e-7, 1.0),
            "weight_decay": (0.0, 1.0),
            "average": (0.0, 0.99999),
            "mismatch": (0.0, 0.9),
            "seed": (0, 2**31 - 1),
            "threads": (1, 1024),
        }
        require_range("", vars(self), limits)
        self.network.check()
        if self.device not in ("cpu", "cuda") or (self.device == "cuda" and not torch.cuda.is_available()):
            raise ValueError(f"--device {self.device}: it is cpu, or cuda where torch finds a GPU")

    def settings(self, demonstrations: Demonstrations) -> dict[str, Any]:
        """What a resumed run must have in common with the one it continues; where things lie does not matter."""
        where = ("demos", "folder", "resume", "threads")
        settings = {key: value for key, value in asdict(self).items() if key not in where}
        return settings | {"tasks": list(demonstrations.tasks), "pictures": len(demonstrations.pictures)}

    @property
    def steps_per_epoch(self) -> int:
        """Gradient steps."""
        return self.epoch_images // self.batch


class Cloner:
    """One training: network, its average, optimiser, demonstrations."""

    def __init__(
        self, config: TrainMiniVlaConfig, demonstrations: Demonstrations, embeddings: NDArray[np.float32]
    ) -> None:
        """``embeddings`` (P, 384) of all phrasings."""
        self.config, self.demos, self.embeddings = config, demonstrations, embeddings
        self.device = torch.device(config.device)
        torch.manual_seed(config.seed)
        self.network = MiniVlaNetwork(config.network).to(self.device)
        self.averaged = MiniVlaNetwork(config.network).to(self.device)
        self.averaged.load_state_dict(self.network.state_dict())
        self.optimiser = torch.optim.AdamW(
            self.network.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay
        )
        self.source = BatchSource(demonstrations, config.mismatch)
        self.training_rows = np.flatnonzero(~demonstrations.validation)
        self.validation_rows = np.flatnonzero(demonstrations.validation)
        self._sentences = torch.from_numpy(embeddings)
        self.epoch = 0
        self.seconds = 0.0

    @property
    def images_seen(self) -> int:
        """Pictures trained on so far."""
        return self.epoch * self.config.steps_per_epoch * self.config.batch

    def train_epoch(self, progress: Any = lambda _: None) -> dict[str, float]:
        """One epoch; mean losses. ``progress`` is told of every batch's size.

        Raises:
            TrainingError: the loss is not finite.
        """
        config, started = self.config, time.perf_counter()
        rng = np.random.default_rng([config.seed, self.epoch])
        sums: dict[str, float] = {}
        self.network.train()
        for step in range(config.steps_per_epoch):
            rows = self.training_rows[rng.integers(len(self.training_rows), size=config.batch)]
            batch = self.source.draw(rows, rng)
            images = shaken(batch.images, rng) if config.shake_colours else batch.images
            losses = self._losses(self.network, images, batch)
            loss = losses["move"] + losses["turn"] + GRIPPER_WEIGHT * losses["gripper"]
            if not math.isfinite(loss.item()):
                raise TrainingError(f"the loss is {loss.item()} in epoch {self.epoch + 1}: lower --learning-rate")
            for group in self.optimiser.param_groups:
                group["lr"] = config.learning_rate * self._schedule(step)
            self.optimiser.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(self.network.parameters(), MAX_GRADIENT)
            self.optimiser.step()
            self._take_into_average(self.epoch * config.steps_per_epoch + step)
            for name, value in losses.items():
                sums[name] = sums.get(name, 0.0) + value.item()
            progress(config.batch)
        self.epoch += 1
        self.seconds += time.perf_counter() - started
        return {f"training/{name}": total / config.steps_per_epoch for name, total in sums.items()}

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """Losses of the averaged network on episodes it was not trained on, by task; phrasings are drawn the same way
        every time, and all of them fit."""
        rng = np.random.default_rng([self.config.seed, 2**31])
        source = BatchSource(self.demos, mismatch=0.0)
        figures: dict[str, float] = {}
        for index, task in enumerate(self.demos.tasks):
            rows = self.validation_rows[self.demos.task[self.validation_rows] == index]
            totals: dict[str, float] = {}
            for some in np.array_split(rows, -(-len(rows) // self.config.batch)):
                batch = source.draw(some, rng)
                for name, value in self._losses(self.averaged, batch.images, batch).items():
                    totals[name] = totals.get(name, 0.0) + value.item() * len(some)
            figures |= {f"validation/{task}/{name}": total / len(rows) for name, total in totals.items()}
        for name in ("move", "turn", "gripper"):
            figures[f"validation/{name}"] = float(
                np.mean([figures[f"validation/{task}/{name}"] for task in self.demos.tasks])
            )
        return figures

    def _losses(self, network: MiniVlaNetwork, images: Tensor, batch: TrainingBatch) -> dict[str, Tensor]:
        sentences = self._sentences[torch.from_numpy(batch.phrases)].to(self.device)
        answer, target = network(images.to(self.device), sentences), batch.targets.to(self.device)
        fits = batch.fits.to(self.device).float()
        gripper = functional.binary_cross_entropy_with_logits(answer[:, 6], target[:, 6], reduction="none")
        return {
            "move": functional.huber_loss(answer[:, :3], target[:, :3], delta=HUBER) / HUBER,
            "turn": functional.huber_loss(answer[:, 3:6], target[:, 3:6], delta=HUBER) / HUBER,
            "gripper": (gripper * fits).sum() / fits.sum().clamp_min(1.0),
        }

    def _schedule(self, step: int) -> float:
        """Share of the highest learning rate."""
        share = (self.epoch * self.config.steps_per_epoch + step + 1) / (
            self.config.epochs * self.config.steps_per_epoch
        )
        return min(share / WARM_UP, 0.5 * (1.0 + math.cos(math.pi * min(share, 1.0))))

    @torch.no_grad()
    def _take_into_average(self, step: int) -> None:
        decay = min(self.config.average, (1 + step) / (10 + step))  # young averages forget their random beginning
        for mean, value in zip(self.averaged.parameters(), self.network.parameters(), strict=True):
            mean.lerp_(value, 1.0 - decay)

    def contract(self, facts: dict[str, Any], figures: dict[str, float]) -> ModelContract:
        """What the weights say of themselves."""
        demos, config = self.demos, self.config
        recipe = {
            **{key: value for key, value in asdict(config).items() if key not in ("folder", "resume", "network")},
            "demos": facts,
            "pictures": len(demos.pictures),
            "epochs_trained": self.epoch,
            "images_seen": self.images_seen,
            "training_seconds": round(self.seconds),
            "parameters": parameter_count(self.network),
            "figures": {name: round(value, 5) for name, value in figures.items()},
            **environment_facts(),
        }
        return ModelContract(
            convention=convention_of(demos.rate_hz, demos.camera),
            camera=demos.camera,
            reach_m=demos.reach_m,
            reach_rad=demos.reach_rad,
            tasks=demos.tasks,
            phrasings={
                task: {"training": list(known.training), "held_out": list(known.held_out)}
                for task, known in PHRASINGS.items()
            },
            phrases=all_phrasings(),
            network=config.network,
            encoder_sha256=WEIGHTS_SHA256,
            recipe=recipe,
        )

    def state_dict(self) -> dict[str, Any]:
        """For the checkpoint."""
        return {
            "network": self.network.state_dict(),
            "averaged": self.averaged.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "progress": {"steps": self.images_seen, "epoch": self.epoch, "seconds": self.seconds},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Inverse of :meth:`state_dict`."""
        self.network.load_state_dict(state["network"])
        self.averaged.load_state_dict(state["averaged"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.epoch, self.seconds = state["progress"]["epoch"], state["progress"]["seconds"]


def train(words: list[str]) -> int:
    """Carry out ``vlajs teacher train``."""
    config = tyro.cli(
        TrainMiniVlaConfig, args=words, prog="vlajs teacher train", description=TrainMiniVlaConfig.__doc__
    )
    config.check()
    torch.set_num_threads(config.threads)
    demonstrations = load_demonstrations(config.demos, config.tasks)
    cloner = Cloner(config, demonstrations, load_encoder().encode(all_phrasings()))
    figures = run(cloner, DemoFolder(config.demos).facts())
    print(
        f"RESULT weights={config.folder / WEIGHTS_FILE} parameters={parameter_count(cloner.network)} "
        f"images={cloner.images_seen} seconds={cloner.seconds:.0f} validation_move={figures['validation/move']:.4f}"
    )
    return 0


def run(cloner: Cloner, facts: dict[str, Any]) -> dict[str, float]:
    """Train to the last epoch; the last validation's figures.

    Raises:
        ValueError: the folder holds a run and ``--resume`` was not given, or the other way round.
        StorageError: log, checkpoint or weights cannot be written.
    """
    config, folder = cloner.config, RunFolder(cloner.config.folder)
    settings = cloner.config.settings(cloner.demos)
    if config.resume:
        if (state := folder.resume(settings)) is not None:
            cloner.load_state_dict(state)
    else:
        folder.begin(settings)
    figures = cloner.validate() if cloner.epoch >= config.epochs else {}
    writer = SummaryWriter(str(folder.tensorboard), purge_step=cloner.images_seen)
    total = config.epochs * config.steps_per_epoch * config.batch
    with tqdm(total=total, initial=cloner.images_seen, desc="mini-vla", unit="img", unit_scale=True) as bar:
        while cloner.epoch < config.epochs:
            started = time.process_time()
            figures = cloner.train_epoch(bar.update)
            cpu_s = time.process_time() - started
            figures |= cloner.validate()
            figures["speed/cpu_ms_per_image"] = 1000 * cpu_s / (config.steps_per_epoch * config.batch)
            bar.set_postfix(
                {name: f"{figures[f'validation/{name}']:.3f}" for name in ("move", "gripper")}, refresh=False
            )
            for name, value in figures.items():
                writer.add_scalar(name, value, cloner.images_seen)
            save_weights(
                config.folder / WEIGHTS_FILE,
                cloner.contract(facts, figures),
                cloner.averaged.state_dict(),
                cloner.embeddings,
            )
            folder.save(cloner.state_dict())
            folder.append({"steps": cloner.images_seen, "seconds": round(cloner.seconds, 1), **figures})
    writer.close()
    return figures
