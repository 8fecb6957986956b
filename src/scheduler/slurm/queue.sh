# Prints the user's whole queue, with what ended within MinJobAge, between a first line and a last line with the exit code.
# Fixed widths: the columns are cut at them whatever a field contains.
unset SQUEUE_ALL SQUEUE_ARRAY SQUEUE_SORT SQUEUE_ARRAY_UNIQUE SQUEUE_FEDERATION SQUEUE_LOCAL SQUEUE_PRIORITY SQUEUE_SIB SQUEUE_SIBLING \
  SQUEUE_FORMAT SQUEUE_FORMAT2 SQUEUE_ACCOUNT SQUEUE_NAMES SQUEUE_LICENSES SQUEUE_PARTITION SQUEUE_QOS SQUEUE_STATES SQUEUE_USERS
export LC_ALL=C SLURM_TIME_FORMAT=%s
echo 'jobferry-queue 1'
squeue --user="$(id -u)" --array --states=all \
  --Format=JobArrayID:50,State:25,exit_code:15,SubmitTime:30,Reason:80,Comment:200
echo "jobferry-end $?"
