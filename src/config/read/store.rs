//! `queue`, `jobstore`, and the stores in them.

mod parts;

use std::path::{Path, PathBuf};

use indexmap::IndexMap;

use crate::config::defaults;
use crate::config::raw::RawSettings;
use crate::config::secret::SecretSource;
use crate::config::section::{PASSWORD, Reader, Section, URI};
use crate::config::store::{JobStoreConfig, MongoConfig, MongoServer, QueueConfig, StoreConfig};
use crate::flowfile::decode::At;
use crate::flowfile::fault::hint_for;
use crate::flowfile::source::{Value, entries_to_document};

/// The database file when a SQLite store names none, below `base_dir`.
const SQLITE_FILE: &str = "jobferry.db";

/// The collection of the outputs when no `jobstore` is named and the jobs are in MongoDB.
const OUTPUTS_COLLECTION: &str = "outputs";

/// The stores of maggma and jobflow that we cannot open, but whose names are no mistakes.
const FOREIGN_TYPES: [&str; 12] = [
    "MemoryStore",
    "MontyStore",
    "MongograntStore",
    "FileStore",
    "AzureBlobStore",
    "OpenDataStore",
    "ConcatStore",
    "AliasingStore",
    "SandboxStore",
    "VaultStore",
    "SSHTunnel",
    "JobStore",
];

/// What jobs and outputs can be kept in.
const OPENED_TYPES: [&str; 3] = ["SqliteStore", "MongoStore", "MongoURIStore"];

/// What parts of outputs can be kept in.
const OPENED_FOR_PARTS: [&str; 7] =
    ["SqliteStore", "MongoStore", "MongoURIStore", "GridFSStore", "GridFSURIStore", "S3Store", "JSONStore"];

/// What a store is there for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Queue,
    Outputs,
    Parts,
    /// Of an `S3Store`.
    Index,
}

impl Role {
    /// Returns the types of stores that can be opened for it.
    fn opened(self) -> &'static [&'static str] {
        match self {
            Self::Parts => &OPENED_FOR_PARTS,
            Self::Queue | Self::Outputs | Self::Index => &OPENED_TYPES,
        }
    }
}

pub(super) fn queue(top: &mut Section<'_>, base: &Path, reader: &mut Reader<'_>) -> Option<QueueConfig> {
    let mut section = top.section("queue", &[defaults::section(&["queue"])], reader)?;
    let store = match set(section.given("store")) {
        Some(at) => store(&at, Role::Queue, base, reader),
        None => {
            let path = base.join(SQLITE_FILE);
            section.take("store", reader);
            reader.record_derived("queue.store", format!("SqliteStore {}", path.display()));
            Some(StoreConfig::Sqlite { path })
        }
    };
    let mut name = |key| collection(&mut section, key, reader);
    let flows = name("flows_collection");
    let auxiliary = name("auxiliary_collection");
    let batches = name("batches_collection");
    let db_id_prefix = section.some_text("db_id_prefix", reader);
    section.finish(reader, |_| None);
    let queue = QueueConfig {
        store: store?,
        flows_collection: flows?,
        auxiliary_collection: auxiliary?,
        batches_collection: batches?,
        db_id_prefix,
    };
    distinct_collections(&queue, section_span(top), reader);
    Some(queue)
}

fn section_span<'tree>(top: &mut Section<'tree>) -> Option<At<'tree>> {
    top.given("queue")
}

fn collection(section: &mut Section<'_>, key: &'static str, reader: &mut Reader<'_>) -> Option<String> {
    let at = section.need(key, "name the MongoDB collection", reader)?;
    let name = at.text(&mut reader.faults)?;
    if name.is_empty() || name.contains(['$', '\0']) || name.starts_with("system.") {
        let fault = at.fault(format!("{name:?} is no name for a MongoDB collection"));
        reader.faults.push(fault.hint("use letters, digits and `_`"));
        return None;
    }
    Some(name.to_owned())
}

/// Two kinds of documents in one collection would be taken for one another.
fn distinct_collections(queue: &QueueConfig, at: Option<At<'_>>, reader: &mut Reader<'_>) {
    let StoreConfig::Mongo(mongo) = &queue.store else { return };
    let names =
        [&mongo.collection, &queue.flows_collection, &queue.auxiliary_collection, &queue.batches_collection];
    let twice =
        names.iter().enumerate().find(|(index, name)| names.iter().take(*index).any(|other| other == *name));
    if let (Some((_, name)), Some(at)) = (twice, at) {
        let fault = at.fault(format!("the collection `{name}` is used for two things"));
        reader.faults.push(fault.hint("jobs, flows, auxiliary documents and batches each need their own"));
    }
}

pub(super) fn jobstore(
    top: &mut Section<'_>,
    queue: Option<&QueueConfig>,
    base: &Path,
    reader: &mut Reader<'_>,
) -> Option<JobStoreConfig> {
    let (named, alias) = (set(top.given("jobstore")), set(top.given("JOB_STORE")));
    if let (Some(_), Some(alias)) = (&named, &alias) {
        let fault = alias.fault("`JOB_STORE` is another name of `jobstore`, and both are given");
        reader.faults.push(fault.hint("keep `jobstore`"));
    }
    let config = match named.or(alias) {
        Some(at) => jobstore_at(&at, base, reader)?,
        None => Written { docs: Docs::Unnamed, additional: IndexMap::new() },
    };
    let docs_store = match config.docs {
        Docs::Store(store) => *store,
        Docs::Unnamed => beside_the_jobs(&queue?.store, reader),
    };
    Some(JobStoreConfig { docs_store, additional_stores: config.additional })
}

/// Unlike `jobstore` it has to name its store: there is nothing to be beside of.
pub(super) fn optional_jobstore(at: &At<'_>, base: &Path, reader: &mut Reader<'_>) -> Option<JobStoreConfig> {
    let written = jobstore_at(at, base, reader)?;
    match written.docs {
        Docs::Store(docs_store) => {
            Some(JobStoreConfig { docs_store: *docs_store, additional_stores: written.additional })
        }
        Docs::Unnamed => {
            let fault = at.fault("an optional output store needs a `docs_store` that lasts");
            reader.faults.push(fault.hint("write `docs_store: {type: MongoStore, …}`"));
            None
        }
    }
}

/// A `jobstore` section as it is written.
struct Written {
    docs: Docs,
    additional: IndexMap<String, StoreConfig>,
}

enum Docs {
    Store(Box<StoreConfig>),
    /// None is named, or one that forgets everything when the process ends.
    Unnamed,
}

fn jobstore_at(at: &At<'_>, base: &Path, reader: &mut Reader<'_>) -> Option<Written> {
    let mut section = Section::at(at, &[defaults::section(&["jobstore"])], reader)?;
    for key in ["@module", "@class", "@version"] {
        section.given(key);
    }
    let docs = match set(section.given("docs_store")) {
        Some(at) if class_of(&at) == Some("MemoryStore") => {
            let warning = at.fault("a MemoryStore keeps nothing: outputs go beside the jobs instead");
            reader.warnings.push(warning.hint("leave it out, or name a store that lasts"));
            Some(Docs::Unnamed)
        }
        Some(at) => store(&at, Role::Outputs, base, reader).map(|store| Docs::Store(Box::new(store))),
        None => Some(Docs::Unnamed),
    };
    let mut additional = IndexMap::new();
    for (name, _, at) in section.named("additional_stores", reader) {
        if let Some(store) = store(&at, Role::Parts, base, reader) {
            additional.insert(name.to_owned(), store);
        }
    }
    for key in ["save", "load"] {
        if let Some(at) = set(section.given(key)) {
            reader.record_raw(&at);
            // A serialized job store has it that way, and means nothing by it.
            if at.node.value != Value::Boolean(false) {
                reader.unused(&at, "what is saved where is said by each job");
            }
        }
    }
    section.finish(reader, |_| None);
    Some(Written { docs: docs?, additional })
}

/// Returns where outputs go when nothing says so.
fn beside_the_jobs(queue: &StoreConfig, reader: &mut Reader<'_>) -> StoreConfig {
    let store = match queue {
        StoreConfig::Mongo(mongo) => {
            StoreConfig::Mongo(MongoConfig { collection: OUTPUTS_COLLECTION.to_owned(), ..mongo.clone() })
        }
        _ => queue.clone(),
    };
    let shown = match &store {
        StoreConfig::Sqlite { path } => format!("SqliteStore {}", path.display()),
        StoreConfig::Mongo(mongo) => format!("MongoStore {}.{}", mongo.database, mongo.collection),
        other => other.type_name().to_owned(),
    };
    reader.record_derived("jobstore.docs_store", shown);
    store
}

/// Returns `type`, or `@class` of a serialized store.
fn class_of<'tree>(at: &At<'tree>) -> Option<&'tree str> {
    let class = at.node.get("type").or_else(|| at.node.get("@class"))?;
    match &class.value {
        Value::Text(text) => Some(text),
        _ => None,
    }
}

fn store(at: &At<'_>, role: Role, base: &Path, reader: &mut Reader<'_>) -> Option<StoreConfig> {
    at.table(&mut reader.faults)?;
    let Some(class) = class_of(at) else {
        let fault = at.fault("the store does not say what it is: the key `type` is missing");
        let kinds = role.opened().join(", ");
        reader.faults.push(fault.hint(format!("write `type: MongoStore`; known are {kinds}")));
        return None;
    };
    match (class, role) {
        ("SqliteStore", _) => sqlite(at, base, reader),
        ("MongoStore" | "MongoURIStore", _) => mongo(at, reader).map(StoreConfig::Mongo),
        ("GridFSStore" | "GridFSURIStore", Role::Parts) => grid_fs(at, reader),
        ("S3Store", Role::Parts) => parts::s3(at, base, reader),
        ("JSONStore", Role::Parts) => parts::json_file(at, reader),
        _ => foreign(at, class, role, reader),
    }
}

/// Asks for the keys that say what the store is.
fn take_type(section: &mut Section<'_>, reader: &mut Reader<'_>) {
    for key in ["@module", "@class", "@version"] {
        section.given(key);
    }
    section.take("type", reader);
}

fn sqlite(at: &At<'_>, base: &Path, reader: &mut Reader<'_>) -> Option<StoreConfig> {
    let templates = [defaults::section(&["<store>"]), defaults::section(&["<SqliteStore>"])];
    let mut section = Section::at(at, &templates, reader)?;
    take_type(&mut section, reader);
    let given = section.text("path", reader).map(|path| reader.environment.expand(&path));
    let path = base.join(given.unwrap_or_else(|| PathBuf::from(SQLITE_FILE)));
    reader.record_derived(&at.path_of("path"), path.display().to_string());
    section.finish(reader, |_| None);
    Some(StoreConfig::Sqlite { path })
}

fn mongo(at: &At<'_>, reader: &mut Reader<'_>) -> Option<MongoConfig> {
    let templates = [defaults::section(&["<store>"]), defaults::section(&["<MongoStore>"])];
    let mut section = Section::at(at, &templates, reader)?;
    let config = mongo_keys(&mut section, reader);
    section.finish(reader, |_| None);
    config
}

fn grid_fs(at: &At<'_>, reader: &mut Reader<'_>) -> Option<StoreConfig> {
    let sections = ["<store>", "<MongoStore>", "<GridFSStore>"];
    let mut section = Section::at(at, &sections.map(|name| defaults::section(&[name])), reader)?;
    let mongo = mongo_keys(&mut section, reader);
    let compression = section.boolean("compression", reader);
    for key in ["ensure_metadata", "searchable_fields", "files_collection_name"] {
        kept(&mut section, key, reader);
    }
    section.finish(reader, |_| None);
    Some(StoreConfig::GridFs { mongo: mongo?, compression: compression? })
}

/// Reads a key whose value means nothing to us, without a word about it: maggma writes it by itself.
fn kept(section: &mut Section<'_>, key: &'static str, reader: &mut Reader<'_>) {
    match set(section.given(key)) {
        Some(at) => reader.record_raw(&at),
        None => {
            section.take(key, reader);
        }
    }
}

fn mongo_keys(section: &mut Section<'_>, reader: &mut Reader<'_>) -> Option<MongoConfig> {
    take_type(section, reader);
    let host_is_given = set(section.given("host")).or(set(section.given("port")));
    let host = section.some_text("host", reader);
    let port = section.take("port", reader).and_then(|at| at.integer(1..=65_535, &mut reader.faults));
    let uri = section.secret(&URI, reader);
    if let (Some(at), Some(_)) = (&host_is_given, &uri) {
        let fault = at.fault("the server is named twice: by a connection string, and by host or port");
        reader.faults.push(fault.hint("keep one of them"));
    }
    let username = section.some_text("username", reader);
    let password = section.secret(&PASSWORD, reader);
    let auth_source = section.some_text("auth_source", reader);
    let client_options = section.raw("mongoclient_kwargs", reader).unwrap_or_default();
    for key in ["safe_update", "default_sort", "key", "last_updated_field", "last_updated_type"] {
        kept(section, key, reader);
    }
    kept(section, "ssh_tunnel", reader);
    section.unused("ssh_tunnel", "open the tunnel yourself, and name its end as host and port", reader);
    let uri = uri.or_else(|| host.as_deref().filter(|host| host.contains("://")).map(literal));
    let database = database(section, uri.as_ref(), reader);
    let collection = collection(section, "collection_name", reader);
    if username.is_none() && password.is_some() {
        reader.faults.push(section.fault("there is a password and no `username`").hint("name the user"));
    }
    let server = match uri {
        Some(uri) => MongoServer::Uri(uri),
        None => MongoServer::Host { host: host?, port: u16::try_from(port?).ok()? },
    };
    Some(MongoConfig {
        server,
        database: database?,
        collection: collection?,
        username,
        password,
        auth_source,
        client_options,
    })
}

fn literal(uri: &str) -> SecretSource {
    SecretSource::Literal(crate::config::Secret::new(uri))
}

/// The database is named by its key, or is the path of a connection string that can be read here.
fn database(
    section: &mut Section<'_>,
    uri: Option<&SecretSource>,
    reader: &mut Reader<'_>,
) -> Option<String> {
    let named = section.some_text("database", reader);
    let in_uri = match uri {
        Some(SecretSource::Literal(uri)) => database_of(uri.reveal()),
        _ => None,
    };
    let found = named.or(in_uri);
    match found.as_deref() {
        None => {
            let fault = section.fault("the key `database` is missing");
            reader.faults.push(fault.hint("name the MongoDB database"));
        }
        Some(name) if name.contains(['/', '\\', '.', ' ', '"', '$', '\0']) => {
            let fault = section.fault(format!("{name:?} is no name for a MongoDB database"));
            reader.faults.push(fault.hint("use letters, digits, `_` and `-`"));
        }
        Some(_) => {}
    }
    found
}

/// Returns the path of a connection string: `mongodb://host/database?options`.
fn database_of(uri: &str) -> Option<String> {
    let (_, rest) = uri.split_once("://")?;
    let (_, path) = rest.split_once('/')?;
    let name = path.split('?').next()?;
    (!name.is_empty()).then(|| name.to_owned())
}

fn foreign(at: &At<'_>, class: &str, role: Role, reader: &mut Reader<'_>) -> Option<StoreConfig> {
    let names: Vec<&str> = OPENED_FOR_PARTS.iter().chain(&FOREIGN_TYPES).copied().collect();
    let opened = role.opened().join(", ");
    if !names.contains(&class) && at.node.get("@module").is_none() {
        let mut fault = at.fault(format!("`{class}` is no store"));
        fault.hint = hint_for(class, &names).or_else(|| Some(format!("use one of {opened}")));
        reader.faults.push(fault);
        return None;
    }
    if class == "MemoryStore" && matches!(role, Role::Parts | Role::Index) {
        let fault = at.fault("a MemoryStore keeps nothing: parts of outputs would be lost in it");
        reader.faults.push(fault.hint(format!("use one that lasts: {opened}")));
        return None;
    }
    if role == Role::Queue {
        let fault = at.fault(format!("jobs cannot be kept in a {class}"));
        reader.faults.push(fault.hint("use `type: MongoStore`, or leave `store` out for SQLite"));
        return None;
    }
    reader.record_raw(at);
    let warning = at.fault(format!("a {class} cannot be opened here: jobs that need it will fail"));
    reader.warnings.push(warning.hint(format!("those that can be: {opened}")));
    let Value::Map(entries) = &at.node.value else { return None };
    let settings = RawSettings::from(entries_to_document(entries));
    Some(StoreConfig::Other { type_name: class.to_owned(), settings })
}

/// Reads `remote_jobstore`, as it is written.
pub(super) fn remote_jobstore(top: &mut Section<'_>, reader: &mut Reader<'_>) -> Option<RawSettings> {
    let settings = top.raw("remote_jobstore", reader);
    if let (Some(at), Some(_)) = (top.given("remote_jobstore"), &settings) {
        parts::check_remote_jobstore(&at, reader);
    }
    settings
}

fn set(at: Option<At<'_>>) -> Option<At<'_>> {
    at.filter(|at| match &at.node.value {
        Value::Null => false,
        Value::Map(entries) => !entries.is_empty(),
        _ => true,
    })
}
