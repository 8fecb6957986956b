//! A place where `jf` runs alone: its own home, its own projects, no variable of the person who tests.

use std::fmt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use regex::Regex;

/// A home directory with a folder for projects, removed at the end.
pub(crate) struct TestEnv {
    root: tempfile::TempDir,
}

/// How a command ended and what it printed, with paths, ids and times of the day taken out.
#[must_use]
pub(crate) struct Run {
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) code: Option<i32>,
}

impl TestEnv {
    /// Returns a place without any project.
    pub(crate) fn empty() -> Self {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join("projects")).unwrap();
        std::fs::create_dir(root.path().join("work")).unwrap();
        Self { root }
    }

    /// Returns a place with the project `lab`: the embedded store, one local worker `here`.
    pub(crate) fn with_project() -> Self {
        let place = Self::empty();
        place.write("projects/lab.yaml", &place.project("lab"));
        place
    }

    /// Returns a project file.
    pub(crate) fn project(&self, name: &str) -> String {
        let root = self.root.path().display();
        format!(
            "name: {name}\n\
             workers:\n  here:\n    type: local\n    scheduler_type: shell\n    work_dir: {root}/work\n\
             queue:\n  store:\n    type: SqliteStore\n    path: {root}/{name}.sqlite\n"
        )
    }

    pub(crate) fn path(&self, relative: &str) -> PathBuf {
        self.root.path().join(relative)
    }

    pub(crate) fn write(&self, relative: &str, content: &str) {
        std::fs::write(self.path(relative), content).unwrap();
    }

    /// Runs `jf` with these words, split at spaces.
    pub(crate) fn jf(&self, line: &str) -> Run {
        self.run(self.command(line))
    }

    /// Returns the command `jf` with these words, to be changed further.
    pub(crate) fn command(&self, line: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_jf"));
        let home = self.root.path();
        command.args(line.split_whitespace()).env_clear().current_dir(home).stdin(Stdio::null());
        command.env("HOME", home).env("JFREMOTE_PROJECTS_FOLDER", home.join("projects"));
        command.env("TZ", "Europe/Paris").env("PATH", "/usr/bin:/bin").env("USER", "tester");
        command
    }

    /// Runs the command to its end.
    pub(crate) fn run(&self, mut command: Command) -> Run {
        let output = command.output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let stdout = self.redact(&self.with_even_gaps(&text(&output.stdout)));
        Run { stdout, stderr: self.redact(&text(&output.stderr)), code: output.status.code() }
    }

    /// How far columns are apart depends on the length of the path that is taken out.
    fn with_even_gaps(&self, text: &str) -> String {
        if !text.contains(&self.root.path().display().to_string()) {
            return text.to_owned();
        }
        Regex::new(r"(\S) {2,}").unwrap().replace_all(text, "$1  ").into_owned()
    }

    fn redact(&self, text: &str) -> String {
        let root = self.root.path().display().to_string();
        let text = text.replace(&root, "[ROOT]");
        let version = format!("jf {}", env!("CARGO_PKG_VERSION"));
        text.replace(&version, "jf [VERSION]")
    }
}

impl Run {
    /// Returns what `--json` printed.
    pub(crate) fn json(&self) -> serde_json::Value {
        assert_eq!(self.code, Some(0), "{self}");
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}:\n{self}"))
    }

    /// Returns the run with random uuids, times of today and the machine's system taken out.
    pub(crate) fn without_chance(self) -> Self {
        let uuid = Regex::new("[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}").unwrap();
        let time = Regex::new(r"20\d\d-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d+)?Z?)?").unwrap();
        let system = Regex::new(r"Linux \S+, bash \S+").unwrap();
        let clean = |text: &str| {
            let text = uuid.replace_all(text, "[UUID]");
            system.replace_all(&time.replace_all(&text, "[TIME]"), "[SYSTEM]").into_owned()
        };
        Self { stdout: clean(&self.stdout), stderr: clean(&self.stderr), code: self.code }
    }
}

impl fmt::Display for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let code = self.code.map_or_else(|| "killed".to_owned(), |code| code.to_string());
        write!(f, "exit: {code}\n----- stdout\n{}----- stderr\n{}", self.stdout, self.stderr)
    }
}
