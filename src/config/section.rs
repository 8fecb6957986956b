//! One map of a project, read key by key: the value of the file or of a layer above it, else the default.

mod secrets;

use std::path::PathBuf;
use std::time::Duration;

pub(super) use self::secrets::{AWS_SECRET_KEY, AWS_SESSION_TOKEN, PASSPHRASE, PASSWORD, URI, names_secret};
use super::environment::Environment;
use super::layers::Layers;
use super::raw::RawSettings;
use super::secret::REDACTED;
use super::source::{Setting, Source};
use crate::flowfile::decode::At;
use crate::flowfile::fault::{Fault, Faults, hint_for};
use crate::flowfile::source::{Entry, Span, Value, entries_to_document};

/// What is found while a project is read.
pub(super) struct Reader<'given> {
    pub(super) faults: Faults,
    pub(super) warnings: Vec<Fault>,
    pub(super) settings: Vec<Setting>,
    /// Keys of the file that hold a secret themselves.
    pub(super) literal_secrets: Vec<String>,
    /// Keys asked for that `config/default.yaml` does not have; always empty, see the tests.
    pub(super) without_default: Vec<String>,
    pub(super) layers: &'given Layers,
    pub(super) environment: &'given Environment,
}

impl<'given> Reader<'given> {
    pub(super) fn new(layers: &'given Layers, environment: &'given Environment) -> Self {
        Self {
            faults: Faults::default(),
            warnings: Vec::new(),
            settings: Vec::new(),
            literal_secrets: Vec::new(),
            without_default: Vec::new(),
            layers,
            environment,
        }
    }

    /// Notes that the key of the file is read and not used.
    pub(super) fn unused(&mut self, at: &At<'_>, instead: &str) {
        self.warnings.push(at.fault(format!("this key is read and not used: {instead}")));
    }

    fn record(&mut self, at: &At<'_>, secret: Show) {
        let value = if secret == Show::Never { REDACTED.to_owned() } else { inline(at) };
        let source = self.layers.source(&at.path, at.node.span);
        self.settings.push(Setting { key: at.path.clone(), value, source });
    }

    /// Notes the value of a key that is derived when it is not set.
    pub(super) fn record_derived(&mut self, key: &str, value: impl Into<String>) {
        match self.settings.iter_mut().find(|setting| setting.key == key) {
            Some(setting) if setting.source == Source::Default => setting.value = value.into(),
            Some(_) => {}
            None => {
                self.settings.push(Setting {
                    key: key.to_owned(),
                    value: value.into(),
                    source: Source::Default,
                });
            }
        }
    }

    /// Notes every value of a part that is kept as it is written, and the secrets among them.
    pub(super) fn record_raw(&mut self, at: &At<'_>) {
        let children: Vec<At<'_>> = match &at.node.value {
            Value::Map(entries) => {
                entries.iter().map(|entry| At { node: &entry.node, path: at.path_of(&entry.key) }).collect()
            }
            Value::List(_) => at.one_or_many(),
            Value::Null | Value::Boolean(_) | Value::Integer(_) | Value::Number(_) | Value::Text(_) => {
                Vec::new()
            }
        };
        if !children.is_empty() && !is_short_list(at) {
            children.iter().for_each(|child| self.record_raw(child));
        } else if secrets::holds_secret(at) {
            self.record_secret(at);
        } else {
            self.record(at, Show::Always);
        }
    }

    fn record_secret(&mut self, at: &At<'_>) {
        self.record(at, Show::Never);
        if matches!(self.layers.source(&at.path, at.node.span), Source::File { .. }) {
            self.literal_secrets.push(at.path.clone());
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Show {
    Always,
    Never,
}

/// One map of the project, with the defaults of its keys.
pub(super) struct Section<'tree> {
    pub(super) path: String,
    pub(super) span: Span,
    given: &'tree [Entry],
    defaults: Vec<&'static [Entry]>,
    asked: Vec<&'static str>,
}

impl<'tree> Section<'tree> {
    /// Returns the section at this place, or nothing (and a fault) when it is no map. Null is an empty map.
    pub(super) fn at(at: &At<'tree>, defaults: &[&'static [Entry]], reader: &mut Reader<'_>) -> Option<Self> {
        let given: &[Entry] = match &at.node.value {
            Value::Map(entries) => entries,
            Value::Null => &[],
            _ => {
                at.table(&mut reader.faults);
                return None;
            }
        };
        let span = at.node.span;
        Some(Self { path: at.path.clone(), span, given, defaults: defaults.to_vec(), asked: Vec::new() })
    }

    /// Returns a fault about the section as a whole.
    pub(super) fn fault(&self, message: impl Into<String>) -> Fault {
        Fault::at(self.span, self.path.clone(), message)
    }

    fn path_of(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    /// Returns what was given for the key, null included.
    pub(super) fn given(&mut self, key: &'static str) -> Option<At<'tree>> {
        self.asked.push(key);
        let entry = self.given.iter().find(|entry| entry.key == key)?;
        Some(At { node: &entry.node, path: self.path_of(key) })
    }

    fn default(&self, key: &'static str, reader: &mut Reader<'_>) -> Option<At<'tree>> {
        let found = self.defaults.iter().flat_map(|entries| entries.iter()).find(|entry| entry.key == key);
        if found.is_none() {
            reader.without_default.push(self.path_of(key));
        }
        found.map(|entry| At { node: &entry.node, path: self.path_of(key) })
    }

    /// Returns the value of the key, or its default; nothing when that is null. A given null is the default, too.
    pub(super) fn take(&mut self, key: &'static str, reader: &mut Reader<'_>) -> Option<At<'tree>> {
        self.take_to(key, Show::Always, reader)
    }

    fn take_to(&mut self, key: &'static str, show: Show, reader: &mut Reader<'_>) -> Option<At<'tree>> {
        let default = self.default(key, reader);
        let at = self.given(key).filter(is_set).or(default)?;
        if show == Show::Always && secrets::holds_secret(&at) {
            reader.record_secret(&at);
        } else {
            reader.record(&at, show);
        }
        Some(at).filter(is_set)
    }

    /// Returns the value of the key, or its default; nothing when null was given, or is the default.
    pub(super) fn take_or_null(&mut self, key: &'static str, reader: &mut Reader<'_>) -> Option<At<'tree>> {
        let default = self.default(key, reader);
        let at = self.given(key).or(default)?;
        reader.record(&at, Show::Always);
        Some(at).filter(is_set)
    }

    /// Returns the value of the key; that it is not set is a fault.
    pub(super) fn need(
        &mut self,
        key: &'static str,
        hint: &str,
        reader: &mut Reader<'_>,
    ) -> Option<At<'tree>> {
        let found = self.take(key, reader);
        if found.is_none() {
            reader.faults.push(self.fault(format!("the key `{key}` is missing")).hint(hint));
        }
        found
    }

    /// Returns the map of the key as a section, empty when it is not set.
    pub(super) fn section(
        &mut self,
        key: &'static str,
        defaults: &[&'static [Entry]],
        reader: &mut Reader<'_>,
    ) -> Option<Self> {
        self.default(key, reader);
        match self.given(key) {
            Some(at) => Self::at(&at, defaults, reader),
            None => Some(Self {
                path: self.path_of(key),
                span: self.span,
                given: &[],
                defaults: defaults.to_vec(),
                asked: Vec::new(),
            }),
        }
    }

    /// Returns the entries of a map with names of the user's own, in the order of the file.
    pub(super) fn named(
        &mut self,
        key: &'static str,
        reader: &mut Reader<'_>,
    ) -> Vec<(&'tree str, Span, At<'tree>)> {
        let default = self.default(key, reader).filter(|at| !is_set(at));
        match (self.given(key).filter(is_set), default) {
            (Some(at), _) => at.entries(&mut reader.faults),
            (None, default) => {
                default.iter().for_each(|at| reader.record(at, Show::Always));
                Vec::new()
            }
        }
    }

    pub(super) fn text(&mut self, key: &'static str, reader: &mut Reader<'_>) -> Option<String> {
        self.take(key, reader)?.text(&mut reader.faults).map(str::to_owned)
    }

    /// Returns the text of a key that an empty text unsets.
    pub(super) fn some_text(&mut self, key: &'static str, reader: &mut Reader<'_>) -> Option<String> {
        self.take(key, reader)?.scalar_text(&mut reader.faults).filter(|text| !text.is_empty())
    }

    pub(super) fn boolean(&mut self, key: &'static str, reader: &mut Reader<'_>) -> Option<bool> {
        self.take(key, reader)?.boolean(&mut reader.faults)
    }

    /// Returns a duration given in seconds; more than zero.
    pub(super) fn seconds(&mut self, key: &'static str, reader: &mut Reader<'_>) -> Option<Duration> {
        self.take(key, reader).and_then(|at| seconds_of(&at, Zero::Refused, &mut reader.faults))
    }

    /// Returns a duration given in seconds; nothing when it is zero or null.
    pub(super) fn seconds_or_none(&mut self, key: &'static str, reader: &mut Reader<'_>) -> Option<Duration> {
        let at = self.take_or_null(key, reader)?;
        seconds_of(&at, Zero::Allowed, &mut reader.faults).filter(|duration| !duration.is_zero())
    }

    /// Returns a whole number from `least` on; nothing when it is null.
    pub(super) fn count(&mut self, key: &'static str, least: u32, reader: &mut Reader<'_>) -> Option<u32> {
        let at = self.take_or_null(key, reader)?;
        count_of(&at, least, &mut reader.faults)
    }

    /// Returns a path; `~` is the home directory, and anything else relative a fault.
    pub(super) fn path(&mut self, key: &'static str, reader: &mut Reader<'_>) -> Option<PathBuf> {
        let at = self.take(key, reader)?;
        absolute(&at, reader)
    }

    /// Returns a part that is kept as it is written.
    pub(super) fn raw(&mut self, key: &'static str, reader: &mut Reader<'_>) -> Option<RawSettings> {
        self.default(key, reader);
        let at = self.given(key).filter(is_set);
        match at.as_ref().map(|at| &at.node.value) {
            Some(Value::Map(entries)) => {
                at.iter().for_each(|at| reader.record_raw(at));
                Some(RawSettings::from(entries_to_document(entries)))
            }
            Some(_) => {
                at.map(|at| at.entries(&mut reader.faults));
                None
            }
            None => {
                self.take(key, reader);
                None
            }
        }
    }

    /// Returns a map of texts (environment variables), in the order of the file.
    pub(super) fn texts(&mut self, key: &'static str, reader: &mut Reader<'_>) -> Vec<(String, String)> {
        let entries = self.named(key, reader);
        let mut texts = Vec::new();
        for (name, _, at) in entries {
            reader.record_raw(&at);
            if let Some(value) = at.scalar_text(&mut reader.faults) {
                texts.push((name.to_owned(), value));
            }
        }
        texts
    }

    /// Takes every key that has a default for known, where it cannot be said which of them belong here.
    pub(super) fn ask_all(&mut self) {
        self.asked
            .extend(self.defaults.iter().flat_map(|entries| entries.iter()).map(|entry| entry.key.as_str()));
    }

    /// Warns that the key is read and not used, when it is set.
    pub(super) fn unused(&mut self, key: &'static str, instead: &str, reader: &mut Reader<'_>) {
        let empty = |at: &At<'_>| matches!(&at.node.value, Value::Map(entries) if entries.is_empty());
        if let Some(at) = self.given(key).filter(|at| is_set(at) && !empty(at)) {
            reader.unused(&at, instead);
        }
    }

    /// Reports every key that nobody asked for. `elsewhere` may know better what is wrong with a key.
    pub(super) fn finish(self, reader: &mut Reader<'_>, elsewhere: impl Fn(&str) -> Option<String>) {
        for entry in self.given.iter().filter(|entry| !self.asked.contains(&entry.key.as_str())) {
            let message = format!("the key `{}` is not known here", entry.key);
            // Without a place in the file the path leads to the key itself, to find the variable that set it.
            let path = if entry.key_span.line > 0 { self.path.clone() } else { self.path_of(&entry.key) };
            let mut fault = Fault::at(entry.key_span, path, message);
            fault.hint = elsewhere(&entry.key).or_else(|| hint_for(&entry.key, &self.asked));
            reader.faults.push(fault);
        }
    }
}

/// Whether a duration may be zero.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Zero {
    Allowed,
    Refused,
}

/// Returns a duration given in seconds.
pub(super) fn seconds_of(at: &At<'_>, zero: Zero, faults: &mut Faults) -> Option<Duration> {
    let number = at.number(faults)?;
    let duration = Duration::try_from_secs_f64(number).ok().filter(|duration| *duration <= LONGEST);
    let wanted = match (number > 0.0, zero) {
        (true, _) => format!("{} at the most", LONGEST.as_secs()),
        (false, Zero::Refused) => "more than 0".to_owned(),
        (false, Zero::Allowed) => "0 or more".to_owned(),
    };
    match duration {
        Some(duration) if zero == Zero::Allowed || !duration.is_zero() => Some(duration),
        _ => {
            faults.push(at.fault(format!("{number} is no duration: seconds are needed here, {wanted}")));
            None
        }
    }
}

/// Ten years: longer than any job, short enough to be added to any date.
const LONGEST: Duration = Duration::from_secs(10 * 365 * 86_400);

/// Returns a whole number from `least` on.
pub(super) fn count_of(at: &At<'_>, least: u32, faults: &mut Faults) -> Option<u32> {
    let number = at.integer(i64::MIN..=i64::MAX, faults)?;
    let count = u32::try_from(number).ok().filter(|count| *count >= least);
    if count.is_none() {
        let wanted = if number < i64::from(least) {
            format!("{least} or more")
        } else {
            format!("at most {}", u32::MAX)
        };
        faults.push(at.fault(format!("{number} cannot be meant: {wanted} is needed here")));
    }
    count
}

/// Returns the path with `~` replaced; a relative one is a fault.
pub(super) fn absolute(at: &At<'_>, reader: &mut Reader<'_>) -> Option<PathBuf> {
    let path = reader.environment.expand(at.text(&mut reader.faults)?);
    if path.is_absolute() {
        return Some(path);
    }
    let fault = at.fault(format!("the path `{}` is not absolute", path.display()));
    reader.faults.push(fault.hint("begin it with / or ~/"));
    None
}

pub(super) fn is_set(at: &At<'_>) -> bool {
    at.node.value != Value::Null
}

/// Lists of plain values are shown on one line.
fn is_short_list(at: &At<'_>) -> bool {
    let Value::List(items) = &at.node.value else { return false };
    !items.iter().any(|item| matches!(item.value, Value::List(_) | Value::Map(_)))
}

/// Returns the value on one line, as YAML.
fn inline(at: &At<'_>) -> String {
    match &at.node.value {
        Value::Text(text) if is_plain(text) => text.clone(),
        _ => serde_json::Value::from(at.node.to_bson()).to_string(),
    }
}

/// Such a text needs no quotes in YAML.
pub(super) fn is_plain(text: &str) -> bool {
    let first = text.chars().next();
    first.is_some_and(|c| c.is_ascii_alphabetic() || matches!(c, '/' | '_'))
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '/' | '_' | '-' | '.' | '+' | '=' | '@'))
        && !matches!(
            text.to_lowercase().as_str(),
            "true" | "false" | "null" | "yes" | "no" | "on" | "off" | "y" | "n"
        )
}
