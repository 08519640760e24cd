"""Small random policy bundles and contracts for both tasks."""

import itertools
from dataclasses import replace
from typing import Any

import numpy as np

from vlajs.policy.bundle import PolicyBundle
from vlajs.policy.contract import ACTION_SIZE, ActionContract, Contract, GripperContract, Network, terms
from vlajs.tasks import get_task

PUSH_TERMS = [
    "tcp_position",
    "tcp_rotation",
    "target_lead_position",
    "target_lead_rotation",
    "cube_position",
    "cube_from_tcp",
    "goal_from_cube",
]
PICK_TERMS = [*PUSH_TERMS, "gripper_width", "gripper_command", "cube_yaw4", "goal_position"]
GRIPPERS = {
    "push_cube": GripperContract(initial_width_m=0.0, fixed_width_m=0.0),
    "pick_cube": GripperContract(),
}


def make_contract(task: str = "push_cube", **changes: Any) -> Contract:
    """A valid contract; ``changes`` replace its fields."""
    contract = Contract(
        task=task,
        instruction=get_task(task).instruction,
        observation=terms(PUSH_TERMS if task == "push_cube" else PICK_TERMS),
        action=ActionContract(
            position_scale_m=0.015,
            rotation_scale_rad=0.05,
            leash_m=0.04,
            leash_rad=0.2,
            workspace_min_m=(0.3, -0.35, 0.022),
            workspace_max_m=(0.8, 0.35, 0.6),
            gripper=GRIPPERS[task],
        ),
        control_rate_hz=20.0,
        horizon_steps=50,
        network=Network(hidden_sizes=(16, 8), activation="tanh"),
        provenance={"method": "random", "seed": 0},
    )
    return replace(contract, **changes)


def make_bundle(task: str = "push_cube", *, seed: int = 0, scale: float = 1.0, **changes: Any) -> PolicyBundle:
    """Random weights times ``scale`` and a random normaliser under :func:`make_contract`."""
    contract = make_contract(task, **changes)
    rng = np.random.default_rng(seed)
    sizes = [contract.observation_size, *contract.network.hidden_sizes, ACTION_SIZE]
    layers = tuple(
        (
            (scale * rng.normal(size=(outputs, inputs)) / np.sqrt(inputs)).astype(np.float32),
            (scale * rng.normal(size=outputs) * 0.1).astype(np.float32),
        )
        for inputs, outputs in itertools.pairwise(sizes)
    )
    return PolicyBundle(
        contract=contract,
        layers=layers,
        obs_mean=rng.normal(size=sizes[0]).astype(np.float32),
        obs_std=rng.uniform(0.5, 2.0, size=sizes[0]).astype(np.float32),
    )
