# shellcheck shell=bash
# Slurm on this one machine, with 64 made-up CPUs in the partition `main`. Sourced by `up`, after ssh.
# shellcheck disable=SC2154 # $worker_account is set by ssh.sh.
# Everything of it, the munge key and socket included, lies in the test bed; nothing under /etc is read or written.

start_slurm() {
    [ "$(id -u)" = 0 ] || { cannot slurm "needs root"; return; }
    packages slurm slurm-wlm munge || return
    mkdir -p "$JF_TEST_ROOT/slurm/state" "$JF_TEST_ROOT/slurm/spool"
    start_munge || return
    for _ in 1 2 3; do
        write_slurm_configuration
        export SLURM_CONF=$JF_TEST_ROOT/slurm/slurm.conf
        is_running slurmctld || daemon slurmctld slurmctld -D -f "$SLURM_CONF"
        is_running slurmd || daemon slurmd slurmd -D -f "$SLURM_CONF"
        if wait_until_listens slurmctld 15 && wait_until_listens slurmd 15 && wait_until 30 takes_jobs; then
            give SLURM_CONF "$SLURM_CONF"
            give JF_TEST_SLURM 1
            give JF_TEST_SLURM_PARTITION main
            return
        fi
        stop slurmd
        stop slurmctld
        forget_port slurmctld
        forget_port slurmd
    done
    show_log slurmctld
    show_log slurmd
    return 1
}

stop_slurm() {
    export SLURM_CONF=$JF_TEST_ROOT/slurm/slurm.conf
    if is_running slurmctld && is_running slurmd && is_running munge; then
        # Jobs outlive slurmd, so they are ended while it can still do it.
        timeout 10 scancel --quiet --user="$worker_account" 2>/dev/null
        wait_until 10 no_jobs
    fi
    stop slurmd
    stop slurmctld
    stop munge
    stop_slurm_steps
}

no_jobs() {
    local jobs
    jobs=$(timeout 5 squeue --noheader) && [ -z "$jobs" ]
}

# Succeeds when the node is up and idle or working, seen as a user of the cluster sees it.
takes_jobs() {
    timeout 5 sinfo --noheader --partition main --format %t | grep -qE '^(idle|mix|alloc)$'
}

# munged wants each folder above its files to belong to root or itself; as root it needs no account of its own.
start_munge() {
    local folder=$JF_TEST_ROOT/munge
    mkdir -p "$folder"
    chmod 755 "$folder"
    if [ ! -s "$folder/key" ]; then
        (umask 077 && head -c 128 /dev/urandom >"$folder/key")
    fi
    if ! is_running munge; then
        rm -f "$folder/socket" "$folder/socket.lock"
        daemon munge munged --foreground --force --key-file="$folder/key" --socket="$folder/socket" \
            --pid-file="$folder/pid" --log-file="$JF_TEST_ROOT/log/munged.log" --seed-file="$folder/seed"
    fi
    wait_until 10 munge --no-input --socket="$folder/socket" || { show_log munge; return 1; }
}

write_slurm_configuration() {
    local folder=$JF_TEST_ROOT/slurm node
    node=$(hostname -s)
    : >"$folder/plugstack.conf"
    # Nothing here uses control groups, but slurmd loads a plugin for them: that of version 1 asks for nothing at its start,
    # that of version 2 wants systemd, and the search for the right one wants /sys/fs/cgroup.
    echo CgroupPlugin=cgroup/v1 >"$folder/cgroup.conf"
    cat >"$folder/slurm.conf" <<END
ClusterName=jobferrytest
SlurmctldHost=$node(127.0.0.1)
SlurmctldPort=$(port_of slurmctld)
SlurmdPort=$(port_of slurmd)
AuthType=auth/munge
AuthInfo=socket=$JF_TEST_ROOT/munge/socket
CredType=cred/munge
MpiDefault=none
ProctrackType=proctrack/linuxproc
ReturnToService=2
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd.pid
SlurmdSpoolDir=$folder/spool
SlurmUser=root
StateSaveLocation=$folder/state
SwitchType=switch/none
TaskPlugin=task/none
SchedulerType=sched/backfill
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=batch_sched_delay=0,sched_interval=1,sched_min_interval=2000
SlurmdParameters=config_overrides
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/filetxt
JobCompLoc=$JF_TEST_ROOT/log/slurm-jobs.log
JobAcctGatherType=jobacct_gather/none
MinJobAge=300
KillWait=30
PluginDir=$(slurm_plugins)
PlugStackConfig=$folder/plugstack.conf
NodeName=$node NodeAddr=127.0.0.1 CPUs=64 Boards=1 SocketsPerBoard=1 CoresPerSocket=64 ThreadsPerCore=1 RealMemory=20000 State=UNKNOWN
PartitionName=main Nodes=$node Default=YES MaxTime=INFINITE State=UP OverSubscribe=FORCE:64
END
}

slurm_plugins() {
    dirname "$(dpkg -L slurm-wlm-basic-plugins | grep -m1 'auth_munge\.so$')"
}

# Ends the step daemons of jobs that a killed slurmd left behind: they carry our spool folder's job credentials, and run
# with our configuration in their environment.
stop_slurm_steps() {
    local folder
    for folder in /proc/[0-9]*; do
        [ "$(cat "$folder/comm" 2>/dev/null)" = slurmstepd ] || continue
        tr '\0' '\n' 2>/dev/null <"$folder/environ" | grep -qF "$JF_TEST_ROOT/slurm" && kill -TERM "${folder#/proc/}" 2>/dev/null
    done
    return 0
}
