//! References to the outputs of other jobs, and the outputs in their place (jobflow 0.4, `core/reference.py`).
//!
//! A reference is any document with `"@class": "OutputReference"`. The steps that follow its uuid are walked on the
//! stored output itself; only the value at their end is copied.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt;

use bson::{Bson, Document, doc};

use crate::model::flow::OnMissing;

/// How deep values may be nested, references inside outputs included. Twice what MongoDB takes in one document.
const DEPTH_LIMIT: usize = 200;

/// How many references one job may come to, those inside outputs included: enough to gather the largest sweep, and
/// an end to outputs that refer to each other ever more often.
const REFERENCE_LIMIT: usize = 200_000;

/// One step from an output to a part of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// A key of a map; `.name` in a flow file.
    Key(String),
    /// A place in a list, from the end when negative.
    Index(i64),
}

/// The output of a job, or a part of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    pub uuid: String,
    pub steps: Vec<Step>,
}

impl Reference {
    /// Returns the reference as jobflow serializes it; each step is an item step (`"i"`).
    pub fn to_document(&self) -> Document {
        let steps = self.steps.iter().map(|step| match step {
            Step::Key(key) => Bson::from(vec![Bson::from("i"), Bson::from(key.as_str())]),
            Step::Index(index) => {
                let index = i32::try_from(*index).map_or(Bson::Int64(*index), Bson::Int32);
                Bson::from(vec![Bson::from("i"), index])
            }
        });
        doc! {
            "@module": "jobflow.core.reference",
            "@class": "OutputReference",
            "@version": Bson::Null,
            "uuid": &self.uuid,
            "attributes": steps.collect::<Vec<Bson>>(),
            "output_schema": Bson::Null,
        }
    }

    /// Returns what the document refers to, or why it does not say so.
    fn parse(document: &Document) -> Result<Self, Unresolvable> {
        let malformed = || Unresolvable::Malformed(Bson::Document(document.clone()).to_string());
        let uuid = document.get_str("uuid").map_err(|_| malformed())?.to_owned();
        let attributes = match document.get("attributes") {
            None | Some(Bson::Null) => &Vec::new(),
            Some(Bson::Array(attributes)) => attributes,
            Some(_) => return Err(malformed()),
        };
        let step = |attribute: &Bson| match attribute.as_array().map(Vec::as_slice) {
            Some([_, Bson::String(key)]) => Some(Step::Key(key.clone())),
            Some([_, Bson::Int32(index)]) => Some(Step::Index(i64::from(*index))),
            Some([_, Bson::Int64(index)]) => Some(Step::Index(*index)),
            _ => None,
        };
        let steps = attributes.iter().map(step).collect::<Option<_>>().ok_or_else(malformed)?;
        Ok(Self { uuid, steps })
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.uuid)?;
        self.steps.iter().try_for_each(|step| write!(f, "{step}"))
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key(key) => write!(f, ".{key}"),
            Self::Index(index) => write!(f, "[{index}]"),
        }
    }
}

/// Why a job's references cannot be replaced.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the job {job} refers to {reference}, and {why}")]
pub struct ResolveError {
    /// Name and uuid.
    pub job: String,
    pub reference: String,
    pub why: Unresolvable,
}

/// What is wrong with one reference.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unresolvable {
    #[error("the job {0} has no output (its `on_missing_references` is \"error\")")]
    Missing(String),
    #[error("its step {step} does not exist there: the map has {keys}")]
    NoKey { step: Step, keys: String },
    #[error("its step {step} does not exist there: the list has {length} items")]
    NoItem { step: Step, length: usize },
    #[error("its step {step} cannot be made: the value there is {found}")]
    NoStep { step: Step, found: String },
    #[error("this comes back to the output of the job {0} itself")]
    Cycle(String),
    #[error("the values are nested deeper than {DEPTH_LIMIT} levels")]
    TooDeep,
    #[error("the references inside outputs come to more than {REFERENCE_LIMIT}")]
    TooMany,
    #[error("that is not of the form of a reference: {0}")]
    Malformed(String),
}

/// Returns the uuids of all jobs whose outputs the job's arguments refer to, at any depth; none when the job wants
/// its references left alone (`resolve_references: false`).
pub fn references(job: &Document) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    if wants_references_resolved(job) {
        for key in ARGUMENTS {
            job.get(key).into_iter().for_each(|value| collect(value, &mut found));
        }
    }
    found
}

/// Returns the uuids of all jobs that the value refers to, at any depth.
pub fn references_in(value: &Bson) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    collect(value, &mut found);
    found
}

/// Returns the uuids of all jobs that the value refers to, at any depth, in the order of the text; one that is referred
/// to several times stands there several times.
pub fn references_in_order(value: &Bson) -> Vec<String> {
    let mut found = Vec::new();
    // Without recursion, because nothing bounds the depth yet.
    let mut open = vec![value];
    while let Some(value) = open.pop() {
        match value {
            Bson::Document(document) if is_reference(document) => {
                found.extend(document.get_str("uuid").map(str::to_owned));
            }
            Bson::Document(document) => {
                let inner: Vec<&Bson> = document.values().collect();
                open.extend(inner.into_iter().rev());
            }
            Bson::Array(items) => open.extend(items.iter().rev()),
            _ => {}
        }
    }
    found
}

const ARGUMENTS: [&str; 2] = ["function_args", "function_kwargs"];

/// `"both"` counts as true, as in jobflow-remote.
fn wants_references_resolved(job: &Document) -> bool {
    let setting = job.get_document("config").ok().and_then(|config| config.get("resolve_references"));
    setting != Some(&Bson::Boolean(false))
}

/// Without recursion, because nothing bounds the depth yet.
fn collect(value: &Bson, found: &mut BTreeSet<String>) {
    let mut open = vec![value];
    while let Some(value) = open.pop() {
        match value {
            Bson::Document(document) if is_reference(document) => {
                found.extend(document.get_str("uuid").map(str::to_owned));
            }
            Bson::Document(document) => open.extend(document.values()),
            Bson::Array(items) => open.extend(items),
            _ => {}
        }
    }
}

fn is_reference(document: &Document) -> bool {
    document.get("@class").and_then(Bson::as_str) == Some("OutputReference")
}

/// What becomes of a reference to something that is not in the JSON of an output: a property of the Python object that
/// the JSON stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Properties {
    /// It is an error: nobody but Python can compute it.
    Refused,
    /// It stays in place, to be resolved by jobflow where the job runs. So does a reference to a part of an object that
    /// may be an object itself without its JSON saying so: a model within a pydantic model has no `@class`.
    LeftInPlace,
}

/// Replaces each reference in the job's arguments by the output it refers to, and returns the uuids of the jobs whose
/// outputs are needed where the job runs, because references to properties of them stay in place.
///
/// `lookup` returns the output of the newest document of a job (the largest index), or nothing when there is none.
/// References inside outputs are replaced too. A job with `resolve_references: false` is left as it is. On failure
/// some references may already be replaced.
pub fn resolve<'outputs>(
    job: &mut Document,
    lookup: &dyn Fn(&str) -> Option<&'outputs Bson>,
    on_missing: OnMissing,
    properties: Properties,
) -> Result<BTreeSet<String>, ResolveError> {
    if !wants_references_resolved(job) {
        return Ok(BTreeSet::new());
    }
    let mut resolver = Resolver {
        lookup,
        on_missing,
        properties,
        left: BTreeSet::new(),
        chain: Vec::new(),
        count: 0,
        outermost: String::new(),
    };
    for key in ARGUMENTS {
        let Some(value) = job.get_mut(key) else { continue };
        if let Err(why) = resolver.replace(value, 0) {
            let text = |key| job.get_str(key).unwrap_or("?");
            let job = format!("{} ({})", text("name"), text("uuid"));
            return Err(ResolveError { job, reference: resolver.outermost, why });
        }
    }
    Ok(resolver.left)
}

/// Returns whether the value, alone, would come out of Python as less than it is as a part of its object.
fn may_lose_its_class(value: &Bson) -> bool {
    match value {
        Bson::Document(document) => !document.contains_key("@class"),
        Bson::Array(items) => items.iter().any(may_lose_its_class),
        _ => false,
    }
}

struct Resolver<'lookup, 'outputs> {
    lookup: &'lookup dyn Fn(&str) -> Option<&'outputs Bson>,
    on_missing: OnMissing,
    properties: Properties,
    /// The jobs whose outputs are needed where the job runs.
    left: BTreeSet<String>,
    /// The jobs whose outputs are being walked, outermost first.
    chain: Vec<String>,
    count: usize,
    /// The reference of the job itself that is in hand, for messages.
    outermost: String,
}

impl<'outputs> Resolver<'_, 'outputs> {
    /// Replaces the references in a value that is already a copy.
    fn replace(&mut self, value: &mut Bson, depth: usize) -> Result<(), Unresolvable> {
        if depth > DEPTH_LIMIT {
            return Err(Unresolvable::TooDeep);
        }
        match value {
            Bson::Document(document) if is_reference(document) => {
                if let Some(target) = self.target(document, depth)? {
                    *value = target.into_owned();
                }
                Ok(())
            }
            Bson::Document(document) => {
                document.iter_mut().try_for_each(|(_, inner)| self.replace(inner, depth + 1))
            }
            Bson::Array(items) => items.iter_mut().try_for_each(|inner| self.replace(inner, depth + 1)),
            _ => Ok(()),
        }
    }

    /// Returns what the reference stands for, references inside it replaced, or nothing when it stays in place.
    fn target(
        &mut self,
        document: &Document,
        depth: usize,
    ) -> Result<Option<Cow<'outputs, Bson>>, Unresolvable> {
        if self.chain.is_empty() {
            self.outermost = document.get_str("uuid").unwrap_or("another job").to_owned();
        }
        let reference = Reference::parse(document)?;
        if self.chain.is_empty() {
            self.outermost = reference.to_string();
        }
        self.count += 1;
        if self.count > REFERENCE_LIMIT {
            return Err(Unresolvable::TooMany);
        }
        if depth + self.chain.len() > DEPTH_LIMIT {
            return Err(Unresolvable::TooDeep);
        }
        if self.chain.contains(&reference.uuid) {
            return Err(Unresolvable::Cycle(reference.uuid));
        }
        let Some(output) = (self.lookup)(&reference.uuid) else {
            return match self.on_missing {
                OnMissing::Error => Err(Unresolvable::Missing(reference.uuid)),
                OnMissing::None => Ok(Some(Cow::Owned(Bson::Null))),
                OnMissing::Pass => Ok(None),
            };
        };
        let left_before = self.left.len();
        self.chain.push(reference.uuid.clone());
        let target = self.walk(output, &reference.steps, depth + 1);
        self.chain.pop();
        // One that goes through a reference that is left is left as well.
        if matches!(target, Ok(None)) && self.left.len() > left_before {
            self.left.insert(reference.uuid);
        }
        target
    }

    /// Returns whether the failed step is one that the Python object behind the value may be able to make.
    fn may_be_property(&self, value: &Bson, step: &Step) -> bool {
        let is_object = value.as_document().is_some_and(|document| document.contains_key("@class"));
        self.properties == Properties::LeftInPlace && is_object && matches!(step, Step::Key(_))
    }

    fn walk(
        &mut self,
        output: &'outputs Bson,
        steps: &[Step],
        depth: usize,
    ) -> Result<Option<Cow<'outputs, Bson>>, Unresolvable> {
        let mut current = Cow::Borrowed(output);
        let mut is_part_of_object = false;
        for step in steps {
            if let Bson::Document(document) = current.as_ref()
                && is_reference(document)
            {
                let document = document.clone();
                match self.target(&document, depth)? {
                    None => return Ok(None),
                    Some(inner) => current = inner,
                }
            }
            is_part_of_object |= self.may_be_property(&current, step);
            let next = match &current {
                Cow::Borrowed(value) => descend(value, step),
                Cow::Owned(value) => descend(value, step).map(|value| Cow::Owned(value.into_owned())),
            };
            current = match next {
                Ok(next) => next,
                Err(_) if self.may_be_property(&current, step) => {
                    self.left.extend(self.chain.last().cloned());
                    return Ok(None);
                }
                Err(error) => return Err(error),
            };
        }
        if is_part_of_object && may_lose_its_class(&current) {
            self.left.extend(self.chain.last().cloned());
            return Ok(None);
        }
        if !has_reference(&current) {
            return Ok(Some(current));
        }
        let mut copy = current.into_owned();
        self.replace(&mut copy, depth)?;
        Ok(Some(Cow::Owned(copy)))
    }
}

fn has_reference(value: &Bson) -> bool {
    let mut open = vec![value];
    while let Some(value) = open.pop() {
        match value {
            Bson::Document(document) if is_reference(document) => return true,
            Bson::Document(document) => open.extend(document.values()),
            Bson::Array(items) => open.extend(items),
            _ => {}
        }
    }
    false
}

/// Makes one step, as Python's `value[key]` does: on maps by key, on lists and texts by index.
fn descend<'value>(value: &'value Bson, step: &Step) -> Result<Cow<'value, Bson>, Unresolvable> {
    match (value, step) {
        (Bson::Document(document), Step::Key(key)) => document
            .get(key)
            .map(Cow::Borrowed)
            .ok_or_else(|| Unresolvable::NoKey { step: step.clone(), keys: keys_of(document) }),
        (Bson::Array(items), Step::Index(index)) => place(*index, items.len())
            .and_then(|place| items.get(place))
            .map(Cow::Borrowed)
            .ok_or_else(|| Unresolvable::NoItem { step: step.clone(), length: items.len() }),
        (Bson::String(text), Step::Index(index)) => {
            let length = text.chars().count();
            place(*index, length)
                .and_then(|place| text.chars().nth(place))
                .map(|character| Cow::Owned(Bson::String(character.to_string())))
                .ok_or_else(|| Unresolvable::NoItem { step: step.clone(), length })
        }
        _ => Err(Unresolvable::NoStep { step: step.clone(), found: describe(value) }),
    }
}

fn place(index: i64, length: usize) -> Option<usize> {
    let from_end = || length.checked_sub(usize::try_from(index.unsigned_abs()).ok()?);
    if index < 0 { from_end() } else { usize::try_from(index).ok().filter(|place| *place < length) }
}

/// The keys for a message, at most twenty.
fn keys_of(document: &Document) -> String {
    if document.is_empty() {
        return "no keys".to_owned();
    }
    let shown: Vec<&str> = document.keys().take(20).map(String::as_str).collect();
    let more = document.len() - shown.len();
    let rest = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("the keys {}{rest}", shown.join(", "))
}

/// What a value is, for a message.
pub(super) fn describe(value: &Bson) -> String {
    match value {
        Bson::Null => "null".to_owned(),
        Bson::Document(document) => format!("a map with {}", keys_of(document)),
        Bson::Array(items) => format!("a list of {} items", items.len()),
        Bson::String(text) => {
            let start: String = text.chars().take(40).collect();
            let cut = if start.len() < text.len() { "…" } else { "" };
            format!("the text {start:?}{cut}")
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests;
