//! One entry of `workers`.

use std::path::PathBuf;

use super::ForWorkers;
use crate::config::defaults;
use crate::config::raw::RawSettings;
use crate::config::section::{PASSPHRASE, PASSWORD, Reader, Section, count_of};
use crate::config::worker::{
    BatchConfig, Connection, Gateway, Scheduler, Worker, WorkerAdditions, WorkerKind,
};
use crate::flowfile::decode::At;
use crate::flowfile::source::{Entry, Value};

#[derive(Clone, Copy, PartialEq, Eq)]
enum Type {
    Local,
    Remote,
    SeparatedTransfer,
}

const TYPES: [(&str, Type); 3] =
    [("local", Type::Local), ("remote", Type::Remote), ("separated_transfer", Type::SeparatedTransfer)];

/// How deep gateways may nest: more jumps than any site has.
const GATEWAY_LIMIT: usize = 8;

pub(super) fn worker(at: &At<'_>, for_workers: &ForWorkers, reader: &mut Reader<'_>) -> Option<Worker> {
    let templates = [
        defaults::section(&["workers", "<worker>"]),
        defaults::section(&["workers", "<remote>"]),
        defaults::section(&["workers", "<connection>"]),
        defaults::section(&["workers", "<separated_transfer>"]),
    ];
    let mut section = Section::at(at, &templates, reader)?;
    let kind =
        section.need("type", "write `type: local` for this machine, `type: remote` for an SSH host", reader);
    let kind = kind.and_then(|at| at.choice(&TYPES, &mut reader.faults));
    let scheduler = scheduler(&mut section, reader);
    let work_dir = work_dir(&mut section, reader);
    let resources = section.raw("resources", reader).map(RawSettings::into_document);
    let pre_run = section.some_text("pre_run", reader);
    let post_run = section.some_text("post_run", reader);
    let execution_cmd = execution_cmd(&mut section, reader);
    let timeout_execute = section.seconds("timeout_execute", reader);
    let max_jobs = section.count("max_jobs", 0, reader).filter(|limit| *limit > 0);
    let scheduler_username = section.some_text("scheduler_username", reader);
    let sanitize_command = section.boolean("sanitize_command", reader);
    let delay_download = section.seconds_or_none("delay_download", reader);
    let batch = batch(&mut section, reader);
    let (jobferry, ssh_config_file) = additions(&mut section, for_workers, reader);
    let kind = match kind {
        Some(kind) => worker_kind(kind, section, ssh_config_file, reader),
        None => {
            section.ask_all();
            section.finish(reader, |_| None);
            None
        }
    };
    Some(Worker {
        kind: kind?,
        scheduler: scheduler?,
        work_dir: work_dir?,
        resources: resources.unwrap_or_default(),
        pre_run,
        post_run,
        execution_cmd,
        timeout_execute: timeout_execute?,
        max_jobs,
        batch,
        scheduler_username,
        sanitize_command: sanitize_command?,
        delay_download,
        jobferry: jobferry?,
    })
}

/// Reads what goes with the type, and reports the keys that do not.
fn worker_kind(
    kind: Type,
    mut section: Section<'_>,
    ssh_config_file: Option<PathBuf>,
    reader: &mut Reader<'_>,
) -> Option<WorkerKind> {
    let commands = match kind {
        Type::Local => None,
        Type::Remote | Type::SeparatedTransfer => Some(remote(&mut section, ssh_config_file, reader)),
    };
    let transfer = match (kind, &commands) {
        (Type::SeparatedTransfer, Some(commands)) => Some(transfer(&mut section, commands.as_ref(), reader)),
        _ => None,
    };
    section.finish(reader, |key| belongs_to_remote(kind, key));
    match (commands, transfer) {
        (None, _) => Some(WorkerKind::Local),
        (Some(commands), None) => commands.map(|connection| WorkerKind::Remote(Box::new(connection))),
        (Some(commands), Some(transfer)) => Some(WorkerKind::SeparatedTransfer {
            commands: Box::new(commands?),
            transfer: Box::new(transfer?),
        }),
    }
}

fn belongs_to_remote(kind: Type, key: &str) -> Option<String> {
    let has = |section: &[Entry]| section.iter().any(|entry| entry.key == key);
    let connects = has(defaults::section(&["workers", "<connection>"]))
        || has(defaults::section(&["workers", "<remote>"]));
    match kind {
        Type::Local if connects => Some("it goes with `type: remote`".to_owned()),
        Type::Local | Type::Remote if key == "transfer" => {
            Some("it goes with `type: separated_transfer`".to_owned())
        }
        Type::Local | Type::Remote | Type::SeparatedTransfer => None,
    }
}

/// A name, or one of qtoolkit's schedulers in serialized form (`{"@class": "SlurmIO", …}`).
fn scheduler(section: &mut Section<'_>, reader: &mut Reader<'_>) -> Option<Scheduler> {
    let at = section.need("scheduler_type", "write one of shell, slurm, pbs, sge, lsf, flux", reader)?;
    if !matches!(at.node.value, Value::Map(_)) {
        return at.choice(&Scheduler::ALL, &mut reader.faults);
    }
    let class = at.node.get("@class").map(|node| At { node, path: at.path_of("@class") });
    let Some(class) = class else {
        let fault = at.fault("a serialized scheduler needs the key `@class`");
        reader.faults.push(fault.hint("or write the name alone: `scheduler_type: slurm`"));
        return None;
    };
    const CLASSES: [(&str, Scheduler); 4] = [
        ("ShellIO", Scheduler::Shell),
        ("SlurmIO", Scheduler::Slurm),
        ("PBSIO", Scheduler::Pbs),
        ("SGEIO", Scheduler::Sge),
    ];
    reader.unused(&at, "of a serialized scheduler only its class counts");
    class.choice(&CLASSES, &mut reader.faults)
}

fn work_dir(section: &mut Section<'_>, reader: &mut Reader<'_>) -> Option<String> {
    let at = section.need("work_dir", "write the absolute path of a directory on the worker", reader)?;
    let path = at.text(&mut reader.faults)?;
    if path.starts_with('/') && !path.contains(['\0', '\n']) {
        return Some(path.to_owned());
    }
    let fault = at.fault(format!("the path {path:?} is not absolute"));
    reader.faults.push(fault.hint("`~` and variables mean nothing here; begin with /"));
    None
}

fn execution_cmd(section: &mut Section<'_>, reader: &mut Reader<'_>) -> Option<String> {
    let at = section.take("execution_cmd", reader)?;
    let command = at.text(&mut reader.faults)?;
    if command.contains("{}") {
        return Some(command.to_owned());
    }
    let fault = at.fault("the command has no `{}`, so that it would not know its job's directory");
    reader.faults.push(fault.hint(format!("write `{command} {{}}`")));
    None
}

fn batch(section: &mut Section<'_>, reader: &mut Reader<'_>) -> Option<BatchConfig> {
    let at = section.take("batch", reader)?;
    let mut batch = Section::at(&at, &[defaults::section(&["workers", "<batch>"])], reader)?;
    let warning = at.fault("batch workers are not supported by this version: this worker cannot run jobs");
    reader.warnings.push(warning.hint("leave `batch` out to give each job its own allocation"));
    let path = |section: &mut Section<'_>, key, reader: &mut Reader<'_>| {
        section
            .need(key, "write the absolute path of a directory on the worker", reader)?
            .text(&mut reader.faults)
            .map(str::to_owned)
    };
    let jobs_handle_dir = path(&mut batch, "jobs_handle_dir", reader);
    let work_dir = path(&mut batch, "work_dir", reader);
    let max_jobs_per_batch = batch.count("max_jobs_per_batch", 1, reader);
    let max_wait = batch.seconds_or_none("max_wait", reader);
    let max_time = batch.seconds_or_none("max_time", reader);
    let parallel_jobs = batch.count("parallel_jobs", 1, reader);
    let sleep_time = batch.seconds_or_none("sleep_time", reader);
    batch.finish(reader, |_| None);
    Some(BatchConfig {
        jobs_handle_dir: jobs_handle_dir?,
        work_dir: work_dir?,
        max_jobs_per_batch,
        max_wait,
        max_time,
        parallel_jobs,
        sleep_time,
    })
}

fn additions(
    section: &mut Section<'_>,
    for_workers: &ForWorkers,
    reader: &mut Reader<'_>,
) -> (Option<WorkerAdditions>, Option<PathBuf>) {
    let template = defaults::section(&["workers", "<worker>", "jobferry"]);
    let Some(mut section) = section.section("jobferry", &[template], reader) else { return (None, None) };
    let keep_attempts = section.take("keep_attempts", reader);
    let additions = WorkerAdditions {
        poll_floor: super::poll_floor(&mut section, reader).unwrap_or(for_workers.poll_floor),
        keep_attempts: keep_attempts
            .map_or(for_workers.keep_attempts, |at| count_of(&at, 0, &mut reader.faults)),
        environment: for_workers
            .environment
            .iter()
            .cloned()
            .chain(section.texts("environment", reader))
            .collect(),
    };
    let ssh_config_file =
        section.path("ssh_config_file", reader).or_else(|| for_workers.ssh_config_file.clone());
    section.finish(reader, |_| None);
    (Some(additions), ssh_config_file)
}

fn remote(
    section: &mut Section<'_>,
    ssh_config_file: Option<PathBuf>,
    reader: &mut Reader<'_>,
) -> Option<Connection> {
    let connection = connection(section, None, 0, reader);
    let forward_agent = section.boolean("forward_agent", reader);
    let connect_timeout = section.seconds_or_none("connect_timeout", reader);
    let inline_ssh_env = section.boolean("inline_ssh_env", reader);
    section.unused("inline_ssh_env", "variables are always set in the command", reader);
    let keepalive = section.seconds_or_none("keepalive", reader);
    let shell_cmd = section.take_or_null("shell_cmd", reader);
    let shell_cmd = shell_cmd.and_then(|at| at.text(&mut reader.faults).map(str::to_owned));
    let login_shell = section.boolean("login_shell", reader);
    let interactive_login = section.boolean("interactive_login", reader);
    Some(Connection {
        forward_agent: forward_agent?,
        connect_timeout,
        inline_ssh_env,
        keepalive,
        shell_cmd: shell_cmd.filter(|shell| !shell.is_empty()),
        login_shell: login_shell?,
        interactive_login: interactive_login?,
        ssh_config_file,
        ..connection?
    })
}

fn transfer(
    section: &mut Section<'_>,
    commands: Option<&Connection>,
    reader: &mut Reader<'_>,
) -> Option<Connection> {
    let at =
        section.need("transfer", "write the host that files go through: `transfer: {host: NAME}`", reader)?;
    let mut section = Section::at(&at, &[defaults::section(&["workers", "<connection>"])], reader)?;
    let connection = connection(&mut section, commands, 0, reader);
    section.finish(reader, |_| None);
    connection
}

/// What is not set here is as in `main`, if there is one.
fn connection(
    section: &mut Section<'_>,
    main: Option<&Connection>,
    depth: usize,
    reader: &mut Reader<'_>,
) -> Option<Connection> {
    let host = host(section, reader);
    let mut connection = main.cloned().unwrap_or_else(Connection::bare);
    connection.user = section.some_text("user", reader).or(connection.user);
    connection.port = port(section, reader).or(connection.port);
    connection.password = section.secret(&PASSWORD, reader).or(connection.password);
    connection.passphrase = section.secret(&PASSPHRASE, reader).or(connection.passphrase);
    if let Some(files) = key_filename(section, reader) {
        connection.key_filename = files;
    }
    if let Some(gateway) = section.take("gateway", reader) {
        connection.gateway = gateway_at(&gateway, depth, reader);
    }
    let kwargs = section.raw("connect_kwargs", reader);
    section.unused("connect_kwargs", "set these things in your OpenSSH configuration", reader);
    connection.connect_kwargs = kwargs.or(connection.connect_kwargs);
    connection.host = host?;
    Some(connection)
}

/// A host that begins with a dash would be taken for an option by every program that gets it.
fn host(section: &mut Section<'_>, reader: &mut Reader<'_>) -> Option<String> {
    let at = section.need("host", "write a name of your OpenSSH configuration or an address", reader)?;
    let host = at.text(&mut reader.faults)?;
    let sound = !host.is_empty()
        && !host.starts_with('-')
        && !host.contains(|c: char| c.is_whitespace() || c.is_control());
    if sound {
        return Some(host.to_owned());
    }
    let fault = at.fault(format!("{host:?} is no host"));
    reader.faults.push(fault.hint("write a name of your OpenSSH configuration or an address"));
    None
}

fn port(section: &mut Section<'_>, reader: &mut Reader<'_>) -> Option<u16> {
    let at = section.take("port", reader)?;
    u16::try_from(at.integer(1..=i64::from(u16::MAX), &mut reader.faults)?).ok()
}

fn key_filename(section: &mut Section<'_>, reader: &mut Reader<'_>) -> Option<Vec<PathBuf>> {
    let at = section.take("key_filename", reader)?;
    let files =
        at.one_or_many().iter().filter_map(|at| crate::config::section::absolute(at, reader)).collect();
    Some(files)
}

fn gateway_at(at: &At<'_>, depth: usize, reader: &mut Reader<'_>) -> Option<Gateway> {
    if let Value::Text(name) = &at.node.value {
        return Some(Gateway::Name(name.clone()));
    }
    if depth >= GATEWAY_LIMIT {
        reader.faults.push(at.fault(format!("more than {GATEWAY_LIMIT} gateways one behind another")));
        return None;
    }
    let mut section = Section::at(at, &[defaults::section(&["workers", "<connection>"])], reader)?;
    let connection = connection(&mut section, None, depth + 1, reader);
    section.finish(reader, |_| None);
    Some(Gateway::Connection(Box::new(connection?)))
}
