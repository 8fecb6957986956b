//! How a host is reached: what is given to `ssh`, and nothing that the user's own configuration says better.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::geteuid;
use sha2::{Digest as _, Sha256};

use crate::model::quote::quote;
use crate::transport::paths::hex;

/// How a host is reached. All but `host` may be left to the user's OpenSSH configuration.
///
/// Host keys are checked by OpenSSH with the user's `known_hosts` and `StrictHostKeyChecking`; an unknown key is refused
/// unless that says otherwise. Nothing is ever asked (`BatchMode`): keys, agents, Kerberos and host-based login work,
/// passwords do not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SshSettings {
    /// A host name, an address, or a `Host` of the configuration file.
    pub host: String,
    pub user: Option<String>,
    pub port: Option<u16>,
    /// Private keys; where there are any, no others are tried (`IdentitiesOnly`).
    pub key_files: Vec<PathBuf>,
    /// Read instead of `~/.ssh/config` (`ssh -F`).
    pub config_file: Option<PathBuf>,
    /// Hosts on the way, the first nearest to here, each `[user@]host[:port]` (`ssh -J`).
    pub jump_hosts: Vec<String>,
    /// More options of `ssh_config(5)`, such as `ProxyCommand`, `UserKnownHostsFile` or `ForwardAgent`.
    pub options: Vec<(String, String)>,
    /// For the TCP connection and again for the login.
    pub connect_timeout: Duration,
    /// How often a silent connection is probed; after three probes without an answer it is lost.
    pub keepalive: Duration,
    pub shell: Shell,
    /// How many requests may be under way at once. sshd allows 10 sessions for one connection unless told otherwise
    /// (`MaxSessions`), and other programs of the user may share it.
    pub lanes: usize,
    /// Where the socket of the connection lies; made with mode 0700. The path must be short: a socket's is at most 107
    /// bytes on Linux.
    pub control_directory: PathBuf,
}

/// The shell whose environment commands get.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shell {
    /// What sshd gives, without the account's profile.
    Plain,
    /// That of a login shell (`PROGRAM -l`), which reads the profile once for each lane; `sh` where the host has no such
    /// program.
    Login { program: String },
}

impl SshSettings {
    /// Returns settings that leave everything to the user's OpenSSH configuration, with a login `bash`.
    pub fn new(host: impl Into<String>) -> Self {
        Self {
            host: host.into(),
            user: None,
            port: None,
            key_files: Vec::new(),
            config_file: None,
            jump_hosts: Vec::new(),
            options: Vec::new(),
            connect_timeout: Duration::from_secs(30),
            keepalive: Duration::from_secs(60),
            shell: Shell::Login { program: "bash".to_owned() },
            lanes: 3,
            control_directory: default_control_directory(),
        }
    }

    /// Returns the command by which the user can try the same connection by hand.
    pub fn by_hand(&self) -> String {
        let mut words = vec!["ssh".to_owned()];
        words.extend(self.destination().iter().map(|word| quote(&word.to_string_lossy())));
        words.join(" ")
    }

    /// Returns the socket of the connection: the same for equal settings, so that programs can share it.
    pub(super) fn socket(&self) -> PathBuf {
        let connection = format!("{:?}{:?}", self.destination(), self.keepalive);
        let digest = hex(Sha256::digest(connection.as_bytes()));
        self.control_directory.join(digest.get(..16).unwrap_or_default())
    }

    /// Returns the arguments of the `ssh` that opens the connection and goes into the background once it stands.
    pub(super) fn master_arguments(&self, socket: &Path) -> Vec<OsString> {
        let mut arguments: Vec<OsString> = ["-M", "-N", "-f", "-T", "-S"].map(OsString::from).to_vec();
        arguments.push(socket.into());
        let seconds = |time: Duration| time.as_secs().max(1).to_string();
        for (name, value) in [
            ("BatchMode", "yes".to_owned()),
            // It ends by itself when nobody has used it for this long: also after this program was killed.
            ("ControlPersist", "60".to_owned()),
            ("ConnectTimeout", seconds(self.connect_timeout)),
            ("ServerAliveInterval", seconds(self.keepalive)),
            ("ServerAliveCountMax", "3".to_owned()),
            // What the user's configuration may want for a terminal of theirs.
            ("RemoteCommand", "none".to_owned()),
            ("PermitLocalCommand", "no".to_owned()),
            ("ClearAllForwardings", "yes".to_owned()),
            ("ForwardX11", "no".to_owned()),
        ] {
            arguments.extend(["-o".into(), format!("{name}={value}").into()]);
        }
        arguments.extend(self.destination());
        arguments
    }

    /// Returns the arguments that say which host and as whom, the host last.
    pub(super) fn destination(&self) -> Vec<OsString> {
        let mut arguments = Vec::new();
        let mut give = |flag: &str, value: OsString| arguments.extend([OsString::from(flag), value]);
        if let Some(file) = &self.config_file {
            give("-F", file.into());
        }
        if let Some(port) = self.port {
            give("-p", port.to_string().into());
        }
        if let Some(user) = &self.user {
            give("-l", user.into());
        }
        if !self.key_files.is_empty() {
            give("-o", "IdentitiesOnly=yes".into());
        }
        for file in &self.key_files {
            give("-i", file.into());
        }
        if !self.jump_hosts.is_empty() {
            give("-J", self.jump_hosts.join(",").into());
        }
        for (name, value) in &self.options {
            give("-o", format!("{name}={value}").into());
        }
        // A host that begins with a dash must not become an option.
        arguments.extend(["--".into(), OsString::from(&self.host)]);
        arguments
    }
}

/// Returns a directory of this user for sockets: `$XDG_RUNTIME_DIR/jobferry`, else `/tmp/jobferry-UID`.
pub fn default_control_directory() -> PathBuf {
    match std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from) {
        Some(directory) if directory.is_absolute() && directory.is_dir() => directory.join("jobferry"),
        _ => PathBuf::from(format!("/tmp/jobferry-{}", geteuid().as_raw())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> SshSettings {
        SshSettings {
            user: Some("me".into()),
            port: Some(2222),
            key_files: vec!["/k 1".into(), "/k2".into()],
            config_file: Some("/c".into()),
            jump_hosts: vec!["gate".into(), "you@inner:23".into()],
            options: vec![("ProxyUseFdpass".into(), "no".into())],
            control_directory: "/run/x".into(),
            ..SshSettings::new("-oProxyCommand=evil")
        }
    }

    #[test]
    fn the_command_line_has_all_settings_and_the_host_cannot_be_an_option() {
        let shown: Vec<String> = settings()
            .master_arguments(Path::new("/s"))
            .iter()
            .map(|word| word.to_string_lossy().into_owned())
            .collect();
        insta::assert_snapshot!(shown.join(" "), @"-M -N -f -T -S /s -o BatchMode=yes -o ControlPersist=60 -o ConnectTimeout=30 -o ServerAliveInterval=60 -o ServerAliveCountMax=3 -o RemoteCommand=none -o PermitLocalCommand=no -o ClearAllForwardings=yes -o ForwardX11=no -F /c -p 2222 -l me -o IdentitiesOnly=yes -i /k 1 -i /k2 -J gate,you@inner:23 -o ProxyUseFdpass=no -- -oProxyCommand=evil");
        assert_eq!(
            settings().by_hand(),
            "ssh -F /c -p 2222 -l me -o IdentitiesOnly=yes -i '/k 1' -i /k2 -J gate,you@inner:23 \
             -o ProxyUseFdpass=no -- -oProxyCommand=evil"
        );
        assert_eq!(SshSettings::new("hpc").by_hand(), "ssh -- hpc");
    }

    #[test]
    fn equal_settings_share_a_socket_and_others_do_not() {
        assert_eq!(settings().socket(), settings().socket());
        assert_eq!(settings().socket().as_os_str().len(), "/run/x/".len() + 16);
        let other = SshSettings { port: Some(2223), ..settings() };
        assert_ne!(settings().socket(), other.socket());
    }
}
