//! From the result files of a command to the output of its job.

use std::fmt;

use bson::{Bson, Document};
use regex::Regex;

use super::stored::{Group, Output, OutputKind, ParsedAs, Which};
use super::{DOCUMENT_LIMIT_BYTES, KeptFile, declared, stored_command};
use crate::jobflow::json;
use crate::jobflow::reference::describe;

/// How large a compiled regular expression may be: the default of the `regex` crate, named here because patterns
/// come from files.
const PATTERN_LIMIT_BYTES: usize = 10 * 1024 * 1024;

/// The result files of one attempt.
pub trait ResultFiles {
    /// Returns the whole content of the file, or nothing when it is not there.
    fn content(&self, path: &str) -> Option<&[u8]>;

    /// Returns size and hash of the file, or nothing when it is not there. Asked for kept files, whose content
    /// nobody needs.
    fn digest(&self, path: &str) -> Option<Digest>;
}

/// Size and hash of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Digest {
    /// In lower-case hexadecimal.
    pub sha256: String,
    pub size_bytes: u64,
}

/// Every output that cannot be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct ExtractError(pub Vec<OutputError>);

impl fmt::Display for ExtractError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { "; " };
            write!(f, "{separator}{error}")?;
        }
        Ok(())
    }
}

/// An output that cannot be had, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the output `{output}` cannot be taken from {}: {why}", place(file))]
pub struct OutputError {
    pub output: String,
    pub file: String,
    pub why: String,
}

fn place(file: &str) -> String {
    match file {
        super::STDOUT => "the standard output".to_owned(),
        super::STDERR => "the standard error".to_owned(),
        path => format!("the file {path}"),
    }
}

/// Returns the output value of an ended job: a map of its declared outputs in their order.
///
/// `job` is the stored job; its references need not be replaced. A job that is none of ours has no outputs.
pub fn extract(job: &Document, files: &impl ResultFiles) -> Result<Document, ExtractError> {
    let (mut outputs, mut errors) = (Document::new(), Vec::new());
    for (name, form) in declared(job) {
        let error =
            |file: &str, why: String| OutputError { output: name.clone(), file: file.to_owned(), why };
        match Output::from_form(name, form) {
            None => errors.push(error("?", "it is not stored as this program stores outputs".to_owned())),
            Some(output) => match value(&output, files) {
                Ok(value) => {
                    outputs.insert(name, value);
                }
                Err(why) => errors.push(error(&output.file, why)),
            },
        }
    }
    debug_assert!(stored_command(job).is_some() || outputs.is_empty(), "only command jobs declare outputs");
    if errors.is_empty() { Ok(outputs) } else { Err(ExtractError(errors)) }
}

/// What is wrong with one output.
enum Why {
    /// The file, the place in it or the match is not there: null for an optional output.
    Absent(String),
    Wrong(String),
}

fn value(output: &Output, files: &impl ResultFiles) -> Result<Bson, String> {
    match found(output, files) {
        Ok(value) => Ok(value),
        Err(Why::Absent(_)) if output.optional => Ok(Bson::Null),
        Err(Why::Absent(why) | Why::Wrong(why)) => Err(why),
    }
}

fn found(output: &Output, files: &impl ResultFiles) -> Result<Bson, Why> {
    let missing = || Why::Absent("the command ended well but did not write it".to_owned());
    if output.kind == OutputKind::File {
        let digest = files.digest(&output.file).ok_or_else(missing)?;
        let name = output.file.rsplit('/').next().unwrap_or_default().to_owned();
        let kept = KeptFile { name, sha256: digest.sha256, size_bytes: digest.size_bytes };
        return Ok(Bson::Document(kept.to_document()));
    }
    let content = files.content(&output.file).ok_or_else(missing)?;
    match &output.kind {
        OutputKind::File => Err(missing()),
        OutputKind::Json { pointer } => json_value(content, pointer.as_deref()),
        OutputKind::Text { trim, parsed_as } => text_value(content, *trim, *parsed_as),
        OutputKind::Regex { pattern, group, parsed_as, which } => {
            let search = Search { group, parsed_as: *parsed_as, which: *which };
            search.value(&compile_pattern(pattern).map_err(Why::Wrong)?, content)
        }
    }
}

/// Returns the compiled pattern, or what is wrong with it.
pub fn compile_pattern(pattern: &str) -> Result<Regex, String> {
    regex::RegexBuilder::new(pattern).size_limit(PATTERN_LIMIT_BYTES).build().map_err(|error| {
        // The last of several lines says why.
        let text = error.to_string();
        let why = text.lines().next_back().unwrap_or_default();
        format!("the pattern is wrong: {}", why.trim_start_matches("error: "))
    })
}

fn json_value(content: &[u8], pointer: Option<&str>) -> Result<Bson, Why> {
    let root = json::parse(content).map_err(|error| {
        let shown = excerpt(content, error.offset);
        Why::Wrong(format!("it is not JSON: {error}, near {shown}"))
    })?;
    let mut current = &root;
    let mut walked = String::new();
    for part in pointer.unwrap_or_default().split('/').skip(1) {
        let key = unescaped(part);
        let next = match current {
            Bson::Document(document) => document.get(&key),
            Bson::Array(items) => part.parse::<usize>().ok().and_then(|index| items.get(index)),
            _ => None,
        };
        let Some(next) = next else {
            let there = describe(current);
            let at = if walked.is_empty() { "at the top".to_owned() } else { format!("at {walked}") };
            return Err(Why::Absent(format!("it has no {walked}/{part}: {at} there is {there}")));
        };
        walked.push('/');
        walked.push_str(part);
        current = next;
    }
    Ok(if pointer.is_none_or(str::is_empty) { root } else { current.clone() })
}

/// Returns the key that a part of a JSON pointer stands for (RFC 6901, section 4).
fn unescaped(part: &str) -> String {
    part.replace("~1", "/").replace("~0", "~")
}

fn text_value(content: &[u8], trim: bool, parsed_as: ParsedAs) -> Result<Bson, Why> {
    if u64::try_from(content.len()).is_ok_and(|size| size > DOCUMENT_LIMIT_BYTES) {
        return Err(Why::Wrong(format!(
            "it has {} bytes, too many for an output document: keep it with `file:`",
            content.len()
        )));
    }
    let text = String::from_utf8_lossy(content);
    let text = if trim { text.trim() } else { &text };
    parse_as(text, parsed_as).map_err(Why::Wrong)
}

fn parse_as(text: &str, parsed_as: ParsedAs) -> Result<Bson, String> {
    let wrong = |wanted: &str| {
        let shown: String = text.chars().take(60).collect();
        format!("{wanted} is wanted and {shown:?} was found")
    };
    match parsed_as {
        ParsedAs::Text => Ok(Bson::String(text.to_owned())),
        ParsedAs::Integer => {
            let value: i64 = text.trim().parse().map_err(|_| wrong("a whole number"))?;
            Ok(i32::try_from(value).map_or(Bson::Int64(value), Bson::Int32))
        }
        // Fortran writes 1.0D+02.
        ParsedAs::Number => {
            text.trim().replace(['d', 'D'], "E").parse().map(Bson::Double).map_err(|_| wrong("a number"))
        }
    }
}

/// What is taken from a file that a pattern searches.
struct Search<'output> {
    group: &'output Group,
    parsed_as: ParsedAs,
    which: Which,
}

impl Search<'_> {
    fn value(&self, pattern: &Regex, content: &[u8]) -> Result<Bson, Why> {
        let text = String::from_utf8_lossy(content);
        let mut values = Vec::new();
        for captures in pattern.captures_iter(&text) {
            let group = match self.group {
                Group::Number(number) => captures.get(usize::try_from(*number).unwrap_or(usize::MAX)),
                Group::Name(name) => captures.name(name),
            };
            // A group that took no part in this match is no value.
            let Some(group) = group else { continue };
            match self.which {
                Which::First => return self.parsed(group.as_str()),
                Which::Last => values = vec![group.as_str()],
                Which::All => values.push(group.as_str()),
            }
        }
        match (self.which, values.as_slice()) {
            (Which::All, values) if !values.is_empty() => {
                values.iter().map(|text| self.parsed(text)).collect::<Result<_, _>>().map(Bson::Array)
            }
            (_, [.., last]) => self.parsed(last),
            (_, []) => {
                Err(Why::Absent(format!("nothing in it matches {:?}; {}", pattern.as_str(), ending(&text))))
            }
        }
    }

    fn parsed(&self, text: &str) -> Result<Bson, Why> {
        parse_as(text, self.parsed_as).map_err(Why::Wrong)
    }
}

/// The last line, for a message.
fn ending(text: &str) -> String {
    match text.lines().rev().find(|line| !line.trim().is_empty()) {
        None => "it is empty".to_owned(),
        Some(line) => {
            let shown: String = line.chars().take(80).collect();
            format!("its last line is {shown:?}")
        }
    }
}

/// Some 40 bytes around an offset, for a message.
fn excerpt(content: &[u8], offset: usize) -> String {
    let range = offset.saturating_sub(20)..content.len().min(offset.saturating_add(20));
    match content.get(range) {
        None | Some([]) => "the end of an empty file".to_owned(),
        Some(part) => format!("{:?}", String::from_utf8_lossy(part)),
    }
}
