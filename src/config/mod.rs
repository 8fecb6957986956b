//! Project files: which one, what is in it, and where each value came from.
//!
//! jobflow-remote's project files (YAML, TOML, JSON) are read as they are; our own keys are optional and live under
//! `jobferry`. Four layers make a project ([`source::Source`]): `config/default.yaml`, the file, environment
//! variables, command-line options. Everything that is wrong is told at once, with file, line and column.
//!
//! Reading is the whole of it: this room opens no store and no connection. Secrets are read when they are needed
//! ([`secret::SecretSource::read`]), from where the file says.

pub mod defaults;
pub mod environment;
pub mod error;
pub mod folder;
pub mod init;
pub mod layers;
mod permissions;
pub mod project;
pub mod raw;
pub mod read;
pub mod save;
pub mod secret;
mod section;
pub mod settings;
pub mod source;
pub mod store;
pub mod worker;

pub use environment::Environment;
pub use error::ConfigError;
pub use folder::{Found, list, load, select};
pub use init::{InitAnswers, NewPlace, NewStore, NewWorker, project_file};
pub use layers::Override;
pub use project::{ExecutionConfig, LogLevel, Project, ProjectAdditions, RunnerOptions, UnknownName};
pub use raw::RawSettings;
pub use read::{Input, Loaded, Placed};
pub use save::save_new;
pub use secret::{Secret, SecretError, SecretSource};
pub use settings::GeneralSettings;
pub use source::{Setting, Source};
pub use store::{JobStoreConfig, MongoConfig, MongoServer, QueueConfig, S3Account, S3Config, StoreConfig};
pub use worker::{BatchConfig, Connection, Gateway, Scheduler, Worker, WorkerAdditions, WorkerKind};
