"""Shared penalties by hand."""

from dataclasses import replace
from math import cos, pi, sin

import pytest
import torch

from tests.support.batch_states import pose, rows, state
from vlajs_training.tasks.penalties import (
    clumsy,
    clumsy_at_cube,
    clumsy_at_peg,
    landing,
    lean,
    rough,
    set_down_hard,
)

FREE = torch.zeros(2, dtype=torch.bool)


def test_rest_costs_nothing() -> None:
    assert rough(state(), torch.zeros(2, 7)).tolist() == [0.0, 0.0]


def test_effort_haste_and_the_floor_cost() -> None:
    action = torch.tensor([[0.0, 0.0, -1.0, 0.0, 0.0, 2.0, 9.0], [0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0]])
    # effort 1 + 4, the gripper is free, and 1; joints at 0.9 of their limit where 0.5 is free: 0.5 * 0.4
    assert rough(state(joint_speed_share=torch.tensor([0.9, 0.5])), action).tolist() == pytest.approx(
        [0.05 + 0.2, 0.01]
    )
    # at the floor of the box, 22 mm, asking for less costs 0.1
    on_floor = state(tcp_position_m=rows([0.5, 0.0, 0.022]), target_position_m=rows([0.5, 0.0, 0.022]))
    assert rough(on_floor, action).tolist() == pytest.approx([0.05 + 0.1, 0.01])


def test_a_grasp_from_above() -> None:
    low = state(tcp_position_m=rows([0.5, 0.0, 0.035]), gripper_command_m=torch.tensor([0.0, 0.08]))
    beside_m = torch.tensor([0.02, 0.02])
    # low by (0.07 - 0.035) / 0.07 = 1/2, beside by (20 - 10) / 20 mm = 1/2: 0.15 / 4 each; the first closes 20 mm up
    assert clumsy(low, FREE, torch.full((2,), 0.02), beside_m).tolist() == pytest.approx([0.3375, 0.0375])
    # the same at the right height: only a fist that is empty costs
    fist = replace(low, gripper_width_m=torch.tensor([0.005, 0.005]))
    assert clumsy(fist, FREE, torch.full((2,), 0.01), torch.zeros(2)).tolist() == pytest.approx([0.1, 0.0])
    assert clumsy(fist, ~FREE, torch.full((2,), 0.02), beside_m).tolist() == [0.0, 0.0]


def test_the_tool_may_come_down_anywhere_along_a_peg() -> None:
    # the peg lies along the base's y; the first tool is 80 mm along it, the second 80 mm beside it
    across = [0.5**0.5, 0.0, 0.0, 0.5**0.5]
    seen = state(
        tcp_position_m=torch.tensor([[0.5, 0.08, 0.0], [0.58, 0.0, 0.0]]),
        objects={"peg": pose([0.5, 0.0, 0.0], across)},
    )
    assert clumsy_at_peg(seen, FREE).tolist() == pytest.approx([0.0, 0.15], abs=1e-6)


def test_an_open_finger_that_lands_on_the_cube() -> None:
    seen = state(  # points down, its fingers, 80 mm apart, move along the base's y
        objects={"cube": pose([0.5, 0.0, 0.02])},
        # tips 9 mm lower: at 44 mm, 4 mm over the top, of the 15 in which it costs: 1 - 4/15 = 0.7333
        tcp_position_m=torch.tensor([[0.5, 0.045, 0.053], [0.5, 0.0, 0.053]]),
    )
    # a finger's middle is 40 + 10 mm from the tool's: over the cube at y = -5 mm, 15 mm inside its edge, all of it;
    # over the middle of the cube both are 50 mm off, 20 mm beside it
    assert landing(seen, 0.02).tolist() == pytest.approx([11 / 15, 0.0], abs=1e-5)
    # at y = 25 mm the cube's edge is 5 mm away, half of what the finger reaches: 0.5
    beside = replace(seen, tcp_position_m=torch.tensor([[0.5, 0.075, 0.053], [0.5, 0.085, 0.053]]))
    assert landing(beside, 0.02).tolist() == pytest.approx([11 / 30, 0.0], abs=1e-5)
    # turned by 45 degrees its corners are 28 mm from its middle, and at y = 25 mm is the cube
    turned = replace(beside, objects={"cube": pose([0.5, 0.0, 0.02], [cos(pi / 8), 0.0, 0.0, sin(pi / 8)])})
    assert landing(turned, 0.02)[0] == pytest.approx(11 / 15, abs=1e-5)
    # between its sides there is nothing to land on, far above neither
    for z_m in (0.03, 0.08):
        away = replace(seen, tcp_position_m=torch.tensor([[0.5, 0.045, z_m]] * 2))
        assert landing(away, 0.02).tolist() == [0.0, 0.0]
    # low by (70 - 53) / 70 and 45 mm beside (at most 1); the second is over the middle; a held cube is no landing place
    assert clumsy_at_cube(seen, FREE).tolist() == pytest.approx([0.15 * 17 / 70 + 0.5 * 11 / 15, 0.0], abs=1e-5)
    assert clumsy_at_cube(seen, ~FREE).tolist() == [0.0, 0.0]


def test_what_is_held_is_set_down_gently() -> None:
    half_size_m = (0.12, 0.025, 0.025)
    on_end = [0.5**0.5, 0.0, -(0.5**0.5), 0.0]
    seen = state(  # its lower end is 5 mm over the table; the first target is 10 mm lower, the second where the tool is
        tcp_position_m=rows([0.5, 0.0, 0.14]),
        target_position_m=torch.tensor([[0.5, 0.0, 0.13], [0.5, 0.0, 0.14]]),
        objects={"peg": pose([0.5, 0.0, 0.125], on_end)},
    )
    # it would end at -5 mm and, gone half as far again as it had to, at -10 mm: 1 cm
    assert set_down_hard(seen, seen.objects["peg"], half_size_m).tolist() == pytest.approx([1.0, 0.0], abs=1e-4)
    turned = state(  # 1 mm over the table, about to be turned by 0.3 rad about its middle; then a peg 5 mm higher
        tcp_position_m=torch.tensor([[0.5, 0.0, 0.121], [0.5, 0.0, 0.126]]),
        target_position_m=torch.tensor([[0.5, 0.0, 0.121], [0.5, 0.0, 0.126]]),
        target_wxyz=rows([0.0, cos(0.15), 0.0, sin(0.15)]),
        objects={"peg": pose([[0.5, 0.0, 0.121], [0.5, 0.0, 0.126]], on_end)},
    )
    # 120 cos 0.3 + 25 sin 0.3 = 122.03 mm below its middle: -1.03 mm, and half of the 2.03 more: -2.04 mm
    assert set_down_hard(turned, turned.objects["peg"], half_size_m).tolist() == pytest.approx([0.204, 0.0], abs=1e-3)


def test_lean_is_free_of_turns_about_the_vertical() -> None:
    # tool-down turned by 90 degrees about z; tool-down tipped by 30 degrees about x: sin 30 = 1/2
    tipped = [-sin(pi / 12), cos(pi / 12), 0.0, 0.0]
    seen = state(tcp_wxyz=rows([[0.0, 0.5**0.5, 0.5**0.5, 0.0], tipped]))
    assert lean(seen).tolist() == pytest.approx([0.0, 0.5], abs=1e-6)
