"""PPO's parts against hand-computed values, and the whole on an environment with a known solution."""

import copy

import numpy as np
import pytest
import torch

from tests.support.reach_zero import ReachZero
from tests.support.teachers import CountingTeacher, raises, toward_zero
from tests.training.guidance.test_discretisation import ACTION
from vlajs_training.guidance import METHODS, GuidanceConfig, Guide
from vlajs_training.ppo import PPO, ObservationNormaliser, PPOConfig, Rollout, TrainingError


def small_ppo(**overrides: object) -> PPO:
    config = PPOConfig(hidden_sizes=(16, 16), **overrides)
    return PPO(ReachZero(), config, torch.device("cpu"))


def test_advantages_equal_the_sum_written_out() -> None:
    ppo = small_ppo(gamma=0.9, gae_lambda=0.5)
    rollout = Rollout(
        raw=torch.zeros(3, 1, 1),
        observation=torch.zeros(3, 1, 1),
        action=torch.zeros(3, 1, 7),
        log_prob=torch.zeros(3, 1),
        reward=torch.tensor([[1.0], [2.0], [3.0]]),
        value=torch.tensor([[0.5], [1.0], [1.5]]),
        next_value=torch.tensor([[1.0], [4.0], [2.0]]),
        done=torch.tensor([[0.0], [1.0], [0.0]]),
        hint=torch.zeros(3, 1, 7),
        guided=torch.zeros(3, 1),
        successes=0,
        episodes=1,
        episode_rewards=6.0,
    )
    # deltas: 1 + .9*1 - .5 = 1.4;  2 + .9*4 - 1 = 4.6 (episode ends);  3 + .9*2 - 1.5 = 3.3
    # decay .9*.5 = .45:  A2 = 3.3;  A1 = 4.6 (nothing crosses the end);  A0 = 1.4 + .45*4.6 = 3.47
    torch.testing.assert_close(ppo.advantages(rollout), torch.tensor([[3.47], [4.6], [3.3]]))


def test_success_is_worth_an_absorbing_state_and_truncation_the_critics_value() -> None:
    ppo = small_ppo(gamma=0.9)
    ppo.start(0)
    final = np.array([[0.1], [0.2], [0.3]], dtype=np.float32)
    values = ppo._bootstrap(
        np.array([0.8, 0.5, 0.3], dtype=np.float32),
        terminated=np.array([True, False, False]),
        truncated=np.array([False, True, False]),
        final=final,
    )
    expected_truncated = ppo.network.value(ppo.normaliser(torch.from_numpy(final)))[1]
    # 0.8 / (1 - 0.9) = 8;  the third is still going on and gets its value elsewhere
    torch.testing.assert_close(values, torch.stack([torch.tensor(8.0), expected_truncated, torch.tensor(0.0)]))


def test_normaliser_agrees_with_numpy_over_batches() -> None:
    rng = np.random.default_rng(0)
    batches = [rng.normal(3.0, 2.0, size=(n, 4)) for n in (5, 50, 7)]
    normaliser = ObservationNormaliser(4)
    for batch in batches:
        normaliser.update(torch.from_numpy(batch))
    everything = np.concatenate(batches)
    # the prior count of 1e-4 observations shifts both by about 1e-5
    np.testing.assert_allclose(normaliser.mean.numpy(), everything.mean(axis=0), atol=1e-4)
    np.testing.assert_allclose(normaliser.variance.numpy(), everything.var(axis=0), atol=1e-3)


def test_learns_to_reach_zero() -> None:
    torch.manual_seed(0)
    ppo = small_ppo()
    ppo.start(0)
    outcomes = []
    for _ in range(60):
        rollout = ppo.collect()
        outcomes.append((rollout.successes, rollout.episodes))
        ppo.update(rollout)
    early = sum(s for s, _ in outcomes[:5]) / sum(e for _, e in outcomes[:5])
    late = sum(s for s, _ in outcomes[-10:]) / sum(e for _, e in outcomes[-10:])
    assert late > 0.95 > early


def test_stops_on_rewards_that_are_not_finite() -> None:
    ppo = small_ppo()
    ppo.start(0)
    ppo.env.broken_reward = True
    with pytest.raises(TrainingError, match=r"rewards contain NaN.*1 of 16.*reward computation"):
        ppo.collect()


def test_stops_on_a_loss_that_is_not_finite() -> None:
    ppo = small_ppo()
    ppo.start(0)
    rollout = ppo.collect()
    rollout.log_prob[0, 0] = torch.nan
    rollout.action[:] = torch.nan
    with pytest.raises(TrainingError, match="losses contain NaN"):
        ppo.update(rollout)


def test_state_restores_the_same_policy_and_the_same_next_update() -> None:
    torch.manual_seed(0)
    ppo = small_ppo()
    ppo.start(0)
    ppo.update(ppo.collect())
    other = small_ppo()
    other.load_state_dict(copy.deepcopy(ppo.state_dict()))  # a checkpoint shares no memory with the learner
    rollout = ppo.collect()
    for learner in (ppo, other):
        torch.manual_seed(5)
        learner.update(rollout)
    for ours, theirs in zip(ppo.network.parameters(), other.network.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs)
    torch.testing.assert_close(ppo.normaliser.mean, other.normaliser.mean)


# -------------------------------------------------------------------------------------------------- guidance


def guided_ppo(
    method: str, teacher: CountingTeacher, num_envs: int = 16, target_kl: float = 0.1, **settings: object
) -> PPO:
    guide = Guide(
        teacher,
        METHODS[method],
        GuidanceConfig(**settings),
        action=ACTION,
        decision_rate_hz=10.0,
        deactivation_reward=0.95,
        num_envs=num_envs,
        rollout_steps=16,
        seed=0,
    )
    config = PPOConfig(hidden_sizes=(16, 16), target_kl=target_kl)
    ppo = PPO(ReachZero(num_envs), config, torch.device("cpu"), guide)
    ppo.start(0)
    return ppo


@pytest.mark.parametrize("method", ["sparse-rpd", "vlajs-rpd", "vlajs"])
def test_calls_are_made_while_rolling_out_and_none_in_updates(method: str) -> None:
    torch.manual_seed(0)
    teacher = CountingTeacher()
    ppo = guided_ppo(method, teacher)
    for _ in range(4):
        before = teacher.calls
        rollout = ppo.collect()
        made = teacher.calls - before
        assert 0 < made <= 0.2 * 16 * 16
        # what the teacher said is in the rollout: the first step of a window is there at least, D = 2
        assert made <= rollout.guided.sum() <= 2 * made + 16
        figures = ppo.update(rollout)
        assert teacher.calls == before + made
        assert figures["guidance/call_share"] == made / (16 * 16)
    # new episodes reached the teacher: everyone at the start, then whoever ended
    assert teacher.began[0] == list(range(16))
    assert len(teacher.began) > 1


def test_no_call_after_deactivation() -> None:
    torch.manual_seed(0)
    teacher = CountingTeacher()
    teacher.answer = toward_zero(teacher)
    ppo = guided_ppo("vlajs", teacher, deactivation_reward=0.4)
    calls_when_off = None
    for _ in range(40):
        figures = ppo.update(ppo.collect())
        if not ppo.guide.active and calls_when_off is None:
            calls_when_off = teacher.calls
            # the update that follows the rollout which ended guidance is without it already
            assert "loss/guidance" not in figures
            assert figures["guidance/lambda"] == 0.0
            assert ppo.guide.deactivated_at == ppo.steps == figures["guidance/deactivated_at"]
    assert calls_when_off is not None
    assert teacher.calls == calls_when_off


@pytest.mark.parametrize(("method", "pulls_length"), [("vlajs", False), ("vlajs-rpd", True)])
def test_guidance_alone_teaches_direction_and_only_mse_the_length(method: str, pulls_length: bool) -> None:
    torch.manual_seed(0)
    teacher = CountingTeacher()
    teacher.answer = toward_zero(teacher, step_m=0.09)  # in one decision of at most 0.03 m: actions of 3
    ppo = guided_ppo(method, teacher, target_kl=1e9, weight=3.0, kappa=0.0, steps_per_call=1)  # nothing holds it back
    for _ in range(20):
        rollout = ppo.collect()
        for tensor in (rollout.reward, rollout.value, rollout.next_value):
            tensor[:] = 0.0  # every advantage is 0: the teacher alone is heard
        figures = ppo.update(rollout)
    assert figures["guidance/cosine_translation"] > 0.9
    with torch.no_grad():
        length = ppo.network.actor(ppo.normaliser(torch.tensor([[0.8]])))[0, 0].abs().item()
    assert (length > 1.8) is pulls_length


def test_a_teacher_that_fails_leaves_plain_ppo() -> None:
    torch.manual_seed(0)
    ppo = guided_ppo("vlajs", CountingTeacher(answer=raises), max_failures=3)
    outcomes = []
    for _ in range(60):
        rollout = ppo.collect()
        outcomes.append((rollout.successes, rollout.episodes))
        figures = ppo.update(rollout)
    assert ppo.guide.teacher.failures == 3
    assert figures["guidance/guided_share"] == 0.0
    assert sum(s for s, _ in outcomes[-10:]) / sum(e for _, e in outcomes[-10:]) > 0.95


def test_episode_rewards_are_summed_over_rollouts() -> None:
    torch.manual_seed(0)
    ppo = small_ppo()
    ppo.start(0)
    total = all_rewards = 0.0
    for _ in range(3):
        rollout = ppo.collect()
        total += rollout.episode_rewards
        all_rewards += float(rollout.reward.sum())
    # every reward belongs to an episode that has ended or to one still going on
    assert total + ppo._episode_reward.sum() == pytest.approx(all_rewards, rel=1e-5)
    assert ppo.steps == 3 * 16 * 16
