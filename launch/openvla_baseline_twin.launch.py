"""ros2 launch vlajs openvla_baseline_twin.launch.py backend:=vlajs task:=push_cube"""

from launch import LaunchDescription
from vlajs.bringup import OPENVLA_BASELINE_TWIN
from vlajs.launching import launch_description


def generate_launch_description() -> LaunchDescription:
    """Twin with its camera, bridge and a VLA alone on robot time."""
    return launch_description(OPENVLA_BASELINE_TWIN)
