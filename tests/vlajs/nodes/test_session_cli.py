"""What ``vlajs session resume`` takes over from the session that it goes on with."""

from pathlib import Path
from typing import Any

import pytest

from tests.support.bundles import make_bundle
from vlajs.nodes import session_cli
from vlajs.policy.bundle import save_bundle
from vlajs.session.journal import read_session
from vlajs.session.report import write_report


@pytest.fixture
def launched(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Arguments of each launch that a session would have made; no trial runs."""
    made: list[dict[str, Any]] = []

    def run(session: Any, checkpoint: Any, contract: Any, launch: str, arguments: dict[str, Any]) -> int:
        made.append({"launch": launch, **arguments})
        return 0

    monkeypatch.setattr(session_cli, "_run", run)
    return made


def test_a_session_goes_on_with_the_words_it_was_launched_with(
    tmp_path: Path, launched: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    bundle, folder = tmp_path / "policy.safetensors", tmp_path / "session"
    save_bundle(make_bundle(), bundle)
    words = ("speed:=0.25",)
    session_cli.run("push_cube", bundle, 2, launch="twin", folder=folder, launch_args=words)
    session_cli.resume(folder)
    session_cli.resume(folder, launch_args=("speed:=0.5",))
    session_cli.resume(folder, launch="none")  # nodes that run already have theirs
    assert launched == [
        {"launch": "twin", "speed": "0.25"},
        {"launch": "twin", "speed": "0.25"},
        {"launch": "twin", "speed": "0.5"},
        {"launch": "none"},
    ]
    assert read_session(folder).header.launch_args == list(words)
    assert "speed:=0.25" in write_report(folder).read_text()
