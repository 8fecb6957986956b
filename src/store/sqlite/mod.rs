//! SQLite: one file, no server, the default.
//!
//! A call is one transaction: readers see a state between two calls, a killed process leaves one. Writes take the
//! write lock first (`BEGIN IMMEDIATE`), so that what a move expects cannot change between the look and the write;
//! other processes wait for it up to ten seconds. Scalars are columns, documents are BSON, and no field is both.
//!
//! | file | what it does |
//! |---|---|
//! | `connection`, `schema` | open and migrate |
//! | `insert`, `moves`, `settle` | write jobs and flows |
//! | `actions`, `scene`, `cancellations` | what users do |
//! | `select`, `rows` | find and read them |
//! | `lease`, `outputs`, `blobs`, `files` | the rest of the traits |
//! | `admin`, `restore` | resets and copies |

mod actions;
mod admin;
mod blobs;
mod cancellations;
mod connection;
mod failure;
mod files;
mod grow;
mod insert;
mod lease;
mod metadata;
mod moves;
mod names;
mod outputs;
mod queue;
mod restore;
mod rows;
mod scene;
mod schema;
mod select;
mod settle;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::{Connection, TransactionBehavior};
use tokio::sync::{Mutex as AsyncMutex, Semaphore};

use crate::model::clock::Clock;

pub use blobs::SqliteBlobs;
use failure::Failure;

use super::{StoreError, Stores};

/// Readers beside the writer: enough for a runner that looks for work while a person lists jobs.
const READERS: usize = 4;

/// Where the store is, and how it runs.
pub struct SqliteSettings {
    /// The file; `:memory:` keeps everything in memory for as long as the store lives.
    pub path: PathBuf,
    /// Comes before the number in the short ids of new jobs; may be empty.
    pub id_prefix: String,
    pub dispatch: Dispatch,
    /// Says whether a lease has run out, and when an upload began.
    pub clock: Arc<dyn Clock>,
}

/// Where a call does its work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dispatch {
    /// On tokio's threads for blocking work, with several readers beside one writer.
    Blocking,
    /// Within the call itself, on one connection: no threads, so that a simulation is the same each time.
    Inline,
}

/// The stores in one SQLite file. Clones share the connections.
#[derive(Clone)]
pub struct SqliteStore {
    shared: Arc<Shared>,
}

struct Shared {
    settings: SqliteSettings,
    /// The path, for errors.
    place: String,
    writer: Arc<AsyncMutex<Connection>>,
    /// None: reads go through the writer's connection.
    readers: Option<Readers>,
}

struct Readers {
    places: Arc<Semaphore>,
    idle: Arc<Mutex<Vec<Connection>>>,
}

impl SqliteStore {
    /// Returns the store at the path, whose file and directory are created (modes 0600 and 0700) where missing.
    ///
    /// Writes nothing to a file that is there: call [`super::Queue::migrate`] next, which costs one small read when
    /// the schema is up to date.
    pub fn open(settings: SqliteSettings) -> Result<Self, StoreError> {
        let place = settings.path.display().to_string();
        let writer =
            Self::connect(&settings).map_err(|failure| failure.into_error(&place, "open the file"))?;
        let alone = in_memory(&settings) || settings.dispatch == Dispatch::Inline;
        let readers = (!alone).then(Readers::none_yet);
        let writer = Arc::new(AsyncMutex::new(writer));
        Ok(Self { shared: Arc::new(Shared { settings, place, writer, readers }) })
    }

    fn connect(settings: &SqliteSettings) -> Result<Connection, Failure> {
        if !in_memory(settings) {
            connection::create_file(&settings.path)?;
        }
        connection::open(&settings.path)
    }

    /// Returns the store as the stores of a project.
    pub fn stores(&self) -> Stores {
        Stores::of(Arc::new(self.clone()))
    }

    /// Runs `body` in one write transaction, which is rolled back when it fails.
    async fn write<T, F>(&self, action: &'static str, body: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, Failure> + Send + 'static,
    {
        self.on_writer(action, |connection| transact(connection, TransactionBehavior::Immediate, body)).await
    }

    /// Runs `body` on one state of the data.
    async fn read<T, F>(&self, action: &'static str, body: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, Failure> + Send + 'static,
    {
        let deferred =
            |connection: &mut Connection| transact(connection, TransactionBehavior::Deferred, body);
        let Some(readers) = &self.shared.readers else { return self.on_writer(action, deferred).await };
        let refused = |source| self.refused(action, source);
        let place = Arc::clone(&readers.places).acquire_owned().await.map_err(|e| refused(Box::new(e)))?;
        let idle = Arc::clone(&readers.idle);
        let path = self.shared.settings.path.clone();
        self.run(action, move || {
            let _place = place;
            let free = idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let mut connection = free.map_or_else(|| connection::open(&path), Ok)?;
            let answer = deferred(&mut connection);
            idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
            answer
        })
        .await
    }

    async fn on_writer<T, F>(&self, action: &'static str, body: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&mut Connection) -> Result<T, Failure> + Send + 'static,
    {
        let mut connection = Arc::clone(&self.shared.writer).lock_owned().await;
        self.run(action, move || body(&mut connection)).await
    }

    /// Runs `body` where the settings want it. A caller that goes away does not stop it half-way.
    async fn run<T, F>(&self, action: &'static str, body: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce() -> Result<T, Failure> + Send + 'static,
    {
        let answer = match self.shared.settings.dispatch {
            Dispatch::Inline => body(),
            Dispatch::Blocking => {
                let joined = tokio::task::spawn_blocking(body).await;
                joined.map_err(|error| self.refused(action, Box::new(error)))?
            }
        };
        answer.map_err(|failure| failure.into_error(&self.shared.place, action))
    }

    fn refused(&self, action: &'static str, source: super::Source) -> StoreError {
        StoreError::Refused { place: self.shared.place.clone(), action, source }
    }
}

fn in_memory(settings: &SqliteSettings) -> bool {
    settings.path.as_os_str() == connection::MEMORY
}

impl Readers {
    fn none_yet() -> Self {
        Self { places: Arc::new(Semaphore::new(READERS)), idle: Arc::default() }
    }
}

fn transact<T>(
    connection: &mut Connection,
    behavior: TransactionBehavior,
    body: impl FnOnce(&Connection) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let transaction = connection.transaction_with_behavior(behavior)?;
    let answer = body(&transaction)?;
    transaction.commit()?;
    Ok(answer)
}
