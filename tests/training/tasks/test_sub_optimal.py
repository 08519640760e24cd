"""The simplified rewards by hand: they pay for objects, never for the arm, and 1 is success."""

from math import tanh

import pytest
import torch

from tests.support.batch_states import flags, pose, rows, state
from vlajs_training.tasks import DEFINITIONS, sub_optimal

NOTHING = torch.zeros(2, 7)
HALF = 0.5**0.5


def test_a_cube_is_paid_where_it_is_pushed() -> None:
    # 0.2 m and 0.1 m from the goal at x = 0.6; its height does not count
    seen = state(objects={"cube": pose([[0.4, 0.0, 0.02], [0.5, 0.0, 0.5]])})
    assert sub_optimal.pushed(seen, NOTHING, flags()).tolist() == pytest.approx(
        [0.5 * (1 - tanh(1.0)), 0.5 * (1 - tanh(0.5))]
    )


def test_a_cube_is_paid_only_in_the_hand() -> None:
    seen = state(objects={"cube": pose([0.6, 0.0, 0.12])})  # 0.1 m above the goal
    assert sub_optimal.carried(seen, NOTHING, flags(is_grasped=[False, True])).tolist() == pytest.approx(
        [0.0, 0.2 * (2 - tanh(0.5))]
    )


def test_a_placed_cube_may_be_let_go() -> None:
    seen = state(objects={"cube": pose([0.6, 0.0, 0.02])})
    on_spot = flags(is_grasped=[True, False], is_obj_placed=[True, True])
    assert sub_optimal.placed(seen, NOTHING, on_spot).tolist() == pytest.approx([0.4, 0.4])
    elsewhere = flags(is_grasped=[True, False], is_obj_placed=[False, False])
    assert sub_optimal.placed(seen, NOTHING, elsewhere).tolist() == pytest.approx([0.4, 0.0])


def test_a_peg_is_paid_for_rising() -> None:
    # lying at 0.025 m: (0 + 1 - tanh(5 * 0.095)) / 3; standing with its centre at 0.12 m: (1 + 1) / 3
    seen = state(objects={"peg": pose([[0.6, 0.0, 0.025], [0.6, 0.0, 0.12]], [[1.0, 0, 0, 0], [HALF, 0, HALF, 0]])})
    assert sub_optimal.lifted_upright(seen, NOTHING, flags()).tolist() == pytest.approx(
        [(1 - tanh(0.475)) / 3, 2 / 3], abs=1e-6
    )


def test_a_cube_is_paid_where_the_peg_pokes_it() -> None:
    seen = state(objects={"cube": pose([[0.5, 0.0, 0.02], [0.6, 0.0, 0.02]])})
    assert sub_optimal.poked(seen, NOTHING, flags(is_peg_grasped=[True, False])).tolist() == pytest.approx(
        [0.2 + 0.3 * (1 - tanh(0.5)), 0.3]
    )


def test_a_peg_is_paid_for_its_head_at_the_hole() -> None:
    # the peg's centre is half a length short of the hole: its head is in the middle
    seen = state(
        objects={"peg": pose([0.5, 0.0, 0.1]), "hole": pose([0.6, 0.0, 0.1])},
        half_sizes_m={"peg": rows([0.1, 0.02, 0.02])},
    )
    assert sub_optimal.inserted(seen, NOTHING, flags(is_grasped=[True, False])).tolist() == pytest.approx([0.4, 0.0])


@pytest.mark.parametrize("name", DEFINITIONS)
def test_success_pays_one_and_the_arm_is_never_paid(name: str) -> None:
    everything = {"cube": pose([0.5, 0.1, 0.02]), "peg": pose([0.5, 0.0, 0.025]), "hole": pose([0.6, 0.3, 0.1])}
    sizes = {"peg": rows([0.1, 0.02, 0.02]), "hole": rows([0.1, 0.023, 0.023])}
    info = flags(is_grasped=[False, False], is_peg_grasped=[False, False], is_obj_placed=[False, False])
    reward = DEFINITIONS[name].sub_optimal
    far = state(objects=everything, half_sizes_m=sizes)
    near = state(objects=everything, half_sizes_m=sizes, tcp_position_m=rows([0.5, 0.0, 0.03]))
    assert torch.equal(reward(far, NOTHING, info), reward(near, NOTHING, info))
    assert (reward(far, NOTHING, info) < 0.5).all()
    done = {**info, "success": torch.tensor([True, False])}
    assert reward(far, NOTHING, done)[0] == 1.0
