# Starts submit.sh in a session of its own and prints its identity.
if ! [ -r /proc/self/stat ]; then
  echo 'this host has no /proc: the shell scheduler needs Linux; use a worker with a batch system' >&2
  return 69
fi
if ! command -v setsid >/dev/null; then
  echo 'this host has no setsid (package util-linux): the shell scheduler needs it' >&2
  return 69
fi
jf_bash=sh
if command -v bash >/dev/null; then jf_bash=bash; fi
# The process itself says who it is, before it becomes the job: a quick job may have ended, and be gone from /proc, by the
# time anybody else could look.
{
  read -r jf_stat </proc/self/stat
  read -r jf_boot </proc/sys/kernel/random/boot_id
  set -- ${jf_stat##*) }
  echo "${jf_stat%% *}-${20}-${jf_boot%%-*}"
  exec setsid "$jf_bash" ./submit.sh </dev/null >>queue.out 2>>queue.err
} &
