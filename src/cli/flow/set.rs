//! `jf flow set`

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::which;
use crate::cli::act::{BreakOption, Conduct, ErrorOption, WaitOption};
use crate::cli::error::{CliError, Exit};
use crate::cli::output::{Block, View};
use crate::cli::session::Session;
use crate::store::actions::Answer;

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum SetCommand {
    /// Choose where the outputs of a READY flow are stored
    Store(StoreArgs),
}

#[derive(Debug, Args)]
pub(in crate::cli) struct StoreArgs {
    #[command(flatten)]
    flow: which::FlowArg,
    /// An optional jobstore of the project; without it the default one
    store: Option<String>,
}

impl SetCommand {
    pub(super) async fn run(self, session: &Session) -> Result<Exit, CliError> {
        let Self::Store(args) = self;
        let project = session.open().await?;
        if let Some(store) = &args.store {
            project.project.optional_jobstore(store)?;
        }
        let flow = which::find(&project, &args.flow).await?;
        let conduct = Conduct::of(&WaitOption::default(), &BreakOption::default(), &ErrorOption::default());
        let mandate = conduct.mandate(session);
        match project.stores.actions.set_flow_store(&flow.uuid, args.store.as_deref(), &mandate).await? {
            Answer::Refused(refusal) => Err(CliError::failed(refusal.to_string())),
            Answer::Done { .. } => {
                session.show(&Updated { flow: flow.uuid, store: args.store })?;
                Ok(Exit::Success)
            }
        }
    }
}

struct Updated {
    flow: String,
    store: Option<String>,
}

impl View for Updated {
    fn json(&self) -> Value {
        json!({"flow": self.flow, "jobstore": self.store})
    }

    fn blocks(&self) -> Vec<Block> {
        vec![Block::Text("Flow has been updated".into())]
    }
}
