"""What the nodes agree on: qualities of service, a topic, and poses and times as messages."""

import numpy as np
from builtin_interfaces.msg import Time
from geometry_msgs.msg import Pose as PoseMsg
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from std_msgs.msg import Header

from vlajs.geometry import Pose, wxyz_from_xyzw, xyzw_from_wxyz
from vlajs.policy.deadline import NS_PER_S

STREAM_QOS = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
"""Of what comes again in a moment: joint states, poses, images."""

RELIABLE_QOS = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE)
"""Of commands and the bridge's status."""

LATCHED_QOS = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL)
"""Of what is said once: who subscribes later hears it too."""

JOINT_NAMES = [*(f"panda_joint{number}" for number in range(1, 8)), "panda_finger_joint1", "panda_finger_joint2"]
"""Of the arm and its fingers, in the order of every joint state."""

IMAGE_TOPIC = "/camera/image_raw"
FORGET_SERVICE = "/perception/forget"
"""Of the pose estimator: somebody has set the scene anew."""

CAMERA_INFO_TOPIC = "/camera/camera_info"
CAMERA_FRAME = "camera_optical_frame"
"""x right, y down, z ahead."""


def truth_topic(name: str) -> str:
    """Where the twin publishes the true pose of an object."""
    return f"/twin/objects/{name}/pose"


def stamp_ns_of(header: Header) -> int:
    """A header's stamp, nanoseconds."""
    return header.stamp.sec * NS_PER_S + header.stamp.nanosec


def stamp_of(stamp_ns: int) -> Time:
    """A message's stamp from nanoseconds."""
    return Time(sec=stamp_ns // NS_PER_S, nanosec=stamp_ns % NS_PER_S)


def pose_from(message: PoseMsg) -> Pose:
    """A pose in the frame of its header, as it came: perhaps not finite."""
    position, turn = message.position, message.orientation
    return Pose(
        position_m=np.array([position.x, position.y, position.z]),
        quat_wxyz=wxyz_from_xyzw([turn.x, turn.y, turn.z, turn.w]),
    )


def pose_message(pose: Pose) -> PoseMsg:
    """The message of a pose."""
    message = PoseMsg()
    position, turn = message.position, message.orientation
    position.x, position.y, position.z = pose.position_m.tolist()
    turn.x, turn.y, turn.z, turn.w = xyzw_from_wxyz(pose.quat_wxyz).tolist()
    return message
