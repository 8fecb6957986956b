# shellcheck shell=bash
# The barrier between the worker's account and the database: every connection of that account to a mongod of the test bed
# is refused, as if nothing listened there. It covers SSH commands and Slurm jobs alike, for both run as that account.
# shellcheck disable=SC2154 # $worker_account is set by ssh.sh.
# By the owner match of nftables (or of iptables where only that is known), in a table of our own.

start_barrier() {
    local ports
    ports=$(mongodb_ports)
    barrier_name >/dev/null
    packages barrier nftables || return
    raise_nftables "$ports" || raise_iptables "$ports" \
        || { cannot barrier "the kernel gives no packet filter (a container without NET_ADMIN?)"; return; }
    give JF_TEST_BARRIER 1
}

stop_barrier() {
    [ -s "$JF_TEST_ROOT/barrier" ] || return 0
    case $(cat "$JF_TEST_ROOT/barrier") in
    nftables) nft delete table inet "$(barrier_name)" 2>/dev/null ;;
    iptables) lower_iptables ;;
    esac
    rm -f "$JF_TEST_ROOT/barrier"
}

# One table per test bed, so that two may stand side by side.
barrier_name() {
    echo "jobferry_$(printf %s "$JF_TEST_ROOT" | cksum | cut -d' ' -f1)"
}

# The ports in the two addresses, comma separated: of "mongodb://user:pass@host:1,host:2/db?…" these are 1,2.
mongodb_ports() {
    printf '%s\n' "$JF_TEST_MONGODB_URI" "$JF_TEST_MONGODB_REPLICA_SET_URI" \
        | sed -E 's,^mongodb(\+srv)?://,,; s,[/?].*$,,; s,^.*@,,' | tr ',' '\n' \
        | sed -E '/:[0-9]+$/!s,$,:27017,; s,^.*:,,' | sort -un | paste -sd,
}

raise_nftables() {
    local name
    name=$(barrier_name)
    # Naming, deleting and making the table in one transaction replaces it without a gap.
    nft -f - >>"$JF_TEST_ROOT/log/barrier.log" 2>&1 <<END || return
table inet $name
delete table inet $name
table inet $name {
    chain output {
        type filter hook output priority 0; policy accept;
        meta skuid $worker_account tcp dport { $1 } reject with tcp reset
    }
}
END
    echo nftables >"$JF_TEST_ROOT/barrier"
}

raise_iptables() {
    command -v iptables >/dev/null || return
    echo iptables >"$JF_TEST_ROOT/barrier"
    lower_iptables
    iptables -w -I OUTPUT -p tcp -m owner --uid-owner "$worker_account" -m multiport --dports "$1" \
        -m comment --comment "$(barrier_name)" -j REJECT --reject-with tcp-reset >>"$JF_TEST_ROOT/log/barrier.log" 2>&1
}

lower_iptables() {
    local rule
    iptables -w -S OUTPUT 2>/dev/null | grep -F "$(barrier_name)" | while read -r _ rule; do
        # shellcheck disable=SC2086
        iptables -w -D $rule
    done
}
