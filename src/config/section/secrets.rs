//! Keys that hold a secret, or say where one is.

use super::{Reader, Section, Show, is_set};
use crate::config::secret::{Secret, SecretSource};
use crate::flowfile::decode::At;
use crate::flowfile::source::Value;

/// The keys of one secret: itself, and the three other places it can come from.
pub(in crate::config) struct SecretKeys {
    literal: &'static str,
    variable: &'static str,
    file: &'static str,
    command: &'static str,
}

pub(in crate::config) const PASSWORD: SecretKeys = SecretKeys {
    literal: "password",
    variable: "password_env",
    file: "password_file",
    command: "password_command",
};
pub(in crate::config) const PASSPHRASE: SecretKeys = SecretKeys {
    literal: "passphrase",
    variable: "passphrase_env",
    file: "passphrase_file",
    command: "passphrase_command",
};
pub(in crate::config) const URI: SecretKeys =
    SecretKeys { literal: "uri", variable: "uri_env", file: "uri_file", command: "uri_command" };

pub(in crate::config) const AWS_SECRET_KEY: SecretKeys = SecretKeys {
    literal: "aws_secret_access_key",
    variable: "aws_secret_access_key_env",
    file: "aws_secret_access_key_file",
    command: "aws_secret_access_key_command",
};
pub(in crate::config) const AWS_SESSION_TOKEN: SecretKeys = SecretKeys {
    literal: "aws_session_token",
    variable: "aws_session_token_env",
    file: "aws_session_token_file",
    command: "aws_session_token_command",
};

impl Section<'_> {
    /// Returns where a secret comes from; two places at once are a fault.
    pub(in crate::config) fn secret(
        &mut self,
        keys: &SecretKeys,
        reader: &mut Reader<'_>,
    ) -> Option<SecretSource> {
        let literal = self.literal_secret(keys, reader);
        let variable = self.some_text(keys.variable, reader).map(SecretSource::Variable);
        let file = self.path(keys.file, reader).map(SecretSource::File);
        let command = self.command(keys.command, reader);
        let mut found: Vec<SecretSource> = [literal, variable, file, command].into_iter().flatten().collect();
        if found.len() > 1 {
            let [all @ .., last] = [keys.literal, keys.variable, keys.file, keys.command];
            let message = format!("the {} is given in two ways", keys.literal);
            let hint = format!("keep one of {} and {last}", all.join(", "));
            reader.faults.push(self.fault(message).hint(hint));
        }
        found.pop()
    }

    fn literal_secret(&mut self, keys: &SecretKeys, reader: &mut Reader<'_>) -> Option<SecretSource> {
        let given = self.given(keys.literal).filter(is_set);
        let Some(at) = given else {
            self.take(keys.literal, reader);
            return None;
        };
        let text = at.scalar_text(&mut reader.faults).filter(|text| !text.is_empty());
        match &text {
            Some(text) if keys.literal == "uri" && !uri_holds_password(text) => {
                reader.record(&at, Show::Always);
            }
            Some(_) => reader.record_secret(&at),
            None => reader.record(&at, Show::Never),
        }
        text.map(|text| SecretSource::Literal(Secret::new(text)))
    }

    fn command(&mut self, key: &'static str, reader: &mut Reader<'_>) -> Option<SecretSource> {
        let at = self.take(key, reader)?;
        if matches!(at.node.value, Value::Text(_)) {
            // The text may be the secret itself, so the usual fault, which shows it, is not for here.
            let fault = at.fault("a list is needed here: a program and its arguments");
            reader.faults.push(fault.hint("write a list: [pass, show, cluster]"));
            return None;
        }
        let argv: Vec<String> = at
            .list(&mut reader.faults)
            .iter()
            .filter_map(|word| word.scalar_text(&mut reader.faults))
            .collect();
        if argv.is_empty() {
            let fault = at.fault("a program and its arguments are needed here");
            reader.faults.push(fault.hint("write a list: [pass, show, cluster]"));
            return None;
        }
        Some(SecretSource::Command(argv))
    }
}

/// Returns whether a key of this name usually holds a secret.
pub(in crate::config) fn names_secret(key: &str) -> bool {
    const WORDS: [&str; 6] = ["password", "passwd", "passphrase", "pwd", "secret", "token"];
    let key = key.to_lowercase();
    let elsewhere = ["_env", "_file", "_command"].iter().any(|ending| key.ends_with(ending));
    let has = |word: &&str| {
        key.ends_with(*word) || key.split(|c: char| !c.is_alphanumeric()).any(|part| part == *word)
    };
    !elsewhere && (WORDS.iter().any(has) || key.contains("api_key"))
}

/// Returns whether the value is a secret, by its key or its form.
pub(super) fn holds_secret(at: &At<'_>) -> bool {
    let key = at.path.rsplit('.').next().unwrap_or_default();
    let Value::Text(text) = &at.node.value else { return false };
    !text.is_empty() && (names_secret(key) || uri_holds_password(text))
}

/// Returns whether a connection string has a password in it: `scheme://user:password@host`.
pub(super) fn uri_holds_password(uri: &str) -> bool {
    let authority = uri.split_once("://").map(|(_, rest)| rest.split(['/', '?']).next().unwrap_or_default());
    authority.and_then(|authority| authority.rsplit_once('@')).is_some_and(|(user, _)| user.contains(':'))
}
