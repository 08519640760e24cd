"""What ``vlajs identify`` asks, and the dynamics it measures with; the measurement itself needs an arm."""

from pathlib import Path

import pytest

from vlajs.nodes import identify
from vlajs.policy.response import ControllerResponse
from vlajs.robot.arm import ArmConfig


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[ArmConfig]:
    """Arms that were going to be moved."""
    arms: list[ArmConfig] = []

    def measure(config: ArmConfig, source: str) -> ControllerResponse:
        arms.append(config)
        return ControllerResponse(
            latency_s=0.01,
            natural_frequency_rad_s=30.0,
            damping_ratio=0.7,
            residual_m=0.001,
            hand_delay_s=0.1,
            hand_speed_m_s=0.1,
            source=source,
            dynamics_factors=(config.velocity_factor, config.acceleration_factor, config.jerk_factor),
            measured_on="2026-01-01",
        )

    monkeypatch.setattr(identify, "identify", measure)
    return arms


def run(tmp_path: Path, *words: str) -> int:
    return identify.main([*words, "--output", str(tmp_path / "response.yaml")])


def answering(monkeypatch: pytest.MonkeyPatch, answer: str | None) -> list[str]:
    """Questions asked; None: standard input is closed."""
    asked: list[str] = []

    def ask(question: str) -> str:
        asked.append(question)
        if answer is None:
            raise EOFError
        return answer

    monkeypatch.setattr("builtins.input", ask)
    return asked


@pytest.mark.parametrize("robot_ip", ["172.16.0.2", "arm.lab"])
@pytest.mark.parametrize(("answer", "why"), [("n", "declined"), ("", "declined"), (None, "nobody can answer")])
def test_a_real_arm_does_not_move_without_a_yes(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    measured: list[ArmConfig],
    robot_ip: str,
    answer: str | None,
    why: str,
) -> None:
    asked = answering(monkeypatch, answer)
    assert run(tmp_path, "--robot-ip", robot_ip) != 0
    assert len(asked) == 1
    assert measured == []
    assert why in capsys.readouterr().err


def test_a_yes_at_the_prompt_or_on_the_command_line_lets_it_move(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, measured: list[ArmConfig]
) -> None:
    asked = answering(monkeypatch, "y")
    assert run(tmp_path, "--robot-ip", "172.16.0.2") == 0
    assert len(asked) == 1
    assert run(tmp_path, "--robot-ip", "172.16.0.2", "--yes") == 0
    assert len(asked) == 1
    assert len(measured) == 2


def test_a_twin_is_not_asked_about(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, measured: list[ArmConfig]) -> None:
    asked = answering(monkeypatch, "n")
    assert run(tmp_path, "--robot-ip", "127.3.2.1") == 0
    assert asked == []
    assert measured == [ArmConfig(robot_ip="127.3.2.1")], "the bridge's defaults"


def test_changed_dynamics_are_measured_and_recorded(tmp_path: Path, measured: list[ArmConfig]) -> None:
    words = ["--velocity-factor", "0.4", "--acceleration-factor", "0.3", "--jerk-factor", "0.2"]
    assert run(tmp_path, "--robot-ip", "127.3.2.1", *words, "--max-tool-speed-m-s", "0.2") == 0
    (arm,) = measured
    assert (arm.velocity_factor, arm.acceleration_factor, arm.jerk_factor, arm.max_tool_speed_m_s) == (
        0.4, 0.3, 0.2, 0.2
    )  # fmt: skip
    assert ControllerResponse.from_yaml(tmp_path / "response.yaml").dynamics_factors == (0.4, 0.3, 0.2)


def test_a_factor_without_meaning_is_refused_before_anything_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, measured: list[ArmConfig]
) -> None:
    asked = answering(monkeypatch, "y")
    assert run(tmp_path, "--robot-ip", "172.16.0.2", "--jerk-factor", "2") == 2
    assert (asked, measured) == ([], [])
