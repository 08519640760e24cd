"""Node ``twin``: the simulated arm with its clock, its objects' true poses and a service that sets the scene."""

# pyright: reportPrivateImportUsage=false
# (rclpy does not mark its public names as exported)

import sys
import threading
import time

import numpy as np
from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from geometry_msgs.msg import PointStamped, PoseStamped, PoseWithCovarianceStamped
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.timer import Timer
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import JointState, MultiDOFJointState
from std_srvs.srv import Trigger

from vlajs.geometry import Pose
from vlajs.nodes.lifecycle import refuse_on, run_lifecycle_node
from vlajs.nodes.messages import STREAM_QOS, pose_message, truth_topic
from vlajs.nodes.parameters import declare
from vlajs.nodes.twin_messages import BODIES_TOPIC, TRUE_JOINTS_TOPIC, bodies_message, joints_message
from vlajs.policy.contract import BASE_FRAME
from vlajs.policy.runner import object_topic
from vlajs.tasks import get_task, sample_scene
from vlajs.twin.config import TwinConfig
from vlajs.twin.scene import MARKER_OF_TASK, OBJECT_NAMES, SceneConfig, require_objects
from vlajs.twin.seen import SeenState
from vlajs.twin.server import TwinServer
from vlajs_msgs.srv import ResetScene

ANY_ADDRESS = "auto"
"""Value of the parameter ``address`` that takes a free one."""
CLOCK_PERIOD_S = 1 / 200
POSE_PERIOD_S = 1 / 60
POSES_A_VIEW = 2
"""Every which pose the twin's state is published for a camera, which takes 30 pictures a second at most."""
DIAGNOSTICS_PERIOD_S = 1.0
SLOW_FACTOR = 0.8
"""Below this real-time factor the diagnostics warn: the machine is too slow for the twin and its clients."""
TRUTH_VARIANCE_M2 = 1e-8
TRUTH_VARIANCE_RAD2 = 1e-8
GIL_SWITCH_S = 5e-4
"""The simulation shares Python's lock with this node; the default 5 ms would cost it five ticks."""


class TwinNode(LifecycleNode):
    """Runs a :class:`~vlajs.twin.server.TwinServer` from configure to cleanup, publishes while active."""

    def __init__(self) -> None:
        super().__init__("twin")
        declare(self, "address", "127.0.0.2")
        declare(self, "speed", 1.0)
        declare(self, "command_patience_s", TwinConfig.command_patience_s)
        declare(self, "publish_objects", True)
        declare(self, "cube_half_size_m", SceneConfig.cube_half_size_m)
        declare(self, "cube_mass_kg", SceneConfig.cube_mass_kg)
        declare(self, "peg_mass_kg", SceneConfig.peg_mass_kg)
        declare(self, "object_friction", SceneConfig.object_friction)
        declare(self, "fingertip_friction", SceneConfig.fingertip_friction)
        declare(self, "injected_fault", "cartesian_reflex")
        declare(self, "push_body", "cube")
        declare(self, "push_newton", [0.0, 0.5, 0.0])
        declare(self, "push_s", 0.2)
        self._twin: TwinServer | None = None
        self._publisher_thread: threading.Thread | None = None
        self._publishing = threading.Event()
        self._diagnostics_timer: Timer | None = None

    @refuse_on(ValueError, OSError, RuntimeError)
    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Check the parameters, build the world, listen for the arm's clients."""
        twin = TwinServer(self._config())
        twin.start()
        self._twin = twin
        self._clock_out = self.create_lifecycle_publisher(Clock, "/clock", STREAM_QOS)
        self._truth_out = {
            name: self.create_lifecycle_publisher(PoseStamped, truth_topic(name), STREAM_QOS) for name in OBJECT_NAMES
        }
        measured = OBJECT_NAMES if self.get_parameter("publish_objects").value else ()
        self._measured_out = {
            name: self.create_lifecycle_publisher(PoseWithCovarianceStamped, object_topic(name), STREAM_QOS)
            for name in measured
        }
        self._joints_out = self.create_lifecycle_publisher(JointState, TRUE_JOINTS_TOPIC, STREAM_QOS)
        self._bodies_out = self.create_lifecycle_publisher(MultiDOFJointState, BODIES_TOPIC, STREAM_QOS)
        self._diagnostics_out = self.create_lifecycle_publisher(DiagnosticArray, "/diagnostics", 10)
        self._reset_service = self.create_service(ResetScene, "/twin/reset_scene", self._on_reset_scene)
        self._clear_service = self.create_service(Trigger, "/twin/clear_scene", self._on_clear_scene)
        self._fault_service = self.create_service(Trigger, "/twin/inject_fault", self._on_inject_fault)
        self._push_service = self.create_service(Trigger, "/twin/push", self._on_push)
        self.get_logger().info(f"the simulated arm listens on {twin.address} (robot_ip for the bridge)")
        return super().on_configure(state)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Start publishing clock, poses and diagnostics."""
        outcome = super().on_activate(state)
        self._publishing.set()
        self._publisher_thread = threading.Thread(target=self._publish, name="twin_publisher")
        self._publisher_thread.start()
        self._diagnostics_timer = self.create_timer(DIAGNOSTICS_PERIOD_S, self._on_diagnostics)
        return outcome

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop publishing; the arm goes on."""
        self._stop_publishing()
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop the arm and close its sockets."""
        self._release()
        return TransitionCallbackReturn.SUCCESS

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop everything, from any state."""
        self._stop_publishing()
        self._release()
        return TransitionCallbackReturn.SUCCESS

    def _config(self) -> TwinConfig:
        """The parameters as a configuration, which checks them.

        Raises:
            ValueError: a value out of its range; the message names it.
        """
        address = str(self.get_parameter("address").value)
        return TwinConfig(
            address=None if address == ANY_ADDRESS else address,
            speed=self._number("speed"),
            command_patience_s=self._number("command_patience_s"),
            scene=SceneConfig(
                cube_half_size_m=self._number("cube_half_size_m"),
                cube_mass_kg=self._number("cube_mass_kg"),
                peg_mass_kg=self._number("peg_mass_kg"),
                object_friction=self._number("object_friction"),
                fingertip_friction=self._number("fingertip_friction"),
            ),
        )

    def _number(self, parameter: str) -> float:
        return self.get_parameter(parameter).get_parameter_value().double_value

    def _stop_publishing(self) -> None:
        self._publishing.clear()
        if self._publisher_thread is not None:
            self._publisher_thread.join()
            self._publisher_thread = None
        if self._diagnostics_timer is not None:
            self.destroy_timer(self._diagnostics_timer)
            self._diagnostics_timer = None

    def _release(self) -> None:
        if self._twin is None:
            return
        self._twin.stop()
        self._twin = None
        self.destroy_service(self._reset_service)
        self.destroy_service(self._clear_service)
        self.destroy_service(self._fault_service)
        self.destroy_service(self._push_service)
        for publisher in (
            self._clock_out,
            self._diagnostics_out,
            self._joints_out,
            self._bodies_out,
            *self._truth_out.values(),
            *self._measured_out.values(),
        ):
            # it is a LifecyclePublisher, rclpy's annotations call it a Publisher
            self.destroy_lifecycle_publisher(publisher)  # type: ignore[arg-type]

    def _running_twin(self) -> TwinServer:
        if self._twin is None:
            raise RuntimeError("the twin is not configured")
        return self._twin

    def _publish(self) -> None:
        """Publish at multiples of robot time until deactivated; a thread, since rclpy's timers drop ticks at 200 Hz."""
        twin = self._running_twin()
        poses = 0
        next_clock_s = next_pose_s = twin.robot_time_s
        while self._publishing.is_set() and twin.is_running:
            robot_s = twin.robot_time_s
            if robot_s >= next_clock_s:
                self._clock_out.publish(Clock(clock=_stamp(robot_s)))
                next_clock_s = _following(next_clock_s, CLOCK_PERIOD_S, robot_s)
            if robot_s >= next_pose_s:
                self._publish_state(twin.seen(), for_camera=poses % POSES_A_VIEW == 0)
                poses += 1
                next_pose_s = _following(next_pose_s, POSE_PERIOD_S, robot_s)
            wait_s = (min(next_clock_s, next_pose_s) - twin.robot_time_s) / twin.config.speed
            time.sleep(max(wait_s, 5e-4))

    def _publish_state(self, seen: SeenState, *, for_camera: bool) -> None:
        robot_s, poses = seen.stamp_ns * 1e-9, seen.bodies
        # a camera alone wants these, and the simulation shares Python's lock with this thread
        if for_camera and self._bodies_out.get_subscription_count():
            self._joints_out.publish(joints_message(seen))
            self._bodies_out.publish(bodies_message(seen))
        for name, publisher in self._truth_out.items():
            if name in poses:
                publisher.publish(_pose_stamped(robot_s, poses[name]))
        for name, publisher in self._measured_out.items():
            if name not in poses:
                continue
            message = PoseWithCovarianceStamped()
            message.header.stamp = _stamp(robot_s)
            message.header.frame_id = BASE_FRAME
            message.pose.pose = pose_message(poses[name])
            covariance = message.pose.covariance
            covariance[0] = covariance[7] = covariance[14] = TRUTH_VARIANCE_M2
            covariance[21] = covariance[28] = covariance[35] = TRUTH_VARIANCE_RAD2
            publisher.publish(message)

    def _on_reset_scene(self, request: ResetScene.Request, response: ResetScene.Response) -> ResetScene.Response:
        twin = self._running_twin()
        try:
            task = get_task(request.task)
            require_objects(task, twin.config.scene)
            scene = sample_scene(task, request.seed)
            twin.place_objects(scene, marker=MARKER_OF_TASK[task.name])
        except ValueError as refusal:
            response.success = False
            response.message = str(refusal)
            return response
        robot_s = twin.robot_time_s
        response.success = True
        response.message = f"{task.name} scene of seed {request.seed} is set"
        response.object_poses = [_pose_stamped(robot_s, scene.objects[name]) for name in task.objects]
        response.goal = PointStamped()
        response.goal.header.stamp = _stamp(robot_s)
        response.goal.header.frame_id = BASE_FRAME
        response.goal.point.x, response.goal.point.y, response.goal.point.z = (float(v) for v in scene.goal_m)
        return response

    def _on_clear_scene(self, _request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        self._running_twin().clear_objects()
        response.success, response.message = True, "no object is there"
        return response

    def _on_inject_fault(self, _request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        """Fault the arm with the error that the parameter ``injected_fault`` names."""
        name = str(self.get_parameter("injected_fault").value)
        try:
            self._running_twin().inject_fault(name)
        except ValueError as refusal:
            response.success, response.message = False, str(refusal)
            return response
        response.success, response.message = True, f"injected {name}"
        return response

    def _on_push(self, _request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        """Push what the parameters say, with the force and for the time they say."""
        body, seconds = str(self.get_parameter("push_body").value), self._number("push_s")
        newton = np.array(self.get_parameter("push_newton").get_parameter_value().double_array_value)
        try:
            self._running_twin().apply_force(body, newton, seconds)
        except ValueError as refusal:
            response.success, response.message = False, str(refusal)
            return response
        response.success, response.message = True, f"{newton.tolist()} N on {body} for {seconds:g} s"
        return response

    def _on_diagnostics(self) -> None:
        """Publish the simulation's health; end the process if it has died."""
        twin = self._running_twin()
        if not twin.is_running or self._publisher_thread is None or not self._publisher_thread.is_alive():
            raise RuntimeError("the simulation or its publisher has stopped (the error is above): ending")
        factor, faults = twin.real_time_factor, twin.faults()
        status = DiagnosticStatus(name="twin: simulation", hardware_id=twin.address)
        status.level = DiagnosticStatus.WARN if factor < SLOW_FACTOR else DiagnosticStatus.OK
        status.message = f"real-time factor {factor:.2f}" + (f", fault {', '.join(faults)}" if faults else "")
        values = {
            "real_time_factor": f"{factor:.3f}",
            "robot_time_s": f"{twin.robot_time_s:.3f}",
            "dropped_s": f"{twin.dropped_s:.3f}",
            "faults": ", ".join(faults),
        }
        status.values = [KeyValue(key=key, value=value) for key, value in values.items()]
        message = DiagnosticArray(status=[status])
        message.header.stamp = _stamp(twin.robot_time_s)
        self._diagnostics_out.publish(message)


def _following(due_s: float, period_s: float, now_s: float) -> float:
    """The next multiple of the period after ``now_s``, counted from ``due_s``; missed ones are skipped."""
    return due_s + period_s * (1 + int((now_s - due_s) / period_s))


def _stamp(robot_s: float) -> Time:
    ticks_ms = round(robot_s * 1000)
    return Time(sec=ticks_ms // 1000, nanosec=(ticks_ms % 1000) * 1_000_000)


def _pose_stamped(robot_s: float, pose: Pose) -> PoseStamped:
    message = PoseStamped()
    message.header.stamp = _stamp(robot_s)
    message.header.frame_id = BASE_FRAME
    message.pose = pose_message(pose)
    return message


def main() -> int:
    """Run the node until a signal; returns the process's exit code."""
    sys.setswitchinterval(GIL_SWITCH_S)
    return run_lifecycle_node(TwinNode, executor_threads=1)


if __name__ == "__main__":
    sys.exit(main())
