//! One job of the file, many jobs of the flow: `for` and `each`.

use std::collections::{BTreeSet, HashMap};
use std::ops::Range;

use super::decode::At;
use super::fault::{Fault, Faults, hint_for};
use super::source::{Node, Span, Value};
use super::template::{is_name, text_of};

/// How many jobs one file may come to. More belong into several flows: a flow is submitted in one transaction.
pub(super) const JOB_LIMIT: usize = 20_000;

/// A job of the file with all that it comes to.
#[derive(Debug)]
pub(super) struct Group<'tree> {
    pub(super) name: &'tree str,
    /// Where its name stands.
    pub(super) span: Span,
    pub(super) at: At<'tree>,
    pub(super) kind: Kind,
    pub(super) combinations: Vec<Combination>,
    /// The number of its first job; the others follow.
    pub(super) first: usize,
    pub(super) outputs: Vec<OutputName<'tree>>,
}

/// Whether the job is one or a sweep, even of one combination.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Single,
    Sweep,
}

/// One job of a group.
#[derive(Debug, Clone, Default)]
pub(super) struct Combination {
    /// Parameters with their values.
    pub(super) values: Vec<(String, Node)>,
    /// For each sweep that this follows (`each`), which of its jobs.
    pub(super) pairs: HashMap<String, usize>,
}

/// A declared output, as far as references to it need to know.
#[derive(Debug)]
pub(super) struct OutputName<'tree> {
    pub(super) name: &'tree str,
    pub(super) shape: Shape,
}

/// What steps may follow the name of an output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    Any,
    /// A list of texts or numbers.
    List,
    /// A text or a number.
    Single,
    /// A kept file.
    File,
}

impl Group<'_> {
    /// Returns the numbers of its jobs.
    pub(super) fn members(&self) -> Range<usize> {
        self.first..self.first + self.combinations.len()
    }
}

impl Combination {
    /// Returns the name of the job: `scan:x=1,method=PBE`.
    pub(super) fn job_name(&self, group: &str, place: usize) -> String {
        if self.values.is_empty() {
            return group.to_owned();
        }
        let shown = |(name, node): &(String, Node)| {
            let text = text_of(&node.value);
            let plain = !matches!(node.value, Value::List(_) | Value::Map(_))
                && text.chars().count() <= 32
                && !text.contains(|c: char| c.is_control() || c.is_whitespace() || c == ',');
            if plain { format!("{name}={text}") } else { format!("{name}=#{place}") }
        };
        format!("{group}:{}", self.values.iter().map(shown).collect::<Vec<_>>().join(","))
    }
}

/// Returns the jobs of the file with their combinations, in the order of the file.
pub(super) fn groups<'tree>(jobs: &At<'tree>, faults: &mut Faults) -> Vec<Group<'tree>> {
    let mut groups: Vec<Group<'tree>> = Vec::new();
    for (name, span, at) in jobs.entries(faults) {
        if !is_name(name) || RESERVED.contains(&name) {
            let message = format!("`{}` cannot be the name of a job", name.escape_debug());
            let fault = Fault::at(span, jobs.path.clone(), message);
            faults.push(fault.hint("use up to 64 letters, digits, `_` and `-`, a letter first; not `for`"));
            continue;
        }
        let outputs = output_names(&at);
        groups.push(Group {
            name,
            span,
            at,
            kind: Kind::Single,
            combinations: Vec::new(),
            first: 0,
            outputs,
        });
    }
    expand(&mut groups, faults);
    let mut first = 0;
    for group in &mut groups {
        group.first = first;
        first += group.combinations.len();
    }
    number_pairs(&mut groups);
    groups
}

/// Words that a reference gives a meaning.
const RESERVED: [&str; 2] = ["for", "outputs"];

fn output_names<'tree>(job: &At<'tree>) -> Vec<OutputName<'tree>> {
    let Some(Value::Map(entries)) = job.node.get("outputs").map(|node| &node.value) else {
        return Vec::new();
    };
    let shape = |node: &Node| {
        if node.get("file").is_some() {
            return Shape::File;
        }
        let every = node.get("which").is_some_and(|which| which.value == Value::Text("all".to_owned()));
        match (node.get("json").is_some(), every) {
            (true, _) => Shape::Any,
            (false, true) => Shape::List,
            (false, false) => Shape::Single,
        }
    };
    entries.iter().map(|entry| OutputName { name: &entry.key, shape: shape(&entry.node) }).collect()
}

/// Fills the combinations, sweeps before those that follow them.
fn expand(groups: &mut [Group<'_>], faults: &mut Faults) {
    let names: Vec<&str> = groups.iter().map(|group| group.name).collect();
    let mut open: BTreeSet<usize> = (0..groups.len()).collect();
    let mut total = 0;
    while !open.is_empty() {
        let mut done = Vec::new();
        for index in open.iter().copied() {
            let Some(group) = groups.get(index) else { continue };
            let followed = group.at.node.get("each").map(|node| At { node, path: group.at.path_of("each") });
            let start = match followed.map(|at| follow(&at, group.name, &names, groups, &open, faults)) {
                None => vec![Combination::default()],
                Some(Followed::NotYet) => continue,
                Some(Followed::Refused) => Vec::new(),
                Some(Followed::Jobs(combinations)) => combinations,
            };
            let (kind, combinations) = combinations(group, start, &names, faults);
            total += combinations.len();
            done.push((index, kind, combinations));
        }
        if done.is_empty() {
            report_circle(groups, &open, faults);
            return;
        }
        for (index, kind, combinations) in done {
            open.remove(&index);
            if let Some(group) = groups.get_mut(index) {
                group.kind = kind;
                group.combinations = combinations;
            }
        }
    }
    if total > JOB_LIMIT {
        let message = format!("the file comes to {total} jobs; one flow may have {JOB_LIMIT}");
        faults.push(Fault::at(Span::default(), "jobs", message).hint("split the sweep over several files"));
        groups.iter_mut().for_each(|group| group.combinations.clear());
    }
}

fn report_circle(groups: &[Group<'_>], open: &BTreeSet<usize>, faults: &mut Faults) {
    for group in open.iter().filter_map(|index| groups.get(*index)) {
        let message = format!("`each` of `{}` leads in a circle", group.name);
        faults.push(Fault::at(group.span, group.at.path.clone(), message));
    }
}

enum Followed {
    /// The sweep itself is not expanded yet.
    NotYet,
    Refused,
    Jobs(Vec<Combination>),
}

/// `each: relax`: one job for each job of the sweep `relax`.
fn follow(
    at: &At<'_>,
    own_name: &str,
    names: &[&str],
    groups: &[Group<'_>],
    open: &BTreeSet<usize>,
    faults: &mut Faults,
) -> Followed {
    let Some(name) = at.text(faults) else { return Followed::Refused };
    let Some(index) = names.iter().position(|known| *known == name) else {
        let mut fault = at.fault(format!("there is no job `{name}`"));
        fault.hint = hint_for(name, names);
        faults.push(fault);
        return Followed::Refused;
    };
    if open.contains(&index) {
        return Followed::NotYet;
    }
    let Some(sweep) = groups.get(index).filter(|group| group.kind == Kind::Sweep) else {
        let fault = at.fault(format!("`{name}` is one job, not a sweep (it has no `for`)"));
        faults.push(fault.hint(format!("take `each` away: `{own_name}` may refer to `{name}` as it is")));
        return Followed::Refused;
    };
    let paired = sweep.combinations.iter().enumerate().map(|(place, combination)| {
        let mut combination = combination.clone();
        combination.pairs.insert(name.to_owned(), place);
        combination
    });
    Followed::Jobs(paired.collect())
}

/// Pairs hold places in their sweep first; here they become numbers of jobs.
fn number_pairs(groups: &mut [Group<'_>]) {
    let first: HashMap<String, usize> =
        groups.iter().map(|group| (group.name.to_owned(), group.first)).collect();
    for combination in groups.iter_mut().flat_map(|group| &mut group.combinations) {
        for (name, place) in &mut combination.pairs {
            *place += first.get(name).copied().unwrap_or_default();
        }
    }
}

fn combinations(
    group: &Group<'_>,
    start: Vec<Combination>,
    names: &[&str],
    faults: &mut Faults,
) -> (Kind, Vec<Combination>) {
    let follows = group.at.node.get("each").is_some();
    let sweep = group.at.node.get("for").map(|node| At { node, path: group.at.path_of("for") });
    let Some(at) = sweep.filter(|at| at.node.value != Value::Null) else {
        return (if follows { Kind::Sweep } else { Kind::Single }, start);
    };
    let sets = match &at.node.value {
        Value::List(_) => given_sets(&at, faults),
        _ => product(&at, faults),
    };
    let taken: BTreeSet<&str> = start
        .iter()
        .flat_map(|combination| combination.values.iter().map(|(name, _)| name.as_str()))
        .collect();
    let mut seen = BTreeSet::new();
    for name in sets.iter().flatten().map(|(name, _)| name) {
        if seen.insert(name) {
            check_parameter(name, &at, names, &taken, faults);
        }
    }
    if sets.len().saturating_mul(start.len()) > JOB_LIMIT {
        faults.push(at.fault(format!(
            "this sweep has {} jobs; one flow may have {JOB_LIMIT}",
            sets.len() * start.len()
        )));
        return (Kind::Sweep, Vec::new());
    }
    let joined = start.iter().flat_map(|before| {
        sets.iter().map(|set| {
            let mut combination = before.clone();
            combination.values.extend(set.iter().cloned());
            combination
        })
    });
    (Kind::Sweep, joined.collect())
}

fn check_parameter(name: &str, at: &At<'_>, jobs: &[&str], taken: &BTreeSet<&str>, faults: &mut Faults) {
    let why = if !is_name(name) || RESERVED.contains(&name) {
        "cannot be the name of a parameter"
    } else if jobs.contains(&name) {
        "is the name of a job and cannot be the name of a parameter"
    } else if taken.contains(name) {
        "is a parameter of the sweep that this one follows already"
    } else {
        return;
    };
    faults.push(at.fault(format!("`{}` {why}", name.escape_debug())));
}

type Set = Vec<(String, Node)>;

/// A list of maps: each is one combination.
fn given_sets(at: &At<'_>, faults: &mut Faults) -> Vec<Set> {
    let mut sets: Vec<Set> = Vec::new();
    for item in at.list(faults) {
        let set: Set = item
            .entries(faults)
            .into_iter()
            .map(|(name, _, at)| (name.to_owned(), at.node.clone()))
            .collect();
        let names = |set: &Set| set.iter().map(|(name, _)| name.clone()).collect::<BTreeSet<_>>();
        if sets.first().is_some_and(|first| names(first) != names(&set)) {
            faults.push(item.fault("every combination of a sweep needs the same parameters"));
        }
        sets.push(set);
    }
    if sets.is_empty() || sets.iter().any(Vec::is_empty) {
        faults.push(at.fault("this sweep has no jobs: it is empty"));
        return Vec::new();
    }
    sets
}

/// A map of lists: all combinations, the last parameter changing fastest.
fn product(at: &At<'_>, faults: &mut Faults) -> Vec<Set> {
    let mut sets: Vec<Set> = vec![Vec::new()];
    let entries = at.entries(faults);
    for (name, _, value) in &entries {
        let values = parameter_values(value, faults);
        if sets.len().saturating_mul(values.len()) > JOB_LIMIT {
            let message = format!("this sweep has more than the {JOB_LIMIT} jobs that one flow may have");
            faults.push(at.fault(message));
            return Vec::new();
        }
        sets = sets
            .iter()
            .flat_map(|set| {
                values.iter().map(|value| {
                    let mut set = set.clone();
                    set.push(((*name).to_owned(), value.clone()));
                    set
                })
            })
            .collect();
    }
    if entries.is_empty() {
        faults.push(at.fault("this sweep has no parameters").hint("for example: {x: [1, 2, 3]}"));
        return Vec::new();
    }
    sets
}

/// A list of values, or a range.
fn parameter_values(at: &At<'_>, faults: &mut Faults) -> Vec<Node> {
    match &at.node.value {
        Value::List(items) if items.is_empty() => {
            faults.push(at.fault("this list of values is empty"));
            Vec::new()
        }
        Value::List(items) => items.clone(),
        Value::Map(_) => range(at, faults).unwrap_or_default(),
        _ => {
            let fault = at.fault(format!("a list of values is needed here, not {}", at.node.describe()));
            faults.push(fault.hint("for example [1, 2, 3] or {from: 1, to: 8}"));
            Vec::new()
        }
    }
}

/// `{from: 1, to: 8}`, `{from: 0, to: 1, step: 0.25}` or `{from: 0, to: 1, count: 5}`, both ends included.
fn range(at: &At<'_>, faults: &mut Faults) -> Option<Vec<Node>> {
    let mut table = at.table(faults)?;
    let from = table.need("from", faults);
    let to = table.need("to", faults);
    let step = table.take("step");
    let count = table.take("count");
    table.finish(faults);
    let (from, to) = (from?, to?);
    if let (Some(_), Some(count)) = (&step, &count) {
        faults.push(count.fault("`step` and `count` exclude each other"));
        return None;
    }
    let node = |value| Node { span: at.node.span, value };
    if let (Value::Integer(from), Value::Integer(to), None) = (&from.node.value, &to.node.value, &count)
        && step.as_ref().is_none_or(|step| matches!(step.node.value, Value::Integer(_)))
    {
        let step = match &step {
            Some(step) => step.integer(1..=i64::MAX, faults)?,
            None => 1,
        };
        let steps = usize::try_from(to.checked_sub(*from)? / step).ok().filter(|_| from <= to);
        let Some(steps) = steps.filter(|steps| *steps < JOB_LIMIT) else {
            faults.push(at.fault(format!("this range is empty or has more than {JOB_LIMIT} values")));
            return None;
        };
        let all = (*from..=*to).step_by(usize::try_from(step).ok()?).take(steps + 1);
        return Some(all.map(|value| node(Value::Integer(value))).collect());
    }
    numbers(
        at,
        &Ends { from: from.number(faults)?, to: to.number(faults)? },
        step.as_ref(),
        count.as_ref(),
        faults,
    )
}

struct Ends {
    from: f64,
    to: f64,
}

#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "at most JOB_LIMIT, which is checked"
)]
fn numbers(
    at: &At<'_>,
    ends: &Ends,
    step: Option<&At<'_>>,
    count: Option<&At<'_>>,
    faults: &mut Faults,
) -> Option<Vec<Node>> {
    let length = ends.to - ends.from;
    let (steps, width) = match (step, count) {
        (Some(step), _) => {
            let width = step.number(faults)?;
            // The end counts as reached when only rounding keeps it away.
            ((length / width + 1e-9).floor(), width)
        }
        (None, Some(count)) => {
            let steps = (count.integer(2..=20_000, faults)? - 1) as f64;
            (steps, length / steps)
        }
        (None, None) => {
            faults.push(at.fault("a range of numbers needs `step` or `count`"));
            return None;
        }
    };
    if !(steps >= 0.0 && steps < JOB_LIMIT as f64 && width.is_finite()) {
        faults.push(at.fault(format!("this range is empty or has more than {JOB_LIMIT} values")));
        return None;
    }
    let value = |place: u32| {
        // Twelve digits, so that 0.1 + 2 * 0.1 is 0.3.
        let exact = ends.from + f64::from(place) * width;
        let rounded = format!("{exact:.11e}").parse().unwrap_or(exact);
        Node { span: at.node.span, value: Value::Number(rounded) }
    };
    Some((0..=steps as u32).map(value).collect())
}
