//! The simulated link to a host: performs operations on the world's disks, or fails in every way a link can.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use jobferry::transport::{
    Answer, Command, CommandAnswer, Content, Destination, Fetch, Fetched, Occupied, Operation, Put,
    Transport, TransportError,
};
use sha2::{Digest, Sha256};

use super::world::{Inner, World};

pub(super) struct Link {
    world: Arc<World>,
    host: String,
    reliable: bool,
    round_trips: AtomicU64,
}

/// What goes wrong with one round trip.
enum Mishap {
    None,
    /// Nothing arrives.
    Before,
    /// The first so many operations are performed, then the link breaks.
    After(usize),
    /// All is performed, the answer never comes.
    Silence,
}

impl Link {
    /// Returns the link to a host's disk. The way to this machine's own files is reliable.
    pub(super) fn new(world: &Arc<World>, host: &str, reliable: bool) -> Arc<Self> {
        let (world, host) = (Arc::clone(world), host.to_owned());
        Arc::new(Self { world, host, reliable, round_trips: AtomicU64::new(0) })
    }

    fn draw(&self, operations: usize) -> Mishap {
        let percent = self.world.lock().faults.link_percent;
        if self.reliable || !self.world.chance(percent) {
            return Mishap::None;
        }
        let mut world = self.world.lock();
        match rand::RngExt::random_range(&mut world.random, 0..3) {
            0 => Mishap::Before,
            1 => Mishap::After(rand::RngExt::random_range(&mut world.random, 0..=operations)),
            _ => Mishap::Silence,
        }
    }

    fn lost(&self, message: &str) -> TransportError {
        TransportError::Lost { host: self.host.clone(), message: message.to_owned() }
    }
}

#[async_trait]
impl Transport for Link {
    async fn perform(&self, batch: Vec<Operation>, limit: Duration) -> Result<Vec<Answer>, TransportError> {
        self.round_trips.fetch_add(1, Ordering::Relaxed);
        let most = if self.reliable { Duration::ZERO } else { Duration::from_millis(1500) };
        let mishap = self.draw(batch.len());
        tokio::time::sleep(self.world.pause(most)).await;
        if matches!(mishap, Mishap::Before) {
            return Err(self.lost("before anything was done"));
        }
        let performed = match mishap {
            Mishap::After(operations) => operations,
            _ => batch.len(),
        };
        if !self.reliable {
            self.world.note(format!("{}: {} of {} operations", self.host, performed, batch.len()));
        }
        let answers = {
            let mut world = self.world.lock();
            world.advance();
            batch
                .into_iter()
                .take(performed)
                .map(|one| perform(&mut world, &self.host, one))
                .collect::<Vec<_>>()
        };
        // A runner that is killed here has done all this and knows nothing of it.
        tokio::time::sleep(self.world.pause(most)).await;
        match mishap {
            Mishap::After(_) => Err(self.lost("half-way")),
            Mishap::Silence => {
                tokio::time::sleep(limit).await;
                Err(TransportError::TimedOut { host: self.host.clone(), limit })
            }
            Mishap::None | Mishap::Before => Ok(answers),
        }
    }

    async fn close(&self) {}

    fn round_trips(&self) -> u64 {
        self.round_trips.load(Ordering::Relaxed)
    }

    fn host(&self) -> &str {
        &self.host
    }
}

fn perform(world: &mut Inner, host: &str, operation: Operation) -> Answer {
    match operation {
        Operation::Put(put) => perform_put(world.disk(host), put),
        Operation::Fetch(fetch) => perform_fetch(world, host, &fetch),
        Operation::List { directory } => {
            let start = format!("{directory}/");
            let below = world.disk(host).keys().filter_map(|path| path.strip_prefix(&start));
            Answer::Names(below.filter(|name| !name.contains('/')).map(str::to_owned).collect())
        }
        Operation::Remove { files } => {
            files.iter().for_each(|file| drop(world.disk(host).remove(file)));
            Answer::Done
        }
        Operation::RemoveTree { directory, .. } => {
            let start = format!("{directory}/");
            world.disk(host).retain(|path, _| !path.starts_with(&start));
            Answer::Done
        }
        Operation::Run(command) => run(world, host, &command),
    }
}

fn perform_put(disk: &mut BTreeMap<String, Vec<u8>>, put: Put) -> Answer {
    let start = format!("{}/", put.directory);
    let old: Vec<(String, Vec<u8>)> = disk
        .iter()
        .filter(|(path, _)| path.starts_with(&start))
        .map(|(p, c)| (p.clone(), c.clone()))
        .collect();
    disk.retain(|path, _| !path.starts_with(&start));
    if let Occupied::MoveAside { if_exists, to, .. } = put.occupied
        && old.iter().any(|(path, _)| *path == format!("{start}{if_exists}"))
    {
        disk.retain(|path, _| !path.starts_with(&format!("{to}/")));
        disk.extend(old.into_iter().map(|(path, content)| (path.replacen(&put.directory, &to, 1), content)));
    }
    for file in put.files {
        let content = match file.content {
            Content::Bytes(bytes) => bytes,
            Content::Path(path) => std::fs::read(path).unwrap(),
        };
        disk.insert(format!("{start}{}", file.path), content);
    }
    Answer::Done
}

fn perform_fetch(world: &mut Inner, host: &str, fetch: &Fetch) -> Answer {
    let mut fetched = Vec::new();
    for file in &fetch.files {
        let path = file.path.clone();
        let Some(content) = world.disk(host).get(&format!("{}/{path}", fetch.directory)).cloned() else {
            fetched.push(Fetched::Missing { path });
            continue;
        };
        let sha256 = Sha256::digest(&content).iter().map(|byte| format!("{byte:02x}")).collect();
        let size_bytes = content.len() as u64;
        let content = match &fetch.into {
            Destination::Memory => content,
            Destination::Folder(folder) => {
                world.disk("here").insert(local(folder, &path), content);
                Vec::new()
            }
        };
        fetched.push(Fetched::File { path, size_bytes, sha256, content });
    }
    Answer::Fetched(fetched)
}

fn local(folder: &Path, path: &str) -> String {
    folder.join(path).to_str().unwrap().to_owned()
}

fn run(world: &mut Inner, host: &str, command: &Command) -> Answer {
    let input = String::from_utf8(command.input.clone()).unwrap();
    let percent = world.faults.scheduler_percent;
    let silent = rand::RngExt::random_range(&mut world.random, 0..100) < percent;
    let (exit_code, stdout) = super::batch::run(world, host, &command.script, &input, silent);
    Answer::Ran(CommandAnswer { exit_code, stdout: stdout.into_bytes(), stderr: String::new() })
}
