//! `jf init`: a new project file, from flags, or from answers on a terminal.

use std::io::{self, BufRead, IsTerminal as _, Write};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use clap::Args;
use serde_json::{Value, json};

use super::error::{CliError, Exit};
use super::output::{Block, View};
use super::session::Session;
use crate::config::{self, InitAnswers, NewPlace, NewStore, NewWorker, Scheduler, SecretSource};

/// Make a project: asks on a terminal for what the flags leave open
#[derive(Debug, Clone, Default, Args)]
pub(in crate::cli) struct InitArgs {
    /// Name of the project
    name: Option<String>,
    /// Take the default for everything the flags leave open, and ask nothing
    #[arg(short, long)]
    yes: bool,
    /// Name of the worker
    #[arg(long, value_name = "NAME", help_heading = "The worker")]
    worker: Option<String>,
    /// Host of the worker, as `ssh` knows it; without it this machine
    #[arg(long, help_heading = "The worker")]
    host: Option<String>,
    /// User on the host
    #[arg(long, requires = "host", help_heading = "The worker")]
    user: Option<String>,
    /// Port of the host's SSH server
    #[arg(long, requires = "host", help_heading = "The worker")]
    port: Option<u16>,
    /// Private key for the host
    #[arg(long, requires = "host", value_name = "FILE", help_heading = "The worker")]
    key_file: Option<PathBuf>,
    /// Who starts the jobs there: shell, slurm, pbs, sge, lsf or flux
    #[arg(long, value_name = "NAME", help_heading = "The worker")]
    scheduler: Option<SchedulerName>,
    /// Absolute path on the worker; each job gets a directory below it
    #[arg(long, value_name = "DIR", help_heading = "The worker")]
    work_dir: Option<String>,
    /// Jobs that may be with the scheduler at once
    #[arg(long, value_name = "N", help_heading = "The worker")]
    max_jobs: Option<u32>,
    /// What jobs ask the scheduler for when they say nothing else, such as partition=main
    #[arg(long = "resource", value_name = "K=V", help_heading = "The worker")]
    resources: Vec<Pair>,
    /// Keep jobs in MongoDB on this host, instead of an SQLite file
    #[arg(long, value_name = "HOST[:PORT]", help_heading = "The store")]
    mongodb: Option<String>,
    /// Environment variable that holds the connection string of MongoDB
    #[arg(long, value_name = "VARIABLE", conflicts_with = "mongodb", help_heading = "The store")]
    mongodb_uri_env: Option<String>,
    /// Database in MongoDB; without it the project's name
    #[arg(long, value_name = "NAME", help_heading = "The store")]
    database: Option<String>,
    /// User of the database
    #[arg(long, value_name = "NAME", requires = "mongodb", help_heading = "The store")]
    username: Option<String>,
    /// Environment variable that holds the password
    #[arg(long, value_name = "VARIABLE", requires = "username", help_heading = "The store")]
    password_env: Option<String>,
}

/// The port of MongoDB's servers.
const MONGODB_PORT: u16 = 27017;

pub(super) fn run(args: InitArgs, session: &Session) -> Result<Exit, CliError> {
    let settings = session.settings()?;
    let folder = settings.projects_folder;
    let asks = !args.yes && io::stdin().is_terminal() && io::stderr().is_terminal();
    let args = if asks { ask_all(args, &folder, &mut io::stdin().lock(), &mut io::stderr())? } else { args };
    let answers = args.answers(&folder)?;
    let file = folder.join(format!("{}.yaml", answers.name));
    refuse_second(&answers.name, &folder, session)?;
    let text = config::project_file(&answers);
    config::save_new(&file, &text)?;
    if let Err(error) = config::load(&file, &folder, &session.environment, &[]) {
        // What the answers made is no project: leave nothing behind that other commands would stumble over.
        std::fs::remove_file(&file)?;
        return Err(
            CliError::from(error).only_hint("nothing was written; give other answers (`jf init --help`)")
        );
    }
    session.show(&Made { name: answers.name, file })?;
    Ok(Exit::Success)
}

/// A project of that name in another file would make both unusable.
fn refuse_second(name: &str, folder: &Path, session: &Session) -> Result<(), CliError> {
    let found = config::list(folder, &session.environment)?;
    match found.iter().find(|one| one.name.as_deref() == Some(name)) {
        Some(one) => {
            Err(CliError::input(format!("the project {name} is there already: {}", one.file.display()))
                .hint("choose another name: jf init NAME"))
        }
        None => Ok(()),
    }
}

impl InitArgs {
    fn answers(&self, folder: &Path) -> Result<InitAnswers, CliError> {
        let name = self.name.clone().unwrap_or_else(|| DEFAULT_NAME.into());
        // The name becomes that of a file: nothing may lead out of the folder.
        if name.contains('/') || name.starts_with('.') {
            return Err(CliError::usage(format!("`{name}` is no name for a project"))
                .hint("use letters, digits, `.`, `_` and `-`, and begin with a letter or a digit"));
        }
        let place = match &self.host {
            None => NewPlace::Local,
            Some(host) => NewPlace::Ssh {
                host: host.clone(),
                user: self.user.clone(),
                port: self.port,
                key_filename: self.key_file.clone(),
            },
        };
        let worker = NewWorker {
            name: self.worker.clone().unwrap_or_else(|| self.default_worker()),
            place,
            scheduler: self.scheduler.map_or(Scheduler::Shell, |scheduler| scheduler.0),
            work_dir: self.work_dir(folder, &name)?,
            resources: self.resources.iter().map(|pair| (pair.0.clone(), pair.1.clone())).collect(),
            pre_run: None,
            max_jobs: self.max_jobs,
        };
        Ok(InitAnswers { store: self.store(&name)?, name, base_dir: None, workers: vec![worker] })
    }

    fn default_worker(&self) -> String {
        let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
        self.host.as_ref().map_or_else(|| "here".into(), |host| host.chars().map(plain).collect())
    }

    fn work_dir(&self, folder: &Path, name: &str) -> Result<String, CliError> {
        match (&self.work_dir, &self.host) {
            (Some(path), _) => Ok(path.clone()),
            (None, None) => Ok(default_work_dir(folder, name)),
            (None, Some(host)) => {
                Err(CliError::usage(format!("where on {host} may jobs have their directories?"))
                    .hint("add --work-dir /absolute/path/on/the/host"))
            }
        }
    }

    fn store(&self, name: &str) -> Result<NewStore, CliError> {
        if let Some(variable) = &self.mongodb_uri_env {
            let uri = SecretSource::Variable(variable.clone());
            return Ok(NewStore::MongoUri { uri, database: Some(self.database(name)) });
        }
        let Some(server) = &self.mongodb else { return Ok(NewStore::Sqlite) };
        let (host, port) = match server.rsplit_once(':') {
            Some((host, port)) => {
                let wrong =
                    |_| CliError::usage(format!("`{port}` is no port")).hint("write --mongodb HOST:27017");
                (host, port.parse().map_err(wrong)?)
            }
            None => (server.as_str(), MONGODB_PORT),
        };
        Ok(NewStore::Mongo {
            host: host.to_owned(),
            port,
            database: self.database(name),
            username: self.username.clone(),
            password: self.password_env.clone().map(SecretSource::Variable),
        })
    }

    fn database(&self, name: &str) -> String {
        self.database.clone().unwrap_or_else(|| name.to_owned())
    }
}

const DEFAULT_NAME: &str = "main";

fn default_work_dir(folder: &Path, name: &str) -> String {
    folder.join(name).join("work").display().to_string()
}

/// Asks for what the flags leave open; an empty answer takes the default.
fn ask_all(
    mut args: InitArgs,
    folder: &Path,
    input: &mut dyn BufRead,
    talk: &mut dyn Write,
) -> Result<InitArgs, CliError> {
    let mut ask = |question: &str, default: &str| ask(question, default, input, talk);
    let name = match args.name.take() {
        Some(name) => name,
        None => ask("Name of the project", DEFAULT_NAME)?,
    };
    if args.host.is_none() {
        let host = ask("Where do jobs run? A host that `ssh` knows, or empty for this machine", "")?;
        args.host = Some(host).filter(|host| !host.is_empty());
    }
    if args.scheduler.is_none() {
        let default = if args.host.is_some() { "slurm" } else { "shell" };
        let answer = ask("Who starts the jobs there? shell, slurm, pbs, sge, lsf or flux", default)?;
        args.scheduler = Some(answer.parse().map_err(|why: String| CliError::usage(why))?);
    }
    if args.work_dir.is_none() {
        let default = if args.host.is_some() { String::new() } else { default_work_dir(folder, &name) };
        let answer = ask("Directory there for the jobs (absolute)", &default)?;
        args.work_dir = Some(answer).filter(|path| !path.is_empty());
    }
    if args.mongodb.is_none() && args.mongodb_uri_env.is_none() {
        let server = ask("Keep jobs in MongoDB? Its HOST[:PORT], or empty for an SQLite file", "")?;
        args.mongodb = Some(server).filter(|server| !server.is_empty());
    }
    args.name = Some(name);
    Ok(args)
}

fn ask(
    question: &str,
    default: &str,
    input: &mut dyn BufRead,
    talk: &mut dyn Write,
) -> Result<String, CliError> {
    let shown = if default.is_empty() { String::new() } else { format!(" [{default}]") };
    write!(talk, "{question}{shown}: ")?;
    talk.flush()?;
    let mut line = String::new();
    if input.read_line(&mut line)? == 0 {
        return Err(CliError::failed("the answers ended too soon; nothing was written"));
    }
    let answer = line.trim();
    Ok(if answer.is_empty() { default.to_owned() } else { answer.to_owned() })
}

/// A scheduler by its word in project files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct SchedulerName(Scheduler);

impl FromStr for SchedulerName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Scheduler::ALL.into_iter().find(|(word, _)| *word == text);
        let words = Scheduler::ALL.map(|(word, _)| word).join(", ");
        found.map(|(_, scheduler)| Self(scheduler)).ok_or_else(|| format!("`{text}` is none of {words}"))
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Pair(String, String);

impl FromStr for Pair {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let pair = text.split_once('=').filter(|(key, _)| !key.is_empty());
        pair.map(|(key, value)| Self(key.into(), value.into())).ok_or_else(|| "expected KEY=VALUE".into())
    }
}

struct Made {
    name: String,
    file: PathBuf,
}

impl View for Made {
    fn json(&self) -> Value {
        json!({"project": self.name, "file": self.file})
    }

    fn blocks(&self) -> Vec<Block> {
        vec![
            Block::Text(format!("Project {} is in {}", self.name, self.file.display())),
            Block::Hint("Next: `jf project check`, then `jf submit -- hostname` and `runner start`.".into()),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(answers: &str) -> Result<(InitArgs, String), CliError> {
        let mut talk = Vec::new();
        let args = ask_all(InitArgs::default(), Path::new("/p"), &mut answers.as_bytes(), &mut talk)?;
        Ok((args, String::from_utf8(talk).unwrap()))
    }

    #[test]
    fn empty_answers_make_a_project_on_this_machine() {
        let (args, talk) = asked("\n\n\n\n\n").unwrap();
        let answers = args.answers(Path::new("/p")).unwrap();
        assert_eq!((answers.name.as_str(), &answers.store), ("main", &NewStore::Sqlite));
        let worker = answers.workers.first().unwrap();
        assert_eq!((worker.place.clone(), worker.work_dir.as_str()), (NewPlace::Local, "/p/main/work"));
        assert_eq!(talk.matches(": ").count(), 5, "{talk}");
    }

    #[test]
    fn a_cluster_and_a_database_can_be_named() {
        let (args, _) = asked("oxides\nhpc.example\n\n/scratch/jobs\ndb.example:27018\n").unwrap();
        let answers = args.answers(Path::new("/p")).unwrap();
        let worker = answers.workers.first().unwrap();
        assert_eq!((worker.name.as_str(), worker.scheduler), ("hpc_example", Scheduler::Slurm));
        let NewStore::Mongo { host, port, database, .. } = answers.store else { panic!("no MongoDB") };
        assert_eq!((host.as_str(), port, database.as_str()), ("db.example", 27018, "oxides"));
    }

    #[test]
    fn a_host_needs_a_directory_and_answers_must_not_end() {
        let (args, _) = asked("x\nhpc\n\n\n\n").unwrap();
        assert!(args.answers(Path::new("/p")).is_err());
        assert!(asked("x\n").is_err());
        assert!(asked("x\n\nslrum\n\n\n").is_err());
    }
}
