"""The contract: laid out by hand, round-tripped, and every way it is refused."""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from tests.support.bundles import PICK_TERMS, make_contract
from vlajs.policy.contract import (
    SCHEMA_VERSION,
    ActionContract,
    Contract,
    ContractError,
    GripperContract,
    Network,
    terms,
    validate,
)
from vlajs.policy.describe import describe_contract


def test_terms_are_laid_out_one_after_another() -> None:
    laid_out = terms(["tcp_position", "gripper_width", "cube_yaw4"])
    # sizes 3, 1, 2: slices 0:3, 3:4, 4:6
    assert [(t.name, t.start, t.stop, t.unit, t.source) for t in laid_out] == [
        ("tcp_position", 0, 3, "m", "robot"),
        ("gripper_width", 3, 4, "m", "robot"),
        ("cube_yaw4", 4, 6, "1", "object:cube"),
    ]
    assert {t.frame for t in laid_out} == {"panda_link0"}


@pytest.mark.parametrize("task", ["push_cube", "pick_cube"])
def test_a_contract_survives_json(task: str) -> None:
    contract = make_contract(task)
    assert Contract.from_json(contract.to_json()) == contract


def test_sizes_and_names() -> None:
    contract = make_contract("pick_cube")
    # 3+3+3+3 robot, 3+3+3 push terms, width 1, command 1, yaw 2, goal 3
    assert contract.observation_size == 28
    assert contract.term_names == PICK_TERMS


def test_the_id_is_of_behaviour_alone() -> None:
    contract = make_contract()
    same = replace(contract, provenance={"seed": 9}, network=Network(hidden_sizes=(4,), activation="relu"))
    assert same.contract_id == contract.contract_id
    assert contract.contract_id.startswith("push_cube-")
    assert len(contract.contract_id) == len("push_cube-") + 12
    others = [
        replace(contract, control_rate_hz=10.0),
        replace(contract, action=replace(contract.action, leash_m=0.03)),
        replace(contract, observation=terms(["tcp_position"])),
        replace(contract, horizon_steps=51),
    ]
    assert len({c.contract_id for c in [contract, *others]}) == 5
    assert Contract.from_json(contract.to_json()).contract_id == contract.contract_id


def action(**changes: Any) -> Contract:
    return make_contract(action=replace(make_contract().action, **changes))


def gripper(**changes: Any) -> Contract:
    return action(gripper=replace(GripperContract(), **changes))


REFUSED = {
    "no task": (lambda: replace(make_contract(), task=""), "names no task"),
    "rate 0": (lambda: make_contract(control_rate_hz=0.0), r"control rate 0.0 Hz is outside \[12.5, 100\] Hz"),
    # 100 ms between commands, the bridge holds the arm after 90
    "rate 10": (
        lambda: make_contract(control_rate_hz=10.0),
        r"control rate 10.0 Hz is outside \[12.5, 100\] Hz: below it the bridge holds the arm .*train at a higher rate",
    ),
    "rate 101": (lambda: make_contract(control_rate_hz=101.0), r"control rate 101.0 Hz is outside"),
    "rate nan": (
        lambda: make_contract(control_rate_hz=float("nan")),
        r"control_rate_hz is nan: expected finite numbers",
    ),
    "rate negative": (lambda: make_contract(control_rate_hz=-20.0), r"control rate -20.0 Hz"),
    "horizon 0": (lambda: make_contract(horizon_steps=0), "horizon of 0 steps"),
    "horizon of days": (lambda: make_contract(horizon_steps=100_001), r"100001 steps is outside \[1, 100000\]"),
    "horizon beyond all": (lambda: make_contract(horizon_steps=10**400), "horizon_steps is 10+: expected finite"),
    "activation": (
        lambda: make_contract(network=Network(hidden_sizes=(4,), activation="gelu")),
        "unknown activation 'gelu': known are tanh, relu, elu",
    ),
    "hidden size 0": (lambda: make_contract(network=Network(hidden_sizes=(0,), activation="tanh")), "at least 1"),
    "no terms": (lambda: make_contract(observation=()), "no observation terms"),
    "gap between terms": (
        lambda: make_contract(
            observation=(make_contract().observation[0], replace(make_contract().observation[1], start=4, stop=7))
        ),
        r"'tcp_rotation' is .*'start': 4.*this vlajs computes .*'start': 3",
    ),
    "term in another unit": (
        lambda: make_contract(observation=(replace(make_contract().observation[0], unit="mm"),)),
        r"'unit': 'mm'.*trained on another definition",
    ),
    "term in another frame": (
        lambda: make_contract(observation=(replace(make_contract().observation[0], frame="world"),)),
        r"'frame': 'world'",
    ),
    "base frame": (
        lambda: make_contract(frames=replace(make_contract().frames, base="world")),
        r"frames.base is 'world': robots measure in 'panda_link0' only",
    ),
    "tool": (
        lambda: make_contract(frames=replace(make_contract().frames, hand_to_tcp_m=0.107)),
        r"hand_to_tcp_m = 0.107, the robot's tool is 0.1034 m",
    ),
    "position scale": (lambda: action(position_scale_m=0.2), r"position_scale_m = 0.2 is outside \(0, 0.1\]"),
    "position scale nan": (lambda: action(position_scale_m=float("nan")), r"position_scale_m is nan: expected finite"),
    "rotation scale": (lambda: action(rotation_scale_rad=0.6), r"rotation_scale_rad = 0.6 is outside \(0, 0.5\]"),
    "leash": (lambda: action(leash_m=0.0), r"leash_m = 0.0 is outside \(0, 0.2\]"),
    "leash angle": (lambda: action(leash_rad=1.1), r"leash_rad = 1.1 is outside \(0, 1.0\]"),
    "empty workspace": (lambda: action(workspace_max_m=(0.3, 0.35, 0.6)), r"workspace box is empty"),
    "workspace nan": (lambda: action(workspace_max_m=(float("nan"), 0.35, 0.6)), r"workspace_max_m is \(nan, 0.35"),
    "workspace without end": (
        lambda: action(workspace_max_m=(0.8, float("inf"), 0.6)),
        r"workspace_max_m is \(0.8, inf",
    ),
    "base beyond floats": (
        lambda: make_contract(frames=replace(make_contract().frames, world_from_base_m=(10**400, 0, 0))),
        r"frames.world_from_base_m is \(10+, 0, 0\): expected finite numbers within \+-1e\+09",
    ),
    "flat workspace": (lambda: action(workspace_min_m=(0.3, -0.35)), r"action.workspace_min_m is \(0.3, -0.35\)"),
    "ticks": (lambda: action(ticks_per_action=0), r"ticks_per_action = 0 is outside \[1, 10\]"),
    "reference": (lambda: action(reference="measured"), r"'measured': the bridge integrates from 'target' only"),
    "rotation": (lambda: action(rotation="euler"), r"'euler': the bridge composes 'rotation_vector_left_base' only"),
    "thresholds": (lambda: gripper(open_above_m=0.03), "gripper thresholds must rise"),
    "hand too wide": (lambda: gripper(width_max_m=0.09), "gripper thresholds must rise"),
    "initial width": (lambda: gripper(initial_width_m=0.04), r"initial_width_m = 0.04: the hand only opens and closes"),
    "fixed width": (lambda: gripper(fixed_width_m=0.0), r"fixed_width_m = 0.0 differs from initial_width_m = 0.08"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_validation_refuses(case: str) -> None:
    build, message = REFUSED[case]
    contract = build()
    with pytest.raises(ContractError, match=message):
        validate(contract)


def edited(edit: Callable[[dict[str, Any]], Any]) -> str:
    data = json.loads(make_contract().to_json())
    edit(data)
    return json.dumps(data)


GARBLED = {
    "unknown key": (lambda d: d.update(colour="red"), r"contract has unknown keys \['colour'\]: known are"),
    "unknown key inside": (lambda d: d["action"].update(speed=1), r"action has unknown keys \['speed'\]"),
    "unknown hand key": (lambda d: d["action"]["gripper"].update(x=1), r"action.gripper has unknown keys \['x'\]"),
    "missing key": (lambda d: d.pop("control_rate_hz"), r"contract: .*control_rate_hz.*re-export"),
    "missing block": (lambda d: d.pop("action"), r"lacks or garbles 'action'"),
    "missing key inside": (lambda d: d["action"].pop("leash_m"), r"action: .*leash_m"),
    "missing hand": (lambda d: d["action"].pop("gripper"), r"lacks or garbles 'gripper'"),
    "unknown term": (
        lambda d: d["observation"][0].update(name="tcp_speed"),
        r"unknown observation term 'tcp_speed': this vlajs computes tcp_position",
    ),
    "rate in words": (lambda d: d.update(control_rate_hz="fast"), r"contract.control_rate_hz is 'fast', not a float"),
    "rate true": (lambda d: d.update(control_rate_hz=True), r"contract.control_rate_hz is True, not a float"),
    "horizon with fraction": (lambda d: d.update(horizon_steps=1.5), r"contract.horizon_steps is 1.5, not a int"),
    "scale in words": (
        lambda d: d["action"].update(position_scale_m="1 cm"),
        r"contract.action.position_scale_m is '1 cm'",
    ),
    "workspace of two": (
        lambda d: d["action"].update(workspace_min_m=[0, 0], workspace_max_m=[1, 1]),
        r"contract.action.workspace_min_m is \(0, 0\)",
    ),
    "layers null": (lambda d: d["network"].update(hidden_sizes=None), r"contract.network.hidden_sizes is None"),
    "layers in words": (lambda d: d["network"].update(hidden_sizes=["a"]), r"hidden_sizes is \('a',\)"),
    "term of no kind": (lambda d: d.update(observation=[7]), r"observation is 7, not an object"),
    "terms null": (lambda d: d.update(observation=None), r"lacks or garbles"),
    "term name a list": (lambda d: d["observation"][0].update(name=["a"]), r"observation.name is \('a',\)"),
    "action in words": (lambda d: d.update(action="move"), r"lacks or garbles"),
    "hand in words": (lambda d: d["action"].update(gripper="open"), r"action.gripper is 'open', not an object"),
    "provenance a list": (lambda d: d.update(provenance=[]), r"contract.provenance is \(\), not a"),
    "schema of tomorrow": (
        lambda d: d.update(schema_version=SCHEMA_VERSION + 1),
        r"schema version 2, this vlajs reads 1: re-export the policy, or install",
    ),
    "no schema": (lambda d: d.pop("schema_version"), r"schema version None"),
}


@pytest.mark.parametrize("case", GARBLED)
def test_json_from_elsewhere_is_refused(case: str) -> None:
    edit, message = GARBLED[case]
    with pytest.raises(ContractError, match=message):
        Contract.from_json(edited(edit))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not JSON"),
        ("[]", "is a list, not an object"),
        ("3", "is a int, not an object"),
        ("[" * 100_000, "not JSON"),
        ("9" * 5000, "not JSON .*digits"),
        ('{"a": ' * 21 + "1" + "}" * 21, "nested more than 20 levels deep"),
        (edited(lambda d: d.update(task="\ud800")), "not JSON .*surrogates"),
        (edited(lambda d: d.update(control_rate_hz=float("inf"))), "control_rate_hz is inf"),
    ],
    ids=range(8),
)
def test_text_that_is_no_contract_is_refused(text: str, message: str) -> None:
    with pytest.raises(ContractError, match=message):
        Contract.from_json(text)


def test_a_contract_at_its_limits_can_be_described() -> None:
    contract = make_contract(control_rate_hz=12.5, horizon_steps=100_000)
    validate(contract)
    # 100000 steps of 80 ms
    assert "12.5 Hz, 100000 steps (8000 s)" in describe_contract(contract)


def test_whole_numbers_are_numbers() -> None:
    text = edited(lambda d: d.update(control_rate_hz=20))
    assert Contract.from_json(text).control_rate_hz == 20


def test_the_description_tells_terms_action_and_origin() -> None:
    contract = make_contract("pick_cube", provenance={"method": "vlajs", "success": {"once": 0.9}})
    text = describe_contract(contract)
    assert contract.contract_id in text
    assert "20 Hz, 50 steps (2.5 s)" in text
    assert "28 -> 16 -> 8 -> 7, tanh" in text
    assert "goal_from_cube        18:21  m     panda_link0  goal+object:cube" in text
    assert "opens above 0.048 m, closes below 0.032 m; starts at 0.08 m" in text
    assert "method: vlajs" in text
    assert "success: once 0.9" in text
    assert "held at 0 m" in describe_contract(make_contract("push_cube"))
    assert "(not recorded)" in describe_contract(make_contract(provenance={}))


def test_an_action_contract_has_a_hand_by_default() -> None:
    plain = ActionContract(
        position_scale_m=0.01,
        rotation_scale_rad=0.05,
        leash_m=0.04,
        leash_rad=0.2,
        workspace_min_m=(0, 0, 0),
        workspace_max_m=(1, 1, 1),
    )
    assert plain.gripper == GripperContract()
