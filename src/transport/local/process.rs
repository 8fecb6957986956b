//! Scripts, each in a process group of its own that ends as a whole.

use std::io;
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, ChildStdin, Command as Process};
use tokio::time::{Instant, sleep, timeout_at};

use crate::transport::failure::kind_of_error;
use crate::transport::{
    Command, CommandAnswer, KILL_GRACE, OperationError, STDERR_LIMIT_BYTES, STDOUT_LIMIT_BYTES, TIMED_OUT,
};

/// Longer scripts go through a file: Linux takes no argument above 128 KiB (`MAX_ARG_STRLEN`, execve(2)).
const ARGUMENT_LIMIT_BYTES: usize = 100 * 1024;

/// How much is read from a pipe at once: what a pipe of Linux holds.
const CHUNK_BYTES: usize = 64 * 1024;

/// Runs a script and returns how it ended.
///
/// It ends when the shell is gone and nobody holds its standard output and error any more, or at its limit. When this
/// future is dropped before, the process group is killed.
pub(super) async fn run(command: &Command) -> Result<CommandAnswer, OperationError> {
    let failed = |error: io::Error| OperationError {
        kind: kind_of_error(&error),
        message: format!("cannot start sh: {error}"),
    };
    let file = script_file(&command.script).map_err(failed)?;
    let mut process = Process::new("sh");
    match &file {
        Some(file) => process.arg(file.path()),
        None => process.arg("-c").arg(&command.script),
    };
    let mut child = process
        .current_dir(home())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(failed)?;
    let group = Group(child.id().and_then(|id| Pid::from_raw(id.cast_signed())));
    let end = Instant::now() + command.limit;
    let mut printed = Printed::default();
    let exit_code = match timeout_at(end, attend(&mut child, &command.input, &mut printed)).await {
        Ok(status) => {
            group.disarm();
            code(status.map_err(failed)?)
        }
        Err(_) => {
            group.end(&mut child).await;
            TIMED_OUT
        }
    };
    if printed.stdout.len() > STDOUT_LIMIT_BYTES {
        return Err(OperationError::too_much());
    }
    let stderr = String::from_utf8_lossy(&printed.stderr).into_owned();
    Ok(CommandAnswer { exit_code, stdout: printed.stdout, stderr })
}

fn script_file(script: &str) -> io::Result<Option<tempfile::NamedTempFile>> {
    if script.len() <= ARGUMENT_LIMIT_BYTES {
        return Ok(None);
    }
    let file = tempfile::NamedTempFile::new()?;
    std::fs::write(file.path(), script)?;
    Ok(Some(file))
}

/// Where scripts start, as they do over SSH.
fn home() -> PathBuf {
    std::env::home_dir().filter(|home| home.is_dir()).unwrap_or_else(|| PathBuf::from("/"))
}

/// What a script printed so far: outlives the wait for its end.
#[derive(Default)]
struct Printed {
    stdout: Vec<u8>,
    stderr: Vec<u8>,
}

async fn attend(child: &mut Child, input: &[u8], printed: &mut Printed) -> io::Result<ExitStatus> {
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let (status, (), (), ()) = tokio::try_join!(
        child.wait(),
        feed(stdin, input),
        head(stdout, &mut printed.stdout),
        tail(stderr, &mut printed.stderr)
    )?;
    Ok(status)
}

/// Writes the input; a script need not read it.
async fn feed(stdin: Option<ChildStdin>, input: &[u8]) -> io::Result<()> {
    let Some(mut stdin) = stdin else { return Ok(()) };
    match stdin.write_all(input).await {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error),
        _ => Ok(()),
    }
}

/// Reads to the end or one byte beyond the limit; then the pipe is closed and the script ends by SIGPIPE.
async fn head(stream: Option<impl AsyncRead + Unpin>, kept: &mut Vec<u8>) -> io::Result<()> {
    if let Some(stream) = stream {
        stream.take(STDOUT_LIMIT_BYTES as u64 + 1).read_to_end(kept).await?;
    }
    Ok(())
}

/// Reads to the end and keeps the last bytes.
async fn tail(stream: Option<impl AsyncRead + Unpin>, kept: &mut Vec<u8>) -> io::Result<()> {
    let Some(mut stream) = stream else { return Ok(()) };
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        let count = stream.read(&mut chunk).await?;
        if count == 0 {
            return Ok(());
        }
        kept.extend_from_slice(chunk.get(..count).unwrap_or_default());
        let surplus = kept.len().saturating_sub(STDERR_LIMIT_BYTES);
        kept.drain(..surplus);
    }
}

fn code(status: ExitStatus) -> i32 {
    status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or_default())
}

/// A process group that is killed when this is dropped.
struct Group(Option<Pid>);

impl Group {
    fn disarm(mut self) {
        self.0 = None;
    }

    fn signal(&self, signal: Signal) {
        if let Some(leader) = self.0 {
            // A group that is gone is what is wanted.
            let _gone = kill_process_group(leader, signal);
        }
    }

    /// Asks the group to end, and kills what is left after a grace time.
    async fn end(self, child: &mut Child) {
        self.signal(Signal::TERM);
        tokio::select! {
            _ = child.wait() => {}
            () = sleep(KILL_GRACE) => {}
        }
        self.signal(Signal::KILL);
        // A process that cannot be killed (a hanging file server) must not hold the caller.
        let _unreaped = tokio::time::timeout(Duration::from_secs(1), child.wait()).await;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
    }
}
