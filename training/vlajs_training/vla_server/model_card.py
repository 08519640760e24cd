"""What fine-tuned weights say of themselves to people: a README.md beside them."""

from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

from vlajs_training.vla_server.finetune_data import Demonstrations
from vlajs_training.vla_server.openvla import STATISTICS_FILE
from vlajs_training.vla_server.tuner import Tuner

CARD_FILE = "README.md"
CARD = """# {weights}, fine-tuned on demonstrations

Base weights: {weights}, revision {revision}; their licence goes on to hold. Serve these with
`vlajs teacher serve --model openvla --weights THIS_FOLDER --trust-remote-code`.

## Data
| task | episodes trained on | episodes held out | pictures | asked for as |
| --- | --- | --- | --- | --- |
{tasks}

Pictures of {camera.width_px} x {camera.height_px}; the camera stands at {camera.position_m} m and looks at
{camera.at_m} m in the robot base's axes, {camera.fovy_deg:g} degrees high. SHA-256 of the demonstrations:
{digest}.

## What an action means
One action covers {period_s:g} s ({convention.rate_hz:g} Hz): a translation in m and a rotation vector in rad, both in
the robot base's axes, the rotation composed on the left; gripper {convention.gripper_open:g} open,
{convention.gripper_closed:g} closed. `{statistics}` says so too, beside the statistics `{key}`.

## Training
LoRA of rank {lora.rank}, alpha {lora.scale}, dropout {lora.dropout:g} on all linear layers ({parameters:,} numbers).
{steps} steps of {config.gradient_accumulation} x {config.batch_size} pictures in {hours:.1f} h, AdamW at
{config.learning_rate:g}, seed {config.seed}, base weights in {config.dtype}; then merged into weights in bf16.
{versions}.

## Figures
Of {held_out} pictures of the episodes held out, before the merge; each number of an action is predicted with the
demonstrated ones before it given.

| loss | token accuracy | translation off by, each axis | rotation off by, each axis | gripper right |
| --- | --- | --- | --- | --- |
| {loss:.4f} | {token_accuracy:.1%} | {l1_mm:.2f} mm | {l1_rad:.4f} rad | {gripper_accuracy:.1%} |

The loss in training was {training_loss}. None of these is a success rate: let it act, in simulation first.
"""


def card(tuner: Tuner, figures: Mapping[str, float]) -> str:
    """The text, of a fine-tuning that has ended with these figures."""
    config, demos = tuner.config, tuner.demos
    convention = demos.convention(config.unnorm_key)
    held: dict[str, Any] = {name.partition("/")[2]: value for name, value in figures.items() if "validation/" in name}
    trained = figures.get("training/loss")
    versions = [f"{name} {version(name)}" for name in ("torch", "transformers", "peft", "vlajs-training")]
    return CARD.format(
        **held,
        weights=config.weights,
        revision=config.revision or "not stated",
        tasks="\n".join(_row(demos, index) for index in range(len(demos.tasks))),
        camera=demos.camera,
        digest=demos.digest(),
        convention=convention,
        period_s=1 / convention.rate_hz,
        statistics=STATISTICS_FILE,
        key=config.unnorm_key,
        lora=config.lora,
        parameters=tuner.parameters,
        steps=tuner.steps,
        config=config,
        hours=tuner.seconds / 3600,
        versions=", ".join([*versions, datetime.now(UTC).date().isoformat()]),
        held_out=len(tuner.validation_rows),
        l1_mm=1000 * held["l1_m"],
        training_loss="not kept" if trained is None else f"{trained:.4f}",
    )


def _row(demos: Demonstrations, task: int) -> str:
    """A task's line."""
    trained, held_out = (
        len({*demos.episode[(demos.task == task) & (demos.validation == validation)].tolist()})
        for validation in (False, True)
    )
    name = demos.tasks[task]
    pictures = int((demos.task == task).sum())
    return f"| {name} | {trained} | {held_out} | {pictures} | {demos.phrases[name][0]} |"
