"""Proximal policy optimisation (Schulman et al. 2017, arXiv:1707.06347) on a vector environment, in one file.

Read it top to bottom: configuration, observation normaliser, network, one rollout, advantages, one update. A teacher's
guidance (``vlajs_training.guidance``) enters at two places, each marked *guidance*: hints are collected in the rollout,
and a loss is added in the update.

Details that mattered here (docs/results/README.md): short rollouts over environments of different ages; success ends an
episode and is worth an absorbing state that keeps paying the last reward, r / (1 - gamma), so that finishing early is
never worth less than lingering; the state-independent standard deviation starts at exp(-0.7).
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from vlajs.policy.bundle import NORMALISED_CLIP
from vlajs_training.distributed import SINGLE, Processes
from vlajs_training.guidance import Guide
from vlajs_training.ranges import BELOW_ONE, INFINITY, require_range

if TYPE_CHECKING:  # configurations are read where no simulator is needed
    from vlajs_training.simulation.vector import VectorEnv


class TrainingError(RuntimeError):
    """Training cannot go on; the message names what is wrong and the likely cause."""


# ------------------------------------------------------------------------------------------------ configuration


PPO_RANGES: dict[str, tuple[float, float]] = {
    "rollout_steps": (1, INFINITY),
    "epochs": (1, INFINITY),
    "minibatches": (1, INFINITY),
    "learning_rate": (1e-12, 1.0),
    "gamma": (0.0, BELOW_ONE),
    "gae_lambda": (0.0, 1.0),
    "clip": (1e-6, 1.0),
    "target_kl": (1e-9, INFINITY),
    "value_coefficient": (0.0, INFINITY),
    "entropy_coefficient": (-INFINITY, INFINITY),
    "max_grad_norm": (1e-9, INFINITY),
    "initial_log_std": (-20.0, 5.0),
}
"""Least and greatest value of each number; gamma below 1: success is worth r / (1 - gamma)."""


@dataclass(frozen=True, kw_only=True)
class PPOConfig:
    """Hyper-parameters; the defaults are those of the shipped policies."""

    rollout_steps: int = 16
    """Control steps each environment takes between updates."""
    epochs: int = 8
    """Passes over a rollout in an update."""
    minibatches: int = 4
    """Parts a rollout is cut into in each pass."""
    learning_rate: float = 1e-3
    """Adam's step size; falls linearly to a tenth over the budget."""
    gamma: float = 0.9
    """Discount a step."""
    gae_lambda: float = 0.95
    """Decay of generalised advantage estimation."""
    clip: float = 0.2
    """How far the probability ratio may leave 1 before its gradient is cut."""
    target_kl: float = 0.1
    """An update ends when the approximate divergence from the old policy exceeds this."""
    value_coefficient: float = 0.25
    """Weight of the squared value error."""
    entropy_coefficient: float = 0.0
    """Weight of the entropy bonus."""
    max_grad_norm: float = 0.5
    """Gradients are scaled down to this norm."""
    initial_log_std: float = -0.7
    """Logarithm of the exploration noise at the start, each action."""
    hidden_sizes: tuple[int, ...] = (256, 256, 256)
    """Layers of actor and critic, with tanh between."""

    def check(self, num_envs: int) -> None:
        """Refuse what cannot be trained with, ``num_envs`` environments a process.

        Raises:
            ValueError: naming the parameter, its value and the limit.
        """
        require_range("ppo", vars(self), PPO_RANGES)
        if not self.hidden_sizes or min(self.hidden_sizes) < 1:
            raise ValueError(f"ppo.hidden_sizes = {self.hidden_sizes}: at least one layer, each of at least 1")
        rows = num_envs * self.rollout_steps
        if rows < 2 * self.minibatches:
            raise ValueError(
                f"ppo.minibatches = {self.minibatches} leaves fewer than 2 of a rollout's {rows} rows each, too few "
                "for a standard deviation: use fewer minibatches, more environments or longer rollouts"
            )


# ------------------------------------------------------------------------------------------------ normaliser


class ObservationNormaliser:
    """Running mean and variance of observations (parallel algorithm of Chan et al. 1979).

    Attributes:
        mean: (D,) float64.
        variance: (D,) float64.
        count: observations seen.
    """

    def __init__(self, size: int) -> None:
        self.mean: torch.Tensor = torch.zeros(size, dtype=torch.float64)
        self.variance: torch.Tensor = torch.ones(size, dtype=torch.float64)
        self.count: float = 1e-4

    @property
    def std(self) -> torch.Tensor:
        """(D,) float32, at least 1e-4: a constant observation is not blown up."""
        return self.variance.sqrt().clamp_min(1e-4).float()

    def __call__(self, observation: torch.Tensor) -> torch.Tensor:
        """Normalised and clipped float32, as the policy bundle does it."""
        return ((observation - self.mean.float()) / self.std).clamp(-NORMALISED_CLIP, NORMALISED_CLIP)

    def update(self, observations: torch.Tensor, processes: Processes = SINGLE) -> None:
        """Take in raw observations (M, D), those of all processes."""
        count, mean, squared_deviations = processes.moments(observations.double())
        total = self.count + count
        delta = mean - self.mean
        squares = self.variance * self.count + squared_deviations + delta**2 * self.count * count / total
        self.mean = self.mean + delta * count / total
        self.variance = squares / total
        self.count = total

    def state_dict(self) -> dict[str, Any]:
        """For checkpoints."""
        return {"mean": self.mean, "variance": self.variance, "count": self.count}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Inverse of :meth:`state_dict`."""
        self.mean, self.variance, self.count = state["mean"], state["variance"], state["count"]


# ------------------------------------------------------------------------------------------------ network


def _mlp(sizes: list[int], last_gain: float) -> nn.Sequential:
    """Orthogonal layers with tanh between; the output layer is scaled by ``last_gain``."""
    layers: list[nn.Module] = []
    for index in range(len(sizes) - 1):
        linear = nn.Linear(sizes[index], sizes[index + 1])
        is_last = index == len(sizes) - 2
        nn.init.orthogonal_(linear.weight, last_gain if is_last else 2**0.5)
        nn.init.zeros_(linear.bias)
        layers += [linear] if is_last else [linear, nn.Tanh()]
    return nn.Sequential(*layers)


class ActorCritic(nn.Module):
    """Gaussian policy with a state-independent standard deviation, and a value function of its own."""

    def __init__(self, observation_size: int, action_size: int, config: PPOConfig) -> None:
        super().__init__()
        hidden = list(config.hidden_sizes)
        self.actor = _mlp([observation_size, *hidden, action_size], last_gain=0.01)
        self.critic = _mlp([observation_size, *hidden, 1], last_gain=1.0)
        self.log_std = nn.Parameter(torch.full((action_size,), config.initial_log_std))

    def distribution(self, observation: torch.Tensor) -> torch.distributions.Normal:
        """Action distribution for normalised observations (M, D)."""
        return torch.distributions.Normal(self.actor(observation), self.log_std.exp(), validate_args=False)

    def value(self, observation: torch.Tensor) -> torch.Tensor:
        """Values (M,) of normalised observations (M, D)."""
        return self.critic(observation)[:, 0]


# ------------------------------------------------------------------------------------------------ rollout


@dataclass(kw_only=True)
class Rollout:
    """T steps of N environments.

    Attributes:
        raw: (T, N, D) observations as they came.
        observation: (T, N, D) normalised.
        action: (T, N, A), not clipped.
        log_prob: (T, N).
        reward: (T, N).
        value: (T, N) of the observation.
        next_value: (T, N) of what followed: bootstrapped where an episode ended.
        done: (T, N) 1.0 where an episode ended.
        hint: (T, N, A) what the teacher would do, zero where nobody says.
        guided: (T, N) 1.0 where there is a hint.
        successes: episodes that ended in success.
        episodes: episodes that ended.
        episode_rewards: sum of all rewards of the episodes that ended.
    """

    raw: torch.Tensor
    observation: torch.Tensor
    action: torch.Tensor
    log_prob: torch.Tensor
    reward: torch.Tensor
    value: torch.Tensor
    next_value: torch.Tensor
    done: torch.Tensor
    hint: torch.Tensor
    guided: torch.Tensor
    successes: int
    episodes: int
    episode_rewards: float


def check_finite(name: str, values: np.ndarray | torch.Tensor, cause: str) -> None:
    """Stop when a number is NaN or infinite.

    Raises:
        TrainingError: naming the quantity, how many numbers are bad, and the usual cause.
    """
    finite = torch.isfinite(torch.as_tensor(values))
    if not bool(finite.all()):
        bad = int((~finite).sum())
        raise TrainingError(f"{name} contain NaN or infinite numbers ({bad} of {finite.numel()}): {cause}")


class PPO:
    """The learner: owns network, optimiser and normaliser; steps the environment it is given.

    With ``guide`` a teacher guides it; without, this is plain PPO. Several ``processes`` learn one policy from
    environments of their own: gradients and all statistics are shared, so that they do what one would with all of them.
    """

    def __init__(
        self,
        env: "VectorEnv",
        config: PPOConfig,
        device: torch.device,
        guide: Guide | None = None,
        processes: Processes = SINGLE,
    ) -> None:
        self.env = env
        self.guide = guide
        self.processes = processes
        self.steps = 0
        self.config = config
        self.device = device
        self.network = ActorCritic(env.observation_size, env.action_size, config).to(device)
        self.normaliser = ObservationNormaliser(env.observation_size)
        self.optimiser = torch.optim.Adam(self.network.parameters(), lr=config.learning_rate, eps=1e-5)
        self.observation = np.zeros((env.num_envs, env.observation_size), dtype=np.float32)
        self._episode_reward = np.zeros(env.num_envs)
        processes.share(self.network.parameters())

    def start(self, seed: int) -> None:
        """Reset the environments."""
        self.observation = self.env.reset(seed)
        self._episode_reward[:] = 0
        if self.guide is not None:
            self.guide.start()

    def _normalised(self, observation: np.ndarray) -> torch.Tensor:
        return self.normaliser(torch.from_numpy(observation)).to(self.device)

    @torch.no_grad()
    def collect(self) -> Rollout:
        """Take ``rollout_steps`` steps with the current policy.

        Raises:
            TrainingError: observations or rewards are not finite.
        """
        steps, count = self.config.rollout_steps, self.env.num_envs
        sizes = {"raw": self.env.observation_size, "observation": self.env.observation_size}
        sizes |= {"action": self.env.action_size, "hint": self.env.action_size}
        buffer = {name: torch.zeros(steps, count, size) for name, size in sizes.items()}
        for name in ("log_prob", "reward", "next_value", "done", "guided"):
            buffer[name] = torch.zeros(steps, count)
        buffer = {name: tensor.to(self.device) for name, tensor in buffer.items()}
        ended: list[torch.Tensor] = []
        successes = episodes = 0
        episode_rewards = 0.0
        if self.guide is not None:
            self.guide.begin_rollout()
        for t in range(steps):
            buffer["raw"][t] = torch.from_numpy(self.observation)
            if self.guide is not None:  # guidance, first place: every call to the teacher is made here
                buffer["hint"][t], buffer["guided"][t] = self.guide.targets(t, self.observation)
            observation = self._normalised(self.observation)
            distribution = self.network.distribution(observation)
            action = distribution.sample()
            buffer["observation"][t], buffer["action"][t] = observation, action
            buffer["log_prob"][t] = distribution.log_prob(action).sum(dim=1)

            result = self.env.step(action.cpu().numpy())
            check_finite("rewards", result.reward, "usually a bug in the environment's reward computation")
            check_finite(
                "observations", result.final_observation, "usually the simulation blew up: check the controller"
            )
            self.observation = result.observation
            done = result.terminated | result.truncated
            buffer["reward"][t] = torch.from_numpy(result.reward)
            buffer["done"][t] = torch.from_numpy(done.astype(np.float32))
            ended.append(self._bootstrap(result.reward, result.terminated, result.truncated, result.final_observation))
            successes += int((result.success & done).sum())
            episodes += int(done.sum())
            self._episode_reward += result.reward
            episode_rewards += float(self._episode_reward[done].sum())
            self._episode_reward[done] = 0
            if self.guide is not None:
                self.guide.episodes_ended(done)

        self.steps += steps * count * self.processes.count
        if self.guide is not None:
            self.guide.end_rollout(self.processes.mean(buffer["reward"].mean().item()), self.steps)
        flat = buffer["observation"].reshape(steps * count, -1)
        value = self.network.value(flat).reshape(steps, count)
        last_value = self.network.value(self._normalised(self.observation))
        following = torch.cat([value[1:], last_value[None]])
        buffer["next_value"] = torch.where(buffer["done"] > 0, torch.stack(ended), following)
        return Rollout(**buffer, value=value, successes=successes, episodes=episodes, episode_rewards=episode_rewards)

    def _bootstrap(
        self, reward: np.ndarray, terminated: np.ndarray, truncated: np.ndarray, final: np.ndarray
    ) -> torch.Tensor:
        """Value (N,) after an episode's last step: the critic's where time ran out, an absorbing state's at success."""
        values = torch.zeros(len(reward), device=self.device)
        if truncated.any():
            values = torch.where(
                torch.from_numpy(truncated).to(self.device), self.network.value(self._normalised(final)), values
            )
        absorbing = torch.from_numpy(reward).to(self.device) / (1.0 - self.config.gamma)
        return torch.where(torch.from_numpy(terminated).to(self.device), absorbing, values)

    # -------------------------------------------------------------------------------------------- advantages

    def advantages(self, rollout: Rollout) -> torch.Tensor:
        """Generalised advantage estimation (Schulman et al. 2016, arXiv:1506.02438), shape (T, N)."""
        gamma, decay = self.config.gamma, self.config.gamma * self.config.gae_lambda
        delta = rollout.reward + gamma * rollout.next_value - rollout.value
        advantage = torch.zeros_like(delta)
        running = torch.zeros_like(delta[0])
        for t in reversed(range(len(delta))):
            running = delta[t] + decay * (1.0 - rollout.done[t]) * running
            advantage[t] = running
        return advantage

    # -------------------------------------------------------------------------------------------- update

    def update(self, rollout: Rollout) -> dict[str, float]:
        """Improve policy and value on one rollout; figures for the log.

        Raises:
            TrainingError: the loss is not finite.
        """
        advantage = self.advantages(rollout)
        batch = {
            "observation": rollout.observation.flatten(0, 1),
            "action": rollout.action.flatten(0, 1),
            "log_prob": rollout.log_prob.flatten(),
            "advantage": advantage.flatten(),
            "value_target": (advantage + rollout.value).flatten(),
            "hint": rollout.hint.flatten(0, 1),
            "guided": rollout.guided.flatten(),
        }
        figures = self._guidance_figures(batch)
        done = self._improve(batch)
        self.normaliser.update(rollout.raw.flatten(0, 1).cpu(), self.processes)
        mean = {name: float(np.mean([row[name] for row in done])) for name in done[0]} if done else {}
        return {
            **mean,
            **figures,
            "policy/std": self.network.log_std.exp().mean().item(),
            "policy/minibatches": float(len(done)),
            "rollout/reward": self.processes.mean(rollout.reward.mean().item()),
        }

    def _improve(self, batch: dict[str, torch.Tensor]) -> list[dict[str, float]]:
        """Epochs of minibatches until the policy has moved far enough; figures of each."""
        config, size = self.config, len(batch["advantage"])
        done: list[dict[str, float]] = []
        for _ in range(config.epochs):
            for index in torch.randperm(size, device=self.device).tensor_split(config.minibatches):
                part = {name: tensor[index] for name, tensor in batch.items()}
                loss, figures = self._loss(part)
                figures["policy/kl"] = self.processes.mean(figures["policy/kl"])
                if figures["policy/kl"] > config.target_kl:
                    return done
                check_finite("losses", loss.detach(), "usually a learning rate that is too high")
                self.optimiser.zero_grad(set_to_none=True)
                loss.backward()
                self.processes.average_gradients(self.network.parameters())
                nn.utils.clip_grad_norm_(self.network.parameters(), config.max_grad_norm)
                self.optimiser.step()
                done.append(figures)
        return done

    def _loss(self, part: dict[str, torch.Tensor]) -> tuple[torch.Tensor, dict[str, float]]:
        """What a minibatch asks to be made small, and its figures."""
        config = self.config
        distribution = self.network.distribution(part["observation"])
        log_ratio = distribution.log_prob(part["action"]).sum(dim=1) - part["log_prob"]
        ratio = log_ratio.exp()
        kl = ((ratio - 1) - log_ratio).mean()  # low-variance estimate, joschu.net/blog/kl-approx.html

        count, mean, squares = self.processes.moments(part["advantage"])
        advantage = (part["advantage"] - mean) / ((squares / (count - 1)).sqrt() + 1e-8)
        clipped = ratio.clamp(1 - config.clip, 1 + config.clip)
        policy_loss = torch.maximum(-advantage * ratio, -advantage * clipped).mean()
        value_loss = (self.network.value(part["observation"]) - part["value_target"]).square().mean()
        entropy = distribution.entropy().sum(dim=1).mean()
        loss = policy_loss + config.value_coefficient * value_loss - config.entropy_coefficient * entropy
        figures = {
            "loss/policy": policy_loss.item(),
            "loss/value": value_loss.item(),
            "policy/kl": kl.item(),
            "policy/clipped_share": ((ratio - 1).abs() > config.clip).float().mean().item(),
            "policy/entropy": entropy.item(),
        }
        if self.guide is not None and self.guide.weight > 0:  # guidance, second place: L = L_PPO + lambda L_aux
            guidance_loss = self.guide.loss(distribution.mean, part["hint"], part["guided"])
            loss = loss + self.guide.weight * guidance_loss
            figures["loss/guidance"] = guidance_loss.item()
        return loss, figures

    def _guidance_figures(self, batch: dict[str, torch.Tensor]) -> dict[str, float]:
        """How the rollout was guided, and how the policy that made it agrees with the teacher."""
        if self.guide is None:
            return {}
        with torch.no_grad():
            means = self.network.actor(batch["observation"])
        return self.guide.figures(means, batch["hint"], batch["guided"])

    # -------------------------------------------------------------------------------------------- state

    def state_dict(self) -> dict[str, Any]:
        """Everything needed to go on: network, optimiser, normaliser, steps taken, guidance."""
        return {
            "network": self.network.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "normaliser": self.normaliser.state_dict(),
            "steps": self.steps,
            "guide": self.guide.state_dict() if self.guide is not None else None,
        }

    def begin_with(self, state: dict[str, Any]) -> None:
        """Take network and normaliser of an earlier run's :meth:`state_dict`; optimiser and steps begin anew.

        Raises:
            ValueError: it is another network.
        """
        try:
            self.network.load_state_dict(state["network"])
        except RuntimeError as error:
            raise ValueError(
                f"the network to begin with is another one ({str(error).splitlines()[-1].strip()}): its run must have "
                "had this task, this contract and these --ppo.hidden-sizes"
            ) from error
        self.normaliser.load_state_dict(state["normaliser"])

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Inverse of :meth:`state_dict`."""
        self.network.load_state_dict(state["network"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.normaliser.load_state_dict(state["normaliser"])
        self.steps = state["steps"]
        if self.guide is not None:
            self.guide.load_state_dict(state["guide"])
