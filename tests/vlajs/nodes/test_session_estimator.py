"""What a session makes of the pose estimator's words: objects that are not seen, or a camera that is dead."""

from collections.abc import Callable
from typing import Any

import pytest
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from geometry_msgs.msg import PoseWithCovarianceStamped

from vlajs.nodes.pose_estimator_messages import health_status
from vlajs.nodes.session_estimator import EstimatorView
from vlajs.session.records import SessionError
from vlajs_perception.pipeline import Health


class Graph:
    """Plays node and inputs; hands messages to whoever listens."""

    def __init__(self) -> None:
        self.takers: dict[str, Callable[[Any], None]] = {}

    def create_client(self, kind: type, name: str) -> str:
        return name

    def create_subscription(self, kind: type, topic: str, take: Callable[[Any], None], qos: int) -> None:
        self.takers[topic] = take

    def listen(self, kind: type, topic: str, qos: Any, take: Callable[[Any], None]) -> None:
        self.takers[topic] = take

    def see(self, name: str) -> None:
        self.takers[f"/objects/{name}/pose"](PoseWithCovarianceStamped())

    def diagnose(self, images: int, refusal: str = "") -> None:
        """The real node's own words, among those of another node."""
        health = Health(refusal=refusal, refusals={}, images=images, rate_hz=10.0, latency_s=0.05, image_ns=1)
        other = DiagnosticStatus(name="twin", message="real-time factor 1.00")
        self.takers["/diagnostics"](DiagnosticArray(status=[other, health_status(health, [], 0)]))


@pytest.fixture
def graph() -> Graph:
    return Graph()


@pytest.fixture
def view(graph: Graph) -> EstimatorView:
    return EstimatorView(["peg", "box"], graph, graph)  # type: ignore[arg-type]


def test_everything_is_seen_when_each_object_was_seen_since(graph: Graph, view: EstimatorView) -> None:
    graph.see("peg")
    view.expect_everything()
    graph.see("box")
    assert not view.sees_everything(), "the peg was seen before"
    graph.see("peg")
    assert view.sees_everything()


def test_with_pictures_coming_in_it_is_the_objects_that_are_not_seen(graph: Graph, view: EstimatorView) -> None:
    graph.diagnose(images=10)
    view.expect_everything()
    graph.diagnose(images=14, refusal="the image is 0.400 s old")
    assert view.why_not() == "the image is 0.400 s old"


@pytest.mark.parametrize("before", [None, 0, 10])
def test_without_a_picture_the_camera_is_dead(graph: Graph, view: EstimatorView, before: int | None) -> None:
    if before is not None:
        graph.diagnose(images=before)
    view.expect_everything()
    graph.diagnose(images=before or 0, refusal="no image yet: is the camera running?")
    with pytest.raises(SessionError, match=r"no picture it can use: no image yet: .*, then resume the session"):
        view.why_not()


def test_an_estimator_that_started_anew_without_a_camera_is_no_better(graph: Graph, view: EstimatorView) -> None:
    graph.diagnose(images=50)
    view.expect_everything()
    graph.diagnose(images=0, refusal="no camera_info yet")
    with pytest.raises(SessionError, match="no camera_info yet"):
        view.why_not()


def test_silence_is_the_nodes(view: EstimatorView) -> None:
    view.expect_everything()
    with pytest.raises(SessionError, match="says nothing in /diagnostics: is its node alive"):
        view.why_not()
