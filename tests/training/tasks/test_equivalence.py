"""Every task in the batched simulation against stock ManiSkill: same seed, same actions, same outcome.

One environment each, driven through ``TaskEnvironment`` with this project's controller, so that observation terms,
ManiSkill's dense reward with shaping, and success are compared at once. Both draw the same scene from a seed.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

from vlajs.policy.response import ControllerResponse
from vlajs_training.environment import Backend, TaskEnvironment
from vlajs_training.randomisation import get_randomisation
from vlajs_training.responses import TWIN_RESPONSE
from vlajs_training.simulation import make_simulation, reset_all
from vlajs_training.tasks import DEFINITIONS

RESPONSE = ControllerResponse.from_yaml(TWIN_RESPONSE)
DECISIONS = 12
OWN_GEOMETRY = "peg_insertion_side"
"""Draws shapes in another way than stock: compared below, with shapes that are set."""


def make(task: str, num_envs: int, backend: Backend, **options: Any) -> TaskEnvironment:
    return TaskEnvironment(
        task, num_envs=num_envs, response=RESPONSE, randomisation=get_randomisation("none"), backend=backend, **options
    )


@pytest.fixture(autouse=True)
def _one_torch_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def towards(observation: np.ndarray, env: TaskEnvironment, rng: np.random.Generator) -> np.ndarray:
    """An action (1, 7) that takes the tool to the object, down to the table and shakes it there."""
    state = env.state()
    thing = next(iter(state.objects.values()))
    offset_m = (thing.position_m - state.tcp_position_m).numpy() + rng.normal(0.0, 0.02, (1, 3))
    action = np.zeros((1, 7), np.float32)
    action[:, :3] = np.clip(offset_m / 0.03, -1, 1)
    action[:, 3:6] = rng.normal(0.0, 0.3, 3)
    action[:, 6] = rng.choice([-1.0, 1.0])
    return action


@pytest.mark.parametrize("task", [name for name in DEFINITIONS if name != OWN_GEOMETRY])
def test_a_task_agrees_with_stock(task: str) -> None:
    ours, stock = make(task, 1, "batched_cpu"), make(task, 1, "stock_cpu")
    rng = np.random.default_rng(1)
    seen, expected = ours.reset(11), stock.reset(11)
    first = seen
    np.testing.assert_allclose(seen, expected, atol=1e-5)
    for _ in range(DECISIONS):
        action = towards(seen, ours, rng)
        result, reference = ours.step(action), stock.step(action)
        seen = result.observation
        np.testing.assert_allclose(seen, reference.observation, atol=1e-4)
        np.testing.assert_allclose(result.reward, reference.reward, atol=1e-4)
        assert result.success == reference.success
    assert np.abs(seen - first).max() > 0.05, "nothing moved: no comparison"
    ours.close()
    stock.close()


def peg_state(env: Any) -> dict[str, Any]:
    return {kind: env.get_state_dict()[kind] for kind in ("actors", "articulations")}


def test_a_peg_of_the_pool_behaves_as_stocks_own() -> None:
    """Shapes that are attached later collide, weigh and are rewarded as those ManiSkill builds."""
    options: dict[str, Any] = {"control_mode": "pd_joint_delta_pos", "robot_uids": "panda"}
    stock: Any = make_simulation("PegInsertionSide-v1", num_envs=1, backend="stock_cpu", **options)
    ours: Any = make_simulation("VlajsPegInsertionSide-v1", num_envs=2, backend="batched_cpu", **options)
    reset_all(stock, seed=5)
    reset_all(ours, seed=6)
    half_sizes = stock.peg_half_sizes[0].numpy()
    hole_offset = stock.box_hole_offsets.p[:, 1:].numpy()
    ours.use_geometry(torch.tensor([1]), half_sizes[None, 0], half_sizes[None, 1], hole_offset)
    state = peg_state(stock)
    # the peg 20 mm above the table, aslant: it falls, tips and comes to rest on its shape
    peg = state["actors"]["peg"].clone()
    peg[:, 2] += 0.02
    peg[:, 3:7] = torch.nn.functional.normalize(torch.tensor([[0.7, 0.1, 0.05, 0.7]]), dim=1)
    state["actors"]["peg"] = peg
    twice = {kind: {name: rows.repeat(2, 1) for name, rows in part.items()} for kind, part in state.items()}
    stock.set_state_dict(state)
    ours.set_state_dict(twice)
    for env in (stock, ours):
        env.agent.controller.reset()
    for step in range(20):
        action = torch.full((1, 8), 0.2 * (-1) ** (step // 5))
        expected = stock.step(action)
        seen = ours.step(action.repeat(2, 1))
        torch.testing.assert_close(seen[0][1:], expected[0], atol=1e-3, rtol=0.0)
        torch.testing.assert_close(seen[1][1:], expected[1], atol=1e-4, rtol=0.0)
        assert seen[4]["success"][1] == expected[4]["success"][0]
    assert ours.peg._bodies[1].mass == pytest.approx(stock.peg._bodies[0].mass, rel=1e-5)
    np.testing.assert_allclose(ours.peg._bodies[1].inertia, stock.peg._bodies[0].inertia, rtol=1e-4)


def test_success_of_the_peg_is_stocks() -> None:
    """The head in the middle of the hole, just short of it, and beside it."""
    ours: Any = make_simulation(
        "VlajsPegInsertionSide-v1", num_envs=3, backend="batched_cpu", control_mode="pd_joint_delta_pos"
    )
    reset_all(ours, seed=3)
    # goal_pose is the peg's pose with its head in the middle of the hole
    goal = ours.goal_pose.raw_pose.clone()
    axis = ours.box_hole_pose.to_transformation_matrix()[:, :3, 0]
    side = ours.box_hole_pose.to_transformation_matrix()[:, :3, 1]
    goal[1, :3] -= 0.016 * axis[1]
    goal[2, :3] += (ours.box_hole_radii[2] + 0.001) * side[2]
    state = {kind: {name: rows.clone() for name, rows in part.items()} for kind, part in peg_state(ours).items()}
    state["actors"]["peg"][:, :7] = goal
    ours.set_state_dict(state)
    assert ours.evaluate()["success"].tolist() == [True, False, False]


def test_a_peg_differs_between_episodes_and_stays_within_them() -> None:
    env = make(OWN_GEOMETRY, 3, "batched_cpu")
    env.reset(4)

    def sizes() -> torch.Tensor:
        return env.state().half_sizes_m["peg"].clone()

    first = sizes()
    still = np.tile(np.array([0, 0, 0, 0, 0, 0, 1], np.float32), (3, 1))
    env.step(still)
    assert torch.equal(sizes(), first)
    drawn = []
    for _ in range(6):
        env.simulation._elapsed_steps[1] = env.definition.horizon_steps - 1
        assert env.step(still).truncated.tolist() == [False, True, False]
        drawn.append(float(sizes()[1, 0]))
    assert torch.equal(sizes()[[0, 2]], first[[0, 2]]), "the others keep theirs"
    # 6 draws of 8 are all alike with probability 8^-5
    assert len(set(drawn)) > 1
    # what is seen is what collides: exactly one shape of the peg does, and it has the size that is seen
    body: Any = env.simulation.peg._bodies[1]  # type: ignore[attr-defined]
    (solid,) = [shape for shape in body.collision_shapes if any(shape.get_collision_groups())]
    np.testing.assert_allclose(solid.half_size, sizes()[1], atol=1e-6)
    half_size = sizes()[1].numpy()
    assert body.mass == pytest.approx(8000 * half_size.prod(), rel=1e-4)
    again = make(OWN_GEOMETRY, 3, "batched_cpu")
    again.reset(4)
    assert torch.equal(again.state().half_sizes_m["peg"], first), "a seed stands for one set of pegs"
    again.reset(5)
    assert not torch.equal(again.state().half_sizes_m["peg"], first)


@pytest.mark.parametrize("task", [name for name in DEFINITIONS if name not in ("push_cube", "pick_cube")])
def test_a_reset_environment_leaves_the_other_alone(task: str) -> None:
    env = make(task, 2, "batched_cpu")
    still = np.zeros((2, 7), np.float32)
    runs = []
    for reset_after in (None, 1):
        env.reset(7)
        seen = []
        for step in range(4):
            if step == reset_after:
                env.simulation._elapsed_steps[1] = env.definition.horizon_steps - 1
            seen.append(env.step(still).observation)
        runs.append(np.stack(seen))
    np.testing.assert_array_equal(runs[0][:, 0], runs[1][:, 0])
    np.testing.assert_array_equal(runs[0][0], runs[1][0])
    assert not np.array_equal(runs[0][1:, 1], runs[1][1:, 1])
    env.close()
