"""Resetting some environments: the others do not notice, the reset ones start as if fresh."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from vlajs_training.simulation import partial_reset, reset_all

Environment = Callable[..., Any]
Actions = Callable[..., torch.Tensor]

NUM_ENVS = 3
TARGET_MODES = ["pd_joint_target_delta_pos", "pd_ee_target_delta_pose"]


def roll_out(env: Any, actions: torch.Tensor, reset_after: dict[int, list[int]] | None = None) -> torch.Tensor:
    """Observations of every step; `reset_after` maps a step to the environments that are reset after it."""
    observations = []
    for step, action in enumerate(actions):
        observation = env.step(action)[0]
        if reset_after and step in reset_after:
            observation = partial_reset(env, torch.tensor(reset_after[step]))
        observations.append(observation.clone())
    return torch.stack(observations)


@pytest.mark.parametrize("control_mode", ["pd_joint_delta_pos", *TARGET_MODES])
def test_untouched_environments_are_bit_identical(
    control_mode: str, environment: Environment, random_actions: Actions
) -> None:
    env = environment("PickCube-v1", NUM_ENVS, "batched_cpu", control_mode)
    actions = random_actions(24, NUM_ENVS, 4, 0.5)[..., : env.single_action_space.shape[0]]
    reset_all(env, seed=7)
    alone = roll_out(env, actions)
    reset_all(env, seed=7)
    again = roll_out(env, actions, {6: [1], 12: [1], 13: [1]})
    assert torch.equal(alone[:, [0, 2]], again[:, [0, 2]])
    assert not torch.equal(alone[6:, 1], again[6:, 1])


def test_reset_environment_equals_a_fresh_start(environment: Environment, random_actions: Actions) -> None:
    env = environment("PickCube-v1", NUM_ENVS, "batched_cpu")
    actions = random_actions(20, NUM_ENVS, 5, 0.5)
    reset_all(env, seed=7)
    roll_out(env, actions)
    observation = partial_reset(env, torch.tensor([1])).clone()
    assert int(env.elapsed_steps[1]) == 0
    assert int(env.elapsed_steps[0]) == 20
    state = {kind: {name: rows.clone() for name, rows in part.items()} for kind, part in env.get_state_dict().items()}
    after_reset = roll_out(env, actions)

    reset_all(env, seed=11)
    env.set_state_dict(state)
    fresh = env.get_obs()
    torch.testing.assert_close(observation[1], fresh[1], atol=1e-6, rtol=0.0)
    # Velocities are float32 sums over links in another order: rounding only.
    torch.testing.assert_close(after_reset[:, 1], roll_out(env, actions)[:, 1], atol=1e-5, rtol=0.0)


@pytest.mark.parametrize("control_mode", TARGET_MODES)
def test_only_the_reset_environments_controllers_are_based_anew(
    control_mode: str, environment: Environment, random_actions: Actions
) -> None:
    """ManiSkill alone re-bases the virtual target of all environments here."""
    env = environment("PickCube-v1", NUM_ENVS, "batched_cpu", control_mode)
    arm = env.agent.controller.controllers["arm"]
    reset_all(env, seed=7)
    # Targets run ahead of the arm, so that re-basing shows.
    roll_out(env, random_actions(5, NUM_ENVS, 6, 1.0)[..., : env.single_action_space.shape[0]])

    def target() -> torch.Tensor:
        (values,) = arm.get_state().values()
        return values.clone()

    before = target()
    partial_reset(env, torch.tensor([2, 0]))
    after = target()
    assert torch.equal(before[1], after[1])
    measured = arm.qpos if "joint" in control_mode else arm.ee_pose_at_base.raw_pose
    torch.testing.assert_close(after[[0, 2]], measured[[0, 2]])
    assert (measured[1] - after[1]).abs().max() > 1e-3, "the untouched target stands where the arm is: no test"
    assert "reset" not in vars(env.agent.controller), "the mask must be gone after the reset"
    assert env.scene._reset_mask.all()


def cube_positions(env: Any) -> torch.Tensor:
    return env.cube.pose.p.clone()


def drawn_scenes(env: Any, seed: int, resets: list[list[int]]) -> torch.Tensor:
    """Cube positions of every episode begun, in order."""
    reset_all(env, seed)
    scenes = [cube_positions(env)]
    for env_idx in resets:
        partial_reset(env, torch.tensor(env_idx))
        scenes.append(cube_positions(env)[env_idx])
    return torch.cat(scenes)


def test_scenes_follow_the_seed_and_never_repeat(environment: Environment) -> None:
    env = environment("PickCube-v1", NUM_ENVS, "batched_cpu")
    resets = [[0], [1], [0, 2], [0, 1, 2], [1]]
    torch.manual_seed(0)
    first = drawn_scenes(env, 21, resets)
    torch.manual_seed(1)  # what else draws random numbers must not matter
    assert torch.equal(first, drawn_scenes(env, 21, resets))
    other = drawn_scenes(env, 22, resets)
    everything = torch.cat([first, other])
    assert len(torch.unique(everything, dim=0)) == len(everything)


def test_torch_random_state_is_left_alone(environment: Environment) -> None:
    env = environment("PickCube-v1", NUM_ENVS, "batched_cpu")
    before = torch.get_rng_state()
    reset_all(env, seed=1)
    partial_reset(env, torch.tensor([1]))
    assert torch.equal(before, torch.get_rng_state())


def test_runs_repeat_bit_for_bit(environment: Environment, random_actions: Actions) -> None:
    env = environment("PickCube-v1", NUM_ENVS, "batched_cpu")
    actions = random_actions(15, NUM_ENVS, 9, 0.5)
    runs = []
    for _ in range(2):
        reset_all(env, seed=13)
        runs.append(roll_out(env, actions, {4: [0], 9: [2]}))
    assert torch.equal(runs[0], runs[1])


def test_stock_environment_resets_through_the_same_functions(environment: Environment) -> None:
    env = environment("PickCube-v1", 1, "stock_cpu")
    resets = [[0], [0], [0]]
    first = drawn_scenes(env, 31, resets)
    assert torch.equal(first, drawn_scenes(env, 31, resets))
    assert len(torch.unique(first, dim=0)) == len(first)


@pytest.mark.parametrize("env_idx", [[], [3], [-1], [1, 1]])
def test_bad_indices_are_refused(env_idx: list[int], environment: Environment) -> None:
    env = environment("PickCube-v1", NUM_ENVS, "batched_cpu")
    reset_all(env, seed=1)
    with pytest.raises(ValueError, match=r"distinct indices in 0 \.\. 2"):
        partial_reset(env, torch.tensor(env_idx, dtype=torch.long))


def test_bad_seed_is_refused(environment: Environment) -> None:
    with pytest.raises(ValueError, match="seed=-1"):
        reset_all(environment("PickCube-v1", NUM_ENVS, "batched_cpu"), seed=-1)


def test_peg_shapes_are_drawn_anew_when_rebuilt(environment: Environment) -> None:
    env = environment("PegInsertionSide-v1", 2, "batched_cpu")
    with pytest.raises(RuntimeError, match="partial_reset before reset_all"):
        partial_reset(env, torch.tensor([0]))
    reset_all(env, seed=1, rebuild=True)
    first = env.peg_half_sizes.clone()
    reset_all(env, seed=2, rebuild=True)
    assert not torch.equal(first, env.peg_half_sizes)
    reset_all(env, seed=1, rebuild=True)
    assert torch.equal(first, env.peg_half_sizes)
    env.step(torch.zeros(2, 8))
    partial_reset(env, torch.tensor([1]))
    assert torch.equal(first, env.peg_half_sizes)
