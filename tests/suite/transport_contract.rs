//! Every promise of the transport's documentation, held against each back end.

mod files;
mod link;
mod scripts;

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::Duration;

use jobferry::transport::local::LocalTransport;
use jobferry::transport::ssh::{Shell, SshSettings, SshTransport};
use jobferry::transport::{
    Answer, Command, CommandAnswer, Content, Destination, Fetch, FetchFile, Fetched, Occupied, Operation,
    OperationError, Part, Put, PutFile, Transport, TransportError,
};

use crate::services::address;

/// Longer than anything here may take on a loaded machine.
const LIMIT: Duration = Duration::from_secs(60);

const MARKER: &str = ".jobferry";

/// A transport and a directory of its host that is seen from here too.
struct Bench {
    transport: Box<dyn Transport>,
    folders: Folders,
}

/// What a test leaves behind, removed after it.
struct Folders {
    work: tempfile::TempDir,
    /// Where the sockets of SSH lie; without it the host is this machine and all is ours already.
    control: Option<tempfile::TempDir>,
}

impl Folders {
    /// Gives all that the test has made to the account it belongs to.
    fn hand_over(&self) {
        if self.control.is_none() {
            return;
        }
        let parent = std::fs::metadata(self.work.path().parent().unwrap()).unwrap();
        let mut open = vec![self.work.path().to_owned()];
        while let Some(path) = open.pop() {
            std::os::unix::fs::lchown(&path, Some(parent.uid()), Some(parent.gid())).unwrap();
            if path.symlink_metadata().unwrap().is_dir() {
                open.extend(std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()));
            }
        }
    }
}

impl Bench {
    fn path(&self, name: &str) -> String {
        format!("{}/{name}", self.folders.work.path().to_str().unwrap())
    }

    async fn perform(&self, batch: Vec<Operation>) -> Vec<Answer> {
        let count = batch.len();
        let answers = self.transport.perform(batch, LIMIT).await.unwrap();
        assert_eq!(answers.len(), count, "one answer for each operation");
        answers
    }

    async fn one(&self, operation: Operation) -> Answer {
        self.perform(vec![operation]).await.remove(0)
    }

    async fn sh(&self, script: &str) -> CommandAnswer {
        match self.one(run(script, b"")).await {
            Answer::Ran(answer) => answer,
            other => panic!("{other:?}"),
        }
    }

    async fn fetch(&self, directory: &str, files: &[&str]) -> Vec<Fetched> {
        let files = files.iter().map(|path| whole(path)).collect();
        fetched(self.one(fetch(self.path(directory), files, Destination::Memory)).await)
    }
}

fn local() -> Bench {
    let folders = Folders { work: tempfile::tempdir().unwrap(), control: None };
    Bench { transport: Box::new(LocalTransport::new()), folders }
}

/// The test cluster, by the variables of `tests/services/up`; nothing without them.
fn cluster(test: &str) -> Option<(SshSettings, Folders)> {
    let config_file = address(test, "JF_TEST_SSH_CONFIG")?;
    let work = address(test, "JF_TEST_SSH_WORK_DIR")?;
    let control = tempfile::tempdir().unwrap();
    let work = tempfile::tempdir_in(work).unwrap();
    let settings = SshSettings {
        config_file: Some(config_file.into()),
        control_directory: control.path().to_owned(),
        shell: Shell::Plain,
        ..SshSettings::new(address(test, "JF_TEST_SSH_ALIAS")?)
    };
    let folders = Folders { work, control: Some(control) };
    folders.hand_over();
    Some((settings, folders))
}

fn over_ssh(test: &str) -> Option<Bench> {
    let (settings, folders) = cluster(test)?;
    Some(Bench { transport: Box::new(SshTransport::new(settings)), folders })
}

fn put(directory: String, files: &[(&str, &[u8])]) -> Operation {
    let files = files
        .iter()
        .map(|(path, bytes)| PutFile {
            path: (*path).to_owned(),
            content: Content::Bytes(bytes.to_vec()),
            mode: 0o600,
        })
        .collect();
    Operation::Put(Put { directory, files, occupied: Occupied::Replace { marker: MARKER.to_owned() } })
}

fn whole(path: &str) -> FetchFile {
    FetchFile { path: path.to_owned(), limit_bytes: 1 << 40, part: Part::Whole }
}

fn fetch(directory: String, files: Vec<FetchFile>, into: Destination) -> Operation {
    Operation::Fetch(Fetch { directory, files, into })
}

fn run(script: &str, input: &[u8]) -> Operation {
    Operation::Run(Command { script: script.to_owned(), input: input.to_vec(), limit: LIMIT })
}

fn fetched(answer: Answer) -> Vec<Fetched> {
    match answer {
        Answer::Fetched(files) => files,
        other => panic!("{other:?}"),
    }
}

fn failure(answer: Answer) -> OperationError {
    match answer {
        Answer::Failed(error) => error,
        other => panic!("{other:?}"),
    }
}

fn content(file: &Fetched) -> &[u8] {
    match file {
        Fetched::File { content, .. } => content,
        other => panic!("{other:?}"),
    }
}

/// All files below a directory of this machine, by relative path.
fn tree(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut open = vec![folder.to_owned()];
    while let Some(directory) = open.pop() {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else {
                let name = path.strip_prefix(folder).unwrap().to_str().unwrap().to_owned();
                files.insert(name, std::fs::read(path).unwrap());
            }
        }
    }
    files
}

/// Makes one test of each named function for each back end.
macro_rules! contract {
    ($($module:ident :: $name:ident),+ $(,)?) => {
        mod on_local {
            $(#[tokio::test]
            async fn $name() {
                super::$module::$name(&super::local()).await;
            })+
        }

        mod on_ssh {
            $(#[tokio::test]
            async fn $name() {
                let Some(bench) = super::over_ssh(concat!("transport_contract::on_ssh::", stringify!($name))) else {
                    return;
                };
                super::$module::$name(&bench).await;
                bench.transport.close().await;
            })+
        }
    };
}

contract!(
    files::what_was_put_is_fetched,
    files::odd_names_and_contents_survive,
    files::many_directories_are_one_round_trip,
    files::a_marked_directory_is_replaced,
    files::an_unmarked_directory_is_left_alone,
    files::an_earlier_attempt_is_moved_aside,
    files::what_a_killed_put_left_is_replaced,
    files::modes_are_exact,
    files::a_file_of_this_machine_is_sent,
    files::an_unreadable_file_of_this_machine_fails_its_put_alone,
    files::paths_that_lead_out_are_refused,
    files::what_cannot_be_fetched_is_said_for_each_file,
    files::a_tail_is_the_end,
    files::fetched_files_replace_by_rename,
    files::names_are_listed,
    files::files_are_removed,
    files::a_tree_is_removed_by_its_marker,
    files::operations_happen_in_their_order,
    files::an_unwritable_directory_is_a_permission_failure,
    files::a_full_disk_is_a_storage_failure,
    files::a_large_file_needs_little_memory,
    scripts::exit_codes_are_kept,
    scripts::input_is_fed_and_output_is_binary_safe,
    scripts::a_large_script_and_input_pass,
    scripts::the_end_of_stderr_is_kept,
    scripts::a_timeout_kills_the_process_group,
    scripts::a_batch_that_takes_too_long_is_killed,
    scripts::endless_output_is_a_failure,
    scripts::a_background_process_that_let_go_stays,
);
