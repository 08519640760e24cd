"""Choosing a simulation, and what is refused."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from importlib import metadata
from typing import Any

import pytest
import torch

from vlajs_training.simulation import headless, make_simulation, patches, reset_all


def test_stock_and_batched_live_in_one_process(environment: Callable[..., Any]) -> None:
    """Stock environments made before, between and after batched ones keep ManiSkill's own code."""
    before = environment("PushCube-v1", 1, "stock_cpu")
    batched = environment("PushCube-v1", 2, "batched_cpu")
    after = make_simulation("PushCube-v1", num_envs=1, backend="stock_cpu", control_mode="pd_ee_delta_pose")
    assert batched.gpu_sim_enabled
    observations = []
    for env in (before, batched, after):
        reset_all(env, seed=1)
        observations.append(env.step(torch.zeros(env.num_envs, env.single_action_space.shape[0]))[0])
    for env in (before, after):
        assert not env.gpu_sim_enabled
        assert type(env.scene.px).__name__ == "PhysxCpuSystem"
    assert not after.agent.controller.controllers["arm"].kinematics.use_gpu_ik
    assert [tuple(o.shape) for o in observations] == [(1, 35), (2, 35), (1, 35)]


def test_installing_again_changes_nothing() -> None:
    from mani_skill.envs.sapien_env import BaseEnv

    patches.install()
    hooked = BaseEnv._setup_scene
    patches.install()
    headless.install()
    assert BaseEnv._setup_scene is hooked


def test_another_maniskill_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metadata, "version", lambda _name: "3.1.0")
    with pytest.raises(RuntimeError, match=r"mani_skill 3\.1\.0 is installed.*Install mani_skill==3\.0\.1"):
        make_simulation("PushCube-v1", num_envs=1, backend="batched_cpu", control_mode="pd_joint_delta_pos")


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"backend": "gpu"}, "backend='gpu' is unknown"),
        ({"backend": "stock_cpu", "num_envs": 2}, "holds exactly 1 environment"),
        ({"num_envs": 0}, "num_envs=0"),
        ({"maniskill_id": "PushCub-v1"}, "'PushCub-v1' is not a registered ManiSkill task"),
        ({"render_backend": "cpu"}, "does not render"),
    ],
)
def test_wrong_arguments_are_refused(arguments: dict[str, Any], message: str) -> None:
    complete: dict[str, Any] = {
        "maniskill_id": "PushCube-v1",
        "num_envs": 1,
        "backend": "batched_cpu",
        "control_mode": "pd_joint_delta_pos",
    }
    complete.update(arguments)
    with pytest.raises(ValueError, match=message):
        make_simulation(complete.pop("maniskill_id"), **complete)


def test_body_frame_controllers_are_refused_as_on_the_gpu(environment: Callable[..., Any]) -> None:
    """The batched inverse kinematics would take a body-frame action for a root-frame one."""
    env = environment("PickCube-v1", 3, "batched_cpu", "pd_ee_target_delta_pose")
    config = env.agent.controller.controllers["arm"].config
    in_body_frame = dataclasses.replace(config, frame="body_translation:body_aligned_body_rotation")
    with pytest.raises(AssertionError, match="root frame"):
        config.controller_cls(in_body_frame, env.agent.robot, env.control_freq, scene=env.scene)
