"""Closed-form kinematics against hand-computed poses, finite differences and SAPIEN's own robot."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mani_skill.utils.geometry.rotation_conversions import quaternion_to_matrix

from vlajs_training.simulation import panda_kinematics, reset_all

joint_positions = st.lists(st.floats(-2.8, 2.8), min_size=7, max_size=7)


def test_zero_posture() -> None:
    position, rotation = panda_kinematics.forward(torch.zeros(1, 7, dtype=torch.float64))
    # x: the last offset, 0.088. z: up 0.333 + 0.316 + 0.384 = 1.033, down flange and hand 0.107 + 0.1034 = 0.2104.
    torch.testing.assert_close(position, torch.tensor([[0.088, 0.0, 1.033 - 0.2104]], dtype=torch.float64))
    # The tool points down; the hand is turned by -45 degrees about it.
    c = math.sqrt(0.5)
    expected = torch.tensor([[c, c, 0.0], [c, -c, 0.0], [0.0, 0.0, -1.0]], dtype=torch.float64)
    torch.testing.assert_close(rotation[0], expected)


def test_turning_the_first_joint_turns_everything() -> None:
    q = torch.zeros(1, 7, dtype=torch.float64)
    q[0, 0] = math.pi / 2  # x becomes y
    position, _ = panda_kinematics.forward(q)
    torch.testing.assert_close(position, torch.tensor([[0.0, 0.088, 0.8226]], dtype=torch.float64))
    # About z at 0.088 m from the axis: 0.088 m/s, backwards along x.
    expected = torch.tensor([-0.088, 0.0, 0.0, 0.0, 0.0, 1.0], dtype=torch.float64)
    torch.testing.assert_close(panda_kinematics.jacobian(q)[0, :, 0], expected)


@settings(max_examples=30, deadline=None)
@given(joint_positions)
def test_jacobian_is_the_derivative_of_forward(values: list[float]) -> None:
    q = torch.tensor([values], dtype=torch.float64)
    jacobian = panda_kinematics.jacobian(q)[0]
    step = 1e-6
    _, rotation = panda_kinematics.forward(q)
    for joint in range(7):
        offset = torch.zeros_like(q)
        offset[0, joint] = step
        (p1, r1), (p0, r0) = panda_kinematics.forward(q + offset), panda_kinematics.forward(q - offset)
        torch.testing.assert_close(jacobian[:3, joint], (p1 - p0)[0] / (2 * step), atol=1e-8, rtol=0.0)
        spin = ((r1 - r0)[0] / (2 * step)) @ rotation[0].T  # skew-symmetric matrix of the angular velocity
        omega = torch.stack([spin[2, 1], spin[0, 2], spin[1, 0]])
        torch.testing.assert_close(jacobian[3:, joint], omega, atol=1e-8, rtol=0.0)


def test_agrees_with_sapien(environment: Callable[..., Any]) -> None:
    env = environment("PickCube-v1", 3, "batched_cpu")
    for seed in range(4):
        reset_all(env, seed)
        qpos = env.agent.robot.qpos
        qpos[:, :7] += torch.from_numpy(env._episode_rng.uniform(-0.6, 0.6, (3, 7))).float()
        env.agent.robot.set_qpos(qpos)
        env.scene._gpu_apply_all()
        env.scene.px.gpu_update_articulation_kinematics()
        env.scene._gpu_fetch_all()
        tool = env.agent.robot.pose.inv() * env.agent.tcp.pose
        position, rotation = panda_kinematics.forward(env.agent.robot.qpos[:, :7])
        torch.testing.assert_close(position, tool.p, atol=2e-6, rtol=0.0)
        torch.testing.assert_close(rotation, quaternion_to_matrix(tool.q), atol=2e-6, rtol=0.0)


def test_keeps_the_dtype_and_nearly_the_value() -> None:
    q = torch.linspace(-1.5, 1.5, 70, dtype=torch.float64).reshape(10, 7)
    single = panda_kinematics.jacobian(q.float())
    assert single.dtype == torch.float32
    assert single.shape == (10, 6, 7)
    torch.testing.assert_close(single.double(), panda_kinematics.jacobian(q), atol=2e-6, rtol=0.0)


@pytest.mark.parametrize("shape", [(7,), (2, 9), (1, 2, 7)])
def test_other_shapes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="the arm's joints only"):
        panda_kinematics.forward(torch.zeros(shape))
