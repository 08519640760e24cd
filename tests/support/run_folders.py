"""Run folders as training writes them, with figures of one's own choosing."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vlajs_training.runs import RUN_FORMAT

ROLLOUT_STEPS = 1_000
"""Env steps between the rows of these folders."""


def config_of(**changes: Any) -> dict[str, Any]:
    """A configuration, PPO on pick_cube unless told otherwise."""
    return {
        "format": RUN_FORMAT,
        "task": "pick_cube",
        "reward": "sub_optimal",
        "protocol": "standard",
        "method": "ppo",
        "teacher": "scripted",
        "teacher_scale": 1.0,
        "seed": 1,
        "total_steps": 100_000,
        "budget": 100_000,
        "num_envs": 100,
        "validate_every": 10_000,
        "ppo": {"rollout_steps": 10, "learning_rate": 0.001},
        **changes,
    }


def write_run(
    folder: Path,
    validations: Sequence[float] | None = None,
    *,
    training: Sequence[float] = (),
    steps_per_second: float = 100.0,
    **changes: Any,
) -> Path:
    """Write a run.

    Args:
        folder: created.
        validations: success at 10,000, 20,000, ... env steps; the rows between carry the same as training success.
        training: instead, training success of each rollout of 1,000 env steps, without validations.
        steps_per_second: speed that the rows' seconds follow.
        **changes: keys of the configuration.
    """
    config = config_of(**changes)
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(config))
    every = config["validate_every"] // ROLLOUT_STEPS
    if validations is not None:
        training = [value for value in validations for _ in range(every)]
    rows = []
    for index, value in enumerate(training, start=1):
        steps = index * ROLLOUT_STEPS
        row = {"steps": steps, "seconds": steps / steps_per_second, "rollout/success": value}
        if validations is not None and index % every == 0:
            row["validation/success"] = validations[index // every - 1]
        rows.append(row)
    (folder / "progress.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder
