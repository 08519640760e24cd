"""The scripted teacher as training sees it: magnitude, seeds, episodes, and what it refuses."""

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest

from tests.training.teachers.scenes import see
from vlajs_training.tasks import get_definition
from vlajs_training.teachers.alone import decisions_per_answer
from vlajs_training.teachers.calibration import read_levels
from vlajs_training.teachers.factory import make_teacher
from vlajs_training.teachers.scripted import ScriptedTeacher
from vlajs_training.teachers.scripts import SCRIPTS
from vlajs_training.teachers.teacher import Teacher, TeacherError, check_answer, check_description

FAR = {"cube_position": [0.6, 0.1, 0.02], "goal_position": [0.8, 0.1, 0.001]}


def rows(count: int, tool_m: tuple[float, float, float] = (0.615, 0.0, 0.17)) -> np.ndarray:
    return np.repeat(see("push_cube", tcp_position=tool_m, **FAR).rows, count, axis=0).astype(np.float32)


def push_teacher(count: int, *, seed: int = 0, level: float = 0.0, scale: float = 2.0) -> ScriptedTeacher:
    definition = get_definition("push_cube")
    teacher = make_teacher("scripted", definition, num_envs=count, seed=seed, level=level, magnitude=scale)
    assert isinstance(teacher, ScriptedTeacher)
    return teacher


def first_answers(teacher: Teacher, observation: np.ndarray) -> np.ndarray:
    teacher.begin(np.arange(len(observation)))
    teacher.observe(observation)
    return teacher.query(np.arange(len(observation)))


def test_an_answer_is_what_the_tool_can_do_in_its_time_times_the_magnitude() -> None:
    # towards (-0.075, 0.1, -0.08), 148 mm away: 15 mm a tick, 4 ticks in 0.2 s, so 60 mm; said twice as large
    expected = 2 * 0.06 * np.array([-0.075, 0.1, -0.08]) / np.linalg.norm([-0.075, 0.1, -0.08])
    answer = first_answers(push_teacher(2), rows(2))
    assert answer.shape == (2, 7)
    np.testing.assert_allclose(answer, np.tile([*expected, 0, 0, 0, -1], (2, 1)), atol=1e-7)


def test_scale_multiplies_magnitude_and_nothing_else() -> None:
    near = rows(1, (0.54, 0.1, 0.05))  # 23 mm above where it pushes
    for scale in (0.25, 1.0, 4.0):
        teacher = push_teacher(1, scale=scale)
        assert teacher.description.magnitude == scale
        answer = first_answers(teacher, near)
        np.testing.assert_allclose(answer[0], [0, 0, -0.023 * scale, 0, 0, 0, -1], atol=1e-6)


def test_under_the_long_protocol_an_answer_is_as_coarse_and_covers_ten_times_as_many_decisions() -> None:
    definition = get_definition("push_cube", protocol="long")
    teacher = make_teacher("scripted", definition, num_envs=1, seed=0, level=0.5)
    assert isinstance(teacher, ScriptedTeacher)
    assert (teacher.description.rate_hz, teacher.degradation.late_decisions) == (0.5, 40)
    assert decisions_per_answer(definition, teacher.description.rate_hz) == 20
    exact = make_teacher("scripted", definition, num_envs=1, seed=0, level=0.0)
    # 1.5 mm a tick, 40 ticks in 2 s: 60 mm, said twice as large
    assert np.linalg.norm(first_answers(exact, rows(1))[0, :3]) == pytest.approx(2 * 0.06)


def test_the_seed_decides_every_error() -> None:
    observation = rows(8)
    one, same = (first_answers(push_teacher(8, seed=3, level=0.6), observation) for _ in range(2))
    np.testing.assert_array_equal(one, same)
    other = first_answers(push_teacher(8, seed=4, level=0.6), observation)
    assert not np.allclose(one, other)
    assert len(np.unique(one[:, 0])) > 1  # nor are environments alike


def test_errors_grow_with_the_level() -> None:
    observation = rows(64)
    true = first_answers(push_teacher(64), observation)
    errors = [np.linalg.norm(first_answers(push_teacher(64, level=x), observation) - true) for x in (0.1, 0.4, 1.0)]
    assert errors[0] < errors[1] < errors[2]


def test_answers_stay_within_what_training_accepts() -> None:
    for task in SCRIPTS:
        teacher = make_teacher("scripted", get_definition(task), num_envs=64, seed=1, level=1.0, magnitude=8.0)
        check_description(teacher.description)
        observation = np.random.default_rng(0).uniform(-1, 1, (64, get_definition(task).observation_size))
        answer = first_answers(teacher, observation)
        assert np.linalg.norm(answer[:, :3], axis=1).max() <= 8 * 0.06 + 1e-9
        assert np.linalg.norm(answer[:, 3:6], axis=1).max() <= 8 * 0.2 + 1e-9
        assert set(answer[:, 6]) <= {-1.0, 1.0}
        assert check_answer(answer, 64).valid.all()


def test_a_biased_object_stays_where_it_is_seen_until_the_episode_ends() -> None:
    teacher = push_teacher(1)
    teacher.degradation = dataclasses.replace(teacher.degradation, object_bias_m=0.02)
    at_tool = rows(1, (0.54, 0.1, 0.09))
    answers = []
    for begins in (True, False, True):
        if begins:
            teacher.begin(np.array([0]))
        teacher.observe(at_tool)
        answers.append(teacher.query(np.array([0]))[0, :3])
    np.testing.assert_array_equal(answers[0], answers[1])
    assert not np.allclose(answers[0], answers[2])


def test_a_late_answer_is_never_about_the_episode_before() -> None:
    teacher = push_teacher(1)
    teacher.degradation = dataclasses.replace(teacher.degradation, late=1.0)
    teacher.begin(np.array([0]))
    for height_m in (0.09, 0.08, 0.07, 0.06, 0.05, 0.04):
        teacher.observe(rows(1, (0.54, 0.1, height_m)))
    # four decisions ago the tool was at 80 mm: 53 mm above where it pushes, said twice as large
    assert teacher.query(np.array([0]))[0, 2] == pytest.approx(-0.106, abs=1e-6)
    teacher.begin(np.array([0]))
    teacher.observe(rows(1, (0.54, 0.1, 0.05)))
    # the new episode's only observation: 23 mm down to 27 mm
    assert teacher.query(np.array([0]))[0, 2] == pytest.approx(-0.046, abs=1e-6)


def test_only_the_environments_asked_for_are_answered() -> None:
    teacher = push_teacher(3)
    teacher.begin(np.arange(3))
    observation = np.concatenate([rows(2), rows(1, (0.54, 0.1, 0.05))])
    teacher.observe(observation)
    answer = teacher.query(np.array([2]))
    assert answer.shape == (1, 7)
    assert answer[0, 2] == pytest.approx(-0.046, abs=1e-6)


def test_misuse_is_a_teachers_error() -> None:
    teacher = push_teacher(2)
    with pytest.raises(TeacherError, match="asked before anything was observed"):
        teacher.query(np.array([0]))
    with pytest.raises(TeacherError, match=r"observation of shape \(3, 24\), expected \(2, 24\)"):
        teacher.observe(rows(3))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda d: make_teacher("openai", d, num_envs=1, seed=0),
            "unknown teacher 'openai': known teachers are scripted",
        ),
        (
            lambda d: make_teacher("scripted", d, num_envs=1, seed=0, magnitude=0.0),
            "teacher scale 0.0 is not a positive",
        ),
        (lambda d: make_teacher("scripted", d, num_envs=1, seed=0, magnitude=float("nan")), "teacher scale nan"),
        (lambda d: make_teacher("scripted", d, num_envs=1, seed=0, level=2.0), r"level 2.0 is outside \[0, 1\]"),
    ],
)
def test_make_teacher_refuses(make: Callable[[object], Teacher], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make(get_definition("push_cube"))


def test_a_task_without_script_or_calibration_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    definition = get_definition("push_cube")
    monkeypatch.setattr("vlajs_training.teachers.defaults.read_levels", dict)
    with pytest.raises(ValueError, match="not calibrated for 'push_cube': run `vlajs teacher calibrate push_cube`"):
        make_teacher("scripted", definition, num_envs=1, seed=0)
    monkeypatch.delitem(SCRIPTS, "push_cube")
    with pytest.raises(ValueError, match="no script for 'push_cube': it knows lift_peg_upright"):
        make_teacher("scripted", definition, num_envs=1, seed=0, level=0.0)


def test_the_calibrated_teacher_states_its_success_where_it_was_measured() -> None:
    calibration = read_levels()["push_cube"]
    teacher = make_teacher("scripted", get_definition("push_cube"), num_envs=1, seed=0)
    assert teacher.description.success == calibration.success
    assert teacher.description.rate_hz == calibration.rate_hz
    long = make_teacher("scripted", get_definition("push_cube", protocol="long"), num_envs=1, seed=0)
    assert long.description.success is None
    assert push_teacher(1, level=0.3).description.success is None
