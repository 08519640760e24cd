"""A response file is taken whole or refused with its path."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from vlajs.policy.response import ControllerResponse

GOOD: dict[str, Any] = {
    "latency_s": 0.01,
    "natural_frequency_rad_s": 40.0,
    "damping_ratio": 0.8,
    "residual_m": 0.002,
    "hand_delay_s": 0.05,
    "hand_speed_m_s": 0.1,
    "source": "twin",
    "dynamics_factors": [0.6, 0.5, 0.3],
    "measured_on": "2026-11-23",
}


def test_a_response_comes_back_as_written(tmp_path: Path) -> None:
    response = ControllerResponse(**{**GOOD, "dynamics_factors": (0.6, 0.5, 0.3)})
    response.to_yaml(tmp_path / "response.yaml")
    assert ControllerResponse.from_yaml(tmp_path / "response.yaml") == response


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"latency_s": 0.2}, "latency_s = 0.2 is no number within [0, 0.05]"),
        ({"natural_frequency_rad_s": "fast"}, "natural_frequency_rad_s = 'fast' is no number"),
        ({"damping_ratio": None}, "damping_ratio = None is no number"),
        ({"residual_m": -0.001}, "residual_m = -0.001 is no number"),
        ({"hand_delay_s": float("nan")}, "hand_delay_s = nan is no number"),
        ({"hand_speed_m_s": -3}, "hand_speed_m_s = -3 is no number"),
        ({"hand_speed_m_s": True}, "hand_speed_m_s = True is no number"),
        ({"dynamics_factors": 0.5}, "dynamics_factors = 0.5, expected three numbers"),
        ({"dynamics_factors": [0.6, 0.5]}, "expected three numbers"),
        ({"dynamics_factors": [0.6, 0.5, "x"]}, "dynamics_factors = 'x' is no number"),
        ({"source": 7}, "source = 7 is no text"),
        ({"speed": 1.0}, "a response file holds"),
    ],
)
def test_what_no_arm_has_is_refused(tmp_path: Path, change: dict[str, Any], words: str) -> None:
    path = tmp_path / "response.yaml"
    path.write_text(yaml.safe_dump({**GOOD, **change}))
    with pytest.raises(ValueError) as refusal:
        ControllerResponse.from_yaml(path)
    assert str(path) in str(refusal.value)
    assert words in str(refusal.value)


@pytest.mark.parametrize("data", [b"latency_s: [", b"\xff\xfe\x00", b"\x00", b"- 1", b""])
def test_what_is_no_response_file_is_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "response.yaml"
    path.write_bytes(data)
    with pytest.raises(ValueError, match="vlajs identify") as refusal:
        ControllerResponse.from_yaml(path)
    assert str(path) in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"response\.yaml cannot be read \(No such file or directory\)"):
        ControllerResponse.from_yaml(tmp_path / "response.yaml")
