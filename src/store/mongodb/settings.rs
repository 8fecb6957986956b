//! Where the server is, and what the driver is told about it.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use ::mongodb::options::{ClientOptions, Credential};

use super::super::StoreError;

/// How long the driver looks for a server that can answer. A runner that waits longer is better off saying so.
const SERVER_SELECTION_LIMIT: Duration = Duration::from_secs(5);

/// How long one connection may take to be made.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);

/// Connections kept open, so that the first step after a pause does not pay for a handshake.
const KEPT_CONNECTIONS: u32 = 2;

/// One runner has a handful of steps at work at a time; more connections only load the server.
const MOST_CONNECTIONS: u32 = 24;

/// Idle connections are closed before the firewalls of clusters, which forget them after some minutes, drop them.
const IDLE_LIMIT: Duration = Duration::from_secs(240);

/// A database on a server.
#[derive(Clone, PartialEq, Eq)]
pub struct Location {
    pub address: Address,
    /// None takes the database named in the URI.
    pub database: Option<String>,
}

/// How the server is reached. Holds secrets: never shown, not even by `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub enum Address {
    /// `mongodb://…` or `mongodb+srv://…`.
    Uri(String),
    Host(Host),
}

/// A server by name, as project files of jobflow-remote give it.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Host {
    /// A host name, or a URI without user and password.
    pub host: String,
    /// None is 27017.
    pub port: Option<u16>,
    pub username: Option<String>,
    pub password: Option<String>,
    /// Database that knows the user; none is the database itself.
    pub auth_source: Option<String>,
    /// Options of a connection string, for example `tls` = `true`, `tlsCAFile` = `/etc/ca.pem`.
    pub options: BTreeMap<String, String>,
}

/// Names of the queue's collections.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Collections {
    pub jobs: String,
    pub flows: String,
    pub auxiliary: String,
    pub batches: String,
}

impl Default for Collections {
    fn default() -> Self {
        Self {
            jobs: "jobs".to_owned(),
            flows: "flows".to_owned(),
            auxiliary: "jf_auxiliary".to_owned(),
            batches: "batches".to_owned(),
        }
    }
}

/// Everything [`super::MongoStore::open`] needs to know.
#[derive(Debug, Clone)]
pub struct MongoSettings {
    pub queue: Location,
    pub collections: Collections,
    /// Where outputs go; may be another server or database.
    pub outputs: Location,
    pub outputs_collection: String,
    /// Stands before the number in short ids; may be empty.
    pub id_prefix: String,
}

impl fmt::Debug for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Location").field("database", &self.database).finish_non_exhaustive()
    }
}

/// A location as the driver wants it, and its name for people, without user and password.
pub(super) struct Resolved {
    pub(super) options: ClientOptions,
    pub(super) database: String,
    pub(super) place: String,
}

/// Returns the driver's options for the location.
///
/// What is wrong with a connection string is not repeated: it may hold a password.
pub(super) async fn resolve(location: &Location) -> Result<Resolved, StoreError> {
    let mut options = match &location.address {
        Address::Uri(uri) => parse(uri).await?,
        Address::Host(host) => host_options(host, location.database.as_deref()).await?,
    };
    let database = location.database.clone().or_else(|| options.default_database.clone());
    let Some(database) = database else {
        return Err(not_understood(
            &place(&options, ""),
            "the name of the database is missing: write it at the end of the URI or as `database`",
        ));
    };
    let place = place(&options, &database);
    set_limits(&mut options);
    Ok(Resolved { options, database, place })
}

async fn parse(uri: &str) -> Result<ClientOptions, StoreError> {
    let parsed = ClientOptions::parse(uri).await;
    parsed.map_err(|_| {
        not_understood(
            "mongodb://…",
            "the connection string is not shown because it may hold a password; it has the form \
             mongodb://user:password@host:port/database, with `:/?#[]@%` in user and password written as %XX",
        )
    })
}

async fn host_options(host: &Host, database: Option<&str>) -> Result<ClientOptions, StoreError> {
    let mut options = parse(&uri_without_user(host)).await?;
    if let Some(username) = &host.username {
        let source = host.auth_source.clone().or_else(|| database.map(str::to_owned));
        let credential = Credential::builder().username(username.clone()).source(source);
        options.credential = Some(credential.password(host.password.clone()).build());
    }
    Ok(options)
}

fn uri_without_user(host: &Host) -> String {
    let pairs: Vec<String> = host.options.iter().map(|(key, value)| format!("{key}={value}")).collect();
    let query = pairs.join("&");
    if host.host.contains("://") {
        let separator = if host.host.contains('?') { '&' } else { '?' };
        return if query.is_empty() { host.host.clone() } else { format!("{}{separator}{query}", host.host) };
    }
    format!("mongodb://{}:{}/?{query}", host.host, host.port.unwrap_or(27017))
}

fn set_limits(options: &mut ClientOptions) {
    options.app_name.get_or_insert_with(|| "jobferry".to_owned());
    options.server_selection_timeout.get_or_insert(SERVER_SELECTION_LIMIT);
    options.connect_timeout.get_or_insert(CONNECT_LIMIT);
    options.min_pool_size.get_or_insert(KEPT_CONNECTIONS);
    options.max_pool_size.get_or_insert(MOST_CONNECTIONS);
    options.max_idle_time.get_or_insert(IDLE_LIMIT);
    // A `readPreference` in the URI would let moves be decided on what a secondary has not heard yet.
    options.selection_criteria = None;
}

/// Returns `mongodb://host:port/database`.
fn place(options: &ClientOptions, database: &str) -> String {
    let hosts: Vec<String> = options.hosts.iter().map(ToString::to_string).collect();
    format!("mongodb://{}/{database}", hosts.join(","))
}

fn not_understood(place: &str, why: &str) -> StoreError {
    StoreError::Refused { place: place.to_owned(), action: "be opened", source: why.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at_host(host: Host) -> Location {
        Location { address: Address::Host(host), database: Some("jobs".into()) }
    }

    #[tokio::test]
    async fn the_place_never_holds_the_password() {
        let uri = "mongodb://me:s3cret@h1:1,h2:2/db?replicaSet=r&readPreference=secondary";
        let uri = Location { address: Address::Uri(uri.into()), database: None };
        assert!(!format!("{uri:?}").contains("s3cret"));
        let resolved = resolve(&uri).await.unwrap();
        assert_eq!(resolved.place, "mongodb://h1:1,h2:2/db");
        assert_eq!(resolved.database, "db");
        assert!(resolved.options.selection_criteria.is_none(), "read from the primary");
    }

    #[tokio::test]
    async fn a_bad_uri_is_not_repeated() {
        for uri in ["mongodb://me:s3/cret@h/db", "mongodb://me:s3%cret@h/db", "http://me:s3cret@h", ""] {
            let location = Location { address: Address::Uri(uri.into()), database: None };
            let Err(error) = resolve(&location).await else { panic!("{uri} was understood") };
            let text = format!("{error}: {:?}", std::error::Error::source(&error));
            assert!(!text.contains("s3") && !text.contains("cret"), "{text}");
        }
    }

    #[tokio::test]
    async fn a_host_takes_user_and_options() {
        let options = BTreeMap::from([("tls".to_owned(), "true".to_owned())]);
        let host = Host {
            host: "db.example".into(),
            port: Some(7),
            username: Some("me".into()),
            password: Some("p:/@".into()),
            options,
            ..Host::default()
        };
        let resolved = resolve(&at_host(host)).await.unwrap();
        assert_eq!(resolved.place, "mongodb://db.example:7/jobs");
        let credential = resolved.options.credential.unwrap();
        assert_eq!(credential.password.as_deref(), Some("p:/@"));
        assert_eq!(credential.source.as_deref(), Some("jobs"), "as maggma does");
        assert!(matches!(resolved.options.tls, Some(::mongodb::options::Tls::Enabled(_))));
    }

    #[tokio::test]
    async fn a_missing_database_is_named() {
        let location = Location { address: Address::Uri("mongodb://h".into()), database: None };
        assert!(resolve(&location).await.is_err());
    }
}
