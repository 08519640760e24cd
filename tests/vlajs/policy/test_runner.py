"""One episode: refusals, preparing the hand, acting, and every way to end."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tests.support.bundles import make_bundle, make_contract
from tests.support.readings import AGES_S, limits_of, make_readings, make_robot
from vlajs.geometry import Pose
from vlajs.policy import runner as runner_module
from vlajs.policy.actions import scale_action
from vlajs.policy.contract import terms
from vlajs.policy.observations import Inputs, assemble
from vlajs.policy.runner import (
    GOAL_TOPIC,
    JOINTS_TOPIC,
    STATUS_TOPIC,
    TCP_TOPIC,
    AgeLimits,
    EpisodeRunner,
    Readings,
    object_topics,
    refusal,
)
from vlajs.states import PolicyPhase, RobotMode
from vlajs_msgs.msg import PolicyState, RobotStatus

CONTRACT = make_contract("pick_cube", horizon_steps=3)
BUNDLE = make_bundle("pick_cube", horizon_steps=3)
LIMITS = AgeLimits()
FRESH = make_readings(CONTRACT.action)
DT_S = 0.05


def aged(topic: str, age_s: float) -> Readings:
    return replace(FRESH, ages_s={**AGES_S, topic: age_s})


def robot(**changes: Any) -> Readings:
    return replace(FRESH, robot=make_robot(CONTRACT.action, **changes))


def started(readings: Readings = FRESH, limits: AgeLimits = LIMITS) -> EpisodeRunner:
    return EpisodeRunner(BUNDLE, readings, limits, now_s=0.0)


def test_numbers_of_phases_and_modes_are_those_of_the_messages() -> None:
    assert {f"PHASE_{p.name}": int(p) for p in PolicyPhase} == {
        name: getattr(PolicyState, name) for name in dir(type(PolicyState)) if name.startswith("PHASE_")
    }
    assert {f"MODE_{m.name}": int(m) for m in RobotMode} == {
        name: getattr(RobotStatus, name) for name in dir(type(RobotStatus)) if name.startswith("MODE_")
    }


# -- start -------------------------------------------------------------------------------------------------------


def test_a_robot_in_order_is_not_refused() -> None:
    assert refusal(CONTRACT, FRESH, LIMITS) is None
    assert started().phase is PolicyPhase.PREPARING


@pytest.mark.parametrize(
    ("readings", "message"),
    [
        (Readings(), r"nothing received on /franka/tcp_pose; start the bridge"),
        (replace(FRESH, target=None), r"nothing received on /franka/target_pose"),
        (replace(FRESH, gripper_width_m=None), r"nothing received on /franka/joint_states"),
        (replace(FRESH, robot=None), r"nothing received on /franka/status"),
        (replace(FRESH, objects={}), r"term 'cube_position' has no source: nothing received on /objects/cube/pose"),
        (
            replace(FRESH, objects={}, problems={"/objects/cube/pose": "frame 'camera'"}),
            r"/objects/cube/pose was not usable: frame 'camera'",
        ),
        (replace(FRESH, goal_m=None), r"term 'goal_from_cube' has no source: nothing received on /task/goal"),
        (
            replace(FRESH, goal_m=None, problems={GOAL_TOPIC: "not finite"}),
            r"/task/goal was not usable: not finite",
        ),
        (aged(TCP_TOPIC, 0.11), r"stale input: /franka/tcp_pose is 0.110 s old, limit 0.1 s"),
        (aged(JOINTS_TOPIC, 0.11), r"/franka/joint_states is 0.110 s old"),
        (aged(STATUS_TOPIC, 0.31), r"/franka/status is 0.310 s old, limit 0.3 s"),
        (aged("/objects/cube/pose", 0.21), r"/objects/cube/pose is 0.210 s old, limit 0.2 s"),
        (aged(TCP_TOPIC, float("nan")), r"/franka/tcp_pose is nan s old"),
        (replace(FRESH, ages_s={}), r"/franka/tcp_pose is inf s old"),
        (robot(mode=RobotMode.DISCONNECTED), r"mode DISCONNECTED; check the arm's power"),
        (robot(mode=RobotMode.STOPPED), r"mode STOPPED; call /franka/release"),
        (robot(mode=RobotMode.FAULT, faults=("reflex", "c")), r"mode FAULT \(reflex; c\); call /franka/recover"),
        (robot(mode=RobotMode.HOMING), r"mode HOMING; wait"),
        (robot(mode=RobotMode.TRACKING, commander="openvla"), r"'openvla' commands the arm"),
    ],
)
def test_start_is_refused_with_the_reason(readings: Readings, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        started(readings)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"leash_m": 0.05}, r"trained under leash_m = 0.04, the bridge enforces 0.05"),
        ({"leash_rad": 0.3}, r"trained under leash_rad = 0.2, the bridge enforces 0.3"),
        ({"workspace_min_m": (0.3, -0.35, 0.0)}, r"workspace_min_m = \(0.3, -0.35, 0.022\).*\(0.3, -0.35, 0.0\)"),
        ({"workspace_max_m": (0.8, 0.35, 0.7)}, r"workspace_max_m"),
        ({"leash_m": float("nan")}, r"the bridge enforces nan"),
        ({"max_step_m": 0.01}, r"steps reach 0.015, the bridge's max_step_m is 0.01"),
        ({"max_step_rad": 0.04}, r"steps reach 0.05, the bridge's max_step_rad is 0.04"),
    ],
)
def test_start_is_refused_under_other_limits(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        started(robot(limits=replace(limits_of(CONTRACT.action), **changes)))


def test_limits_equal_to_a_millionth_and_a_bridge_that_allows_more_are_accepted() -> None:
    limits = replace(limits_of(CONTRACT.action), leash_m=0.04 + 5e-7, max_step_m=0.02, max_step_rad=0.06)
    assert started(robot(limits=limits)).active


def test_only_what_the_terms_need_is_asked_for() -> None:
    """A contract without goal or object terms starts without either."""
    names = ["tcp_position", "gripper_width"]
    contract = make_contract("pick_cube", observation=terms(names))
    blind = replace(FRESH, objects={}, goal_m=None)
    assert object_topics(contract) == {}
    assert refusal(contract, blind, LIMITS) is None


@pytest.mark.parametrize(
    ("term", "sized"), [("peg_half_size", "peg"), ("hole_radius", "hole"), ("hole_from_peg_head", "peg")]
)
def test_a_size_that_nothing_measures_is_a_missing_source(term: str, sized: str) -> None:
    bundle = make_bundle("pick_cube", observation=terms(["tcp_position", term]))
    pose = Pose(position_m=np.array([0.6, 0.0, 0.02]), quat_wxyz=np.array([1.0, 0.0, 0.0, 0.0]))
    topics = dict.fromkeys(object_topics(bundle.contract), 0.02)
    seen = replace(FRESH, objects={"peg": pose, "hole": pose}, ages_s={**AGES_S, **topics})
    with pytest.raises(ValueError, match=f"term '{term}' has no source: it needs the size of '{sized}'"):
        EpisodeRunner(bundle, seen, LIMITS, now_s=0.0)


@pytest.mark.parametrize("name", ["state_s", "status_s", "objects_s"])
@pytest.mark.parametrize("value", [0.0, -0.1, 1.01, float("nan"), float("inf")])
def test_age_limits_must_mean_something(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"{name} = {value} s"):
        AgeLimits(**{name: value})


# -- preparing ---------------------------------------------------------------------------------------------------


def test_the_hand_is_brought_to_its_initial_width_with_zero_increments() -> None:
    closed = replace(FRESH, gripper_width_m=0.03)
    runner = started(closed)
    command = runner.tick(closed, 0.0)
    assert command is not None
    assert np.all(command.delta_pos_m == 0)
    assert np.all(command.delta_rotvec_rad == 0)
    assert command.gripper_width_m == 0.08  # the contract's initial width
    assert (runner.phase, runner.step) == (PolicyPhase.PREPARING, 0)
    # 0.0779 is 2.1 mm short of 0.08, 0.0781 is 1.9 mm short
    assert runner.tick(replace(FRESH, gripper_width_m=0.0779), DT_S) is not None
    assert runner.phase is PolicyPhase.PREPARING
    busy = replace(robot(gripper_busy=True), gripper_width_m=0.0781)
    assert runner.tick(busy, 2 * DT_S) is not None
    assert runner.phase is PolicyPhase.PREPARING
    runner.tick(replace(FRESH, gripper_width_m=0.0781), 3 * DT_S)
    assert (runner.phase, runner.step, runner.reason) == (PolicyPhase.RUNNING, 1, "")


def test_a_hand_that_does_not_move_ends_the_episode() -> None:
    closed = replace(FRESH, gripper_width_m=0.03)
    runner = started(closed)
    assert runner.tick(closed, 5.0) is not None
    assert runner.tick(closed, 5.01) is None
    assert runner.phase is PolicyPhase.STOPPED
    assert "did not reach its initial width of 0.08 m within 5 s" in runner.reason


# -- running -----------------------------------------------------------------------------------------------------


def test_an_action_is_the_bundles_on_the_readings() -> None:
    command = started().tick(FRESH, 0.0)
    assert FRESH.tcp is not None
    assert FRESH.target is not None
    assert FRESH.goal_m is not None
    inputs = Inputs(
        tcp=FRESH.tcp,
        target=FRESH.target,
        gripper_width_m=0.08,
        gripper_command_m=0.08,
        objects=FRESH.objects,
        goal_m=FRESH.goal_m,
    )
    expected = scale_action(BUNDLE.act(assemble(CONTRACT.term_names, inputs)), CONTRACT.action)
    assert command is not None
    assert np.array_equal(command.delta_pos_m, expected.delta_pos_m)
    assert np.array_equal(command.delta_rotvec_rad, expected.delta_rotvec_rad)
    assert command.gripper_width_m == expected.gripper_width_m
    assert np.linalg.norm(command.delta_pos_m) > 0


def test_an_action_is_repeated_for_as_many_ticks_as_the_contract_says() -> None:
    action = replace(CONTRACT.action, ticks_per_action=2)
    bundle = make_bundle("pick_cube", horizon_steps=4, action=action)
    runner = EpisodeRunner(bundle, FRESH, LIMITS, now_s=0.0)
    elsewhere = replace(FRESH, goal_m=np.array([0.5, 0.1, 0.2]))
    commands = [runner.tick(readings, now_s=0.0) for readings in (FRESH, elsewhere, elsewhere, FRESH)]
    # decided at ticks 0 and 2; tick 1 repeats the first although the goal has moved, tick 3 the second
    assert commands[0] is commands[1]
    assert commands[2] is commands[3]
    assert not np.allclose(commands[0].delta_pos_m, commands[2].delta_pos_m)
    assert runner.step == 4


def test_the_horizon_ends_it_a_period_after_the_last_action() -> None:
    runner = started()
    assert [runner.tick(FRESH, k * DT_S) is not None for k in range(3)] == [True, True, True]
    assert (runner.phase, runner.step) == (PolicyPhase.RUNNING, 3)
    assert runner.tick(FRESH, 3 * DT_S) is None
    assert (runner.phase, runner.reason) == (PolicyPhase.FINISHED, "horizon of 3 steps reached")
    assert runner.tick(FRESH, 4 * DT_S) is None


def test_a_stride_shortens_every_step_and_adds_as_many() -> None:
    whole = started().tick(FRESH, now_s=0.0)
    runner = EpisodeRunner(BUNDLE, FRESH, LIMITS, now_s=0.0, stride=0.4)
    commands = [runner.tick(FRESH, k * DT_S) for k in range(9)]
    assert whole is not None
    assert commands[0] is not None
    np.testing.assert_allclose(commands[0].delta_pos_m, 0.4 * whole.delta_pos_m)
    np.testing.assert_allclose(commands[0].delta_rotvec_rad, 0.4 * whole.delta_rotvec_rad)
    assert commands[0].gripper_width_m == whole.gripper_width_m
    # 3 steps of the whole length are 7.5 of 0.4: the eighth is given out, the ninth not
    assert [command is not None for command in commands] == [True] * 8 + [False]
    assert runner.reason == "horizon of 8 steps reached"


@pytest.mark.parametrize("stride", [0.0, 0.04, 1.01, -1.0, float("nan")])
def test_a_stride_that_is_none_is_refused(stride: float) -> None:
    with pytest.raises(ValueError, match=r"stride = .* is outside \[0.05, 1\]: .* 0.2 for the first runs"):
        EpisodeRunner(BUNDLE, FRESH, LIMITS, now_s=0.0, stride=stride)


def test_a_stale_input_stops_commands_at_once_and_ends_the_episode_when_it_lasts() -> None:
    runner = started()
    stale = aged("/objects/cube/pose", 0.25)
    assert runner.tick(FRESH, 0.0) is not None
    assert runner.tick(stale, 0.05) is None
    assert runner.active
    assert runner.tick(stale, 0.10) is None
    assert runner.active  # 0.05 s so far, the grace is 0.1 s
    assert runner.tick(stale, 0.16) is None
    assert runner.phase is PolicyPhase.STOPPED
    assert runner.reason.startswith("stale input: /objects/cube/pose is 0.250 s old, limit 0.2 s")
    assert runner.tick(FRESH, 0.2) is None, "fresh again is too late"


def test_an_input_that_comes_back_within_the_grace_goes_on() -> None:
    runner = started()
    stale = aged(TCP_TOPIC, 0.15)
    assert runner.tick(stale, 0.0) is None
    assert runner.tick(FRESH, 0.05) is not None
    assert runner.tick(stale, 0.11) is None, "the grace begins anew"
    assert runner.active
    assert runner.step == 1


def test_without_grace_the_first_stale_tick_ends_it() -> None:
    runner = started(limits=AgeLimits(grace_s=0.0))
    assert runner.tick(aged(TCP_TOPIC, 0.15), 0.0) is None
    assert runner.phase is PolicyPhase.STOPPED


def test_a_goal_that_becomes_unusable_ends_it() -> None:
    runner = started(limits=AgeLimits(grace_s=0.0))
    assert runner.tick(replace(FRESH, goal_m=None), 0.0) is None
    assert "/task/goal" in runner.reason


@pytest.mark.parametrize(
    ("readings", "message"),
    [
        (robot(mode=RobotMode.FAULT, faults=("cartesian_reflex",)), "mode FAULT (cartesian_reflex)"),
        (robot(mode=RobotMode.STOPPED), "mode STOPPED"),
        (robot(mode=RobotMode.HOMING), "mode HOMING"),
        (robot(mode=RobotMode.DISCONNECTED), "mode DISCONNECTED"),
        (robot(mode=RobotMode.TRACKING, commander="openvla"), "'openvla' commands the arm"),
        (robot(refused_commands=6, faults=("sequence gap",)), "refused 6 commands: sequence gap"),
        (robot(limits=replace(limits_of(CONTRACT.action), leash_m=0.1)), "limits differ"),
    ],
)
def test_a_robot_that_does_not_follow_ends_it_at_once(readings: Readings, message: str) -> None:
    runner = started()
    assert runner.tick(FRESH, 0.0) is not None
    assert runner.tick(readings, 0.05) is None
    assert runner.phase is PolicyPhase.STOPPED
    assert message in runner.reason


@pytest.mark.parametrize(
    "readings",
    [robot(mode=RobotMode.TRACKING, commander="policy"), robot(mode=RobotMode.HOLDING, commander="policy"), robot()],
)
def test_a_robot_that_follows_or_will_goes_on(readings: Readings) -> None:
    assert started().tick(readings, 0.0) is not None


def test_refusals_from_before_the_start_do_not_count() -> None:
    before = robot(refused_commands=100)
    runner = started(before)
    assert runner.tick(robot(refused_commands=105), 0.0) is not None
    assert runner.tick(robot(refused_commands=106), 0.05) is None


def test_a_reading_that_is_not_finite_ends_it_with_the_term() -> None:
    runner = started()
    cube = Pose(position_m=np.array([np.nan, 0.0, 0.0]), quat_wxyz=np.array([1.0, 0.0, 0.0, 0.0]))
    assert runner.tick(replace(FRESH, objects={"cube": cube}), 0.0) is None
    assert runner.phase is PolicyPhase.STOPPED
    assert "observation term 'cube_position' is not finite" in runner.reason


def test_stop_ends_it_once() -> None:
    runner = started()
    runner.stop("stopped on request")
    runner.stop("another reason")
    assert (runner.phase, runner.reason) == (PolicyPhase.STOPPED, "stopped on request")
    assert runner.tick(FRESH, 0.0) is None


def test_a_mode_that_nobody_thought_of_is_none_to_count_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(runner_module._REMEDIES, RobotMode.HOMING)
    homing = robot(mode=RobotMode.HOMING).robot
    assert homing is not None
    reason = runner_module.robot_not_following(homing)
    assert reason == "the robot is in mode HOMING; see the bridge's log"
