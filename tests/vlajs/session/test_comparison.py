"""Policy and baseline in one session: whose turn it is, what is started, what is written down and reported."""

import dataclasses
import json
import re
from pathlib import Path

import pytest

from tests.support.session_graph import BASELINE, CHECKPOINT, CONTRACT_ID, FakeGraph, make_header, make_settings
from vlajs.session.conditions import CONDITIONS
from vlajs.session.graph import Episode
from vlajs.session.journal import SessionFolder, read_session
from vlajs.session.plan import order_of, plan_record, plan_trials
from vlajs.session.records import Baseline, Commander, SessionError, TrialResult
from vlajs.session.report import write_report
from vlajs.session.run import run_session
from vlajs.session.statistics import of, paired, result_line
from vlajs.session.table import success_table
from vlajs.tasks import get_task

TASK = get_task("push_cube")
PLANS = plan_trials(TASK, 3, 7, compare=True)
SETTINGS = make_settings(baseline=BASELINE)


def run(graph: FakeGraph, folder: Path) -> list[TrialResult]:
    seen: list[TrialResult] = []
    with SessionFolder.create(folder, make_header(compare=True)) as session:
        session.settle_baseline(BASELINE)
        run_session(graph, session, PLANS, SETTINGS, seen.append)
    return seen


def trial_of(commander: Commander, scene: int) -> int:
    """Number of the trial in which a commander meets scene 1, 2 or 3."""
    seed = plan_trials(TASK, 3, 7)[scene - 1].scene_seed
    return next(plan.trial for plan in PLANS if (plan.commander, plan.scene_seed) == (commander, seed))


def test_both_run_every_scene_one_right_after_the_other() -> None:
    plans = plan_trials(TASK, 20, 3, compare=True)
    scenes = [plan.scene_seed for plan in plan_trials(TASK, 20, 3)]
    assert [plan.trial for plan in plans] == list(range(1, 41))
    for number, scene in enumerate(scenes):
        pair = plans[2 * number : 2 * number + 2]
        assert [plan.scene_seed for plan in pair] == [scene, scene]
        assert {plan.commander for plan in pair} == {"policy", "baseline"}


def test_trials_of_one_scene_are_disturbed_alike(tmp_path: Path) -> None:
    assert [plan.disturbed_as for plan in PLANS] == [1, 1, 2, 2, 3, 3]
    assert [plan.disturbed_as for plan in plan_trials(TASK, 3, 7)] == [1, 2, 3]
    graph = FakeGraph({})
    settings = dataclasses.replace(SETTINGS, pose_source="camera", condition=CONDITIONS["clutter"])
    with SessionFolder.create(tmp_path, make_header(compare=True)) as session:
        run_session(graph, session, PLANS, settings, lambda _: None)
    seeds = [re.findall(r"'clutter_seed': (\d)", call) for call in graph.calls if call.startswith("set_camera")]
    assert seeds == [[], [], ["2"], ["2"], ["3"], ["3"]]  # 1 is the usual one


def test_a_vla_needs_no_pose_estimator(tmp_path: Path) -> None:
    settings = dataclasses.replace(SETTINGS, pose_source="camera")
    with SessionFolder.create(tmp_path, make_header(compare=True)) as session:
        run_session(FakeGraph({}, unseen=True), session, PLANS, settings, lambda _: None)
    results = read_session(tmp_path).results
    assert {result.outcome for result in of(results, "policy")} == {"object_lost"}
    assert all(result.success for result in of(results, "baseline"))


def test_the_order_is_the_seeds_and_nobody_is_always_first() -> None:
    # recorded once: a change here means that journals of older sessions cannot be resumed
    assert [order_of(7, pair)[0] for pair in range(1, 9)] == [
        "policy",
        "baseline",
        "baseline",
        "policy",
        "policy",
        "policy",
        "policy",
        "baseline",
    ]
    first = [order_of(1, pair)[0] for pair in range(1, 201)]
    # 200 fair draws: 100 +- 5 sigma of 7.07
    assert 65 < first.count("policy") < 135


def test_a_record_without_a_baseline_is_what_it_always_was() -> None:
    assert all("commander" not in entry for entry in plan_record(plan_trials(TASK, 2, 7)))
    assert [entry["commander"] for entry in plan_record(PLANS)] == [plan.commander for plan in PLANS]


def test_each_trial_is_run_by_the_one_it_is_planned_for(tmp_path: Path) -> None:
    graph = FakeGraph({})
    results = run(graph, tmp_path)
    assert graph.started == [plan.commander for plan in PLANS]
    assert [result.commander for result in results] == [plan.commander for plan in PLANS]
    chosen = graph.calls.index("choose policy")
    # the one before is stopped before another is chosen, and nothing moves the arm before that
    assert graph.calls[chosen - 1] == "stop_policy"
    assert graph.calls.index("home", chosen) > chosen
    # a policy is loaded for its own trials only
    assert graph.calls.count("load_checkpoint") == 3


def test_a_session_without_a_baseline_chooses_nobody(tmp_path: Path) -> None:
    graph = FakeGraph({})
    with SessionFolder.create(tmp_path, make_header()) as session:
        run_session(graph, session, plan_trials(TASK, 3, 7), make_settings(), lambda _: None)
    assert graph.started == [None] * 3


def test_another_baseline_than_the_sessions_is_not_judged(tmp_path: Path) -> None:
    class OtherModel(FakeGraph):
        def start_policy(self) -> Episode:
            episode = super().start_policy()
            return dataclasses.replace(episode, contract_id="vla-other") if self.chosen == "baseline" else episode

    with pytest.raises(SessionError, match="the baseline node runs vla-other, the session compares with vla-0123"):
        run(OtherModel({}), tmp_path)
    assert not of(read_session(tmp_path).results, "baseline")


def test_a_vla_that_dies_is_named_and_ends_the_session(tmp_path: Path) -> None:
    graph = FakeGraph({trial_of("baseline", 1): "silent"})
    with pytest.raises(SessionError, match="the session ends here: the baseline node no longer answers"):
        run(graph, tmp_path)
    assert [result.outcome for result in of(read_session(tmp_path).results, "baseline")] == ["policy_fault"]
    assert "stop_arm" in graph.calls  # it does not confirm that it has stopped


def test_a_baseline_is_written_down_once_and_must_stay_the_same(tmp_path: Path) -> None:
    with SessionFolder.create(tmp_path, make_header(compare=True)) as session:
        assert session.record.baseline is None
        session.settle_baseline(BASELINE)
        session.settle_baseline(BASELINE)
        other = Baseline(contract_id="vla-other", settings={**BASELINE.settings, "instruction": "pick it up"})
        with pytest.raises(SessionError, match="instruction was 'push <it>', is now 'pick it up'"):
            session.settle_baseline(other)
        with pytest.raises(SessionError, match="model or convention has changed"):
            session.settle_baseline(dataclasses.replace(BASELINE, contract_id="vla-other"))
    assert read_session(tmp_path).baseline == BASELINE


@pytest.mark.parametrize("text", ["[]", '{"contract_id": 3}', '{"contract_id": "a", "url": "b"}', "\udcff"])
def test_a_damaged_baseline_file_is_refused(tmp_path: Path, text: str) -> None:
    SessionFolder.create(tmp_path, make_header(compare=True)).close()
    (tmp_path / "baseline.json").write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(SessionError, match=r"baseline\.json"):
        read_session(tmp_path)


def test_a_result_of_the_other_commander_belongs_to_another_session(tmp_path: Path) -> None:
    first = run(FakeGraph({}), tmp_path)[0]
    wrong = dataclasses.replace(first, commander="baseline" if first.commander == "policy" else "policy")
    journal = tmp_path / "journal.jsonl"
    journal.write_text(wrong.to_json() + "\n")
    with pytest.raises(SessionError, match=r"line 1: trial 1 is of the \w+, planned for the \w+"):
        read_session(tmp_path)


def test_a_comparison_is_not_resumed_as_something_else(tmp_path: Path) -> None:
    SessionFolder.create(tmp_path, make_header(trials=2, compare=True)).close()
    with pytest.raises(SessionError, match="comparison with a baseline was True, is now False"):
        SessionFolder.resume(tmp_path, make_header(trials=4))
    damaged = (tmp_path / "session.json").read_text().replace('"commander": "policy"', '"commander": "nobody"', 1)
    (tmp_path / "session.json").write_text(damaged)
    with pytest.raises(SessionError, match="which is no trial"):
        read_session(tmp_path)


@pytest.fixture
def compared(tmp_path: Path) -> Path:
    """The policy succeeds in all three scenes, the baseline in the first alone."""
    run(FakeGraph({trial_of("baseline", 2): "idle", trial_of("baseline", 3): "fault"}), tmp_path)
    return tmp_path


def test_success_is_counted_for_each_and_scene_by_scene(compared: Path) -> None:
    results = read_session(compared).results
    pairs = paired(results)
    assert (pairs.both, pairs.policy_only, pairs.baseline_only, pairs.neither) == (1, 2, 0, 0)
    assert pairs.p_value == pytest.approx(0.5)  # two scenes of two on one side: 2 (1/2)^2
    # 3 of 3: 3 / (3 + 1.96^2); 1 of 3: as in test_report
    assert result_line("push_cube", results, "policy").endswith(
        "commander=policy trials=3 success=3 wilson95=[0.439,1.000]"
    )
    assert result_line("push_cube", results, "baseline").endswith(
        "commander=baseline trials=3 success=1 wilson95=[0.061,0.792]"
    )


def test_scenes_of_one_commander_alone_are_not_compared(compared: Path) -> None:
    results = read_session(compared).results
    missing = trial_of("baseline", 2)
    pairs = paired([result for result in results if result.trial != missing])
    assert (pairs.both, pairs.policy_only, pairs.p_value) == (1, 1, 1.0)
    assert paired([]).p_value == 1.0


def test_the_report_has_a_row_for_each(compared: Path) -> None:
    page = write_report(compared).read_text()
    for words in (
        "Policy and VLA alone",
        "<td>policy</td>",
        "<td>VLA alone</td>",
        '<td class="n">33 %</td>',
        "1 success, ",
        "the policy alone: 2",
        "p = 0.500",
        "vla-0123456789ab",
        "push &lt;it&gt;",
        "3 of 3 trials of the policy",
    ):
        assert words in page
    summary = json.loads((compared / "summary.json").read_text())
    assert (summary["trials"], summary["successes"], summary["planned_trials"]) == (3, 3, 3)
    assert (summary["baseline"]["successes"], summary["baseline"]["contract_id"]) == (1, BASELINE.contract_id)
    assert summary["paired"]["policy_only"] == 2
    assert summary["contract_id"] == CONTRACT_ID
    assert CHECKPOINT.contract_id == CONTRACT_ID


def test_sessions_side_by_side(compared: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    alone = tmp_path_factory.mktemp("alone")
    SessionFolder.create(alone, make_header(task="pick_cube")).close()
    records = [read_session(folder) for folder in (compared, alone)]
    assert success_table(records, ["a", "b"]).splitlines() == [
        "|  | push_cube | pick_cube |",
        "| --- | --- | --- |",
        "| policy | 100 % (3/3, 44 to 100 %) | - |",
        "| VLA alone | 33 % (1/3, 6 to 79 %) | - |",
    ]
    again = success_table([records[0], records[0]], ["plain", "dark"])
    assert again.splitlines()[0] == "|  | push_cube (plain) | push_cube (dark) |"
