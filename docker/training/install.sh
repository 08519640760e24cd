#!/usr/bin/env bash
# The steps of the training image, in the order of its layers. `project` runs in a clean checkout without a container.
#   system   what Ubuntu must bring: a Python, and the libraries SAPIEN and OpenCV load
#   project  the virtual environment and the pinned packages
set -euo pipefail

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)

case ${1:-} in
    system)
        DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends \
            git libegl1 libgl1 libglib2.0-0 libgomp1 libvulkan1 libx11-6 python3-dev python3-venv
        ;;
    project) PIP_NO_CACHE_DIR=1 "$ROOT/scripts/setup.sh" --profile training ;;
    *)
        echo "usage: $0 system|project" >&2
        exit 2
        ;;
esac
