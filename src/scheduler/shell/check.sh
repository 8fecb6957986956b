# Prints what the shell scheduler runs on, and what it misses.
echo 'jobferry-check 1'
jf_count=0
jf_say() { echo "$1"; jf_count=$((jf_count + 1)); }
[ -r /proc/self/stat ] || jf_say 'fault this host has no /proc: the shell scheduler needs Linux; use a worker with a batch system'
for jf_tool in setsid grep tr date mv wc head; do
  command -v "$jf_tool" >/dev/null || jf_say "fault $jf_tool is not on the PATH of this host; install util-linux and coreutils"
done
if command -v bash >/dev/null; then jf_shell=$(bash -c 'echo "bash $BASH_VERSION"'); else jf_shell=sh; fi
jf_say "version $(uname -sr), $jf_shell"
echo "end $jf_count"
