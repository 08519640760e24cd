"""The seven tasks: known names, valid contracts, rewards and protocols to choose from."""

from dataclasses import replace
from pathlib import Path

import pytest

from vlajs.policy.bundle import load_bundle
from vlajs.policy.contract import Contract, Network
from vlajs.policy.observations import required_objects
from vlajs.tasks import TASKS
from vlajs_training.tasks import DEFINITIONS, get_definition

NETWORK = Network(hidden_sizes=(8,), activation="tanh")
POLICIES = Path(__file__).parents[3] / "policies"


def test_the_tasks_of_the_robots_side_can_all_be_trained() -> None:
    assert set(DEFINITIONS) == set(TASKS)


@pytest.mark.parametrize("protocol", ["standard", "long"])
@pytest.mark.parametrize("name", DEFINITIONS)
def test_a_task_carries_a_contract_that_a_robot_accepts(name: str, protocol: str) -> None:
    definition = get_definition(name, protocol=protocol)
    contract = definition.contract(NETWORK, {})
    assert Contract.from_json(contract.to_json()).contract_id == contract.contract_id
    assert contract.task == name
    assert contract.action.ticks_per_action == 2  # 20 commands a second, 10 decisions
    assert contract.control_rate_hz == 20.0
    provided = {*definition.objects, *definition.landmarks}
    assert required_objects(contract.term_names) == provided == set(definition.task.objects)
    assert (definition.goal is not None) == ("goal_position" in definition.terms)


@pytest.mark.parametrize("name", DEFINITIONS)
def test_the_long_protocol_is_ten_times_as_long_in_steps_a_tenth_as_large(name: str) -> None:
    standard, long = get_definition(name), get_definition(name, protocol="long")
    assert long.horizon_steps == 10 * standard.horizon_steps
    assert long.action.position_scale_m == pytest.approx(0.0015)  # 15 mm / 10
    assert long.action.rotation_scale_rad == pytest.approx(0.005)  # 0.05 rad / 10
    # nothing else differs
    undone = replace(
        long,
        action=replace(long.action, position_scale_m=0.015, rotation_scale_rad=0.05),
        horizon_steps=standard.horizon_steps,
        protocol="standard",
    )
    assert undone == standard
    assert long.control_mode != standard.control_mode, "ManiSkill knows control modes by name"


def test_the_reward_is_no_part_of_the_contract() -> None:
    dense, sub_optimal = get_definition("pick_cube"), get_definition("pick_cube", reward="sub_optimal")
    assert dense.contract(NETWORK, {}).contract_id == sub_optimal.contract(NETWORK, {}).contract_id
    assert (dense.maniskill_reward, sub_optimal.maniskill_reward) == ("normalized_dense", "none")


@pytest.mark.parametrize("bundle", ["push_cube-ppo-seed1", "pick_cube-ppo-seed1"])
def test_shipped_policies_are_still_this_versions(bundle: str) -> None:
    shipped = load_bundle(POLICIES / f"{bundle}.safetensors").contract
    assert get_definition(shipped.task).contract(shipped.network, {}).contract_id == shipped.contract_id


def test_what_is_unknown_is_refused_with_what_is_known() -> None:
    with pytest.raises(ValueError, match=r"unknown task 'juggle': known tasks are lift_peg_upright, .*push_cube_v2"):
        get_definition("juggle")
    with pytest.raises(ValueError, match="unknown reward 'golden': known are dense, sub_optimal"):
        get_definition("pick_cube", reward="golden")
    with pytest.raises(ValueError, match="unknown protocol 'short': known are standard, long"):
        get_definition("pick_cube", protocol="short")
