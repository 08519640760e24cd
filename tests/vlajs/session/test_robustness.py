"""The table of conditions, from journals on the disk."""

import csv
from pathlib import Path

import pytest

from tests.support.session_graph import FakeGraph, make_header, make_settings
from vlajs.nodes import session_cli
from vlajs.session.conditions import (
    CONDITIONS,
    OBJECT_PUSHES,
    USUAL_CAMERA,
    Condition,
    TrialDisturbance,
    condition_named,
)
from vlajs.session.journal import SessionFolder
from vlajs.session.plan import plan_trials
from vlajs.session.records import SessionError
from vlajs.session.robustness import read_conditions, result_lines, table, write_table
from vlajs.session.run import run_session
from vlajs.tasks import get_task
from vlajs.twin.disturbance import Disturbance
from vlajs.twin.scene import OBJECT_NAMES, SceneConfig


def session(folder: Path, condition: str, script: dict[int, str], **header) -> None:
    task = get_task("push_cube")
    settings = make_settings(pose_source="camera", condition=condition_named(condition))
    made = make_header(condition=condition, pose_source="camera", **header)
    with SessionFolder.create(folder / condition, made) as opened:
        run_session(FakeGraph(script), opened, plan_trials(task, 3, header.get("seed", 7)), settings, lambda _: None)


@pytest.mark.parametrize("condition", CONDITIONS.values(), ids=str)
def test_every_condition_is_one_the_twins_camera_takes(condition: Condition) -> None:
    assert set(USUAL_CAMERA) == set(Disturbance.__dataclass_fields__)
    for trial in (1, 20):
        values = condition.camera_of(trial)
        for name in ("camera_offset_m", "camera_offset_deg"):
            values[name] = tuple(values[name])
        Disturbance(**values)


def test_a_moved_camera_is_two_centimetres_and_two_degrees_off() -> None:
    moved = condition_named("moved_camera").camera_of(1)
    # 0.012^2 + 0.012^2 + 0.0106^2 = 4.0e-4; 1.2^2 + 1.2^2 + 1.06^2 = 4.0
    assert sum(value**2 for value in moved["camera_offset_m"]) ** 0.5 == pytest.approx(0.02, abs=1e-4)
    assert sum(value**2 for value in moved["camera_offset_deg"]) ** 0.5 == pytest.approx(2.0, abs=0.01)


def test_each_event_comes_once_and_none_is_missed_by_a_slow_loop() -> None:
    events = TrialDisturbance(CONDITIONS["occlusion"], 1, ("cube",))
    assert events.due(0.49) == []
    assert events.due(0.5) == [{"occluded": True}]
    assert events.due(0.6) == []
    assert events.due(9.0) == [{"occluded": False}]
    assert events.due(10.0) == []
    assert TrialDisturbance(CONDITIONS["occlusion"], 1, ("cube",)).due(9.0) == [{"occluded": True}, {"occluded": False}]


@pytest.mark.parametrize(
    ("condition", "objects", "body"),
    [
        ("object_push", ("cube",), "cube"),
        ("object_push", ("peg",), "peg"),
        ("object_push", ("cube", "peg"), "cube"),
        ("object_push", ("hole",), None),
        ("arm_push", ("peg",), "fr3_link6"),
        ("dim", ("cube",), None),
    ],
)
def test_what_is_pushed_is_the_tasks_object_or_the_arm(
    condition: str, objects: tuple[str, ...], body: str | None
) -> None:
    push = CONDITIONS[condition].push_in(objects)
    assert (None if push is None else push.body) == body


def test_every_object_of_the_twin_is_pushed_as_hard_for_its_weight() -> None:
    scene = SceneConfig()
    weights_kg = {"cube": scene.cube_mass_kg, "peg": scene.peg_mass_kg}
    assert set(OBJECT_PUSHES) == set(OBJECT_NAMES) == set(weights_kg)
    for name, force_n in OBJECT_PUSHES.items():
        # 0.36 N / 0.064 kg = 5.6 m/s2 of which friction takes 0.4 * 9.81 = 3.9
        assert force_n / weights_kg[name] == pytest.approx(5.6, abs=0.1)


def test_an_unknown_condition_names_the_known() -> None:
    with pytest.raises(ValueError, match="no condition 'fog': choose from undisturbed, dim"):
        condition_named("fog")


def test_the_table_sets_each_condition_beside_the_undisturbed(tmp_path: Path) -> None:
    session(tmp_path, "dim", {1: "idle", 2: "idle"})
    session(tmp_path, "undisturbed", {3: "idle"})
    results = read_conditions(tmp_path)
    assert result_lines(results) == [
        "RESULT task=push_cube condition=undisturbed trials=3 success=2 wilson95=[0.208,0.939]",
        "RESULT task=push_cube condition=dim trials=3 success=1 wilson95=[0.061,0.792]",
    ]
    # 1/3 - 2/3
    assert table(results).splitlines()[-1] == "| dim | a third of the light | 1 of 3 | 6 to 79 % | -33 points |"
    assert write_table(tmp_path, results).read_text() == table(results)
    with (tmp_path / "robustness.csv").open() as opened:
        rows = list(csv.DictReader(opened))
    assert [(row["condition"], row["successes"], row["pose_source"]) for row in rows] == [
        ("undisturbed", "2", "camera"),
        ("dim", "1", "camera"),
    ]


def test_every_session_is_launched_with_the_same_words_begun_or_gone_on_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    given = []

    def run(*args: object, condition: str, launch_args: tuple[str, ...], **others: object) -> int:
        given.append(("run", condition, launch_args))
        session(tmp_path, condition, {})
        return 0

    def resume(folder: Path, checkpoint: Path, launch_args: tuple[str, ...]) -> int:
        given.append(("resume", folder.name, launch_args))
        return 0

    monkeypatch.setattr(session_cli, "run", run)
    monkeypatch.setattr(session_cli, "resume", resume)
    session(tmp_path, "undisturbed", {})
    words = ("speed:=0.4",)
    bundle = Path("policy.safetensors")
    names = ("undisturbed", "dim")
    assert session_cli.robustness("push_cube", bundle, 3, 7, names, tmp_path, launch_args=words) == 0
    assert given == [("resume", "undisturbed", words), ("run", "dim", words)]
    assert capsys.readouterr().out.count("RESULT task=push_cube condition=") == 2


def test_sessions_of_two_experiments_make_no_table(tmp_path: Path) -> None:
    with pytest.raises(SessionError, match="holds no session of a condition"):
        read_conditions(tmp_path)
    session(tmp_path, "undisturbed", {})
    session(tmp_path, "dim", {}, seed=8)
    with pytest.raises(SessionError, match="differ in task, seed, trials, checkpoint or pose source"):
        read_conditions(tmp_path)
