"""Which images become views; pictures are rendered, tool poses made up."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.perception.calibration.synthetic import BOARD, LENS, SIZE, render, tools, truth
from vlajs_perception.calibration.capture import CaptureLimits, Collector, Offer
from vlajs_perception.calibration.errors import CalibrationError
from vlajs_perception.calibration.folder import SetInfo, ViewFolder
from vlajs_perception.calibration.se3 import moved

INFO = SetInfo(kind="eye_to_hand", board=BOARD, image_size=SIZE, lens=LENS)
SCENE = truth("eye_to_hand")
TOOLS = tools(SCENE, 3)
PICTURE = render(SCENE, TOOLS[0])
S = 1_000_000_000


@pytest.fixture
def collector(tmp_path: Path) -> Collector:
    return Collector(ViewFolder.create(tmp_path / "views", INFO))


def offer(
    collector: Collector, tool: np.ndarray = TOOLS[0], *, at_s: float = 10.0, speed_m_s: float = 0.0, **changed: Any
) -> Offer:
    """The picture of a tool that moves along x, told at 100 Hz for half a second around the image."""
    stamp_ns = round(at_s * S)
    times_s = np.arange(-0.5, 0.5, 0.01)
    values: dict[str, Any] = {
        "image": PICTURE,
        "stamp_ns": stamp_ns,
        "now_ns": stamp_ns + S // 10,
        "tool_stamps_ns": stamp_ns + np.round(times_s * S).astype(int),
        "tools_in_base": np.stack([moved(tool, [speed_m_s * t, 0, 0, 0, 0, 0]) for t in times_s]),
    } | changed
    return collector.offer(values.pop("image"), **values)


def test_a_fresh_picture_of_a_tool_at_rest_becomes_a_view(collector: Collector) -> None:
    result = offer(collector)
    assert result.view is not None
    assert result.view.number == 1
    assert "view 1 taken" in result.reason
    np.testing.assert_allclose(result.view.tool.tool_in_base, TOOLS[0])
    assert result.view.tool.speed_m_s == 0.0


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"stamp_ns": 0}, "has no stamp"),
        ({"now_ns": round(11.01 * S)}, "is 1.01 s old, limit 1 s"),
        ({"now_ns": round(9.9 * S)}, "is stamped 0.10 s ahead"),
        ({"speed_m_s": 0.004}, "the arm moves"),  # 4 mm/s, 2 are allowed
        ({"tool_stamps_ns": np.arange(100) + 20 * S}, "no tool poses around the image"),
        ({"tool_stamps_ns": np.zeros(0, int), "tools_in_base": np.zeros((0, 4, 4))}, "no tool poses"),
        ({"image": np.full((480, 640), 100, np.uint8)}, "0 corners"),
    ],
)
def test_what_is_no_view_is_refused_with_the_reason(
    collector: Collector, changed: dict[str, Any], reason: str, tmp_path: Path
) -> None:
    result = offer(collector, **changed)
    assert result.view is None
    assert reason in result.reason
    assert ViewFolder.open(tmp_path / "views").numbers() == []
    assert collector.views == ()


def test_the_same_image_again_is_a_frozen_camera(collector: Collector) -> None:
    offer(collector, speed_m_s=1.0)
    assert "the camera is frozen" in offer(collector).reason
    assert offer(collector, at_s=10.1).view is not None


def test_a_view_adds_something(collector: Collector) -> None:
    assert offer(collector).view is not None
    # 29 mm and 7 degrees away: as before; 31 mm, or 9 degrees: new
    near = moved(TOOLS[0], [0.029, 0, 0, 0, 0, np.radians(7)])
    assert "as in view 1" in offer(collector, near, at_s=11).reason
    assert offer(collector, moved(TOOLS[0], [0, 0.031, 0, 0, 0, 0]), at_s=12).view is not None
    assert offer(collector, moved(TOOLS[0], [0, 0, 0, np.radians(9), 0, 0]), at_s=13).view is not None


def test_it_goes_on_where_it_stopped(collector: Collector, tmp_path: Path) -> None:
    offer(collector)
    again = Collector(ViewFolder.create(tmp_path / "views", INFO))
    assert len(again.views) == 1
    assert "as in view 1" in offer(again, at_s=20).reason
    result = offer(again, TOOLS[1], at_s=21, image=render(SCENE, TOOLS[1]))
    assert result.view is not None
    assert result.view.number == 2


def test_it_says_what_the_set_misses(collector: Collector) -> None:
    offer(collector)
    assert collector.missing() == ["1 views, at least 12 are needed: add 11"]
    offer(collector, moved(TOOLS[0], [0.04, 0, 0, 0, 0, 0]), at_s=11)
    assert any("hardly turns" in problem for problem in collector.missing())
    assert any("travels 20 mm" in problem for problem in collector.missing())  # 40 mm apart: 20 from the middle


def test_limits_are_positive() -> None:
    with pytest.raises(CalibrationError, match="min_new_mm is 0, must be a positive number"):
        CaptureLimits(min_new_mm=0)
