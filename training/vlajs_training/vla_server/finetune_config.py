"""What ``vlajs teacher finetune`` can be told."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from vlajs.vla.presets import PRESETS
from vlajs_training.ranges import require_range
from vlajs_training.vla_server.finetune_data import Demonstrations
from vlajs_training.vla_server.options import ModelOptions

MEMORY_GB: Mapping[str, int] = {"bf16": 27}
"""What fine-tuning a 7B model takes on a GPU at least (openvla/openvla, README); nobody published it of int4."""


@dataclass(frozen=True, kw_only=True)
class LoraSettings:
    """How large the adapter is."""

    rank: int = 32
    """Of the two matrices that stand beside each linear layer."""
    alpha: int | None = None
    """The adapter counts alpha / rank; by default the smaller of rank and 16."""
    dropout: float = 0.0
    """Share of the adapter's inputs that are dropped in training."""

    @property
    def scale(self) -> int:
        """``alpha``, or its default."""
        return min(self.rank, 16) if self.alpha is None else self.alpha


@dataclass(frozen=True, kw_only=True)
class FinetuneConfig:
    """Fine-tune OpenVLA on demonstrations by LoRA: vlajs teacher finetune demos/ --weights openvla/openvla-7b ...

    The output holds log and checkpoint, and at the end the folder model/, which `vlajs teacher serve --model openvla
    --weights OUTPUT/model` loads. Defaults are those of OpenVLA's own script, but for batches of 8, twice a step.
    """

    demos: tyro.conf.Positional[Path]
    """Folder of `vlajs teacher demos`, or of your own in the same format."""
    weights: str
    """Folder, or name on the Hugging Face hub (openvla/openvla-7b), of what is fine-tuned."""
    output: Path
    """Where log, checkpoint and fine-tuned weights go."""
    revision: str | None = None
    """Commit, tag or branch of weights and code on the hub; a commit keeps both from changing under you."""
    trust_remote_code: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Run the Python code that comes with the weights, as OpenVLA needs: read it first."""
    tasks: tuple[str, ...] = ()
    """Which tasks; by default all that the folder holds."""
    instructions: dict[str, str] = field(default_factory=dict)
    """What to say with a task: --instructions my_task "pick up the screw". Needed of tasks that vlajs does not know;
    of those it knows, it stands instead of the phrasings they are trained with."""
    unnorm_key: str = "vlajs_demos"
    """Name that the actions' statistics get in the fine-tuned weights."""
    lora: LoraSettings = field(default_factory=LoraSettings)
    """How large the adapter is."""
    learning_rate: float = 5e-4
    """Of AdamW, the same all along."""
    batch_size: int = 8
    """Pictures at once: what fits into the GPU's memory."""
    gradient_accumulation: int = 2
    """Batches in a step."""
    steps: int = 5000
    """How many."""
    shake_colours: bool = True
    """Change the pictures' colours at random. They are never cropped: serving does not crop either."""
    dtype: Literal["bf16", "int4"] = "bf16"
    """Number format of the weights beside the adapter; int4 needs bitsandbytes and a GPU, saves memory and costs
    quality. What is written is bf16 either way."""
    device: Literal["cuda", "cpu"] = "cuda"
    """Where it is trained; cpu is for models far smaller than 7B. CUDA_VISIBLE_DEVICES chooses among several GPUs."""
    seed: int = 1
    """Of the adapter, of the batches and of the episodes that validate."""
    validation_share: float = 0.1
    """Share of each task's episodes, at least one, that is not trained on but validated with."""
    validation_pictures: int = 256
    """At most so many pictures in a validation, evenly spread over those kept for it."""
    save_every: int = 500
    """Steps between two checkpoints; at each it is validated."""
    resume: bool = False
    """Go on from the output's checkpoint."""

    def check(self) -> None:
        """Refuse what nothing can be trained with.

        Raises:
            ValueError: naming the parameter, its value and the limit.
        """
        limits = {
            "learning_rate": (1e-8, 1.0),
            "batch_size": (1, 1024),
            "gradient_accumulation": (1, 1024),
            "steps": (1, 1e7),
            "seed": (0, 2**31 - 1),
            "validation_share": (0.001, 0.5),
            "validation_pictures": (1, 1e6),
            "save_every": (1, 1e7),
        }
        require_range("", vars(self), limits)
        require_range("lora", vars(self.lora), {"rank": (1, 1024), "dropout": (0.0, 0.9)})
        require_range("lora", {"alpha": self.lora.scale}, {"alpha": (1, 4096)})
        taken = {known.unnorm_key for known in PRESETS.values()}
        if not self.unnorm_key.strip() or self.unnorm_key in taken:
            raise ValueError(
                f"--unnorm-key {self.unnorm_key!r} is empty, or that of public weights whose actions mean something "
                "else: give a name of your own"
            )

    def model_options(self) -> ModelOptions:
        """What the weights are loaded with."""
        return ModelOptions(
            weights=self.weights,
            revision=self.revision,
            dtype=self.dtype,
            device=self.device,
            trust_remote_code=self.trust_remote_code,
        )

    def settings(self, demonstrations: Demonstrations) -> dict[str, Any]:
        """What a resumed run must have in common with the one it continues; where things lie does not matter."""
        free = ("demos", "output", "resume", "save_every", "trust_remote_code", "device")
        settings = {key: value for key, value in asdict(self).items() if key not in free}
        return settings | {
            "tasks": list(demonstrations.tasks),
            "pictures": len(demonstrations.pictures),
            "demonstrations_sha256": demonstrations.digest(),
        }
