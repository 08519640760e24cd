"""Sessions against a stand-in for the robot's nodes: what is journalled, what ends one, and how it goes on."""

import errno
import os
from pathlib import Path

import pytest

from tests.support.session_graph import CHECKPOINT, PLANS, FakeGraph, make_header, make_settings
from vlajs.session.graph import Episode
from vlajs.session.journal import SessionFolder, read_session
from vlajs.session.paths import TrialPaths, load_paths
from vlajs.session.records import SessionError, TrialResult
from vlajs.session.run import run_session
from vlajs.states import PolicyPhase, RobotMode


def session(graph: FakeGraph, folder: SessionFolder) -> list[TrialResult]:
    seen: list[TrialResult] = []
    run_session(graph, folder, PLANS, make_settings(), seen.append)
    return seen


def test_policy_swapped_between_trials_is_swapped_back(tmp_path: Path):
    class SomebodyElseLoads(FakeGraph):
        def home(self) -> None:
            super().home()
            self.loaded = Path("/policies/of-another-seed.safetensors")

    graph = SomebodyElseLoads({})
    with SessionFolder.create(tmp_path, make_header()) as folder:
        session(graph, folder)
    assert graph.ran == [Path(CHECKPOINT.path)] * 3


def test_fault_is_recovered_from_on_the_twin_without_asking(tmp_path: Path):
    graph = FakeGraph({1: "fault"})
    with SessionFolder.create(tmp_path, make_header()) as folder:
        results = session(graph, folder)
    assert [result.outcome for result in results] == ["robot_fault", "success", "success"]
    assert results[0].faults == ("cartesian_reflex: 45 N on z, limit 40 N",)
    assert graph.calls.count("recover") == 1


def test_dead_policy_is_journalled_and_ends_the_session(tmp_path: Path):
    with SessionFolder.create(tmp_path, make_header()) as folder:
        with pytest.raises(SessionError, match="session ends here"):
            session(FakeGraph({2: "silent"}), folder)
        assert [result.outcome for result in folder.record.results] == ["success", "policy_fault"]
        assert folder.remaining() == [3]


def test_interrupted_trial_is_stopped_not_journalled_and_run_again(tmp_path: Path):
    class Interrupted(FakeGraph):
        def _advance(self) -> None:
            if self._plan is PLANS[1] and self._elapsed() > 0.5:
                raise KeyboardInterrupt
            super()._advance()

    graph = Interrupted({})
    with SessionFolder.create(tmp_path, make_header()) as folder, pytest.raises(KeyboardInterrupt):
        session(graph, folder)
    assert graph.calls[-2:] == ["stop_policy", "stop_recording"]
    with SessionFolder.resume(tmp_path, make_header()) as folder:
        assert folder.remaining() == [2, 3]
        assert len(session(FakeGraph({}), folder)) == 2
    record = read_session(tmp_path)
    assert [result.trial for result in record.results] == [1, 2, 3]
    assert record.abandoned == {2: 1}


def test_verdict_is_kept_when_its_paths_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(TrialPaths, "save", full)
    with SessionFolder.create(tmp_path, make_header()) as folder, pytest.raises(OSError, match="No space left"):
        session(FakeGraph({}), folder)
    assert [result.trial for result in read_session(tmp_path).results] == [1]


class FaultsBeforeActing(FakeGraph):
    """The arm faults while the hand is brought to its initial width, as often as ``faults``."""

    faults = 1

    def start_policy(self) -> Episode:
        episode = super().start_policy()
        if self.faults > 0:
            self.faults -= 1
            self.mode, self._since_s = RobotMode.FAULT, None
            self._phase, self._reason = PolicyPhase.STOPPED, "the robot is in mode FAULT"
        return episode


def test_fault_before_the_first_action_is_no_result_and_begun_anew_on_the_twin(tmp_path: Path):
    with SessionFolder.create(tmp_path, make_header()) as folder:
        results = session(FaultsBeforeActing({}), folder)
    assert [result.outcome for result in results] == ["success"] * 3
    assert read_session(tmp_path).abandoned == {1: 1}


def test_trial_that_never_begins_ends_the_session(tmp_path: Path):
    graph = FaultsBeforeActing({})
    graph.faults = 10
    with SessionFolder.create(tmp_path, make_header()) as folder, pytest.raises(SessionError, match="get going"):
        session(graph, folder)
    assert read_session(tmp_path).abandoned == {1: 3}


def test_paths_are_thinned_to_20_hz(tmp_path: Path):
    with SessionFolder.create(tmp_path, make_header(record=True)) as folder:
        graph = FakeGraph({1: "idle"})
        session(graph, folder)
    assert "record 0001.mcap" in graph.calls
    paths = load_paths(tmp_path / "trials" / "0001.json")
    assert paths is not None
    # 2.5 s at a sample every 3/60 s, and a little more until the policy reports its end
    assert 50 <= len(paths.time_s) <= 58
    steps = [later - earlier for earlier, later in zip(paths.time_s, paths.time_s[1:], strict=False)]
    assert min(steps) == pytest.approx(0.05, abs=1e-3)
    assert len(paths.objects_m["cube"]) == len(paths.tool_m) == len(paths.target_m) == len(paths.time_s)
