"""The journal survives what happens to processes and refuses to mix experiments."""

import dataclasses
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.session_graph import make_header, make_result
from vlajs.session.journal import SessionFolder, read_session
from vlajs.session.records import Checkpoint, SessionError, SessionHeader, TrialResult

CHILD = """
import sys, time
from pathlib import Path
from tests.support.session_graph import make_header, make_result
from vlajs.session.journal import SessionFolder
session = SessionFolder.create(Path(sys.argv[1]), make_header())
session.begin(1)
session.append(make_result(1, success=True))
session.begin(2)
print("ready", flush=True)
time.sleep(60)
"""


def start_child(folder: Path) -> subprocess.Popen[str]:
    """A process that has journalled trial 1, begun trial 2 and holds the lock."""
    root = Path(__file__).parents[3]
    paths = os.pathsep.join([str(root), str(root / "ros2_ws/src/vlajs"), os.environ.get("PYTHONPATH", "")])
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(folder)],
        env=os.environ | {"PYTHONPATH": paths},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "ready\n"
    return child


def test_header_and_results_come_back_as_written(tmp_path: Path):
    header = make_header()
    result = make_result(2, success=False)
    with SessionFolder.create(tmp_path, header) as session:
        session.append(result)
    record = read_session(tmp_path)
    assert record.header == header
    assert record.results == (result,)
    assert SessionHeader.from_json(header.to_json()) == header
    assert TrialResult.from_json(result.to_json()) == result


def test_resume_goes_on_with_the_next_trial(tmp_path: Path):
    with SessionFolder.create(tmp_path, make_header()) as session:
        assert session.remaining() == [1, 2, 3]
        session.append(make_result(1, success=True))
    with SessionFolder.resume(tmp_path, make_header()) as session:
        assert session.remaining() == [2, 3]


@pytest.mark.parametrize("tail", [b'{"trial": 2, "scene_se', b"\xff\xfe", b"{}"])
def test_torn_last_line_is_reported_and_costs_no_other(tmp_path: Path, tail: bytes):
    with SessionFolder.create(tmp_path, make_header()) as session:
        session.append(make_result(1, success=True))
    with (tmp_path / "journal.jsonl").open("ab") as file:
        file.write(tail)
    assert "torn" in read_session(tmp_path).warnings[0]
    with SessionFolder.resume(tmp_path, make_header()) as session:
        assert "torn" in session.warnings[0]
        assert session.remaining() == [2, 3]
        session.append(make_result(2, success=False))
    record = read_session(tmp_path)
    assert [result.trial for result in record.results] == [1, 2]
    assert record.warnings == ()


def test_damage_before_the_last_line_is_refused(tmp_path: Path):
    with SessionFolder.create(tmp_path, make_header()) as session:
        session.append(make_result(1, success=True))
        session.append(make_result(2, success=True))
    journal = tmp_path / "journal.jsonl"
    journal.write_bytes(journal.read_bytes().replace(b'"trial": 1', b'"trial: 1'))
    with pytest.raises(SessionError, match="line 1"):
        read_session(tmp_path)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda data: b"\xff\xfe" + data, "is not text"),
        (lambda data: data[:-40], "is not JSON"),
        (lambda data: b"[]", "is a list, not an object"),
        (lambda data: data.replace(b'"trial": 1', b'"trail": 1'), "which is no trial"),
        (lambda data: data.replace(b'"trial": 1', b'"trial": "1"'), "which is no trial"),
        (lambda data: data.replace(b'"position_m"', b'"position"'), "which is no trial"),
        (lambda data: data.replace(b'"seed": 7', b'"seed": "7"'), "seed = '7', which cannot be"),
        (lambda data: data.replace(b'"trials": 3', b'"trials": NaN'), "trials = 'nan', which cannot be"),
        (lambda data: data.replace(b'"arm": "twin"', b'"arm": "moon"'), "arm = 'moon', which cannot be"),
        (lambda data: data.replace(b'"plan": [', b'"plan": [1, '), "which cannot be"),
        (lambda data: data.replace(b'"sha256": "', b'"sha": "'), "unknown keys"),
        (lambda data: data.replace(b'"machine": ""', b'"machine": null'), "machine = 'None', which cannot be"),
    ],
)
def test_damaged_header_is_refused_with_its_path(tmp_path: Path, damage: Callable[[bytes], bytes], words: str):
    SessionFolder.create(tmp_path, make_header()).close()
    file = tmp_path / "session.json"
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(SessionError, match=words) as refusal:
        read_session(tmp_path)
    assert str(refusal.value).startswith(str(file))


@pytest.mark.parametrize("change", [("0.2", '"far"'), ("false", "0"), ('"time_limit"', '"tired"'), ("0.2", "NaN")])
def test_result_with_what_cannot_be_is_refused(tmp_path: Path, change: tuple[str, str]):
    line = make_result(1, success=False).to_json()
    assert change[0] in line
    with pytest.raises(SessionError, match="which cannot be"):
        TrialResult.from_json(line.replace(*change, 1))


def test_folder_that_cannot_be_made_is_refused(tmp_path: Path):
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file" / "session", Path("/proc/xx")):
        with pytest.raises(SessionError, match=rf"{folder} cannot hold a session \(.*--folder"):
            SessionFolder.create(folder, make_header())


def test_killed_session_keeps_its_trials_and_frees_the_lock(tmp_path: Path):
    folder = tmp_path / "session"
    child = start_child(folder)
    try:
        with pytest.raises(SessionError, match=f"process {child.pid}"):
            SessionFolder.resume(folder, make_header())
        # a lock that was refused must not have been taken away either
        with pytest.raises(SessionError, match=f"process {child.pid}"):
            SessionFolder.resume(folder, make_header())
    finally:
        os.kill(child.pid, signal.SIGKILL)
        child.communicate()
    with SessionFolder.resume(folder, make_header()) as session:
        assert session.remaining() == [2, 3]
        assert session.record.abandoned == {2: 1}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"sha256": "b" * 64}, "checkpoint sha256"),
        ({"seed": 8}, "seed was 7, is now 8"),
        ({"trials": 4}, "number of trials was 3"),
        ({"arm": "real"}, "arm was twin"),
        ({"task": "pick_cube"}, "task was push_cube"),
    ],
)
def test_other_experiments_are_refused(tmp_path: Path, changes: dict, words: str):
    SessionFolder.create(tmp_path, make_header()).close()
    with pytest.raises(SessionError, match=words):
        SessionFolder.resume(tmp_path, make_header(**changes))


def test_same_seed_with_other_scenes_is_refused(tmp_path: Path):
    SessionFolder.create(tmp_path, make_header()).close()
    other = make_header()
    other.plan[1]["objects"]["cube"]["position_m"][0] += 1e-3
    with pytest.raises(SessionError, match="other scenes"):
        SessionFolder.resume(tmp_path, other)


def test_checkpoint_may_have_moved(tmp_path: Path):
    header = make_header()
    SessionFolder.create(tmp_path, header).close()
    moved = Checkpoint(
        path="/elsewhere.safetensors", sha256=header.checkpoint.sha256, contract_id="push_cube-000000000000"
    )
    SessionFolder.resume(tmp_path, dataclasses.replace(header, checkpoint=moved)).close()


def test_folder_with_a_session_is_not_overwritten(tmp_path: Path):
    SessionFolder.create(tmp_path, make_header()).close()
    with pytest.raises(SessionError, match="vlajs session resume"):
        SessionFolder.create(tmp_path, make_header())


def test_trial_is_journalled_once_and_only_if_planned(tmp_path: Path):
    with SessionFolder.create(tmp_path, make_header()) as session:
        session.append(make_result(1, success=True))
        with pytest.raises(SessionError, match="there twice"):
            session.append(make_result(1, success=False))
        with pytest.raises(SessionError, match="another session"):
            session.append(dataclasses.replace(make_result(2, success=True), scene_seed=5))
    assert len(read_session(tmp_path).results) == 1
