"""The robot's nodes as a session sees them: topics, services and waiting, in robot time."""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from geometry_msgs.msg import PointStamped
from rcl_interfaces.srv import SetParameters
from rclpy.executors import SingleThreadedExecutor
from std_srvs.srv import Trigger

from vlajs.geometry import FloatArray, Pose
from vlajs.nodes.commander import COMMAND_TOPIC, SESSION_NODE
from vlajs.nodes.messages import FORGET_SERVICE, LATCHED_QOS, RELIABLE_QOS
from vlajs.nodes.policy_inputs import ARM_JOINTS
from vlajs.nodes.session_calls import POLL_S, SERVICE_TIMEOUT_S, ServiceCalls
from vlajs.nodes.session_commanders import (
    CommanderView,
    changes,
    lifecycle_clients,
    settings_of,
)
from vlajs.nodes.session_estimator import EstimatorView
from vlajs.nodes.session_recorder import TrialRecorder, recorded_topics
from vlajs.policy.contract import BASE_FRAME
from vlajs.policy.runner import object_topic
from vlajs.session.conditions import Push
from vlajs.session.graph import Episode, PolicyView, RobotView, Sample
from vlajs.session.plan import TrialPlan
from vlajs.session.records import COMMANDERS, Arm, Baseline, Commander, PoseSource, SessionError
from vlajs.states import RobotMode
from vlajs.tasks import HOME_JOINTS_RAD, Task
from vlajs_msgs.msg import EndEffectorDelta, RobotStatus
from vlajs_msgs.srv import LoadCheckpoint, ResetScene, StartPolicy

SOURCE = "session"
OPEN_WIDTH_M = 0.08
OPEN_ENOUGH_M = 0.07
HAND_PERIOD_S = 0.05
HAND_TIMEOUT_S = 10.0
HOME_TOLERANCE_RAD = 0.05
HOME_TIMEOUT_S = 120.0
"""Wall time: a twin on a slow machine may run at a fraction of real time."""

SETTLE_TIMEOUT_S = 20.0
SEEING_TIMEOUT_S = 60.0
"""Wall time, for a twin that runs slowly, beside the robot time that is the limit."""

SOLO_TOPICS = ("/clock", "/franka/status", "/policy/state", "/baseline/state")
GONE_TIMEOUT_S = 25.0
"""A node that was killed stays in discovery for up to 20 s."""

SET_CAMERA, SET_TWIN = "/twin_camera/set_parameters", "/twin/set_parameters"

ALONE_S = 2.0
"""Discovery shows nodes that are there within this time."""

LACKING_TIMEOUT_S = 15.0
BASELINE_TIMEOUT_S = 60.0
ASK_AGAIN_S = 0.5


class RosGraph(ServiceCalls):
    """:class:`vlajs.session.graph.Graph` over ROS. An executor must spin it in another thread than the caller's."""

    def __init__(
        self,
        task: Task,
        arm: Arm,
        *,
        compare: bool = False,
        pose_source: PoseSource = "truth",
        pushes: bool = False,
        record: bool = True,
        check_nodes: Callable[[], None] = lambda: None,
    ) -> None:
        """Subscribe and create clients.

        Args:
            task: which objects to follow.
            arm: "twin" follows ``/clock`` and ground truth, "real" system time and the pose estimator.
            compare: whether a baseline node is there, too.
            pose_source: on the twin, where the policy's object poses come from.
            pushes: whether :meth:`push` will be called.
            record: whether :meth:`start_recording` records.
            check_nodes: asked whenever something is waited for; raises ``SessionError`` when a node that was
                started for us has died.
        """
        on_twin = arm == "twin"
        super().__init__(SESSION_NODE, task, on_twin=on_twin, check_nodes=check_nodes)
        self._task, self._on_twin = task, on_twin
        present = COMMANDERS if compare else COMMANDERS[:1]
        self._commanders = {name: CommanderView(name, self._inputs, self) for name in present}
        self._chosen = self._commanders["policy"]
        self._goal_out = self.create_publisher(PointStamped, "/task/goal", LATCHED_QOS)
        self._hand_out = self.create_publisher(EndEffectorDelta, COMMAND_TOPIC, RELIABLE_QOS)
        names = ("/franka/home", "/franka/recover", "/franka/stop")
        self._clients_of |= {name: self.create_client(Trigger, name) for name in names}
        for commander in self._commanders.values():
            self._clients_of |= commander.clients
        if compare:
            self._clients_of |= lifecycle_clients(self)
        self._pose_source: PoseSource = pose_source
        self._estimator: EstimatorView | None = None
        if on_twin and pose_source == "camera":
            self._estimator = EstimatorView(task.objects, self._inputs, self)
            self._clients_of |= self._estimator.clients
            self._clients_of[SET_CAMERA] = self.create_client(SetParameters, SET_CAMERA)
        if on_twin and pushes:
            self._clients_of["/twin/push"] = self.create_client(Trigger, "/twin/push")
            self._clients_of[SET_TWIN] = self.create_client(SetParameters, SET_TWIN)
        if on_twin:
            self._clients_of["/twin/reset_scene"] = self.create_client(ResetScene, "/twin/reset_scene")
            self._clients_of["/twin/clear_scene"] = self.create_client(Trigger, "/twin/clear_scene")
        topics = recorded_topics(task, on_twin=on_twin, compare=compare)
        self._recorder = TrialRecorder(self, topics) if record else None

    # -- waiting -----------------------------------------------------------------------------------------------

    def wait_until_alone(self, timeout_s: float) -> None:
        """Wait until nobody else plays the robot here, such as the nodes of a session that was just killed.

        Raises:
            SessionError: a twin, bridge or policy node stays: two of them in one domain would command one arm.
        """
        alone_since_s = time.monotonic()
        deadline_s = alone_since_s + timeout_s
        while time.monotonic() - alone_since_s < ALONE_S:
            present = [topic for topic in SOLO_TOPICS if self.count_publishers(topic)]
            if present:
                alone_since_s = time.monotonic()
            if time.monotonic() > deadline_s:
                raise SessionError(
                    f"somebody publishes {', '.join(present)} in this ROS_DOMAIN_ID already: use those nodes "
                    "(--launch none), end them, or choose another ROS_DOMAIN_ID"
                )
            time.sleep(POLL_S)

    def _misinformed(self) -> list[str]:
        """What is wrong about who tells the policy where objects are."""
        other = {"truth": "pose_estimator", "camera": "twin"}[self._pose_source]
        return [
            f"{topic} comes from {other}, which --pose-source {self._pose_source} rules out"
            for topic in map(object_topic, self._task.objects)
            if other in {info.node_name for info in self.get_publishers_info_by_topic(topic)}
        ]

    def _doubled(self) -> list[str]:
        """What two nodes of one kind publish: two twins mix two clocks, two policy nodes command one arm."""
        counts = {topic: self.count_publishers(topic) for topic in SOLO_TOPICS}
        return [f"{count} nodes publish {topic} in this ROS_DOMAIN_ID" for topic, count in counts.items() if count > 1]

    def wait_for_nodes(self, timeout_s: float) -> None:
        """Wait until every node that a session needs is there and talks.

        Raises:
            SessionError: what is missing, and who should provide it.
        """

        def missing() -> list[str]:
            topics = ["/franka/status", "/franka/joint_states", "/franka/tcp_pose"]
            topics += [commander.topic for commander in self._commanders.values()]
            lacking = [f"nothing received on {topic}" for topic in topics if topic not in self._inputs.seen]
            if self._on_twin:
                if self.now_s() == 0.0:
                    lacking.append("nothing received on /clock")
                # an object that another task's scene has not says nothing before the first trial's scene is set
                topics = map(self._inputs.topic_of, self._task.objects)
                lacking += [f"nobody publishes {topic}" for topic in topics if not self.count_publishers(topic)]
                lacking += self._misinformed()
            lacking += self._doubled()
            return lacking + [f"no service {name}" for name, c in self._clients_of.items() if not c.service_is_ready()]

        if not self._wait_until(lambda: not missing(), timeout_s):
            raise SessionError(
                f"not ready within {timeout_s:g} s: {'; '.join(missing())}. Start bridge, policy (to compare: and "
                "baseline) and twin with `vlajs up twin checkpoint:=FILE` (`openvla_baseline_twin policy:=true`), or "
                "let the session do it with `--launch twin`; ROS_DOMAIN_ID must be the same everywhere"
            )
        if not self._wait_until(lambda: self.robot().mode != RobotMode.DISCONNECTED, timeout_s):
            raise SessionError(f"the bridge is not connected to the arm after {timeout_s:g} s: check its log")

    # -- Graph -------------------------------------------------------------------------------------------------

    def now_s(self) -> float:
        """Robot time."""
        return self.get_clock().now().nanoseconds * 1e-9

    def robot(self) -> RobotView:
        """The bridge's last word."""
        status: RobotStatus = self._inputs.seen["/franka/status"]
        return RobotView(
            mode=RobotMode(status.mode),
            time_s=status.robot_time_s,
            faults=tuple(status.faults),
            may_hold=status.grasped or status.gripper_busy,
            commander=status.commander,
        )

    def policy(self) -> PolicyView | None:
        """The chosen commander's last word on the running episode."""
        return self._chosen.view()

    def choose(self, commander: Commander) -> None:
        """Have this one be the active commander. Tried again while the other one's end has not got about yet."""
        deadline_s = time.monotonic() + GONE_TIMEOUT_S
        while reason := next(filter(None, changes(self._ask, commander)), ""):
            if time.monotonic() > deadline_s:
                raise SessionError(reason)
            self._wait_until(lambda: False, ASK_AGAIN_S)
        self._chosen = self._commanders[commander]

    def baseline(self) -> Baseline:
        """What the baseline node, which is made active for it, says of itself once its server has answered."""
        self.choose("baseline")
        state = self._chosen.topic
        if not self._wait_until(lambda: bool(self._inputs.seen[state].contract_id), BASELINE_TIMEOUT_S):
            raise SessionError(
                f"the baseline's server has said nothing for {BASELINE_TIMEOUT_S:g} s: /diagnostics and the log of "
                "vla_baseline say why"
            )
        return Baseline(contract_id=self._inputs.seen[state].contract_id, settings=settings_of(self._ask))

    def object_poses(self) -> dict[str, Pose]:
        """The newest pose of each object."""
        with self._inputs.changed:
            return dict(self._inputs.objects)

    def load_checkpoint(self, path: Path, control_rate_hz: float) -> None:
        """Have the policy node run this bundle from its next episode on."""
        self._commanders["policy"].rate_hz = control_rate_hz
        request = LoadCheckpoint.Request(path=str(path), expected_task=self._task.name)
        self._call_policy_node("/policy/load_checkpoint", request)

    def stop_policy(self) -> None:
        """Returns when no command will follow."""
        for commander in self._commanders.values():
            self._call(commander.stop, Trigger.Request())

    def stop_arm(self) -> None:
        """Brake; the bridge takes nothing more until ``/franka/release``."""
        self._call("/franka/stop", Trigger.Request())

    def recover(self) -> None:
        """Clear a fault of the arm."""
        self._call("/franka/recover", Trigger.Request(), SETTLE_TIMEOUT_S)
        if not self._wait_until(lambda: self.robot().mode != RobotMode.FAULT, SETTLE_TIMEOUT_S):
            raise SessionError(f"the arm stays in fault after /franka/recover: {'; '.join(self.robot().faults)}")

    def open_hand(self) -> None:
        """Command increments of zero and an open hand until it is open."""
        self._wait_until_commands_cease()
        deadline_s = time.monotonic() + HAND_TIMEOUT_S
        sequence = 0
        while not self._hand_is_open():
            command = EndEffectorDelta(sequence=sequence, gripper_width_m=OPEN_WIDTH_M, source=SOURCE)
            command.header.stamp = self.get_clock().now().to_msg()
            command.header.frame_id = BASE_FRAME
            self._hand_out.publish(command)
            sequence += 1
            if time.monotonic() > deadline_s:
                raise SessionError(
                    f"the hand did not open within {HAND_TIMEOUT_S:g} s: {'; '.join(self.robot().faults) or 'no fault'}"
                )
            self._wait_until(self._hand_is_open, HAND_PERIOD_S)

    def _wait_until_commands_cease(self) -> None:
        """The bridge holds the arm a moment after the last command, and takes no other orders before."""
        if not self._wait_until(lambda: self.robot().mode != RobotMode.TRACKING, SERVICE_TIMEOUT_S):
            commander = self._inputs.seen["/franka/status"].commander
            raise SessionError(f"{commander!r} goes on commanding the arm: stop it, a session needs the arm for itself")

    def _hand_is_open(self) -> bool:
        status: RobotStatus = self._inputs.seen["/franka/status"]
        return status.gripper_width_m > OPEN_ENOUGH_M and not status.gripper_busy

    def home(self) -> None:
        """Move to the start configuration and wait until the arm rests there."""
        self._wait_until_commands_cease()
        self._call("/franka/home", Trigger.Request(), HOME_TIMEOUT_S)
        if not self._wait_until(self._is_home, SETTLE_TIMEOUT_S):
            joints = np.round(self._inputs.seen["/franka/joint_states"].position[:ARM_JOINTS], 3)
            raise SessionError(
                f"the arm is not home after /franka/home: joints {joints} rad, mode {self.robot().mode.name}"
            )

    def _is_home(self) -> bool:
        joints = np.array(self._inputs.seen["/franka/joint_states"].position[:ARM_JOINTS])
        near = np.max(np.abs(joints - HOME_JOINTS_RAD)) <= HOME_TOLERANCE_RAD
        return bool(near) and self.robot().mode in (RobotMode.READY, RobotMode.HOLDING)

    def clear_scene(self) -> None:
        """Take every object away."""
        self._call("/twin/clear_scene", Trigger.Request())

    def reset_scene(self, plan: TrialPlan) -> None:
        """Put the objects where the plan says; poses seen before are forgotten."""
        self._call("/twin/reset_scene", ResetScene.Request(task=self._task.name, seed=plan.scene_seed))
        with self._inputs.changed:
            self._inputs.objects.clear()

    def set_camera(self, parameters: dict[str, Any]) -> None:
        """Change what the twin's camera sees."""
        self._set_parameters(SET_CAMERA, parameters)

    def push(self, push: Push) -> None:
        """Begin to push something on the twin."""
        values = {"push_body": push.body, "push_newton": list(push.newton), "push_s": push.seconds}
        self._set_parameters(SET_TWIN, values)
        self._call("/twin/push", Trigger.Request())

    def look_anew(self, timeout_s: float) -> str:
        """Have the pose estimator forget, and wait until it sees every object."""
        assert self._estimator is not None, "sessions with poses from the camera have one"
        estimator = self._estimator
        self._call(FORGET_SERVICE, Trigger.Request())
        with self._inputs.changed:
            estimator.expect_everything()
        deadline_s = self.now_s() + timeout_s
        self._wait_until(lambda: estimator.sees_everything() or self.now_s() > deadline_s, SEEING_TIMEOUT_S)
        with self._inputs.changed:
            return "" if estimator.sees_everything() else estimator.why_not()

    def publish_goal(self, goal_m: FloatArray) -> None:
        """Latched: who subscribes later hears it too."""
        goal = PointStamped()
        goal.header.stamp = self.get_clock().now().to_msg()
        goal.header.frame_id = BASE_FRAME
        goal.point.x, goal.point.y, goal.point.z = (float(value) for value in goal_m)
        self._goal_out.publish(goal)

    def start_policy(self) -> Episode:
        """Begin an episode; samples taken before it are dropped."""
        if not self._wait_until(lambda: not self._doubled(), GONE_TIMEOUT_S):
            raise SessionError(f"{'; '.join(self._doubled())}: end one, or give each its own ROS_DOMAIN_ID")
        with self._inputs.changed:
            self._chosen.expect_episode()
            self._inputs.samples.clear()
        response = self._call_policy_node(self._chosen.start, StartPolicy.Request(task=self._task.name))
        return Episode(contract_id=response.contract_id, horizon_s=response.horizon_steps / self._chosen.rate_hz)

    def _call_policy_node(self, name: str, request: Any) -> Any:
        """As :meth:`_call`, asking again: discovery brings topics in one by one, and what the policy node lacks now
        may be there in a moment."""
        deadline_s = time.monotonic() + LACKING_TIMEOUT_S
        while True:
            try:
                return self._call(name, request)
            except SessionError as error:
                lacking = "no source" in str(error) or "stale input" in str(error)
                if not lacking or time.monotonic() > deadline_s:
                    raise
            self._wait_until(lambda: False, ASK_AGAIN_S)

    def watch(self, timeout_s: float) -> Sample | None:
        """The next sample, in order."""
        self._check()
        with self._inputs.changed:
            self._inputs.changed.wait_for(lambda: bool(self._inputs.samples), timeout_s)
            return self._inputs.samples.popleft() if self._inputs.samples else None

    def start_recording(self, path: Path) -> None:
        """Record until :meth:`stop_recording`."""
        if self._recorder is not None:
            self._recorder.start(path)

    def stop_recording(self) -> None:
        """Close the file."""
        if self._recorder is not None:
            self._recorder.stop()


@contextlib.contextmanager
def spinning(graph: RosGraph) -> Iterator[None]:
    """Spin the graph in a thread of its own; the thread has gone afterwards, or Python would abort at exit."""
    executor = SingleThreadedExecutor()
    executor.add_node(graph)
    thread = threading.Thread(target=executor.spin, name=f"spin {graph.get_name()}", daemon=True)
    thread.start()
    graph.is_spun = thread.is_alive
    try:
        yield
    finally:
        executor.shutdown()
        thread.join()
        graph.destroy_node()
