# shellcheck shell=bash
# The same project file, server and account for jobflow-remote 1.0.1 and for JobFerry. Sourced by `run`.
# Each runs no-op jobs of its own kind: Python jobs whose `execution_cmd` writes a result at once, and command jobs.
# shellcheck disable=SC2154

# shellcheck source=tests/services/peer.sh
. "$here/../services/peer.sh"

peer_process=

# The peer does not run as root (it cannot read the state of kernel threads): then as this account, as JobFerry does here.
ordinary_account=nobody

install_peer() {
    peer=$(peer_place)
    [ ! -e "$peer/complete" ] || return 0
    progress "installing jobflow-remote $peer_version into $peer"
    make_peer "$peer" >&2 && return 0
    progress "jobflow-remote cannot be installed: it is left out"
    return 1
}

# Runs a command as an ordinary user.
as_user() {
    local user
    user=$(id -un)
    set -- env HOME="$place/home" USER="$user" LOGNAME="$user" "$@"
    if [ "$(id -u)" != 0 ]; then "$@"; return; fi
    set -- "${@/#USER=*/USER=$ordinary_account}"
    set -- "${@/#LOGNAME=*/LOGNAME=$ordinary_account}"
    setpriv --reuid "$ordinary_account" --regid "$(id -g "$ordinary_account")" --clear-groups "$@"
}

# A project file that both read. Delays are as short as the peer takes them.
new_peer_project() {
    new_project "$1" mongodb
    mkdir -p "$place/home"
    local server=${JF_TEST_MONGODB_URI#mongodb://}
    server=${server%%/*}
    local store="type: MongoStore, host: ${server%:*}, port: ${server#*:}, database: $1"
    install -m 755 "$here/noop_execution" "$work/bin/noop_execution"
    cat >"$place/projects/bench.yaml" <<END
name: bench
log_level: info
base_dir: $place/base
runner: {delay_checkout: 1, delay_check_run_status: 1, delay_advance_status: 1, delay_refresh_limited: 60, delay_update_batch: 1}
workers:
  here: {type: local, scheduler_type: shell, work_dir: $place/work, execution_cmd: "$work/bin/noop_execution {}", timeout_execute: 60}
queue: {store: {$store, collection_name: jobs}}
jobstore: {docs_store: {$store, collection_name: outputs}}
END
    mkdir -p "$place/base" "$place/work"
    [ "$(id -u)" != 0 ] || chown -R "$ordinary_account" "$place"
    as_user "$peer/bin/jf" -p bench admin reset -y >"$place/reset.log" 2>&1 ||
        fail "the peer's database: $(tail -n 5 "$place/reset.log")"
}

stop_peer() {
    [ -z "$peer_process" ] || kill "$peer_process" 2>/dev/null
    [ -z "$peer_process" ] || wait "$peer_process" 2>/dev/null
    peer_process=
}

# Waits for the end of all jobs and notes the rate since $2 (microseconds since 1970): rate_since RUNNER BEGIN_US.
rate_since() {
    wait_completed "$jobs" 900
    note "$1" peer "$(per_second "$jobs" "$2" "$(time_of last updated_on)000")"
}

measure_peer() {
    local begin
    install_peer || return
    new_peer_project peer_theirs
    as_user "$peer/bin/jf" -p bench runner run >"$place/runner.log" 2>&1 &
    peer_process=$!
    # It imports for some seconds; from then on it looks for jobs every second.
    sleep 10
    # Its clock begins when its submission, which takes a while in Python, is done.
    begin=$(as_user "$peer/bin/python" "$here/submit_python_jobs.py" bench here "$jobs" 2>"$place/submit.log" | tail -n 1)
    [ -n "$begin" ] || fail "the submission: $(tail -n 5 "$place/submit.log")"
    rate_since theirs "$begin"
    stop_peer
    new_peer_project peer_ours
    as_user "$work/bin/jf" -p bench runner run --log warn >"$place/runner.log" 2>&1 &
    peer_process=$!
    sleep 2
    submit "$jobs" true
    rate_since ours "$(time_of first created_on)000"
    stop_peer
}

print_peer() {
    local theirs ours
    theirs=$(median "${result['theirs peer']}") ours=$(median "${result['ours peer']}")
    cat <<END

| $jobs no-op jobs in one flow, MongoDB, same project file and account, runner already up | jobs/s |
|---|---|
| jobflow-remote $peer_version, one process, jobs of Python with a no-op \`execution_cmd\` | $theirs |
| JobFerry, jobs of \`command: ["true"]\` | $ours |
| ratio | $(awk -v a="$ours" -v b="$theirs" 'BEGIN { printf "%.0f\n", a / b }') |
END
}
