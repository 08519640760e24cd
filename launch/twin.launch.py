"""ros2 launch vlajs twin.launch.py checkpoint:=/path/policy.safetensors"""

from launch import LaunchDescription
from vlajs.bringup import TWIN
from vlajs.launching import launch_description


def generate_launch_description() -> LaunchDescription:
    """Twin, bridge and policy on robot time."""
    return launch_description(TWIN)
