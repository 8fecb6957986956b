# Prints the accounting records of the ids on standard input; the first line there is the day from which to look.
unset SACCT_FEDERATION SACCT_LOCAL SACCT_FORMAT
export LC_ALL=C SLURM_TIME_FORMAT=%s
if ! command -v sacct >/dev/null; then
  echo 'Slurm accounting storage is disabled: there is no sacct' >&2
  exit 1
fi
read -r jf_since
jf_user=$(id -u) jf_code=0
jf_ask() {
  [ -n "$jf_ids" ] && [ "$jf_code" = 0 ] || return 0
  sacct --allocations --parsable2 --user="$jf_user" --starttime="$jf_since" --jobs="$jf_ids" \
    --format=JobID,State,ExitCode,Submit,Comment
  jf_code=$?
  jf_ids= jf_count=0
}
jf_ids= jf_count=0
echo 'jobferry-accounting 1'
while read -r jf_id; do
  jf_ids=$jf_ids${jf_ids:+,}$jf_id jf_count=$((jf_count + 1))
  [ "$jf_count" -lt 2000 ] || jf_ask
done
jf_ask
echo "jobferry-end $jf_code"
