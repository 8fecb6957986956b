# Prints the version of the client, and the partitions that the service knows.
unset SINFO_ALL SINFO_FEDERATION SINFO_FORMAT SINFO_LOCAL SINFO_PARTITION SINFO_SORT
export LC_ALL=C
echo 'jobferry-check 1'
for jf_tool in sbatch squeue scancel; do
  command -v "$jf_tool" >/dev/null || echo "fault $jf_tool is not on the PATH: load the module of Slurm in the login shell, or use a login node"
done
if command -v sbatch >/dev/null; then
  echo "version $(timeout 30 sbatch --version 2>&1 | tail -n 1)"
  jf_partitions=$(timeout 30 sinfo --noheader --format=%R 2>&1)
  jf_code=$?
  if [ "$jf_code" = 0 ]; then
    echo "partitions $(echo "$jf_partitions" | sort -u | tr '\n' ' ')"
  else
    echo "fault the controller does not answer (sinfo, exit code $jf_code): $(echo "$jf_partitions" | tail -n 1)"
  fi
fi
echo 'jobferry-end 0'
