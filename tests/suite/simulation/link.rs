//! The simulated link to a host: performs operations on the world's disks, or fails in every way a link can.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use jobferry::model::query::{Detail, JobFilter, Page};
use jobferry::model::state::Event;
use jobferry::store::{Applied, Move, Standing, Stores};
use jobferry::transport::{
    Answer, Command, CommandAnswer, Content, Destination, Fetch, Fetched, Occupied, Operation, Put,
    Transport, TransportError,
};
use sha2::{Digest as _, Sha256};

use tokio::time::Instant;

use super::world::{Inner, World};

/// A round trip that hangs does so for at most this time: longer than any limit.
const LONGEST_HANG: Duration = Duration::from_secs(120);

pub(super) struct Link {
    world: Arc<World>,
    stores: Stores,
    /// Whose link it is.
    owner: String,
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
    /// Nothing moves for a long time, then all goes on.
    Hang,
}

impl Link {
    /// Returns a runner's link to a host.
    pub(super) fn new(world: &Arc<World>, stores: &Stores, host: &str, owner: &str) -> Arc<Self> {
        Arc::new(Self {
            world: Arc::clone(world),
            stores: stores.clone(),
            owner: owner.to_owned(),
            host: host.to_owned(),
            reliable: false,
            round_trips: AtomicU64::new(0),
        })
    }

    /// Returns the way to this machine's own files, which is reliable.
    pub(super) fn reliable(world: &Arc<World>, stores: &Stores) -> Arc<Self> {
        let link = Self::new(world, stores, "here", "");
        Arc::new(Self { reliable: true, ..Arc::into_inner(link).unwrap() })
    }

    /// Only who holds the lease may talk to hosts.
    async fn check_right(&self) {
        if self.reliable || self.world.lock().jumps {
            return;
        }
        if let Ok(Some(lease)) = self.stores.queue.lease().await
            && lease.standing == Standing::Holds
            && lease.owner != self.owner
        {
            let text = format!("{} acts while {} holds the lease", self.owner, lease.owner);
            self.world.lock().wrong(text);
        }
    }

    /// Lets the user stop what was just submitted.
    async fn grant_wishes(&self) {
        let wishes = std::mem::take(&mut self.world.lock().wishes);
        for token in wishes {
            let filter = JobFilter { keys: vec![token.parts().unwrap().0], ..JobFilter::default() };
            let jobs = self.stores.queue.jobs(&filter, &Page::default(), Detail::Summary).await.unwrap();
            for job in jobs {
                let stop = Move::of(&job, Some(Event::StopByUser), job.updated_on, "user");
                let applied = self.stores.queue.apply(&[stop]).await.unwrap();
                assert_eq!(applied, [Applied::Done]);
                let mut world = self.world.lock();
                world.note(&format!("the user stops {token}"));
                world.stopped.insert(token.clone(), Instant::now());
            }
        }
    }

    fn draw(&self, operations: usize) -> Mishap {
        let percent = self.world.lock().faults.link_percent;
        if self.reliable || !self.world.chance(percent) {
            return Mishap::None;
        }
        let mut world = self.world.lock();
        match rand::RngExt::random_range(&mut world.random, 0..10) {
            0..3 => Mishap::Before,
            3..6 => Mishap::After(rand::RngExt::random_range(&mut world.random, 0..=operations)),
            6..9 => Mishap::Silence,
            _ => Mishap::Hang,
        }
    }

    /// Takes the time of one way.
    async fn travel(&self) {
        if !self.reliable {
            tokio::time::sleep(self.world.pause(Duration::from_millis(1500))).await;
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
        self.check_right().await;
        let mishap = self.draw(batch.len());
        self.travel().await;
        match mishap {
            Mishap::Before => return Err(self.lost("before anything was done")),
            Mishap::Hang => {
                let pause = self.world.pause(LONGEST_HANG);
                tokio::time::sleep(pause.min(limit)).await;
                if pause > limit {
                    return Err(TransportError::TimedOut { host: self.host.clone(), limit });
                }
            }
            Mishap::None | Mishap::After(_) | Mishap::Silence => {}
        }
        self.world.may_die().await;
        let performed = match mishap {
            Mishap::After(operations) => operations,
            _ => batch.len(),
        };
        if !self.reliable {
            self.world.note(|| format!("{}: {} of {} operations", self.host, performed, batch.len()));
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
        self.grant_wishes().await;
        // A runner that is killed here has done all this and knows nothing of it.
        self.world.may_die().await;
        self.travel().await;
        match mishap {
            Mishap::After(_) => Err(self.lost("half-way")),
            Mishap::Silence => {
                tokio::time::sleep(limit).await;
                Err(TransportError::TimedOut { host: self.host.clone(), limit })
            }
            Mishap::None | Mishap::Before | Mishap::Hang => Ok(answers),
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
