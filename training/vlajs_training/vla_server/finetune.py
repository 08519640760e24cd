"""``vlajs teacher finetune``: LoRA fine-tuning of an OpenVLA model on demonstrations.

Load, make sure that it sees, add an adapter, train it; every so many steps save and validate; at the end merge the
adapter into the weights and write them with all that is needed to serve them. The output is a run folder
(``run_folder.py``); ``--resume`` goes on after any kind of end and sees the same batches as if nothing had happened.
"""

import logging
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import tyro
from tqdm import tqdm

from vlajs.vla.serving.model import ModelError
from vlajs_training.run_folder import RunFolder
from vlajs_training.vla_server.finetune_config import MEMORY_GB, FinetuneConfig
from vlajs_training.vla_server.finetune_data import Demonstrations, load_demonstrations
from vlajs_training.vla_server.finetuned import Base, write_finetuned
from vlajs_training.vla_server.openvla import (
    ENVIRONMENT,
    OpenVla,
    check_device,
    check_tower_is_called,
    import_transformers,
    load_network,
    plain_memory_errors,
)
from vlajs_training.vla_server.tuner import Tuner

LOG = logging.getLogger(__name__)
MODEL_FOLDER = "model"


def finetune(words: list[str]) -> int:
    """Carry out ``vlajs teacher finetune``."""
    config = tyro.cli(FinetuneConfig, args=words, prog="vlajs teacher finetune", description=FinetuneConfig.__doc__)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    figures = run(config)
    print(
        f"RESULT weights={config.output / MODEL_FOLDER} steps={config.steps} "
        f"loss={figures['validation/loss']:.4f} token_accuracy={figures['validation/token_accuracy']:.4f} "
        f"l1_mm={1000 * figures['validation/l1_m']:.2f} l1_rad={figures['validation/l1_rad']:.4f}",
        flush=True,
    )
    return 0


def run(config: FinetuneConfig) -> dict[str, float]:
    """Train to the last step and write the weights; the last validation's figures.

    Raises:
        ValueError: a parameter, the demonstrations, or a run in the output that is another.
        ModelError: the model cannot be loaded or fine-tuned here.
        FinetuneError: the loss is not finite.
        StorageError: the output cannot be written; the last checkpoint stays.
    """
    config.check()
    peft, transformers = _libraries(config)
    check_device(config.device, config.dtype, MEMORY_GB)
    demos = load_demonstrations(
        config.demos,
        tasks=config.tasks,
        instructions=config.instructions,
        validation_share=config.validation_share,
        seed=config.seed,
    )
    folder, settings, model = RunFolder(config.output, "--output"), config.settings(demos), config.output / MODEL_FOLDER
    state = _begun(config, folder, settings, model)
    remedy = "lower --batch-size and raise --gradient-accumulation by as much, or give --dtype int4"
    with plain_memory_errors(MEMORY_GB, remedy):
        tuner = _tuner(config, demos, peft, transformers)
        if state is not None:
            tuner.load_state_dict(state)
        elif not config.resume:
            folder.begin(settings)
        figures = _train(tuner, folder)
    if not model.exists():
        LOG.info("merging the adapter into the weights")
        write_finetuned(model, tuner, _base(config, transformers), figures, peft)
    return figures


def _begun(config: FinetuneConfig, folder: RunFolder, settings: dict[str, Any], model: Path) -> dict[str, Any] | None:
    """The checkpoint to go on from, if any; a place that is taken is refused before anything is loaded."""
    if config.resume:
        return folder.resume(settings)
    folder.require_new()
    if model.exists():
        raise ValueError(f"{model} exists, and is of no run that this folder knows: give another --output")
    return None


def _libraries(config: FinetuneConfig) -> tuple[Any, Any]:
    """peft and transformers."""
    if not config.trust_remote_code:
        raise ModelError(
            f"openvla runs the Python code that comes with {config.weights}: read it, then give --trust-remote-code"
        )
    transformers = import_transformers()
    try:
        return import_module("peft"), transformers
    except ImportError as error:
        raise ModelError(f"peft is not installed, or not with these libraries ({error}): {ENVIRONMENT}") from error


def _tuner(config: FinetuneConfig, demos: Demonstrations, peft: Any, transformers: Any) -> Tuner:
    """The network, seen to look at its pictures, with an adapter."""
    network, processor = load_network(transformers, config.model_options(), four_bit="nf4")
    key = config.unnorm_key
    network.norm_stats = {key: demos.statistics}
    convention = demos.convention(key)
    model = OpenVla(
        network, processor, name=config.weights, device=config.device, unnorm_key=key, convention=convention
    )
    check_tower_is_called(model, network, transformers.__version__)
    tuner = Tuner(config, demos, network, processor, peft)
    LOG.info("the adapter has %s numbers", f"{tuner.parameters:,}")
    return tuner


def _train(tuner: Tuner, folder: RunFolder) -> dict[str, float]:
    """To the last step."""
    config = tuner.config
    figures = tuner.validate() if tuner.steps >= config.steps else {}
    with tqdm(total=config.steps, initial=tuner.steps, desc="finetune", unit="step") as bar:
        while tuner.steps < config.steps:
            until = min(config.steps, (tuner.steps // config.save_every + 1) * config.save_every)
            figures = tuner.train_steps(until - tuner.steps, bar.update)
            figures |= tuner.validate()
            folder.save(tuner.state_dict())
            folder.append({"steps": tuner.steps, "seconds": round(tuner.seconds, 1), **figures})
            shown = " ".join(
                f"{name.partition('/')[2]}={value:.4g}" for name, value in figures.items() if "val" in name
            )
            tqdm.write(f"step {tuner.steps}: training loss {figures['training/loss']:.4f}; held out: {shown}")
    return figures


def _base(config: FinetuneConfig, transformers: Any) -> Base:
    """The base weights anew, in bf16 and on the CPU: those that were trained beside may be quantised."""
    options = replace(config.model_options(), dtype="bf16", device="cpu")
    network, processor = load_network(transformers, options)
    found = transformers.utils.cached_file(config.weights, "config.json", revision=config.revision or "main")
    return Base(network=network, processor=processor, folder=Path(found).parent)
