//! A new project file, from what its user answered.

use std::fmt::Write as _;
use std::path::PathBuf;

use super::secret::SecretSource;
use super::section::is_plain;
use super::worker::Scheduler;

/// What a new project is made of.
#[derive(Debug, Clone, PartialEq)]
pub struct InitAnswers {
    pub name: String,
    /// Nothing leaves it to the default, `<projects folder>/<name>`.
    pub base_dir: Option<PathBuf>,
    /// The first one takes the jobs that name none.
    pub workers: Vec<NewWorker>,
    pub store: NewStore,
}

/// One worker of a new project.
#[derive(Debug, Clone, PartialEq)]
pub struct NewWorker {
    pub name: String,
    pub place: NewPlace,
    pub scheduler: Scheduler,
    /// Absolute path on the worker.
    pub work_dir: String,
    /// Keys of the scheduler's header template.
    pub resources: Vec<(String, String)>,
    pub pre_run: Option<String>,
    pub max_jobs: Option<u32>,
}

/// Where a new worker is.
#[derive(Debug, Clone, PartialEq)]
pub enum NewPlace {
    Local,
    Ssh { host: String, user: Option<String>, port: Option<u16>, key_filename: Option<PathBuf> },
}

/// Where a new project keeps its jobs and outputs.
#[derive(Debug, Clone, PartialEq)]
pub enum NewStore {
    Sqlite,
    Mongo {
        host: String,
        port: u16,
        database: String,
        username: Option<String>,
        password: Option<SecretSource>,
    },
    /// A connection string, and the database if the string names none.
    MongoUri {
        uri: SecretSource,
        database: Option<String>,
    },
}

/// Returns the text of a project file in YAML, with comments. It passes its own check when the answers would.
///
/// A secret among the answers is in the text: the file has to be private, as [`super::save_new`] makes it.
pub fn project_file(answers: &InitAnswers) -> String {
    let mut out = Lines::default();
    out.comment(0, "A JobFerry project, made by `jf init`. `jf project check` tries every hop of it.");
    out.comment(0, "Every key, its value and where that comes from: `jf project show --source`.");
    out.entry(0, "name", &answers.name);
    match &answers.base_dir {
        Some(base_dir) => out.entry(0, "base_dir", &base_dir.display().to_string()),
        None => out.comment(0, "base_dir: /path/where/this/machine/keeps/the/projects/files"),
    }
    out.comment(0, "How much the log tells: error, warn, info or debug.");
    out.entry(0, "log_level", "info");
    out.blank();
    out.comment(0, "The machines that run jobs. The first one takes the jobs that name none.");
    if answers.workers.is_empty() {
        out.line(0, "workers: {}");
    } else {
        out.line(0, "workers:");
    }
    for one in &answers.workers {
        worker(&mut out, one);
    }
    out.blank();
    store(&mut out, &answers.store);
    out.blank();
    out.comment(0, "Environment modules, variables and commands around jobs that ask for them by name.");
    out.comment(0, "exec_config:");
    out.comment(0, "  vasp: {modules: [intel, vasp], export: {OMP_NUM_THREADS: 1}}");
    out.0
}

fn worker(out: &mut Lines, worker: &NewWorker) {
    out.line(2, &format!("{}:", scalar(&worker.name)));
    match &worker.place {
        NewPlace::Local => {
            out.comment(4, "This machine.");
            out.entry(4, "type", "local");
        }
        NewPlace::Ssh { host, user, port, key_filename } => {
            out.comment(4, "A host reached by OpenSSH, with your ~/.ssh/config, keys and agent.");
            out.entry(4, "type", "remote");
            out.entry(4, "host", host);
            out.optional(4, "user", user.as_deref());
            if let Some(port) = port {
                out.line(4, &format!("port: {port}"));
            }
            out.optional(
                4,
                "key_filename",
                key_filename.as_ref().map(|path| path.display().to_string()).as_deref(),
            );
        }
    }
    out.comment(4, "Who starts the jobs: shell, slurm, pbs, sge, lsf or flux.");
    out.entry(4, "scheduler_type", worker.scheduler.as_str());
    out.comment(4, "Each job gets its directory below this one, which lies on the worker.");
    out.entry(4, "work_dir", &worker.work_dir);
    resources(out, worker);
    match &worker.pre_run {
        Some(pre_run) => out.entry(4, "pre_run", pre_run),
        None => out.comment(4, "pre_run: shell lines before each job"),
    }
    match worker.max_jobs {
        Some(limit) => out.line(4, &format!("max_jobs: {limit}")),
        None => out.comment(4, "max_jobs: the number of jobs that may be with the scheduler at once"),
    }
}

fn resources(out: &mut Lines, worker: &NewWorker) {
    if worker.resources.is_empty() {
        if worker.scheduler != Scheduler::Shell {
            out.comment(4, "What jobs ask for when they say nothing else, in the scheduler's words.");
            out.comment(4, "resources: {ntasks: 1, time: '01:00:00'}");
        }
        return;
    }
    out.comment(4, "What jobs ask for when they say nothing else, in the scheduler's words.");
    out.line(4, "resources:");
    for (key, value) in &worker.resources {
        let number = value.parse::<u32>().is_ok_and(|number| number.to_string() == *value);
        let value = if number { value.clone() } else { scalar(value) };
        out.line(6, &format!("{}: {value}", scalar(key)));
    }
}

fn store(out: &mut Lines, store: &NewStore) {
    match store {
        NewStore::Sqlite => {
            out.comment(
                0,
                "Jobs and outputs are in the SQLite file jobferry.db in the project's folder. For MongoDB:",
            );
            out.comment(0, "queue:");
            out.comment(
                0,
                "  store: {type: MongoStore, host: localhost, database: jobs, collection_name: jobs}",
            );
        }
        NewStore::Mongo { .. } | NewStore::MongoUri { .. } => {
            out.comment(0, "Jobs and flows.");
            out.line(0, "queue:");
            out.line(2, "store:");
            mongo(out, store, "jobs");
            out.comment(0, "Outputs.");
            out.line(0, "jobstore:");
            out.line(2, "docs_store:");
            mongo(out, store, "outputs");
        }
    }
}

fn mongo(out: &mut Lines, store: &NewStore, collection: &str) {
    out.entry(4, "type", "MongoStore");
    match store {
        NewStore::Sqlite => {}
        NewStore::Mongo { host, port, database, username, password } => {
            out.entry(4, "host", host);
            out.line(4, &format!("port: {port}"));
            out.entry(4, "database", database);
            out.optional(4, "username", username.as_deref());
            if let Some(password) = password {
                secret(out, "password", password);
            }
        }
        NewStore::MongoUri { uri, database } => {
            secret(out, "uri", uri);
            out.optional(4, "database", database.as_deref());
        }
    }
    out.entry(4, "collection_name", collection);
}

fn secret(out: &mut Lines, key: &str, source: &SecretSource) {
    match source {
        SecretSource::Literal(secret) => out.entry(4, key, secret.reveal()),
        SecretSource::Variable(name) => out.entry(4, &format!("{key}_env"), name),
        SecretSource::File(path) => out.entry(4, &format!("{key}_file"), &path.display().to_string()),
        SecretSource::Command(argv) => {
            let words: Vec<String> = argv.iter().map(|word| scalar(word)).collect();
            out.line(4, &format!("{key}_command: [{}]", words.join(", ")));
        }
    }
}

/// Lines of YAML. Writing into a `String` cannot fail.
#[derive(Default)]
struct Lines(String);

impl Lines {
    fn line(&mut self, indent: usize, text: &str) {
        writeln!(self.0, "{:indent$}{text}", "").ok();
    }

    fn comment(&mut self, indent: usize, text: &str) {
        self.line(indent, &format!("# {text}"));
    }

    fn entry(&mut self, indent: usize, key: &str, value: &str) {
        self.line(indent, &format!("{key}: {}", scalar(value)));
    }

    fn optional(&mut self, indent: usize, key: &str, value: Option<&str>) {
        if let Some(value) = value {
            self.entry(indent, key, value);
        }
    }

    fn blank(&mut self) {
        self.0.push('\n');
    }
}

/// Returns the text as a YAML scalar, in quotes unless it cannot be taken for anything else.
fn scalar(text: &str) -> String {
    if is_plain(text) {
        return text.to_owned();
    }
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            // YAML takes some of these for line breaks and refuses the others.
            c if c.is_control()
                || matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}') =>
            {
                write!(quoted, "\\U{:08x}", u32::from(c)).ok();
            }
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests;
