"""Making ManiSkill environments on one of three simulations, and resetting them reproducibly."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Literal
from weakref import WeakKeyDictionary

import numpy as np

# torch and ManiSkill take seconds to import: worker processes and their parent come here without needing them yet.
if TYPE_CHECKING:
    import torch
    from mani_skill.envs.sapien_env import BaseEnv

Backend = Literal["batched_cpu", "stock_cpu", "cuda"]

_SIM_BACKENDS: dict[str, str] = {"batched_cpu": "batched_cpu", "stock_cpu": "physx_cpu", "cuda": "physx_cuda"}
_episode_seeds: WeakKeyDictionary[Any, np.random.Generator] = WeakKeyDictionary()


def make_simulation(
    maniskill_id: str,
    *,
    num_envs: int,
    backend: Backend,
    control_mode: str,
    reward_mode: str = "normalized_dense",
    obs_mode: str = "state",
    **kwargs: Any,
) -> BaseEnv:
    """A ManiSkill environment without wrappers: no time limit, no automatic reset.

    Args:
        maniskill_id: a registered task, such as "PickCube-v1".
        num_envs: number of environments simulated together.
        backend: "batched_cpu" (N PhysX CPU scenes in this process), "stock_cpu" (ManiSkill's own, one environment)
            or "cuda" (ManiSkill on a GPU).
        control_mode: a controller of the task's robot, such as "pd_joint_delta_pos".
        reward_mode, obs_mode: ManiSkill's.
        **kwargs: further arguments of the task, such as robot_uids or sim_config.
    Raises:
        ValueError: unknown task or backend, or a number of environments the backend cannot hold.
        RuntimeError: another version of ManiSkill than the supported one.
    """
    import torch

    from vlajs_training.simulation import headless, patches

    patches.require_supported_maniskill()
    headless.install()
    if backend not in _SIM_BACKENDS:
        raise ValueError(f"backend={backend!r} is unknown: use one of {sorted(_SIM_BACKENDS)}.")
    if num_envs < 1 or (backend == "stock_cpu" and num_envs != 1):
        raise ValueError(
            f"num_envs={num_envs} with backend={backend!r}: the stock CPU simulation holds exactly 1 environment, the "
            "others at least 1. Use backend='batched_cpu' for several environments on the CPU."
        )
    if backend == "batched_cpu":
        patches.install()
    import mani_skill.envs  # noqa: F401  (registers ManiSkill's tasks)
    from mani_skill.utils.registration import REGISTERED_ENVS

    if maniskill_id not in REGISTERED_ENVS:
        raise ValueError(
            f"{maniskill_id!r} is not a registered ManiSkill task. Check the spelling, or import the module that "
            "registers it first."
        )
    kwargs.setdefault("render_backend", "none")
    with torch.inference_mode(False), torch.no_grad():
        return REGISTERED_ENVS[maniskill_id].make(
            num_envs=num_envs,
            sim_backend=_sim_backend(backend),
            control_mode=control_mode,
            reward_mode=reward_mode,
            obs_mode=obs_mode,
            **kwargs,
        )


def _sim_backend(backend: Backend) -> str:
    """ManiSkill's name, with the GPU that torch is set to: left to themselves the two may choose different ones."""
    import torch

    name = _SIM_BACKENDS[backend]
    return f"{name}:{torch.cuda.current_device()}" if backend == "cuda" else name


def reset_all(env: BaseEnv, seed: int, *, rebuild: bool = False) -> Any:
    """Reset every environment from a seed: the same seed gives the same scenes, now and in later partial resets.

    Args:
        env: an environment of `make_simulation`.
        seed: 0 to 2**31 - 1.
        rebuild: build the scenes anew (a second or two). Tasks that draw shapes when they are built, such as
            PegInsertionSide-v1, keep one shape per environment otherwise, the same in every run.
    Returns:
        ManiSkill's observation of all environments.
    Raises:
        ValueError: seed out of range.
    """
    if not 0 <= seed < 2**31:
        raise ValueError(f"seed={seed} is outside 0 .. {2**31 - 1}, the range that ManiSkill's generators accept.")
    # A child sequence: the scenes of later resets must not repeat those drawn from the seed itself.
    _episode_seeds[env] = np.random.default_rng(np.random.SeedSequence(seed).spawn(1)[0])
    with _undisturbed_torch_random(env.device):
        observation, _ = env.reset(seed=seed, options={"reconfigure": True} if rebuild else None)
    return observation


def partial_reset(env: BaseEnv, env_idx: torch.Tensor) -> Any:
    """Start a new episode in the given environments and leave the others exactly as they are.

    ManiSkill's `reset()` clears its reset mask before it resets the controllers, so that a controller with a virtual
    target loses the target of *all* environments; here the mask holds until the controllers are done. New scenes are
    drawn from the seed of the last `reset_all`, not from torch's global generator, which is left untouched.

    Args:
        env: an environment of `make_simulation` that `reset_all` has seeded.
        env_idx: distinct indices of environments, at least one.
    Returns:
        ManiSkill's observation of all environments.
    Raises:
        RuntimeError: `reset_all` was never called.
        ValueError: empty, repeated or out-of-range indices.
    """
    import torch

    seeds = _episode_seeds.get(env)
    if seeds is None:
        raise RuntimeError("partial_reset before reset_all: call reset_all(env, seed) once, it seeds the episodes.")
    env_idx = torch.as_tensor(env_idx, dtype=torch.long, device=env.device).flatten()
    mask = torch.zeros(env.num_envs, dtype=torch.bool, device=env.device)
    in_range = bool(((env_idx >= 0) & (env_idx < env.num_envs)).all())
    if in_range:
        mask[env_idx] = True
    if env_idx.numel() == 0 or not in_range or int(mask.sum()) != env_idx.numel():
        raise ValueError(
            f"env_idx={env_idx.tolist()}: expected one or more distinct indices in 0 .. {env.num_envs - 1}. "
            "Skip the call when no environment is to be reset."
        )
    with _undisturbed_torch_random(env.device), _controllers_reset_under(env, mask):
        _seed_torch(env.device, int(seeds.integers(2**63)))
        observation, _ = env.reset(options={"env_idx": env_idx})
    return observation


@contextlib.contextmanager
def _undisturbed_torch_random(device: torch.device) -> Iterator[None]:
    """Give torch's global generators back as they were."""
    import torch

    cpu_state = torch.get_rng_state()
    cuda_state = torch.cuda.get_rng_state(device) if device.type == "cuda" else None
    try:
        yield
    finally:
        torch.set_rng_state(cpu_state)
        if cuda_state is not None:
            torch.cuda.set_rng_state(cuda_state, device)


def _seed_torch(device: torch.device, seed: int) -> None:
    """Seed the generators a task draws from (`torch.manual_seed` would queue calls for devices that are absent)."""
    import torch

    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        with torch.cuda.device(device):
            torch.cuda.manual_seed(seed)


@contextlib.contextmanager
def _controllers_reset_under(env: BaseEnv, mask: torch.Tensor) -> Iterator[None]:
    """While open, a controller that is reset sees `mask` as the scene's reset mask."""
    controllers = [] if env.agent is None else _controllers(env.agent.controller)
    for controller in controllers:
        controller.reset = _masked(controller.reset, env.scene, mask)  # type: ignore[method-assign]  (its own, for now)
    try:
        yield
    finally:
        for controller in controllers:
            del controller.reset  # the class's own method shows again


def _controllers(controller: Any) -> list[Any]:
    """The controllers that ManiSkill resets: several for an environment with several robots."""
    return list(controller.values()) if isinstance(controller, dict) else [controller]


def _masked(reset: Any, scene: Any, mask: torch.Tensor) -> Any:
    def masked_reset() -> None:
        everything, scene._reset_mask = scene._reset_mask, mask
        try:
            reset()
        finally:
            scene._reset_mask = everything

    return masked_reset
