"""ros2 launch vlajs openvla_baseline.launch.py robot_ip:=172.16.0.2 backend:=openvla-rest convention:=openvla-bridge

with ``instruction:="..."`` or ``task:=...``.
"""

from launch import LaunchDescription
from vlajs.bringup import OPENVLA_BASELINE
from vlajs.launching import launch_description


def generate_launch_description() -> LaunchDescription:
    """Bridge and a VLA alone on an arm."""
    return launch_description(OPENVLA_BASELINE)
