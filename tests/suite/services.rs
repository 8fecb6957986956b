//! The real services of tests/services, as the tests see them: addresses in the environment, and one way to do without.

use std::env;
use std::process::{Command, Output, Stdio};

/// Returns the value of a variable that `tests/services/up` sets.
///
/// Without it returns `None` after saying so on one line, which tests/run counts; the caller returns at once. Panics
/// instead when `JF_TEST_NO_SKIP` is 1, as in CI.
pub(crate) fn address(test: &str, variable: &str) -> Option<String> {
    let value = env::var(variable).ok().filter(|value| !value.is_empty());
    if value.is_none() {
        let line = format!(
            "SKIPPED {test}: {variable} is not set; start the services with tests/run or tests/services/up"
        );
        assert_ne!(env::var("JF_TEST_NO_SKIP").as_deref(), Ok("1"), "{line}");
        eprintln!("{line}");
    }
    value
}

/// Runs a command line on the test cluster, as its users do, and returns what it said and how it ended.
pub(crate) fn on_cluster(configuration: &str, command_line: &str) -> Output {
    Command::new("ssh")
        .args(["-F", configuration, "-o", "ConnectTimeout=10", "jf-test-cluster", command_line])
        .stdin(Stdio::null())
        .output()
        .expect("ssh can be started")
}
