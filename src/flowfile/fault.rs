//! What is wrong with a file, said so that its writer finds the place.

use std::collections::HashMap;
use std::fmt::Write as _;

use super::source::Span;

/// One thing that is wrong, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    pub span: Span,
    /// The place in the tree, such as `jobs.relax.files[0]`; empty for the whole file.
    pub path: String,
    pub message: String,
    /// What to write instead.
    pub hint: Option<String>,
}

impl Fault {
    /// Returns a fault without a hint.
    pub fn at(span: Span, path: impl Into<String>, message: impl Into<String>) -> Self {
        Self { span, path: path.into(), message: message.into(), hint: None }
    }

    /// Returns the fault with a hint.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// How many faults are kept; the rest is only counted. More than this nobody reads at once.
pub const FAULT_LIMIT: usize = 100;

/// The faults found so far.
#[derive(Debug, Default)]
pub struct Faults {
    list: Vec<Fault>,
    /// Faults beyond [`FAULT_LIMIT`].
    pub left_out: usize,
}

impl Faults {
    /// Adds a fault, unless the same is said of the same place already (by another job of a sweep).
    pub fn push(&mut self, fault: Fault) {
        if self.list.iter().any(|known| known.span == fault.span && known.message == fault.message) {
            return;
        }
        if self.list.len() < FAULT_LIMIT {
            self.list.push(fault);
        } else {
            self.left_out += 1;
        }
    }

    /// Returns whether nothing is wrong so far.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Gives each fault whose place is a key of `paths` that path.
    pub(super) fn rename(&mut self, paths: &HashMap<Span, String>) {
        for fault in &mut self.list {
            if let Some(path) = paths.get(&fault.span) {
                fault.path.clone_from(path);
            }
        }
    }

    /// Returns how many were found.
    pub fn len(&self) -> usize {
        self.list.len() + self.left_out
    }

    /// Returns the faults in the order of the text; a last one says how many were left out.
    pub fn into_sorted(mut self) -> Vec<Fault> {
        self.list.sort_by_key(|fault| (fault.span.line, fault.span.column));
        if self.left_out > 0 {
            let message = format!("{} more faults are not shown", self.left_out);
            self.list.push(Fault::at(Span::default(), "", message));
        }
        self.list
    }
}

/// Returns the faults as text for people: `file:line:column: message`, the line, a mark below it, and the hint.
pub fn render(faults: &[Fault], file: &str, text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let mut out = String::new();
    for fault in faults {
        render_one(&mut out, fault, file, &lines);
    }
    out
}

/// Writing into a `String` cannot fail.
fn render_one(out: &mut String, fault: &Fault, file: &str, lines: &[&str]) {
    let Span { line, column, .. } = fault.span;
    let place = if line == 0 { file.to_owned() } else { format!("{file}:{line}:{column}") };
    let inside = if fault.path.is_empty() { String::new() } else { format!(" (in {})", fault.path) };
    writeln!(out, "{place}: {}{inside}", fault.message).ok();
    let source = usize::try_from(line).ok().and_then(|line| lines.get(line.checked_sub(1)?));
    match source {
        Some(source) => excerpt(out, fault, source),
        None => {
            if let Some(hint) = &fault.hint {
                writeln!(out, "  hint: {hint}").ok();
            }
        }
    }
}

/// A longer line is cut around the mark, so that one line of generated JSON does not fill the screen.
const SHOWN_COLUMNS: usize = 100;

fn excerpt(out: &mut String, fault: &Fault, source: &str) {
    let column = usize::try_from(fault.span.column).unwrap_or(1).saturating_sub(1);
    let skipped = if column > SHOWN_COLUMNS * 3 / 4 { column - SHOWN_COLUMNS / 4 } else { 0 };
    let shown: String = source
        .chars()
        .skip(skipped)
        .take(SHOWN_COLUMNS)
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    let room = shown.chars().count().saturating_sub(column - skipped).max(1);
    let length = usize::try_from(fault.span.length).unwrap_or(1).clamp(1, room);
    let number = fault.span.line.to_string();
    let margin = " ".repeat(number.len());
    writeln!(out, "{margin} |").ok();
    writeln!(out, "{number} | {}", shown.trim_end()).ok();
    let mark = format!("{margin} | {}{}", " ".repeat(column - skipped), "^".repeat(length));
    match &fault.hint {
        Some(hint) => writeln!(out, "{mark} {hint}").ok(),
        None => writeln!(out, "{mark}").ok(),
    };
}

/// Returns the one of `known` that `word` was probably meant to be.
pub fn did_you_mean<'known>(word: &str, known: impl IntoIterator<Item = &'known str>) -> Option<&'known str> {
    let lower = word.to_lowercase();
    let near = |candidate: &str| word.chars().count().max(candidate.chars().count()) / 3;
    known
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(&lower, &candidate.to_lowercase()), candidate))
        .filter(|(distance, candidate)| *distance <= near(candidate))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Returns the hint for a word that is not among `known`: the nearest of them, or all of them when they are few.
pub fn hint_for(word: &str, known: &[&str]) -> Option<String> {
    if let Some(nearest) = did_you_mean(word, known.iter().copied()) {
        return Some(format!("did you mean `{nearest}`?"));
    }
    match known {
        [] => None,
        few if few.len() <= 16 => Some(format!("known are: {}", few.join(", "))),
        _ => None,
    }
}
