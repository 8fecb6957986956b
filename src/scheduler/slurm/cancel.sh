# Cancels the jobs whose ids are on standard input.
unset SCANCEL_ACCOUNT SCANCEL_BATCH SCANCEL_CTLD SCANCEL_FULL SCANCEL_HURRY SCANCEL_INTERACTIVE SCANCEL_NAME SCANCEL_PARTITION \
  SCANCEL_QOS SCANCEL_STATE SCANCEL_USER SCANCEL_VERBOSE SCANCEL_WCKEY
export LC_ALL=C
jf_code=0
jf_cancel() {
  [ $# -gt 0 ] || return 0
  scancel "$@" </dev/null || jf_code=$?
}
set --
echo 'jobferry-cancel 1'
while read -r jf_id; do
  set -- "$@" "$jf_id"
  if [ $# -ge 500 ]; then jf_cancel "$@"; set --; fi
done
jf_cancel "$@"
echo "jobferry-end $jf_code"
