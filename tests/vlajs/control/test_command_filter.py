"""What makes a command fit to be carried out."""

import math

import numpy as np
import pytest

from vlajs.control.command_filter import Command, CommandFilter, FilterConfig
from vlajs.control.target import TargetLimits


def command(**changes) -> Command:
    values = {
        "source": "policy",
        "sequence": 1,
        "delta_pos_m": np.array([0.01, 0.0, 0.0]),
        "delta_rotvec_rad": np.zeros(3),
        "gripper_width_m": 0.08,
        "age_s": 0.02,
    }
    return Command(**(values | changes))


@pytest.fixture
def commands() -> CommandFilter:
    return CommandFilter(TargetLimits(max_step_m=0.02, max_step_rad=0.06), FilterConfig())


def test_good_command_is_accepted(commands: CommandFilter) -> None:
    assert commands.refusal(command(), 1.0) is None


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"delta_pos_m": np.array([math.nan, 0, 0])}, "not three finite numbers"),
        ({"delta_rotvec_rad": np.array([0, math.inf, 0])}, "not three finite numbers"),
        ({"delta_pos_m": np.zeros(2)}, "not three finite numbers"),
        ({"gripper_width_m": math.nan}, "not finite"),
        ({"age_s": math.nan}, "not finite"),
        ({"source": ""}, "names no source"),
        ({"age_s": 0.21}, "0.210 s old, limit 0.2 s"),
        ({"age_s": -0.06}, "0.060 s ahead, limit 0.05 s"),
        # 3 * 0.02 = 0.06 is still clamped, beyond it is nonsense
        ({"delta_pos_m": np.array([0.0601, 0, 0])}, "more than 3 times the step limit of 0.02 m"),
        ({"delta_rotvec_rad": np.array([0, 0, 0.181])}, "more than 3 times the step limit of 0.06 rad"),
        ({"gripper_width_m": 0.081}, "outside [0, 0.08] m"),
        ({"gripper_width_m": -0.001}, "outside [0, 0.08] m"),
    ],
)
def test_nonsense_is_refused_with_value_and_limit(commands: CommandFilter, changes: dict, reason: str) -> None:
    refusal = commands.refusal(command(**changes), 1.0)
    assert refusal is not None
    assert reason in refusal


def test_large_but_sane_increment_is_left_to_the_clamp(commands: CommandFilter) -> None:
    assert commands.refusal(command(delta_pos_m=np.array([0.0599, 0.0, 0.0])), 1.0) is None


def test_sequence_must_increase(commands: CommandFilter) -> None:
    commands.accept(command(sequence=5), 1.0)
    assert "sequence 5 after 5" in str(commands.refusal(command(sequence=5), 1.05))
    assert "sequence 4 after 5" in str(commands.refusal(command(sequence=4), 1.05))
    assert commands.refusal(command(sequence=7), 1.05) is None


def test_sequence_zero_begins_a_new_episode_once(commands: CommandFilter) -> None:
    commands.accept(command(sequence=5), 1.0)
    assert commands.refusal(command(sequence=0), 1.05) is None
    commands.accept(command(sequence=0), 1.05)
    assert commands.refusal(command(sequence=0), 1.1) is not None


def test_lost_beginning_does_not_refuse_the_next_episode(commands: CommandFilter) -> None:
    commands.accept(command(sequence=500), 1.0)
    # within the hold of 1 s it may still be a late command: the remedy is named
    refusal = commands.refusal(command(sequence=1), 1.9)
    assert refusal is not None
    assert "sequence 1 after 500" in refusal
    assert "a new episode begins at 0, or 1 s after the last accepted command" in refusal
    assert commands.refusal(command(sequence=1), 2.1) is None


def test_second_source_waits_until_the_first_is_silent(commands: CommandFilter) -> None:
    commands.accept(command(sequence=9), 1.0)
    assert "one source at a time" in str(commands.refusal(command(source="openvla", sequence=1), 1.5))
    assert commands.commander(1.5) == "policy"
    # source_hold_s = 1: free after 2.0
    assert commands.commander(2.1) == ""
    assert commands.refusal(command(source="openvla", sequence=1), 2.1) is None


def test_refused_commands_do_not_prolong_the_hold(commands: CommandFilter) -> None:
    commands.accept(command(sequence=9), 1.0)
    commands.refusal(command(sequence=3), 1.9)
    assert commands.commander(2.1) == ""
    assert commands.accepted_age_s(2.1) == pytest.approx(1.1)


@pytest.mark.parametrize(
    "values",
    [
        {"max_age_s": 0.0},
        {"max_age_s": 1e9},
        {"max_future_s": math.nan},
        {"max_future_s": 10.0},
        {"source_hold_s": -1.0},
        {"source_hold_s": 0.1},  # below max_age_s = 0.2: a late command would begin a stream
        {"nonsense_factor": 0.5},
        {"nonsense_factor": 1e9},
    ],
)
def test_config_without_meaning_is_refused(values: dict) -> None:
    with pytest.raises(ValueError, match=next(iter(values))):
        FilterConfig(**values)
