# shellcheck shell=bash
# step NAME SECONDS COMMAND ...: runs a command within its limit and within what is left of $deadline,
# keeps its output in $out/logs/NAME.log, notes how it ended in $record, and gives its status back.
# Sourced by run.sh, which sets $python, $here, $out, $work, $record, $minutes, $slower, $deadline
# and SECONDS.
: "${python:?}" "${here:?}" "${out:?}" "${work:?}" "${record:?}" "${minutes:?}" "${slower:?}"
: "${deadline:?}"
failures=0

step() {
    local name=$1 limit=$(($2 * slower)) left=$((deadline - SECONDS)) begin=$SECONDS status
    local log=$out/logs/$name.log
    shift 2
    if ((left < 5)); then
        printf '%-10s cut: %s minutes are over\n' "$name" "$minutes"
        note_step "$name" "$limit" 0 null
        return 1
    fi
    limit=$((limit < left ? limit : left))
    timeout --kill-after=5 "$limit" "$@" >"$log" 2>&1
    status=$?
    printf '%-10s status %d after %d of %d s\n' "$name" "$status" $((SECONDS - begin)) "$limit"
    tail -c 200000 "$log" >"$work/log" && mv "$work/log" "$log"
    note_step "$name" "$limit" $((SECONDS - begin)) "$status"
    return "$status"
}

note_step() { # name, limit, seconds, status; and the results so far, in case the run is killed
    printf '{"kind": "step", "name": "%s", "limit": %d, "seconds": %d, "status": %s}\n' "$@" \
        >>"$record"
    [[ $4 == 0 ]] || failures=$((failures + 1))
    "$python" "$here/collect.py" "$record" "$out" >/dev/null
}
