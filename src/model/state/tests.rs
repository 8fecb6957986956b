use super::*;

const EVENTS: [Event; 24] = [
    Event::Release,
    Event::CheckOut,
    Event::Stage,
    Event::Submit,
    Event::SubmitToBatch,
    Event::Start,
    Event::End,
    Event::EndHere,
    Event::Collect,
    Event::Complete,
    Event::Fail,
    Event::TryAgain,
    Event::StepFailed,
    Event::Retry(State::Uploaded),
    Event::Retry(State::Completed),
    Event::Pause,
    Event::StopByJob,
    Event::StopByUser,
    Event::ResumeReady,
    Event::ResumeWaiting,
    Event::Rerun,
    Event::RerunAncestor,
    Event::Force(State::Failed),
    Event::Force(State::Ready),
];

#[test]
fn the_whole_matrix_is_as_recorded() {
    let mut matrix = String::new();
    for event in EVENTS {
        let mut line = format!("{event:?}:");
        for from in State::ALL {
            if let Ok(to) = next(from, event) {
                line = format!("{line} {from}>{to}");
            }
        }
        matrix += &line;
        matrix += "\n";
    }
    insta::assert_snapshot!("matrix", matrix);
}

#[test]
fn names_go_both_ways_and_the_old_name_is_read() {
    for state in State::ALL {
        assert_eq!(state.name().parse(), Ok(state));
        assert_eq!(state.stored_name().parse(), Ok(state));
    }
    assert_eq!("terminated".parse(), Ok(State::Terminated));
    assert_eq!("RUN_FINISHED".parse(), Ok(State::Terminated));
    assert_eq!("LOST".parse::<State>(), Err(UnknownState("LOST".into())));
}

#[test]
fn the_sets_agree_with_the_methods_and_do_not_overlap() {
    for state in State::ALL {
        assert_eq!(state.is_active(), State::ACTIVE.contains(&state));
        assert!(!(state.is_active() && state.is_final()), "{state}");
        assert_eq!(!state.is_active() && !state.is_final(), State::PAUSABLE.contains(&state), "{state}");
    }
}
