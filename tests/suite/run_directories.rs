//! Real run directories, and scripts really run in them, for the tests of worker and schedulers.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use jobferry::model::ids::{JobKey, Token};
use jobferry::model::resources::Resources;
use jobferry::scheduler::{Printed, Question, Scheduler};
use jobferry::worker::end_marker::{self, End, Start};
use jobferry::worker::layout;
use jobferry::worker::script::{self, Attempt, CommandPayload, Payload, Program, Setup};

/// Longer than anything here may take on a loaded machine.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);

/// One staged attempt.
pub(crate) struct Staged {
    pub(crate) token: Token,
    pub(crate) run_dir: PathBuf,
    work_dir: PathBuf,
}

/// What a run directory is staged with.
pub(crate) struct Job {
    pub(crate) name: String,
    pub(crate) payload: Payload,
    pub(crate) setup: Setup,
    pub(crate) resources: Resources,
}

impl Job {
    pub(crate) fn arguments(words: &[&str]) -> Self {
        Self::of(Program::Arguments(words.iter().map(|word| (*word).to_owned()).collect()))
    }

    pub(crate) fn shell(text: &str) -> Self {
        Self::of(Program::Shell(text.to_owned()))
    }

    fn of(program: Program) -> Self {
        let payload = Payload::Command(CommandPayload { program, environment: Vec::new(), stdin: None });
        Self { name: "a job".to_owned(), payload, setup: Setup::default(), resources: Resources::default() }
    }

    pub(crate) fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    pub(crate) fn command(&mut self) -> &mut CommandPayload {
        match &mut self.payload {
            Payload::Command(command) => command,
            Payload::Python => panic!("no command"),
        }
    }

    /// Writes the run directory of attempt `number` below `work_dir`, spool included.
    pub(crate) fn stage(&self, work_dir: &Path, number: usize, scheduler: &dyn Scheduler) -> Staged {
        // Unique on the machine: other runs of these tests look for tokens too.
        let unique =
            work_dir.file_name().unwrap().to_string_lossy().replace(|c: char| !c.is_ascii_alphanumeric(), "");
        let key = JobKey::new(format!("{number:06}-{unique}-{}", std::process::id()), 1);
        self.stage_as(work_dir, &key, 1, scheduler)
    }

    /// Writes the run directory of the attempt that follows `old`, over what is there of it.
    pub(crate) fn stage_again(&self, work_dir: &Path, old: &Staged, scheduler: &dyn Scheduler) -> Staged {
        drop(fs::remove_dir_all(&old.run_dir));
        let (key, attempt) = old.token.parts().unwrap();
        self.stage_as(work_dir, &key, attempt + 1, scheduler)
    }

    fn stage_as(&self, work_dir: &Path, key: &JobKey, attempt: i32, scheduler: &dyn Scheduler) -> Staged {
        let token = Token::new(key, attempt);
        let work_text = work_dir.to_str().unwrap();
        let run_dir = layout::run_directory(work_text, key).unwrap();
        let attempt = Attempt {
            token: &token,
            name: &self.name,
            run_dir: &run_dir,
            work_dir: work_text,
            resources: &self.resources,
            setup: &self.setup,
            payload: &self.payload,
        };
        fs::create_dir_all(format!("{run_dir}/{}", layout::PRIVATE)).unwrap();
        fs::create_dir_all(layout::spool(work_text)).unwrap();
        for file in script::build(&attempt, scheduler).unwrap() {
            let path = format!("{run_dir}/{}", file.path);
            fs::write(&path, file.content).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(file.mode)).unwrap();
        }
        Staged { token, run_dir: run_dir.into(), work_dir: work_dir.to_owned() }
    }
}

impl Staged {
    /// Returns `submit.sh` as a command of `shell`, ready to be started.
    pub(crate) fn run_by(&self, shell: &str) -> Command {
        let mut command = Command::new(shell);
        command.arg("./submit.sh").current_dir(&self.run_dir).stdin(Stdio::null());
        command
    }

    pub(crate) fn read(&self, file: &str) -> String {
        String::from_utf8_lossy(&fs::read(self.run_dir.join(file)).unwrap()).into_owned()
    }

    pub(crate) fn exists(&self, file: &str) -> bool {
        self.run_dir.join(file).exists()
    }

    pub(crate) fn end(&self) -> End {
        end_marker::read_end(&fs::read(self.run_dir.join(layout::END)).unwrap(), &self.token).unwrap()
    }

    pub(crate) fn start(&self) -> Start {
        end_marker::read_start(&fs::read(self.run_dir.join(layout::START)).unwrap(), &self.token).unwrap()
    }

    pub(crate) fn in_spool(&self) -> bool {
        Path::new(&layout::spool_entry(self.work_dir.to_str().unwrap(), &self.token)).exists()
    }
}

/// Asks a question on this machine.
pub(crate) fn ask(question: &Question) -> Printed {
    use std::io::Write as _;
    let mut command = Command::new("sh");
    command.arg("-c").arg(&question.script);
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // A script that does not read its input closes it; that is no failure.
    let _closed = child.stdin.take().unwrap().write_all(question.input.as_bytes());
    let output = child.wait_with_output().unwrap();
    Printed {
        exit_code: output.status.code().unwrap_or(128),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// Waits until `look` finds something; panics after [`LIMIT`].
pub(crate) async fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let watch = async {
        loop {
            if let Some(found) = look() {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(LIMIT, watch).await.unwrap_or_else(|_| panic!("in vain waited until {what}"))
}

/// Returns how many processes have exactly this word among their arguments.
pub(crate) fn processes_with(word: &str) -> usize {
    let has_word = |path: PathBuf| {
        fs::read(path)
            .is_ok_and(|arguments| arguments.split(|byte| *byte == 0).any(|it| it == word.as_bytes()))
    };
    let processes = fs::read_dir("/proc").unwrap().flatten();
    processes.filter(|process| has_word(process.path().join("cmdline"))).count()
}
