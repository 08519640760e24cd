"""The pose estimator as a session on the twin sees it: what it has found, and why not more."""

from collections.abc import Callable, Sequence
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import PoseWithCovarianceStamped
from rclpy.node import Node
from std_srvs.srv import Trigger

from vlajs.nodes.messages import FORGET_SERVICE, STREAM_QOS, stamp_ns_of
from vlajs.nodes.session_inputs import SessionInputs
from vlajs.policy.runner import object_topic
from vlajs.session.records import SessionError

ESTIMATOR_STATUS = "pose_estimator"
IMAGES = "images"
"""What it calls itself and the number of images it has measured in, in its diagnostics."""


class EstimatorView:
    """What the estimator says of objects and camera; ``changed`` of the inputs is held by who asks.

    Attributes:
        clients: its services.
        seen_ns: stamp of the newest pose of each object seen since :meth:`expect_everything`.
    """

    def __init__(self, objects: Sequence[str], inputs: SessionInputs, node: Node) -> None:
        """Listen to the poses of these objects and to the diagnostics."""
        self.clients: dict[str, Any] = {FORGET_SERVICE: node.create_client(Trigger, FORGET_SERVICE)}
        self.seen_ns: dict[str, int] = {}
        self._objects = set(objects)
        self._says = ""
        self._images: int | None = None
        self._images_before: int | None = None
        node.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, 10)
        for name in objects:
            inputs.listen(PoseWithCovarianceStamped, object_topic(name), STREAM_QOS, self._taker_of(name))

    def _taker_of(self, name: str) -> Callable[[PoseWithCovarianceStamped], None]:
        def take(message: PoseWithCovarianceStamped) -> None:
            self.seen_ns[name] = stamp_ns_of(message.header)

        return take

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            if status.name == ESTIMATOR_STATUS:
                self._says = status.message
                self._images = next((int(pair.value) for pair in status.values if pair.key == IMAGES), None)

    def expect_everything(self) -> None:
        """Poses from before do not count from now on."""
        self.seen_ns.clear()
        self._images_before = self._images

    def sees_everything(self) -> bool:
        """Whether every object has been seen since."""
        return set(self.seen_ns) == self._objects

    def why_not(self) -> str:
        """What the estimator says why it does not see everything, once there was time for it.

        Raises:
            SessionError: it has measured in no image since :meth:`expect_everything`, or says nothing: that is the
                camera's failure or the node's, and says nothing about a policy.
        """
        if self._images is None:
            raise SessionError("the pose estimator says nothing in /diagnostics: is its node alive?")
        if self._images in (0, self._images_before):
            raise SessionError(
                f"the pose estimator gets no picture it can use: {self._says}; see to the camera, then resume the "
                "session"
            )
        return self._says
