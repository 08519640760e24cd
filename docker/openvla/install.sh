#!/usr/bin/env bash
# The steps of the OpenVLA image, in the order of its layers. `project` runs in a clean checkout without a container.
#   system   what Ubuntu must bring: a Python with its headers (bitsandbytes' kernels may be compiled at run time)
#   project  the virtual environment and the pinned packages
set -euo pipefail

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
VENV=$ROOT/.venv

# The pins of OpenVLA's environment, and of constraints.txt those that they do not replace.
merged_constraints() {
    awk -F'==' '/^#/ || NF == 0 { next } NR == FNR { replaced[$1] = 1; print; next } !($1 in replaced)' \
        "$ROOT/requirements/constraints-openvla.txt" "$ROOT/requirements/constraints.txt"
}

install_project() {
    "${PYTHON:-python3}" -m venv "$VENV"
    mkdir -p "$ROOT/build"
    merged_constraints >"$ROOT/build/constraints-openvla.txt"
    local install=("$VENV/bin/python" -m pip install --no-cache-dir --disable-pip-version-check
        -c "$ROOT/build/constraints-openvla.txt")
    "${install[@]}" setuptools
    "${install[@]}" -r "$ROOT/requirements/openvla.txt"
    # Without their dependencies: the simulator and the arm's libraries are not needed to serve or fine-tune a model.
    "${install[@]}" --no-deps --no-build-isolation -e "$ROOT/ros2_ws/src/vlajs" -e "$ROOT/training"
    "$VENV/bin/vlajs" teacher serve --help >/dev/null
    "$VENV/bin/vlajs" teacher finetune --help >/dev/null
    "$VENV/bin/python" -c "import vlajs_training.vla_server.openvla, transformers, timm, peft"
}

case ${1:-} in
    system)
        DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends \
            gcc libgomp1 python3-dev python3-venv
        ;;
    project) install_project ;;
    *)
        echo "usage: $0 system|project" >&2
        exit 2
        ;;
esac
