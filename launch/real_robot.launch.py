"""ros2 launch vlajs real_robot.launch.py robot_ip:=172.16.0.2 checkpoint:=/path/policy.safetensors"""

from launch import LaunchDescription
from vlajs.bringup import REAL_ROBOT
from vlajs.launching import launch_description


def generate_launch_description() -> LaunchDescription:
    """Bridge and policy on an arm."""
    return launch_description(REAL_ROBOT)
