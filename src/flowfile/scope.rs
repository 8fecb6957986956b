//! What a reference means in one job of the file.

use std::collections::BTreeSet;

use bson::Bson;

use super::decode::At;
use super::fault::{Faults, did_you_mean};
use super::plan::Template;
use super::source::{Node, Span, Value};
use super::sweep::{Combination, Group, Kind, Shape};
use super::template::{Part, Path, parameter, split};
use crate::jobflow::reference::Step;

/// One job of the flow while it is read.
pub(super) struct Scope<'a, 'tree> {
    pub(super) groups: &'a [Group<'tree>],
    pub(super) combination: &'a Combination,
    /// Numbers of the jobs it refers to so far.
    pub(super) parents: BTreeSet<usize>,
    pub(super) faults: &'a mut Faults,
}

impl Scope<'_, '_> {
    /// Returns the value at this place with its references. On a fault, which is reported, nothing.
    ///
    /// Recursion is bounded by the depth of a source.
    pub(super) fn template(&mut self, at: &At<'_>) -> Option<Template> {
        match &at.node.value {
            Value::Text(text) => self.text_template(text, at),
            Value::List(items) => {
                let items = items
                    .iter()
                    .enumerate()
                    .map(|(index, node)| self.template(&At { node, path: format!("{}[{index}]", at.path) }));
                items.collect::<Vec<_>>().into_iter().collect::<Option<_>>().map(Template::List)
            }
            Value::Map(entries) => {
                let entries = entries.iter().map(|entry| {
                    if entry.key == crate::jobflow::text::TEXT_KEY {
                        self.faults.push(at.fault("the key `$text` is used by the runner itself"));
                    }
                    let inner = At { node: &entry.node, path: at.path_of(&entry.key) };
                    Some((entry.key.clone(), self.template(&inner)?))
                });
                entries.collect::<Vec<_>>().into_iter().collect::<Option<_>>().map(Template::Map)
            }
            _ => Some(Template::Value(at.node.to_bson())),
        }
    }

    /// Returns a text, number or truth value with its references; a list or map is a fault.
    pub(super) fn scalar_template(&mut self, at: &At<'_>) -> Option<Template> {
        match &at.node.value {
            Value::Text(text) => self.text_template(text, at),
            _ => at.scalar_text(self.faults).map(|text| Template::Value(Bson::String(text))),
        }
    }

    fn text_template(&mut self, text: &str, at: &At<'_>) -> Option<Template> {
        let parts = self.split(text, at)?;
        match parts.as_slice() {
            [Part::Literal(literal)] => Some(Template::Value(Bson::String(literal.clone()))),
            [Part::Path(path)] => self.resolve(path, at),
            parts => {
                let pieces = parts.iter().map(|part| match part {
                    Part::Literal(literal) => Some(Template::Value(Bson::String(literal.clone()))),
                    Part::Path(path) => self.resolve(path, at),
                });
                pieces.collect::<Vec<_>>().into_iter().collect::<Option<_>>().map(Template::Text)
            }
        }
    }

    /// Returns the pieces of a text; one that is not well-formed is a fault.
    pub(super) fn split(&mut self, text: &str, at: &At<'_>) -> Option<Vec<Part>> {
        split(text).map_err(|slip| self.faults.push(at.fault(slip.message).hint(slip.hint))).ok()
    }

    /// Returns a text that has to be known before anything runs.
    pub(super) fn fixed_text(&mut self, at: &At<'_>) -> Option<String> {
        let text = at.scalar_text(self.faults)?;
        match self.split(&text, at)?.as_slice() {
            [Part::Literal(literal)] => Some(literal.clone()),
            parts => {
                let source = parts.iter().find_map(|part| match part {
                    Part::Path(path) => Some(path.source.as_str()),
                    Part::Literal(_) => None,
                });
                let message = format!("`{}` is not known before the flow runs", source.unwrap_or_default());
                self.faults.push(at.fault(message).hint("only parameters of a sweep (`for`) can stand here"));
                None
            }
        }
    }

    /// Returns what `${…}` stands for and remembers the jobs behind it as parents.
    pub(super) fn resolve(&mut self, path: &Path, at: &At<'_>) -> Option<Template> {
        if let Some(value) = parameter(path, &self.combination.values) {
            return Some(Template::Value(Node { span: Span::default(), value }.to_bson()));
        }
        let groups = self.groups;
        let Some(group) = groups.iter().find(|group| group.name == path.first) else {
            self.unknown_name(path, at);
            return None;
        };
        let mut steps = path.steps.as_slice();
        if let Some(number) = self.combination.pairs.get(group.name).copied() {
            return self.output(group, vec![number], steps, path, at).and_then(single);
        }
        if group.kind == Kind::Single {
            return self.output(group, vec![group.first], steps, path, at).and_then(single);
        }
        match steps {
            [Step::Key(word), Step::Key(name), rest @ ..] if word == "for" => {
                self.gathered_parameter(group, name, rest, path, at)
            }
            [Step::Index(index), rest @ ..] => {
                steps = rest;
                let count = i64::try_from(group.combinations.len()).unwrap_or(i64::MAX);
                let place = if *index < 0 { count.checked_add(*index)? } else { *index };
                let number = usize::try_from(place).ok().filter(|place| *place < group.combinations.len());
                let Some(place) = number else {
                    let message = format!("{}: the sweep `{}` has {count} jobs", path.source, group.name);
                    self.faults.push(at.fault(message));
                    return None;
                };
                self.output(group, vec![group.first + place], steps, path, at).and_then(single)
            }
            _ => self.output(group, group.members().collect(), steps, path, at).map(Template::List),
        }
    }

    /// Returns one reference for each of `jobs` after checking that they have such an output.
    fn output(
        &mut self,
        group: &Group<'_>,
        jobs: Vec<usize>,
        steps: &[Step],
        path: &Path,
        at: &At<'_>,
    ) -> Option<Vec<Template>> {
        let steps = match steps {
            [Step::Key(word), rest @ ..] if word == "outputs" => rest,
            steps => steps,
        };
        match steps {
            [Step::Key(name), rest @ ..] => {
                let Some(output) = group.outputs.iter().find(|output| output.name == name) else {
                    self.unknown_output(group, name, path, at);
                    return None;
                };
                self.check_steps(output.shape, name, rest, path, at)?;
            }
            [] if !group.outputs.is_empty() => {}
            [] | [Step::Index(_), ..] => {
                let message = format!("{}: the job `{}` has no such output", path.source, group.name);
                self.faults.push(at.fault(message).hint(format!("write ${{{}.<output>}}", group.name)));
                return None;
            }
        }
        self.parents.extend(jobs.iter().copied());
        Some(jobs.into_iter().map(|job| Template::Reference { job, steps: steps.to_vec() }).collect())
    }

    fn check_steps(
        &mut self,
        shape: Shape,
        name: &str,
        rest: &[Step],
        path: &Path,
        at: &At<'_>,
    ) -> Option<()> {
        let fits = match (shape, rest) {
            (_, []) | (Shape::Any, _) | (Shape::List, [Step::Index(_)]) => true,
            (Shape::File, [Step::Key(key)]) => ["name", "sha256", "size_bytes"].contains(&key.as_str()),
            _ => false,
        };
        if fits {
            return Some(());
        }
        let what = match shape {
            Shape::File => "a kept file, which has `name`, `sha256` and `size_bytes`",
            Shape::List => "a list of texts or numbers",
            Shape::Any | Shape::Single => "one text or number",
        };
        self.faults.push(at.fault(format!("{}: the output `{name}` is {what}", path.source)));
        None
    }

    fn gathered_parameter(
        &mut self,
        group: &Group<'_>,
        name: &str,
        rest: &[Step],
        path: &Path,
        at: &At<'_>,
    ) -> Option<Template> {
        let steps: Vec<Step> = [Step::Key(name.to_owned())].into_iter().chain(rest.iter().cloned()).collect();
        let inner = Path { source: path.source.clone(), first: "for".to_owned(), steps };
        let values: Option<Vec<Template>> = group
            .combinations
            .iter()
            .map(|combination| parameter(&inner, &combination.values))
            .map(|value| Some(Template::Value(Node { span: Span::default(), value: value? }.to_bson())))
            .collect();
        if values.is_none() {
            self.faults
                .push(at.fault(format!("{}: the sweep `{}` has no such parameter", path.source, group.name)));
        }
        values.map(Template::List)
    }

    fn unknown_name(&mut self, path: &Path, at: &At<'_>) {
        let own = || self.combination.values.iter().map(|(name, _)| name.as_str());
        if path.first == "for" {
            let names: Vec<&str> = own().collect();
            let fault = at.fault(format!("{}: this job has no such sweep parameter", path.source));
            let hint = if names.is_empty() {
                "it has no `for`".to_owned()
            } else {
                format!("it has: {}", names.join(", "))
            };
            self.faults.push(fault.hint(hint));
            return;
        }
        let known = self.groups.iter().map(|group| group.name).chain(own());
        let fault = at.fault(format!("{}: there is no job `{}`", path.source, path.first));
        let hint = match did_you_mean(&path.first, known) {
            Some(nearest) => format!("did you mean `{nearest}`?"),
            None => format!("for a shell variable write ${} or $${{{}}}", path.first, path.first),
        };
        self.faults.push(fault.hint(hint));
    }

    fn unknown_output(&mut self, group: &Group<'_>, name: &str, path: &Path, at: &At<'_>) {
        let names: Vec<&str> = group.outputs.iter().map(|output| output.name).collect();
        let mut fault = at.fault(format!("{}: the job `{}` has no output `{name}`", path.source, group.name));
        fault.hint = match names.as_slice() {
            [] => Some(format!("declare it under `outputs` of `{}`", group.name)),
            names => super::fault::hint_for(name, names),
        };
        self.faults.push(fault);
    }
}

fn single(references: Vec<Template>) -> Option<Template> {
    references.into_iter().next()
}
