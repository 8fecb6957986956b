//! A project of its own in a temporary folder, on real stores and real workers, driven through the real binaries.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::services::{address, on_cluster};

/// Which store the project uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Store {
    Sqlite,
    Standalone,
    ReplicaSet,
}

/// Which worker runs its jobs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Site {
    Here,
    SshShell,
    SshSlurm,
}

/// A project; its folder, its database and its work directory end with it.
pub(crate) struct Lab {
    folder: tempfile::TempDir,
    /// Where the worker's jobs run, on the worker.
    pub(crate) work_dir: String,
    site: Site,
    database: Option<(String, String)>,
}

/// No command of the suite takes longer, unless something hangs.
const COMMAND_LIMIT: Duration = Duration::from_secs(180);

impl Lab {
    /// Returns a project on this store and site, or nothing (after saying so) where the service is missing.
    pub(crate) fn new(test: &str, store: Store, site: Site) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let name = format!("jf_{}", uuid::Uuid::new_v4().simple());
        let database = match store {
            Store::Sqlite => None,
            Store::Standalone => Some((address(test, "JF_TEST_MONGODB_URI")?, name.clone())),
            Store::ReplicaSet => Some((address(test, "JF_TEST_MONGODB_REPLICA_SET_URI")?, name.clone())),
        };
        let work_dir = match site {
            Site::Here => folder.path().join("work").display().to_string(),
            Site::SshShell => format!("{}/{name}", address(test, "JF_TEST_SSH_WORK_DIR")?),
            Site::SshSlurm => {
                address(test, "JF_TEST_SLURM")?;
                format!("{}/{name}", address(test, "JF_TEST_SSH_WORK_DIR")?)
            }
        };
        let lab = Self { folder, work_dir, site, database };
        lab.write_project(&lab.worker_text(""));
        Some(lab)
    }

    /// Returns the worker's section with more lines in it (each indented by four blanks).
    pub(crate) fn worker_text(&self, more: &str) -> String {
        let scheduler = if self.site == Site::SshSlurm { "slurm" } else { "shell" };
        let connection = match self.site {
            Site::Here => "    type: local\n".to_owned(),
            Site::SshShell | Site::SshSlurm => {
                let configuration = std::env::var("JF_TEST_SSH_CONFIG").unwrap();
                format!(
                    "    type: remote\n    host: jf-test-cluster\n    jobferry: {{ssh_config_file: {configuration}}}\n"
                )
            }
        };
        let resources = if self.site == Site::SshSlurm { "    resources: {partition: main}\n" } else { "" };
        let work_dir = &self.work_dir;
        format!(
            "workers:\n  w:\n{connection}    scheduler_type: {scheduler}\n    work_dir: {work_dir}\n{resources}{more}"
        )
    }

    /// Writes the project file with these workers.
    pub(crate) fn write_project(&self, workers: &str) {
        let stores = self.database.as_ref().map_or(String::new(), |(uri, name)| {
            let store = |collection: &str| {
                format!(
                    "{{type: MongoURIStore, uri: '{uri}', database: {name}, collection_name: {collection}}}"
                )
            };
            format!("queue: {{store: {}}}\njobstore: {{docs_store: {}}}\n", store("jobs"), store("outputs"))
        });
        let base_dir = self.path("base");
        let text = format!("name: lab\nbase_dir: {}\n{stores}{workers}", base_dir.display());
        self.write("projects/lab.yaml", &text);
    }

    /// Returns a path in the project's folder.
    pub(crate) fn path(&self, relative: &str) -> PathBuf {
        self.folder.path().join(relative)
    }

    /// Writes a file in the project's folder and returns its path.
    pub(crate) fn write(&self, relative: &str, text: &str) -> PathBuf {
        use std::os::unix::fs::PermissionsExt as _;
        let path = self.path(relative);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        path
    }

    /// Returns a command of ours (`jf` or `runner`) in this project, with nothing of the caller's own set-up.
    pub(crate) fn command(&self, program: &str, arguments: &[&str]) -> Command {
        let binary = match program {
            "jf" => env!("CARGO_BIN_EXE_jf"),
            _ => env!("CARGO_BIN_EXE_runner"),
        };
        let mut command = Command::new(binary);
        command.args(arguments).env_clear().stdin(Stdio::null()).current_dir(self.folder.path());
        command.env("HOME", self.folder.path()).env("PATH", std::env::var_os("PATH").unwrap());
        command.env("JFREMOTE_PROJECTS_FOLDER", self.path("projects")).env("TZ", "UTC").env("USER", "tester");
        command
    }

    /// Runs `jf` and returns how it ended.
    pub(crate) fn jf(&self, arguments: &[&str]) -> Output {
        finish(self.command("jf", arguments))
    }

    /// Runs `jf … --json`, which has to succeed, and returns what it printed.
    pub(crate) fn json(&self, arguments: &[&str]) -> Value {
        let output = self.jf(&[arguments, &["--json"]].concat());
        assert!(output.status.success(), "jf {arguments:?}: {}", talk(&output));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// Runs `jf`, which has to succeed.
    pub(crate) fn ok(&self, arguments: &[&str]) -> String {
        let output = self.jf(arguments);
        assert!(output.status.success(), "jf {arguments:?}: {}", talk(&output));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Runs the runner until nothing is left to do.
    pub(crate) fn run_until_idle(&self) {
        let output = finish(self.command("runner", &["run", "--until-idle", "--max-seconds", "150"]));
        assert!(output.status.success(), "runner: {}\n{}", talk(&output), self.log());
    }

    /// Starts a runner that ends when nothing is left to do, and leaves it to the caller.
    pub(crate) fn start_runner(&self) -> Child {
        let mut command = self.command("runner", &["run", "--until-idle", "--max-seconds", "150"]);
        command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    }

    /// Returns the runner's log, for failures.
    pub(crate) fn log(&self) -> String {
        let folder = self.path("base/log");
        let files = std::fs::read_dir(folder).into_iter().flatten().flatten();
        files.filter_map(|file| std::fs::read_to_string(file.path()).ok()).collect()
    }

    /// Returns the state of each job by its name.
    pub(crate) fn states(&self) -> Vec<(String, String)> {
        let jobs = self.json(&["job", "list", "-m", "0"]);
        let jobs = jobs["jobs"].as_array().or_else(|| jobs.as_array()).unwrap().clone();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let mut states: Vec<(String, String)> =
            jobs.iter().map(|job| (text(&job["name"]), text(&job["state"]))).collect();
        states.sort();
        states
    }

    /// Returns the output of the job of this name.
    pub(crate) fn output(&self, name: &str) -> Value {
        let jobs = self.json(&["job", "list", "-m", "0", "-n", name]);
        let jobs = jobs["jobs"].as_array().or_else(|| jobs.as_array()).unwrap().clone();
        assert_eq!(jobs.len(), 1, "jobs named {name}");
        self.json(&["job", "output", jobs[0]["db_id"].as_str().unwrap()])
    }

    /// Returns a file of the worker's machine.
    pub(crate) fn worker_file(&self, path: &str) -> String {
        match self.site {
            Site::Here => std::fs::read_to_string(path).unwrap(),
            Site::SshShell | Site::SshSlurm => {
                let configuration = std::env::var("JF_TEST_SSH_CONFIG").unwrap();
                String::from_utf8(on_cluster(&configuration, &format!("cat {path}")).stdout).unwrap()
            }
        }
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if self.site != Site::Here
            && let Ok(configuration) = std::env::var("JF_TEST_SSH_CONFIG")
        {
            drop(on_cluster(&configuration, &format!("rm -rf {}", self.work_dir)));
        }
        if let Some((uri, name)) = &self.database {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let client = mongodb::Client::with_uri_str(uri).await.unwrap();
                client.database(name).drop().await.unwrap();
            });
        }
    }
}

/// Returns how the command ended; one that hangs is killed and fails the test.
pub(crate) fn finish(mut command: Command) -> Output {
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let id = child.id().to_string();
    let (done, waiting) = std::sync::mpsc::channel::<()>();
    let watchdog = std::thread::spawn(move || {
        let in_time = waiting.recv_timeout(COMMAND_LIMIT) != Err(std::sync::mpsc::RecvTimeoutError::Timeout);
        if !in_time {
            drop(Command::new("kill").args(["-9", &id]).status());
        }
        in_time
    });
    let output = child.wait_with_output().unwrap();
    drop(done);
    assert!(watchdog.join().unwrap(), "{command:?} did not end in time: {}", talk(&output));
    output
}

/// Returns everything a command said and how it ended.
pub(crate) fn talk(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    format!("{}\n{}\n{}", output.status, text(&output.stdout), text(&output.stderr))
}

/// Waits until `holds`, with a limit.
pub(crate) fn eventually(what: &str, limit: Duration, mut holds: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !holds() {
        assert!(begin.elapsed() < limit, "{what}: not within {limit:?}");
        std::thread::yield_now();
        pause();
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "a test thread waits for another process, with a limit around it"
)]
fn pause() {
    std::thread::sleep(Duration::from_millis(20));
}

/// Returns the examples that come with the program.
pub(crate) fn example(relative: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("config/examples").join(relative)
}
