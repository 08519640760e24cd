"""``TaskEnvironment``: rewards and protocols are passed on, and what is varied is varied."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from vlajs.policy.contract import terms
from vlajs.policy.response import ControllerResponse
from vlajs_training.environment import REFLEX_REWARD, TaskEnvironment
from vlajs_training.randomisation import PRESETS, Randomisation, get_randomisation
from vlajs_training.responses import TWIN_RESPONSE
from vlajs_training.tasks.terms import axis_of

RESPONSE = ControllerResponse.from_yaml(TWIN_RESPONSE)
NONE = Randomisation()
FORWARD = np.tile(np.array([1, 0, 0, 0, 0, 0, 1], np.float32), (2, 1))


@pytest.fixture(autouse=True)
def _one_torch_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def make(randomisation: Randomisation = NONE, task: str = "pick_cube", **options: Any) -> TaskEnvironment:
    return TaskEnvironment(task, num_envs=2, response=RESPONSE, randomisation=randomisation, **options)


def slices(env: TaskEnvironment) -> dict[str, slice]:
    return {term.name: slice(term.start, term.stop) for term in terms(list(env.definition.terms))}


def travelled_m(env: TaskEnvironment, decisions: int) -> float:
    """How far forward the target of the first environment goes."""
    env.reset(3)
    before = float(env.state().target_position_m[0, 0])
    for _ in range(decisions):
        env.step(FORWARD)
    return float(env.state().target_position_m[0, 0]) - before


def test_steps_of_the_long_protocol_are_a_tenth() -> None:
    env = make(protocol="long")
    assert env.definition.horizon_steps == 1000
    # 3 decisions of 2 ticks of 1.5 mm
    assert travelled_m(env, 3) == pytest.approx(0.009, abs=1e-5)


@pytest.mark.parametrize(("reward", "expected"), [("sub_optimal", 1.0), ("dense", 1.0)])
def test_success_in_the_first_tick_of_a_decision_is_paid(
    monkeypatch: pytest.MonkeyPatch, reward: str, expected: float
) -> None:
    """A moving arm may be still at the goal for one tick alone: the episode ends there, and not as a failure."""
    env = make(reward=reward)
    env.definition = replace(env.definition, shaping=lambda state, action, info: torch.zeros(2))
    env.reset(3)
    stock_step, ticks = env.simulation.step, []

    def step(action: torch.Tensor) -> Any:
        observation, paid, terminated, truncated, info = stock_step(action)
        ticks.append(action)
        info["success"] = torch.tensor([len(ticks) == 1, False])
        return observation, paid, terminated, truncated, info

    monkeypatch.setattr(env.simulation, "step", step)
    result = env.step(np.zeros((2, 7), np.float32))
    assert len(ticks) == 2
    assert result.success.tolist() == result.terminated.tolist() == [True, False]
    assert result.reward[0] == expected
    assert result.reward[1] < 0.5


def come_down(env: TaskEnvironment, beside_m: float, decisions: int = 40) -> tuple[list[bool], list[float], float]:
    """Come down with open fingers, the first environment's tool beside its cube's middle along the closing axis.

    Returns its ``terminated`` of each decision up to the first that is set, the rewards, and how high the tool ended
    over the cube's middle.
    """
    env.reset(3)
    ended, rewards = [], []
    for _ in range(decisions):
        state = env.state()
        off_m = state.cube_position_m - state.tcp_position_m
        off_m = (off_m + beside_m * axis_of(state.tcp_wxyz, 1)).numpy()
        aside_m = float(np.linalg.norm(off_m[0, :2]))
        off_m[:, 2] = off_m[:, 2] if aside_m < 0.003 else 0.0  # first to its place, then down
        action = np.zeros((2, 7), np.float32)
        action[:, :3], action[:, 6] = np.clip(off_m / 0.03, -1.0, 1.0), 1.0
        over_m = float((state.tcp_position_m - state.cube_position_m)[0, 2])
        result = env.step(action)
        ended.append(bool(result.terminated[0]))
        rewards.append(float(result.reward[0]))
        if ended[-1]:
            break
    return ended, rewards, over_m


def test_a_fingertip_that_lands_on_the_cube_ends_the_episode_as_a_failure() -> None:
    # open fingers are 80 mm apart and 20 mm thick: 50 mm to a side one is over the cube's middle
    ended, rewards, over_m = come_down(make(reflexes_from_success=0.0), 0.05)
    assert ended[-1]
    assert rewards[-1] == REFLEX_REWARD < rewards[-2]
    assert over_m > 0.02, "the finger came to the cube's top, 20 mm over its middle"
    # with the fingers beside the cube the tool comes down to it
    ended, _, over_m = come_down(make(reflexes_from_success=0.0), 0.0)
    assert not any(ended)
    assert over_m < 0.01


def turn_the_peg(height_m: float) -> list[float]:
    """Grasp a peg by its middle, raise it, turn it by a quarter; the first environment's rewards until it ends."""
    env = make(task="lift_peg_upright", reflexes_from_success=0.0, end_at_success=False)
    env.reset(3)
    rewards: list[float] = []
    for decision in range(44):
        state, action = env.state(), np.zeros((2, 7), np.float32)
        wanted_m = state.peg_position_m.clone()
        wanted_m[:, 2] = 0.025
        if decision < 12:  # above it, then down to it, fingers open
            wanted_m[:, 2] += 0.0 if decision > 5 else 0.08
            action[:, 6] = 1.0
        else:
            action[:, 6] = -1.0
            wanted_m = state.tcp_position_m.clone()
            wanted_m[:, 2] = height_m if decision > 18 else 0.025
            action[:, 4] = 1.0 if decision > 26 else 0.0
        action[:, :3] = np.clip((wanted_m - state.tcp_position_m).numpy() / 0.03, -1.0, 1.0)
        result = env.step(action)
        rewards.append(float(result.reward[0]))
        if result.terminated[0]:
            break
    return rewards


def test_a_held_peg_that_is_pressed_on_the_table_ends_the_episode_as_a_failure() -> None:
    # turned on the spot its end, 12 cm away, would have to go through the table
    pressed = turn_the_peg(0.025)
    assert len(pressed) < 44
    assert pressed[-1] == REFLEX_REWARD
    assert len(turn_the_peg(0.2)) == 44


def test_the_table_is_asked_how_hard_a_held_object_stands_on_it(monkeypatch: pytest.MonkeyPatch) -> None:
    env = make(task="lift_peg_upright", reflexes_from_success=0.0)
    env.reset(3)
    env.step(np.tile(np.array([0, 0, 0, 0, 0, 0, 1], np.float32), (2, 1)))
    simulation: Any = env.simulation
    measure_n = simulation.scene.get_pairwise_contact_forces
    # a peg that lies there: 0.6 kg * 9.81 m/s2 = 5.89 N, upwards
    on_table_n = measure_n(simulation.peg, simulation.table_scene.table)[:, 2].tolist()
    assert on_table_n == pytest.approx([5.89, 5.89], abs=0.3)

    def pressed_n(first: Any, second: Any) -> torch.Tensor:
        on_table = first is simulation.peg and second is simulation.table_scene.table
        return torch.tensor([[0.0, 0.0, 30.0], [0.0, 0.0, 20.0]]) if on_table else torch.zeros(2, 3)

    monkeypatch.setattr(simulation.scene, "get_pairwise_contact_forces", pressed_n)
    held = torch.tensor([True, True])
    monkeypatch.setattr(simulation.agent, "is_grasping", lambda item: held)
    assert env._in_reflex().tolist() == [True, False]  # more than 25 N, and less
    held = torch.tensor([False, False])
    assert env._in_reflex().tolist() == [False, False], "what nobody holds may fall on the table"


def lean_over_the_peg(lean: float) -> bool:
    """Come down on a peg's middle with open fingers, the hand leaning along the peg; whether that is a reflex."""
    env = make(task="lift_peg_upright", reflexes_from_success=0.0, end_at_success=False)
    env.reset(3)
    for decision in range(20):
        state, action = env.state(), np.zeros((2, 7), np.float32)
        wanted_m = state.peg_position_m.clone()
        wanted_m[:, 2] = 0.022 if decision > 8 else 0.1
        action[:, :3] = np.clip((wanted_m - state.tcp_position_m).numpy() / 0.03, -1.0, 1.0)
        action[:, 4], action[:, 6] = lean if decision < 5 else 0.0, 1.0  # 0.1 rad each
        if env.step(action).terminated[0]:
            return True
    return False


def test_a_palm_that_comes_down_on_the_peg_ends_the_episode() -> None:
    # it is 45 mm over the tool and 32 mm deep to either side: leaning by 0.5 rad its edge is
    # 22 + 45 cos 0.5 - 32 sin 0.5 = 46 mm over the table, and the peg is 50 mm high
    assert lean_over_the_peg(1.0)
    assert not lean_over_the_peg(0.0)


def test_reflexes_begin_once_enough_episodes_succeed() -> None:
    assert not any(come_down(make(), 0.05)[0])
    env = make(reflexes_from_success=0.5)
    env._learn_skill(np.array([True] * 100))  # half of the weight of all: 0.5 * 1
    assert env._skill == pytest.approx(0.5)
    assert come_down(env, 0.05)[0][-1]
    env = make(reflexes_from_success=0.5)
    env._learn_skill(np.array([True] * 98 + [False] * 2))  # 0.5 * 0.98
    assert not any(come_down(env, 0.05)[0])


def test_the_sub_optimal_reward_pays_nothing_for_reaching() -> None:
    dense, sub_optimal = make(), make(reward="sub_optimal")
    down = np.tile(np.array([0, 0, -1, 0, 0, 0, 1], np.float32), (2, 1))
    for env in (dense, sub_optimal):
        env.reset(3)
    assert (np.abs(dense.step(down).reward) > 0.01).all()
    assert sub_optimal.step(down).reward.tolist() == [0.0, 0.0]


def test_a_delayed_action_arrives_late() -> None:
    # 4 ticks late: of 3 decisions (6 ticks of 15 mm) 2 ticks have arrived
    assert travelled_m(make(replace(NONE, action_delay_ticks=(4, 4))), 3) == pytest.approx(0.03, abs=1e-4)


def test_the_robot_and_the_objects_are_seen_late() -> None:
    env = make(replace(NONE, robot_delay_steps=(1, 1), object_delay_steps=(2, 2)))
    where = slices(env)
    env.reset(3)
    tools, cubes, seen = [], [], []
    for _ in range(4):
        # the cubes are moved by hand, 1 cm a decision
        pose = env.simulation.cube.pose  # type: ignore[attr-defined]
        pose.raw_pose[:, 0] += 0.01
        env.simulation.cube.set_pose(pose)  # type: ignore[attr-defined]
        env.simulation.scene._gpu_apply_all()
        seen.append(env.step(FORWARD).observation)
        state = env.state()
        tools.append(state.tcp_position_m.clone())
        cubes.append(state.cube_position_m.clone())
    np.testing.assert_allclose(seen[3][:, where["tcp_position"]], tools[2], atol=1e-6)
    np.testing.assert_allclose(seen[3][:, where["cube_position"]], cubes[1], atol=1e-6)
    assert (cubes[3][:, 0] - cubes[1][:, 0] > 0.01).all()


def test_biases_last_an_episode_and_noise_does_not() -> None:
    env = make(replace(NONE, object_bias_m=0.01, goal_bias_m=0.01, tcp_noise_m=0.01, tcp_noise_rad=0.05))
    where = slices(env)
    still = np.zeros((2, 7), np.float32)
    still[:, 6] = 1.0
    env.reset(3)
    first, second = env.step(still).observation, env.step(still).observation
    state = env.state()
    for name, truth in (("goal_position", state.goal_m), ("cube_position", state.cube_position_m)):
        error = second[:, where[name]] - truth.numpy()
        assert (np.abs(error[:, :2]) > 1e-5).all()
        np.testing.assert_allclose(first[:, where[name]], second[:, where[name]], atol=1e-4)
    for name in ("tcp_position", "tcp_rotation"):
        assert (np.abs(first[:, where[name]] - second[:, where[name]]) > 1e-5).all()


def test_bodies_and_drives_differ_between_environments() -> None:
    env = make(replace(PRESETS["deploy"], drive_stiffness_factor=(0.5, 2.0), drive_damping_factor=(0.5, 2.0)))
    env.reset(3)
    cubes = env.simulation.cube._bodies  # type: ignore[attr-defined]
    masses = [body.mass for body in cubes]
    # 500 to 2000 kg/m3 times 64 cm3
    assert all(0.032 <= mass <= 0.128 for mass in masses)
    assert masses[0] != masses[1]
    # a cube of edge s: mass * s^2 / 6 about each axis
    assert cubes[0].inertia == pytest.approx(np.full(3, masses[0] * 0.04**2 / 6), rel=1e-5)
    frictions = [body.collision_shapes[0].physical_material.static_friction for body in cubes]
    assert all(0.2 <= friction <= 1.0 for friction in frictions)
    gains = [(joint.stiffness, joint.damping) for joint in env.arm.joints[0]._objs]
    assert all(1000 <= k <= 4000 and 75 <= d <= 300 for k, d in gains)
    assert len({*gains, (2000.0, 150.0)}) == 3, "each its own, none the controller's"


def test_the_initial_joints_vary_as_asked() -> None:
    env = make(replace(NONE, initial_joint_noise_rad=0.0))
    env.reset(3)
    home = torch.tensor(env.definition.task.home_joints_rad, dtype=torch.float32)
    torch.testing.assert_close(env.arm.qpos, home.expand(2, -1), atol=1e-5, rtol=0.0)


def test_unknown_names_are_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match="unknown reward 'x': known are dense, sub_optimal"):
        make(reward="x")
    with pytest.raises(ValueError, match="unknown protocol 'x': known are standard, long"):
        make(protocol="x")
    with pytest.raises(ValueError, match="unknown randomisation 'x': known presets are none, deploy"):
        get_randomisation("x")


def test_friction_and_mass_are_set_when_they_do_not_vary() -> None:
    env = make(replace(NONE, object_friction=(0.6, 0.6), object_density_kg_m3=(500.0, 500.0)))
    env.reset(3)
    for body in env.simulation.cube._bodies:  # type: ignore[attr-defined]
        assert body.collision_shapes[0].physical_material.static_friction == pytest.approx(0.6)
        assert body.mass == pytest.approx(0.032)  # 500 kg/m3 times 64 cm3


def test_response_and_hand_vary_within_what_was_asked() -> None:
    ranges = replace(
        NONE,
        response_latency_factor=(2.0, 6.0),
        response_frequency_factor=(0.5, 0.9),
        hand_speed_m_s=(0.05, 0.06),
        hand_delay_s=(0.1, 0.2),
    )
    env = TaskEnvironment("pick_cube", num_envs=16, response=RESPONSE, randomisation=ranges)
    env.reset(3)
    # 4.9 ms times 2 to 6, in physics steps of 10 ms: 1 to 3
    steps = env.arm.filter.latency_steps
    assert set(steps.tolist()) <= {1, 2, 3}
    assert len(set(steps.tolist())) > 1
    # a slower response leaves more of the way to go after one physics step than the identified one does
    identified = make().arm.filter.transition[0, 0, 0]
    assert (env.arm.filter.transition[:, 0, 0] > identified).all()
    for values, (low, high) in ((env.hand.speed_m_s, (0.05, 0.06)), (env.hand.delay_s, (0.1, 0.2))):
        assert ((values >= low) & (values <= high)).all()
        assert len(values.unique()) == 16


def test_the_objects_and_the_goal_are_seen_with_noise() -> None:
    env = make(replace(NONE, object_noise_m=0.01, object_noise_rad=0.1, goal_noise_m=0.01))
    where = slices(env)
    still = np.zeros((2, 7), np.float32)
    still[:, 6] = 1.0
    env.reset(3)
    first, second = env.step(still).observation, env.step(still).observation
    for name in ("cube_position", "cube_yaw4", "goal_position"):
        assert (np.abs(first[:, where[name]] - second[:, where[name]]) > 1e-5).all()
    np.testing.assert_allclose(first[:, where["tcp_position"]], second[:, where["tcp_position"]], atol=1e-3)


def test_environments_of_random_ages_do_not_all_end_in_the_same_step() -> None:
    env = TaskEnvironment("push_cube", num_envs=16, response=RESPONSE, randomisation=NONE, random_ages=True)
    env.reset(3)
    still = np.zeros((16, 7), np.float32)
    ended = [env.step(still).truncated.sum() for _ in range(40)]  # 80 ticks: every episode's horizon once
    assert sum(ended) == 16
    assert max(ended) < 8
    env.random_ages = False
    env.reset(3)
    assert [env.step(still).truncated.sum() for _ in range(40)] == [0] * 39 + [16]


def test_a_gpu_varies_no_friction_and_says_so() -> None:
    deploy = PRESETS["deploy"]
    assert deploy.applied_on("cpu") == deploy
    on_gpu = deploy.applied_on("cuda")
    assert (on_gpu.object_friction, on_gpu.object_density_kg_m3) == (NONE.object_friction, NONE.object_density_kg_m3)
    assert on_gpu.hand_delay_s == deploy.hand_delay_s
