//! What the wrapper writes: the start record and the end marker of one attempt.
//!
//! Both are lines `key=value` between a first line with their version and a last line `complete=1`: a file that was
//! cut (a full disk, a lost host) is an error and never half a result. Keys that are not known are left alone.

use std::collections::HashMap;

use super::layout::MARKER_LIMIT_BYTES;
use crate::model::Timestamp;
use crate::model::ids::Token;

/// How an attempt ended, by its own wrapper: the first authority on an end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct End {
    /// As the shell gives it: 128 + n after signal n.
    pub exit_code: i32,
    /// The signal that ended the body. A body that itself exits with 128 + n cannot be told apart.
    pub signal: Option<i32>,
    pub started: Option<Timestamp>,
    pub ended: Option<Timestamp>,
    pub host: String,
    pub pid: u32,
    /// Sizes of `stdout` and `stderr`; none where the job has no such files.
    pub stdout_bytes: Option<u64>,
    pub stderr_bytes: Option<u64>,
}

/// Which copy of `submit.sh` runs the attempt. A start record without an end marker is a job that runs or died.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Start {
    /// The scheduler's id, also of one whose answer to the submission was lost.
    pub scheduler_id: Option<String>,
    pub host: String,
    pub pid: u32,
    pub started: Option<Timestamp>,
    /// How often the scheduler itself has started it again.
    pub restarts: u32,
}

/// Why a marker says nothing about the attempt.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MarkerError {
    #[error("it has {0} bytes, more than any marker")]
    TooLarge(usize),
    #[error("it is not of the form that JobFerry writes: {0}")]
    Malformed(String),
    /// Whatever it says is about another attempt.
    #[error("it belongs to the attempt {found}, not to {expected}")]
    OtherAttempt { found: String, expected: Token },
}

/// Returns what the end marker `bytes` says about the attempt `token`.
pub fn read_end(bytes: &[u8], token: &Token) -> Result<End, MarkerError> {
    let fields = Fields::read(bytes, "jobferry-end 1", token)?;
    Ok(End {
        exit_code: fields.required("exit_code")?,
        signal: fields.optional("signal")?,
        started: fields.time("started")?,
        ended: fields.time("ended")?,
        host: fields.text("host").to_owned(),
        pid: fields.required("pid")?,
        stdout_bytes: fields.optional("stdout_bytes")?,
        stderr_bytes: fields.optional("stderr_bytes")?,
    })
}

/// Returns what the start record `bytes` says about the attempt `token`.
pub fn read_start(bytes: &[u8], token: &Token) -> Result<Start, MarkerError> {
    let fields = Fields::read(bytes, "jobferry-start 1", token)?;
    Ok(Start {
        scheduler_id: fields.optional("scheduler_id")?,
        host: fields.text("host").to_owned(),
        pid: fields.required("pid")?,
        started: fields.time("started")?,
        restarts: fields.optional("restarts")?.unwrap_or(0),
    })
}

struct Fields<'a>(HashMap<&'a str, &'a str>);

impl<'a> Fields<'a> {
    fn read(bytes: &'a [u8], first_line: &str, token: &Token) -> Result<Self, MarkerError> {
        if u64::try_from(bytes.len()).map_or(true, |size| size > MARKER_LIMIT_BYTES) {
            return Err(MarkerError::TooLarge(bytes.len()));
        }
        let text = std::str::from_utf8(bytes).map_err(|_| malformed("not UTF-8"))?;
        let whole = text.strip_prefix(first_line).and_then(|rest| rest.strip_suffix("\ncomplete=1\n"));
        let lines = whole.ok_or_else(|| malformed("cut, or of another version"))?;
        let mut fields = HashMap::new();
        for line in lines.lines().filter(|line| !line.is_empty()) {
            let (key, value) = line.split_once('=').ok_or_else(|| malformed(line))?;
            if fields.insert(key, value).is_some() {
                return Err(malformed(&format!("{key} twice")));
            }
        }
        let found = fields.get("token").copied().unwrap_or_default();
        if found != token.as_str() {
            return Err(MarkerError::OtherAttempt { found: found.to_owned(), expected: token.clone() });
        }
        Ok(Self(fields))
    }

    /// Returns the value, empty where there is none.
    fn text(&self, key: &str) -> &'a str {
        self.0.get(key).copied().unwrap_or_default()
    }

    fn optional<T: std::str::FromStr>(&self, key: &str) -> Result<Option<T>, MarkerError> {
        match self.text(key) {
            "" => Ok(None),
            value => value.parse().map(Some).map_err(|_| malformed(&format!("{key}={value}"))),
        }
    }

    fn required<T: std::str::FromStr>(&self, key: &str) -> Result<T, MarkerError> {
        self.optional(key)?.ok_or_else(|| malformed(&format!("no {key}")))
    }

    /// Returns a time given as seconds since 1970 with an optional fraction. A fraction that is no number (a `date`
    /// that does not know `%N`) is left out.
    fn time(&self, key: &str) -> Result<Option<Timestamp>, MarkerError> {
        let value = self.text(key);
        if value.is_empty() {
            return Ok(None);
        }
        let fault = || malformed(&format!("{key}={value}"));
        let (whole, fraction) = value.split_once('.').unwrap_or((value, ""));
        let seconds: i64 = whole.parse().map_err(|_| fault())?;
        let digits: String =
            fraction.chars().take_while(char::is_ascii_digit).chain("000".chars()).take(3).collect();
        let milliseconds: i64 = digits.parse().map_err(|_| fault())?;
        let total =
            seconds.checked_mul(1000).and_then(|total| total.checked_add(milliseconds)).ok_or_else(fault)?;
        Ok(Some(Timestamp::from_millis(total)))
    }
}

fn malformed(what: &str) -> MarkerError {
    MarkerError::Malformed(what.chars().take(100).collect())
}

#[cfg(test)]
#[path = "end_marker/tests.rs"]
mod tests;
