//! `jf flow resume`

use clap::Args;
use serde_json::{Value, json};

use super::which;
use crate::cli::act::{self, BreakOption, Conduct, ErrorOption, WaitOption};
use crate::cli::error::{CliError, Exit};
use crate::cli::output::{Block, View};
use crate::cli::session::Session;
use crate::model::flow::FlowState;
use crate::model::ids::JobKey;
use crate::model::query::{Detail, JobFilter, Page};
use crate::model::state::State;
use crate::store::actions::{Action, Answer, Refusal};

#[derive(Debug, Args)]
pub(in crate::cli) struct ResumeArgs {
    #[command(flatten)]
    flow: which::FlowArg,
    #[command(flatten)]
    wait: WaitOption,
    #[command(flatten)]
    locks: BreakOption,
}

pub(super) async fn run(args: ResumeArgs, session: &Session) -> Result<Exit, CliError> {
    let project = session.open().await?;
    let flow = which::find(&project, &args.flow).await?;
    if !matches!(flow.state, FlowState::Stopped | FlowState::Paused) {
        return Err(CliError::failed(format!("Cannot resume a Flow in state {}", flow.state))
            .hint("only the jobs of a PAUSED or STOPPED flow can be resumed together; `jf job resume` resumes single ones"));
    }
    let filter = JobFilter {
        flows: vec![flow.uuid.clone()],
        states: State::RESUMABLE.to_vec(),
        ..JobFilter::default()
    };
    let page = Page { limit: None, ..Page::default() };
    let jobs = project.queue().jobs(&filter, &page, Detail::Summary).await?;
    let conduct = Conduct::of(&args.wait, &args.locks, &ErrorOption::default());
    let keys: Vec<JobKey> = jobs.iter().map(|job| job.key.clone()).collect();
    let answers = act::act(session, &project, &keys, &Action::Resume, &conduct).await?;
    let mut resumed = Resumed::default();
    for (job, answer) in jobs.iter().zip(answers) {
        match answer {
            Answer::Done { .. } => resumed.jobs.push(job.db_id.clone()),
            // Somebody else has resumed it meanwhile.
            Answer::Refused(Refusal::WrongState(_)) => {}
            Answer::Refused(refusal) => resumed.refused.push((job.db_id.clone(), refusal.to_string())),
        }
    }
    for (id, why) in &resumed.refused {
        session.remark(&format!("Error while resuming for job {id}: {why}"))?;
    }
    session.show(&resumed)?;
    let now = which::find(&project, &args.flow).await?;
    if matches!(now.state, FlowState::Stopped | FlowState::Paused) {
        session.remark("The Flow was not fully resumed. Consider running resume again")?;
    }
    Ok(if resumed.refused.is_empty() { Exit::Success } else { Exit::Failed })
}

#[derive(Default)]
struct Resumed {
    jobs: Vec<String>,
    refused: Vec<(String, String)>,
}

impl View for Resumed {
    fn json(&self) -> Value {
        let refused: Vec<Value> =
            self.refused.iter().map(|(id, why)| json!({"db_id": id, "error": why})).collect();
        json!({"modified": self.jobs, "refused": refused})
    }

    fn blocks(&self) -> Vec<Block> {
        vec![Block::Text(format!("{} Job(s) resumed", self.jobs.len()))]
    }
}
