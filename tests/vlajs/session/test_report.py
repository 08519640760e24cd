"""The report says what happened, fetches nothing and shows simulation beside the twin."""

import dataclasses
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from tests.support.session_graph import FakeGraph, make_header, make_settings
from vlajs.session.journal import SessionFolder
from vlajs.session.plan import plan_trials
from vlajs.session.records import Checkpoint, SessionError
from vlajs.session.report import simulated_success, write_report
from vlajs.session.run import run_session
from vlajs.tasks import get_task

PROVENANCE = {
    "method": "vlajs",
    "note": "<script>x</script>",
    "simulation_success": {"successes": 251, "episodes": 256},
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A session of three trials: success, time limit, fault."""
    header = make_header()
    header = dataclasses.replace(header, checkpoint=dataclasses.replace(header.checkpoint, provenance=PROVENANCE))
    task = get_task("push_cube")
    with SessionFolder.create(tmp_path, header) as session:
        session.begin(2)
        settings = make_settings(task=task)
        run_session(FakeGraph({2: "idle", 3: "fault"}), session, plan_trials(task, 3, 7), settings, lambda _: None)
    return tmp_path


class Links(HTMLParser):
    """Collects what a page would fetch or point at."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.targets: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.targets += [value or "" for name, value in attrs if name in ("src", "href", "xlink:href", "data")]


def test_report_stands_alone(folder: Path):
    links = Links()
    page = write_report(folder).read_text()
    links.feed(page)
    assert not links.tags & {"script", "link", "iframe", "img"}
    assert all(target.startswith("#") for target in links.targets)
    assert "url(http" not in page


def test_report_says_what_happened(folder: Path):
    page = write_report(folder).read_text()
    for words in (
        "1 / 3",
        "cartesian_reflex: 45 N",
        "time limit of 2.5 s",
        "Begun without a result",
        "simulation and twin",
    ):
        assert words in page
    assert page.count("<svg") == 3
    assert "&lt;script&gt;" in page


def test_summary_is_for_programs(folder: Path):
    write_report(folder)
    summary = json.loads((folder / "summary.json").read_text())
    assert (summary["trials"], summary["successes"], summary["planned_trials"]) == (3, 1, 3)
    assert summary["outcomes"] == {"success": 1, "time_limit": 1, "robot_fault": 1}
    # k = 1, n = 3: (1/3 + 3.841459/6 -+ 1.959964 sqrt(2/27 + 3.841459/36)) / (1 + 3.841459/3) = 0.427156 -+ 0.365007
    assert summary["wilson95"] == pytest.approx([0.0615, 0.7923], abs=1e-4)
    assert summary["interrupted_attempts"] == 1
    assert summary["simulation"]["successes"] == 251


def test_report_of_a_session_without_results(tmp_path: Path):
    SessionFolder.create(tmp_path, make_header()).close()
    page = write_report(tmp_path).read_text()
    assert "3 of 3 trials have not been run" in page
    assert re.search(r"0 / 0", page)


def test_report_needs_a_session(tmp_path: Path):
    with pytest.raises(SessionError, match=r"session\.json"):
        write_report(tmp_path)


@pytest.mark.parametrize("value", [None, 0.98, {"successes": 5}, {"successes": 5, "episodes": 4}, {"episodes": 0}])
def test_unusable_provenance_is_left_out(value: object):
    assert simulated_success({"simulation_success": value}) is None
    assert simulated_success(Checkpoint(path="", sha256="", contract_id="").provenance) is None
