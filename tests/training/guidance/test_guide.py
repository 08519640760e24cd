"""Guidance through rollouts: when the teacher is asked, what it leads to, and that it ends."""

import dataclasses

import numpy as np
import pytest
import torch

from tests.support.teachers import BAD_ANSWERS, DESCRIPTION, CountingTeacher
from tests.training.guidance.test_discretisation import ACTION
from vlajs_training.guidance import METHODS, GuidanceConfig, Guide

STEPS = 10


def make_guide(teacher: CountingTeacher, method: str = "vlajs", num_envs: int = 4, **settings: object) -> Guide:
    return Guide(
        teacher,
        METHODS[method],
        GuidanceConfig(**{"kappa": 1.0, "teacher_timeout_s": 0.05, **settings}),
        action=ACTION,
        decision_rate_hz=10.0,
        deactivation_reward=0.5,
        num_envs=num_envs,
        rollout_steps=STEPS,
        seed=0,
    )


def roll_out(guide: Guide, done: np.ndarray | None = None, num_envs: int = 4) -> tuple[torch.Tensor, torch.Tensor]:
    """One rollout; episodes end after each step where ``done`` (T, N)."""
    guide.begin_rollout()
    hints, guided = [], []
    for t in range(STEPS):
        hint, mask = guide.targets(t, np.full((num_envs, 2), t, dtype=np.float32))
        hints.append(hint)
        guided.append(mask)
        guide.episodes_ended(np.zeros(num_envs, dtype=bool) if done is None else done[t])
    return torch.stack(hints), torch.stack(guided)


def test_calls_guide_d_steps_in_action_units() -> None:
    teacher = CountingTeacher()
    guide = make_guide(teacher)
    guide.start()
    hints, guided = roll_out(guide)
    guide.end_rollout(0.0, 40)
    # 20 % of 10 steps are 2 calls in each of 4 environments; each covers 0.2 s, 2 decisions of 0.1 s
    assert guide.steps_per_call == 2
    assert teacher.calls == guide.calls == guide.rollout_calls == 8
    assert teacher.calls / guided.numel() <= 0.2
    # every call guides 2 steps but those whose window leaves the rollout, which go on in the next
    assert 12 <= guided.sum() <= 16
    # 0.06 m in 2 steps of 0.03 m are actions of 1; the gripper holds; elsewhere nothing
    torch.testing.assert_close(hints[guided > 0], torch.tensor([1.0, 0, 0, 0, 0, 0, 1.0]).expand(int(guided.sum()), 7))
    assert not hints[guided == 0].any()
    assert teacher.began == [[0, 1, 2, 3]]
    assert len(teacher.observed) == STEPS


def test_windows_end_with_the_episode_and_cross_the_rollouts_end() -> None:
    teacher = CountingTeacher()
    guide = make_guide(teacher, num_envs=1, steps_per_call=4)
    guide._due = np.zeros((STEPS, 1), dtype=bool)
    guide.begin_rollout = lambda: None  # the calls are set by hand
    guide._due[[0, 8], 0] = True
    done = np.zeros((STEPS, 1), dtype=bool)
    done[1] = True
    _, guided = roll_out(guide, done, num_envs=1)
    assert guided[:, 0].tolist() == [1, 1, 0, 0, 0, 0, 0, 0, 1, 1]
    assert teacher.began == [[0]]
    guide._due[:] = False
    _, guided = roll_out(guide, num_envs=1)
    assert guided[:, 0].tolist() == [1, 1, 0, 0, 0, 0, 0, 0, 0, 0]


def test_calls_and_weight_fall_with_the_reward_gain() -> None:
    guide = make_guide(CountingTeacher(), max_call_share=0.5, kappa=1.0, deactivation_reward=9.0)
    for reward in (0.0, 1.0):
        roll_out(guide)
        guide.end_rollout(reward, 40)
    # gain 1: floor(5 e^-1) = floor(1.84) = 1 call, weight 0.3 e^-1 = 0.110
    assert guide.gain == pytest.approx(1.0)
    assert guide.calls_planned == 1
    assert guide.weight == pytest.approx(0.3 * np.exp(-1.0))
    roll_out(guide)
    guide.end_rollout(-5.0, 120)
    assert guide.rollout_calls == 4
    # -5 against 0: no gain, all calls again
    assert guide.calls_planned == 5
    assert guide.weight == pytest.approx(0.3)


@pytest.mark.parametrize("method", ["vlajs", "vlajs-rpd"])
def test_no_call_is_made_after_deactivation(method: str) -> None:
    teacher = CountingTeacher()
    guide = make_guide(teacher, method)
    for index, reward in enumerate((0.3, 0.4, 0.6)):
        assert guide.active
        roll_out(guide)
        guide.end_rollout(reward, 40 * (index + 1))
    assert guide.deactivated_at == 120
    assert guide.weight == 0.0
    calls, observed = teacher.calls, len(teacher.observed)
    # 2 calls in 4 environments, twice; then, the gain being 0.4 - 0.3, floor(2 e^-0.1) = 1
    assert calls == 8 + 8 + 4
    for reward in (0.0, -1.0, -2.0):  # for good, whatever the reward does
        _, guided = roll_out(guide, np.ones((STEPS, 4), dtype=bool))
        guide.end_rollout(reward, 200)
        assert not guided.any()
        assert guide.rollout_calls == 0
    assert (teacher.calls, len(teacher.observed)) == (calls, observed)
    assert guide.deactivated_at == 120
    assert guide.weight == 0.0
    assert "off since 120" in guide.summary()


def test_sparse_rpd_goes_on_with_all_its_calls() -> None:
    teacher = CountingTeacher()
    guide = make_guide(teacher, "sparse-rpd")
    for reward in (0.3, 0.4, 0.6, 0.9, 2.0):
        roll_out(guide)
        guide.end_rollout(reward, 40)
    assert guide.deactivated_at is None
    assert guide.weight == 0.3
    assert teacher.calls == 5 * 8


@pytest.mark.parametrize("bad", BAD_ANSWERS, ids=lambda bad: bad.__name__)
def test_a_bad_teacher_costs_guidance_only(bad) -> None:
    teacher = CountingTeacher(answer=bad)
    guide = make_guide(teacher, max_failures=4)
    _, guided = roll_out(guide)
    guide.end_rollout(0.0, 40)
    assert not guided.any()
    assert not guide.active
    assert guide.teacher.given_up
    assert guide.calls_planned == 0
    assert guide.summary() == "teacher given up"
    asked = len(teacher.queries)
    roll_out(guide)
    assert len(teacher.queries) == asked
    assert guide.provenance()["teacher_given_up"] is True


def test_methods_lose_by_their_own_loss() -> None:
    mean, target = torch.tensor([[2.0, 0, 0, 0, 0, 0, 0]]), torch.tensor([[1.0, 0, 0, 0, 0, 0, 0]])
    guided = torch.ones(1)
    assert make_guide(CountingTeacher(), "vlajs").loss(mean, target, guided) < 1e-3  # same direction
    assert make_guide(CountingTeacher(), "vlajs-rpd").loss(mean, target, guided) == 1.0
    assert make_guide(CountingTeacher(), "sparse-rpd").loss(mean, target, guided) == 1.0


def test_figures_of_a_rollout() -> None:
    guide = make_guide(CountingTeacher())
    hints, guided = roll_out(guide)
    guide.end_rollout(0.0, 40)
    mean = torch.zeros(STEPS * 4, 7)
    mean[:, 0] = -1.0
    figures = guide.figures(mean, hints.flatten(0, 1), guided.flatten())
    assert figures["guidance/calls"] == 8
    assert figures["guidance/call_share"] == pytest.approx(8 / 40)
    assert figures["guidance/guided_share"] == pytest.approx(guided.mean().item())
    assert figures["guidance/cosine_translation"] == pytest.approx(-1.0, abs=2e-3)
    assert "guidance/cosine_rotation" not in figures  # this teacher never turns
    assert figures["guidance/active"] == 1.0


def test_state_restores_history_counters_and_end() -> None:
    guide = make_guide(CountingTeacher())
    for reward in (0.1, 0.2):
        roll_out(guide)
        guide.end_rollout(reward, 40)
    other = make_guide(CountingTeacher())
    other.load_state_dict(guide.state_dict())
    for each in (guide, other):
        each.start()
        each.begin_rollout()
    np.testing.assert_array_equal(guide._due, other._due)
    assert (other.calls, other.gain, other.weight) == (16, guide.gain, guide.weight)
    other.end_rollout(0.6, 120)  # 0.1 < 0.2 < 0.6, above the threshold: needs the restored history
    assert other.deactivated_at == 120
    third = make_guide(CountingTeacher())
    third.load_state_dict(other.state_dict())
    assert not third.active


def test_an_unsuitable_teacher_is_refused_before_anything_runs() -> None:
    foreign = CountingTeacher(dataclasses.replace(DESCRIPTION, convention="euler_tool"))
    with pytest.raises(ValueError, match="speaks 'euler_tool'"):
        make_guide(foreign)
