//! The state of a flow, derived from its jobs, and which children may start.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fmt;
use std::str::FromStr;

use super::state::State;

/// Where a flow is, derived from its jobs by [`derive()`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum FlowState {
    Waiting,
    Ready,
    Running,
    Completed,
    Failed,
    Paused,
    Stopped,
}

impl FlowState {
    pub const ALL: [Self; 7] = [
        Self::Waiting,
        Self::Ready,
        Self::Running,
        Self::Completed,
        Self::Failed,
        Self::Paused,
        Self::Stopped,
    ];

    /// Returns the stored and shown name, for example `RUNNING`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Waiting => "WAITING",
            Self::Ready => "READY",
            Self::Running => "RUNNING",
            Self::Completed => "COMPLETED",
            Self::Failed => "FAILED",
            Self::Paused => "PAUSED",
            Self::Stopped => "STOPPED",
        }
    }
}

impl fmt::Display for FlowState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A word that names no state of a flow.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a state of a flow")]
pub struct UnknownFlowState(pub String);

impl FromStr for FlowState {
    type Err = UnknownFlowState;

    fn from_str(text: &str) -> Result<Self, UnknownFlowState> {
        let wanted = text.to_ascii_uppercase();
        Self::ALL
            .into_iter()
            .find(|state| state.name() == wanted)
            .ok_or_else(|| UnknownFlowState(text.to_owned()))
    }
}

/// What one job document contributes to its flow's state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    pub uuid: String,
    pub index: i32,
    pub parents: Vec<String>,
    pub state: State,
}

/// Returns the state of the flow that has exactly these members, whatever their order.
///
/// The rule is that of [`from_states`].
pub fn derive(members: &[Member]) -> FlowState {
    let present: BTreeSet<State> = members.iter().map(|member| member.state).collect();
    let leaves = leaves(members).iter().map(|leaf| leaf.state).collect();
    from_states(&present, &leaves)
}

/// Returns the state of the flow whose members are in the states `present`, its leaves in the states `leaves`.
///
/// First match wins (jobflow-remote 1.0, `FlowState.from_jobs_states`): all WAITING; all WAITING or READY; all
/// leaves COMPLETED; any FAILED; any stopped; any PAUSED; else RUNNING. A `REMOTE_ERROR` alone leaves a flow RUNNING.
pub fn from_states(present: &BTreeSet<State>, leaves: &BTreeSet<State>) -> FlowState {
    let all = |wanted: &[State]| present.iter().all(|state| wanted.contains(state));
    let any = |wanted: &[State]| present.iter().any(|state| wanted.contains(state));
    if all(&[State::Waiting]) {
        FlowState::Waiting
    } else if all(State::PAUSABLE) {
        FlowState::Ready
    } else if leaves.iter().all(|state| *state == State::Completed) {
        FlowState::Completed
    } else if any(&[State::Failed]) {
        FlowState::Failed
    } else if any(&[State::Stopped, State::UserStopped]) {
        FlowState::Stopped
    } else if any(&[State::Paused]) {
        FlowState::Paused
    } else {
        FlowState::Running
    }
}

/// Returns the member with the largest index of each uuid that is no parent of any member.
fn leaves(members: &[Member]) -> Vec<&Member> {
    let parents: HashSet<&str> = members.iter().flat_map(|m| m.parents.iter().map(String::as_str)).collect();
    let mut newest: BTreeMap<&str, &Member> = BTreeMap::new();
    for member in members {
        let place = newest.entry(&member.uuid).or_insert(member);
        if place.index <= member.index {
            *place = member;
        }
    }
    newest.into_values().filter(|member| !parents.contains(member.uuid.as_str())).collect()
}

/// What a child does when a parent did not complete (jobflow's `on_missing_references`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnMissing {
    /// The child waits; the parent has to complete.
    #[default]
    Error,
    /// A reference to an output that never came is null.
    None,
    /// A reference to an output that never came stays in place.
    Pass,
}

impl OnMissing {
    /// Returns what `text` (`error`, `none`, `pass`) says; anything else counts as `error`, the strictest.
    pub fn from_config(text: &str) -> Self {
        match text {
            "none" => Self::None,
            "pass" => Self::Pass,
            _ => Self::Error,
        }
    }

    /// Returns whether a parent in `state` lets the child start.
    pub fn accepts(self, state: State) -> bool {
        match self {
            Self::Error => state == State::Completed,
            Self::None | Self::Pass => {
                matches!(state, State::Completed | State::Failed | State::UserStopped)
            }
        }
    }
}

/// Returns whether a child with these parents may start, given the state of each parent's largest index.
///
/// A parent that is not in `newest` (its document was deleted) holds the child back.
pub fn may_start(parents: &[String], on_missing: OnMissing, newest: &HashMap<String, State>) -> bool {
    parents.iter().all(|uuid| newest.get(uuid).is_some_and(|state| on_missing.accepts(*state)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(uuid: &str, index: i32, parents: &[&str], state: State) -> Member {
        Member { uuid: uuid.into(), index, parents: parents.iter().map(|p| (*p).into()).collect(), state }
    }

    fn pair(parent: State, child: State) -> FlowState {
        derive(&[member("p", 1, &[], parent), member("c", 1, &["p"], child)])
    }

    #[test]
    fn first_match_wins() {
        use State as S;
        assert_eq!(derive(&[]), FlowState::Waiting);
        assert_eq!(pair(S::Waiting, S::Waiting), FlowState::Waiting);
        assert_eq!(pair(S::Ready, S::Waiting), FlowState::Ready);
        assert_eq!(pair(S::CheckedOut, S::Waiting), FlowState::Running);
        assert_eq!(pair(S::Completed, S::Completed), FlowState::Completed);
        assert_eq!(pair(S::Failed, S::Completed), FlowState::Completed, "only leaves count");
        assert_eq!(pair(S::Failed, S::Waiting), FlowState::Failed);
        assert_eq!(pair(S::UserStopped, S::Waiting), FlowState::Stopped);
        assert_eq!(pair(S::Completed, S::Stopped), FlowState::Stopped);
        assert_eq!(pair(S::Completed, S::Paused), FlowState::Paused);
        assert_eq!(pair(S::Completed, S::RemoteError), FlowState::Running);
    }

    #[test]
    fn the_largest_index_is_the_leaf() {
        let flow = [member("a", 2, &[], State::Running), member("a", 1, &[], State::Completed)];
        assert_eq!(derive(&flow), FlowState::Running);
    }

    #[test]
    fn children_start_when_every_parent_is_accepted() {
        let parents = vec!["a".to_owned(), "b".to_owned()];
        let states = |a, b| HashMap::from([("a".to_owned(), a), ("b".to_owned(), b)]);
        let done = states(State::Completed, State::Completed);
        let failed = states(State::Completed, State::Failed);
        assert!(may_start(&parents, OnMissing::Error, &done));
        assert!(!may_start(&parents, OnMissing::Error, &failed));
        assert!(may_start(&parents, OnMissing::None, &failed));
        assert!(!may_start(&parents, OnMissing::None, &HashMap::new()));
        assert!(may_start(&[], OnMissing::Error, &HashMap::new()));
    }
}
