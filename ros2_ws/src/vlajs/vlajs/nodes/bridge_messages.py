"""The bridge's messages: commands as they come in, what arm, hand and bridge say as it goes out."""

# pyright: reportPrivateImportUsage=false
# (rclpy does not mark its public names as exported)

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from geometry_msgs.msg import PoseStamped, Vector3
from rclpy.time import Time
from sensor_msgs.msg import JointState

from vlajs.control.bridge import BridgeStatus
from vlajs.control.command_filter import Command
from vlajs.control.ports import ArmReading, HandReading
from vlajs.control.target import TargetLimits
from vlajs.geometry import FloatArray, Pose
from vlajs.nodes.messages import JOINT_NAMES, pose_message, stamp_ns_of
from vlajs.policy.contract import BASE_FRAME
from vlajs.policy.deadline import NS_PER_S
from vlajs.robot.hand import fingers_m
from vlajs.states import RobotMode
from vlajs_msgs.msg import EndEffectorDelta, MotionLimits, RobotStatus


def frame_refusal(message: EndEffectorDelta) -> str | None:
    """Why increments in this frame cannot be carried out; None if they can."""
    if message.header.frame_id != BASE_FRAME:
        return f"the command is in frame {message.header.frame_id!r}, increments must be in {BASE_FRAME!r}"
    return None


def command_from(message: EndEffectorDelta, now_ns: int) -> Command:
    """The command as received at ``now_ns`` on the clock that its stamp is on."""
    return Command(
        source=message.source,
        sequence=message.sequence,
        delta_pos_m=_vector(message.delta_pos_m),
        delta_rotvec_rad=_vector(message.delta_rotvec_rad),
        gripper_width_m=message.gripper_width_m,
        age_s=(now_ns - stamp_ns_of(message.header)) / NS_PER_S,
    )


def _vector(message: Vector3) -> FloatArray:
    return np.array([message.x, message.y, message.z])


def stamped(pose_in_base: Pose, now: Time) -> PoseStamped:
    """A pose in the base frame."""
    message = PoseStamped()
    message.header.stamp, message.header.frame_id = now.to_msg(), BASE_FRAME
    message.pose = pose_message(pose_in_base)
    return message


def joints_message(arm: ArmReading, hand: HandReading, now: Time) -> JointState:
    """Seven joints and two fingers; the fingers' speed is not measured."""
    joints = JointState()
    joints.header.stamp, joints.header.frame_id = now.to_msg(), BASE_FRAME
    joints.name = JOINT_NAMES
    joints.position = [*arm.joints_rad.tolist(), *fingers_m(hand.width_m)]
    joints.velocity = [*arm.joint_velocities_rad_s.tolist(), 0.0, 0.0]
    return joints


def limits_message(limits: TargetLimits) -> MotionLimits:
    """What the bridge enforces."""
    return MotionLimits(
        max_step_m=limits.max_step_m,
        max_step_rad=limits.max_step_rad,
        leash_m=limits.leash_m,
        leash_rad=limits.leash_rad,
        workspace_min_m=list(limits.workspace_min_m),
        workspace_max_m=list(limits.workspace_max_m),
    )


def status_message(status: BridgeStatus, limits: MotionLimits, now: Time) -> RobotStatus:
    """What the bridge is doing."""
    message = RobotStatus()
    message.header.stamp, message.header.frame_id = now.to_msg(), BASE_FRAME
    message.mode = int(status.mode)
    message.faults = list(status.faults)
    message.grasped = status.hand.grasped
    message.gripper_busy = status.hand.busy
    message.gripper_width_m = status.hand.width_m
    message.gripper_command_m = status.hand.command_m
    message.held = status.mode == RobotMode.HOLDING
    message.last_command_age_s = status.last_command_age_s
    message.last_sequence = status.last_sequence
    message.refused_commands = status.refused_commands
    message.commander = status.commander
    message.robot_time_s = 0.0 if status.arm is None else status.arm.robot_time_s
    message.limits = limits
    return message


def diagnostics_message(status: BridgeStatus, robot_ip: str, late_ticks: int, now: Time) -> DiagnosticArray:
    """The bridge's health."""
    ill = status.mode in (RobotMode.FAULT, RobotMode.DISCONNECTED)
    entry = DiagnosticStatus(
        name="franka_bridge",
        hardware_id=robot_ip,
        level=DiagnosticStatus.ERROR if ill else DiagnosticStatus.OK,
        message="; ".join(status.faults) or status.mode.name,
        values=[
            KeyValue(key="mode", value=status.mode.name),
            KeyValue(key="refused_commands", value=str(status.refused_commands)),
            KeyValue(key="late_ticks", value=str(late_ticks)),
        ],
    )
    message = DiagnosticArray(status=[entry])
    message.header.stamp = now.to_msg()
    return message
