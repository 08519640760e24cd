"""Trial design: which scene each trial of a session begins in, from one seed."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from vlajs.geometry import Pose
from vlajs.session.records import Commander
from vlajs.tasks import HOME_JOINTS_RAD, Scene, Task, sample_scene

MAX_TRIALS = 10_000


@dataclass(frozen=True, kw_only=True)
class TrialPlan:
    """One trial before it is run.

    Attributes:
        trial: 1 for the first.
        scene_seed: what ``vlajs.tasks.sample_scene`` and ``/twin/reset_scene`` are given.
        scene: object poses and goal in ``panda_link0``.
        commander: who runs the arm.
        scene_number: 1 for the first scene, which two trials may share; None where scenes are not counted.
    """

    trial: int
    scene_seed: int
    scene: Scene
    commander: Commander = "policy"
    scene_number: int | None = None

    @property
    def disturbed_as(self) -> int:
        """What disturbances are drawn from: trials of one scene meet the same."""
        return self.trial if self.scene_number is None else self.scene_number


def scene_seed_of(session_seed: int, trial: int) -> int:
    """Seed of a trial's scene, below 2**53 so that every JSON reader keeps it whole.

    Trial k of a session depends on the session's seed and k alone: a session of 40 trials begins with the 20 scenes
    of a session of 20. Two session seeds share a scene with a probability of about 1e-14.
    """
    sequence = np.random.SeedSequence(entropy=session_seed, spawn_key=(trial,))
    return int(sequence.generate_state(1, np.uint64)[0]) >> 11


def order_of(session_seed: int, pair: int) -> tuple[Commander, Commander]:
    """Who is first and who second in a pair of trials of one scene, decided by the seed: neither is always first."""
    sequence = np.random.SeedSequence(entropy=session_seed, spawn_key=(pair, 1))
    return ("policy", "baseline") if sequence.generate_state(1)[0] % 2 else ("baseline", "policy")


def plan_trials(task: Task, trials: int, seed: int, *, compare: bool = False) -> list[TrialPlan]:
    """The same trials for the same seed on every machine.

    Args:
        task: which scenes.
        trials: how many; with ``compare``, of each commander.
        seed: of the session.
        compare: whether policy and baseline alternate: both run every scene, one right after the other, so that
            whatever drifts meanwhile (light, battery, wear) meets both alike. The scenes are those of a session
            without a baseline.

    Raises:
        ValueError: no or too many trials, a negative seed, or a task that no session can set up.
    """
    if task.home_joints_rad != HOME_JOINTS_RAD:
        raise ValueError(
            f"{task.name} begins with the hand turned and with objects whose size changes: sessions cannot set that "
            "up; run it in simulation (vlajs evaluate)"
        )
    if not 1 <= trials <= MAX_TRIALS:
        raise ValueError(f"{trials} trials: a session has 1 to {MAX_TRIALS}; 20 give an interval about 0.3 wide")
    if seed < 0:
        raise ValueError(f"session seed {seed} is negative: give 0 or more")
    plans = []
    for number in range(1, trials + 1):
        scene_seed = scene_seed_of(seed, number)
        scene = sample_scene(task, scene_seed)
        for commander in order_of(seed, number) if compare else ("policy",):
            plans.append(
                TrialPlan(
                    trial=len(plans) + 1, scene_seed=scene_seed, scene=scene, commander=commander, scene_number=number
                )
            )
    return plans


def plan_record(plans: list[TrialPlan]) -> list[dict[str, Any]]:
    """The plan as JSON values, positions rounded to 1 nm so that it compares equal between machines."""

    def numbers(values: Any) -> list[float]:
        return [round(float(value), 9) + 0.0 for value in values]

    def pose(value: Pose) -> dict[str, list[float]]:
        return {"position_m": numbers(value.position_m), "quat_wxyz": numbers(value.quat_wxyz)}

    # without a baseline the record is as it was before there were any: older sessions are resumed
    compares = any(plan.commander == "baseline" for plan in plans)
    return [
        {
            "trial": plan.trial,
            "scene_seed": plan.scene_seed,
            **({"commander": plan.commander} if compares else {}),
            "objects": {name: pose(value) for name, value in plan.scene.objects.items()},
            "goal_m": numbers(plan.scene.goal_m),
        }
        for plan in plans
    ]
