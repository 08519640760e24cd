"""A recording that cannot be written costs itself and nothing else; no ROS network."""

import random
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from vlajs.nodes.session_recorder import TrialRecorder, recorded_topics
from vlajs.tasks import get_task

JOINTS = "/franka/joint_states"


class FakeNode:
    """Keeps the callbacks by topic and the warnings."""

    def __init__(self) -> None:
        self.receive: dict[str, Callable[[bytes], None]] = {}
        self.warnings: list[str] = []

    def create_subscription(
        self, _kind: type, topic: str, receive: Callable[[bytes], None], *_: Any, **__: Any
    ) -> None:
        self.receive[topic] = receive

    def get_clock(self) -> SimpleNamespace:
        return SimpleNamespace(now=lambda: SimpleNamespace(nanoseconds=1))

    def get_logger(self) -> SimpleNamespace:
        return SimpleNamespace(warning=self.warnings.append)


@pytest.fixture
def node() -> FakeNode:
    return FakeNode()


@pytest.fixture
def recorder(node: FakeNode) -> TrialRecorder:
    return TrialRecorder(node, recorded_topics(get_task("push_cube"), on_twin=False))  # type: ignore[arg-type]


def on_a_full_disk(path: Path) -> Path:
    path.with_name(path.name + ".partial").symlink_to("/dev/full")
    return path


def assert_one_warning(node: FakeNode, path: Path, words: str) -> None:
    assert len(node.warnings) == 1, node.warnings
    assert node.warnings[0].startswith(f"{path} is not recorded")
    assert words in node.warnings[0]
    assert not path.exists()


def test_a_disk_that_fills_in_the_midst_costs_the_recording_and_one_warning(
    node: FakeNode, recorder: TrialRecorder, tmp_path: Path
):
    path, noise = on_a_full_disk(tmp_path / "0001.mcap"), random.Random(0)
    recorder.start(path)
    for _ in range(3000):  # 3 MB that do not compress, written in chunks of 1 MiB
        node.receive[JOINTS](noise.randbytes(1000))
    assert_one_warning(node, path, "No space left on device")
    recorder.stop()
    assert len(node.warnings) == 1


def test_a_disk_that_is_full_at_the_end_costs_the_recording(node: FakeNode, recorder: TrialRecorder, tmp_path: Path):
    path = on_a_full_disk(tmp_path / "0001.mcap")
    recorder.start(path)
    node.receive[JOINTS](b"message")
    assert node.warnings == []
    recorder.stop()
    assert_one_warning(node, path, "No space left on device")


def test_the_next_trial_is_recorded_again(node: FakeNode, recorder: TrialRecorder, tmp_path: Path):
    recorder.start(on_a_full_disk(tmp_path / "0001.mcap"))
    recorder.stop()
    recorder.start(tmp_path / "0002.mcap")
    node.receive[JOINTS](b"message")
    recorder.stop()
    assert (tmp_path / "0002.mcap").stat().st_size > 0
    assert len(node.warnings) == 1


def test_a_folder_that_cannot_be_made_costs_the_recording(node: FakeNode, recorder: TrialRecorder, tmp_path: Path):
    (tmp_path / "trials").write_text("a file")
    path = tmp_path / "trials" / "0001.mcap"
    recorder.start(path)
    node.receive[JOINTS](b"message")
    recorder.stop()
    assert_one_warning(node, path, "trials")
