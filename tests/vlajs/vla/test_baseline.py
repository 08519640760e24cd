"""One episode of the baseline by hand: what is asked when, what is played, what is dropped, when it ends."""

from dataclasses import replace

import numpy as np
import pytest

from vlajs.episode import MAX_REFUSED_COMMANDS, Increment
from vlajs.states import PolicyPhase
from vlajs.vla.baseline import (
    RETRY_PAUSE_S,
    Answer,
    BaselineConfig,
    BaselineEpisode,
    RobotInput,
    identity_of,
)
from vlajs.vla.client import VlaDescription
from vlajs.vla.convention import Convention
from vlajs.vla.errors import VlaConfigError
from vlajs.vla.playback import StepLimits, pacing_of

CONFIG = BaselineConfig(instruction="push the cube")
OPEN = RobotInput(
    objection="",
    stale="",
    gripper_width_m=0.08,
    gripper_busy=False,
    limits=StepLimits(max_step_m=0.02, max_step_rad=0.06),
    refused_commands=2,
)


class Bench:
    """An episode that is ticked at its rate; the clock begins at 100 s."""

    def __init__(self, *, rate_hz: float = 20.0, robot: RobotInput = OPEN, **changes) -> None:
        self.robot, self.now_s = robot, 100.0
        pacing = pacing_of(rate_hz)
        self.period_s = 1.0 / pacing.tick_rate_hz
        self.episode = BaselineEpisode(7, replace(CONFIG, **changes), pacing, robot, self.now_s)

    def tick(self, **changes) -> Increment | None:
        """One tick, after which a period has gone by."""
        motion = self.episode.tick(replace(self.robot, **changes), self.now_s)
        self.now_s += self.period_s
        return motion

    def ticks(self, seconds: float) -> list[Increment | None]:
        return [self.tick() for _ in range(round(seconds / self.period_s))]

    def answer(self, *rows: float, age_s: float = 0.0, episode: int = 7) -> str:
        """An answer of this many actions along x, to a picture that is ``age_s`` old."""
        actions = np.array([[x, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0] for x in rows])
        return self.episode.take(Answer(episode=episode, taken_s=self.now_s - age_s, actions=actions), self.now_s)

    def fail(self, problem: str = "HTTP 500", *, final: bool = False) -> str:
        return self.episode.take(Answer(episode=7, taken_s=self.now_s, problem=problem, final=final), self.now_s)


def x_of(motion: Increment | None) -> float | None:
    return None if motion is None else float(motion.delta_pos_m[0])


def test_an_action_is_played_once_and_then_the_arm_is_held_where_it_was_sent() -> None:
    bench = Bench()
    assert x_of(bench.tick()) == 0.0
    assert bench.episode.phase is PolicyPhase.RUNNING
    assert bench.episode.step == 0  # nothing was acted upon yet
    assert bench.answer(0.01) == ""
    assert [x_of(bench.tick()) for _ in range(3)] == [0.01, 0.0, 0.0]
    assert bench.episode.step == 3  # 100 ms after the first action the third step of 50 ms begins


def test_a_chunk_is_played_at_the_servers_rate() -> None:
    bench = Bench(rate_hz=5.0)  # 4 increments of 50 ms an action
    bench.tick()
    bench.answer(0.04, 0.02)
    assert [x_of(motion) for motion in bench.ticks(0.45)] == pytest.approx([0.01] * 4 + [0.005] * 4 + [0.0])


def test_a_picture_from_before_the_end_of_the_last_action_is_not_asked_about() -> None:
    bench = Bench()
    bench.tick()
    assert bench.episode.picture_wanted_since_s(bench.now_s) == pytest.approx(100.0)
    bench.episode.asked()
    assert bench.episode.picture_wanted_since_s(bench.now_s) is None  # one question at a time
    bench.answer(0.01, 0.01)
    assert bench.episode.picture_wanted_since_s(bench.now_s) is None  # it is about to be played
    bench.tick()
    assert bench.episode.picture_wanted_since_s(bench.now_s) is None
    bench.tick()
    # the second action began at 100.10 s and covers 50 ms
    assert bench.episode.picture_wanted_since_s(bench.now_s) == pytest.approx(100.15)


def test_with_overlap_the_question_is_asked_while_the_last_action_is_played() -> None:
    bench = Bench(rate_hz=10.0, overlap=True)  # 2 increments an action
    bench.tick()
    bench.answer(0.01, 0.01)
    bench.ticks(0.1)
    assert bench.episode.picture_wanted_since_s(bench.now_s) is None
    bench.tick()  # at 100.15 s the last action begins
    assert bench.episode.picture_wanted_since_s(bench.now_s) == pytest.approx(100.15)
    bench.episode.asked()
    bench.answer(0.03)
    # the rest of the last action first, then the new one, without a pause
    assert [x_of(motion) for motion in bench.ticks(0.15)] == pytest.approx([0.005, 0.015, 0.015])


@pytest.mark.parametrize(("age_s", "used"), [(0.99, True), (1.01, False)])
def test_an_answer_to_an_old_picture_is_dropped(age_s: float, used: bool) -> None:
    bench = Bench()
    bench.tick()
    bench.episode.asked()
    problem = bench.answer(0.01, age_s=age_s - bench.period_s)  # a tick later, when it would be played
    assert problem == ""
    bench.now_s += bench.period_s
    motion = bench.tick()
    assert (x_of(motion) == 0.01) is used
    assert bench.episode.dropped == (0 if used else 1)
    if not used:
        assert motion is None  # nothing is sent: the bridge holds
        assert "stale answer: its picture was taken 1.01 s ago, limit 1 s" in bench.episode.reason


def test_an_answer_that_comes_too_late_is_dropped_and_the_next_question_asked_at_once() -> None:
    bench = Bench()
    bench.tick()
    bench.episode.asked()
    assert "taken 1.50 s ago" in bench.answer(0.01, age_s=1.5)
    assert bench.episode.dropped == 1
    assert bench.tick() is None
    assert bench.episode.picture_wanted_since_s(bench.now_s) is not None
    assert bench.answer(0.01) == ""
    assert x_of(bench.tick()) == 0.01
    assert bench.episode.reason == ""


def test_an_answer_of_an_earlier_episode_is_dropped() -> None:
    bench = Bench()
    bench.tick()
    bench.episode.asked()
    assert "an answer of episode 6 was dropped" in bench.answer(0.01, episode=6)
    assert bench.episode.picture_wanted_since_s(bench.now_s) is None  # its own question is still under way
    assert x_of(bench.tick()) == 0.0
    assert bench.episode.dropped == 1


def test_nothing_follows_the_end_of_an_episode() -> None:
    bench = Bench()
    bench.tick()
    bench.answer(0.01, 0.01)
    assert x_of(bench.tick()) == 0.01
    bench.episode.stop("stopped on request")
    assert bench.tick() is None
    bench.answer(0.01)
    assert bench.tick() is None
    assert bench.episode.reason == "stopped on request"
    assert bench.episode.picture_wanted_since_s(bench.now_s) is None


def test_while_the_server_fails_nothing_is_sent_and_it_is_asked_again_after_a_pause() -> None:
    bench = Bench()
    bench.tick()
    bench.episode.asked()
    assert bench.fail("the server answers NaN") == "the server answers NaN"
    assert bench.tick() is None
    assert bench.episode.reason == "the arm is held: the server answers NaN"
    assert bench.episode.phase is PolicyPhase.RUNNING
    assert bench.episode.picture_wanted_since_s(bench.now_s) is None
    bench.ticks(RETRY_PAUSE_S)
    assert bench.episode.picture_wanted_since_s(bench.now_s) is not None


def test_an_answer_that_does_not_come_leaves_the_arm_to_the_bridge() -> None:
    bench = Bench(image_age_limit_s=0.5)
    bench.tick()
    bench.episode.asked()
    # from 100.05 to 100.50 s ten increments of zero, for an answer that comes now may still be used
    assert [x_of(motion) for motion in bench.ticks(0.6)] == [0.0] * 10 + [None] * 2
    assert "no answer for more than 0.5 s" in bench.episode.reason


def test_patience_has_an_end() -> None:
    bench = Bench(server_patience_s=2.0)
    bench.tick()
    bench.fail("connection refused")
    bench.ticks(2.0)
    assert bench.episode.phase is PolicyPhase.RUNNING
    bench.tick()
    assert bench.episode.phase is PolicyPhase.STOPPED
    assert "no usable answer for 2 s (server_patience_s): connection refused" in bench.episode.reason


def test_a_chunk_longer_than_the_patience_is_played_to_its_end() -> None:
    bench = Bench(rate_hz=5.0, server_patience_s=1.0)
    bench.tick()
    bench.answer(*[0.004] * 10)  # 2 s
    assert [x_of(motion) for motion in bench.ticks(2.0)] == pytest.approx([0.001] * 40)
    bench.ticks(0.5)
    assert bench.episode.phase is PolicyPhase.RUNNING


def test_another_model_behind_the_address_ends_the_episode() -> None:
    bench = Bench()
    bench.tick()
    bench.episode.asked()
    bench.fail("the server is no longer mini-vla", final=True)
    assert (bench.episode.phase, bench.episode.reason) == (PolicyPhase.STOPPED, "the server is no longer mini-vla")


def test_the_horizon_counts_from_the_first_action() -> None:
    bench = Bench(horizon_s=0.5)
    bench.ticks(0.6)  # waiting does not count
    bench.answer(*[0.01] * 20)
    motions = bench.ticks(0.6)
    assert [x_of(motion) for motion in motions] == [0.01] * 10 + [None] * 2
    assert bench.episode.phase is PolicyPhase.FINISHED
    assert bench.episode.step == bench.episode.config.horizon_steps == 10  # 0.5 s of 50 ms


def test_the_hand_is_prepared_first() -> None:
    bench = Bench(robot=replace(OPEN, gripper_width_m=0.02))
    motion = bench.tick()
    assert motion is not None
    assert (x_of(motion), motion.gripper_width_m) == (0.0, 0.08)
    assert bench.episode.phase is PolicyPhase.PREPARING
    assert bench.episode.picture_wanted_since_s(bench.now_s) is None
    bench.tick(gripper_width_m=0.0795, gripper_busy=True)
    assert bench.episode.phase is PolicyPhase.PREPARING
    bench.tick(gripper_width_m=0.0795)
    assert bench.episode.phase is PolicyPhase.RUNNING
    bench = Bench(robot=replace(OPEN, gripper_width_m=0.02))
    bench.ticks(5.2)
    assert "the hand did not reach its initial width of 0.08 m" in bench.episode.reason


def test_the_hand_stays_as_the_last_action_had_it() -> None:
    bench = Bench()
    bench.tick()
    actions = np.array([[0.0, 0.0, 0.0, 0.0, 0.0, 0.0, -1.0]])
    bench.episode.take(Answer(episode=7, taken_s=bench.now_s, actions=actions), bench.now_s)
    widths = [motion.gripper_width_m for motion in bench.ticks(0.15) if motion is not None]
    assert widths == [0.0, 0.0, 0.0]


def test_a_robot_that_does_not_follow_ends_the_episode() -> None:
    bench = Bench()
    bench.tick()
    assert bench.tick(objection="the robot is in mode FAULT") is None
    assert bench.episode.reason == "the robot is in mode FAULT"
    bench = Bench()
    bench.tick(refused_commands=2 + MAX_REFUSED_COMMANDS)
    assert bench.episode.active
    bench.tick(refused_commands=3 + MAX_REFUSED_COMMANDS)
    assert bench.episode.reason == "the bridge refused 6 commands: see its log"
    with pytest.raises(ValueError, match="mode FAULT"):
        Bench(robot=replace(OPEN, objection="the robot is in mode FAULT"))


def test_a_stale_reading_stops_commands_at_once_and_the_episode_when_it_lasts() -> None:
    bench = Bench()
    bench.tick()
    bench.answer(0.01, 0.01, 0.01)
    stale = "stale input: /camera/image_raw is 1.2 s old"
    assert x_of(bench.tick()) == 0.01
    assert bench.tick(stale=stale) is None
    assert x_of(bench.tick()) == 0.01  # it was seen again within the grace
    for _ in range(2):
        assert bench.tick(stale=stale) is None
    assert bench.episode.active
    for _ in range(2):  # more than 0.1 s after it was first stale
        bench.tick(stale=stale)
    assert (bench.episode.phase, bench.episode.reason) == (PolicyPhase.STOPPED, stale)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"instruction": "  "}, "instruction is empty: .*task:=pick_cube"),
        ({"instruction": "x" * 100_000}, "instruction: an instruction must be"),
        ({"horizon_s": 0.0}, r"horizon_s = 0\.0 is outside \[0\.1, 3600\]"),
        ({"image_age_limit_s": float("nan")}, "image_age_limit_s = nan"),
        ({"server_patience_s": 1e4}, "server_patience_s"),
        ({"initial_width_m": 80.0}, "initial_width_m = 80.0 is outside"),
        ({"max_speed_m_s": 2.0}, "max_speed_m_s"),
        ({"max_turn_rad_s": -1.0}, "max_turn_rad_s"),
        ({"stale_grace_s": 5.0}, "stale_grace_s"),
    ],
)
def test_what_cannot_be_is_refused(changes: dict, words: str) -> None:
    with pytest.raises(VlaConfigError, match=words):
        replace(CONFIG, **changes)


def test_limits_are_the_bridges_or_those_of_the_speed() -> None:
    # 0.3 m/s at 20 Hz are 15 mm and at 10 Hz would be 30 mm, 1 rad/s are 50 mrad
    assert CONFIG.step_limits(0.02, 0.06, 20.0) == StepLimits(max_step_m=0.015, max_step_rad=0.05)
    assert CONFIG.step_limits(0.02, 0.06, 10.0) == StepLimits(max_step_m=0.02, max_step_rad=0.06)


def test_the_identity_tells_models_and_settings_apart() -> None:
    description = VlaDescription(
        name="mini-vla",
        backend="vlajs",
        rate_hz=20.0,
        action_horizon=1,
        image_size=(128, 128),
        convention="base_delta",
        spoken=Convention(rate_hz=20.0, image_size=(128, 128)),
        unnorm_key=None,
    )
    one = identity_of(description, CONFIG)
    assert one == identity_of(replace(description), replace(CONFIG))
    others = {
        identity_of(replace(description, name="openvla"), CONFIG),
        identity_of(replace(description, spoken=Convention(rate_hz=10.0)), CONFIG),
        identity_of(description, replace(CONFIG, instruction="pick up the cube")),
        identity_of(description, replace(CONFIG, overlap=True)),
    }
    assert len(others | {one}) == 5
