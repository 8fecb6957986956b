# shellcheck shell=bash
# What is measured, and how. Sourced by `run`, which sets $work, $jobs, $listed, $rounds and $stores.
#
# Nothing is removed before the end: ext4 without a journal makes files very slowly for minutes after many were removed
# (it passes over the inodes freed last, one by one), and that would be measured with the next runs.
# shellcheck disable=SC2154

# Results: "<what> <store>" → one number per run, separated by blanks.
declare -A result

# Jobs per flow file when the stores are filled.
fill_batch=10000

# Runs of each listing: the median of these is shown.
listing_runs=20

# Seconds over which an idle daemon is watched: a clock tick of 1/100 s is then 0.1 % of a core.
idle_seconds=10

progress() {
    echo "tests/bench: $*" >&2
}

fail() {
    progress "$*"
    exit 1
}

# Notes a number: note WHAT STORE NUMBER.
note() {
    result["$1 $2"]+="${result["$1 $2"]:+ }$3"
    progress "$2: $1 = $3"
}

# The median of the numbers in $*; a dash without any.
median() {
    [ $# -gt 0 ] || { echo -; return; }
    printf '%s\n' "$@" | sort -g | awk '{ n[NR] = $1 }
        END { m = NR % 2 ? n[(NR + 1) / 2] : (n[NR / 2] + n[NR / 2 + 1]) / 2
              if (m >= 100) printf "%.0f\n", m; else if (m >= 10) printf "%.1f\n", m; else printf "%.2f\n", m }'
}

now_us() {
    echo "${EPOCHREALTIME/[.,]/}"
}

# per_second COUNT BEGIN_US END_US
per_second() {
    awk -v n="$1" -v b="$2" -v e="$3" 'BEGIN { printf "%.1f\n", n * 1000000 / (e - b) }'
}

build() {
    mkdir -p "$work/bin"
    if [ -z "${JF_BENCH_BINARY:-}" ]; then
        local cargo=${CARGO:-cargo}
        progress "building the release binary"
        "$cargo" build --release --bin jf >&2 || fail "the build failed"
        JF_BENCH_BINARY=$("$cargo" metadata --format-version 1 --no-deps | sed -E 's/.*"target_directory":"([^"]*)".*/\1/')/release/jf
    fi
    # A copy: a build that runs meanwhile must not exchange it, and the peer's account must reach it.
    install -m 755 "$JF_BENCH_BINARY" "$work/bin/jf" || fail "no binary at $JF_BENCH_BINARY"
    PATH=$work/bin:$PATH
}

# new_project NAME STORE: an empty project with one local worker; `jf` acts on it from now on.
new_project() {
    place=$work/$1
    mkdir -p "$place/projects"
    export JFREMOTE_PROJECTS_FOLDER=$place/projects
    {
        echo "name: bench"
        echo "base_dir: $place/base"
        printf 'workers:\n  here: {type: local, scheduler_type: shell, work_dir: %s}\n' "$place/work"
        if [ "$2" = mongodb ]; then
            local store="type: MongoURIStore, uri: '$JF_TEST_MONGODB_URI', database: $1"
            echo "queue: {store: {$store, collection_name: jobs}}"
            echo "jobstore: {docs_store: {$store, collection_name: outputs}}"
        fi
    } >"$place/projects/bench.yaml"
}

# flow_file FILE COUNT COMMAND: a flow of COUNT jobs of the same command.
flow_file() {
    printf 'flow: bench\njobs:\n  job:\n    for: {n: {from: 1, to: %s}}\n    command: ["%s"]\n' "$2" "$3" >"$1"
}

# The number of jobs in the state $1.
count() {
    jf job list --json --count --state "$1" | tr -cd 0-9
}

# Submits $1 jobs of the command $2 as one flow.
submit() {
    flow_file "$place/flow.yaml" "$1" "$2"
    jf submit "$place/flow.yaml" >/dev/null 2>"$place/submit.log" || fail "jf submit: $(cat "$place/submit.log")"
}

# One whole run and, in the same minute, the raw limit on its scripts.
measure_run() {
    local begin end
    new_project "run_$1_$2" "$1"
    submit "$jobs" true
    begin=$(now_us)
    jf runner run --until-idle --max-seconds 600 --log warn 2>"$place/runner.log" ||
        fail "the runner: $(tail -n 5 "$place/runner.log")"
    end=$(now_us)
    [ "$(count COMPLETED)" = "$jobs" ] || fail "not all jobs are COMPLETED"
    note run "$1" "$(per_second "$jobs" "$begin" "$end")"
    measure_raw "$1"
    note share "$1" "$(awk -v a="${result["run $1"]##* }" -v b="${result["raw $1"]##* }" 'BEGIN { printf "%.1f\n", 100 * a / b }')"
}

# The very same scripts, in copies of their run directories as they were before the run, started by xargs.
measure_raw() {
    local begin end copy=$place/wrok
    cp -a "$place/work" "$copy"
    find "$copy" -type f \( -name stdout -o -name stderr -o -name 'queue.*' -o -path '*/.jobferry/*' ! -name body \) -delete
    # The scripts name their directories: let them name the copies. Both names are of the same length.
    find "$copy" -name submit.sh -exec sed -i "s|$place/work|$copy|g" {} +
    find "$copy" -name submit.sh >"$place/scripts"
    begin=$(now_us)
    xargs -P 4 -n 1 bash <"$place/scripts" >/dev/null 2>&1
    end=$(now_us)
    [ "$(find "$copy/.jobferry/ended" -type f | wc -l)" = "$jobs" ] || fail "not all scripts have run"
    note raw "$1" "$(per_second "$jobs" "$begin" "$end")"
}

# Milliseconds since 1970 of the time that comes $1 (first, last) among the field $2 of all jobs.
time_of() {
    local times
    times=$(jf job list --json -m 0 | sed -nE "s/.*\"$2\": *\"([^\"]*)\".*/\1/p" | sort)
    if [ "$1" = first ]; then times=${times%%[[:space:]]*}; else times=${times##*[[:space:]]}; fi
    date -d "$times" +%s%3N
}

daemon_pid() {
    jf runner status --json | grep -o '"daemon_pid": *[0-9]*' | tr -cd 0-9
}

# The CPU time of process $1 so far, user and system, in clock ticks.
ticks_of() {
    local stat
    read -r stat <"/proc/$1/stat"
    # shellcheck disable=SC2086
    set -- ${stat##*) }
    echo $((${12} + ${13}))
}

start_daemon() {
    jf runner start --log warn 2>"$place/start.log" || fail "runner start: $(cat "$place/start.log")"
    daemons+=("$JFREMOTE_PROJECTS_FOLDER")
}

stop_daemons() {
    local folder
    for folder in "${daemons[@]-}"; do
        [ -z "$folder" ] || JFREMOTE_PROJECTS_FOLDER=$folder jf runner stop >/dev/null 2>&1
    done
    daemons=()
}

# wait_completed COUNT SECONDS
wait_completed() {
    local end=$((SECONDS + $2))
    until [ "$(count COMPLETED)" = "$1" ]; do
        [ $SECONDS -lt $end ] || fail "not all jobs were done within $2 s"
        sleep 0.3
    done
}

# A daemon that is already up: rate from submission to the last completion, memory, CPU per job, CPU when idle.
measure_daemon() {
    local pid ticks hertz begin end
    hertz=$(getconf CLK_TCK)
    new_project "daemon_$1" "$1"
    start_daemon
    pid=$(daemon_pid)
    ticks=$(ticks_of "$pid")
    submit "$jobs" true
    wait_completed "$jobs" 300
    note cpu "$1" "$(awk -v t=$(($(ticks_of "$pid") - ticks)) -v h="$hertz" -v n="$jobs" 'BEGIN { printf "%.2f\n", 1000 * t / h / n }')"
    begin=$(time_of first created_on) end=$(time_of last updated_on)
    note daemon "$1" "$(per_second "$jobs" "${begin}000" "${end}000")"
    note memory "$1" "$(awk '/^VmHWM/ { printf "%.1f\n", $2 / 1000 }' "/proc/$pid/status")"
    sleep 3
    ticks=$(ticks_of "$pid")
    sleep "$idle_seconds"
    note idle "$1" "$(awk -v t=$(($(ticks_of "$pid") - ticks)) -v h="$hertz" -v s="$idle_seconds" 'BEGIN { printf "%.2f\n", 100 * t / h / s }')"
    stop_daemons
}

# The time of one command in ms, over and over: time_command WHAT STORE COMMAND…
time_command() {
    local what=$1 store=$2 times=() begin end
    shift 2
    for _ in $(seq $listing_runs); do
        begin=$(now_us)
        "$@" >/dev/null 2>&1 || fail "$* failed"
        end=$(now_us)
        times+=("$(awk -v b="$begin" -v e="$end" 'BEGIN { printf "%.2f\n", (e - b) / 1000 }')")
    done
    note "$what" "$store" "$(median "${times[@]}")"
}

# Listings of a full store: 200 FAILED jobs, then READY ones.
measure_listings() {
    local begin filled=0
    new_project "list_$1" "$1"
    submit 200 false
    jf runner run --until-idle --max-seconds 600 --log error 2>"$place/runner.log" ||
        fail "the runner: $(tail -n 5 "$place/runner.log")"
    while [ $filled -lt "$listed" ]; do
        begin=$(now_us)
        submit $fill_batch true
        note fill "$1" "$(per_second $fill_batch "$begin" "$(now_us)")"
        filled=$((filled + fill_batch))
    done
    # What the fill has left behind (a log to be folded into the file, pages to be written) is not the listing's.
    sleep 2
    time_command spawn "$1" /bin/true
    time_command version "$1" jf --version
    time_command jobs "$1" jf job list
    time_command failed "$1" jf job list -s FAILED
    time_command flows "$1" jf flow list
}

# row LABEL WHAT UNIT TARGET
row() {
    local store cells=
    for store in $stores; do
        # shellcheck disable=SC2086
        cells+=" $(median ${result["$2 $store"]:-})$3 |"
    done
    printf '| %s |%s %s |\n' "$1" "$cells" "$4"
}

print_table() {
    local store head='' line=''
    for store in $stores; do head+=" $store |" line+='---|'; done
    cat <<END

JobFerry $(jf --version | tail -n 1 | awk '{ print $NF }') ($(git rev-parse --short HEAD 2>/dev/null || echo no git)), $(date -u '+%Y-%m-%d %H:%M UTC'), $(nproc) cores of $(sed -n 's/^model name[[:space:]]*: //p' /proc/cpuinfo | head -n 1), $(awk '/^MemTotal/ { printf "%.0f GB", $2 / 1e6 }' /proc/meminfo), Linux $(uname -r)
$(versions); files on $(stat -f -c %T "$work"); load before $load_before, after $(cut -d' ' -f1-3 /proc/loadavg); medians of $rounds runs (listings: $listing_runs)

| |$head target |
|---|$line---|
END
    row "$jobs no-op jobs, \`runner run --until-idle\`, jobs/s" run '' '≥ 200'
    row "the same scripts by \`xargs -P 4\`, jobs/s" raw '' ''
    row 'share of that limit' share ' %' ''
    row "$jobs no-op jobs, daemon already up, from submission to the last completion, jobs/s" daemon '' '≥ 200'
    row "daemon after $jobs jobs, largest memory (VmHWM), MB" memory '' '< 60'
    row 'daemon, CPU per job, ms' cpu '' ''
    row "daemon idle, CPU over $idle_seconds s" idle ' %' '< 0.5 %'
    row "\`jf submit\` of $fill_batch jobs in one flow file, jobs/s" fill '' ''
    row "\`jf job list\`, $listed jobs, ms" jobs '' '< 50'
    row "\`jf job list -s FAILED\`, $listed jobs, ms" failed '' '< 50'
    row "\`jf flow list\`, $listed jobs, ms" flows '' ''
    row "\`jf --version\`, ms" version '' ''
    row "\`/bin/true\`, ms" spawn '' ''
}

versions() {
    printf 'bash %s' "${BASH_VERSION%%(*}"
    [ -z "${JF_TEST_MONGODB_URI:-}" ] || printf ', mongod %s' "$("$(find_server)" --version | sed -n 's/^db version v//p')"
}

# The program of the server that tests/services/up started.
find_server() {
    local id
    read -r id _ <"$JF_TEST_ROOT/process/mongodb" && readlink "/proc/$id/exe"
}

daemons=()
