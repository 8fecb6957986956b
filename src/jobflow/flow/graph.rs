//! Which job of a flow needs which, in the order that networkx 3 gives it, so that jobs get their short ids in the
//! order in which jobflow-remote gives them.
//!
//! networkx keeps nodes and edges in the order in which they came. Only where one job refers to several others, or
//! where a flow falls into many small parts, jobflow goes through Python sets, whose order is random: here it is the
//! order of the text.

use std::collections::{HashMap, HashSet, VecDeque};

use indexmap::{IndexMap, IndexSet};

/// How many edges a flow may have. A linear flow of wide inner flows has their product: 4 million are 200 MB.
const EDGE_LIMIT: usize = 4_000_000;

/// Jobs by number; an edge leads from a job to one that needs it.
#[derive(Debug, Default)]
pub(super) struct Graph {
    nodes: IndexMap<usize, Node>,
    edges: usize,
}

#[derive(Debug, Default)]
struct Node {
    successors: IndexSet<usize>,
    predecessors: IndexSet<usize>,
}

/// More edges than [`EDGE_LIMIT`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TooManyEdges;

/// The jobs that are in a circle, or behind one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Cycle(pub(super) Vec<usize>);

impl Graph {
    /// Returns the graph of one job and the jobs that it refers to.
    pub(super) fn of_job(job: usize, references: &[usize]) -> Result<Self, TooManyEdges> {
        let mut graph = Self::default();
        graph.nodes.entry(job).or_default();
        references.iter().try_for_each(|reference| graph.add_edge(*reference, job))?;
        Ok(graph)
    }

    /// Adds an edge, and its ends where they are new.
    pub(super) fn add_edge(&mut self, from: usize, to: usize) -> Result<(), TooManyEdges> {
        if self.nodes.entry(from).or_default().successors.insert(to) {
            self.edges += 1;
        }
        self.nodes.entry(to).or_default().predecessors.insert(from);
        if self.edges > EDGE_LIMIT { Err(TooManyEdges) } else { Ok(()) }
    }

    /// Adds nodes and edges of another graph (networkx's `compose_all`): first its nodes, then its edges by node.
    pub(super) fn compose(&mut self, other: &Self) -> Result<(), TooManyEdges> {
        for node in other.nodes.keys() {
            self.nodes.entry(*node).or_default();
        }
        for (from, node) in &other.nodes {
            node.successors.iter().try_for_each(|to| self.add_edge(*from, *to))?;
        }
        Ok(())
    }

    /// Returns the members of `inside` that nothing inside needs, in the order of the nodes.
    pub(super) fn leaves(&self, inside: &HashSet<usize>) -> Vec<usize> {
        self.ends(inside, |node| &node.successors)
    }

    /// Returns the members of `inside` that need nothing inside, in the order of the nodes.
    pub(super) fn roots(&self, inside: &HashSet<usize>) -> Vec<usize> {
        self.ends(inside, |node| &node.predecessors)
    }

    fn ends(&self, inside: &HashSet<usize>, neighbours: impl Fn(&Node) -> &IndexSet<usize>) -> Vec<usize> {
        let is_end = |(number, node): &(&usize, &Node)| {
            inside.contains(number) && !neighbours(node).iter().any(|other| inside.contains(other))
        };
        self.nodes.iter().filter(is_end).map(|(number, _)| *number).collect()
    }

    /// Returns what `job` needs, in the order in which the edges came.
    pub(super) fn parents(&self, job: usize) -> impl Iterator<Item = usize> {
        self.nodes.get(&job).into_iter().flat_map(|node| node.predecessors.iter().copied())
    }

    /// Returns all nodes, each after what it needs: connected part after connected part, each part by generations
    /// (networkx's `weakly_connected_components` and `topological_sort`).
    pub(super) fn order(&self) -> Result<Vec<usize>, Cycle> {
        let mut seen = HashSet::new();
        let mut order = Vec::with_capacity(self.nodes.len());
        for start in self.nodes.keys() {
            if seen.insert(*start) {
                let part = self.part(*start, &mut seen);
                self.add_generations(&part, &mut order);
            }
        }
        if order.len() == self.nodes.len() {
            return Ok(order);
        }
        let done: HashSet<usize> = order.into_iter().collect();
        Err(Cycle(self.nodes.keys().copied().filter(|node| !done.contains(node)).collect()))
    }

    /// Returns everything that is connected with `start`, in the order of the nodes.
    fn part(&self, start: usize, seen: &mut HashSet<usize>) -> Vec<usize> {
        let mut part = vec![start];
        let mut open = VecDeque::from([start]);
        while let Some(node) = open.pop_front().and_then(|number| self.nodes.get(&number)) {
            for other in node.successors.iter().chain(&node.predecessors) {
                if seen.insert(*other) {
                    part.push(*other);
                    open.push_back(*other);
                }
            }
        }
        part.sort_by_key(|number| self.nodes.get_index_of(number));
        part
    }

    fn add_generations(&self, part: &[usize], order: &mut Vec<usize>) {
        let mut missing: HashMap<usize, usize> = HashMap::new();
        let mut ready: VecDeque<usize> = VecDeque::new();
        for number in part {
            match self.nodes.get(number).map_or(0, |node| node.predecessors.len()) {
                0 => ready.push_back(*number),
                count => drop(missing.insert(*number, count)),
            }
        }
        while let Some(number) = ready.pop_front() {
            order.push(number);
            for child in self.nodes.get(&number).into_iter().flat_map(|node| &node.successors) {
                let Some(count) = missing.get_mut(child) else { continue };
                *count -= 1;
                if *count == 0 {
                    missing.remove(child);
                    ready.push_back(*child);
                }
            }
        }
    }
}
