//! Writes the stored form of a command; [`super`] shows it and reads it.

use std::collections::BTreeMap;

use bson::{Bson, Document, bson, doc};

use super::{Retries, VERSION};

/// A command to be stored. Every [`Bson`] may be or hold references.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredCommand {
    pub program: StoredProgram,
    pub environment: Document,
    pub stdin: Option<StoredStdin>,
    pub files: Vec<StoredFile>,
    pub outputs: Vec<Output>,
    pub retries: Retries,
}

#[derive(Debug, Clone, PartialEq)]
pub enum StoredProgram {
    Arguments(Vec<Bson>),
    /// A text for `sh` in which each variable stands as `${name}`.
    Shell {
        text: String,
        variables: BTreeMap<String, Bson>,
    },
}

#[derive(Debug, Clone, PartialEq)]
pub enum StoredStdin {
    Text(Bson),
    /// A path in the run directory.
    File(String),
}

#[derive(Debug, Clone, PartialEq)]
pub struct StoredFile {
    pub path: String,
    pub mode: u32,
    pub content: StoredContent,
}

#[derive(Debug, Clone, PartialEq)]
pub enum StoredContent {
    Text(Bson),
    Json(Bson),
    /// A [`super::KeptFile`], or a reference to one.
    File(Bson),
}

/// A declared output.
#[derive(Debug, Clone, PartialEq)]
pub struct Output {
    pub name: String,
    /// Path in the run directory, or [`super::STDOUT`] or [`super::STDERR`].
    pub file: String,
    pub kind: OutputKind,
    /// Null instead of a failed job when the file, the place in it or the match is not there.
    pub optional: bool,
}

/// How an output is taken from its file.
#[derive(Debug, Clone, PartialEq)]
pub enum OutputKind {
    /// A JSON file, or the value at a pointer (RFC 6901) in it.
    Json {
        pointer: Option<String>,
    },
    Text {
        trim: bool,
        parsed_as: ParsedAs,
    },
    Regex {
        pattern: String,
        group: Group,
        parsed_as: ParsedAs,
        which: Which,
    },
    /// The whole file, kept in the store of files.
    File,
}

/// A group of a regular expression; number 0 is the whole match.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Group {
    Number(u32),
    Name(String),
}

/// What a piece of text becomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ParsedAs {
    Text,
    Integer,
    Number,
}

impl ParsedAs {
    /// The words of the flow file and of the stored form.
    pub const WORDS: [(&'static str, Self); 3] =
        [("text", Self::Text), ("integer", Self::Integer), ("number", Self::Number)];
}

/// Which of several matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    First,
    Last,
    All,
}

impl Which {
    /// The words of the flow file and of the stored form.
    pub const WORDS: [(&'static str, Self); 3] =
        [("first", Self::First), ("last", Self::Last), ("all", Self::All)];
}

fn word<T: Copy + PartialEq>(words: &[(&'static str, T)], value: T) -> &'static str {
    words.iter().find(|(_, known)| *known == value).map_or("", |(word, _)| word)
}

impl StoredCommand {
    /// Returns the stored form.
    pub fn to_document(&self) -> Document {
        let mut stored = doc! { "version": VERSION };
        match &self.program {
            StoredProgram::Arguments(arguments) => stored.insert("arguments", arguments.clone()),
            StoredProgram::Shell { text, variables } => {
                let variables: Document = variables.clone().into_iter().collect();
                stored.insert("shell", doc! { "text": text, "variables": variables })
            }
        };
        stored.insert("environment", self.environment.clone());
        stored.insert("stdin", self.stdin.as_ref().map_or(Bson::Null, stdin_form));
        stored.insert("files", self.files.iter().map(file_form).collect::<Vec<_>>());
        let outputs =
            self.outputs.iter().map(|output| (output.name.clone(), Bson::Document(output_form(output))));
        stored.insert("outputs", outputs.collect::<Document>());
        stored.insert("retries", retries_form(self.retries));
        stored
    }
}

fn retries_form(retries: Retries) -> Document {
    let delay_seconds = i32::try_from(retries.delay.as_secs()).unwrap_or(i32::MAX);
    doc! { "count": i32::try_from(retries.count).unwrap_or(i32::MAX), "delay_seconds": delay_seconds }
}

fn stdin_form(stdin: &StoredStdin) -> Bson {
    match stdin {
        StoredStdin::Text(text) => bson!({ "text": text.clone() }),
        StoredStdin::File(path) => bson!({ "file": path }),
    }
}

fn file_form(file: &StoredFile) -> Bson {
    let content = match &file.content {
        StoredContent::Text(text) => doc! { "text": text.clone() },
        StoredContent::Json(value) => doc! { "json": value.clone() },
        StoredContent::File(kept) => doc! { "stored": kept.clone() },
    };
    let mode = i32::try_from(file.mode).unwrap_or(0o644);
    Bson::Document(doc! { "path": &file.path, "mode": mode, "content": content })
}

fn output_form(output: &Output) -> Document {
    let mut form = match &output.kind {
        OutputKind::Json { pointer } => doc! { "kind": "json", "pointer": pointer.clone() },
        OutputKind::Text { trim, parsed_as } => {
            doc! { "kind": "text", "trim": *trim, "type": word(&ParsedAs::WORDS, *parsed_as) }
        }
        OutputKind::Regex { pattern, group, parsed_as, which } => doc! {
            "kind": "regex",
            "pattern": pattern,
            "group": match group {
                Group::Number(number) => Bson::Int32(i32::try_from(*number).unwrap_or(i32::MAX)),
                Group::Name(name) => Bson::String(name.clone()),
            },
            "type": word(&ParsedAs::WORDS, *parsed_as),
            "which": word(&Which::WORDS, *which),
        },
        OutputKind::File => doc! { "kind": "file" },
    };
    form.insert("file", &output.file);
    form.insert("optional", output.optional);
    form
}

impl Output {
    /// Returns the declared output that the stored form says, or nothing when it is not of that form.
    pub(super) fn from_form(name: &str, form: &Document) -> Option<Self> {
        fn of_word<T: Copy>(words: &[(&str, T)], form: &Document, key: &str) -> Option<T> {
            let word = form.get_str(key).ok()?;
            words.iter().find(|(known, _)| *known == word).map(|(_, value)| *value)
        }
        let kind = match form.get_str("kind").ok()? {
            "json" => OutputKind::Json { pointer: form.get_str("pointer").ok().map(str::to_owned) },
            "text" => OutputKind::Text {
                trim: form.get_bool("trim").ok()?,
                parsed_as: of_word(&ParsedAs::WORDS, form, "type")?,
            },
            "regex" => OutputKind::Regex {
                pattern: form.get_str("pattern").ok()?.to_owned(),
                group: match form.get("group")? {
                    Bson::Int32(number) => Group::Number(u32::try_from(*number).ok()?),
                    Bson::String(name) => Group::Name(name.clone()),
                    _ => return None,
                },
                parsed_as: of_word(&ParsedAs::WORDS, form, "type")?,
                which: of_word(&Which::WORDS, form, "which")?,
            },
            "file" => OutputKind::File,
            _ => return None,
        };
        Some(Self {
            name: name.to_owned(),
            file: form.get_str("file").ok()?.to_owned(),
            kind,
            optional: form.get_bool("optional").unwrap_or(false),
        })
    }
}
