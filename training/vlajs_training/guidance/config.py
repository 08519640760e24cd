"""What guidance is made of: its parameters, and the methods that combine its parts."""

import math
from dataclasses import dataclass
from typing import Literal

MethodName = Literal["ppo", "sparse-rpd", "vlajs-rpd", "vlajs"]


@dataclass(frozen=True, kw_only=True)
class GuidanceConfig:
    """How a teacher guides; the same for every method that has one (paper, III)."""

    weight: float = 0.3
    """lambda_0: weight of the guidance loss while the reward does not rise."""
    kappa: float = 5.0
    """Decay of calls and weight with the reward gain: both are multiplied by exp(-kappa * gain)."""
    max_call_share: float = 0.2
    """At most this share of a rollout's steps are calls: N_max = share * rollout steps, not rounded, so that a gain as
    small as the reward's noise costs no call."""
    min_calls: int = 1
    """N_min: calls a rollout and environment that are kept however fast the reward rises."""
    steps_per_call: int | None = None
    """D: decisions a call guides, its motion cut into as many equal steps; by default as many as the teacher's delta
    covers at its rate."""
    history_rollouts: int = 20
    """Rollouts over which the reward gain is computed: newer half against older half."""
    rise_rollouts: int = 3
    """Guidance ends for ever once the mean rewards of this many rollouts in a row rise strictly ..."""
    deactivation_reward: float | None = None
    """... and exceeds this; by default the task's own (the paper's 3 is in units of its reward)."""
    near_zero: float = 0.05
    """Components of a hint shorter than this have no direction worth following and are skipped by the directional
    loss; in action units, multiplied by the teacher's magnitude."""
    max_failures: int = 20
    """After so many failures in a row a teacher is given up and training goes on as PPO."""
    teacher_timeout_s: float = 30.0
    """Longest wait for a teacher, seconds."""

    def max_calls(self, rollout_steps: int) -> float:
        """N_max of a rollout of so many steps.

        Raises:
            ValueError: not even one call fits, or fewer than ``min_calls``, or a parameter is out of its range.
        """
        if not 0.0 < self.max_call_share <= 1.0:
            raise ValueError(
                f"guidance.max_call_share = {self.max_call_share} is outside (0, 1]: it is a share of steps"
            )
        most = self.max_call_share * rollout_steps
        calls = whole_calls(most)
        if not 1 <= self.min_calls <= calls:
            raise ValueError(
                f"guidance.min_calls = {self.min_calls} is outside [1, {calls}], the calls that "
                f"max_call_share = {self.max_call_share} leaves of {rollout_steps} rollout steps: "
                "raise the share or the rollout's length"
            )
        lowest = {"weight": 0, "kappa": 0, "near_zero": 0, "history_rollouts": 2, "rise_rollouts": 2, "max_failures": 1}
        for name, low in lowest.items():
            if not getattr(self, name) >= low:  # also refuses NaN
                raise ValueError(f"guidance.{name} = {getattr(self, name)}: it must be at least {low}")
        if self.steps_per_call is not None and self.steps_per_call < 1:
            raise ValueError(f"guidance.steps_per_call = {self.steps_per_call}: a call guides at least 1 decision")
        if not self.teacher_timeout_s > 0:
            raise ValueError(f"guidance.teacher_timeout_s = {self.teacher_timeout_s}: a wait must be longer than 0 s")
        return most


def whole_calls(calls: float) -> int:
    """``floor``, forgiving what floating point takes off whole numbers (0.2 * 15)."""
    return math.floor(calls + 1e-9)


@dataclass(frozen=True, kw_only=True)
class Method:
    """One of the paper's algorithms (III.E).

    Attributes:
        loss: ``directional`` (III.C) or ``mse`` (III.E).
        transient: calls and weight fall as the reward rises, and guidance ends for ever (III.B); otherwise both stay
            as they are throughout training.
    """

    loss: Literal["directional", "mse"]
    transient: bool


METHODS: dict[str, Method | None] = {
    "ppo": None,
    "sparse-rpd": Method(loss="mse", transient=False),
    "vlajs-rpd": Method(loss="mse", transient=True),
    "vlajs": Method(loss="directional", transient=True),
}
"""Every method by name; None where nobody guides."""

DEACTIVATION_REWARD = {
    ("pick_cube", "dense"): 0.6,
    ("push_cube", "dense"): 0.15,
    ("push_cube_v2", "dense"): 0.15,
    ("pick_cube", "sub_optimal"): 0.15,
    ("pick_place_cube", "sub_optimal"): 0.1,
    ("push_cube", "sub_optimal"): 0.2,
    ("push_cube_v2", "sub_optimal"): 0.2,
    ("lift_peg_upright", "sub_optimal"): 0.35,
    ("peg_insertion_side", "sub_optimal"): 0.1,
    ("poke_cube", "sub_optimal"): 0.25,
}
"""Mean rollout reward that marks the onset of learning, by task and reward: above what a stuck policy gets (in the
paper about 2 of 5, learning is under way above 3), below what a trained one does. Rewards are at most about 1 a step;
pushing with the dense reward, penalties leave 0.2."""

DEACTIVATION_REWARD_OTHERWISE = 0.5


def deactivation_reward(task: str, reward: str) -> float:
    """The threshold of a task under a reward."""
    return DEACTIVATION_REWARD.get((task, reward), DEACTIVATION_REWARD_OTHERWISE)
