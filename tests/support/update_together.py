"""Run by torchrun, or alone: one update of PPO on this process's half of a fixed rollout; process 0 saves the result.

torchrun --nproc-per-node 2 update_together.py FILE
"""

import sys
from pathlib import Path

import torch

from tests.support.reach_zero import ReachZero
from tests.support.teachers import CountingTeacher
from vlajs.policy.contract import ActionContract
from vlajs_training.distributed import join_processes, leave_processes
from vlajs_training.guidance import METHODS, GuidanceConfig, Guide
from vlajs_training.ppo import PPO, PPOConfig, Rollout

STEPS, ENVS = 4, 8
ACTION = ActionContract(
    position_scale_m=0.015,
    rotation_scale_rad=0.05,
    leash_m=0.04,
    leash_rad=0.2,
    workspace_min_m=(0.3, -0.3, 0.0),
    workspace_max_m=(0.8, 0.3, 0.5),
)


def fixed_rollout(ppo: PPO) -> dict[str, torch.Tensor]:
    """All environments' steps; log probabilities are those of the network, so that ratios begin at 1."""
    generator = torch.Generator().manual_seed(3)
    raw = torch.randn(STEPS, ENVS, 1, generator=generator)
    action = 0.3 * torch.randn(STEPS, ENVS, 7, generator=generator)
    with torch.no_grad():
        log_prob = ppo.network.distribution(raw).log_prob(action).sum(dim=-1)
        value = ppo.network.value(raw.flatten(0, 1)).reshape(STEPS, ENVS)
    return {
        "raw": raw,
        "observation": raw,
        "action": action,
        "log_prob": log_prob,
        "reward": torch.rand(STEPS, ENVS, generator=generator),
        "value": value,
        "next_value": value.roll(-1, dims=0),
        "done": torch.zeros(STEPS, ENVS),
        "hint": torch.randn(STEPS, ENVS, 7, generator=generator),
        "guided": (torch.rand(STEPS, ENVS, generator=generator) < 0.5).float(),
    }


def main(file: Path) -> None:
    """Update and save parameters, normaliser and figures."""
    processes, device = join_processes("cpu")
    torch.manual_seed(processes.rank)  # networks differ until process 0 shares its own
    guide = Guide(
        CountingTeacher(),
        METHODS["vlajs"],
        GuidanceConfig(min_calls=1, max_call_share=0.5),
        action=ACTION,
        decision_rate_hz=20.0,
        deactivation_reward=1.0,
        num_envs=ENVS // processes.count,
        rollout_steps=STEPS,
        seed=0,
        processes=processes,
    )
    config = PPOConfig(hidden_sizes=(16, 16), minibatches=1, epochs=3, rollout_steps=STEPS)
    ppo = PPO(ReachZero(ENVS // processes.count), config, device, guide, processes)
    share = slice(processes.rank * ENVS // processes.count, (processes.rank + 1) * ENVS // processes.count)
    mine = {name: tensor[:, share] for name, tensor in fixed_rollout(ppo).items()}
    figures = ppo.update(Rollout(**mine, successes=0, episodes=0, episode_rewards=0.0))
    if processes.rank == 0:
        torch.save(
            {
                "network": ppo.network.state_dict(),
                "mean": ppo.normaliser.mean,
                "variance": ppo.normaliser.variance,
                "figures": {name: figures[name] for name in ("policy/kl", "rollout/reward", "policy/minibatches")},
            },
            file,
        )
    leave_processes()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
