use std::collections::HashSet;

use super::*;

#[derive(Debug, thiserror::Error)]
#[error("the store cannot be opened")]
struct Outer(#[source] std::io::Error);

#[test]
fn causes_are_said_once_and_hints_come_last() {
    let outer = Outer(std::io::Error::other("no such\u{1b}[31m place"));
    let error = CliError::input(outer).hint("type `jf init`");
    let lines: Vec<String> =
        error.lines().into_iter().map(|(heading, line)| format!("{heading:?} {line}")).collect();
    assert_eq!(
        lines,
        ["Error the store cannot be opened", "Cause no such\\x1b[31m place", "Hint type `jf init`"]
    );
}

#[test]
fn a_cause_that_only_repeats_is_left_out() {
    #[derive(Debug, thiserror::Error)]
    #[error("copying: {0}")]
    struct Repeats(#[source] std::io::Error);
    let error = CliError::failed(Repeats(std::io::Error::other("disk full")));
    assert_eq!(error.lines().len(), 1);
}

#[test]
fn every_way_to_end_has_its_own_number() {
    let codes: HashSet<u8> = Exit::ALL.into_iter().map(Exit::code).collect();
    assert_eq!(codes.len(), Exit::ALL.len());
}

#[test]
fn a_dead_store_has_its_own_exit_code_and_a_hint() {
    let dead = StoreError::Unreachable { place: "mongodb://db".into(), source: "refused".into() };
    let error = CliError::from(dead);
    assert_eq!(error.exit, Exit::Unreachable);
    assert!(error.lines().iter().any(|(heading, _)| *heading == Heading::Hint));
}
