//! One way to the server for all statements, inside a transaction or not.
//!
//! Writes go out as the server's own `insert` and `update` commands with many statements each: the client-side
//! `bulk_write` needs server 8.0, and one round trip per document would be the limit of a runner's speed. Every write
//! is acknowledged by a majority and its journal, because a move that is lost in a failover is a job run twice.

use std::fmt;
use std::time::Duration;

use ::mongodb::bson::{Bson, Document, RawArrayBuf, RawDocumentBuf, cstr, doc, rawdoc};
use ::mongodb::options::{Acknowledgment, ReadConcern, TransactionOptions, WriteConcern};
use ::mongodb::{ClientSession, Collection, error::Error, error::ErrorKind};
use futures::TryStreamExt as _;

use super::super::StoreError;
use super::Server;

/// Statements in one command: enough that the round trip does not matter, few enough that a reply comes soon. The
/// server takes 100 000.
const MOST_STATEMENTS: usize = 1000;

/// Bytes of statements in one command; the server takes 16 MiB and 16 KiB, and one document may be as large as 16 MiB.
const MOST_BYTES: usize = 8 << 20;

/// The largest document that MongoDB stores.
const DOCUMENT_LIMIT: usize = 16 << 20;

/// Tries of a transaction that met another one; each is a fresh look at the documents.
const TRANSACTION_TRIES: u32 = 20;

/// How long a majority may take to acknowledge.
const MAJORITY_LIMIT: Duration = Duration::from_secs(20);

/// What went wrong below a method of the store.
#[derive(Debug)]
pub(super) enum Fault {
    Driver(Error),
    Store(StoreError),
    /// The server answered, but not as its manual says.
    Strange(String),
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Self::Driver(error)
    }
}

impl From<StoreError> for Fault {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<crate::model::state::Illegal> for Fault {
    fn from(error: crate::model::state::Illegal) -> Self {
        Self::Store(StoreError::Illegal(error))
    }
}

impl From<::mongodb::bson::error::Error> for Fault {
    fn from(error: ::mongodb::bson::error::Error) -> Self {
        Self::Strange(error.to_string())
    }
}

impl Fault {
    /// Returns the error as the store's callers see it.
    pub(super) fn into_store_error(self, place: &str, action: &'static str) -> StoreError {
        let place = place.to_owned();
        match self {
            Self::Store(error) => error,
            Self::Driver(error) if is_about_the_line(&error) => {
                StoreError::Unreachable { place, source: Box::new(InWords(error)) }
            }
            Self::Driver(error) => StoreError::Refused { place, action, source: Box::new(InWords(error)) },
            Self::Strange(text) => StoreError::Refused { place, action, source: text.into() },
        }
    }

    fn may_run_again(&self) -> bool {
        matches!(self, Self::Driver(error) if error.contains_label("TransientTransactionError"))
    }
}

/// An error of the driver whose text is for people: without labels, and without the description of the whole cluster.
#[derive(Debug)]
struct InWords(Error);

impl std::error::Error for InWords {}

impl fmt::Display for InWords {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.0.kind {
            ErrorKind::ServerSelection { message, .. } => f.write_str(&selection_in_words(message)),
            kind => kind.fmt(f),
        }
    }
}

/// Returns what each server of a failed selection said, as `<address>: <why>`; the message's beginning where none did.
///
/// The driver (3.x) puts them into one text: `… Topology: { … Servers: [ { Address: A, Type: T, Error: Kind: E, labels: …`.
fn selection_in_words(message: &str) -> String {
    let faults = message.split("Address: ").skip(1).filter_map(|server| {
        let address = server.split(',').next()?;
        let (_, fault) = server.split_once("Error: Kind: ")?;
        Some(format!("{address}: {}", fault.split(", labels").next()?))
    });
    let faults: Vec<String> = faults.collect();
    if faults.is_empty() {
        return message.split(" Topology:").next().unwrap_or(message).to_owned();
    }
    faults.join("; ")
}

fn is_about_the_line(error: &Error) -> bool {
    matches!(
        *error.kind,
        ErrorKind::Io(_)
            | ErrorKind::ServerSelection { .. }
            | ErrorKind::ConnectionPoolCleared { .. }
            | ErrorKind::DnsResolve { .. }
    )
}

/// Which of the server's write commands.
#[derive(Debug, Clone, Copy)]
pub(super) enum Command {
    Insert,
    Update,
    Delete,
}

/// A statement that the server refused while it took the others.
#[derive(Debug)]
pub(super) struct Refusal {
    /// Place of the statement among those sent.
    pub(super) place: usize,
    pub(super) code: i32,
    pub(super) message: String,
}

/// What became of a list of statements.
#[derive(Debug, Default)]
pub(super) struct Reply {
    /// Documents that were matched, inserted or deleted.
    pub(super) matched: u64,
    pub(super) refusals: Vec<Refusal>,
}

impl Reply {
    /// Returns the number of documents if the server took every statement.
    pub(super) fn all(self) -> Result<u64, Fault> {
        match self.refusals.into_iter().next() {
            None => Ok(self.matched),
            Some(first) => Err(Fault::Strange(first.message)),
        }
    }
}

/// The documents as one caller sees them: as they are, or in a transaction.
pub(super) struct Access<'a> {
    pub(super) server: &'a Server,
    session: Option<&'a mut ClientSession>,
}

impl<'a> Access<'a> {
    /// Returns the access whose every statement stands alone.
    pub(super) fn plain(server: &'a Server) -> Self {
        Self { server, session: None }
    }

    /// Returns the projected documents that pass the filter, in no order.
    pub(super) async fn find(
        &mut self,
        collection: &str,
        filter: Document,
        projection: Document,
    ) -> Result<Vec<Document>, Fault> {
        self.find_some(collection, filter, projection, Document::new(), None).await
    }

    /// Returns up to `limit` of the projected documents that pass the filter, in the order of `sort`.
    pub(super) async fn find_some(
        &mut self,
        collection: &str,
        filter: Document,
        projection: Document,
        sort: Document,
        limit: Option<u32>,
    ) -> Result<Vec<Document>, Fault> {
        let collection: Collection<Document> = self.server.database.collection(collection);
        let find = collection.find(filter).projection(projection).sort(sort);
        let find = find.limit(limit.map_or(0, i64::from));
        let documents = match &mut self.session {
            None => find.await?.try_collect().await?,
            Some(session) => {
                let mut cursor = find.session(&mut **session).await?;
                cursor.stream(session).try_collect().await?
            }
        };
        Ok(documents)
    }

    /// Sends the statements in as few commands as the limits allow and returns what became of them.
    pub(super) async fn write(
        &mut self,
        command: Command,
        collection: &str,
        statements: &[Document],
    ) -> Result<Reply, Fault> {
        let database = self.server.database.clone();
        self.write_into(&database, command, collection, statements).await
    }

    /// Like [`Self::write`], into a database of choice.
    pub(super) async fn write_into(
        &mut self,
        database: &::mongodb::Database,
        command: Command,
        collection: &str,
        statements: &[Document],
    ) -> Result<Reply, Fault> {
        let mut target = Target { database, collection, command, session: self.session.as_deref_mut() };
        target.write(statements).await
    }
}

/// Sends the statements outside any transaction, in as few commands as the limits allow.
pub(super) async fn write_plain(
    database: &::mongodb::Database,
    command: Command,
    collection: &str,
    statements: &[Document],
) -> Result<Reply, Fault> {
    Target { database, collection, command, session: None }.write(statements).await
}

/// Where statements of one kind go.
struct Target<'a> {
    database: &'a ::mongodb::Database,
    collection: &'a str,
    command: Command,
    session: Option<&'a mut ClientSession>,
}

impl Target<'_> {
    async fn write(&mut self, statements: &[Document]) -> Result<Reply, Fault> {
        let mut reply = Reply::default();
        let mut batch = Batch::default();
        for (place, statement) in statements.iter().enumerate() {
            let raw = RawDocumentBuf::try_from(statement)?;
            if raw.as_bytes().len() > DOCUMENT_LIMIT {
                return Err(too_large(statement, raw.as_bytes().len()).into());
            }
            if batch.is_full_with(&raw) {
                self.send(std::mem::take(&mut batch), &mut reply).await?;
                batch.first = place;
            }
            batch.push(raw);
        }
        if batch.count > 0 {
            self.send(batch, &mut reply).await?;
        }
        Ok(reply)
    }

    async fn send(&mut self, batch: Batch, reply: &mut Reply) -> Result<(), Fault> {
        let mut body = match self.command {
            Command::Insert => rawdoc! { "insert": self.collection, "documents": batch.statements },
            Command::Update => rawdoc! { "update": self.collection, "updates": batch.statements },
            Command::Delete => rawdoc! { "delete": self.collection, "deletes": batch.statements },
        };
        body.append(cstr!("ordered"), false);
        let answer = match &mut self.session {
            Some(session) => self.database.run_raw_command(body).session(&mut **session).await?,
            None => {
                body.append(cstr!("writeConcern"), durable_document());
                self.database.run_raw_command(body).await?
            }
        };
        read_answer(&answer, batch.first, reply)
    }
}

#[derive(Default)]
struct Batch {
    first: usize,
    count: usize,
    bytes: usize,
    statements: RawArrayBuf,
}

impl Batch {
    fn is_full_with(&self, next: &RawDocumentBuf) -> bool {
        let too_many = self.count >= MOST_STATEMENTS;
        self.count > 0 && (too_many || self.bytes.saturating_add(next.as_bytes().len()) > MOST_BYTES)
    }

    fn push(&mut self, statement: RawDocumentBuf) {
        self.count = self.count.saturating_add(1);
        self.bytes = self.bytes.saturating_add(statement.as_bytes().len());
        self.statements.push(statement);
    }
}

fn too_large(statement: &Document, size: usize) -> StoreError {
    let inner = ["q", "u"].iter().find_map(|field| statement.get_document(field).ok());
    let inner = inner.unwrap_or(statement);
    let uuid =
        ["uuid", "blob_uuid"].iter().find_map(|field| inner.get_str(field).ok()).unwrap_or("without a uuid");
    StoreError::TooLarge {
        what: uuid.to_owned(),
        size_bytes: u64::try_from(size).unwrap_or(u64::MAX),
        limit_bytes: u64::try_from(DOCUMENT_LIMIT).unwrap_or(u64::MAX),
    }
}

/// Adds the server's answer to one command, whose first statement was number `first`, to `reply`.
fn read_answer(answer: &Document, first: usize, reply: &mut Reply) -> Result<(), Fault> {
    if let Ok(unsure) = answer.get_document("writeConcernError") {
        let text = unsure.get_str("errmsg").unwrap_or("the write is not acknowledged by a majority");
        return Err(Fault::Strange(text.to_owned()));
    }
    let errors = answer.get_array("writeErrors").map(Vec::as_slice).unwrap_or_default();
    for error in errors.iter().filter_map(Bson::as_document) {
        let place = error.get_i32("index").ok().and_then(|index| usize::try_from(index).ok());
        let place = place.ok_or_else(|| Fault::Strange(error.to_string()))?;
        reply.refusals.push(Refusal {
            place: first.saturating_add(place),
            code: error.get_i32("code").unwrap_or_default(),
            message: error.get_str("errmsg").unwrap_or_default().to_owned(),
        });
    }
    let matched = answer.get("n").and_then(number).unwrap_or_default();
    reply.matched = reply.matched.saturating_add(u64::try_from(matched).unwrap_or_default());
    Ok(())
}

/// Returns a whole number of any BSON type.
pub(super) fn number(value: &Bson) -> Option<i64> {
    match value {
        Bson::Int32(number) => Some(i64::from(*number)),
        Bson::Int64(number) => Some(*number),
        #[expect(
            clippy::cast_possible_truncation,
            reason = "counters that a shell wrote are whole and small"
        )]
        Bson::Double(number) => Some(*number as i64),
        _ => None,
    }
}

/// Returns the write concern of every write that must not be forgotten.
pub(super) fn durable() -> WriteConcern {
    let concern = WriteConcern::builder().w(Acknowledgment::Majority).journal(true);
    concern.w_timeout(MAJORITY_LIMIT).build()
}

fn durable_document() -> RawDocumentBuf {
    let limit = i32::try_from(MAJORITY_LIMIT.as_millis()).unwrap_or(i32::MAX);
    rawdoc! { "w": "majority", "j": true, "wtimeout": limit }
}

/// What is done in one transaction. It may run several times; only the last run is stored.
pub(super) trait Body: Sync {
    type Answer: Send;

    fn run(&self, access: &mut Access<'_>) -> impl Future<Output = Result<Self::Answer, Fault>> + Send;
}

/// Returns the body's answer after everything it wrote was stored at once; on failure nothing of it is.
///
/// After an error of the commit itself it is unknown which of the two.
pub(super) async fn transact<B: Body>(server: &Server, body: &B) -> Result<B::Answer, Fault> {
    let mut session = server.client.start_session().await?;
    let options = TransactionOptions::builder().read_concern(ReadConcern::snapshot());
    let options = options.write_concern(durable()).build();
    let mut tries = 1;
    loop {
        match attempt(server, body, &mut session, options.clone()).await {
            Err(fault) if fault.may_run_again() && tries < TRANSACTION_TRIES => pause(tries).await,
            answer => return answer,
        }
        tries = tries.saturating_add(1);
    }
}

async fn attempt<B: Body>(
    server: &Server,
    body: &B,
    session: &mut ClientSession,
    options: TransactionOptions,
) -> Result<B::Answer, Fault> {
    session.start_transaction().with_options(options).await?;
    let answer = body.run(&mut Access { server, session: Some(&mut *session) }).await;
    match answer {
        Ok(answer) => commit(session).await.map(|()| answer),
        Err(fault) => {
            // The transaction ends by itself if the server does not hear this.
            drop(session.abort_transaction().await);
            Err(fault)
        }
    }
}

async fn commit(session: &mut ClientSession) -> Result<(), Fault> {
    let mut tries = 1;
    loop {
        match session.commit_transaction().await {
            Err(error)
                if error.contains_label("UnknownTransactionCommitResult") && tries < TRANSACTION_TRIES =>
            {
                pause(tries).await;
            }
            answer => return Ok(answer?),
        }
        tries = tries.saturating_add(1);
    }
}

/// Waits 2 ms, then twice as long each time, up to a quarter of a second.
async fn pause(tries: u32) {
    tokio::time::sleep(Duration::from_millis(1 << tries.min(8))).await;
}

/// Returns a projection of these fields, without `_id`.
pub(super) fn only(fields: &[&str]) -> Document {
    let mut projection = doc! { "_id": 0 };
    projection.extend(fields.iter().map(|field| ((*field).to_owned(), Bson::Int32(1))));
    projection
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_servers_said_is_told_without_the_rest() {
        let one = "Server selection timeout: No available servers. Topology: { Type: Unknown, Servers: [ { Address: h:1, \
                   Type: Unknown, Error: Kind: I/O error: Connection refused (os error 111), labels: {\"RetryableError\"}, \
                   source: None, server response: None } ] }";
        assert_eq!(selection_in_words(one), "h:1: I/O error: Connection refused (os error 111)");
        let no_primary = "Server selection timeout: No available servers. Topology: { Type: ReplicaSetNoPrimary, Set \
                          Name: rs0, Servers: [ { Address: h:1, Type: RsSecondary }, { Address: h:2, Type: Unknown, \
                          Error: Kind: I/O error: timed out, labels: {} } ] }";
        assert_eq!(selection_in_words(no_primary), "h:2: I/O error: timed out");
        assert_eq!(
            selection_in_words("Server selection timeout: x Topology: { }"),
            "Server selection timeout: x"
        );
    }
}
