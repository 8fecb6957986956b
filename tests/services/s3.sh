# shellcheck shell=bash
# An S3 server: moto's, the one of the Python package index that needs no account, no root and no disk. Sourced by `up`.

moto_version=5.2.5

start_s3() {
    local place=${XDG_CACHE_HOME:-$HOME/.cache}/jobferry-tests/python-moto-$moto_version
    if [ -n "${JF_TEST_S3:-}" ]; then
        give JF_TEST_S3_ENDPOINT "$JF_TEST_S3"
        return 0
    fi
    if [ ! -e "$place/complete" ]; then
        packages s3 python3 python3-venv || return
        talk "installing moto $moto_version into $place"
        rm -rf "$place" && mkdir -p "$place"
        # shellcheck disable=SC2016 # The inner shell replaces them.
        timeout 600 sh -c 'python3 -m venv "$1" && "$1/bin/pip" install --quiet --disable-pip-version-check "moto[s3,server]==$2"' \
            sh "$place" "$moto_version" >"$JF_TEST_ROOT/log/moto.log" 2>&1 </dev/null ||
            { show_log moto; cannot s3 "moto cannot be installed"; return; }
        : >"$place/complete"
    fi
    for _ in 1 2 3; do
        is_running s3 || daemon s3 "$place/bin/moto_server" -H 127.0.0.1 -p "$(port_of s3)"
        if wait_until 30 s3_listens_or_ended && is_running s3; then
            give JF_TEST_S3_ENDPOINT "http://127.0.0.1:$(port_of s3)"
            return 0
        fi
        stop s3
        forget_port s3
    done
    show_log s3
    return 1
}

s3_listens_or_ended() {
    listens s3 || ! is_running s3
}

stop_s3() {
    stop s3 10
}
