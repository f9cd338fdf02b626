#!/usr/bin/env bash
# Builds, tests, measures and sanitizes on a machine with a CUDA device and no network.
#
#     benchmarks/gpu/pack.sh                          # before, where there is a network
#     benchmarks/gpu/run.sh [--minutes N] [--dry]     # there
#
# Steps come in the order of their worth, each with its own time limit, log and exit status. A
# budget of fewer minutes cuts from the end. --dry lets the CPU stand in for the device: every step
# runs, on tiny inputs, with the d2-ops that is installed. $OUT gets <card>.json and logs/.
# The status is 0 if every step succeeded.
set -uo pipefail

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
python=${PYTHON:-python3}
minutes=8
slower=1
dry=()
while (($#)); do
    case $1 in
        --minutes) minutes=${2:?--minutes wants a number}; shift ;;
        --dry) dry=(--dry) ;;
        *) sed -n '2,/^set/s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
    esac
    shift
done
if [[ ! $minutes =~ ^[1-9][0-9]*$ ]]; then
    printf -- '--minutes wants a whole number of at least 1, got %s\n' "$minutes" >&2
    exit 2
fi

if ((${#dry[@]})); then
    out=${OUT:-$root/output/gpu-dry}
    export D2_GPU_STAND_IN=cpu CUDA_VISIBLE_DEVICES="" OMP_NUM_THREADS=1
    slower=5 # a busy machine must not make a dry run fail
else
    out=${OUT:-$root/benchmarks/results/gpu}
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$out/logs"
rm -f "$out"/logs/*.log

site=$work/site
record=$work/record.jsonl
modules=$site:$root/benchmarks
for package in config structures data modeling eval engine; do
    modules=$modules:$root/packages/d2-$package/src
done
export PYTHONPATH=$modules${PYTHONPATH:+:$PYTHONPATH}
export PYTHONUNBUFFERED=1 PIP_DISABLE_PIP_VERSION_CHECK=1
export D2_GPU_RECORD=$record
export PYTHON=$python
deadline=$((minutes * 60 * slower))
SECONDS=0
# shellcheck source=steps.sh
source "$here/steps.sh"

# The limits of all steps add up to the eight minutes of the default budget.
if ! step install 20 "$here/install.sh" "$site"; then
    cat "$out/logs/install.log" >&2
    exit 1
fi
if ! architecture=$(timeout 60 "$python" "$here/environment.py" "${dry[@]}"); then
    exit 1
fi
if ((${#dry[@]})); then
    # Everything but the compiler: the command, the build backend, its settings.
    step build 110 "$here/build.sh" "$architecture" "$work/built" -C wheel.cmake=false \
        -C wheel.py-api=py3
else
    step build 110 "$here/build.sh" "$architecture" "$site"
fi
step tests 75 "$python" "$here/device_tests.py" "${dry[@]}"
step operators 65 "$python" "$here/operators.py" "${dry[@]}"
step models 125 "$python" "$here/models.py" "${dry[@]}"
step sanitize 45 "$python" "$here/sanitize.py" "${dry[@]}"
step training 40 "$python" "$here/training_loop.py" "${dry[@]}"

"$python" "$here/table.py" "$("$python" "$here/collect.py" "$record" "$out")"
exit $((failures > 0))
