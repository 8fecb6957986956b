//! One flow as the commands show it: its tone, its JSON.

use serde_json::{Value, json};

use crate::cli::output::json::{document, optional_time, time};
use crate::cli::output::{Cell, Tone};
use crate::model::flow::FlowState;
use crate::model::job::FlowRecord;

/// Returns the state's name as it stands out.
pub(in crate::cli) fn state_cell(state: FlowState) -> Cell {
    let tone = match state {
        FlowState::Completed => Tone::Good,
        FlowState::Failed => Tone::Bad,
        FlowState::Paused | FlowState::Stopped => Tone::Warning,
        FlowState::Running => Tone::Busy,
        FlowState::Waiting => Tone::Faint,
        FlowState::Ready => Tone::Plain,
    };
    Cell::new(state.name(), tone)
}

/// Returns the short id of the flow's first member.
pub(super) fn first_db_id(flow: &FlowRecord) -> &str {
    flow.ids.first().map(|id| id.db_id.as_str()).unwrap_or_default()
}

/// Returns the fields that listings give of a flow.
pub(in crate::cli) fn summary(flow: &FlowRecord) -> Value {
    json!({
        "flow_id": flow.uuid,
        "name": flow.name,
        "state": flow.state.name(),
        "db_ids": flow.ids.iter().map(|id| &id.db_id).collect::<Vec<_>>(),
        "num_jobs": flow.ids.len(),
        "created_on": time(flow.created_on),
        "updated_on": time(flow.updated_on),
        "lock_id": flow.lock.as_ref().map(|lock| &lock.id),
        "lock_time": flow.lock.as_ref().map_or(Value::Null, |lock| optional_time(lock.time)),
        "jobstore": flow.jobstore,
        "metadata": document(&flow.metadata),
    })
}
