"""The simulated arm and hand against the robot side's rule and hand-computed responses."""

import math

import numpy as np
import pytest
import torch

from vlajs.control.identification import transition
from vlajs.control.target import TargetLimits, integrate_target
from vlajs.geometry import Pose
from vlajs.geometry import rotvec_between as rotvec_between_numpy
from vlajs.policy.actions import scale_action
from vlajs.policy.response import ControllerResponse
from vlajs_training.controller.arm import JOINT_VELOCITY_LIMIT_RAD_S
from vlajs_training.controller.response import ResponseFilter
from vlajs_training.environment import TaskEnvironment
from vlajs_training.randomisation import get_randomisation
from vlajs_training.responses import TWIN_RESPONSE
from vlajs_training.rotations import quat_from_rotvec, quaternion_multiply, rotvec_between

NUM_ENVS = 4


@pytest.fixture(scope="module")
def env():
    environment = TaskEnvironment(
        "pick_cube",
        num_envs=NUM_ENVS,
        response=ControllerResponse.from_yaml(TWIN_RESPONSE),
        randomisation=get_randomisation("none"),
        end_at_success=False,
    )
    yield environment
    environment.close()


def limits_of(env: TaskEnvironment) -> TargetLimits:
    """What the bridge enforces for this task's contract."""
    action = env.definition.action
    return TargetLimits(
        max_step_m=action.position_scale_m,
        max_step_rad=action.rotation_scale_rad,
        leash_m=action.leash_m,
        leash_rad=action.leash_rad,
        workspace_min_m=action.workspace_min_m,
        workspace_max_m=action.workspace_max_m,
    )


def poses(position: torch.Tensor, quat: torch.Tensor) -> list[Pose]:
    """One pose an environment, in double precision with unit quaternions."""
    quat = quat.double() / quat.double().norm(dim=1, keepdim=True)
    return [
        Pose(position_m=p.copy(), quat_wxyz=q.copy())
        for p, q in zip(position.double().numpy(), quat.numpy(), strict=True)
    ]


@pytest.mark.parametrize(
    "bias",
    [
        pytest.param(np.zeros(7), id="free"),
        pytest.param(np.array([0, 0, -3.0, 0, 0, 0, 0]), id="into-the-floor-of-the-box"),
        pytest.param(np.array([3.0, 3.0, 0, 0, 0, 3.0, 0]), id="box-corner-and-rotation-leash"),
    ],
)
def test_targets_equal_the_bridges(env: TaskEnvironment, bias: np.ndarray) -> None:
    """Actions outside [-1, 1] too: both sides clamp. ManiSkill works in float32, hence 1e-5."""
    rng = np.random.default_rng(1)
    env.reset(3)
    limits = limits_of(env)
    targets = poses(env.arm.target_position_m, env.arm.target_wxyz)
    leashed = boxed = 0
    for _ in range(25):
        actions = rng.normal(size=(NUM_ENVS, 7)) + bias
        measured = poses(*env.arm.measured_pose())
        env.simulation.step(torch.from_numpy(actions.astype(np.float32)))
        simulated = poses(env.arm.target_position_m, env.arm.target_wxyz)
        for index in range(NUM_ENVS):
            increment = scale_action(actions[index].astype(np.float32), env.definition.action)
            targets[index] = integrate_target(
                targets[index], measured[index], increment.delta_pos_m, increment.delta_rotvec_rad, limits
            )
            np.testing.assert_allclose(simulated[index].position_m, targets[index].position_m, atol=1e-5)
            turn = rotvec_between_numpy(simulated[index].quat_wxyz, targets[index].quat_wxyz)
            assert np.linalg.norm(turn) < 1e-5 * 50  # accumulates a float32 rounding of 1e-6 rad a step
            lead = rotvec_between_numpy(measured[index].quat_wxyz, targets[index].quat_wxyz)
            leashed += np.linalg.norm(lead) > limits.leash_rad - 1e-6
            boxed += bool(np.any(np.isclose(targets[index].position_m, limits.workspace_min_m, atol=1e-6)))
            boxed += bool(np.any(np.isclose(targets[index].position_m, limits.workspace_max_m, atol=1e-6)))
    if bias[2] < 0:
        assert boxed > 0
    if bias[5] > 0:
        assert boxed > 0


def test_the_leash_holds_when_the_arm_cannot_follow(env: TaskEnvironment) -> None:
    """With the drives let go the target may not run away from the tool by more than the leash."""
    env.reset(4)
    for joint in env.arm.joints:
        joint.set_drive_properties(0.0, 1000.0, force_limit=100.0)
    try:
        for _ in range(10):
            measured = env.arm.measured_pose()[0].clone()
            env.simulation.step(torch.tensor([[1.0, 0, 0, 0, 0, 0, 0]]).expand(NUM_ENVS, 7))
            lead = (env.arm.target_position_m - measured).norm(dim=1)
            assert float(lead.max()) < env.definition.action.leash_m + 1e-6
    finally:
        env.arm.set_drive_property()
    # ten steps of 15 mm would be 150 mm; the leash is 40 mm
    assert float(lead.min()) == pytest.approx(0.04, abs=1e-4)


def test_joint_velocity_limits_hold_whatever_the_policy_does(env: TaskEnvironment) -> None:
    env.reset(5)
    rng = np.random.default_rng(0)
    limit = torch.tensor(JOINT_VELOCITY_LIMIT_RAD_S)
    for _ in range(40):
        before = env.arm._joints_ref.clone()
        action = np.sign(rng.normal(size=(NUM_ENVS, 7))).astype(np.float32)
        env.simulation.step(torch.from_numpy(action))
        # one control step of 0.05 s
        assert bool(((env.arm._joints_ref - before).abs() <= limit * 0.05 + 1e-6).all())
        assert bool((env.arm.qvel.abs() < 1.1 * limit).all())


def test_partial_reset_leaves_other_targets_alone(env: TaskEnvironment) -> None:
    from vlajs_training.simulation import partial_reset

    env.reset(6)
    for _ in range(5):
        env.simulation.step(torch.full((NUM_ENVS, 7), 0.5))
    before = env.arm.target_position_m.clone()
    partial_reset(env.simulation, torch.tensor([1]))
    kept = torch.tensor([0, 2, 3])
    torch.testing.assert_close(env.arm.target_position_m[kept], before[kept])
    measured = env.arm.measured_pose()[0]
    torch.testing.assert_close(env.arm.target_position_m[1], measured[1], atol=1e-5, rtol=0)


def test_response_is_latency_then_a_damped_second_order() -> None:
    response = ResponseFilter(2, torch.device("cpu"))
    # 10 rad/s, critically damped, steps of 0.1 s; the second environment sees its target two steps later
    both = torch.tensor([0, 1])
    response.set_response(both, torch.tensor([0.0, 0.2]), torch.full((2,), 10.0), torch.ones(2), step_s=0.1)
    down = torch.tensor([[0.0, 1.0, 0.0, 0.0]]).expand(2, 4).clone()
    response.reset(torch.ones(2, dtype=torch.bool), torch.zeros(2, 3), down)
    turned = quaternion_multiply(quat_from_rotvec(torch.tensor([[0.0, 0.0, 0.5]]).expand(2, 3)), down)
    response.set_target(torch.ones(2, 3), turned)
    first, second, turn = [], [], []
    for _ in range(4):
        response.step()
        first.append(float(response.position_m[0, 0]))
        second.append(float(response.position_m[1, 0]))
        turn.append(float(rotvec_between(down, response.quat_wxyz)[0, 2]))
    # distance left after n steps of w t = 1: (1 + n) e^-n
    reached = [1 - (1 + n) * math.exp(-n) for n in range(1, 5)]
    assert first == pytest.approx(reached, abs=1e-5)
    assert second == pytest.approx([0, 0, *reached[:2]], abs=1e-5)
    assert turn == pytest.approx([0.5 * share for share in reached], abs=1e-4)


def test_response_matches_the_identified_model() -> None:
    response = ResponseFilter(1, torch.device("cpu"))
    response.set_response(torch.tensor([0]), torch.zeros(1), torch.tensor([21.0]), torch.tensor([0.47]), step_s=0.01)
    np.testing.assert_allclose(response.transition[0], transition(21.0, 0.47, 0.01), rtol=1e-4, atol=1e-6)


def test_hand_closes_with_hysteresis_delay_and_speed(env: TaskEnvironment) -> None:
    env.reset(7)
    hand, step_s = env.hand, 0.05
    hand.delay_s[:], hand.speed_m_s[:] = 0.1, 0.05

    def step(gripper: float) -> None:
        action = torch.zeros(NUM_ENVS, 7)
        action[:, 6] = gripper
        env.simulation.step(action)

    step(-0.1)  # asks for 0.036 m: inside the hysteresis, nothing happens
    assert float(hand.command_m.min()) == pytest.approx(0.08)
    step(-0.5)  # 0.02 m: close
    assert float(hand.command_m.max()) == 0.0
    step(1.0)  # busy: ignored
    assert float(hand.command_m.max()) == 0.0
    # two control steps of delay have passed; then each finger target comes down 0.05 m/s * 0.05 s = 2.5 mm a step
    assert float(hand._finger_target_m[0]) == pytest.approx(0.04, abs=2e-3)
    for _ in range(4):
        step(-1.0)
    assert float(hand._finger_target_m[0]) == pytest.approx(0.04 - 4 * 0.05 * step_s, abs=1e-3)
