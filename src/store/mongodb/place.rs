//! Collections outside the queue, and the clients they share.

use std::time::Duration;

use ::mongodb::bson::{Document, doc};
use ::mongodb::options::ClientOptions;
use ::mongodb::{Client, Collection, Database};

use super::access::{self, Command, Fault, Reply};
use super::settings::{self, Location};
use crate::store::StoreError;

/// The connections of one process: stores on the same server, as the same user, share them.
#[derive(Default)]
pub struct Clients {
    opened: Vec<(ClientOptions, Client)>,
}

/// A database whose client is made.
pub(super) struct Opened {
    pub(super) client: Client,
    pub(super) database: Database,
    /// `mongodb://host:port/database`, without user and password.
    pub(super) place: String,
}

impl Clients {
    /// Returns the database of the location. Nothing is sent yet.
    pub(super) async fn open(&mut self, location: &Location) -> Result<Opened, StoreError> {
        let resolved = settings::resolve(location).await?;
        let known = self.opened.iter().find(|(options, _)| *options == resolved.options);
        let client = match known {
            Some((_, client)) => client.clone(),
            None => {
                let client = connect(resolved.options.clone(), &resolved.place)?;
                self.opened.push((resolved.options, client.clone()));
                client
            }
        };
        let database = client.database(&resolved.database);
        Ok(Opened { client, database, place: resolved.place })
    }
}

fn connect(options: ClientOptions, place: &str) -> Result<Client, StoreError> {
    let refused =
        |error| StoreError::Refused { place: place.to_owned(), action: "be opened", source: Box::new(error) };
    Client::with_options(options).map_err(refused)
}

/// A collection, or two whose names begin alike, in some database.
#[derive(Clone)]
pub(super) struct Place {
    pub(super) database: Database,
    pub(super) collection: String,
    /// `mongodb://host:port/database`, without user and password.
    pub(super) name: String,
}

impl Place {
    /// Returns the place in the database of the location.
    pub(super) async fn open(
        clients: &mut Clients,
        location: &Location,
        collection: String,
    ) -> Result<Self, StoreError> {
        let opened = clients.open(location).await?;
        Ok(Self { database: opened.database, collection, name: opened.place })
    }

    pub(super) fn collection(&self) -> Collection<Document> {
        self.database.collection(&self.collection)
    }

    /// Returns the collection whose name is that of the place with an ending.
    pub(super) fn named(&self, ending: &str) -> Collection<Document> {
        self.database.collection(&format!("{}{ending}", self.collection))
    }

    /// Returns the place whose collection is named by an ending.
    pub(super) fn beside(&self, ending: &str) -> Self {
        Self { collection: format!("{}{ending}", self.collection), ..self.clone() }
    }

    /// Writes into the collection, in as few commands as the limits allow.
    pub(super) async fn write(&self, command: Command, statements: &[Document]) -> Result<Reply, Fault> {
        access::write_plain(&self.database, command, &self.collection, statements).await
    }

    /// Makes indexes of these names and keys where they are not. An account that may not do so is no hindrance: the
    /// store is then slower, not wrong.
    pub(super) async fn index(&self, collection: &str, indexes: &[(&str, Document)]) {
        let indexes: Vec<Document> =
            indexes.iter().map(|(name, key)| doc! { "name": *name, "key": key.clone() }).collect();
        self.make(collection, indexes).await;
    }

    /// Like [`Self::index`], for keys that no two documents share.
    pub(super) async fn unique_index(&self, collection: &str, (name, key): (&str, Document)) {
        self.make(collection, vec![doc! { "name": name, "key": key, "unique": true }]).await;
    }

    async fn make(&self, collection: &str, indexes: Vec<Document>) {
        let command = doc! { "createIndexes": collection, "indexes": indexes };
        if let Err(error) = self.database.run_command(command).await {
            tracing::warn!(place = self.name, collection, "the indexes could not be made: {error}");
        }
    }

    /// Waits for the answer within the limit; the call itself goes on to its end.
    pub(super) async fn call<T, F>(
        &self,
        action: &'static str,
        limit: Duration,
        body: impl FnOnce(Self) -> F,
    ) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, Fault>> + Send + 'static,
    {
        call(&self.name, action, limit, body(self.clone())).await
    }
}

/// Waits for the answer within the limit; the call itself goes on to its end.
pub(super) async fn call<T, F>(
    place: &str,
    action: &'static str,
    limit: Duration,
    body: F,
) -> Result<T, StoreError>
where
    T: Send + 'static,
    F: Future<Output = Result<T, Fault>> + Send + 'static,
{
    match tokio::time::timeout(limit, tokio::spawn(body)).await {
        Ok(Ok(answer)) => answer.map_err(|fault| fault.into_store_error(place, action)),
        Ok(Err(broken)) => {
            Err(StoreError::Refused { place: place.to_owned(), action, source: Box::new(broken) })
        }
        Err(elapsed) => Err(StoreError::Unreachable { place: place.to_owned(), source: Box::new(elapsed) }),
    }
}
