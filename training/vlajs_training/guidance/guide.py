"""A teacher's guidance through a run: targets while rolling out, a loss in updates, an end.

Every call is made while rolling out, in :meth:`Guide.targets`, and its result is stored in the rollout; updates only
read what is stored. All the arithmetic is in the modules beside this one; here is the state it works on.
"""

import time
from typing import Any

import numpy as np
import torch

from vlajs.policy.contract import ActionContract
from vlajs_training.distributed import SINGLE, Processes
from vlajs_training.guidance.config import GuidanceConfig, Method, whole_calls
from vlajs_training.guidance.discretisation import decisions_covered, in_action_units, split
from vlajs_training.guidance.losses import ROTATION, TRANSLATION, alignment, directional_loss, mse_loss
from vlajs_training.guidance.schedule import (
    call_count,
    guidance_weight,
    learning_has_begun,
    query_schedule,
    reward_gain,
)
from vlajs_training.teachers.teacher import ANSWER_SIZE, GuardedTeacher, Teacher


class Guide:
    """Guides N environments of this process; all processes agree on calls, weight and end.

    Attributes:
        weight: lambda of the next update; 0 once guidance has ended.
        calls: hints asked for so far, by all processes.
        rollout_calls: of those, in the last rollout.
        gain: the last reward gain.
        deactivated_at: environment steps when guidance ended for ever, None while it has not.
        given_up: one process or more have given their teacher up, and so have the others from the next rollout on.
        steps_per_call: D.
        deactivation_reward: the threshold in force.
    """

    def __init__(
        self,
        teacher: Teacher,
        method: Method,
        config: GuidanceConfig,
        *,
        action: ActionContract,
        decision_rate_hz: float,
        deactivation_reward: float,
        num_envs: int,
        rollout_steps: int,
        seed: int,
        device: torch.device | None = None,
        processes: Processes = SINGLE,
    ) -> None:
        """Nothing is asked yet.

        Args:
            teacher: who guides; its failures are survived.
            method: which loss, and whether guidance ends.
            config: parameters.
            action: what the student's actions mean.
            decision_rate_hz: how often the student decides.
            deactivation_reward: the task's threshold, where the configuration gives none.
            num_envs: environments of this process.
            rollout_steps: T.
            seed: of the schedule's phases.
            device: where targets are needed.
            processes: those that train together.

        Raises:
            ValueError: the teacher's convention does not match, or a parameter is out of its range.
        """
        self._max_calls = config.max_calls(rollout_steps)
        self.teacher = GuardedTeacher(teacher, max_failures=config.max_failures, timeout_s=config.teacher_timeout_s)
        self.method = method
        self.config = config
        self._action = action
        self._rollout_steps = rollout_steps
        self._device = device or torch.device("cpu")
        self._processes = processes
        self._generator = torch.Generator().manual_seed(seed)
        description = self.teacher.description
        self.steps_per_call = config.steps_per_call or decisions_covered(description.rate_hz, decision_rate_hz)
        self.deactivation_reward = (
            deactivation_reward if config.deactivation_reward is None else config.deactivation_reward
        )
        self._near_zero = config.near_zero * description.magnitude
        self.weight = config.weight
        self.calls = self.rollout_calls = self._calls_before = 0
        self.gain = 0.0
        self._seconds, self._asked = 0.0, 0
        self.deactivated_at: int | None = None
        self.given_up = False
        self._history: list[float] = []
        self._hint = np.zeros((num_envs, ANSWER_SIZE), dtype=np.float32)
        self._left = np.zeros(num_envs, dtype=int)
        self._due = np.zeros((rollout_steps, num_envs), dtype=bool)

    @property
    def active(self) -> bool:
        """Whether the teacher is still asked."""
        return self.deactivated_at is None and not self.given_up

    @property
    def calls_planned(self) -> int:
        """N_calls of the next rollout, each environment; 0 once guidance has ended."""
        if not self.active:
            return 0
        if not self.method.transient:
            return whole_calls(self._max_calls)
        config = self.config
        return call_count(self.gain, kappa=config.kappa, min_calls=config.min_calls, max_calls=self._max_calls)

    # ------------------------------------------------------------------------------------------ while rolling out

    def start(self) -> None:
        """New episodes have begun everywhere."""
        self._left[:] = 0
        if self.active:
            self.teacher.begin(np.arange(len(self._left)))

    def begin_rollout(self) -> None:
        """Plan the calls of the rollout that begins: each environment at a random phase of its own."""
        phase = torch.rand(len(self._left), generator=self._generator, dtype=torch.float64).numpy()
        self._seconds, self._asked = 0.0, 0
        self._due = query_schedule(phase, self.calls_planned, self._rollout_steps)
        self._calls_before = self.teacher.calls

    def targets(self, t: int, observation: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        """Hints for step ``t`` of the rollout: action targets (N, 7), and 1.0 where there is one, (N,).

        Asks the teacher where a call is due; a call guides its step and the next D - 1, unless the episode ends or the
        next call comes before.
        """
        if self.active:
            self.teacher.observe(observation)
            asked = np.nonzero(self._due[t])[0]
            if len(asked):
                started = time.perf_counter()
                hints = self.teacher.query(asked)
                self._seconds += time.perf_counter() - started
                self._asked += len(asked)
                step = split(hints.delta, self.steps_per_call)
                self._hint[asked] = in_action_units(step, self._action)
                self._left[asked] = np.where(hints.valid, self.steps_per_call, 0)
        guided = self._left > 0
        self._left -= guided
        target = np.where(guided[:, None], self._hint, np.float32(0.0))
        return torch.from_numpy(target).to(self._device), torch.from_numpy(guided.astype(np.float32)).to(self._device)

    def episodes_ended(self, done: np.ndarray) -> None:
        """Where ``done`` (N,), an episode ended: its window closes, and the teacher meets the next one."""
        self._left[done] = 0
        if self.active and done.any():
            self.teacher.begin(np.nonzero(done)[0])

    def end_rollout(self, mean_reward: float, steps: int) -> None:
        """Take in a rollout's mean reward (of all processes): gain, weight, and whether guidance ends here.

        Args:
            mean_reward: per step.
            steps: environment steps of the run so far, this rollout included.
        """
        self.rollout_calls = round(self._processes.sum(self.teacher.calls - self._calls_before))
        self.given_up = self._processes.sum(self.teacher.given_up) > 0
        self.calls += self.rollout_calls
        config = self.config
        longest = max(config.history_rollouts, config.rise_rollouts)
        self._history = [*self._history, mean_reward][-longest:]
        self.gain = reward_gain(self._history[-config.history_rollouts :])
        if not self.method.transient:
            return
        self.weight = guidance_weight(self.gain, kappa=config.kappa, weight=config.weight)
        begun = learning_has_begun(
            self._history, rise_rollouts=config.rise_rollouts, threshold=self.deactivation_reward
        )
        if self.deactivated_at is None and begun:
            self.deactivated_at = steps
            self._left[:] = 0
        if self.deactivated_at is not None:
            self.weight = 0.0

    # ------------------------------------------------------------------------------------------ in updates

    def loss(self, mean: torch.Tensor, target: torch.Tensor, guided: torch.Tensor) -> torch.Tensor:
        """The method's auxiliary loss of policy means (M, 7), without its weight."""
        if self.method.loss == "mse":
            return mse_loss(mean, target, guided)
        return directional_loss(mean, target, guided, self._near_zero)

    # ------------------------------------------------------------------------------------------ log and state

    @torch.no_grad()
    def figures(self, mean: torch.Tensor, target: torch.Tensor, guided: torch.Tensor) -> dict[str, float]:
        """For the log, after a rollout; the policy's means and what is stored of the hints, (M, 7) and (M,)."""
        figures = {
            "guidance/active": float(self.active),
            "guidance/calls": float(self.calls),
            "guidance/call_share": self.rollout_calls / (guided.numel() * self._processes.count),
            "guidance/guided_share": guided.mean().item(),
            "guidance/lambda": self.weight,
            "guidance/gain": self.gain,
            "guidance/failures": float(self.teacher.failures),
        }
        if self._asked:
            figures["guidance/ms_per_call"] = 1000 * self._seconds / self._asked
        if self.deactivated_at is not None:
            figures["guidance/deactivated_at"] = float(self.deactivated_at)
        for name, component in (("translation", TRANSLATION), ("rotation", ROTATION)):
            cosine, counts = alignment(mean, target, guided, component, self._near_zero)
            if counts.any():
                figures[f"guidance/cosine_{name}"] = cosine[counts].mean().item()
        return figures

    def summary(self) -> str:
        """A few words for the progress bar."""
        if self.deactivated_at is not None:
            return f"off since {self.deactivated_at:,}"
        if self.given_up:
            return "teacher given up"
        return f"{self.calls_planned} calls λ {self.weight:.2f}"

    def provenance(self) -> dict[str, object]:
        """What a bundle says of its guidance."""
        description = self.teacher.description
        return {
            "teacher": {
                "name": description.name,
                "rate_hz": description.rate_hz,
                "magnitude": description.magnitude,
                "success": description.success,
                "convention": description.convention,
            },
            "calls": self.calls,
            "steps_per_call": self.steps_per_call,
            "deactivation_reward": self.deactivation_reward if self.method.transient else None,
            "deactivated_at": self.deactivated_at,
            "teacher_failures": self.teacher.failures,
            "teacher_given_up": self.given_up,
        }

    def state_dict(self) -> dict[str, Any]:
        """For checkpoints; windows are left out, since a resumed run begins new episodes, and so is whether the teacher
        was given up: it is asked again, it may have been repaired."""
        return {
            "weight": self.weight,
            "calls": self.calls,
            "gain": self.gain,
            "deactivated_at": self.deactivated_at,
            "history": list(self._history),
            "generator": self._generator.get_state(),
            "failures": self.teacher.failures,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Inverse of :meth:`state_dict`."""
        self.weight, self.calls, self.gain = state["weight"], state["calls"], state["gain"]
        self.deactivated_at, self._history = state["deactivated_at"], list(state["history"])
        self._generator.set_state(state["generator"])
        self.teacher.failures = state["failures"]

    def close(self) -> None:
        """The teacher is not needed any more."""
        self.teacher.close()
