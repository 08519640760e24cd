"""A process that stands in for twin and bridge: no physics, the cube slides ahead while commands come in.

Run as ``python -m tests.support.robot_stand_in [slide speed, m/s] [word ...]``; 0.2 m/s reaches the goal in half a
second. Words: ``held``, the hand holds something until it is opened; ``closing``, it still closes on it; ``slow``, the
arm goes home until it is stopped; ``camera``, tiny pictures; ``real``, an arm and a pose estimator on system time;
``flawed``, some measured poses are none, others in another frame.
"""

import signal
import sys
import threading
import time

import numpy as np
import rclpy
from geometry_msgs.msg import Pose as PoseMsg
from geometry_msgs.msg import PoseStamped, PoseWithCovarianceStamped
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.signals import SignalHandlerOptions
from rclpy.task import Future
from rclpy.time import Time
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import Image, JointState
from std_srvs.srv import Trigger

from tests.support.bundles import make_contract
from vlajs.geometry import TOOL_DOWN_WXYZ, FloatArray
from vlajs.tasks import HOME_JOINTS_RAD, get_task, sample_scene
from vlajs_msgs.msg import EndEffectorDelta, RobotStatus
from vlajs_msgs.srv import ResetScene

PERIOD_S = 0.01
STALE_S = 1.0  # longer than a busy machine delays a command, or the cube would pause
SOURCE_HOLD_S = STALE_S + 1.0  # as on the bridge, a source keeps others out for longer than its commands stay fresh
OPEN_M = 0.08
PICTURE_STEPS = 5
MANY_COMMANDS = 40  # said once, for those who read the log: a policy is well under way
HOME_M = np.array([0.5, 0.0, 0.2])
BEST_EFFORT = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)


class RobotStandIn(Node):
    """Everything a policy node and a session hear from twin and bridge."""

    def __init__(self, slide_m_s: float, words: list[str]) -> None:
        super().__init__("robot_stand_in")
        self.closing = "closing" in words
        self.held = self.closing or "held" in words
        self.slow, self.real, self.flawed = "slow" in words, "real" in words, "flawed" in words
        self.on_the_way = Future()
        self.source = ""
        self.commands = self.refused = 0
        self.slide_m_s = slide_m_s
        self.time_s = time.time() if self.real else 10.0
        self.steps = 0
        self.mode = RobotStatus.MODE_READY
        self.command_s = -1.0
        self.width_m = 0.0
        self.tool_m = HOME_M.copy()
        self.cube_m = np.array([0.6, 0.0, 0.02])
        self.joints_out = self.create_publisher(JointState, "/franka/joint_states", BEST_EFFORT)
        self.tcp_out = self.create_publisher(PoseStamped, "/franka/tcp_pose", BEST_EFFORT)
        self.target_out = self.create_publisher(PoseStamped, "/franka/target_pose", BEST_EFFORT)
        self.status_out = self.create_publisher(RobotStatus, "/franka/status", 1)
        self.measured_out = self.create_publisher(PoseWithCovarianceStamped, "/objects/cube/pose", BEST_EFFORT)
        self.image_out = self.create_publisher(Image, "/camera/image_raw", BEST_EFFORT) if "camera" in words else None
        if not self.real:
            self.clock_out = self.create_publisher(Clock, "/clock", BEST_EFFORT)
            self.truth_out = self.create_publisher(PoseStamped, "/twin/objects/cube/pose", BEST_EFFORT)
            self.create_service(Trigger, "/twin/inject_fault", self.on_inject)
            self.create_service(ResetScene, "/twin/reset_scene", self.on_reset)
            self.create_service(Trigger, "/twin/clear_scene", self.on_clear)
        self.create_subscription(EndEffectorDelta, "/command/ee_delta", self.on_command, 1)
        group = ReentrantCallbackGroup()  # an awaited /franka/home keeps nothing else waiting
        # rclpy awaits coroutines, its annotations do not say so
        self.create_service(Trigger, "/franka/home", self.on_home, callback_group=group)  # type: ignore[arg-type]
        self.create_service(Trigger, "/franka/stop", self.on_stop)
        self.create_service(Trigger, "/franka/recover", self.on_recover)
        self.create_timer(PERIOD_S, self.step)

    def on_command(self, command: EndEffectorDelta) -> None:
        if self.mode == RobotStatus.MODE_FAULT:
            return
        if self.commander() not in ("", command.source):
            self.refused += 1
            return
        self.commands += 1
        if self.commands == MANY_COMMANDS:
            print(f"{MANY_COMMANDS} commands", flush=True)
        self.source = command.source
        if self.held and command.gripper_width_m >= OPEN_M:
            self.held = False
            print("the hand was opened", flush=True)
        delta = command.delta_pos_m
        self.tool_m += [delta.x, delta.y, delta.z]
        self.width_m, self.command_s = command.gripper_width_m, self.time_s
        self.mode = RobotStatus.MODE_TRACKING

    def commander(self) -> str:
        return self.source if self.time_s - self.command_s <= SOURCE_HOLD_S else ""

    def on_stop(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        print("stopped", flush=True)
        self.mode, response.success = RobotStatus.MODE_STOPPED, True
        self.on_the_way.set_result(None)
        return response

    async def on_home(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        if self.slow:
            self.mode = RobotStatus.MODE_HOMING
            print("on the way home", flush=True)
            await self.on_the_way
            response.message = "homing ended in mode STOPPED"
            return response
        if self.mode == RobotStatus.MODE_FAULT:
            response.message = "the arm is in fault"
            return response
        self.tool_m, self.mode = HOME_M.copy(), RobotStatus.MODE_READY
        response.success = True
        return response

    def on_recover(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        self.mode, response.success = RobotStatus.MODE_READY, True
        return response

    def on_inject(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        self.mode, response.success = RobotStatus.MODE_FAULT, True
        return response

    def on_clear(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        response.success = True  # its objects hinder nobody
        return response

    def on_reset(self, request: ResetScene.Request, response: ResetScene.Response) -> ResetScene.Response:
        self.cube_m = sample_scene(get_task(request.task), request.seed).objects["cube"].position_m.copy()
        response.success = True
        return response

    def step(self) -> None:
        self.time_s = time.time() if self.real else self.time_s + PERIOD_S
        self.steps += 1
        if self.mode == RobotStatus.MODE_TRACKING:
            self.cube_m[0] += self.slide_m_s * PERIOD_S
            if self.time_s - self.command_s > STALE_S:
                self.mode = RobotStatus.MODE_HOLDING
        stamp = Time(nanoseconds=round(self.time_s * 1e9)).to_msg()
        tool = PoseStamped(pose=_pose(self.tool_m, TOOL_DOWN_WXYZ))
        cube = PoseStamped(pose=_pose(self.cube_m, np.array([1.0, 0.0, 0.0, 0.0])))
        for message in (tool, cube):
            message.header.frame_id, message.header.stamp = "panda_link0", stamp
        self.tcp_out.publish(tool)
        self.target_out.publish(tool)
        if not self.real:
            self.clock_out.publish(Clock(clock=stamp))
            self.truth_out.publish(cube)
        self.measured_out.publish(self.measured(cube))
        joints = JointState(position=[*HOME_JOINTS_RAD, self.width_m / 2, self.width_m / 2], velocity=[0.0] * 9)
        joints.header.stamp = stamp
        self.joints_out.publish(joints)
        self.status_out.publish(self.status(stamp))
        if self.image_out is not None and self.steps % PICTURE_STEPS == 0:
            picture = Image(height=2, width=2, step=6, encoding="rgb8", data=bytes(12))
            picture.header.stamp, picture.header.frame_id = stamp, "camera_optical_frame"
            self.image_out.publish(picture)

    def measured(self, cube: PoseStamped) -> PoseWithCovarianceStamped:
        message = PoseWithCovarianceStamped()
        message.header.stamp, message.header.frame_id = cube.header.stamp, cube.header.frame_id
        message.pose.pose = cube.pose
        if self.flawed and self.steps % 5 == 0:
            message.pose.pose = _pose(np.full(3, np.nan), np.array([1.0, 0.0, 0.0, 0.0]))
        if self.flawed and self.steps % 5 == 1:
            message.header.frame_id = "camera"
        return message

    def status(self, stamp: object) -> RobotStatus:
        faults = ["cartesian_reflex"] if self.mode == RobotStatus.MODE_FAULT else []
        status = RobotStatus(mode=self.mode, faults=faults, gripper_width_m=self.width_m)
        status.gripper_busy = self.held and self.closing
        status.grasped = self.held and not self.closing
        status.robot_time_s, status.commander, status.refused_commands = self.time_s, self.commander(), self.refused
        status.header.stamp = stamp
        action = make_contract("push_cube").action
        status.limits.max_step_m, status.limits.max_step_rad = action.position_scale_m, action.rotation_scale_rad
        status.limits.leash_m, status.limits.leash_rad = action.leash_m, action.leash_rad
        status.limits.workspace_min_m = list(action.workspace_min_m)
        status.limits.workspace_max_m = list(action.workspace_max_m)
        return status


def _pose(position_m: FloatArray, quat_wxyz: FloatArray) -> PoseMsg:
    message = PoseMsg()
    message.position.x, message.position.y, message.position.z = (float(value) for value in position_m)
    turn = message.orientation
    turn.w, turn.x, turn.y, turn.z = (float(value) for value in quat_wxyz)
    return message


def main() -> None:
    """Publish until SIGTERM."""
    stop = threading.Event()
    rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    signal.signal(signal.SIGINT, lambda *_: stop.set())
    executor = SingleThreadedExecutor()
    executor.add_node(RobotStandIn(float(sys.argv[1]) if len(sys.argv) > 1 else 0.2, sys.argv[2:]))
    while not stop.is_set():
        executor.spin_once(timeout_sec=0.1)
    executor.shutdown()
    rclpy.try_shutdown()


if __name__ == "__main__":
    main()
