"""Publishes the same increment to the bridge at 20 Hz until killed: a source of commands as a process of its own."""

import argparse
import itertools
import time

import rclpy
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy

from vlajs_msgs.msg import EndEffectorDelta

RATE_HZ = 20.0


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--source", required=True)
    parser.add_argument("--delta-pos-m", type=float, nargs=3, required=True)
    arguments = parser.parse_args()
    rclpy.init()
    node = Node(f"stream_{arguments.source}")
    publisher = node.create_publisher(
        EndEffectorDelta, "/command/ee_delta", QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE)
    )
    start_s = time.monotonic()
    for sequence in itertools.count():
        message = EndEffectorDelta(source=arguments.source, sequence=sequence, gripper_width_m=0.08)
        message.header.frame_id = "panda_link0"
        message.header.stamp = node.get_clock().now().to_msg()
        delta = message.delta_pos_m
        delta.x, delta.y, delta.z = arguments.delta_pos_m
        publisher.publish(message)
        time.sleep(max(0.0, start_s + (sequence + 1) / RATE_HZ - time.monotonic()))


if __name__ == "__main__":
    main()
