"""What makes a ManiSkill environment one of our tasks: observation terms, action contract, horizon, reward."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal, get_args

import torch

from vlajs.policy.contract import ActionContract, Contract, GripperContract, Network, terms
from vlajs.tasks import Task
from vlajs_training.tasks.terms import BatchState

if TYPE_CHECKING:
    from mani_skill.envs.sapien_env import BaseEnv
    from mani_skill.utils.structs import Actor, Pose

RewardName = Literal["dense", "sub_optimal"]
ProtocolName = Literal["standard", "long"]

RewardFunction = Callable[[BatchState, torch.Tensor, dict[str, torch.Tensor]], torch.Tensor]
"""From state, action (N, 7) as the policy gave it and ManiSkill's info to a reward (N,)."""

LONG_FACTOR = 10
"""Protocol ``long``: so many times the horizon, steps this many times smaller (paper V.C)."""

WORKSPACE_MIN_M = (0.3, -0.35, 0.022)
"""22 mm above the table: the fingertips end 9 mm below the tool centre point, and a stream that stops at full speed is
overshot by up to 8 mm."""

WORKSPACE_MAX_M = (0.8, 0.35, 0.6)


def deploy_action(gripper: GripperContract | None = None) -> ActionContract:
    """What an action does in every task: decisions at 10 Hz of up to 30 mm and 0.1 rad, within the bridge's limits."""
    return ActionContract(
        position_scale_m=0.015,
        rotation_scale_rad=0.05,
        ticks_per_action=2,
        leash_m=0.04,
        leash_rad=0.2,
        workspace_min_m=WORKSPACE_MIN_M,
        workspace_max_m=WORKSPACE_MAX_M,
        gripper=gripper or GripperContract(),
    )


@dataclass(frozen=True, kw_only=True)
class TaskDefinition:
    """A task as training sees it.

    Attributes:
        task: the robot side's view: name, instruction, scene distribution, success.
        maniskill_id: the environment it is trained and evaluated in.
        terms: observation terms, in order.
        action: the action contract.
        horizon_steps: control ticks an episode may last.
        objects: the free bodies, by the name that observation terms use.
        shaping: what is added to ManiSkill's normalised dense reward: mostly penalties on behaviour a lab would not
            want. Together they are the reward ``dense``.
        sub_optimal: the whole of the reward ``sub_optimal``: nothing in it leads the arm to the object (paper V.D).
        goal: the goal marker's actor; None where the task has no goal position.
        landmarks: poses that are perceived like objects and belong to no free body, by name.
        half_sizes_m: (N, 3) by name, of the objects and landmarks whose size differs between episodes.
        reflex_on: objects that a fingertip must not come down on, nor the hand press on ManiSkill's table: an arm's
            reflex ends such an episode.
        held: the object whose grasp the rewards need as ``info["is_grasped"]``, where ManiSkill does not give it.
        rebuild: whether a reset of all must build the scenes anew: shapes are drawn when they are built.
        reward: which reward the environment pays.
        protocol: ``standard``, or ``long`` after :func:`lengthen`.
        control_rate_hz: ticks a second.
    """

    task: Task
    maniskill_id: str
    terms: tuple[str, ...]
    action: ActionContract
    horizon_steps: int
    objects: Mapping[str, Callable[[BaseEnv], Actor]]
    shaping: RewardFunction
    sub_optimal: RewardFunction
    goal: Callable[[BaseEnv], Actor] | None = None
    landmarks: Mapping[str, Callable[[BaseEnv], Pose]] = field(default_factory=dict)
    half_sizes_m: Mapping[str, Callable[[BaseEnv], torch.Tensor]] = field(default_factory=dict)
    reflex_on: tuple[str, ...] = ()
    held: str | None = None
    rebuild: bool = False
    reward: RewardName = "dense"
    protocol: ProtocolName = "standard"
    control_rate_hz: float = 20.0

    @property
    def observation_size(self) -> int:
        """How many numbers the policy sees."""
        return terms(list(self.terms))[-1].stop

    @property
    def control_mode(self) -> str:
        """Name of the ManiSkill control mode that implements :attr:`action`."""
        return f"deploy_{self.task.name}_{self.protocol}"

    @property
    def maniskill_reward(self) -> str:
        """ManiSkill's reward mode under :attr:`reward`."""
        return "normalized_dense" if self.reward == "dense" else "none"

    def contract(self, network: Network, provenance: dict[str, object]) -> Contract:
        """The contract a policy of this task carries."""
        return Contract(
            task=self.task.name,
            instruction=self.task.instruction,
            observation=terms(list(self.terms)),
            action=self.action,
            control_rate_hz=self.control_rate_hz,
            horizon_steps=self.horizon_steps,
            network=network,
            provenance=provenance,
        )


def lengthen(definition: TaskDefinition) -> TaskDefinition:
    """The task under the protocol ``long``: :data:`LONG_FACTOR` times the horizon, steps as many times smaller."""
    action = replace(
        definition.action,
        position_scale_m=definition.action.position_scale_m / LONG_FACTOR,
        rotation_scale_rad=definition.action.rotation_scale_rad / LONG_FACTOR,
    )
    return replace(definition, action=action, horizon_steps=LONG_FACTOR * definition.horizon_steps, protocol="long")


def select(definition: TaskDefinition, reward: str, protocol: str) -> TaskDefinition:
    """The task with that reward under that protocol.

    Raises:
        ValueError: unknown reward or protocol; the message lists the known ones.
    """
    for what, name, known in (
        ("reward", reward, get_args(RewardName)),
        ("protocol", protocol, get_args(ProtocolName)),
    ):
        if name not in known:
            raise ValueError(f"unknown {what} {name!r}: known are {', '.join(known)}")
    if reward == "sub_optimal":
        definition = replace(definition, reward="sub_optimal")
    return lengthen(definition) if protocol == "long" else definition
