"""The stand-in for the GPU system: tables, contacts, link reads, and what it refuses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from vlajs_training.simulation import partial_reset, reset_all
from vlajs_training.simulation.buffers import SyncedBuffer

Environment = Callable[..., Any]

NUM_ENVS = 3


@pytest.fixture
def env(environment: Environment) -> Any:
    made = environment("PickCube-v1", NUM_ENVS, "batched_cpu")
    reset_all(made, seed=2)
    return made


def test_tables_say_what_sapien_says(env: Any) -> None:
    for _ in range(3):
        env.step(torch.full((NUM_ENVS, 8), 0.4))
    for index in range(NUM_ENVS):
        robot = env.agent.robot._objs[index]
        np.testing.assert_allclose(env.agent.robot.qpos[index], robot.qpos, atol=1e-6)
        np.testing.assert_allclose(env.agent.robot.qvel[index], robot.qvel, atol=1e-6)
        np.testing.assert_allclose(env.agent.robot.qacc[index], robot.qacc, atol=1e-6)
        cube = env.cube._bodies[index]
        np.testing.assert_allclose(env.cube.pose.p[index], cube.entity_pose.p, atol=1e-6)
        np.testing.assert_allclose(env.cube.pose.q[index], cube.entity_pose.q, atol=1e-6)
        np.testing.assert_allclose(env.cube.linear_velocity[index], cube.linear_velocity, atol=1e-6)
        tool = env.agent.tcp._objs[index]
        np.testing.assert_allclose(env.agent.tcp.pose.p[index], tool.entity_pose.p, atol=1e-6)
        np.testing.assert_allclose(env.agent.tcp.linear_velocity[index], tool.linear_velocity, atol=1e-6)
        np.testing.assert_allclose(env.agent.tcp.angular_velocity[index], tool.angular_velocity, atol=1e-6)
    assert env.agent.tcp.linear_velocity.abs().max() > 0.01, "the arm stands still: nothing was compared"


def test_a_read_between_steps_sees_the_steps_before_it(env: Any) -> None:
    targets = env.agent.robot.qpos
    targets[:, 0] += 0.2
    env.agent.robot.set_joint_drive_targets(targets, env.agent.robot.active_joints)
    angles = [env.agent.robot.qpos[0, 0].item()]
    for _ in range(3):
        env.scene.step()
        angles.append(env.agent.robot.qpos[0, 0].item())
    assert angles[0] < angles[1] < angles[2] < angles[3]


def test_a_written_state_is_not_overwritten_by_reads_before_it_is_applied(env: Any) -> None:
    moved = env.cube.pose.raw_pose.clone()
    moved[:, 2] += 0.05
    env.cube.set_pose(moved)
    assert torch.equal(env.cube.pose.raw_pose, moved)
    env.scene._gpu_apply_all()
    env.scene._gpu_fetch_all()
    torch.testing.assert_close(env.cube.pose.raw_pose, moved)
    assert env.cube._bodies[1].entity_pose.p[2] == pytest.approx(0.07, abs=1e-3)  # 0.02 m at rest, lifted by 0.05 m


def test_contact_impulse_of_a_resting_cube_is_its_weight(env: Any) -> None:
    for _ in range(10):
        env.step(None)
    # m g dt, upwards: gravity 9.81 m/s^2, 100 simulation steps a second
    weight = env.cube.mass * 9.81 * 0.01
    impulse = env.cube.get_net_contact_impulses()
    torch.testing.assert_close(impulse[:, 2], weight, rtol=0.02, atol=0.0)
    on_cube = env.scene.get_pairwise_contact_impulses(env.cube, env.table_scene.table)
    on_table = env.scene.get_pairwise_contact_impulses(env.table_scene.table, env.cube)
    torch.testing.assert_close(on_cube, impulse)
    assert torch.equal(on_cube, -on_table)
    # 1 N s per simulation step is 100 N
    torch.testing.assert_close(env.cube.get_net_contact_forces(), impulse * 100.0)


def test_a_cube_in_the_air_touches_nothing(env: Any) -> None:
    pose = env.cube.pose.raw_pose.clone()
    pose[1, 2] += 0.05  # above the table, below the hand
    env.cube.set_pose(pose)
    env.scene._gpu_apply_all()
    env.scene._gpu_fetch_all()
    env.scene.step()
    impulses = env.cube.get_net_contact_impulses()
    assert impulses[1].abs().max() == 0.0
    assert (impulses[[0, 2], 2] > 0.0).all()


def test_contacts_of_the_last_episode_are_forgotten(env: Any) -> None:
    """PhysX lists them until the next step: a new episode would begin with the last one's grasp."""
    env.scene.step()
    assert (env.cube.get_net_contact_impulses()[:, 2] > 0.0).all()
    partial_reset(env, torch.tensor([1]))
    impulses = env.cube.get_net_contact_impulses()
    assert impulses[1].abs().max() == 0.0
    assert (impulses[[0, 2], 2] > 0.0).all()
    env.step(None)
    assert (env.cube.get_net_contact_impulses()[:, 2] > 0.0).all()


def test_actions_that_are_not_finite_are_refused(env: Any) -> None:
    action = torch.zeros(NUM_ENVS, 8)
    action[1, 3] = torch.nan
    with pytest.raises(ValueError, match=r"drive target, row 1: .* is not finite"):
        env.step(action)
    env.step(torch.zeros(NUM_ENVS, 8))  # the broken target was dropped
    assert torch.isfinite(env.agent.robot.qpos).all()


def test_missing_gpu_interface_is_named(env: Any) -> None:
    with pytest.raises(AttributeError, match="gpu_apply_rigid_dynamic_force"):
        _ = env.scene.px.gpu_apply_rigid_dynamic_force


class TestSyncedBuffer:
    def test_tells_written_rows_from_read_ones(self) -> None:
        table = SyncedBuffer(4, 2)
        table.store(np.arange(4), slice(None), np.ones((4, 2), np.float32))
        assert table.changed_rows().tolist() == []
        table.torch()[2, 1] = 5.0
        assert table.changed_rows().tolist() == [2]
        table.store(np.arange(4), slice(None), np.full((4, 2), 7.0, np.float32))
        assert table.torch().tolist() == [[7.0, 7.0], [7.0, 7.0], [1.0, 5.0], [7.0, 7.0]]
        table.accept(np.array([2]))
        assert table.changed_rows().tolist() == []

    def test_nan_read_from_the_simulation_is_not_a_write(self) -> None:
        table = SyncedBuffer(1, 1)
        table.store(np.array([0]), slice(None), np.array([[np.nan]], np.float32))
        assert table.changed_rows().tolist() == []
