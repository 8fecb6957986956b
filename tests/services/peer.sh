# shellcheck shell=bash
# A Python with the peer, jobflow-remote: its own runner, controller and `jf`, to compare ours with. Sourced by `up` and by
# tests/bench/peer.sh.

peer_version=1.0.1

# Kept between runs, because it takes minutes to make. Root's own cache cannot be read by others, as whom the benchmark runs it.
peer_place() {
    if [ "$(id -u)" = 0 ]; then echo /var/cache/jobferry-tests/peer-jobflow-remote-$peer_version; else
        echo "${XDG_CACHE_HOME:-$HOME/.cache}/jobferry-tests/peer-jobflow-remote-$peer_version"
    fi
}

# make_peer PLACE: its output says why it failed.
make_peer() {
    local python=python3
    # A Python of root's own (pyenv) cannot be read by others either.
    [ "$(id -u)" != 0 ] || [ ! -x /usr/bin/python3 ] || python=/usr/bin/python3
    rm -rf "$1" && mkdir -p "$1" &&
        timeout 900 "$python" -m venv "$1" &&
        timeout 900 "$1/bin/pip" install --quiet --disable-pip-version-check "jobflow-remote==$peer_version" &&
        : >"$1/complete"
}

start_peer() {
    local place
    if [ -n "${JF_TEST_PEER_PYTHON:-}" ]; then
        "$JF_TEST_PEER_PYTHON" -c 'import jobflow_remote' >/dev/null 2>&1 ||
            { cannot peer "$JF_TEST_PEER_PYTHON has no jobflow_remote"; return; }
        give JF_TEST_PEER_PYTHON "$JF_TEST_PEER_PYTHON"
        return 0
    fi
    place=$(peer_place)
    if [ ! -e "$place/complete" ]; then
        packages peer python3 python3-venv || return
        talk "installing jobflow-remote $peer_version into $place"
        make_peer "$place" >"$JF_TEST_ROOT/log/peer.log" 2>&1 </dev/null ||
            { show_log peer; cannot peer "jobflow-remote cannot be installed"; return; }
    fi
    give JF_TEST_PEER_PYTHON "$place/bin/python"
}
