# Submits the jobs on standard input, one line each: <first|again> <token> <run directory>/.
# Prints per job one line "job <token> <word> <exit code>" and what the scheduler printed, each line marked.
jf_newline='
'
# Prints the lines of $2, each after "$1:", at most 20 of 500 characters.
jf_print_lines() {
  jf_rest=$2 jf_left=20
  while [ -n "$jf_rest" ] && [ "$jf_left" -gt 0 ]; do
    printf '%s:%.500s\n' "$1" "${jf_rest%%"$jf_newline"*}"
    case $jf_rest in *"$jf_newline"*) jf_rest=${jf_rest#*"$jf_newline"} ;; *) jf_rest= ;; esac
    jf_left=$((jf_left - 1))
  done
}
# Sets jf_known to what the scheduler answered before, if that was written down whole.
jf_read_submitted() {
  jf_known=
  [ -s .jobferry/submitted ] || return 1
  while IFS= read -r jf_line; do
    [ "$jf_line" != jobferry-complete ] || return 0
    jf_known=$jf_known$jf_line$jf_newline
  done < .jobferry/submitted
  return 1
}
# Sets jf_known to the id in the start record of this attempt.
jf_read_start() {
  jf_known= jf_mine=
  [ -e .jobferry/start ] || return 1
  while IFS== read -r jf_key jf_value; do
    case $jf_key in
      token) [ "$jf_value" != "$JF_TOKEN" ] || jf_mine=1 ;;
      scheduler_id) jf_known=$jf_value ;;
    esac
  done < .jobferry/start
  [ -n "$jf_mine" ]
}
jf_take_submitting() {
  if [ "$jf_mode" = again ]; then { echo "$jf_mode" >| .jobferry/submitting; } 2>/dev/null; return; fi
  set -C
  { echo "$jf_mode" > .jobferry/submitting; } 2>/dev/null
  jf_taken=$?
  set +C
  return "$jf_taken"
}
jf_one_job() {
  jf_word=ran jf_code=0 jf_out= jf_err=
  if [ -n "$jf_stop" ]; then jf_word=skipped
  elif ! cd "$JF_RUN_DIR" 2>/dev/null; then
    # Four folders up is the work directory, where staging has made ours: without it the file system is away.
    if [ -d "${JF_RUN_DIR%/*/*/*/*}/.jobferry" ] && [ ! -e "$JF_RUN_DIR" ]; then jf_word=missing; else jf_word=unreachable; fi
  elif [ "$jf_mode" = again ] && jf_read_start; then jf_word=started jf_out=$jf_known
  elif jf_read_submitted; then jf_word=known jf_out=$jf_known
  elif jf_read_start; then jf_word=started jf_out=$jf_known
  elif [ "$jf_mode" = first ] && [ -e .jobferry/submitting ]; then jf_word=held
  elif ! jf_take_submitting; then
    if [ "$jf_mode" = first ] && [ -s .jobferry/submitting ]; then jf_word=held; else jf_word=storage; fi
  else
    jf_out=$(jf_submit </dev/null 2>.jobferry/submit.err)
    jf_code=$?
    if [ -s .jobferry/submit.err ]; then jf_err=$(head -c 10000 .jobferry/submit.err); fi
    # The scheduler does not answer: the others would wait in vain too, one after the other.
    if [ "$jf_code" = 124 ]; then jf_stop=1; fi
    if [ "$jf_code" = 0 ]; then
      { printf '%s\njobferry-complete\n' "$jf_out" >| .jobferry/submitted; } 2>/dev/null
    fi
  fi
}
export JF_TOKEN JF_RUN_DIR
jf_stop= jf_count=0
echo 'jobferry-submission 1'
while IFS=' ' read -r jf_mode JF_TOKEN JF_RUN_DIR; do
  JF_RUN_DIR=${JF_RUN_DIR%/}
  jf_one_job
  echo "job $JF_TOKEN $jf_word $jf_code"
  jf_print_lines o "$jf_out"
  jf_print_lines e "$jf_err"
  jf_count=$((jf_count + 1))
done
echo "end $jf_count"
