//! Identities of jobs, flows and submissions.

use std::fmt;

/// One job document: the uuid of the job and its index.
///
/// A job that was replaced lives on under the same uuid with the next index (jobflow's rule); the largest index is
/// the one that references and children look at.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct JobKey {
    pub uuid: String,
    /// Starts at 1.
    pub index: i32,
}

impl JobKey {
    /// Returns the key of job `uuid` at `index`.
    pub fn new(uuid: impl Into<String>, index: i32) -> Self {
        Self { uuid: uuid.into(), index }
    }

    /// Returns the name of the run directory, `<uuid>_<index>`.
    pub fn directory_name(&self) -> String {
        format!("{}_{}", self.uuid, self.index)
    }

    /// Returns the run directory below a worker's work directory: `<h0h1>/<h2h3>/<h4h5>/<uuid>_<index>`, where `h`
    /// are the hexadecimal digits of the uuid (jobflow-remote 1.0, `jobs/data.py`).
    ///
    /// Identifiers shorter than six digits fan out over the digits they have.
    pub fn relative_directory(&self) -> String {
        let digits: Vec<char> = self.uuid.chars().filter(|c| *c != '-').take(6).collect();
        let fan_out: Vec<String> = digits.chunks(2).map(|pair| pair.iter().collect()).collect();
        format!("{}/{}", fan_out.join("/"), self.directory_name())
    }
}

impl fmt::Display for JobKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.uuid, self.index)
    }
}

/// The name of one attempt at one job, known before the scheduler gives an id.
///
/// It is written into the scheduler's comment or job name, into the end marker and into the spool of ended jobs, so
/// that nothing of one attempt is ever taken for another's. Text form: `<uuid>_<index>_<attempt>`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Token(String);

impl Token {
    /// Returns the token of attempt number `attempt` (1 is the first) at `key`.
    pub fn new(key: &JobKey, attempt: i32) -> Self {
        Self(format!("{}_{}_{attempt}", key.uuid, key.index))
    }

    /// Returns the token that `text` spells, or nothing when it is not of the form `<uuid>_<index>_<attempt>`.
    pub fn parse(text: &str) -> Option<Self> {
        let (rest, attempt) = text.rsplit_once('_')?;
        let (uuid, index) = rest.rsplit_once('_')?;
        let key = JobKey::new(uuid, index.parse().ok()?);
        let token = Self::new(&key, attempt.parse().ok()?);
        (!uuid.is_empty() && token.0 == text).then_some(token)
    }

    /// Returns the text form.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the job this is an attempt at, and the attempt's number.
    pub fn parts(&self) -> Option<(JobKey, i32)> {
        let (rest, attempt) = self.0.rsplit_once('_')?;
        let (uuid, index) = rest.rsplit_once('_')?;
        Some((JobKey::new(uuid, index.parse().ok()?), attempt.parse().ok()?))
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UUID: &str = "358c9ba7-f72c-4cc9-aa2f-3e735e3e661e";

    #[test]
    fn run_directory_fans_out_over_the_first_six_digits() {
        let key = JobKey::new(UUID, 1);
        assert_eq!(key.relative_directory(), format!("35/8c/9b/{UUID}_1"));
    }

    #[test]
    fn token_goes_through_its_text_form() {
        let token = Token::new(&JobKey::new(UUID, 2), 3);
        assert_eq!(token.as_str(), format!("{UUID}_2_3"));
        assert_eq!(Token::parse(token.as_str()), Some(token.clone()));
        assert_eq!(token.parts(), Some((JobKey::new(UUID, 2), 3)));
    }

    #[test]
    fn foreign_names_are_no_tokens() {
        for text in ["", "abc", "a_b_c", "_1_2", "x_01_2", "x_1_+2", "x_1_2_"] {
            assert_eq!(Token::parse(text), None, "{text}");
        }
    }
}
