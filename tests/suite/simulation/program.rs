//! What the simulated jobs compute: `sum` of all numbers among their arguments.

use jobferry::model::ids::Token;
use serde_json::Value;

/// Returns the sum of the numbers in the resolved command of the input document.
pub(super) fn sum(input: &[u8]) -> i64 {
    let input: Value = serde_json::from_slice(input).unwrap();
    add(&input["job"]["function_kwargs"]["jobferry"]["arguments"])
}

fn add(value: &Value) -> i64 {
    match value {
        Value::Number(number) => number.as_i64().unwrap(),
        Value::Array(values) => values.iter().map(add).sum(),
        Value::String(text) => serde_json::from_str(text).map_or(0, |value: Value| add(&value)),
        _ => 0,
    }
}

/// Returns the end marker that the wrapper of this attempt would write.
pub(super) fn end_marker(token: &Token, exit_code: i32) -> String {
    format!(
        "jobferry-end 1\ntoken={token}\nexit_code={exit_code}\nsignal=\nstarted=1000.5\nended=1001.5\nhost=simulated\npid=1\n\
         stdout_bytes=0\nstderr_bytes=0\ncomplete=1\n"
    )
}

/// Returns the start record that the wrapper of this attempt would write.
pub(super) fn start_record(token: &Token, id: &str) -> String {
    format!(
        "jobferry-start 1\ntoken={token}\nscheduler_id={id}\nhost=simulated\npid=1\nprocess_start=1\nstarted=1000.5\n\
         restarts=0\ncomplete=1\n"
    )
}
