"""What a camera sees of one simulation, shown in another; nothing is rendered here."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch

from vlajs.policy.response import ControllerResponse
from vlajs_training.environment import TaskEnvironment
from vlajs_training.randomisation import get_randomisation
from vlajs_training.responses import TWIN_RESPONSE
from vlajs_training.simulation import reset_all
from vlajs_training.simulation.visible import show, visible_state
from vlajs_training.task_simulation import make_task_simulation


def environment(task: str) -> TaskEnvironment:
    return TaskEnvironment(
        task,
        num_envs=3,
        response=ControllerResponse.from_yaml(TWIN_RESPONSE),
        randomisation=get_randomisation("none"),
    )


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def test_a_stock_scene_takes_on_the_state_of_one_of_several() -> None:
    env = environment("push_cube")
    action = np.tile([1.0, 0.5, -0.5, 0, 0, 0.3, 0], (3, 1)).astype(np.float32)
    for _ in range(4):
        env.step(action)
    states = env.visible_state(np.array([2, 0]))
    # 9 joints, then position and quaternion of the cube and of the disc, in alphabetical order
    assert states.shape == (2, 9 + 7 + 7)
    state = env.state()
    world = np.array([-0.615, 0.0, 0.0])
    np.testing.assert_allclose(states[0, 9:12], state.cube_position_m[2].numpy() + world, atol=1e-6)
    np.testing.assert_allclose(states[1, 16:19], state.goal_m[0].numpy() + world, atol=1e-6)
    stock = make_task_simulation(env.definition, num_envs=1, backend="stock_cpu")
    reset_all(stock, 7)
    show(stock, states[0])
    np.testing.assert_allclose(visible_state(stock, np.array([0]))[0], states[0], atol=1e-6)
    # the tool of the shown arm is where the tool of the simulated one is: links follow their joints
    tool_m = stock.agent.tcp.pose.p[0].numpy() - world  # type: ignore[attr-defined]
    np.testing.assert_allclose(tool_m, state.tcp_position_m[2].numpy(), atol=1e-4)
    for wrong in (states[0, :-1], np.full_like(states[0], np.nan)):
        with pytest.raises(ValueError, match="expected 23 finite numbers"):
            show(stock, wrong)
    stock.close()
    env.close()


def test_looking_changes_nothing_in_the_simulation() -> None:
    action = np.tile([0.5, 0.0, -0.5, 0, 0, 0, 0], (3, 1)).astype(np.float32)
    ends = []
    for looks in (False, True):
        env = environment("push_cube")
        env.reset(3)
        for _ in range(3):
            if looks:
                env.visible_state(np.arange(3))
            observation = env.step(action).observation
        ends.append(observation)
        env.close()
    np.testing.assert_array_equal(ends[0], ends[1])


def test_pegs_and_holes_that_differ_are_part_of_what_is_seen() -> None:
    env = environment("peg_insertion_side")
    states = env.visible_state(np.arange(3))
    assert states.shape == (3, 9 + 7 + 7 + 4)
    half_m = env.state().half_sizes_m["peg"].numpy()
    np.testing.assert_allclose(states[:, 23:25], half_m[:, :2], atol=1e-7)
    assert len(np.unique(states[:, 23])) == 3, "each environment has a peg of its own"
    env.close()
