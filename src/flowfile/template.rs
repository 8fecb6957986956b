//! `${…}` inside texts: taken apart, and sweep parameters put in their place.

use super::source::{Entry, Node, Value};
use crate::jobflow::reference::Step;

/// A piece of a text.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Part {
    Literal(String),
    Path(Path),
}

/// What stands between `${` and `}`: `relax.energy[0]`.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Path {
    /// As it is written.
    pub(super) source: String,
    pub(super) first: String,
    pub(super) steps: Vec<Step>,
}

/// Why a text cannot be taken apart, and what to write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Slip {
    pub(super) message: String,
    pub(super) hint: &'static str,
}

const ESCAPE_HINT: &str = "`$${` stands for a plain `${`";

/// Returns the pieces of the text; `$${` is a plain `${`.
pub(super) fn split(text: &str) -> Result<Vec<Part>, Slip> {
    let (mut parts, mut literal, mut rest) = (Vec::new(), String::new(), text);
    while let Some(at) = rest.find("${") {
        let (before, from) = rest.split_at(at);
        if let Some(before) = before.strip_suffix('$') {
            literal.push_str(before);
            literal.push_str("${");
            rest = from.get(2..).unwrap_or_default();
            continue;
        }
        literal.push_str(before);
        let inside = from.get(2..).unwrap_or_default();
        let Some(end) = inside.find('}') else {
            let shown: String = from.chars().take(20).collect();
            return Err(Slip { message: format!("`{shown}` has no closing brace"), hint: ESCAPE_HINT });
        };
        let (source, after) = inside.split_at(end);
        let Some((first, steps)) = path(source.trim()) else {
            let message =
                format!("`${{{source}}}` is no reference such as ${{job.output}} or ${{job.output.key[0]}}");
            return Err(Slip { message, hint: ESCAPE_HINT });
        };
        if !literal.is_empty() {
            parts.push(Part::Literal(std::mem::take(&mut literal)));
        }
        parts.push(Part::Path(Path { source: format!("${{{}}}", source.trim()), first, steps }));
        rest = after.get(1..).unwrap_or_default();
    }
    literal.push_str(rest);
    if !literal.is_empty() || parts.is_empty() {
        parts.push(Part::Literal(literal));
    }
    Ok(parts)
}

/// Returns whether the text can be the name of a job, an output or a sweep parameter.
pub(super) fn is_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && text.len() <= 64
        && text.chars().all(is_name_character)
}

fn is_name_character(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_' || c == '-'
}

fn path(text: &str) -> Option<(String, Vec<Step>)> {
    let end = text.find(['.', '[']).unwrap_or(text.len());
    let (first, mut rest) = text.split_at(end);
    if !is_name(first) {
        return None;
    }
    let mut steps = Vec::new();
    while !rest.is_empty() {
        let (step, after) = step(rest)?;
        steps.push(step);
        rest = after;
    }
    Some((first.to_owned(), steps))
}

/// Returns the first step of `.name`, `[3]`, `[-1]` or `["any key"]`, and the rest.
fn step(text: &str) -> Option<(Step, &str)> {
    if let Some(text) = text.strip_prefix('.') {
        let end = text.find(|c| !is_name_character(c)).unwrap_or(text.len());
        let (name, rest) = text.split_at(end);
        return (!name.is_empty()).then(|| (Step::Key(name.to_owned()), rest));
    }
    let text = text.strip_prefix('[')?;
    let (inside, rest) = text.split_once(']')?;
    for quote in ['"', '\''] {
        if let Some(key) = inside.strip_prefix(quote).and_then(|inside| inside.strip_suffix(quote)) {
            return Some((Step::Key(key.to_owned()), rest));
        }
    }
    Some((Step::Index(inside.parse().ok()?), rest))
}

/// The keys of a job whose texts are left as they are: they belong to a shell, or were read before.
const UNTOUCHED: [&str; 5] = ["shell", "pre_run", "post_run", "for", "each"];

/// Returns a job's map with `${for.x}` and `${x}` replaced by the values of this combination: typed where they are
/// the whole text, as text elsewhere. What is no parameter stays.
pub(super) fn with_parameters(job: &Node, values: &[(String, Node)]) -> Node {
    let Value::Map(entries) = &job.value else { return job.clone() };
    if values.is_empty() {
        return job.clone();
    }
    let entries = entries.iter().map(|entry| {
        if UNTOUCHED.contains(&entry.key.as_str()) { entry.clone() } else { replaced_entry(entry, values) }
    });
    Node { span: job.span, value: Value::Map(entries.collect()) }
}

fn replaced_entry(entry: &Entry, values: &[(String, Node)]) -> Entry {
    let key = match replaced_text(&entry.key, values) {
        Some(Value::Text(key)) => key,
        Some(other) => text_of(&other),
        None => entry.key.clone(),
    };
    Entry { key, key_span: entry.key_span, node: replaced(&entry.node, values) }
}

/// Recursion is bounded by the depth of a source.
fn replaced(node: &Node, values: &[(String, Node)]) -> Node {
    let value = match &node.value {
        Value::Text(text) => replaced_text(text, values).unwrap_or_else(|| node.value.clone()),
        Value::List(items) => Value::List(items.iter().map(|item| replaced(item, values)).collect()),
        Value::Map(entries) => {
            Value::Map(entries.iter().map(|entry| replaced_entry(entry, values)).collect())
        }
        other => other.clone(),
    };
    Node { span: node.span, value }
}

/// Returns what the text becomes, or nothing when there is nothing to replace (or the text is not well-formed, which
/// is found and reported where it is used).
fn replaced_text(text: &str, values: &[(String, Node)]) -> Option<Value> {
    if !text.contains("${") {
        return None;
    }
    let parts = split(text).ok()?;
    if let [Part::Path(path)] = parts.as_slice() {
        return parameter(path, values).map(|value| escaped(&value));
    }
    let mut out = String::new();
    for part in &parts {
        match part {
            Part::Literal(literal) => out.push_str(&escape(literal)),
            Part::Path(path) => match parameter(path, values) {
                Some(value) => out.push_str(&escape(&text_of(&value))),
                None => out.push_str(&path.source),
            },
        }
    }
    Some(Value::Text(out))
}

/// Returns the value that `${for.x}` or `${x}` stands for, if `x` is a parameter.
pub(super) fn parameter(path: &Path, values: &[(String, Node)]) -> Option<Value> {
    let (name, steps) = match (path.first.as_str(), path.steps.as_slice()) {
        ("for", [Step::Key(name), steps @ ..]) => (name.as_str(), steps),
        (name, steps) => (name, steps),
    };
    let mut node = &values.iter().find(|(known, _)| known == name)?.1;
    for step in steps {
        node = match (step, &node.value) {
            (Step::Key(key), _) => node.get(key)?,
            (Step::Index(index), Value::List(items)) => items.get(usize::try_from(*index).ok()?)?,
            _ => return None,
        };
    }
    Some(node.value.clone())
}

/// Values of parameters are data: a `${` in them is no reference.
fn escape(text: &str) -> String {
    text.replace("${", "$${")
}

fn escaped(value: &Value) -> Value {
    match value {
        Value::Text(text) => Value::Text(escape(text)),
        Value::List(items) => Value::List(
            items.iter().map(|item| Node { span: item.span, value: escaped(&item.value) }).collect(),
        ),
        Value::Map(entries) => {
            let entry = |entry: &Entry| Entry {
                key: entry.key.clone(),
                key_span: entry.key_span,
                node: Node { span: entry.node.span, value: escaped(&entry.node.value) },
            };
            Value::Map(entries.iter().map(entry).collect())
        }
        other => other.clone(),
    }
}

/// Returns the value as part of a text.
pub(super) fn text_of(value: &Value) -> String {
    crate::jobflow::text::to_text(
        &Node { span: super::source::Span::default(), value: value.clone() }.to_bson(),
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn one(text: &str) -> (String, Vec<Step>) {
        match split(text).unwrap().as_slice() {
            [Part::Path(path)] => (path.first.clone(), path.steps.clone()),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn paths_have_keys_and_indexes() {
        let key = |text: &str| Step::Key(text.to_owned());
        assert_eq!(one("${a}"), ("a".into(), vec![]));
        assert_eq!(
            one("${ a-b_1.out.0x[-1][\"k y\"]['z'] }"),
            ("a-b_1".into(), vec![key("out"), key("0x"), Step::Index(-1), key("k y"), key("z")],)
        );
        for wrong in
            ["${}", "${1a}", "${a.}", "${a[}", "${a[x]}", "${HOME:-x}", "${a b}", "${a", "${#a}", "${a..b}"]
        {
            assert!(split(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn dollars_without_a_brace_are_plain() {
        let literal = |text: &str| vec![Part::Literal(text.to_owned())];
        assert_eq!(split("$HOME $$ $1 }{ $"), Ok(literal("$HOME $$ $1 }{ $")));
        assert_eq!(split("a $${x} b"), Ok(literal("a ${x} b")));
        assert_eq!(split(""), Ok(literal("")));
    }

    proptest! {
        #[test]
        fn escaped_text_comes_back(text in "[a$\\{\\}.é]{0,20}") {
            let escaped = escape(&text);
            prop_assert_eq!(split(&escaped), Ok(vec![Part::Literal(text)]));
        }

        #[test]
        fn no_text_makes_it_panic(text in "[a$\\{\\}.\\[\\]\"'0-9é-]{0,30}") {
            split(&text).ok();
        }
    }
}
