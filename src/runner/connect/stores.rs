//! From the stores of a project file to stores that are open.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::super::clock::SystemClock;
use super::ConnectError;
use crate::config::{
    Environment, JobStoreConfig, MongoConfig, MongoServer, Project, S3Account, S3Config, SecretSource,
    StoreConfig,
};
use crate::store::admin::Admin;
use crate::store::json_file::JsonFileBlobs;
use crate::store::mongodb::{
    self, Address, Clients, Collections, GridFsBlobs, Host, Location, MongoBlobs, MongoOutputs,
    MongoSettings, MongoStore,
};
use crate::store::s3::{self, Certificates, S3Blobs, S3Keys, S3Settings};
use crate::store::sqlite::{Dispatch, SqliteBlobs, SqliteSettings, SqliteStore};
use crate::store::{BlobIndex, Blobs, JobStore, Outputs, Queue as _, Stores};

/// Opens the stores of the project; nothing is written but, for SQLite, an empty file where there was none, and the
/// schema of files other than that of the jobs.
///
/// A server is not asked yet: that it is away is noticed by the first call. Stores on one server, as one user, share
/// their connections. An additional store of a kind that cannot be opened is left out, and logged.
pub async fn open_stores(project: &Project) -> Result<Stores, ConnectError> {
    let mut opening = Opening::of(project);
    let mut stores = opening.queue().await?;
    stores.job_store.additional = opening.additional("", &project.jobstore).await?;
    for (name, config) in &project.optional_jobstores {
        let outputs = opening.outputs("optional_jobstores", &config.docs_store).await?;
        let additional = opening.additional(&format!("{name}/"), config).await?;
        stores.optional.insert(name.clone(), JobStore { outputs, additional });
    }
    Ok(stores)
}

/// Opens the store of the jobs for its administrator, on connections of its own.
pub async fn open_admin(project: &Project) -> Result<Box<dyn Admin>, ConnectError> {
    let mut opening = Opening::of(project);
    match &project.queue.store {
        StoreConfig::Sqlite { path } => Ok(Box::new(opening.open_file(path)?)),
        StoreConfig::Mongo(queue) => {
            Ok(Box::new(opening.mongodb(queue, &project.jobstore.docs_store).await?))
        }
        other => Err(unusable("queue", other)),
    }
}

/// What is open already.
struct Opening<'a> {
    project: &'a Project,
    environment: Environment,
    clients: Clients,
    files: Vec<(PathBuf, SqliteStore)>,
}

impl<'a> Opening<'a> {
    fn of(project: &'a Project) -> Self {
        let environment = Environment::of_process();
        Self { project, environment, clients: Clients::default(), files: Vec::new() }
    }

    /// Returns the stores of jobs, files and the outputs of flows that name no job store.
    async fn queue(&mut self) -> Result<Stores, ConnectError> {
        let outputs = &self.project.jobstore.docs_store;
        match &self.project.queue.store {
            StoreConfig::Sqlite { path } => {
                let file = self.open_file(path)?;
                let mut stores = file.stores();
                if *outputs != self.project.queue.store {
                    stores.job_store.outputs = self.outputs("jobstore", outputs).await?;
                }
                Ok(stores)
            }
            StoreConfig::Mongo(queue) => self.queue_in_mongodb(queue, outputs).await,
            other => Err(unusable("queue", other)),
        }
    }

    async fn queue_in_mongodb(
        &mut self,
        queue: &MongoConfig,
        outputs: &StoreConfig,
    ) -> Result<Stores, ConnectError> {
        let mut stores = self.mongodb(queue, outputs).await?.into_stores();
        if !matches!(outputs, StoreConfig::Mongo(_)) {
            stores.job_store.outputs = self.outputs("jobstore", outputs).await?;
        }
        Ok(stores)
    }

    async fn mongodb(
        &mut self,
        queue: &MongoConfig,
        outputs: &StoreConfig,
    ) -> Result<MongoStore, ConnectError> {
        let names = &self.project.queue;
        // Outputs that are elsewhere leave the name to a collection that stays empty.
        let place = if let StoreConfig::Mongo(outputs) = outputs { outputs } else { queue };
        let collection =
            if let StoreConfig::Mongo(outputs) = outputs { &outputs.collection } else { "outputs" };
        let settings = MongoSettings {
            queue: self.location(queue).await?,
            collections: Collections {
                jobs: queue.collection.clone(),
                flows: names.flows_collection.clone(),
                auxiliary: names.auxiliary_collection.clone(),
                batches: names.batches_collection.clone(),
            },
            outputs: self.location(place).await?,
            outputs_collection: collection.to_owned(),
            id_prefix: self.id_prefix(),
        };
        Ok(MongoStore::open_among(&mut self.clients, settings).await?)
    }

    async fn outputs(
        &mut self,
        part: &'static str,
        config: &StoreConfig,
    ) -> Result<Arc<dyn Outputs>, ConnectError> {
        match config {
            StoreConfig::Sqlite { path } => Ok(Arc::new(self.file(path).await?)),
            StoreConfig::Mongo(mongo) => {
                let location = self.location(mongo).await?;
                Ok(Arc::new(MongoOutputs::open(&mut self.clients, &location, &mongo.collection).await?))
            }
            other => Err(unusable(part, other)),
        }
    }

    /// Returns the additional stores that can be opened; in a SQLite file their names begin with `prefix`.
    async fn additional(
        &mut self,
        prefix: &str,
        config: &JobStoreConfig,
    ) -> Result<BTreeMap<String, Arc<dyn Blobs>>, ConnectError> {
        let mut opened = BTreeMap::new();
        for (name, store) in &config.additional_stores {
            let known = format!("{prefix}{name}");
            match self.blobs(&known, store).await? {
                Some(blobs) => drop(opened.insert(name.clone(), blobs)),
                None => tracing::warn!(
                    store = known,
                    "a {} cannot be opened: jobs that need it will fail",
                    store.type_name()
                ),
            }
        }
        Ok(opened)
    }

    async fn blobs(
        &mut self,
        name: &str,
        config: &StoreConfig,
    ) -> Result<Option<Arc<dyn Blobs>>, ConnectError> {
        Ok(Some(match config {
            StoreConfig::Sqlite { path } => Arc::new(SqliteBlobs::new(self.file(path).await?, name)),
            StoreConfig::Mongo(mongo) => Arc::new(self.mongo_blobs(mongo).await?),
            StoreConfig::GridFs { mongo, compression } => {
                let location = self.location(mongo).await?;
                let packing = if *compression { mongodb::Packing::Zlib } else { mongodb::Packing::Plain };
                Arc::new(GridFsBlobs::open(&mut self.clients, &location, &mongo.collection, packing).await?)
            }
            StoreConfig::S3(s3) => Arc::new(self.s3(name, s3).await?),
            StoreConfig::JsonFile { path } => Arc::new(JsonFileBlobs::new(path)),
            StoreConfig::Other { .. } => return Ok(None),
        }))
    }

    async fn mongo_blobs(&mut self, mongo: &MongoConfig) -> Result<MongoBlobs, ConnectError> {
        let location = self.location(mongo).await?;
        Ok(MongoBlobs::open(&mut self.clients, &location, &mongo.collection).await?)
    }

    async fn s3(&mut self, name: &str, config: &S3Config) -> Result<S3Blobs, ConnectError> {
        let index: Arc<dyn BlobIndex> = match &config.index {
            StoreConfig::Sqlite { path } => Arc::new(SqliteBlobs::new(self.file(path).await?, name)),
            StoreConfig::Mongo(mongo) => Arc::new(self.mongo_blobs(mongo).await?),
            other => return Err(unusable("index of an S3Store", other)),
        };
        let (keys, region) = self.account(&config.account).await?;
        let settings = S3Settings {
            bucket: config.bucket.clone(),
            endpoint: config.endpoint_url.clone(),
            region: config.region.clone().or(region),
            keys,
            folder: config.sub_dir.clone(),
            packing: if config.compress { s3::Packing::Zlib } else { s3::Packing::Plain },
            certificates: if config.verify { Certificates::Checked } else { Certificates::Ignored },
        };
        Ok(S3Blobs::open(settings, index)?)
    }

    async fn account(&self, account: &S3Account) -> Result<(Option<S3Keys>, Option<String>), ConnectError> {
        match account {
            S3Account::Environment => Ok((None, None)),
            S3Account::Profile(name) => {
                let file = |variable, usual| {
                    let named = self.environment.variable(variable).map(|path| self.environment.expand(path));
                    named.unwrap_or_else(|| self.environment.expand(usual))
                };
                let credentials = file("AWS_SHARED_CREDENTIALS_FILE", "~/.aws/credentials");
                let configuration = file("AWS_CONFIG_FILE", "~/.aws/config");
                let (keys, region) = s3::profile(name, &credentials, &configuration)?;
                Ok((Some(keys), region))
            }
            S3Account::Keys { id, secret, token } => {
                let token = match token {
                    Some(token) => Some(self.secret(token).await?),
                    None => None,
                };
                Ok((Some(S3Keys { id: id.clone(), secret: self.secret(secret).await?, token }), None))
            }
        }
    }

    async fn secret(&self, source: &SecretSource) -> Result<String, ConnectError> {
        Ok(source.read(&self.environment).await?.reveal().to_owned())
    }

    /// Returns the file, whose schema is up to date unless it is the one of the jobs, which everybody migrates first.
    async fn file(&mut self, path: &Path) -> Result<SqliteStore, ConnectError> {
        if let Some((_, file)) = self.files.iter().find(|(known, _)| known == path) {
            return Ok(file.clone());
        }
        let file = self.open_file(path)?;
        file.migrate().await?;
        Ok(file)
    }

    fn open_file(&mut self, path: &Path) -> Result<SqliteStore, ConnectError> {
        let settings = SqliteSettings {
            path: path.to_owned(),
            id_prefix: self.id_prefix(),
            dispatch: Dispatch::Blocking,
            clock: Arc::new(SystemClock),
        };
        let file = SqliteStore::open(settings)?;
        self.files.push((path.to_owned(), file.clone()));
        Ok(file)
    }

    fn id_prefix(&self) -> String {
        self.project.queue.db_id_prefix.clone().unwrap_or_default()
    }

    async fn location(&self, config: &MongoConfig) -> Result<Location, ConnectError> {
        let address = match &config.server {
            MongoServer::Uri(source) => Address::Uri(self.secret(source).await?),
            MongoServer::Host { host, port } => {
                let password = match &config.password {
                    Some(source) => Some(self.secret(source).await?),
                    None => None,
                };
                Address::Host(Host {
                    host: host.clone(),
                    port: Some(*port),
                    username: config.username.clone(),
                    password,
                    auth_source: config.auth_source.clone(),
                    options: client_options(config.client_options.as_document()),
                })
            }
        };
        Ok(Location { address, database: Some(config.database.clone()) })
    }
}

/// Returns the options of a connection string that mean what these arguments of pymongo's `MongoClient` mean.
fn client_options(arguments: &bson::Document) -> BTreeMap<String, String> {
    let text = |value: &bson::Bson| match value {
        bson::Bson::String(text) => Some(text.clone()),
        bson::Bson::Boolean(_) | bson::Bson::Int32(_) | bson::Bson::Int64(_) => Some(value.to_string()),
        _ => None,
    };
    arguments.iter().filter_map(|(name, value)| Some((name.clone(), text(value)?))).collect()
}

fn unusable(part: &'static str, store: &StoreConfig) -> ConnectError {
    ConnectError::StoreKind { part, kind: store.type_name().to_owned() }
}
