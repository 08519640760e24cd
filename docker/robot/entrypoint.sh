#!/usr/bin/env bash
# Sources ROS 2 and our overlay, puts `vlajs` on the path, then becomes the command.
set -e
# shellcheck disable=SC1090,SC1091
. "/opt/ros/${ROS_DISTRO:-jazzy}/setup.bash"
. /opt/vlajs/ros2_ws/install/setup.bash
export PATH=/opt/vlajs/.venv/bin:$PATH
exec "$@"
