"""The batched CPU simulation against ManiSkill's own: same states, same actions, same outcome.

Measured with joint control (no inverse kinematics), 50 steps of random actions at full size, contacts of the fingers
and grasps included: every observation is bit-identical, because PhysX gets the same numbers in the same order. Rewards
differ by 1e-7 (torch vectorises a batch's tanh differently). The tolerances below leave room for other processors.

The states must have been set in the same way: a state that is drawn and one that is read back and set again differ in
the last bit, which contacts between the fingers amplify to 4e-3 rad/s within 30 steps (in stock ManiSkill as well).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from vlajs_training.simulation import Backend, make_simulation, reset_all

OBSERVATION_TOLERANCE = 1e-6
REWARD_TOLERANCE = 1e-6
STEPS = 50
NUM_ENVS = 2
KINDS = ("actors", "articulations")

State = dict[str, dict[str, torch.Tensor]]
RollOut = dict[str, torch.Tensor]


def drawn_state(env: Any, seed: int) -> State:
    """The scenes of a seed, as a state that can be set."""
    reset_all(env, seed)
    return {kind: {name: rows.clone() for name, rows in env.get_state_dict()[kind].items()} for kind in KINDS}


def roll_out(env: Any, state: State, actions: torch.Tensor) -> RollOut:
    """Observations, rewards and flags from a state on, time first."""
    reset_all(env, seed=99)
    env.set_state_dict({kind: {name: rows.clone() for name, rows in state[kind].items()} for kind in KINDS})
    env.agent.controller.reset()
    rows: dict[str, list[torch.Tensor]] = {}
    for action in actions:
        observation, reward, _, _, info = env.step(action)
        flags = {name: info[name] for name in ("success", "is_grasped") if name in info}
        for name, values in {"observation": observation, "reward": reward, **flags}.items():
            rows.setdefault(name, []).append(values.clone())
    return {name: torch.stack(steps) for name, steps in rows.items()}


def assert_agrees_with_stock(batched: Any, stocks: list[Any], state: State, actions: torch.Tensor) -> RollOut:
    """Roll out all environments at once and one by one; returns the former."""
    ours = roll_out(batched, state, actions)
    for index, stock in enumerate(stocks):
        only = slice(index, index + 1)
        one = {kind: {name: rows[only] for name, rows in state[kind].items()} for kind in KINDS}
        theirs = roll_out(stock, one, actions[:, only])
        assert theirs.keys() == ours.keys()
        for name, values in theirs.items():
            if values.dtype == torch.bool:
                assert torch.equal(ours[name][:, only], values), name
            else:
                tolerance = REWARD_TOLERANCE if name == "reward" else OBSERVATION_TOLERANCE
                torch.testing.assert_close(ours[name][:, only], values, atol=tolerance, rtol=0.0)
    return ours


@pytest.mark.parametrize(
    "task, control_mode",
    [
        ("PushCube-v1", "pd_joint_delta_pos"),
        ("PickCube-v1", "pd_joint_delta_pos"),
        ("PickCube-v1", "pd_joint_target_delta_pos"),
        ("PickCube-v1", "pd_joint_vel"),
    ],
)
def test_random_motion_agrees_with_stock(
    task: str, control_mode: str, environment: Callable[..., Any], random_actions: Callable[..., torch.Tensor]
) -> None:
    batched = environment(task, NUM_ENVS, "batched_cpu", control_mode)
    stock = environment(task, 1, "stock_cpu", control_mode)
    actions = random_actions(STEPS, NUM_ENVS, 1, 1.0)
    ours = assert_agrees_with_stock(batched, [stock] * NUM_ENVS, drawn_state(batched, seed=3), actions)
    assert (ours["observation"][-1] - ours["observation"][0]).abs().max() > 0.1, "nothing moved: no comparison"


def test_grasp_is_seen_in_both() -> None:
    # New environments: PhysX solves simultaneous contacts in an order that depends on the pairs met before, and a
    # grasp then differs by 0.01 rad/s from the first step on (between two runs of stock ManiSkill as well).
    def make(backend: Backend, num_envs: int) -> Any:
        return make_simulation("PickCube-v1", num_envs=num_envs, backend=backend, control_mode="pd_joint_delta_pos")

    batched = make("batched_cpu", NUM_ENVS)
    stocks = [make("stock_cpu", 1) for _ in range(NUM_ENVS)]
    state = drawn_state(batched, seed=5)
    # Fingers 1 mm from a cube at the tool centre point: half size 20 mm, fingers at 21 mm.
    # Articulation row: root pose and velocity (13), then 9 joint positions, of which the last two are the fingers.
    (robot,) = state["articulations"].values()
    robot[:, 20:22] = 0.021
    cube = state["actors"]["cube"]
    cube[:, :7], cube[:, 7:] = batched.agent.tcp.pose.raw_pose, 0.0
    actions = torch.zeros(15, NUM_ENVS, 8)
    actions[:, 0, 7] = -1.0  # environment 0 closes the hand
    actions[:, 1, 7] = 1.0  # environment 1 opens it and drops the cube
    actions[6:, :, 3] = 0.3  # then both raise the arm (joint 4)
    ours = assert_agrees_with_stock(batched, stocks, state, actions)
    assert ours["is_grasped"][4:, 0].all(), "a hand closed around the cube is a grasp"
    assert not ours["is_grasped"][:, 1].any(), "an open hand is none"
    height = batched.cube.pose.p[:, 2]
    assert height[0] > 0.15, "the cube was carried"
    assert height[1] == pytest.approx(0.02, abs=2e-3), "the cube fell on the table"


def test_targets_that_change_within_a_control_step_agree_with_stock(
    environment: Callable[..., Any], random_actions: Callable[..., torch.Tensor]
) -> None:
    """An interpolating controller writes a new drive target before each of the 5 simulation steps."""
    batched = environment("PickCube-v1", NUM_ENVS, "batched_cpu")
    stock = environment("PickCube-v1", 1, "stock_cpu")
    actions = random_actions(20, NUM_ENVS, 2, 1.0)
    state = drawn_state(batched, seed=8)
    plain = roll_out(batched, state, actions)
    configs = [env.agent.controller.controllers["arm"].config for env in (batched, stock)]
    for config in configs:
        config.interpolate = True
    try:
        ours = assert_agrees_with_stock(batched, [stock] * NUM_ENVS, state, actions)
    finally:
        for config in configs:
            config.interpolate = False
    assert (ours["observation"] - plain["observation"]).abs().max() > 0.01, "interpolation made no difference"
