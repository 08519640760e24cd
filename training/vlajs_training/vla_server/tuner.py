"""An adapter beside a network's linear layers, taught to say the demonstrated action (LoRA, arXiv:2106.09685).

The recipe is that of OpenVLA's own script (openvla/openvla: ``vla-scripts/finetune.py``): the adapter stands beside all
linear layers, vision included, is AdamW's alone to change, at a constant rate; the loss is the language model's cross
entropy on the seven action tokens and the end of text.
"""

import math
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vlajs.vla.serving.model import ModelError
from vlajs_training.mini_vla.dataset import shaken
from vlajs_training.vla_server.action_tokens import EDGES, ActionTokens, unscale
from vlajs_training.vla_server.finetune_config import FinetuneConfig, LoraSettings
from vlajs_training.vla_server.finetune_data import IGNORED, Demonstrations, InputMaker, Inputs
from vlajs_training.vla_server.openvla import ACTION_SIZE, PROMPT


class FinetuneError(RuntimeError):
    """A fine-tuning cannot go on; the message says why and what to change."""


def add_adapter(peft: Any, network: Any, lora: LoraSettings, seed: int) -> tuple[Any, dict[str, Tensor]]:
    """The network with an adapter that changes nothing yet, and the adapter's numbers by name, in float32."""
    torch.manual_seed(seed)
    adapted = peft.get_peft_model(
        network,
        peft.LoraConfig(
            r=lora.rank,
            lora_alpha=lora.scale,
            lora_dropout=lora.dropout,
            target_modules="all-linear",
            init_lora_weights="gaussian",
        ),
    )
    numbers = {name: value for name, value in adapted.named_parameters() if value.requires_grad}
    for value in numbers.values():
        value.data = value.data.float()  # AdamW's steps are too small for bf16
    return adapted, numbers


@torch.no_grad()
def set_adapter(numbers: dict[str, Tensor], values: dict[str, Tensor]) -> None:
    """Replace an adapter's numbers."""
    for name, value in numbers.items():
        value.copy_(values[name])


def tokens_of(network: Any, processor: Any) -> ActionTokens:
    """The action tokens of this model.

    Raises:
        ModelError: it counts its vocabulary or its bins otherwise than OpenVLA does.
    """
    own, spoken = getattr(network, "vocab_size", None), processor.tokenizer.vocab_size
    bins = getattr(network.config, "n_action_bins", None)
    if own != spoken or bins != EDGES:
        raise ModelError(
            f"the model counts {own} tokens and {bins} bins, its tokenizer {spoken}; of OpenVLA both count the same "
            f"tokens, and bins are {EDGES}: what it is taught would not be what it says; are these OpenVLA's weights?"
        )
    return ActionTokens(spoken)


class Tuner:
    """One fine-tuning: network with adapter, optimiser, demonstrations."""

    def __init__(
        self, config: FinetuneConfig, demonstrations: Demonstrations, network: Any, processor: Any, peft: Any
    ) -> None:
        """``network`` and ``processor`` as loaded; the network is changed.

        Raises:
            ModelError: its tokens are not OpenVLA's.
        """
        self.config, self.demos = config, demonstrations
        self.statistics = demonstrations.statistics
        self.tokens = tokens_of(network, processor)
        self.inputs = InputMaker(processor, PROMPT, self.tokens, self.statistics)
        if config.dtype == "int4":
            network = peft.prepare_model_for_kbit_training(network)
        self.network, self.adapter = add_adapter(peft, network, config.lora, config.seed)
        self.optimiser = torch.optim.AdamW(self.adapter.values(), lr=config.learning_rate)
        self.training_rows = np.flatnonzero(~demonstrations.validation)
        kept = np.flatnonzero(demonstrations.validation)
        chosen = np.linspace(0, len(kept) - 1, min(len(kept), config.validation_pictures)).round().astype(int)
        self.validation_rows = kept[chosen]
        self.device = torch.device(config.device)
        self.steps = 0
        self.seconds = 0.0

    @property
    def parameters(self) -> int:
        """How many numbers the adapter has."""
        return sum(value.numel() for value in self.adapter.values())

    def train_steps(self, count: int, progress: Callable[[int], object] = lambda _: None) -> dict[str, float]:
        """So many steps; mean figures. ``progress`` is told of every step.

        Raises:
            FinetuneError: the loss is not finite.
        """
        started = time.perf_counter()
        self.network.train()
        sums: dict[str, float] = {}
        for _ in range(count):
            rng = np.random.default_rng([self.config.seed, self.steps])
            torch.manual_seed(int(rng.integers(2**62)))  # what is dropped follows from the step alone too
            self.optimiser.zero_grad(set_to_none=True)
            for _ in range(self.config.gradient_accumulation):
                rows = self.training_rows[rng.integers(len(self.training_rows), size=self.config.batch_size)]
                loss, figures = self._answer(rows, rng)
                (loss / self.config.gradient_accumulation).backward()
                for name, value in figures.items():
                    sums[name] = sums.get(name, 0.0) + value
            self.optimiser.step()
            self.steps += 1
            progress(1)
        self.seconds += time.perf_counter() - started
        return {f"training/{name}": total / (count * self.config.gradient_accumulation) for name, total in sums.items()}

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """Figures on episodes it was not trained on, each told its task's first phrasing.

        Each number of an action is predicted with the demonstrated ones before it given, as in training.

        Raises:
            FinetuneError: the loss is not finite.
        """
        self.network.eval()
        sums: dict[str, float] = {}
        for rows in np.array_split(self.validation_rows, -(-len(self.validation_rows) // self.config.batch_size)):
            _, figures = self._answer(rows, None)
            for name, value in figures.items():
                sums[name] = sums.get(name, 0.0) + value * len(rows)
        return {f"validation/{name}": total / len(self.validation_rows) for name, total in sums.items()}

    def _answer(self, rows: NDArray[np.int64], rng: np.random.Generator | None) -> tuple[Tensor, dict[str, float]]:
        """Loss of these rows (B,), and figures; without ``rng`` nothing is varied.

        Raises:
            FinetuneError: the loss is not finite.
        """
        demos = self.demos
        phrases = [demos.phrases[demos.tasks[task]] for task in demos.task[rows].tolist()]
        said = [known[0 if rng is None else int(rng.integers(len(known)))] for known in phrases]
        images = np.stack([demos.picture(row) for row in rows.tolist()])
        if rng is not None and self.config.shake_colours:
            images = shaken(torch.from_numpy(images), rng).numpy()
        actions = demos.actions[rows]
        inputs = self.inputs.make(list(images), said, actions).to(self.device)
        with torch.autocast(self.device.type, dtype=torch.bfloat16):
            output = self.network(
                input_ids=inputs.input_ids,
                attention_mask=inputs.attention_mask,
                pixel_values=inputs.pixel_values,
                labels=inputs.labels,
            )
        loss = output.loss.item()
        if not math.isfinite(loss):
            raise FinetuneError(
                f"the loss is {loss} after {self.steps} steps: lower --learning-rate ({self.config.learning_rate:g}) "
                "and begin anew with another --output; if that was the first step, the weights are damaged"
            )
        return output.loss, {"loss": loss, **self._figures(output.logits, inputs, actions)}

    def _figures(self, logits: Tensor, inputs: Inputs, actions: NDArray[np.float32]) -> dict[str, float]:
        """How near the answers come to actions (B, 7)."""
        patches = logits.shape[1] - inputs.input_ids.shape[1]  # the picture's tokens stand behind the first
        answered = logits[:, patches:-1].argmax(-1)
        wanted = inputs.labels[:, 1:]
        is_action = (wanted != IGNORED) & (wanted >= self.tokens.first)
        right = (answered[is_action] == wanted[is_action]).float().mean().item()
        tokens = answered[is_action].cpu().numpy().reshape(-1, ACTION_SIZE)
        meant = unscale(self.tokens.decode(tokens), self.statistics)
        off = np.abs(meant - actions)
        return {
            "token_accuracy": right,
            "l1_m": float(off[:, :3].mean()),
            "l1_rad": float(off[:, 3:6].mean()),
            "gripper_accuracy": float(((meant[:, 6] > 0) == (actions[:, 6] > 0)).mean()),
        }

    def state_dict(self) -> dict[str, Any]:
        """For the checkpoint: the adapter, not the weights beside it."""
        return {
            "adapter": {name: value.detach().cpu() for name, value in self.adapter.items()},
            "optimiser": self.optimiser.state_dict(),
            "progress": {"steps": self.steps, "seconds": self.seconds},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Inverse of :meth:`state_dict`.

        Raises:
            FinetuneError: it is another network's.
        """
        shapes = {name: value.shape for name, value in self.adapter.items()}
        if {name: value.shape for name, value in state["adapter"].items()} != shapes:
            raise FinetuneError("the checkpoint's adapter is another network's: give the weights it was begun with")
        set_adapter(self.adapter, state["adapter"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.steps, self.seconds = state["progress"]["steps"], state["progress"]["seconds"]
