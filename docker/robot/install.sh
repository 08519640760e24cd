#!/usr/bin/env bash
# The steps of the robot image, in the order of its layers. They run outside a container too:
#   docker/robot/install.sh project      (a clean checkout; no container engine, no root)
#
#   system   what Ubuntu must bring beyond ros:jazzy; scripts/setup.sh would install it too, but a layer of its own
#            survives a change of the sources
#   project  the virtual environment, the pinned packages and the ROS packages
set -euo pipefail

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)

case ${1:-} in
    system)
        DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends \
            cmake g++ git libgomp1 make python3-colcon-common-extensions python3-dev python3-venv
        ;;
    project)
        if [ -z "${ROS_DISTRO:-}" ] || [ ! -f "/opt/ros/${ROS_DISTRO}/setup.bash" ]; then
            echo "no ROS 2 under /opt/ros: it comes from the wheels of requirements/ros.txt"
        else
            set +u
            # shellcheck disable=SC1090,SC1091
            . "/opt/ros/${ROS_DISTRO}/setup.bash"
            set -u
        fi
        PIP_NO_CACHE_DIR=1 "$ROOT/scripts/setup.sh" --profile robot
        "$ROOT/.venv/bin/python" "$ROOT/docker/robot/check.py"
        ;;
    *)
        echo "usage: $0 system|project" >&2
        exit 2
        ;;
esac
