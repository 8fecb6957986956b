//! The scripts of one run directory: `submit.sh` and what it runs.
//!
//! `submit.sh` starts with `#!/bin/bash`, as jobflow-remote's does: commands before and after a job are written for
//! bash (`source`, and `module`, a function that bash alone takes over from its environment). The wrapper itself is
//! POSIX shell and also runs where the script is given to another `sh`. Directives of the scheduler come first;
//! commands that a header has (verbatim lines) run after the start lock is taken, so that a second copy of the
//! script does nothing at all.

use std::borrow::Cow;

use super::layout;
use crate::model::ids::Token;
use crate::model::quote::quote;
use crate::model::resources::Resources;
use crate::scheduler::{HeaderJob, Scheduler, Unsupported};

/// How long a body that was told to end (TERM) has before it is killed. Less than the 30 s after which Slurm
/// (`KillWait`) kills the wrapper too, so that the end marker is still written.
pub const DEFAULT_GRACE_SECONDS: u32 = 25;

/// Runs a Python job where there is jobflow: the program of [`layout::EXECUTE`]. Its own head says what it does.
pub const EXECUTE: &str = include_str!("execute.py");

/// Looks for the Python that runs it.
const FIND_PYTHON: &str = include_str!("python.sh");

/// The environment variable with the run directory.
pub const RUN_DIR: &str = "JF_RUN_DIR";

/// What happens around the job: the worker's and the `exec_config`'s settings, already merged.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Setup {
    /// Shell text before the job; empty for none.
    pub pre_run: String,
    /// Shell text after the job, whatever its exit code, which stays the job's; empty for none.
    pub post_run: String,
    pub modules: Vec<String>,
    /// Variables whose values may use others (`/x/bin:$PATH`); see [`export_value`].
    pub export: Vec<(String, String)>,
    /// Runs a Python job in place of [`EXECUTE`]; `{}` stands for the run directory. The worker of jobflow-remote 1.0 is
    /// `jf -fe execution run {}`.
    pub execution_command: Option<String>,
    /// Replaces [`DEFAULT_GRACE_SECONDS`].
    pub grace_seconds: Option<u32>,
}

/// What the body does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Payload {
    Command(CommandPayload),
    /// A jobflow job: executed by a Python of the worker, which reads `jfremote_in.json`. What it prints goes where the
    /// script's own output goes (`queue.out`, `queue.err`), as with jobflow-remote.
    Python,
}

/// A job that is a program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandPayload {
    pub program: Program,
    /// Variables with exactly these values.
    pub environment: Vec<(String, String)>,
    /// File that is its standard input, relative to the run directory; none is `/dev/null`.
    pub stdin: Option<String>,
}

/// What is run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Program {
    /// Executed as it is, without a shell in between.
    Arguments(Vec<String>),
    /// Run by `sh`.
    Shell(String),
}

/// All that the scripts of one attempt are made from.
#[derive(Debug, Clone)]
pub struct Attempt<'a> {
    pub token: &'a Token,
    /// The job's name, for the scheduler's listing.
    pub name: &'a str,
    pub run_dir: &'a str,
    pub work_dir: &'a str,
    pub resources: &'a Resources,
    pub setup: &'a Setup,
    pub payload: &'a Payload,
}

/// A file for the run directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScriptFile {
    /// Relative to the run directory.
    pub path: &'static str,
    pub content: String,
    pub mode: u32,
}

/// Why no script can be made. Always the fault of the job's or the project's text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScriptError {
    #[error(transparent)]
    Unsupported(#[from] Unsupported),
    #[error("{0:?} cannot be the name of an environment variable")]
    VariableName(String),
    #[error("{0} contains a NUL byte, which no program can be given")]
    Nul(&'static str),
    #[error("the command is empty")]
    NoCommand,
}

/// Returns the files that make the attempt ready for `scheduler`, all but `jfremote_in.json`.
pub fn build(attempt: &Attempt<'_>, scheduler: &dyn Scheduler) -> Result<Vec<ScriptFile>, ScriptError> {
    let job = HeaderJob { name: attempt.name, run_dir: attempt.run_dir, resources: attempt.resources };
    let header = scheduler.header(&job)?;
    let mut files = vec![
        ScriptFile { path: layout::SUBMIT, content: submit_script(attempt, &header, scheduler), mode: 0o700 },
        ScriptFile { path: layout::BODY, content: body(attempt)?, mode: 0o600 },
    ];
    match attempt.payload {
        Payload::Command(CommandPayload { program: Program::Shell(text), .. }) => {
            files.push(ScriptFile {
                path: layout::SHELL_TEXT,
                content: ended(text).into_owned(),
                mode: 0o600,
            });
        }
        Payload::Python if attempt.setup.execution_command.is_none() => {
            files.push(ScriptFile { path: layout::EXECUTE, content: EXECUTE.to_owned(), mode: 0o600 });
        }
        Payload::Command(_) | Payload::Python => {}
    }
    if files.iter().any(|file| file.content.contains('\0')) {
        return Err(ScriptError::Nul("the job's command or its environment"));
    }
    Ok(files)
}

const WRAPPER: &str = include_str!("wrapper.sh");

fn submit_script(attempt: &Attempt<'_>, header: &str, scheduler: &dyn Scheduler) -> String {
    let (directives, commands) = split_header(header);
    let (id, restarts) = match scheduler.job_variables() {
        Some(names) => (format!("${{{}:-}}", names.id), format!("${{{}:-0}}", names.restarts)),
        None => (String::new(), "0".to_owned()),
    };
    format!(
        "#!/bin/bash\n{directives}\n# Attempt {token} of a job of JobFerry.\njf_token={token}\njf_run_dir={run_dir}\n\
         jf_spool={spool}\njf_grace={grace}\njf_id={id}\njf_restarts={restarts}\njf_header() {{\n:\n{commands}}}\n{WRAPPER}",
        token = quote(attempt.token.as_str()),
        run_dir = quote(attempt.run_dir),
        spool = quote(&layout::spool(attempt.work_dir)),
        grace = attempt.setup.grace_seconds.unwrap_or(DEFAULT_GRACE_SECONDS),
    )
}

/// Returns the leading comment lines of a header, and what comes from its first command on.
fn split_header(header: &str) -> (String, String) {
    let is_comment = |line: &&str| line.trim_start().starts_with('#') || line.trim().is_empty();
    let directives: Vec<&str> = header.lines().take_while(is_comment).collect();
    let commands: Vec<&str> = header.lines().skip(directives.len()).collect();
    let joined = |lines: &[&str]| lines.iter().map(|line| format!("{line}\n")).collect::<String>();
    (joined(&directives), joined(&commands))
}

fn body(attempt: &Attempt<'_>) -> Result<String, ScriptError> {
    let setup = attempt.setup;
    let mut text = vec![guard(attempt.token)];
    text.push(ended(&setup.pre_run).into_owned());
    for (name, value) in &setup.export {
        text.push(format!("export {}={}\n", variable(name)?, export_value(value)));
    }
    for module in &setup.modules {
        text.push(format!("module load {}\n", quote(module)));
    }
    match attempt.payload {
        Payload::Command(command) => push_command(&mut text, command, &setup.post_run)?,
        Payload::Python => push_python(&mut text, attempt),
    }
    Ok(text.concat())
}

/// Returns the beginning of a body: its first line tells the wrapper whose it is.
///
/// A wrapper whose directory was moved aside between two steps of it comes, by the path, into that of a newer attempt:
/// `jf_guard` ends the old one there.
fn guard(token: &Token) -> String {
    let token = token.as_str();
    format!(
        "# {token}\njf_guard() {{ read -r jf_line <\"$JF_RUN_DIR\"/{body} && [ \"$JF_TOKEN $jf_line\" = '{token} # {token}' ] || exit 72; }}\n\
         cd \"$JF_RUN_DIR\" && jf_guard || exit 72\n",
        body = layout::BODY,
    )
}

fn push_command(text: &mut Vec<String>, command: &CommandPayload, post_run: &str) -> Result<(), ScriptError> {
    for (name, value) in &command.environment {
        text.push(format!("export {}={}\n", variable(name)?, quote(value)));
    }
    let program = program_words(&command.program)?;
    let stdin = command.stdin.as_deref().map_or("/dev/null".to_owned(), in_run_dir);
    text.push("jf_guard\n".to_owned());
    let streams = format!("<{stdin} >\"$JF_RUN_DIR\"/stdout 2>\"$JF_RUN_DIR\"/stderr");
    if post_run.trim().is_empty() {
        text.push(format!("exec {program} {streams}\n"));
    } else {
        text.push(format!("( exec {program} {streams} )\njf_job_status=$?\n"));
        text.push(ended(post_run).into_owned());
        text.push("exit \"$jf_job_status\"\n".to_owned());
    }
    Ok(())
}

fn program_words(program: &Program) -> Result<String, ScriptError> {
    match program {
        Program::Arguments(arguments) => {
            let first = arguments.first().filter(|first| !first.is_empty()).ok_or(ScriptError::NoCommand)?;
            // A leading dash would be read as an option of `exec`.
            let guard = if first.starts_with('-') { "-- " } else { "" };
            let words: Vec<String> = arguments.iter().map(|word| quote(word)).collect();
            Ok(format!("{guard}{}", words.join(" ")))
        }
        Program::Shell(_) => Ok(format!("sh {}", in_run_dir(layout::SHELL_TEXT))),
    }
}

fn in_run_dir(path: &str) -> String {
    format!("\"$JF_RUN_DIR\"/{}", quote(path))
}

/// Whether a shell text goes on after the job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Follows {
    Nothing,
    Commands,
}

/// Returns the shell text that runs our own program in the run directory with the Python of the job. Its exit code is that
/// of the program, which its head tells, or 127 where there is no Python.
pub fn python_program(follows: Follows) -> String {
    let exec = match follows {
        Follows::Nothing => "exec ",
        Follows::Commands => "",
    };
    let program = in_run_dir(layout::EXECUTE);
    format!("{FIND_PYTHON}jf_find_python && {exec}\"$jf_python\" {program} \"$JF_RUN_DIR\"\n")
}

fn push_python(text: &mut Vec<String>, attempt: &Attempt<'_>) {
    let setup = attempt.setup;
    let follows = if setup.post_run.trim().is_empty() { Follows::Nothing } else { Follows::Commands };
    text.push("jf_guard\n".to_owned());
    text.push(match &setup.execution_command {
        Some(command) => ended(&fill_in(command, &quote(attempt.run_dir))).into_owned(),
        None => python_program(follows),
    });
    if follows == Follows::Commands {
        text.push("jf_job_status=$?\n".to_owned());
        text.push(ended(&setup.post_run).into_owned());
        text.push("exit \"$jf_job_status\"\n".to_owned());
    }
}

/// Returns `text` with its last line ended; an empty text stays empty.
fn ended(text: &str) -> Cow<'_, str> {
    if text.is_empty() || text.ends_with('\n') {
        Cow::Borrowed(text)
    } else {
        Cow::Owned(format!("{text}\n"))
    }
}

/// Returns what Python's `str.format` makes of `{}`, `{0}`, `{{` and `}}`; other braces stay.
fn fill_in(template: &str, value: &str) -> String {
    let mut text = String::with_capacity(template.len() + value.len());
    let mut rest = template;
    while let Some(at) = rest.find(['{', '}']) {
        let (before, from) = rest.split_at(at);
        text.push_str(before);
        let replacements = [("{}", value), ("{0}", value), ("{{", "{"), ("}}", "}")];
        let (mark, put) = replacements
            .into_iter()
            .find(|(mark, _)| from.starts_with(mark))
            .unwrap_or_else(|| if from.starts_with('{') { ("{", "{") } else { ("}", "}") });
        text.push_str(put);
        rest = from.strip_prefix(mark).unwrap_or_default();
    }
    text.push_str(rest);
    text
}

fn variable(name: &str) -> Result<&str, ScriptError> {
    let mut chars = name.chars();
    let first = chars.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_');
    if first && chars.all(|c| c.is_ascii_alphanumeric() || c == '_') {
        Ok(name)
    } else {
        Err(ScriptError::VariableName(name.to_owned()))
    }
}

/// Returns a shell word for the value of an `export`, in which `$NAME`, `${NAME}`, `${NAME:-word}` (also `-`, `+`,
/// `:+`) and a leading `~/` (also after `:`) mean what they mean in a shell, and nothing else does.
///
/// jobflow-remote writes these values unquoted: users rely on variables, and put quotes around values with spaces. So
/// a value wholly within quotes loses them, as it would there; blanks, `;`, backquotes and `$(…)` are plain text.
pub fn export_value(value: &str) -> String {
    if let Some(inner) = within(value, '\'') {
        return quote(inner);
    }
    let text = within(value, '"').unwrap_or(value);
    let mut word = String::from("\"");
    let mut rest = text;
    let mut at_start = true;
    while let Some(next) = rest.chars().next() {
        if at_start && (rest == "~" || rest.starts_with("~/") || rest.starts_with("~:")) {
            word.push_str("${HOME}");
            rest = rest.get(1..).unwrap_or_default();
        } else if let Some(length) = expansion_length(rest) {
            word.push_str(rest.get(..length).unwrap_or_default());
            rest = rest.get(length..).unwrap_or_default();
        } else {
            if "\"\\`$".contains(next) {
                word.push('\\');
            }
            word.push(next);
            rest = rest.get(next.len_utf8()..).unwrap_or_default();
        }
        at_start = next == ':';
    }
    word.push('"');
    word
}

fn within(value: &str, mark: char) -> Option<&str> {
    let inner = value.strip_prefix(mark)?.strip_suffix(mark)?;
    (!inner.contains(mark)).then_some(inner)
}

/// Returns the length in bytes of the variable expansion that `text` begins with, if it does.
fn expansion_length(text: &str) -> Option<usize> {
    let after = text.strip_prefix('$')?;
    match after.strip_prefix('{') {
        None => name_length(after).map(|length| 1 + length),
        Some(inside) => {
            let name = name_length(inside)?;
            let rest = inside.get(name..)?;
            let length = if rest.starts_with('}') { 0 } else { operator_length(rest)? };
            rest.get(length..)?.starts_with('}').then_some(2 + name + length + 1)
        }
    }
}

/// Returns the length of `:-word`, `-word`, `:+word` or `+word`, where the word is of plain characters and `$NAME`.
fn operator_length(text: &str) -> Option<usize> {
    let operator = [":-", ":+", "-", "+"].into_iter().find(|operator| text.starts_with(operator))?;
    let mut length = operator.len();
    loop {
        let rest = text.get(length..)?;
        let next = rest.chars().next()?;
        length += match next {
            '}' => return Some(length),
            '$' => 1 + name_length(rest.get(1..)?)?,
            c if c.is_ascii_alphanumeric() || "_-./:=,+@%".contains(c) => 1,
            _ => return None,
        };
    }
}

fn name_length(text: &str) -> Option<usize> {
    let first = text.chars().next()?;
    if !(first.is_ascii_alphabetic() || first == '_') {
        return None;
    }
    Some(text.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').count())
}

#[cfg(test)]
#[path = "script/tests.rs"]
mod tests;
