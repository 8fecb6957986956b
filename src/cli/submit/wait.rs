//! `jf submit --wait`: follows a flow until nothing in it moves any more.

use std::collections::BTreeMap;
use std::io::{self, IsTerminal as _, Write as _};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::cli::error::{CliError, Exit};
use crate::cli::output::Form;
use crate::cli::session::Session;
use crate::model::query::JobFilter;
use crate::model::state::State;
use crate::store::{Queue, Standing, StoreError};

/// Between two questions: a person sees no delay, and the store does not notice the load.
const INTERVAL: Duration = Duration::from_millis(300);

/// Questions in a row that have to find nothing in motion before the flow counts as over: the store of a project may
/// release children a moment after it completed their parent.
const QUIET_ROUNDS: u32 = 4;

/// Questions in a row without an answer before the waiting is given up; the jobs go on.
const SILENT_ROUNDS: u32 = 200;

/// How many jobs are in each state.
pub(in crate::cli) type Counts = BTreeMap<State, u64>;

/// Returns the watch for Ctrl-C. To be made before the jobs are, so that an early one leaves them alone, too.
pub(in crate::cli) fn interrupts() -> Result<Signal, CliError> {
    Ok(signal(SignalKind::interrupt())?)
}

/// Returns the counts once no job of the flow moves any more; none when Ctrl-C came first.
pub(in crate::cli) async fn follow(
    session: &Session,
    queue: &dyn Queue,
    flow: &str,
    interrupt: &mut Signal,
) -> Result<Option<Counts>, CliError> {
    let filter = JobFilter { flows: vec![flow.to_owned()], ..JobFilter::default() };
    let display = Display::open(session.options.form());
    let mut watch = Watch::default();
    let result = loop {
        let answer = tokio::select! {
            answer = queue.count_jobs_by_state(&filter) => answer,
            _ = interrupt.recv() => break Ok(None),
        };
        match watch.take(answer) {
            Ok(Next::Over(counts)) => break Ok(Some(counts)),
            Ok(Next::Moved(counts)) => display.show(&counts),
            Ok(Next::Same) => {}
            Err(error) => break Err(error.into()),
        }
        tokio::select! {
            () = tokio::time::sleep(INTERVAL) => {}
            _ = interrupt.recv() => break Ok(None),
        }
    };
    display.close();
    result
}

/// Says that nobody runs the jobs, if that is so.
pub(in crate::cli) async fn warn_without_runner(
    session: &Session,
    queue: &dyn Queue,
) -> Result<(), CliError> {
    let lease = queue.lease().await?;
    if lease.is_none_or(|lease| lease.standing == Standing::RanOut) {
        session.remark("no runner is at work; `runner start` in another terminal starts one")?;
    }
    Ok(())
}

/// Returns how the command ends: well only if every job completed.
pub(in crate::cli) fn exit(counts: &Counts) -> Exit {
    if counts.keys().all(|state| *state == State::Completed) { Exit::Success } else { Exit::Incomplete }
}

/// Returns the counts as people read them: `3 COMPLETED, 1 RUNNING`.
pub(in crate::cli) fn describe(counts: &Counts) -> String {
    let parts: Vec<String> = counts.iter().map(|(state, count)| format!("{count} {state}")).collect();
    parts.join(", ")
}

/// Judges the answers of the store. Pure.
#[derive(Debug, Default)]
struct Watch {
    last: Option<Counts>,
    quiet_rounds: u32,
    silent_rounds: u32,
}

#[derive(Debug, PartialEq)]
enum Next {
    Same,
    Moved(Counts),
    Over(Counts),
}

impl Watch {
    fn take(&mut self, answer: Result<Counts, StoreError>) -> Result<Next, StoreError> {
        let counts = match answer {
            Ok(counts) => counts,
            Err(error) if error.is_passing() && self.silent_rounds < SILENT_ROUNDS => {
                self.silent_rounds += 1;
                return Ok(Next::Same);
            }
            Err(error) => return Err(error),
        };
        self.silent_rounds = 0;
        let moving = counts.keys().any(|state| *state == State::Ready || state.is_active());
        let same = self.last.as_ref() == Some(&counts);
        self.quiet_rounds = if moving || !same { 0 } else { self.quiet_rounds + 1 };
        let all_final = counts.keys().all(|state| state.is_final());
        if all_final || self.quiet_rounds >= QUIET_ROUNDS {
            return Ok(Next::Over(counts));
        }
        self.last = Some(counts.clone());
        Ok(if same { Next::Same } else { Next::Moved(counts) })
    }
}

/// Shows the progress on stderr: a bar on a terminal, a line per change elsewhere.
enum Display {
    Bar(ProgressBar),
    Lines,
    /// A script reads the result.
    Silent,
}

impl Display {
    fn open(form: Form) -> Self {
        if form == Form::Json {
            return Self::Silent;
        }
        if !io::stderr().is_terminal() {
            return Self::Lines;
        }
        let bar = ProgressBar::new(0);
        if let Ok(style) = ProgressStyle::with_template("{bar:30} {pos}/{len}  {elapsed}  {wide_msg}") {
            bar.set_style(style);
        }
        bar.enable_steady_tick(Duration::from_secs(1));
        Self::Bar(bar)
    }

    fn show(&self, counts: &Counts) {
        match self {
            Self::Bar(bar) => {
                bar.set_length(counts.values().sum());
                bar.set_position(counts.get(&State::Completed).copied().unwrap_or(0));
                bar.set_message(describe(counts));
            }
            // A closed stderr leaves nobody to tell.
            Self::Lines => drop(writeln!(io::stderr(), "{}", describe(counts))),
            Self::Silent => {}
        }
    }

    fn close(self) {
        if let Self::Bar(bar) = self {
            bar.finish_and_clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(pairs: &[(State, u64)]) -> Counts {
        pairs.iter().copied().collect()
    }

    #[test]
    fn a_flow_is_over_when_all_jobs_are_final() {
        let mut watch = Watch::default();
        let running = counts(&[(State::Running, 1), (State::Waiting, 1)]);
        assert_eq!(watch.take(Ok(running.clone())).unwrap(), Next::Moved(running.clone()));
        assert_eq!(watch.take(Ok(running)).unwrap(), Next::Same);
        let done = counts(&[(State::Completed, 1), (State::Failed, 1)]);
        assert_eq!(watch.take(Ok(done.clone())).unwrap(), Next::Over(done.clone()));
        assert_eq!(exit(&done), Exit::Incomplete);
        assert_eq!(exit(&counts(&[(State::Completed, 2)])), Exit::Success);
        assert_eq!(describe(&done), "1 COMPLETED, 1 FAILED");
    }

    #[test]
    fn children_that_nothing_will_release_end_the_waiting_after_a_while() {
        let mut watch = Watch::default();
        let stuck = counts(&[(State::Waiting, 1), (State::Failed, 1)]);
        let rounds = (0..20).position(|_| matches!(watch.take(Ok(stuck.clone())), Ok(Next::Over(_))));
        assert_eq!(rounds, Some(QUIET_ROUNDS as usize));
    }

    #[test]
    fn a_store_that_is_silent_for_long_ends_the_waiting() {
        let mut watch = Watch::default();
        let silent = || Err(StoreError::Unreachable { place: "db".into(), source: "refused".into() });
        for _ in 0..SILENT_ROUNDS {
            assert_eq!(watch.take(silent()).unwrap(), Next::Same);
        }
        assert!(watch.take(silent()).is_err());
    }
}
