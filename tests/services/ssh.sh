# shellcheck shell=bash
# The "cluster": an OpenSSH server on loopback and the account that workers use there. Sourced by `up`.

worker_account=jfhpc

start_ssh() {
    [ "$(id -u)" = 0 ] || { cannot ssh "needs root for the account $worker_account"; return; }
    packages ssh openssh-server openssh-client || return
    ensure_worker_account || return
    mkdir -p /run/sshd "$JF_TEST_ROOT/ssh"
    ensure_key host_key && ensure_key client_key || return
    install -m 644 "$JF_TEST_ROOT/ssh/client_key.pub" "$JF_TEST_ROOT/ssh/authorized_keys"
    for _ in 1 2 3; do
        write_ssh_configuration
        is_running ssh || daemon ssh /usr/sbin/sshd -D -e -f "$JF_TEST_ROOT/ssh/sshd_config"
        if wait_until_listens ssh 10 && on_cluster true; then
            give_ssh
            return
        fi
        stop ssh
        forget_port ssh
    done
    show_log ssh
    return 1
}

stop_ssh() {
    stop ssh
    stop_worker_processes
}

give_ssh() {
    give JF_TEST_SSH_CONFIG "$JF_TEST_ROOT/ssh/ssh_config"
    give JF_TEST_SSH_ALIAS jf-test-cluster
    give JF_TEST_SSH_HOST 127.0.0.1
    give JF_TEST_SSH_PORT "$(port_of ssh)"
    give JF_TEST_SSH_USER "$worker_account"
    give JF_TEST_SSH_KEY "$JF_TEST_ROOT/ssh/client_key"
    give JF_TEST_SSH_KNOWN_HOSTS "$JF_TEST_ROOT/ssh/known_hosts"
    install -d -o "$worker_account" -m 755 "$JF_TEST_ROOT/work"
    give JF_TEST_SSH_WORK_DIR "$JF_TEST_ROOT/work"
}

# Runs a command on the cluster as its users do.
on_cluster() {
    ssh -F "$JF_TEST_ROOT/ssh/ssh_config" -o ConnectTimeout=10 jf-test-cluster "$@" </dev/null
}

ensure_worker_account() {
    id -u "$worker_account" >/dev/null 2>&1 || useradd --create-home --shell /bin/bash "$worker_account" \
        || { cannot ssh "useradd $worker_account failed"; return; }
    # Without PAM sshd refuses an account whose password field is "!" (locked); "*" means: no password, but not locked.
    case $(getent shadow "$worker_account" | cut -d: -f2) in '!'*) usermod -p '*' "$worker_account" ;; esac
}

ensure_key() {
    [ -s "$JF_TEST_ROOT/ssh/$1" ] || ssh-keygen -q -t ed25519 -N '' -C "jobferry $1" -f "$JF_TEST_ROOT/ssh/$1" </dev/null
}

write_ssh_configuration() {
    local folder=$JF_TEST_ROOT/ssh port
    port=$(port_of ssh)
    # JF_TEST_INSTANCE marks every process that the account starts through us, also in Slurm jobs; `down` looks for it.
    # sshd takes the first SetEnv line only. MaxSessions stays at its default of 10, as on real clusters.
    cat >"$folder/sshd_config" <<END
Port $port
ListenAddress 127.0.0.1
HostKey $folder/host_key
PidFile none
AuthorizedKeysFile $folder/authorized_keys
AllowUsers $worker_account
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
StrictModes no
UseDNS no
PrintMotd no
PrintLastLog no
MaxStartups 100
SetEnv JF_TEST_INSTANCE=$JF_TEST_ROOT SLURM_CONF=$JF_TEST_ROOT/slurm/slurm.conf
Subsystem sftp internal-sftp
END
    echo "[127.0.0.1]:$port $(cut -d' ' -f1,2 "$folder/host_key.pub")" >"$folder/known_hosts"
    cat >"$folder/ssh_config" <<END
Host jf-test-cluster
    HostName 127.0.0.1
    Port $port
    User $worker_account
    IdentityFile $folder/client_key
    IdentitiesOnly yes
    IdentityAgent none
    UserKnownHostsFile $folder/known_hosts
    GlobalKnownHostsFile /dev/null
    StrictHostKeyChecking yes
    BatchMode yes
END
}

# Ends what jobs and connections left behind: the account's processes that carry our mark, and no other.
stop_worker_processes() {
    local account signal id
    account=$(id -u "$worker_account" 2>/dev/null) || return 0
    for signal in TERM KILL; do
        for id in $(worker_processes "$account"); do
            kill -"$signal" "$id" 2>/dev/null
        done
        wait_until 3 no_worker_processes "$account" && return
    done
}

worker_processes() {
    local folder
    for folder in /proc/[0-9]*; do
        [ "$(stat -c %u "$folder" 2>/dev/null)" = "$1" ] || continue
        tr '\0' '\n' 2>/dev/null <"$folder/environ" | grep -qxF "JF_TEST_INSTANCE=$JF_TEST_ROOT" && echo "${folder#/proc/}"
    done
    return 0
}

no_worker_processes() {
    [ -z "$(worker_processes "$1")" ]
}
