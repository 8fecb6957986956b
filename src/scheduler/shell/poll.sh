# Answers for each line "<id> <token> <run directory>/" with "<id> <word>": running, stopped, left (the wrapper is gone,
# its processes are not) or gone.
jf_newline='
'
echo 'jobferry-poll 1'
if ! { read -r jf_boot </proc/sys/kernel/random/boot_id; } 2>/dev/null; then
  echo 'unsupported this host has no /proc: the shell scheduler needs Linux'
  exit 0
fi
jf_boot=${jf_boot%%-*}
jf_tokens=
# Sets jf_tokens to the tokens of all living processes, each between line feeds.
jf_scan() {
  [ -z "$jf_tokens" ] || return 0
  jf_tokens=$jf_newline$(grep -s -h -z '^JF_TOKEN=' /proc/[0-9]*/environ | tr '\0' '\n' | sort -u)$jf_newline
}
jf_look() {
  jf_word=gone
  jf_pid=${1%%-*} jf_start=${1#*-}
  jf_start=${jf_start%%-*}
  case $jf_pid in '' | *[!0-9]*) return ;; esac
  # Of jobflow-remote there is the pid alone: it is that job while it runs the script of its directory.
  if [ "$1" = "$jf_pid" ]; then
    case $({ tr '\0' ' ' </proc/"$jf_pid"/cmdline; } 2>/dev/null) in *" ${jf_dir}submit.sh "*) jf_word=running ;; esac
    return
  fi
  [ "${1##*-}" = "$jf_boot" ] || return
  if { read -r jf_stat </proc/"$jf_pid"/stat; } 2>/dev/null; then
    set -- ${jf_stat##*) }
    if [ "${20}" = "$jf_start" ]; then
      case $1 in Z | X) ;; T) jf_word=stopped; return ;; *) jf_word=running; return ;; esac
    fi
  fi
  # The wrapper is gone. With an end marker that is the end; without, what it started may live on.
  [ ! -e "$jf_dir.jobferry/end" ] || return
  jf_scan
  case $jf_tokens in *"${jf_newline}JF_TOKEN=$jf_token$jf_newline"*) jf_word=left ;; esac
}
jf_count=0
while IFS=' ' read -r jf_id jf_token jf_dir; do
  jf_look "$jf_id"
  echo "$jf_id $jf_word"
  jf_count=$((jf_count + 1))
done
echo "end $jf_count"
