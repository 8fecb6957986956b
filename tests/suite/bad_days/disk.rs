//! Disks without room, and directories without the right to write.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use insta::assert_snapshot;

use super::{
    LIMIT, Process, all, health, is_root, jobs, listed, logged, paths_below, program, redact, skipped, told,
    trouble,
};
use crate::lab::{Lab, Site, Store, eventually, finish};

/// A small disk, unmounted at the end.
struct Disk(PathBuf);

impl Disk {
    fn mount(path: PathBuf, size: &str) -> Self {
        std::fs::create_dir_all(&path).unwrap();
        let mount = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"])
            .arg(&path)
            .status();
        assert!(mount.unwrap().success());
        Self(path)
    }

    /// Leaves no room at all.
    fn fill(&self) {
        use std::io::Write as _;
        let mut file = std::fs::File::create(self.0.join("fill")).unwrap();
        while file.write_all(&[0; 4096]).is_ok() {}
    }

    /// Makes so much room.
    fn leave(&self, bytes: u64) {
        let file = std::fs::File::options().write(true).open(self.0.join("fill")).unwrap();
        file.set_len(file.metadata().unwrap().len() - bytes).unwrap();
    }

    fn empty(&self) {
        std::fs::remove_file(self.0.join("fill")).unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        drop(Command::new("umount").arg("-l").arg(&self.0).status());
    }
}

/// Writes the project with its work directory and its store in these places.
fn project(lab: &Lab, work_dir: &Path, store: &Path) {
    let text = format!(
        "name: lab\nbase_dir: {}\nqueue: {{store: {{type: SqliteStore, path: {}}}}}\n\
         workers:\n  w: {{type: local, scheduler_type: shell, work_dir: {}}}\n",
        lab.path("base").display(),
        store.display(),
        work_dir.display(),
    );
    lab.write("projects/lab.yaml", &text);
}

#[test]
fn a_full_disk_of_the_worker_pauses_it_until_there_is_room() {
    let test = "a_full_disk_of_the_worker_pauses_it_until_there_is_room";
    if !is_root(test) {
        return;
    }
    let lab = Lab::new(test, Store::Sqlite, Site::Here).unwrap();
    let disk = Disk::mount(lab.path("disk"), "1m");
    project(&lab, &lab.path("disk/work"), &lab.path("base/jobferry.db"));
    lab.ok(&["submit", "--", "true"]);
    lab.ok(&["submit", "--", "true"]);
    disk.fill();
    let mut runner = Process::start(lab.command("runner", &["run", "--until-idle", "--max-seconds", "100"]));
    let first = trouble(&lab, "localhost");
    assert_snapshot!(redact(&lab, first["why"].as_str().unwrap()), @"the run directory [LAB]/disk/work/[DIR]/[UUID]_1 cannot be made: cannot write [LAB]/disk/work/[DIR]/.jobferry-put-[HASH]/submit.sh: No space left on device (os error 28)");
    assert_snapshot!(first["hint"].as_str().unwrap(), @"make room in the work directory of the worker (`df -h` there)");
    eventually("it is tried again", LIMIT, || faults(&lab) > 2);
    // The beginning is told by two clocks, which agree to a few milliseconds.
    let since = |trouble: &serde_json::Value| trouble["since_ms"].as_i64().unwrap();
    let moved_ms = since(&trouble(&lab, "localhost")) - since(&first);
    assert!(moved_ms.abs() < 100, "one outage, one beginning: {moved_ms} ms apart");
    for job in jobs(&lab) {
        assert!(job["state"] == "CHECKED_OUT" || job["state"] == "READY", "{job}");
    }
    assert!(
        !paths_below(&lab.path("disk")).iter().any(|path| path.contains("_1")),
        "{:?}",
        paths_below(&lab.path("disk"))
    );
    disk.empty();
    assert_eq!(runner.ends_within(Duration::from_secs(100)), Some(0), "{}", lab.log());
    assert!(all(&lab, "COMPLETED"), "{:?}", lab.states());
    assert_eq!(logged(&lab, "WARN").len(), 1, "{}", lab.log());
    drop(disk);
}

fn faults(lab: &Lab) -> i64 {
    health(lab, "localhost").and_then(|health| health["trouble"]["faults"].as_i64()).unwrap_or(0)
}

#[test]
fn a_full_disk_under_the_store_refuses_a_flow_whole() {
    let test = "a_full_disk_under_the_store_refuses_a_flow_whole";
    if !is_root(test) {
        return;
    }
    let lab = Lab::new(test, Store::Sqlite, Site::Here).unwrap();
    let disk = Disk::mount(lab.path("disk"), "8m");
    project(&lab, &lab.path("work"), &lab.path("disk/lab.sqlite"));
    lab.ok(&["submit", "--", "true"]);
    let before = paths_below(&lab.path("disk"));
    disk.fill();
    let notes = lab.write("notes", &"words ".repeat(1000));
    let flow =
        "flow: wide\njobs:\n  one: {for: {n: {from: 1, to: 400}}, command: [cat, notes], files: [notes]}\n";
    let file = lab.write("wide.yaml", flow);
    assert!(notes.is_file());
    let refused = lab.jf(&["submit", file.to_str().unwrap()]);
    assert!(refused.stdout.is_empty());
    assert_snapshot!(told(&lab, &refused), @r"
    exit: 1
    error: the store [LAB]/disk/lab.sqlite refused to open the file
    caused by: disk I/O error (code 4874: the disk is full)
    hint: make room on the disk of the store (`df -h` shows it), then type the same again
    ");
    // With a little room the file can be opened, but the flow does not fit.
    disk.leave(160 * 1024);
    let refused = lab.jf(&["submit", file.to_str().unwrap()]);
    assert!(refused.stdout.is_empty());
    assert_snapshot!(told(&lab, &refused), @r"
    exit: 1
    error: the store [LAB]/disk/lab.sqlite refused to insert a flow
    caused by: database or disk is full
    hint: make room on the disk of the store (`df -h` shows it), then type the same again
    ");
    disk.empty();
    assert_eq!(jobs(&lab).len(), 1, "no job of the refused flow");
    assert_eq!(listed(&lab.json(&["flow", "list"])).len(), 1);
    assert_eq!(paths_below(&lab.path("disk")), before, "no file is left");
    lab.ok(&["submit", file.to_str().unwrap()]);
    assert_eq!(jobs(&lab).len(), 401);
    drop(disk);
}

#[test]
fn a_store_on_a_disk_without_any_room_is_told() {
    let test = "a_store_on_a_disk_without_any_room_is_told";
    if !is_root(test) {
        return;
    }
    let lab = Lab::new(test, Store::Sqlite, Site::Here).unwrap();
    let disk = Disk::mount(lab.path("disk"), "64k");
    project(&lab, &lab.path("work"), &lab.path("disk/lab.sqlite"));
    disk.fill();
    assert_snapshot!(told(&lab, &lab.jf(&["submit", "--", "true"])), @r"
    exit: 1
    error: the store [LAB]/disk/lab.sqlite refused to open the file
    caused by: database or disk is full
    hint: make room on the disk of the store (`df -h` shows it), then type the same again
    ");
    assert_eq!(paths_below(&lab.path("disk")), ["fill"]);
    drop(disk);
}

/// Returns the command run by root without the power to write where it has no right.
fn without_power(command: &Command) -> Command {
    let mut weak = Command::new("setpriv");
    weak.args(["--bounding-set=-dac_override,-dac_read_search", "--inh-caps=-dac_override,-dac_read_search"]);
    weak.arg(command.get_program()).args(command.get_args()).env_clear();
    weak.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    if let Some(folder) = command.get_current_dir() {
        weak.current_dir(folder);
    }
    weak
}

#[test]
fn a_work_directory_without_the_right_to_write_pauses_the_host() {
    let test = "a_work_directory_without_the_right_to_write_pauses_the_host";
    if !is_root(test) {
        return;
    }
    if program("setpriv").is_none() {
        return skipped(test, "there is no setpriv");
    }
    let lab = Lab::new(test, Store::Sqlite, Site::Here).unwrap();
    let work = lab.path("shared");
    std::fs::create_dir(&work).unwrap();
    std::os::unix::fs::chown(&work, Some(65_534), Some(65_534)).unwrap();
    project(&lab, &work.join("mine"), &lab.path("base/jobferry.db"));
    lab.ok(&["submit", "--", "true"]);
    let checked = finish(without_power(&lab.command("jf", &["project", "check"])));
    assert_eq!(checked.status.code(), Some(4));
    let said = String::from_utf8_lossy(&checked.stdout).into_owned();
    let line = said.lines().find(|line| line.starts_with("work directory of w")).unwrap_or(&said).to_owned();
    assert_snapshot!(line, @"work directory of w: make it by hand, or set another work_dir in the project file");
    assert!(said.contains("Permission denied"), "{said}");

    let run = lab.command("runner", &["run", "--until-idle", "--max-seconds", "100"]);
    let mut runner = Process::start(without_power(&run));
    let told = trouble(&lab, "localhost");
    assert_snapshot!(redact(&lab, told["why"].as_str().unwrap()), @"the run directory [LAB]/shared/mine/[DIR]/[UUID]_1 cannot be made: cannot make the directory [LAB]/shared/mine/[DIR]/.jobferry-put-[HASH]: Permission denied (os error 13)");
    assert_snapshot!(told["hint"].as_str().unwrap(), @"give the account write access to the work directory; `jf project check` tries it");
    assert_eq!(lab.states(), [("true".to_owned(), "CHECKED_OUT".to_owned())]);
    assert_eq!(paths_below(&work), Vec::<String>::new());
    std::os::unix::fs::chown(&work, Some(0), Some(0)).unwrap();
    assert_eq!(runner.ends_within(Duration::from_secs(100)), Some(0), "{}", lab.log());
    assert!(all(&lab, "COMPLETED"), "{:?}", lab.states());
}
