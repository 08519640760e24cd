"""One episode of a VLA that runs the robot alone: when a picture is asked about, what is played, when to stop.

Pure logic: the baseline node feeds it readings, answers and the time, and sends what it returns. It fails closed: what
is not known to be in order yields no command, and the bridge then holds the arm. All times are seconds of one clock,
that of the node's ticks.

A question is asked about a picture that was taken after the last action had been carried out, or, with ``overlap``,
after it had begun. While an answer may come in time, the arm is held by increments of zero, so that it arrives where
the last action sent it; after that nothing is sent and the bridge brakes.
"""

import hashlib
import json
import math
from dataclasses import asdict, dataclass

from vlajs.episode import Episode, Increment, still
from vlajs.geometry import FloatArray
from vlajs.states import PolicyPhase
from vlajs.vla.client import VlaDescription
from vlajs.vla.errors import VlaConfigError
from vlajs.vla.playback import HAND_WIDTH_MAX_M, Pacing, Playback, StepLimits
from vlajs.vla.protocol import check_instructions

STEP_RATE_HZ = 20.0
"""Steps of an episode count its time, not the actions, whose rate is the server's: one is 50 ms."""

RETRY_PAUSE_S = 0.5
"""After a question without an answer, so that a failing server is not asked in every tick."""

_RANGES = {
    "horizon_s": (0.1, 3600.0),
    "image_age_limit_s": (0.05, 10.0),
    "server_patience_s": (0.1, 300.0),
    "stale_grace_s": (0.0, 1.0),
    "initial_width_m": (0.0, HAND_WIDTH_MAX_M),
    "max_speed_m_s": (0.01, 0.5),
    "max_turn_rad_s": (0.01, 1.5),
}


@dataclass(frozen=True, kw_only=True)
class BaselineConfig:
    """How an episode is run.

    Attributes:
        instruction: what the VLA is told.
        horizon_s: time from the first action to the end.
        image_age_limit_s: an answer is dropped when its picture was taken longer ago, at its arrival or when it would
            begin to be played; a picture that old is not asked about.
        overlap: ask while the last action is being played, about a picture taken since it began. Motion is steadier,
            but the model has not seen the end of its own action.
        server_patience_s: longest wait for a usable answer; then the episode ends.
        stale_grace_s: how long a reading may be missing or old before the episode ends; commands stop at once.
        initial_width_m: opening that the hand is brought to before the first action.
        max_speed_m_s, max_turn_rad_s: faster motion is slowed down, direction kept; the policies' are 0.3 and 1.

    Raises:
        VlaConfigError: no instruction, or a number outside its range.
    """

    instruction: str
    horizon_s: float = 60.0
    image_age_limit_s: float = 1.0
    overlap: bool = False
    server_patience_s: float = 10.0
    stale_grace_s: float = 0.1
    initial_width_m: float = HAND_WIDTH_MAX_M
    max_speed_m_s: float = 0.3
    max_turn_rad_s: float = 1.0

    def __post_init__(self) -> None:
        if not self.instruction.strip():
            raise VlaConfigError(
                'instruction is empty: say what the VLA is to do (instruction:="pick up the cube"), or name the task '
                "whose instruction it is (task:=pick_cube)"
            )
        try:
            check_instructions([self.instruction])
        except ValueError as error:
            raise VlaConfigError(f"instruction: {error}") from error
        for name, (lowest, highest) in _RANGES.items():
            value = getattr(self, name)
            if not lowest <= value <= highest:  # also refuses NaN
                raise VlaConfigError(
                    f"{name} = {value} is outside [{lowest:g}, {highest:g}]; mind the unit in its name"
                )

    @property
    def horizon_steps(self) -> int:
        """The horizon in steps of 50 ms."""
        return math.ceil(self.horizon_s * STEP_RATE_HZ - 1e-9)

    def step_limits(self, max_step_m: float, max_step_rad: float, tick_rate_hz: float) -> StepLimits:
        """The bridge's limits of one increment, or less where the speed would be too high at this rate."""
        return StepLimits(
            max_step_m=min(max_step_m, self.max_speed_m_s / tick_rate_hz),
            max_step_rad=min(max_step_rad, self.max_turn_rad_s / tick_rate_hz),
        )


def identity_of(description: VlaDescription, config: BaselineConfig) -> str:
    """A short name of what is run: another model, convention, instruction or limit has another."""
    said = {
        "name": description.name,
        "backend": description.backend,
        "convention": description.spoken.to_dict(),
        **asdict(config),
    }
    return "vla-" + hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()[:12]


@dataclass(frozen=True, kw_only=True)
class RobotInput:
    """What is known of the robot at one tick.

    Attributes:
        objection: why the bridge would not carry out a command, in words; empty when it would.
        stale: which reading, the camera's included, is missing or too old, in words; empty when none is.
        gripper_width_m: measured opening.
        gripper_busy: whether the hand is moving.
        limits: of one increment.
        refused_commands: commands the bridge has refused since it started.
    """

    objection: str
    stale: str
    gripper_width_m: float
    gripper_busy: bool
    limits: StepLimits
    refused_commands: int


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What came of a question.

    Attributes:
        episode: number of the episode in which it was asked.
        taken_s: when the picture was taken.
        actions: (K, 7) ``base_delta``; None when there is no usable answer.
        problem: why not.
        final: whether no later one can be used either.
    """

    episode: int
    taken_s: float
    actions: FloatArray | None = None
    problem: str = ""
    final: bool = False


class BaselineEpisode(Episode):
    """One episode of a VLA; its steps are the time since the first action in 50 ms, begun ones included.

    While it runs, the reason says why the arm is held, if it is.

    Attributes:
        number: answers to questions of another episode are dropped.
        dropped: answers that came and were not used.
        shortened: increments that were longer than the limits allow.
    """

    def __init__(self, number: int, config: BaselineConfig, pacing: Pacing, robot: RobotInput, now_s: float) -> None:
        """Begin.

        Raises:
            ValueError: the robot is not in order; the message is the reason.
        """
        if reason := robot.objection or robot.stale:
            raise ValueError(reason)
        super().__init__(
            tick_rate_hz=pacing.tick_rate_hz,
            initial_width_m=config.initial_width_m,
            stale_grace_s=config.stale_grace_s,
            refused_commands=robot.refused_commands,
            now_s=now_s,
        )
        self.number, self.config, self.pacing = number, config, pacing
        self.dropped = self.shortened = 0
        self._first_action_s: float | None = None
        self._width_m = config.initial_width_m
        self._playback: Playback | None = None
        self._next: Answer | None = None
        self._asking = False
        self._not_before_s = now_s  # pictures taken earlier do not show what the arm has done since
        self._waiting_since_s = now_s
        self._pause_until_s = now_s
        self._problem = ""

    # -- questions and answers -----------------------------------------------------------------------------------

    def picture_wanted_since_s(self, now_s: float) -> float | None:
        """A picture taken at this time or later is to be asked about now; None when no question is due."""
        busy = self._asking or self._next is not None or now_s < self._pause_until_s
        if self.phase is not PolicyPhase.RUNNING or busy:
            return None
        if self._playback is None or (self.config.overlap and self._playback.on_last_action):
            return self._not_before_s
        return None

    def asked(self) -> None:
        """A question is under way: there is no other one until :meth:`take`."""
        self._asking = True

    def take(self, answer: Answer, now_s: float) -> str:
        """Take an answer; why it is not used, in words, or empty."""
        if answer.episode != self.number or not self.active:
            self.dropped += answer.actions is not None
            return f"an answer of episode {answer.episode} was dropped: it has ended"
        self._asking = False
        if answer.actions is None:
            self._pause_until_s = now_s + RETRY_PAUSE_S
            self._problem = answer.problem
            if answer.final:
                self.stop(answer.problem)
            return answer.problem
        if not self._is_fresh(answer, now_s):
            return self._problem
        self._next, self._problem = answer, ""
        return ""

    def _is_fresh(self, answer: Answer, now_s: float) -> bool:
        age_s, limit_s = now_s - answer.taken_s, self.config.image_age_limit_s
        if age_s <= limit_s:
            return True
        self.dropped += 1
        self._problem = (
            f"stale answer: its picture was taken {age_s:.2f} s ago, limit {limit_s:g} s; the server or the camera is "
            "too slow (image_age_limit_s)"
        )
        return False

    # -- ticks ---------------------------------------------------------------------------------------------------

    def tick(self, robot: RobotInput, now_s: float) -> Increment | None:
        """The command of this tick, or None when there must be none."""
        objection = robot.objection or self._refused_too_often(robot.refused_commands)
        if not self.active or not self._in_order(objection, robot.stale, now_s):
            return None
        if self.phase is PolicyPhase.PREPARING:
            if not self._hand_ready(robot.gripper_width_m, busy=robot.gripper_busy):
                return self._prepare(now_s)
            self.phase, self.reason = PolicyPhase.RUNNING, ""
            self._not_before_s = self._waiting_since_s = now_s
        if self._first_action_s is not None:
            self.step = 1 + int((now_s - self._first_action_s) * STEP_RATE_HZ + 1e-6)
            if self.step > self.config.horizon_steps:
                self.step = self.config.horizon_steps
                self.phase, self.reason = PolicyPhase.FINISHED, f"horizon of {self.config.horizon_s:g} s reached"
                return None
        return self._act(robot, now_s)

    def _act(self, robot: RobotInput, now_s: float) -> Increment | None:
        """What is played now; else the arm is held."""
        if self._playback is None and self._next is not None:
            answer, self._next = self._next, None
            if self._is_fresh(answer, now_s):
                assert answer.actions is not None, "take() has seen to it"
                self._playback = Playback(answer.actions, self.pacing.ticks_per_action)
                self.reason = ""
        if self._playback is None:
            return self._hold(now_s)
        if self._first_action_s is None:
            self._first_action_s, self.step = now_s, 1
        return self._play(self._playback, robot.limits, now_s)

    def _play(self, playback: Playback, limits: StepLimits, now_s: float) -> Increment:
        was_last, before = playback.on_last_action, playback.shortened
        motion = playback.next(limits)
        self.shortened += playback.shortened - before
        self._width_m = motion.gripper_width_m
        if playback.on_last_action and not was_last:
            self._not_before_s = now_s
        if playback.finished:
            self._playback = None
            self._waiting_since_s = now_s + 1.0 / self.pacing.tick_rate_hz
            if not self.config.overlap:
                self._not_before_s = self._waiting_since_s
        return motion

    def _hold(self, now_s: float) -> Increment | None:
        waited_s = now_s - self._waiting_since_s
        if waited_s > self.config.server_patience_s:
            self.stop(
                f"the VLA gave no usable answer for {self.config.server_patience_s:g} s "
                f"(server_patience_s): {self._problem or 'it has not answered yet'}"
            )
            return None
        if self._problem:
            self.reason = f"the arm is held: {self._problem}"
            return None
        if waited_s > self.config.image_age_limit_s:
            self.reason = f"the arm is held: no answer for more than {self.config.image_age_limit_s:g} s"
            return None
        return still(self._width_m)
