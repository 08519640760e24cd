"""What the twin tells its camera, as messages: true joints, and true poses of objects and goal markers, of one tick."""

import numpy as np
from geometry_msgs.msg import Transform
from sensor_msgs.msg import JointState, MultiDOFJointState

from vlajs.geometry import Pose, wxyz_from_xyzw, xyzw_from_wxyz
from vlajs.nodes.messages import JOINT_NAMES, stamp_ns_of, stamp_of
from vlajs.policy.contract import BASE_FRAME
from vlajs.twin.seen import SeenState

TRUE_JOINTS_TOPIC = "/twin/joint_states"
BODIES_TOPIC = "/twin/bodies"
_ARM_JOINTS = 7


def joints_message(seen: SeenState) -> JointState:
    """Seven true joints and two fingers."""
    message = JointState(name=JOINT_NAMES, position=[*seen.joints_rad.tolist(), *seen.fingers_m.tolist()])
    message.header.stamp, message.header.frame_id = stamp_of(seen.stamp_ns), BASE_FRAME
    return message


def bodies_message(seen: SeenState) -> MultiDOFJointState:
    """The pose of every object and goal marker, by name."""
    message = MultiDOFJointState(joint_names=list(seen.bodies), transforms=list(map(_transform, seen.bodies.values())))
    message.header.stamp, message.header.frame_id = stamp_of(seen.stamp_ns), BASE_FRAME
    return message


def seen_from(joints: JointState, bodies: MultiDOFJointState) -> SeenState:
    """The state of the tick that both messages are of.

    Raises:
        ValueError: they are of different ticks, of other joints or in another frame, or hold numbers that are no state.
    """
    stamps_ns = stamp_ns_of(joints.header), stamp_ns_of(bodies.header)
    if stamps_ns[0] != stamps_ns[1]:
        raise ValueError(f"joints are of {stamps_ns[0]} ns and bodies of {stamps_ns[1]} ns: match them by stamp")
    for name, frame in ((TRUE_JOINTS_TOPIC, joints.header.frame_id), (BODIES_TOPIC, bodies.header.frame_id)):
        if frame != BASE_FRAME:
            raise ValueError(f"{name} is in frame {frame!r}, must be {BASE_FRAME!r}: does another node publish it?")
    if list(joints.name) != JOINT_NAMES or len(joints.position) != len(JOINT_NAMES):
        raise ValueError(
            f"{TRUE_JOINTS_TOPIC} has joints {list(joints.name)} with {len(joints.position)} positions, must be "
            f"{JOINT_NAMES}: does another node publish it?"
        )
    if len(bodies.joint_names) != len(bodies.transforms):
        raise ValueError(f"{BODIES_TOPIC} has {len(bodies.joint_names)} names and {len(bodies.transforms)} transforms")
    positions = np.array(joints.position, dtype=np.float64)
    return SeenState(
        stamp_ns=stamps_ns[0],
        joints_rad=positions[:_ARM_JOINTS],
        fingers_m=positions[_ARM_JOINTS:],
        bodies={name: _pose(item) for name, item in zip(bodies.joint_names, bodies.transforms, strict=True)},
    )


def _transform(pose: Pose) -> Transform:
    message = Transform()
    place, turn = message.translation, message.rotation
    place.x, place.y, place.z = pose.position_m.tolist()
    turn.x, turn.y, turn.z, turn.w = xyzw_from_wxyz(pose.quat_wxyz).tolist()
    return message


def _pose(message: Transform) -> Pose:
    place, turn = message.translation, message.rotation
    return Pose(
        position_m=np.array([place.x, place.y, place.z]),
        quat_wxyz=wxyz_from_xyzw([turn.x, turn.y, turn.z, turn.w]),
    )
