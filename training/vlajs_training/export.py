"""From a trained network to a policy bundle."""

import subprocess
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import numpy as np
from torch import nn

from vlajs.policy.bundle import PolicyBundle
from vlajs.policy.contract import Network
from vlajs_training.ppo import ActorCritic, ObservationNormaliser
from vlajs_training.tasks import TaskDefinition


def to_bundle(
    definition: TaskDefinition,
    network: ActorCritic,
    normaliser: ObservationNormaliser,
    provenance: dict[str, object],
) -> PolicyBundle:
    """The actor and its normaliser under the task's contract; copies, so training may go on."""
    linears = [module for module in network.actor if isinstance(module, nn.Linear)]
    layers = tuple(
        (linear.weight.detach().cpu().numpy().copy(), linear.bias.detach().cpu().numpy().copy()) for linear in linears
    )
    hidden = tuple(linear.out_features for linear in linears[:-1])
    return PolicyBundle(
        contract=definition.contract(Network(hidden_sizes=hidden, activation="tanh"), provenance),
        layers=layers,
        obs_mean=normaliser.mean.numpy().astype(np.float32),
        obs_std=normaliser.std.numpy().astype(np.float32),
    )


def environment_facts() -> dict[str, object]:
    """What a policy was made with: versions, revision, date."""
    return {
        "mani_skill": version("mani_skill"),
        "torch": version("torch"),
        "vlajs_training": version("vlajs-training"),
        "git_revision": _git_revision(),
        "date": datetime.now(UTC).date().isoformat(),
        "inverse_kinematics": "damped least squares on commanded joints, one step a physics step",
    }


def _git_revision() -> str:
    """Short commit of the source tree, with ``-dirty`` when it has changes; ``unknown`` outside git."""
    folder = Path(__file__).parent
    command = ["git", "-C", str(folder), "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=10)
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return done.stdout.strip()
