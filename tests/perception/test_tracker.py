from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation
from scipy.stats import chi2

from vlajs_perception.estimate import Estimate, PoseError
from vlajs_perception.objects import cube
from vlajs_perception.symmetry import rotation_error_rad
from vlajs_perception.tracker import Status, Tracker, TrackerError, TrackerSettings

MS = 1_000_000
CUBE = cube("cube", 0.02)
SETTINGS = TrackerSettings(fresh_s=0.1, max_dropout_s=0.5, confirmations=3)
HERE = (0.6, 0.0, 0.02)


def seen(position_m: object = HERE, yaw_deg: float = 0.0, std: float = 1e-3) -> Estimate:
    return Estimate(
        position_m=np.array(position_m),
        quat_wxyz=Rotation.from_euler("z", yaw_deg, degrees=True).as_quat(scalar_first=True),
        covariance=std**2 * np.eye(6),
        source="plane",
    )


def tracking(until_ms: int = 200) -> Tracker:
    """A tracker that saw the cube at rest every 50 ms, last at ``until_ms``."""
    tracker = Tracker(CUBE.symmetries_wxyz, SETTINGS)
    for stamp_ms in range(0, until_ms + 1, 50):
        tracker.observe(seen(), stamp_ms * MS)
    return tracker


def test_is_absent_until_three_measurements_agree() -> None:
    tracker = Tracker(CUBE.symmetries_wxyz, SETTINGS)
    assert tracker.at(0).status is Status.ABSENT
    assert [tracker.observe(seen(), stamp_ms * MS) for stamp_ms in (0, 50)] == [False, False]
    assert tracker.at(60 * MS) == replace(tracker.at(0), stamp_ns=60 * MS)
    assert tracker.observe(seen(), 100 * MS)
    track = tracker.at(100 * MS)
    assert track.status is Status.TRACKING
    assert track.last_seen_ns == 100 * MS
    assert track.motion is not None
    np.testing.assert_allclose(track.motion.position_m, HERE, atol=1e-9)


def test_measurements_all_over_the_place_are_no_object() -> None:
    tracker = Tracker(CUBE.symmetries_wxyz, SETTINGS)
    rng = np.random.default_rng(0)
    for stamp_ms in range(0, 2000, 50):
        assert not tracker.observe(seen(rng.uniform([0.4, -0.3, 0.02], [0.8, 0.3, 0.02])), stamp_ms * MS)
        assert tracker.at(stamp_ms * MS).status is Status.ABSENT


def test_coasts_and_is_lost_after_the_stated_time() -> None:
    tracker = tracking(until_ms=200)
    statuses = {ms: tracker.at(ms * MS).status for ms in (200, 300, 301, 700, 701, 100_000)}
    assert statuses == {
        200: Status.TRACKING,
        300: Status.TRACKING,  # 0.1 s old
        301: Status.COASTING,
        700: Status.COASTING,  # 0.5 s old
        701: Status.LOST,
        100_000: Status.LOST,
    }
    assert tracker.at(701 * MS).motion is None
    assert tracker.at(701 * MS).last_seen_ns == 200 * MS


def test_uncertainty_grows_while_it_coasts() -> None:
    tracker = tracking()
    widths = []
    for ms in (200, 300, 500, 700):
        motion = tracker.at(ms * MS).motion
        assert motion is not None
        widths.append(motion.pose_covariance[0, 0])
    assert widths == sorted(widths)
    assert widths[-1] > 100 * widths[0]


def test_a_lost_object_is_found_again_after_three_measurements() -> None:
    tracker = tracking(until_ms=200)
    elsewhere = (0.7, 0.1, 0.02)
    statuses = []
    for stamp_ms in (1000, 1050, 1100):
        tracker.observe(seen(elsewhere), stamp_ms * MS)
        statuses.append(tracker.at(stamp_ms * MS).status)
    assert statuses == [Status.LOST, Status.LOST, Status.TRACKING]
    motion = tracker.at(1100 * MS).motion
    assert motion is not None
    np.testing.assert_allclose(motion.position_m, elsewhere, atol=1e-6)


def test_a_single_outlier_is_refused() -> None:
    tracker = tracking(until_ms=200)
    assert not tracker.observe(seen((0.7, 0.1, 0.02)), 250 * MS)
    track = tracker.at(250 * MS)
    assert track.status is Status.COASTING
    assert track.motion is not None
    np.testing.assert_allclose(track.motion.position_m, HERE, atol=1e-6)
    assert tracker.observe(seen(), 300 * MS)
    assert tracker.at(300 * MS).status is Status.TRACKING


def test_an_outlier_that_persists_is_the_truth() -> None:
    tracker = tracking(until_ms=200)
    elsewhere = (0.5, 0.25, 0.02)
    taken = [tracker.observe(seen(elsewhere), stamp_ms * MS) for stamp_ms in (250, 300, 350)]
    assert taken == [False, False, True]
    motion = tracker.at(350 * MS).motion
    assert motion is not None
    np.testing.assert_allclose(motion.position_m, elsewhere, atol=1e-9)
    np.testing.assert_allclose(motion.velocity_m_s, 0.0, atol=1e-9)  # it was put there, it did not fly


def test_outliers_with_the_object_between_them_never_add_up() -> None:
    tracker = tracking(until_ms=200)
    for i in range(10):
        assert not tracker.observe(seen((0.7, 0.1, 0.02)), (250 + 100 * i) * MS)
        assert tracker.observe(seen(), (300 + 100 * i) * MS)


@pytest.mark.parametrize("probability", [0.9, 0.999])
def test_the_gate_is_at_the_stated_probability(probability: float) -> None:
    edge = np.sqrt(chi2.ppf(probability, 6))
    options = replace(SETTINGS, gate_probability=probability, speed_drift=1e-9, spin_drift=1e-9)
    for factor, passes in ((0.99, True), (1.01, False)):
        tracker = Tracker(CUBE.symmetries_wxyz, options)
        for stamp_ms in range(0, 201, 50):
            tracker.observe(seen(), stamp_ms * MS)
        motion = tracker.at(250 * MS).motion
        assert motion is not None
        off_m = factor * edge * np.sqrt(motion.covariance[0, 0] + 1e-6)  # 1 mm of the measurement
        assert tracker.observe(seen(np.add(HERE, [off_m, 0.0, 0.0])), 250 * MS) is passes


@given(
    velocity=st.tuples(st.floats(-0.3, 0.3), st.floats(-0.3, 0.3)),
    spin_deg_s=st.floats(-90.0, 90.0),
    latency_ms=st.integers(0, 300),
)
@settings(max_examples=15, deadline=None)
def test_the_pose_is_predicted_to_a_later_time(
    velocity: tuple[float, float], spin_deg_s: float, latency_ms: int
) -> None:
    tracker = Tracker(CUBE.symmetries_wxyz, SETTINGS)
    for stamp_ms in range(0, 1001, 50):
        t = stamp_ms * 1e-3
        tracker.observe(
            seen(np.add(HERE, [velocity[0] * t, velocity[1] * t, 0.0]), (spin_deg_s * t + 45) % 90 - 45), stamp_ms * MS
        )
    track = tracker.at((1000 + latency_ms) * MS)
    assert track.status is (Status.TRACKING if latency_ms <= 100 else Status.COASTING)
    motion = track.motion
    assert motion is not None
    later_s = 1.0 + latency_ms * 1e-3
    expected_m = np.add(HERE, [velocity[0] * later_s, velocity[1] * later_s, 0.0])
    np.testing.assert_allclose(motion.position_m, expected_m, atol=2e-3)
    np.testing.assert_allclose(motion.velocity_m_s, [*velocity, 0.0], atol=5e-3)
    truth = Rotation.from_euler("z", spin_deg_s * later_s, degrees=True).as_quat(scalar_first=True)
    assert rotation_error_rad(motion.quat_wxyz, truth, CUBE.symmetries_wxyz) < np.radians(2.0)


def test_the_yaw_runs_on_over_the_edge_of_the_symmetry() -> None:
    # 10 degrees a frame: what the fit calls -40 after 40 is 50 to the track
    tracker = Tracker(CUBE.symmetries_wxyz, SETTINGS)
    for i in range(13):
        tracker.observe(seen(yaw_deg=(10 * i + 45) % 90 - 45), 50 * i * MS)
    motion = tracker.at(600 * MS).motion
    assert motion is not None
    yaw_deg = Rotation.from_matrix(motion.rotation).as_euler("zyx", degrees=True)[0]
    assert yaw_deg == pytest.approx(120.0, abs=2.0)
    assert np.degrees(motion.angular_velocity_rad_s[2]) == pytest.approx(200.0, abs=10.0)


def test_a_box_moves_the_track_and_turns_nothing() -> None:
    tracker = Tracker(CUBE.symmetries_wxyz, SETTINGS)
    for i in range(5):
        tracker.observe(seen(yaw_deg=30.0), 50 * i * MS)
    covariance = np.diag([4e-6, 4e-6, 1e-6, 2.5e-5, 2.5e-5, np.pi**2])
    for i in range(5, 105):
        box = replace(seen(np.add(HERE, [2e-4 * (i - 5), 0.0, 0.0])), covariance=covariance, source="box")
        assert tracker.observe(box, 50 * i * MS)
    motion = tracker.at(5200 * MS).motion
    assert motion is not None
    assert motion.position_m[0] == pytest.approx(0.6 + 2e-4 * 99, abs=1e-3)
    assert Rotation.from_matrix(motion.rotation).as_euler("zyx", degrees=True)[0] == pytest.approx(30.0, abs=0.1)


@pytest.mark.parametrize("stamp_ms, what", [(200, "repeated"), (150, "earlier")])
def test_refuses_an_image_that_is_not_later(stamp_ms: int, what: str) -> None:
    tracker = tracking(until_ms=200)
    before = tracker.at(200 * MS)
    with pytest.raises(TrackerError, match="frozen camera"):
        tracker.observe(seen((0.7, 0.0, 0.02)), stamp_ms * MS)
    after = tracker.at(200 * MS)
    assert before.motion is not None
    assert after.motion is not None
    np.testing.assert_array_equal(after.motion.position_m, before.motion.position_m, err_msg=what)
    tracker.reset()
    assert tracker.at(0).status is Status.ABSENT
    assert not tracker.observe(seen(), stamp_ms * MS)


def test_an_outlier_s_stamp_counts_too() -> None:
    tracker = tracking(until_ms=200)
    tracker.observe(seen((0.7, 0.1, 0.02)), 300 * MS)
    with pytest.raises(TrackerError, match="not later"):
        tracker.observe(seen(), 250 * MS)


def test_refuses_the_past() -> None:
    with pytest.raises(TrackerError, match=r"0\.050 s before the last image"):
        tracking(until_ms=200).at(150 * MS)


@pytest.mark.parametrize("stamp", [0.5, float("nan"), True, None])
def test_refuses_a_stamp_that_is_none(stamp: object) -> None:
    tracker = Tracker(CUBE.symmetries_wxyz, SETTINGS)
    with pytest.raises(TrackerError, match="integer of nanoseconds"):
        tracker.observe(seen(), stamp)  # type: ignore[arg-type]
    with pytest.raises(TrackerError, match="integer of nanoseconds"):
        tracker.at(stamp)  # type: ignore[arg-type]


def test_numbers_that_are_not_finite_never_reach_it() -> None:
    with pytest.raises(PoseError, match="finite"):
        seen((np.nan, 0.0, 0.0))
    with pytest.raises(PoseError, match="finite"):
        replace(seen(), covariance=np.full((6, 6), np.nan))


@pytest.mark.parametrize(
    "changes",
    [
        {"gate_probability": 1.0},
        {"gate_probability": float("nan")},
        {"fresh_s": 2.0},
        {"max_dropout_s": float("inf")},
        {"confirmations": 0},
        {"speed_drift": 0.0},
    ],
)
def test_refuses_settings_out_of_range(changes: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(changes))):
        TrackerSettings(**changes)  # type: ignore[arg-type]


def test_goes_on_from_what_is_known_otherwise() -> None:
    tracker = tracking(until_ms=200)
    there = (0.6, 0.3, 0.2)
    tracker.restart(seen(there), 250 * MS)
    track = tracker.at(250 * MS)
    assert (track.status, track.last_seen_ns) == (Status.TRACKING, 250 * MS)
    assert track.motion is not None
    np.testing.assert_allclose(track.motion.position_m, there)
    assert tracker.observe(seen(there), 250 * MS)  # the image of the same time
    assert not tracker.observe(seen(HERE), 300 * MS)  # where it was before is elsewhere now
    with pytest.raises(TrackerError, match="integer of nanoseconds"):
        tracker.restart(seen(), 0.3)  # type: ignore[arg-type]
