# shellcheck shell=bash
# A Python with jobflow, as users of Python have it; nothing of JobFerry is installed there. Sourced by `up`.

jobflow_version=0.4.0

# Kept between runs, because it takes a minute to make: it depends on nothing of the test bed.
start_python() {
    local place=${XDG_CACHE_HOME:-$HOME/.cache}/jobferry-tests/python-jobflow-$jobflow_version
    if [ -n "${JF_TEST_PYTHON:-}" ]; then
        "$JF_TEST_PYTHON" -c 'import jobflow' || { cannot python "$JF_TEST_PYTHON has no jobflow"; return; }
        give JF_TEST_PYTHON "$JF_TEST_PYTHON"
        return 0
    fi
    if [ ! -e "$place/complete" ]; then
        packages python python3 python3-venv || return
        rm -rf "$place" && mkdir -p "$place"
        # shellcheck disable=SC2016 # The inner shell replaces them.
        timeout 600 sh -c 'python3 -m venv "$1" && "$1/bin/pip" install --quiet --disable-pip-version-check "jobflow==$2"' \
            sh "$place" "$jobflow_version" >"$JF_TEST_ROOT/log/python.log" 2>&1 </dev/null ||
            { show_log python; cannot python "jobflow cannot be installed"; return; }
        : >"$place/complete"
    fi
    give JF_TEST_PYTHON "$place/bin/python"
}
