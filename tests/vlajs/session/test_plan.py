"""Trial design: reproducible, disjoint between seeds, inside the task's distribution."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vlajs.session.plan import plan_record, plan_trials, scene_seed_of
from vlajs.tasks import get_task

PUSH = get_task("push_cube")


def test_seed_fixes_the_plan_on_every_machine():
    # recorded once: a change here means that journals of older sessions cannot be resumed
    assert [scene_seed_of(7, trial) for trial in (1, 2, 3)] == [1973877946906281, 8573731580185675, 3332008669126762]
    assert plan_record(plan_trials(PUSH, 3, 7)) == plan_record(plan_trials(PUSH, 3, 7))


def test_longer_session_begins_like_the_shorter():
    assert plan_record(plan_trials(PUSH, 40, 3))[:20] == plan_record(plan_trials(PUSH, 20, 3))


@given(st.integers(0, 2**32), st.integers(0, 2**32))
def test_sessions_with_other_seeds_share_no_scene(first: int, second: int):
    seeds = {scene_seed_of(first, trial) for trial in range(1, 21)}
    assert len(seeds) == 20
    assert all(0 <= seed < 2**53 for seed in seeds)
    if first != second:
        assert not seeds & {scene_seed_of(second, trial) for trial in range(1, 21)}


def test_scenes_are_the_tasks_own():
    for plan in plan_trials(PUSH, 20, 1):
        cube = plan.scene.objects["cube"].position_m
        # ManiSkill's 0.2 m square around the world's origin, 0.615 m ahead of the base
        assert 0.515 <= cube[0] <= 0.715
        assert abs(cube[1]) <= 0.1
        np.testing.assert_allclose(plan.scene.goal_m[:2], cube[:2] + np.array([0.2, 0.0]))


@pytest.mark.parametrize(("trials", "seed", "words"), [(0, 1, "0 trials"), (20, -1, "-1 is negative")])
def test_nonsense_is_refused(trials: int, seed: int, words: str):
    with pytest.raises(ValueError, match=words):
        plan_trials(PUSH, trials, seed)


def test_a_task_that_begins_elsewhere_is_refused() -> None:
    with pytest.raises(ValueError, match=r"peg_insertion_side begins with the hand turned .*vlajs evaluate"):
        plan_trials(get_task("peg_insertion_side"), trials=1, seed=0)
