# Submits submit.sh. These variables would win over the directives in it, make sbatch wait, or change what it prints.
unset SBATCH_ACCOUNT SBATCH_ACCTG_FREQ SBATCH_ARRAY_INX SBATCH_BATCH SBATCH_BURST_BUFFER SBATCH_CLUSTERS SBATCH_CLUSTER_CONSTRAINT \
  SBATCH_CONSTRAINT SBATCH_CONTAINER SBATCH_CORE_SPEC SBATCH_CPUS_PER_GPU SBATCH_CPU_FREQ_REQ SBATCH_DEBUG SBATCH_DELAY_BOOT \
  SBATCH_DISTRIBUTION SBATCH_ERROR SBATCH_EXCLUSIVE SBATCH_EXPORT SBATCH_GET_USER_ENV SBATCH_GPUS SBATCH_GPUS_PER_NODE \
  SBATCH_GPUS_PER_SOCKET SBATCH_GPUS_PER_TASK SBATCH_GPU_BIND SBATCH_GPU_FREQ SBATCH_GRES SBATCH_GRES_FLAGS SBATCH_HINT \
  SBATCH_IGNORE_PBS SBATCH_INPUT SBATCH_JOB_NAME SBATCH_MEM_BIND SBATCH_MEM_PER_CPU SBATCH_MEM_PER_GPU SBATCH_MEM_PER_NODE \
  SBATCH_NETWORK SBATCH_NO_KILL SBATCH_NO_REQUEUE SBATCH_OPEN_MODE SBATCH_OUTPUT SBATCH_OVERCOMMIT SBATCH_PARTITION SBATCH_POWER \
  SBATCH_PROFILE SBATCH_QOS SBATCH_REQUEUE SBATCH_REQ_SWITCH SBATCH_RESERVATION SBATCH_SIGNAL SBATCH_SPREAD_JOB \
  SBATCH_THREADS_PER_CORE SBATCH_THREAD_SPEC SBATCH_TIMELIMIT SBATCH_USE_MIN_NODES SBATCH_WAIT SBATCH_WAIT4SWITCH \
  SBATCH_WAIT_ALL_NODES SBATCH_WCKEY
if ! command -v sbatch >/dev/null; then
  echo 'sbatch is not on the PATH of this host: load the module of Slurm in the login shell, or use a login node' >&2
  return 127
fi
# By the time an old copy starts, a newer attempt may have its logs under the same names: they must not be cut.
timeout 60 sbatch --parsable --open-mode=append --comment="$JF_TOKEN" ./submit.sh
jf_code=$?
if [ "$jf_code" != 0 ]; then
  case $(tail -c 2000 .jobferry/submit.err) in
    # Nobody answers: the same wait, 9 s or more, would come for each of the other jobs.
    *'Unable to contact slurm controller'* | *'timed out'*) return 124 ;;
  esac
fi
return "$jf_code"
