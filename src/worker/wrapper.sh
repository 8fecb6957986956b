# The wrapper: POSIX shell, run by bash where there is one. Up to here the script has set jf_token, jf_run_dir, jf_spool,
# jf_grace, jf_id, jf_restarts and the function jf_header.
if [ "${JF_TOKEN:-}" = "$jf_token" ] && [ -n "${JF_RUN_DIR:-}" ]; then jf_run_dir=$JF_RUN_DIR; fi
cd -- "$jf_run_dir" || exit 72
export JF_TOKEN="$jf_token" JF_RUN_DIR="$jf_run_dir"

# Sets jf_time to the seconds since 1970, with a fraction where the shell or date knows one.
jf_now() {
  if [ -n "${BASH_VERSION:-}" ] && [ -n "${EPOCHREALTIME:-}" ]; then jf_time=${EPOCHREALTIME%[.,]*}.${EPOCHREALTIME#*[.,]}
  else jf_time=$(date +%s.%N); fi
}

# Writes the start record over what is there.
jf_record_start() {
  { printf 'jobferry-start 1\ntoken=%s\nscheduler_id=%s\nhost=%s\npid=%s\nprocess_start=%s\nstarted=%s\nrestarts=%s\ncomplete=1\n' \
    "$jf_token" "$jf_id" "$jf_host" "$$" "$jf_process_start" "$jf_started" "$jf_restarts" >| .jobferry/start; } 2>/dev/null
}

# Whether this is the scheduler's own restart of the job that holds the lock, and that did not end.
jf_may_take_over() {
  [ "$jf_restarts" -gt 0 ] && [ -n "$jf_id" ] && [ ! -e .jobferry/end ] || return 1
  while IFS== read -r jf_key jf_value; do
    if [ "$jf_key" = scheduler_id ]; then [ "$jf_value" = "$jf_id" ]; return; fi
  done < .jobferry/start
  return 1
}

jf_storage_fault() {
  echo "JobFerry: cannot write $1 in $jf_run_dir: is the disk full?" >&2
  exit 74
}

# Passes a signal on to all processes of the body; after TERM they have jf_grace seconds until KILL.
jf_forward() {
  jf_caught=1
  if [ -z "$jf_body" ]; then jf_pending=$1; return; fi
  kill -s "$1" -- "$jf_group" 2>/dev/null
  if [ "$1" = TERM ] && [ -z "$jf_killer" ]; then
    ( trap 'kill "$jf_sleep" 2>/dev/null; exit' TERM
      sleep "$jf_grace" & jf_sleep=$!
      wait "$jf_sleep" && kill -s KILL -- "$jf_group" ) </dev/null >/dev/null 2>&1 &
    jf_killer=$!
  fi
}

# Whether a process of the body's group runs. One that has ended and is only not taken note of by its parent does not:
# under Slurm nobody takes note of orphans before the job is over.
jf_group_lives() {
  kill -s 0 -- "$jf_group" 2>/dev/null || return 1
  [ -r /proc/self/stat ] || return 0
  for jf_entry in /proc/[0-9]*/stat; do
    { read -r jf_stat < "$jf_entry"; } 2>/dev/null || continue
    set -- ${jf_stat##*) }
    case "$3 $1" in "${jf_group#-} Z" | "${jf_group#-} X") ;; "${jf_group#-} "*) return 0 ;; esac
  done
  return 1
}

# Whether bash has lost how the body ended, which then nobody knows. It jumps out of `wait` from its signal handler: when the
# body has ended and a signal comes before bash ran again, as when Slurm ends all processes of a job at once, the kernel has
# handed over the status and bash has not written it down. To it the body runs forever, and another `wait` would last until
# all its other children have ended. The answer of the `wait` that was cut short tells the signal.
jf_body_is_forgotten() {
  [ -n "${BASH_VERSION:-}" ] || return 1
  for jf_running in $(jobs -rp); do [ "$jf_running" != "$jf_body" ] || return 0; done
  return 1
}

jf_host= jf_process_start= jf_boot=
{ read -r jf_host </proc/sys/kernel/hostname; } 2>/dev/null || jf_host=$(uname -n)
if { read -r jf_stat </proc/$$/stat; } 2>/dev/null; then
  set -- ${jf_stat##*) }
  jf_process_start=${20}
  { read -r jf_boot </proc/sys/kernel/random/boot_id; } 2>/dev/null
fi
[ -n "$jf_id" ] || jf_id=$$-$jf_process_start-${jf_boot%%-*}
jf_now; jf_started=$jf_time

# The path may lead to a newer attempt by now, when this copy waited long in the queue: that one is left alone. From here on
# the directory is the one of this attempt, whatever happens to its name.
jf_line=
{ read -r jf_line < .jobferry/body; } 2>/dev/null
[ "$jf_line" = "# $jf_token" ] || exit 0

# The start lock: of several copies of this script one goes on.
set -C
if { true > .jobferry/start; } 2>/dev/null; then
  set +C
elif [ ! -e .jobferry/start ]; then
  jf_storage_fault .jobferry/start
elif jf_may_take_over; then
  set +C
else
  exit 0
fi
jf_record_start || jf_storage_fault .jobferry/start

jf_body= jf_group= jf_killer= jf_pending= jf_caught=
trap 'jf_forward TERM' TERM
trap 'jf_forward INT' INT
trap 'jf_forward HUP' HUP
trap 'jf_forward USR1' USR1
trap 'jf_forward USR2' USR2
jf_header
# The body has a process group of its own, so that a signal reaches all of it and not this script.
if [ -n "${BASH_VERSION:-}" ]; then
  set -m
  ( set +m; . ./.jobferry/body ) </dev/null &
  jf_body=$! jf_group=-$!
  set +m
elif command -v setsid >/dev/null; then
  setsid sh ./.jobferry/body </dev/null &
  jf_body=$! jf_group=-$!
else
  sh ./.jobferry/body </dev/null &
  jf_body=$! jf_group=$!
fi
[ -z "$jf_pending" ] || jf_forward "$jf_pending"

while :; do
  jf_caught=
  wait "$jf_body" 2>/dev/null
  jf_status=$?
  [ -n "$jf_caught" ] || break
  # A signal cut the wait short, or came just after it.
  kill -s 0 "$jf_body" 2>/dev/null && continue
  # Cut short when the body had ended already. Mostly the shell still knows how.
  jf_body_is_forgotten && break
  wait "$jf_body" 2>/dev/null
  jf_again=$?
  [ "$jf_again" = 127 ] || jf_status=$jf_again
  break
done
trap '' TERM INT HUP USR1 USR2
if [ -n "$jf_killer" ]; then
  # Ordered to end: whatever the body left running has the rest of the grace.
  jf_left=$((jf_grace + 2))
  while [ "$jf_left" -gt 0 ] && jf_group_lives; do sleep 1; jf_left=$((jf_left - 1)); done
  kill -s TERM "$jf_killer" 2>/dev/null
fi

jf_now; jf_ended=$jf_time
jf_signal= jf_stdout_bytes= jf_stderr_bytes=
if [ "$jf_status" -gt 128 ] && [ "$jf_status" -le 192 ]; then jf_signal=$((jf_status - 128)); fi
if [ -s stdout ] || [ -s stderr ]; then
  set -- $(exec wc -c stdout stderr 2>/dev/null)
  while [ $# -ge 2 ]; do
    case $2 in stdout) jf_stdout_bytes=$1 ;; stderr) jf_stderr_bytes=$1 ;; esac
    shift 2
  done
elif [ -e stdout ]; then
  # Most often: then no process is needed.
  jf_stdout_bytes=0 jf_stderr_bytes=0
fi
# A marker that cannot be written whole is not put in place, and then the exit code says so whatever the job's was.
{ printf 'jobferry-end 1\ntoken=%s\nexit_code=%s\nsignal=%s\nstarted=%s\nended=%s\nhost=%s\npid=%s\nstdout_bytes=%s\nstderr_bytes=%s\ncomplete=1\n' \
  "$jf_token" "$jf_status" "$jf_signal" "$jf_started" "$jf_ended" "$jf_host" "$$" "$jf_stdout_bytes" "$jf_stderr_bytes" \
  >| .jobferry/end.new; } 2>/dev/null && mv -f .jobferry/end.new .jobferry/end || jf_storage_fault .jobferry/end
{ true >| "$jf_spool/$jf_token"; } 2>/dev/null
exit "$jf_status"
