#!/usr/bin/env bash
# Runs trained policies on the twin and shows their results together:
#   scripts/demo.sh [TRIALS] [camera|truth] [TASK...]
# camera: twin's camera -> detector -> pose estimator -> policy; truth: the policy is told where the object is.
# Seeing costs time: the twin's clock, which all nodes follow, then goes slower (SPEED=1.0 on four cores or more).
# A policy that misses some trials does not stop the demo; the exit code tells whether all sessions ran to their end.
set -euo pipefail

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
TRIALS=${1:-20}
POSES=${2:-camera}
[ "$POSES" = camera ] && SPEED=${SPEED:-0.4} || SPEED=${SPEED:-1.0}
SEED=${DEMO_SEED:-31415} # the scenes follow from the seed alone, so everyone sees the same trials
INTERRUPTED=130

TASKS=("${@:3}")
[ ${#TASKS[@]} -gt 0 ] || TASKS=(push_cube pick_cube)
declare -A BUNDLES=(
    [push_cube]=policies/push_cube-ppo-seed1.safetensors
    [pick_cube]=policies/pick_cube-ppo-seed1.safetensors
    [lift_peg_upright]=policies/lift_peg_upright-vlajs-seed2.safetensors
)

for task in "${TASKS[@]}"; do
    [ -n "${BUNDLES[$task]:-}" ] || { echo "demo: no policy for task '$task', there are: ${!BUNDLES[*]}" >&2 && exit 2; }
done
[[ $TRIALS =~ ^[1-9][0-9]*$ ]] || { echo "demo: TRIALS is '$TRIALS', give a whole number from 1" >&2 && exit 2; }
[[ $POSES =~ ^(camera|truth)$ ]] || { echo "demo: POSES is '$POSES', give camera or truth" >&2 && exit 2; }
cd "$ROOT"
# Nothing of the demo leaves this machine, nor meets another ROS 2 graph on it.
export ROS_AUTOMATIC_DISCOVERY_RANGE=LOCALHOST ROS_DOMAIN_ID=${ROS_DOMAIN_ID:-42}

output=$(mktemp)
trap 'rm -f "$output"' EXIT
started=$(date +%Y%m%d-%H%M%S)
status=0
results=()
for task in "${TASKS[@]}"; do
    bundle=${BUNDLES[$task]}
    folder=sessions/$started-demo-$task
    echo "== $task: $TRIALS trials of $bundle on the twin, object poses: $POSES"
    code=0
    # tee outlives Ctrl-C, so that the session can say how to resume
    .venv/bin/vlajs session run --task "$task" --checkpoint "$bundle" --launch twin --trials "$TRIALS" --seed "$SEED" \
        --pose-source "$POSES" --launch-args "speed:=$SPEED" --folder "$folder" | tee -i "$output" || code=$?
    [ "$code" -ne "$INTERRUPTED" ] || exit "$code"
    [ "$code" -eq 0 ] || status=1
    result=$(grep '^RESULT' "$output" | tail -n 1 || true)
    results+=("${result:-no result for $task: its session did not end, see above}")
    [ ! -f "$folder/report.html" ] || results+=("  report: $folder/report.html")
done
printf '\n'
printf '%s\n' "${results[@]}"
exit "$status"
