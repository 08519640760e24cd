import numpy as np
import pytest

from vlajs_perception.calibration.errors import CalibrationError
from vlajs_perception.calibration.se3 import pose_of
from vlajs_perception.calibration.views import ToolReading, reading_at

MS = 1_000_000


def test_takes_the_nearest_pose_and_the_fastest_motion_around_the_image() -> None:
    # 100 Hz. The tool moves by 0.2 mm (20 mm/s) and 0.001 rad (0.1 rad/s) in one step, 60 ms before the image.
    stamps = 10 * MS * np.arange(40)
    poses = np.stack([pose_of([0, 0, 0.001 * (i > 14)], [0.0002 * (i > 14), 0, 0.5]) for i in range(40)])
    reading = reading_at(203 * MS, stamps, poses)
    assert reading.stamp_ns == 200 * MS
    np.testing.assert_array_equal(reading.tool_in_base, poses[20])
    assert reading.speed_m_s == pytest.approx(0.02)
    assert reading.turning_rad_s == pytest.approx(0.1)
    # With 30 ms to each side, it stood still.
    assert reading_at(203 * MS, stamps, poses, window_ns=30 * MS).speed_m_s == 0.0


def test_refuses_a_robot_that_is_silent() -> None:
    with pytest.raises(CalibrationError, match="is the bridge running"):
        reading_at(10_000 * MS, [0, 10 * MS], np.stack([np.eye(4)] * 2))
    with pytest.raises(CalibrationError, match="rising"):
        reading_at(0, [10 * MS, 0], np.stack([np.eye(4)] * 2))


@pytest.mark.parametrize("speed", [np.nan, np.inf, -1.0])
def test_refuses_speeds_that_cannot_be(speed: float) -> None:
    with pytest.raises(CalibrationError, match="turning_rad_s"):
        ToolReading(tool_in_base=np.eye(4), stamp_ns=0, speed_m_s=0.0, turning_rad_s=speed)
