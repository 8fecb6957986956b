//! A shell on the host that performs one request after the other.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use openssh::{Child, ChildStderr, ChildStdin, ChildStdout, Session, Stdio};
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::time::{Instant, timeout, timeout_at};
use uuid::Uuid;

use super::answers;
use super::archive;
use super::request::{Data, Request};
use super::settings::{Shell, SshSettings};
use crate::model::quote::quote;
use crate::transport::{Answer, OperationError, TransportError, paths};

/// The request loop, read by the shell after its profile.
const LOOP: &str = include_str!("lane.sh");

/// What every request is made of.
const LIBRARY: &str = include_str!("library.sh");

/// Kills what a lane runs, from a session of its own. Arguments: the lane's process, its scratch directory.
const KILL: &str = r#"case $2 in /*/jobferry.*) ;; *) exit 1 ;; esac
g=$(cat "$2/group" 2>/dev/null)
[ -z "$g" ] || kill -s TERM -- "-$g"
kill -s KILL -- "-$1" || kill -s KILL "$1"
{ [ -z "$g" ] || { sleep 2; kill -s KILL -- "-$g"; }; rm -rf -- "$2"; } </dev/null >/dev/null 2>&1 &"#;

/// How long a lane that failed may take to be killed; longer means that the connection is gone.
const KILL_LIMIT: Duration = Duration::from_secs(5);

/// How much a profile may print before the first answer, and how long a line of an answer may be.
const NOISE_LIMIT_BYTES: u64 = 1024 * 1024;

/// How much is read or written at once.
const CHUNK_BYTES: usize = 256 * 1024;

/// How a request failed as a whole.
#[derive(Debug)]
pub(super) enum LaneFailure {
    Lost(String),
    Garbled(String),
}

impl From<io::Error> for LaneFailure {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::InvalidData => Self::Garbled(error.to_string()),
            io::ErrorKind::UnexpectedEof => Self::Lost("the answer broke off".to_owned()),
            _ => Self::Lost(error.to_string()),
        }
    }
}

/// An open lane. Dropping it closes its session; the shell on the host then ends after the command in hand.
pub(super) struct Lane {
    session: Arc<Session>,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
    token: String,
    /// The shell's process on the host.
    process: u32,
    scratch: String,
    /// Kept open: a write into a closed pipe would end the session.
    _stderr: Option<ChildStderr>,
    _child: Child<Arc<Session>>,
}

impl Lane {
    /// Opens a lane and waits until its shell has read its profile.
    pub(super) async fn open(
        session: &Arc<Session>,
        settings: &SshSettings,
        deadline: Instant,
    ) -> Result<Self, TransportError> {
        let end = deadline.min(Instant::now() + settings.connect_timeout * 2);
        let opening = Self::open_unlimited(session, settings);
        let message = match timeout_at(end, opening).await {
            Ok(Ok(lane)) => return Ok(lane),
            Ok(Err(message)) => message,
            Err(_) => "the login shell of the account did not answer in time".to_owned(),
        };
        let hint =
            format!("look at the account's profile (.bash_profile, .profile): `{} true`", settings.by_hand());
        Err(TransportError::Connect { host: settings.host.clone(), message, hint: Some(hint) })
    }

    async fn open_unlimited(session: &Arc<Session>, settings: &SshSettings) -> Result<Self, String> {
        let token = Uuid::new_v4().simple().to_string();
        let program = LOOP.replace("@TOKEN@", &token).replace("@LIBRARY_BYTES@", &LIBRARY.len().to_string());
        let mut child = Arc::clone(session)
            .arc_raw_command(boot(&settings.shell, &token, program.len()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .await
            .map_err(|error| told(&error))?;
        let (stdin, stdout) = (child.stdin().take(), child.stdout().take());
        let (Some(mut stdin), Some(stdout)) = (stdin, stdout) else {
            return Err("the session has no pipes".to_owned());
        };
        let mut stderr = child.stderr().take();
        let mut stdout = BufReader::with_capacity(CHUNK_BYTES, stdout);
        let ended = |error: io::Error| format!("the shell of the account ended at once: {error}");
        if let Err(error) = wait_for(&mut stdout, &format!("{token} boot")).await {
            return Err(why_ended(&mut stderr, &error).await);
        }
        stdin.write_all(format!("{program}{LIBRARY}").as_bytes()).await.map_err(ended)?;
        let line = wait_for(&mut stdout, &token).await.map_err(ended)?;
        let (process, scratch) = read_ready(line.trim())?;
        let session = Arc::clone(session);
        Ok(Self { session, stdin, stdout, token, process, scratch, _stderr: stderr, _child: child })
    }

    /// Returns the lane's own directory on the host.
    pub(super) fn scratch(&self) -> &str {
        &self.scratch
    }

    /// Returns whether the lane is still there: between requests nothing can be read from it, not even its end.
    pub(super) fn is_ready(&mut self) -> bool {
        self.stdout.buffer().is_empty() && self.stdout.fill_buf().now_or_never().is_none()
    }

    /// Performs a request. After a failure the lane is of no use any more.
    pub(super) async fn request(&mut self, request: Request) -> Result<Vec<Answer>, LaneFailure> {
        let sending = async { send(&mut self.stdin, &self.token, &request).await.map_err(LaneFailure::from) };
        let reading = answers::read(&mut self.stdout, &self.token, &request);
        let (unread, mut answers) = tokio::try_join!(sending, reading)?;
        for (operation, error) in unread {
            if let Some(answer) = answers.get_mut(operation) {
                *answer = Answer::Failed(error);
            }
        }
        Ok(answers)
    }

    /// Kills what the lane runs, and removes its directory, if the connection still stands.
    pub(super) async fn kill(self) {
        let command = format!("exec sh -c {} kill {} {}", quote(KILL), self.process, quote(&self.scratch));
        let mut killer = Arc::clone(&self.session).arc_raw_command(command);
        let killing = killer.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
        // Without a connection there is nothing to be done: the commands end at their own limits.
        let _unreachable = timeout(KILL_LIMIT, killing).await;
    }
}

/// The command line for the account's shell, which may be of any kind: two levels of plain quotes.
fn boot(shell: &Shell, token: &str, program_bytes: usize) -> String {
    let read = format!("printf \"\\n%s boot\\n\" {token}; eval \"$(head -c {program_bytes})\"");
    match shell {
        Shell::Plain => format!("exec sh -c {}", quote(&read)),
        Shell::Login { program } => {
            let program = quote(program);
            let choose = format!(
                "if command -v {program} >/dev/null 2>&1; then exec {program} -l -c \"$0\"; fi; exec sh -c \"$0\""
            );
            format!("exec sh -c {} {}", quote(&choose), quote(&read))
        }
    }
}

/// Reads lines up to one that begins with the words, and returns it without them.
async fn wait_for(stdout: &mut BufReader<ChildStdout>, words: &str) -> io::Result<String> {
    let mut noise = stdout.take(NOISE_LIMIT_BYTES);
    loop {
        let mut line = Vec::new();
        if noise.read_until(b'\n', &mut line).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if let Some(rest) = line.strip_prefix(words.as_bytes()) {
            return Ok(String::from_utf8_lossy(rest).into_owned());
        }
    }
}

fn read_ready(line: &str) -> Result<(u32, String), String> {
    if let Some(message) = line.strip_prefix("broken ") {
        return Err(format!("the host cannot be used: {message}"));
    }
    let unreadable = || format!("the shell of the account answers {line:?}");
    let rest = line.strip_prefix("ready ").ok_or_else(unreadable)?;
    let (process, scratch) = rest.split_once(' ').ok_or_else(unreadable)?;
    let process = process.parse().map_err(|_| unreadable())?;
    Ok((process, scratch.to_owned()))
}

/// What the account's shell complained about before it ended.
async fn why_ended(stderr: &mut Option<ChildStderr>, error: &io::Error) -> String {
    let mut text = Vec::new();
    if let Some(stderr) = stderr {
        let mut limited = stderr.take(NOISE_LIMIT_BYTES);
        // What has come until then is what there is.
        let _partial = timeout(Duration::from_secs(1), limited.read_to_end(&mut text)).await;
    }
    let text = String::from_utf8_lossy(&text);
    let last = text.lines().rev().map(str::trim).find(|line| !line.is_empty());
    last.map_or_else(
        || format!("the shell of the account ended before it was ready ({error})"),
        |line| format!("the shell of the account ended before it was ready: {line}"),
    )
}

fn told(error: &openssh::Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(inner) = source {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        source = inner.source();
    }
    text
}

/// Sends a request. Returns what could not be read on this machine on the way: the host then got something else, and
/// refuses it by its hash.
async fn send(
    stdin: &mut ChildStdin,
    token: &str,
    request: &Request,
) -> io::Result<Vec<(usize, OperationError)>> {
    let script = format!(". \"$1/library\"\n{}", request.script);
    let head = format!("{token} {}\n{script}", script.len());
    stdin.write_all(head.as_bytes()).await?;
    let mut hashes: Vec<Option<String>> = Vec::new();
    let mut unread = Vec::new();
    for data in &request.data {
        match data {
            Data::Bytes(bytes) => stdin.write_all(bytes).await?,
            Data::Sums { hashes: wanted, size_bytes } => {
                let mut lines: String = wanted.iter().map(|hash| hash.line(&hashes)).collect();
                lines.extend(std::iter::repeat_n('\0', archive::padding(*size_bytes)));
                stdin.write_all(lines.as_bytes()).await?;
            }
            Data::File { from, size_bytes, operation, slot } => {
                hashes.resize(hashes.len().max(slot + 1), None);
                let sent = send_file(stdin, from, *size_bytes).await?;
                match (sent, hashes.get_mut(*slot)) {
                    (Ok(sha256), Some(place)) => *place = Some(sha256),
                    (Err(message), _) => {
                        let message = format!("cannot read {}: {message}", from.display());
                        unread.push((*operation, OperationError::refused(message)));
                    }
                    (Ok(_), None) => {}
                }
            }
        }
    }
    stdin.flush().await?;
    Ok(unread)
}

/// Sends exactly `size_bytes` and fills up to a block, and returns the hash, or why the file could not be read so far.
async fn send_file(
    stdin: &mut ChildStdin,
    from: &std::path::Path,
    size_bytes: u64,
) -> io::Result<Result<String, String>> {
    let mut digest = Sha256::new();
    let mut left_bytes = size_bytes;
    let mut chunk = vec![0; CHUNK_BYTES];
    let mut file = tokio::fs::File::open(from).await.map_err(|error| error.to_string());
    while left_bytes > 0 {
        let most = usize::try_from(left_bytes).unwrap_or(CHUNK_BYTES).min(CHUNK_BYTES);
        let Some(piece) = chunk.get_mut(..most) else { break };
        let count = match &mut file {
            Ok(file) => file.read(piece).await.map_err(|error| error.to_string()),
            Err(error) => Err(error.clone()),
        };
        let count = match count {
            Ok(0) => Err("it became shorter while it was sent".to_owned()),
            other => other,
        };
        let count = count.unwrap_or_else(|error| {
            file = Err(error);
            piece.fill(0);
            most
        });
        let Some(piece) = chunk.get(..count) else { break };
        digest.update(piece);
        stdin.write_all(piece).await?;
        left_bytes -= count as u64;
    }
    stdin.write_all(&vec![0; archive::padding(size_bytes)]).await?;
    if let Ok(open) = &mut file
        && !matches!(open.read(&mut [0]).await, Ok(0))
    {
        file = Err("it became longer while it was sent".to_owned());
    }
    Ok(file.map(|_| paths::hex(digest.finalize())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_one_line_that_any_shell_reads() {
        let login = boot(&Shell::Login { program: "bash".into() }, "t0", 12);
        insta::assert_snapshot!(login, @r#"exec sh -c 'if command -v bash >/dev/null 2>&1; then exec bash -l -c "$0"; fi; exec sh -c "$0"' 'printf "\n%s boot\n" t0; eval "$(head -c 12)"'"#);
        insta::assert_snapshot!(boot(&Shell::Plain, "t0", 12), @r#"exec sh -c 'printf "\n%s boot\n" t0; eval "$(head -c 12)"'"#);
        for bad in ['!', '\n'] {
            assert!(!login.contains(bad), "csh reads {bad:?} inside quotes");
        }
    }

    #[test]
    fn a_shell_that_is_ready_says_where() {
        assert_eq!(read_ready("ready 42 /tmp/jobferry.a b"), Ok((42, "/tmp/jobferry.a b".to_owned())));
        let broken = read_ready("broken it has no program tar");
        assert_eq!(broken, Err("the host cannot be used: it has no program tar".to_owned()));
        assert!(read_ready("ready x /tmp").is_err());
    }
}
