"""Success, time to success and reasons, from ground truth in robot time."""

import numpy as np
import pytest

from vlajs.geometry import Pose
from vlajs.session.judge import GroundTruth, TrialJudge
from vlajs.session.records import SessionError
from vlajs.tasks import get_task

GOAL_M = np.array([0.8, 0.0, 0.0])


def truth(time_s: float, x_m: float, z_m: float = 0.02, joint_speed_rad_s: float = 0.0) -> GroundTruth:
    pose = Pose(position_m=np.array([x_m, 0.0, z_m]), quat_wxyz=np.array([1.0, 0.0, 0.0, 0.0]))
    return GroundTruth(time_s=time_s, objects={"cube": pose}, joint_velocities_rad_s=np.full(7, joint_speed_rad_s))


def push_judge() -> TrialJudge:
    return TrialJudge(get_task("push_cube"), GOAL_M, start_s=50.0, horizon_s=2.5)


def test_first_success_counts_with_its_own_time():
    judge = push_judge()
    assert judge.observe(truth(50.0, 0.6)) is None
    assert judge.observe(truth(51.0, 0.69)) is None  # 0.11 m from the goal, radius 0.1 m
    verdict = judge.observe(truth(51.25, 0.71))  # 0.09 m
    assert verdict is not None
    assert verdict.success
    assert verdict.time_to_success_s == pytest.approx(1.25)
    assert verdict.final_distance_m == pytest.approx(0.09)


def test_success_after_the_horizon_does_not_count():
    judge = push_judge()
    assert judge.observe(truth(50.0, 0.6)) is None
    assert judge.observe(truth(52.51, 0.8)) is None
    verdict = judge.time_limit()
    assert not verdict.success
    assert verdict.final_distance_m == pytest.approx(0.2)
    assert verdict.time_to_success_s is None


def test_samples_before_the_first_action_do_not_count():
    judge = push_judge()
    assert judge.observe(truth(49.9, 0.8)) is None
    assert "no ground truth" in judge.time_limit().reason


def test_success_at_the_very_horizon_counts():
    assert push_judge().observe(truth(52.5, 0.75)) is not None


def test_lifted_cube_in_the_goal_is_no_push():
    assert push_judge().observe(truth(50.5, 0.8, z_m=0.03)) is None  # 10 mm up, 5 mm allowed


def test_pick_needs_a_still_arm():
    judge = TrialJudge(get_task("pick_cube"), np.array([0.6, 0.0, 0.2]), start_s=0.0, horizon_s=10.0)
    assert judge.observe(truth(1.0, 0.6, z_m=0.2, joint_speed_rad_s=0.3)) is None
    verdict = judge.observe(truth(1.2, 0.6, z_m=0.2, joint_speed_rad_s=0.1))
    assert verdict is not None
    assert verdict.success


def test_cube_off_the_table_ends_the_trial_even_under_the_goal():
    judge = push_judge()
    judge.observe(truth(50.0, 0.6))
    verdict = judge.observe(truth(51.0, 0.8, z_m=-0.06))
    assert verdict is not None
    assert (verdict.success, verdict.outcome) == (False, "object_lost")
    assert "left the table after 1.0 s" in verdict.reason


def test_reason_of_a_time_limit_tells_distances():
    judge = push_judge()
    judge.observe(truth(50.0, 0.6))
    judge.observe(truth(51.0, 0.69))
    judge.observe(truth(52.0, 0.65))
    assert judge.time_limit().reason == "time limit of 2.5 s; cube 0.150 m from the goal, 0.110 m at best, at 1.0 s"


def test_reason_tells_an_untouched_and_a_dropped_cube():
    untouched, dropped = push_judge(), push_judge()
    untouched.observe(truth(50.0, 0.6))
    assert "hardly touched" in untouched.time_limit().reason
    for time_s, z_m in ((50.0, 0.02), (51.0, 0.12), (52.0, 0.02)):
        dropped.observe(truth(time_s, 0.6, z_m=z_m))
    assert "lifted by up to 0.100 m" in dropped.time_limit().reason


def test_diverged_ground_truth_is_an_error():
    with pytest.raises(SessionError, match="which is no pose"):
        push_judge().observe(truth(50.5, float("nan")))
