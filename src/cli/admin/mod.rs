//! `jf admin`: the store as a whole.

mod index;
mod reset;
mod unlock;
mod upgrade;

use clap::Subcommand;
use serde_json::Value;

use super::error::{CliError, Exit};
use super::output::{Block, View};
use super::session::{OpenProject, Session};
use crate::model::Timestamp;
use crate::runner::daemon;
use crate::store::Standing;

#[derive(Debug, Subcommand)]
pub(super) enum AdminCommand {
    Reset(reset::ResetArgs),
    Unlock(unlock::UnlockArgs),
    UnlockFlow(unlock::UnlockFlowArgs),
    /// Take the lock from the document of the running runner, which a killed jobflow-remote left
    UnlockRunner,
    /// Make and rebuild the indexes of the store
    #[command(subcommand)]
    Index(index::IndexCommand),
    Upgrade(upgrade::UpgradeArgs),
}

impl AdminCommand {
    pub(super) async fn run(self, session: &Session) -> Result<Exit, CliError> {
        match self {
            Self::Reset(args) => reset::run(args, session).await,
            Self::Unlock(args) => unlock::run(args, session).await,
            Self::UnlockFlow(args) => unlock::run_flow(args, session).await,
            Self::UnlockRunner => unlock::run_runner(session).await,
            Self::Index(command) => command.run(session).await,
            Self::Upgrade(args) => upgrade::run(args, session).await,
        }
    }
}

/// Refuses while a runner acts on the store, or is about to.
pub(super) async fn refuse_running(opened: &OpenProject) -> Result<(), CliError> {
    let project = &opened.project;
    if let Some(pid) = daemon::running(&project.daemon_dir) {
        let error = CliError::failed(format!("the runner of project {} is up (pid {pid})", project.name));
        return Err(error.hint("`jf runner stop` stops it"));
    }
    let Some(lease) = opened.queue().lease().await? else { return Ok(()) };
    if lease.standing == Standing::RanOut {
        return Ok(());
    }
    let holder = &lease.holder;
    let text = format!(
        "a runner acts on the store: {} of {} on {} (pid {})",
        holder.version, holder.user, holder.host, holder.pid
    );
    // A runner of the Python side has no lease that could run out.
    let advice = if lease.expires == Timestamp::MAX {
        "stop it there with `jf runner stop`; one that was killed is forgotten with jobflow-remote's `jf runner reset`"
    } else {
        "stop it there with `jf runner stop`; one that was killed is forgotten when its lease has run out"
    };
    Err(CliError::failed(text).hint(advice))
}

/// What was done, in one sentence, and the same for scripts.
pub(super) struct Told {
    pub(super) text: String,
    pub(super) value: Value,
}

impl Told {
    pub(super) fn new(text: impl Into<String>, value: Value) -> Self {
        Self { text: text.into(), value }
    }
}

impl View for Told {
    fn json(&self) -> Value {
        self.value.clone()
    }

    fn blocks(&self) -> Vec<Block> {
        vec![Block::Text(self.text.clone())]
    }
}
