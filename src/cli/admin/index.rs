//! `jf admin index`

use clap::{Args, Subcommand, ValueEnum};
use serde_json::json;

use super::Told;
use crate::cli::error::{CliError, Exit};
use crate::cli::session::Session;
use crate::store::admin::{Direction, IndexMade, NewIndex, Part};

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum IndexCommand {
    Rebuild(RebuildArgs),
    Create(CreateArgs),
}

/// Drop all indexes and make the standard ones anew
///
/// Indexes that somebody added are dropped as well. Ends when all are there.
#[derive(Debug, Args)]
pub(in crate::cli) struct RebuildArgs {
    /// Accepted for scripts; the command always waits for the end
    #[arg(long, alias = "fg", hide = true)]
    foreground: bool,
}

/// Add an index to a collection of the queue; ends when it is there
#[derive(Debug, Args)]
pub(in crate::cli) struct CreateArgs {
    /// Field of the documents, with dots for inner ones
    key: String,
    #[arg(default_value = "asc")]
    direction: DirectionName,
    /// The collection
    #[arg(short, long, default_value = "jobs")]
    collection: CollectionName,
    /// Refuse a second document with the same value
    #[arg(short, long)]
    unique: bool,
    /// Accepted for scripts; the command always waits for the end
    #[arg(long, alias = "fg", hide = true)]
    foreground: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum DirectionName {
    Asc,
    Desc,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum CollectionName {
    Jobs,
    Flows,
    #[value(alias = "auxiliary")]
    Aux,
}

impl IndexCommand {
    pub(super) async fn run(self, session: &Session) -> Result<Exit, CliError> {
        match self {
            Self::Rebuild(_) => rebuild(session).await,
            Self::Create(args) => create(args, session).await,
        }
    }
}

async fn rebuild(session: &Session) -> Result<Exit, CliError> {
    session.open().await?.admin().await?.rebuild_indexes().await?;
    session.show(&Told::new("Indexes rebuilt", json!({ "rebuilt": true })))?;
    Ok(Exit::Success)
}

async fn create(args: CreateArgs, session: &Session) -> Result<Exit, CliError> {
    let index = NewIndex {
        part: match args.collection {
            CollectionName::Jobs => Part::Jobs,
            CollectionName::Flows => Part::Flows,
            CollectionName::Aux => Part::Auxiliary,
        },
        key: args.key,
        direction: match args.direction {
            DirectionName::Asc => Direction::Ascending,
            DirectionName::Desc => Direction::Descending,
        },
        unique: args.unique,
    };
    match session.open().await?.admin().await?.create_index(&index).await? {
        IndexMade::Created => session.show(&Told::new("Index created", json!({ "created": true })))?,
        IndexMade::Fixed => {
            let text = "the index was not made: an SQLite store has all its indexes and takes no others";
            return Err(CliError::failed(text).hint("`jf admin index rebuild` rebuilds those it has"));
        }
    }
    Ok(Exit::Success)
}
