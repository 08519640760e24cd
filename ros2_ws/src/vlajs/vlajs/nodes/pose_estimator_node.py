"""The pose estimator: images in, poses of the task's objects out.

Lifecycle node ``pose_estimator``. The decisions are :mod:`vlajs_perception`'s; this module joins them to topics and a
clock. Images are processed on a thread of their own, the newest only; the executor's thread receives, publishes and
never waits for the detector.
"""

# pyright: reportPrivateImportUsage=false
# (rclpy does not mark its public names as exported)

import sys
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import PoseStamped, PoseWithCovarianceStamped
from rclpy.clock import Clock
from rclpy.clock_type import ClockType
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.qos import QoSProfile
from sensor_msgs.msg import CameraInfo, Image
from std_srvs.srv import Trigger

from vlajs.nodes.image_messages import (
    MessageRefusedError,
    depth_from,
    facts_from,
    image_message,
    rgb_from,
)
from vlajs.nodes.lifecycle import refuse_on, run_lifecycle_node
from vlajs.nodes.messages import FORGET_SERVICE, RELIABLE_QOS, STREAM_QOS, stamp_ns_of
from vlajs.nodes.policy_inputs import base_pose_from
from vlajs.nodes.pose_estimator_config import EstimatorConfig, config_of, declare_parameters
from vlajs.nodes.pose_estimator_messages import estimate_message, gripper_from, health_status, moved_text
from vlajs.policy.runner import STATUS_TOPIC, TCP_TOPIC, object_topic
from vlajs_msgs.msg import RobotStatus
from vlajs_perception.annotate import POSE_RGB, draw_detections, draw_pose, draw_text
from vlajs_perception.detection.detection import Detector
from vlajs_perception.estimator import PoseEstimator, Report
from vlajs_perception.estimator_settings import View
from vlajs_perception.image_guard import ImageGuard, ImageRefusedError
from vlajs_perception.optics import OpticsError
from vlajs_perception.pipeline import NS_PER_S, Pipeline
from vlajs_perception.rigid import matrix_of, transform

IMAGE_TOPIC = "/camera/image_raw"
INFO_TOPIC = "/camera/camera_info"
DEPTH_TOPIC = "/camera/depth/image_raw"
ANNOTATED_TOPIC = "/perception/annotated"
DIAGNOSTICS_PERIOD_S = 1.0
DEPTH_APART_NS = 20_000_000
"""A depth image further than this in time from the colour image shows another moment."""

TOOL_SILENT_NS = 100_000_000
"""Without a pose of the tool for so long, poses go out by the clock."""

WARN_PERIOD_S = 5.0
WAIT_S = 0.2
JOIN_TIMEOUT_S = 10.0

LoadDetector = Callable[[Path, int, float], Detector]
"""From the detector's file, the number of threads and the least score to a detector."""


class PoseEstimatorNode(LifecycleNode):
    """Images in, object poses out; see README.md of this folder for the interface."""

    def __init__(self, load_detector: LoadDetector) -> None:
        """Declare the parameters; nothing is read before configuration."""
        super().__init__("pose_estimator")
        declare_parameters(self)
        self._load_detector = load_detector
        self._arrived = threading.Condition()  # guards _image and _depth
        self._image: Image | None = None
        self._depth: Image | None = None
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    # -- lifecycle ---------------------------------------------------------------------------------------------

    @refuse_on(ValueError, OSError)
    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Check the parameters, load the detector, open the topics; refuse with the reason."""
        config = config_of(self)
        self._config = config
        self._known: dict[str, bool] = {}
        self._camera_moved = False
        self._tool_ns = self._published_ns = 0
        self._models = {target.name: target.model for target in config.targets}
        self._pipeline = self._pipeline_of(config)
        self._poses = {
            target.name: self.create_lifecycle_publisher(
                PoseWithCovarianceStamped, object_topic(target.name), STREAM_QOS
            )
            for target in config.targets
        }
        self._annotated = self.create_lifecycle_publisher(Image, ANNOTATED_TOPIC, STREAM_QOS)
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", 10)
        listened: list[tuple[type, str, Callable, QoSProfile]] = [
            (Image, IMAGE_TOPIC, self._on_image, STREAM_QOS),
            (CameraInfo, INFO_TOPIC, self._on_info, STREAM_QOS),
            (Image, DEPTH_TOPIC, self._on_depth, STREAM_QOS),
            (PoseStamped, TCP_TOPIC, self._on_tcp, STREAM_QOS),
            (RobotStatus, STATUS_TOPIC, self._on_status, RELIABLE_QOS),
        ]
        self._listened = [self.create_subscription(*what) for what in listened]
        self._forget_service = self.create_service(Trigger, FORGET_SERVICE, self._on_forget)
        # what is wrong is said even when robot time stands still
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._timers_open = [
            self.create_timer(1.0 / config.publish_rate_hz, self._publish_without_tool),
            self.create_timer(DIAGNOSTICS_PERIOD_S, self._publish_diagnostics, clock=steady),
        ]
        self.get_logger().info(f"looks for {', '.join(self._models)} with {config.detector}")
        return super().on_configure(state)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """From now on images are measured in and poses published."""
        outcome = super().on_activate(state)
        self._stop.clear()
        self._thread = threading.Thread(target=self._work, name="images")
        self._thread.start()
        return outcome

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """No pose follows."""
        self._end_work()
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Close what configuration opened."""
        self._end_work()
        for timer in self._timers_open:
            self.destroy_timer(timer)
        for subscription in self._listened:
            self.destroy_subscription(subscription)
        for publisher in (*self._poses.values(), self._annotated):
            # it is a LifecyclePublisher, rclpy's annotations call it a Publisher
            self.destroy_lifecycle_publisher(publisher)  # type: ignore[arg-type]
        self.destroy_publisher(self._diagnostics)
        self.destroy_service(self._forget_service)
        return TransitionCallbackReturn.SUCCESS

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """No pose follows."""
        self._end_work()
        return TransitionCallbackReturn.SUCCESS

    def _pipeline_of(self, config: EstimatorConfig) -> Pipeline:
        return Pipeline(
            self._load_detector(config.detector, config.threads, config.min_score),
            PoseEstimator(config.targets, config.settings),
            ImageGuard(config.guard),
            calibration=config.calibration,
            camera_in_base=config.camera_in_base,
            table_tags=config.table_tags,
        )

    def _end_work(self) -> None:
        self._stop.set()
        with self._arrived:
            self._arrived.notify_all()
        if self._thread is not None:
            self._thread.join(JOIN_TIMEOUT_S)
            if self._thread.is_alive():
                raise RuntimeError(f"the detector did not come back within {JOIN_TIMEOUT_S:g} s of being told to stop")
            self._thread = None

    # -- what comes in -----------------------------------------------------------------------------------------

    def _now_ns(self) -> int:
        return self.get_clock().now().nanoseconds

    def _on_image(self, message: Image) -> None:
        with self._arrived:
            self._image = message
            self._arrived.notify_all()

    def _on_depth(self, message: Image) -> None:
        with self._arrived:
            self._depth = message

    def _on_info(self, message: CameraInfo) -> None:
        try:
            self._pipeline.set_camera(facts_from(message))
        except MessageRefusedError as error:
            self._pipeline.refuse(error.kind, str(error))
            self._warn(error)
        except OpticsError as error:
            self._warn(error)

    def _on_tcp(self, message: PoseStamped) -> None:
        try:
            tool = base_pose_from(message.pose, message.header)
            unit = tool.quat_wxyz / np.linalg.norm(tool.quat_wxyz)
            self._pipeline.add_tool(transform(tool.position_m, matrix_of(unit)), stamp_ns_of(message.header))
        except ValueError as error:  # the last usable one grows old
            self._warn(error)
            return
        self._tool_ns = now_ns = self._now_ns()
        # a little early is not left out: the tool comes at a rate of its own
        if not 0 <= now_ns - self._published_ns < 0.9 * NS_PER_S / self._config.publish_rate_hz:
            self._publish()

    def _on_status(self, message: RobotStatus) -> None:
        self._pipeline.add_gripper(gripper_from(message), stamp_ns_of(message.header))

    def _on_forget(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        self._pipeline.forget(self._now_ns())
        response.success, response.message = True, f"looking anew for {', '.join(self._models)}"
        return response

    def _warn(self, error: Exception) -> None:
        self.get_logger().warning(str(error), throttle_duration_sec=WARN_PERIOD_S)

    # -- the thread of the images ------------------------------------------------------------------------------

    def _work(self) -> None:
        """Take the newest image, measure in it, and again, until told to stop."""
        while not self._stop.is_set():
            with self._arrived:
                self._arrived.wait_for(lambda: self._image is not None or self._stop.is_set(), WAIT_S)
                message, self._image, depth = self._image, None, self._depth
            if message is not None and not self._stop.is_set():
                self._measure(message, depth)

    def _measure(self, message: Image, depth: Image | None) -> None:
        size_px = self._pipeline.size_px
        if size_px is None:
            return  # the reason stands in the diagnostics
        stamp_ns = stamp_ns_of(message.header)
        try:
            image = rgb_from(message, size_px)
            depth_m = self._depth_at(depth, stamp_ns, size_px)
            rectified, view = self._pipeline.process(image, stamp_ns, self._now_ns(), depth_m)
        except MessageRefusedError as error:
            self._pipeline.refuse(error.kind, str(error))
            self._warn(error)
            return
        except (ImageRefusedError, OpticsError) as error:
            self._warn(error)
            return
        self._pipeline.finished(self._now_ns())
        self._tell_of_camera()
        if self._config.annotated:
            self._publish_annotated(rectified, view, message)

    def _depth_at(self, message: Image | None, stamp_ns: int, size_px: tuple[int, int]) -> np.ndarray | None:
        """Depth of the image's moment; poses are found without it where it cannot be used."""
        if message is None or abs(stamp_ns_of(message.header) - stamp_ns) > DEPTH_APART_NS:
            return None
        try:
            return depth_from(message, size_px)
        except MessageRefusedError as error:
            self._warn(error)
            return None

    # -- what goes out -----------------------------------------------------------------------------------------

    def _publish_without_tool(self) -> None:
        """On time where no tool says where it is; else with its poses, for what is held is where it is now.

        After a busy moment a timer comes before the messages that waited, and would go by an old one.
        """
        if not 0 <= self._now_ns() - self._tool_ns < TOOL_SILENT_NS:
            self._publish()

    def _publish(self) -> None:
        """The poses now; nothing of an object that is not known well enough."""
        if self._stop.is_set() or self._thread is None:
            return
        if not self._thread.is_alive():
            raise RuntimeError("the thread of the images has ended (the error is above): ending")
        stamp_ns, reports = self._pipeline.report(self._now_ns())
        self._published_ns = stamp_ns
        for report in reports:
            if report.pose is not None:
                self._poses[report.name].publish(estimate_message(report.pose, stamp_ns))
            self._tell(report)

    def _tell(self, report: Report) -> None:
        """In the log, when an object comes into sight and when its pose is no longer known, and why."""
        known = report.pose is not None
        if known == self._known.get(report.name, False):
            return
        self._known[report.name] = known
        if known:
            self.get_logger().info(f"{report.name}: {report.status.value}")
        else:
            self.get_logger().warning(f"{report.name}: no pose, {report.status.value}: {report.reason}")

    def _tell_of_camera(self) -> None:
        """In the log, when the table's tags have the camera elsewhere than it was calibrated, and when back there."""
        fix = self._pipeline.health(self._now_ns()).camera
        text = "" if fix is None else moved_text(fix)
        if text and not self._camera_moved:
            self.get_logger().warning(text)
        elif self._camera_moved and not text:
            self.get_logger().info("the camera is back where it was calibrated")
        self._camera_moved = bool(text)

    def _publish_annotated(self, rectified: np.ndarray, view: View, message: Image) -> None:
        picture = rectified.copy()
        draw_detections(picture, view.detections)
        now_ns = self._now_ns()
        _, reports = self._pipeline.report(now_ns)
        lines = [f"{(now_ns - view.stamp_ns) / NS_PER_S * 1e3:.0f} ms"]
        if (fix := self._pipeline.health(now_ns).camera) is not None:
            lines.append(f"camera moved {1e3 * fix.moved_m:.0f} mm, {fix.turned_deg:.1f} deg (tags)")
        for report in reports:
            if report.pose is not None:
                draw_pose(picture, view.camera, self._models[report.name], report.pose, POSE_RGB)
            lines.append(f"{report.name}: {report.status.value}{', held' if report.held else ''} {report.reason}")
        draw_text(picture, lines)
        self._annotated.publish(image_message(picture, stamp_ns_of(message.header), message.header.frame_id))

    def _publish_diagnostics(self) -> None:
        now_ns = self._now_ns()
        stamp_ns, reports = self._pipeline.report(now_ns)
        status = health_status(self._pipeline.health(now_ns), reports, stamp_ns)
        status.hardware_id = str(self._config.detector)
        array = DiagnosticArray(status=[status])
        array.header.stamp = self.get_clock().now().to_msg()
        self._diagnostics.publish(array)


def load_yolo(file: Path, threads: int, min_score: float) -> Detector:
    """The detector that ``vlajs perception train`` exports.

    Raises:
        ValueError: a file that is none.
    """
    from vlajs_perception.detection.yolo import YoloDetector  # pyright: ignore[reportMissingImports]

    return YoloDetector(file, threads=threads, min_score=min_score)


def main() -> int:
    """Run the node until a signal; returns the process's exit code."""
    return run_lifecycle_node(lambda: PoseEstimatorNode(load_yolo), executor_threads=1)


if __name__ == "__main__":
    sys.exit(main())
