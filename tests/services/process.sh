# shellcheck shell=bash
# Starting, finding again and stopping the processes of one test bed. Sourced by the scripts beside it.
#
# A process is known by its id AND its start time (field 22 of /proc/ID/stat): after a kill -9 the kernel may give the
# id to a stranger, and a stranger must never be stopped.

# The start time of process $1 in clock ticks since boot; empty when there is no such process.
start_time_of() {
    local stat
    stat=$(cat "/proc/$1/stat" 2>/dev/null) || return 0
    # The command name in parentheses may hold spaces; what follows the last ")" begins with field 3.
    # shellcheck disable=SC2086
    set -- ${stat##*) }
    # A zombie has ended; only its parent has not asked yet.
    [ "$1" = Z ] || echo "${20}"
}

# Succeeds when the process recorded in file $1 ("id start-time") is still that process.
is_alive() {
    local id started
    [ -s "$1" ] || return 1
    read -r id started <"$1"
    [ -n "$id" ] && [ -n "$started" ] && [ "$(start_time_of "$id")" = "$started" ]
}

# Records process $2 in file $1.
record_process() {
    printf '%s %s\n' "$2" "$(start_time_of "$2")" >"$1"
}

# daemon NAME COMMAND…: starts a command that stays in the foreground, in a session of its own, log in log/NAME.log.
daemon() {
    local name=$1
    shift
    # Descriptor 9 is the lock of `up`; a daemon that inherits it would hold the lock for ever.
    setsid "$@" </dev/null >>"$JF_TEST_ROOT/log/$name.log" 2>&1 9>&- &
    record_process "$JF_TEST_ROOT/process/$name" $!
}

is_running() {
    is_alive "$JF_TEST_ROOT/process/$1"
}

# stop NAME [SECONDS]: TERM, then after SECONDS (10) KILL, to exactly the recorded process. Succeeds when it is gone.
stop() {
    local file=$JF_TEST_ROOT/process/$1 id
    if is_alive "$file"; then
        read -r id _ <"$file"
        kill -TERM "$id" 2>/dev/null
        wait_until "${2:-10}" ended "$file" || kill -KILL "$id" 2>/dev/null
        wait_until 5 ended "$file" || { talk "$1 (process $id) does not end"; return 1; }
    fi
    rm -f "$file"
}

ended() {
    ! is_alive "$1"
}

# wait_until SECONDS COMMAND…: runs the command every 0.1 s until it succeeds; fails when the time is over.
wait_until() {
    local tries=$(($1 * 10))
    shift
    while ! "$@" >/dev/null 2>&1; do
        tries=$((tries - 1))
        [ "$tries" -gt 0 ] || return 1
        sleep 0.1
    done
}

# The port of service $1, the same at every call until forget_port. Below the ports the kernel hands out for outgoing
# connections, so that none of those takes it in the meantime.
port_of() {
    local file=$JF_TEST_ROOT/port/$1 port
    if [ ! -s "$file" ]; then
        while :; do
            port=$((20000 + (RANDOM * 32768 + RANDOM) % 12000))
            grep -qsx "$port" "$JF_TEST_ROOT"/port/* && continue
            answers "$port" || break
        done
        echo "$port" >"$file"
    fi
    cat "$file"
}

forget_port() {
    rm -f "$JF_TEST_ROOT/port/$1"
}

# Succeeds when somebody listens on port $1 of the loopback address.
answers() {
    (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null
}

# Succeeds when service $1 runs and its port answers; for start loops, where a dead process must end the wait.
listens() {
    is_running "$1" && answers "$(port_of "$1")"
}

talk() {
    echo "tests/services: $*" >&2
}

# Says why a service cannot be had here, as one visible line, and remembers it for tests/run.
cannot() {
    echo "SKIPPED service $1: $2" >&2
    return 77
}

# Shows the end of log $1, for a service that did not come up.
show_log() {
    talk "last lines of $JF_TEST_ROOT/log/$1.log:"
    tail -n 15 "$JF_TEST_ROOT/log/$1.log" >&2 || true
}

# packages SERVICE NAME…: installs the Debian packages that are missing. Fails with 77, and says so, where it cannot.
packages() {
    local service=$1 missing=() name policy=/usr/sbin/policy-rc.d
    shift
    for name in "$@"; do
        dpkg-query -W -f '${db:Status-Status}' "$name" 2>/dev/null | grep -qx installed || missing+=("$name")
    done
    [ ${#missing[@]} -gt 0 ] || return 0
    command -v apt-get >/dev/null || { cannot "$service" "needs Debian (no apt-get here)"; return; }
    [ "$(id -u)" = 0 ] || { cannot "$service" "needs root to install ${missing[*]}"; return; }
    if [ ! -e "$JF_TEST_ROOT/apt-updated" ]; then
        apt-get -o DPkg::Lock::Timeout=120 update >>"$JF_TEST_ROOT/log/apt.log" 2>&1 </dev/null
        : >"$JF_TEST_ROOT/apt-updated"
    fi
    # Debian starts a daemon as soon as it is installed (sshd on port 22!); this file says no while we install.
    [ -e "$policy" ] || { printf '#!/bin/sh\nexit 101\n' >"$policy"; chmod 755 "$policy"; policy_is_ours=1; }
    DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=120 install -y --no-install-recommends \
        "${missing[@]}" >>"$JF_TEST_ROOT/log/apt.log" 2>&1 </dev/null
    local result=$?
    [ -z "${policy_is_ours:-}" ] || rm -f "$policy"
    unset policy_is_ours
    [ $result = 0 ] || { show_log apt; cannot "$service" "apt-get could not install ${missing[*]}"; return; }
}

# Sets one variable of the test bed: now, and in the env file that tests read.
give() {
    export "$1=$2"
    printf "export %s='%s'\n" "$1" "$2" >>"$JF_TEST_ROOT/env.new"
}
