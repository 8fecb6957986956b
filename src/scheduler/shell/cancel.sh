# Ends the jobs whose ids are on standard input. This script only gives the order: a process of its own tells the wrapper
# of each job (TERM; it passes it on and writes the end marker) and every other process of the job, and kills what is
# left after their grace.
echo 'jobferry-cancel 1'
if ! { read -r jf_boot </proc/sys/kernel/random/boot_id; } 2>/dev/null; then
  echo 'unsupported this host has no /proc: the shell scheduler needs Linux'
  exit 0
fi
jf_ids= jf_count=0
while read -r jf_id; do
  jf_count=$((jf_count + 1))
  case $jf_id in *[!0-9a-f-]*) continue ;; esac
  if [ "${jf_id##*-}" = "${jf_boot%%-*}" ]; then jf_ids="$jf_ids $jf_id"; fi
done
jf_reaper='
# Sets jf_leaders to the ids whose session is still the one that was meant, as " pid pid ".
jf_leaders=" "
jf_wrappers= jf_alive=" " jf_tokens= jf_grace=0
while read -r jf_id; do
  jf_pid=${jf_id%%-*} jf_start=${jf_id#*-}
  jf_start=${jf_start%%-*}
  if { read -r jf_stat </proc/$jf_pid/stat; } 2>/dev/null; then
    set -- ${jf_stat##*) }
    [ "${20}" = "$jf_start" ] || continue
    case $1 in
      Z | X) ;;
      *)
        jf_wrappers="$jf_wrappers $jf_pid" jf_alive="$jf_alive$jf_pid "
        jf_own=$(sed -n "s/^jf_grace=//p;/^jf_grace=/q" /proc/$jf_pid/cwd/submit.sh 2>/dev/null)
        [ "${jf_own:-0}" -le "$jf_grace" ] || jf_grace=$jf_own
        ;;
    esac
  fi
  jf_leaders="$jf_leaders$jf_pid "
done
# Adds the tokens of the sessions to jf_tokens.
jf_newline="
"
for jf_dir in /proc/[0-9]*; do
  { read -r jf_stat <$jf_dir/stat; } 2>/dev/null || continue
  set -- ${jf_stat##*) }
  case $jf_leaders in
    *" $4 "*)
      jf_token=$(tr "\0" "\n" <$jf_dir/environ 2>/dev/null | grep "^JF_TOKEN=.")
      [ -z "$jf_token" ] || jf_tokens=$jf_tokens$jf_token$jf_newline
      ;;
  esac
done
# Prints the pids of all processes with one of the tokens; after "first" only of those that no wrapper tells.
jf_members() {
  [ -n "$jf_tokens" ] || return 0
  printf %s "$jf_tokens" | grep -l -s -z -x -F -f - /proc/[0-9]*/environ | while IFS= read -r jf_path; do
    jf_path=${jf_path%/environ}
    { read -r jf_stat <$jf_path/stat; } 2>/dev/null || continue
    jf_stat=${jf_stat##*) }
    case $jf_stat in "Z "* | "X "*) continue ;; esac
    jf_session=${jf_stat#* * * }
    jf_session=${jf_session%% *}
    if [ "$1" = first ]; then case $jf_alive in *" $jf_session "*) continue ;; esac; fi
    [ "${jf_path#/proc/}" = $$ ] || echo "${jf_path#/proc/}"
  done
}
[ -z "$jf_wrappers" ] || kill -s TERM $jf_wrappers 2>/dev/null
jf_pids=$(jf_members first)
[ -z "$jf_pids" ] || kill -s TERM $jf_pids 2>/dev/null
# Fifths of a second: 5 s more than the longest grace of the wrappers, at least 10 s; then KILL, for 2 s.
jf_left=$(((jf_grace + 5) * 5))
[ "$jf_left" -ge 50 ] || jf_left=50
while jf_pids=$(jf_members all); [ -n "$jf_pids" ] && [ "$jf_left" -gt -10 ]; do
  [ "$jf_left" -gt 0 ] || kill -s KILL $jf_pids 2>/dev/null
  sleep 0.2 2>/dev/null || { sleep 1; jf_left=$((jf_left - 4)); }
  jf_left=$((jf_left - 1))
done
'
if [ -n "$jf_ids" ]; then
  { printf '%s\n' $jf_ids | setsid sh -c "$jf_reaper"; } </dev/null >/dev/null 2>&1 &
fi
echo "ordered $jf_count"
echo 'end 1'
