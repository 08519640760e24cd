"""Training's observation terms equal the robot's, for the same states."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from vlajs.geometry import TOOL_DOWN_WXYZ, Pose, quat_of, rotation
from vlajs.policy.observations import TERMS as ROBOT_TERMS
from vlajs.policy.observations import Inputs
from vlajs_training.tasks.terms import TERMS, BatchPose, BatchState


def random_pose(rng: np.random.Generator, turn_rad: float) -> Pose:
    """Anywhere on the table, turned from tool-down by up to ``turn_rad`` about each axis."""
    turned = Rotation.from_rotvec(rng.uniform(-turn_rad, turn_rad, 3)) * rotation(TOOL_DOWN_WXYZ)
    return Pose(position_m=rng.uniform(-0.7, 0.7, 3), quat_wxyz=quat_of(turned))


def test_the_two_registries_hold_the_same_terms() -> None:
    assert list(TERMS) == list(ROBOT_TERMS)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), flip=st.booleans())
@pytest.mark.parametrize("name", list(TERMS))
def test_term_equals_the_robots(name: str, seed: int, flip: bool) -> None:
    rng = np.random.default_rng(seed)
    inputs = Inputs(
        tcp=random_pose(rng, 1.0),
        target=random_pose(rng, 1.0),
        gripper_width_m=rng.uniform(0, 0.08),
        gripper_command_m=rng.choice([0.0, 0.08]),
        objects={name: random_pose(rng, 3.0) for name in ("cube", "peg", "hole")},
        goal_m=rng.uniform(-0.7, 0.7, 3),
        half_sizes_m={name: rng.uniform(0.01, 0.1, 3) for name in ("peg", "hole")},
    )
    sign = -1.0 if flip else 1.0  # q and -q are the same rotation; simulators return either

    def batch(values: object) -> torch.Tensor:
        return torch.as_tensor(np.asarray(values, dtype=np.float64))[None]

    state = BatchState(
        tcp_position_m=batch(inputs.tcp.position_m),
        tcp_wxyz=sign * batch(inputs.tcp.quat_wxyz),
        target_position_m=batch(inputs.target.position_m),
        target_wxyz=batch(inputs.target.quat_wxyz),
        gripper_width_m=batch(inputs.gripper_width_m),
        gripper_command_m=batch(inputs.gripper_command_m),
        objects={
            name: BatchPose(position_m=batch(pose.position_m), wxyz=sign * batch(pose.quat_wxyz))
            for name, pose in inputs.objects.items()
        },
        half_sizes_m={name: batch(size_m) for name, size_m in inputs.half_sizes_m.items()},
        goal_m=batch(inputs.goal_m),
        joint_speed_share=torch.zeros(1),
    )
    ours = TERMS[name](state)[0].numpy()
    np.testing.assert_allclose(ours, ROBOT_TERMS[name].compute(inputs), atol=1e-9)
