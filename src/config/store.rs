//! Where jobs and outputs are kept, as the project file describes it. Nothing here opens a store.

use std::path::PathBuf;

use indexmap::IndexMap;

use super::raw::RawSettings;
use super::secret::SecretSource;

/// The `queue` section: jobs, flows and the rest of the bookkeeping.
#[derive(Debug, Clone, PartialEq)]
pub struct QueueConfig {
    /// Its collection is the one of the jobs.
    pub store: StoreConfig,
    pub flows_collection: String,
    pub auxiliary_collection: String,
    pub batches_collection: String,
    /// Put before the short id of each new job.
    pub db_id_prefix: Option<String>,
}

/// A `jobstore` section: the outputs of jobs, and the stores for parts of them.
#[derive(Debug, Clone, PartialEq)]
pub struct JobStoreConfig {
    pub docs_store: StoreConfig,
    pub additional_stores: IndexMap<String, StoreConfig>,
}

/// One store of a project file.
#[derive(Debug, Clone, PartialEq)]
pub enum StoreConfig {
    /// One file on this machine (`SqliteStore`, ours), and the default.
    Sqlite { path: PathBuf },
    /// A collection of a MongoDB database (`MongoStore`, `MongoURIStore`).
    Mongo(MongoConfig),
    /// Large values in a MongoDB database (`GridFSStore`). The collection is the prefix of the two GridFS collections.
    GridFs { mongo: MongoConfig, compression: bool },
    /// Objects in a bucket of an S3 server (`S3Store`).
    S3(Box<S3Config>),
    /// One JSON file with a list of documents (`JSONStore`).
    JsonFile { path: PathBuf },
    /// A store of another kind, kept as it is written: accepted, and refused by what needs to open it.
    Other { type_name: String, settings: RawSettings },
}

impl StoreConfig {
    /// Returns the `type` a project file gives to a store like this.
    pub fn type_name(&self) -> &str {
        match self {
            Self::Sqlite { .. } => "SqliteStore",
            Self::Mongo(_) => "MongoStore",
            Self::GridFs { .. } => "GridFSStore",
            Self::S3(_) => "S3Store",
            Self::JsonFile { .. } => "JSONStore",
            Self::Other { type_name, .. } => type_name,
        }
    }
}

/// Where a bucket is, who asks for it, and how objects are kept in it.
#[derive(Debug, Clone, PartialEq)]
pub struct S3Config {
    pub bucket: String,
    /// Nothing means Amazon's own servers.
    pub endpoint_url: Option<String>,
    /// Before the names of objects: ends in `/` unless it is empty.
    pub sub_dir: String,
    pub compress: bool,
    pub account: S3Account,
    pub region: Option<String>,
    /// Whether the certificate of the server is looked at.
    pub verify: bool,
    /// Which objects there are, and of which jobs: a [`StoreConfig::Sqlite`] or [`StoreConfig::Mongo`].
    pub index: StoreConfig,
}

/// Who asks an S3 server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum S3Account {
    /// What the variables `AWS_…` say, or the role of the machine.
    Environment,
    /// An entry of `~/.aws/credentials`.
    Profile(String),
    Keys {
        id: String,
        secret: SecretSource,
        token: Option<SecretSource>,
    },
}

/// Where a MongoDB collection is, and who asks for it.
#[derive(Debug, Clone, PartialEq)]
pub struct MongoConfig {
    pub server: MongoServer,
    pub database: String,
    pub collection: String,
    /// No user means no authentication, or the one of the connection string.
    pub username: Option<String>,
    pub password: Option<SecretSource>,
    /// The database that knows the user; nothing means the one of the collection.
    pub auth_source: Option<String>,
    /// Further options of pymongo's `MongoClient` (`replicaSet`, `tls`, `tlsCAFile`, …).
    pub client_options: RawSettings,
}

/// How a MongoDB server is named.
#[derive(Debug, Clone, PartialEq)]
pub enum MongoServer {
    Host {
        host: String,
        port: u16,
    },
    /// A connection string (`mongodb://…`, `mongodb+srv://…`), which may hold a password.
    Uri(SecretSource),
}
