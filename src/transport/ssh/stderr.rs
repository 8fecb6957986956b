//! What OpenSSH's complaints mean, and what a user can do about them.

/// What could not be done, and what the user can do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Diagnosis {
    pub(super) message: String,
    pub(super) hint: Option<String>,
}

/// A text of OpenSSH's client (of versions 7.4 to 10, and of libc for the last part of a line), in the order in which
/// they are looked for: the more telling first.
const CAUSES: [(&str, &str, &str); 21] = [
    (
        "REMOTE HOST IDENTIFICATION HAS CHANGED",
        "the host's key has changed",
        "if the host's administrators confirm the new key, remove the old one (`ssh-keygen -R HOST`) and connect once by \
         hand: `{}`",
    ),
    (
        "Host key verification failed",
        "the host's key is not known",
        "connect once by hand and compare the fingerprint with the one its administrators publish: `{}`",
    ),
    (
        "UNPROTECTED PRIVATE KEY FILE",
        "the key file is readable by others",
        "chmod 600 the key file, then try `{}`",
    ),
    (
        "Bad owner or permissions on",
        "OpenSSH refuses a file that others may write",
        "fix its mode, then try `{}`",
    ),
    (
        "Bad configuration option",
        "OpenSSH's configuration has a mistake",
        "correct the file it names, then try `{}`",
    ),
    (
        "Could not resolve hostname",
        "the host name is not known",
        "check the name, and the network of this machine: `{}`",
    ),
    (
        "Too many authentication failures",
        "the host gave up on too many keys",
        "name the one key to use in the worker's settings, or in ~/.ssh/config: `{}`",
    ),
    (
        "Permission denied (",
        "the host refuses the login",
        "this must work without any question: `{}`; load the key into an agent (`ssh-add`), or name user and key",
    ),
    (
        "Permission denied, please try again",
        "the host refuses the login",
        "this must work without any question: `{}`",
    ),
    (
        "Connection refused",
        "nothing listens on that port",
        "check host and port, and that the host is up: `{}`",
    ),
    ("Connection timed out", "the host does not answer", "check the network, a VPN or a jump host: `{}`"),
    ("Operation timed out", "the host does not answer", "check the network, a VPN or a jump host: `{}`"),
    ("timed out", "the host does not answer", "check the network, a VPN or a jump host: `{}`"),
    ("No route to host", "there is no way to the host", "check the network, a VPN or a jump host: `{}`"),
    ("Network is unreachable", "there is no network", "check the network of this machine, then try `{}`"),
    (
        "administratively prohibited",
        "the jump host does not let through",
        "ask its administrators, or use another: `{}`",
    ),
    ("stdio forwarding failed", "the jump host cannot reach the host", "try from there, or by hand: `{}`"),
    (
        "too long for Unix domain socket",
        "the path of the control socket is too long",
        "set a shorter control directory, or XDG_RUNTIME_DIR",
    ),
    (
        "kex_exchange_identification",
        "the host hung up before the login",
        "it may be overloaded or have blocked this machine for a while; later try `{}`",
    ),
    (
        "Connection reset by",
        "the host hung up",
        "it may be overloaded or have blocked this machine; later try `{}`",
    ),
    ("Connection closed by", "the host hung up", "it may refuse this account or be overloaded; try `{}`"),
];

/// Returns what the standard error of a failed `ssh` says. `by_hand` is the command the user can type.
pub(super) fn diagnose(stderr: &str, by_hand: &str) -> Diagnosis {
    let lines = || stderr.lines().map(str::trim).filter(|line| !line.is_empty());
    let Some((words, cause, hint)) = CAUSES.iter().find(|(words, _, _)| stderr.contains(words)) else {
        let last = lines().next_back().unwrap_or("ssh failed and gave no reason");
        return Diagnosis { message: last.to_owned(), hint: Some(format!("try by hand: `{by_hand}`")) };
    };
    let said = lines().find(|line| line.contains(words)).unwrap_or_default().trim_matches('@').trim();
    Diagnosis { message: format!("{cause} ({said})"), hint: Some(hint.replace("{}", by_hand)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn complaints_of_openssh_become_causes() {
        let changed = "@@@@@@@@@@@@@\r\n@    WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!     @\r\n@@@@@@@\r\nIT IS \
                       POSSIBLE THAT SOMEONE IS DOING SOMETHING NASTY!\r\nOffending ED25519 key in /k:1\r\nHost key \
                       verification failed.\r\n";
        let table = [
            (changed, "the host's key has changed"),
            (
                "No ED25519 host key is known for [127.0.0.1]:2299 and you have requested strict checking.\r\nHost key \
                 verification failed.\r\n",
                "the host's key is not known",
            ),
            (
                "Warning: Permanently added 'h' (ED25519) to the list of known hosts.\r\nme@h: Permission denied \
                 (publickey).\r\n",
                "the host refuses the login",
            ),
            (
                "ssh: Could not resolve hostname nowhere.invalid: Name or service not known\r\n",
                "the host name is not known",
            ),
            ("ssh: connect to host h port 22: Connection refused\r\n", "nothing listens on that port"),
            ("ssh: connect to host h port 22: Connection timed out\r\n", "the host does not answer"),
            ("Connection timed out during banner exchange\r\n", "the host does not answer"),
            ("ssh: connect to host h port 22: No route to host\r\n", "there is no way to the host"),
            (
                "kex_exchange_identification: read: Connection reset by peer\r\n",
                "the host hung up before the login",
            ),
            (
                "/home/me/.ssh/config: line 3: Bad configuration option: prot\r\n/home/me/.ssh/config: terminating, 1 bad \
                 configuration options\r\n",
                "OpenSSH's configuration has a mistake",
            ),
            (
                "@ WARNING: UNPROTECTED PRIVATE KEY FILE! @\r\nLoad key \"/k\": bad permissions\r\nme@h: Permission denied \
                 (publickey).\r\n",
                "the key file is readable by others",
            ),
            (
                "channel 0: open failed: administratively prohibited: open failed\r\nstdio forwarding failed\r\nConnection \
                 closed by UNKNOWN port 65535\r\n",
                "the jump host does not let through",
            ),
        ];
        for (stderr, cause) in table {
            let diagnosis = diagnose(stderr, "ssh -- h");
            assert!(diagnosis.message.starts_with(cause), "{stderr}: {diagnosis:?}");
            assert!(diagnosis.hint.unwrap().contains("`ssh -- h`"), "{stderr}");
        }
    }

    #[test]
    fn what_is_not_known_is_told_in_its_own_words() {
        let diagnosis = diagnose("banner\n\nsomething new\r\n", "ssh -- h");
        assert_eq!(diagnosis.message, "something new");
        assert_eq!(diagnosis.hint.as_deref(), Some("try by hand: `ssh -- h`"));
        assert_eq!(diagnose("", "ssh -- h").message, "ssh failed and gave no reason");
    }
}
