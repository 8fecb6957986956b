//! `jf flow graph`: the jobs of a flow as a picture, in the language of Mermaid (mermaid.js.org), which web pages,
//! editors and forges draw.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::Args;
use serde_json::{Value, json};

use crate::cli::error::{CliError, Exit};
use crate::cli::output::{Block, View};
use crate::cli::select;
use crate::cli::session::Session;
use crate::model::job::{FlowRecord, JobRecord};
use crate::model::query::{Detail, JobFilter, Order, Page, SortKey};
use crate::model::state::State;

#[derive(Debug, Args)]
pub(in crate::cli) struct GraphArgs {
    /// Uuid of the flow or its beginning, or the short id of one of its jobs
    id: String,
    /// ID is the uuid of a job, or its beginning
    #[arg(short, long)]
    job: bool,
    /// What the jobs are called in the picture
    #[arg(short, long, value_name = "FIELD", default_value = "name")]
    label: Label,
    /// Write it to this file; one that ends in `.html` is a page for a browser
    #[arg(short = 'p', long, value_name = "FILE")]
    path: Option<PathBuf>,
    /// Act on this project
    // Without the short form: here `-p` is the path, as in jobflow-remote.
    #[arg(id = "project", long = "project", value_name = "NAME")]
    _project: Option<String>,
    /// Print the text of the picture, which is done anyway
    #[arg(short, long, hide = true)]
    mermaid: bool,
}

/// What a job is called in the picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
#[value(rename_all = "snake_case")]
enum Label {
    Name,
    DbId,
    State,
    Worker,
    Uuid,
}

pub(super) async fn run(args: GraphArgs, session: &Session) -> Result<Exit, CliError> {
    let opened = session.open().await?;
    let queue = opened.queue();
    let flow = match args.job {
        true => select::flow_of_job(queue, &args.id).await?,
        false => select::flow(queue, &args.id).await?,
    };
    let page = Page { sort: SortKey::DbId, order: Order::Ascending, limit: None, skip: 0 };
    let filter = JobFilter { flows: vec![flow.uuid.clone()], ..JobFilter::default() };
    let jobs = queue.jobs(&filter, &page, Detail::Summary).await?;
    let graph = Graph::of(flow, jobs, args.label);
    let Some(path) = &args.path else {
        session.show(&graph)?;
        return Ok(Exit::Success);
    };
    let is_page = path.extension().is_some_and(|extension| extension == "html");
    let text = if is_page { graph.page() } else { graph.mermaid() };
    std::fs::write(path, text).map_err(|source| {
        CliError::input(format!("the picture cannot be written to {}: {source}", path.display()))
    })?;
    session.remark(&format!("The graph is in {}", path.display()))?;
    Ok(Exit::Success)
}

/// The picture of a flow.
struct Graph {
    flow: FlowRecord,
    jobs: Vec<JobRecord>,
    label: Label,
}

/// From one job to another, or to a flow inside the flow.
#[derive(Debug, PartialEq, Eq)]
struct Edge {
    from: String,
    to: String,
    is_replacement: bool,
}

impl Graph {
    fn of(flow: FlowRecord, jobs: Vec<JobRecord>, label: Label) -> Self {
        Self { flow, jobs, label }
    }

    /// Returns the edges from every index of each parent to the child, then those from replaced jobs to what stands in
    /// their place (jobflow-remote 1.0, `jobs/graph.py`).
    fn edges(&self) -> Vec<Edge> {
        let mut by_uuid: BTreeMap<&str, Vec<&JobRecord>> = BTreeMap::new();
        for job in &self.jobs {
            by_uuid.entry(&job.key.uuid).or_default().push(job);
        }
        by_uuid.values_mut().for_each(|indexes| indexes.sort_by_key(|job| job.key.index));
        let mut edges = Vec::new();
        for job in &self.jobs {
            let parents = job.parents.iter().filter_map(|uuid| by_uuid.get(uuid.as_str())).flatten();
            edges.extend(parents.map(|parent| edge(&parent.db_id, &job.db_id, false)));
        }
        for indexes in by_uuid.values() {
            for (before, after) in indexes.iter().zip(indexes.iter().skip(1)) {
                let inner = after.hosts().next().filter(|host| before.hosts().next() != Some(*host));
                edges.push(edge(&before.db_id, inner.unwrap_or(&after.db_id), true));
            }
        }
        edges
    }

    fn mermaid(&self) -> String {
        let mut lines = vec!["flowchart TD".to_owned()];
        let colour =
            |state: &State| format!("    classDef {} fill:{}", state.stored_name(), colour_of(*state));
        lines.extend(State::ALL.iter().map(colour));
        let mut inner = Inner::default();
        for job in &self.jobs {
            let mut hosts: Vec<&str> = job.hosts().collect();
            // The outermost one is the whole picture.
            hosts.pop();
            inner.add(hosts.into_iter().rev(), self.node(job));
        }
        inner.write(1, &mut lines);
        for edge in self.edges() {
            let arrow = if edge.is_replacement { "-.->" } else { "-->" };
            lines.push(format!("    {} {arrow} {}", edge.from, edge.to));
        }
        lines.extend(
            inner.uuids().into_iter().map(|uuid| format!("    style {uuid} fill:#2B65EC,opacity:0.2")),
        );
        lines.join("\n") + "\n"
    }

    fn node(&self, job: &JobRecord) -> String {
        let label = match self.label {
            Label::Name => job.name(),
            Label::DbId => &job.db_id,
            Label::State => job.state.name(),
            Label::Worker => &job.worker,
            Label::Uuid => &job.key.uuid,
        };
        // A quotation mark would end the label; the number is how Mermaid wants it written.
        let label = label.replace('"', "#34;").replace(['\n', '\r'], " ");
        format!("{}(\"{label}\"):::{}", job.db_id, job.state.stored_name())
    }

    /// Returns a page that draws the picture; a browser fetches the program that draws from a public server.
    fn page(&self) -> String {
        let escaped = |text: &str| text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
        format!(
            "<!DOCTYPE html>\n<html lang=\"en\">\n<head><meta charset=\"utf-8\"><title>{}</title></head>\n<body>\n\
             <pre class=\"mermaid\">\n{}</pre>\n<script type=\"module\">\n\
             import mermaid from \"https://cdn.jsdelivr.net/npm/mermaid@11/dist/mermaid.esm.min.mjs\";\n\
             mermaid.initialize({{ startOnLoad: true }});\n</script>\n</body>\n</html>\n",
            escaped(&self.flow.name),
            escaped(&self.mermaid()),
        )
    }
}

fn edge(from: &str, to: &str, is_replacement: bool) -> Edge {
    Edge { from: from.to_owned(), to: to.to_owned(), is_replacement }
}

/// The jobs of a flow and the flows inside it.
#[derive(Default)]
struct Inner {
    nodes: Vec<String>,
    flows: BTreeMap<String, Self>,
}

impl Inner {
    fn add<'a>(&mut self, mut hosts: impl Iterator<Item = &'a str>, node: String) {
        let mut place = self;
        for host in hosts.by_ref() {
            place = place.flows.entry(host.to_owned()).or_default();
        }
        place.nodes.push(node);
    }

    fn write(&self, depth: usize, lines: &mut Vec<String>) {
        let indent = "    ".repeat(depth);
        lines.extend(self.nodes.iter().map(|node| format!("{indent}{node}")));
        for (uuid, flow) in &self.flows {
            lines.push(format!("{indent}subgraph {uuid}[ ]"));
            flow.write(depth + 1, lines);
            lines.push(format!("{indent}end"));
        }
    }

    fn uuids(&self) -> Vec<&str> {
        self.flows
            .iter()
            .flat_map(|(uuid, flow)| std::iter::once(uuid.as_str()).chain(flow.uuids()))
            .collect()
    }
}

/// Returns the colour of a state (jobflow-remote 1.0, `jobs/graph.py`).
fn colour_of(state: State) -> &'static str {
    match state {
        State::Waiting => "#aaaaaa",
        State::Ready => "#DAF7A6",
        State::Completed => "#47bf00",
        State::Paused => "#EAE200",
        State::RemoteError | State::Failed | State::Stopped | State::UserStopped => "#fC3737",
        _ => "#5E6BFF",
    }
}

impl View for Graph {
    fn json(&self) -> Value {
        let node = |job: &JobRecord| {
            let hosts: Vec<&str> = job.hosts().collect();
            json!({ "db_id": job.db_id, "uuid": job.key.uuid, "index": job.key.index, "name": job.name(),
                    "state": job.state.name(), "hosts": hosts })
        };
        let edge =
            |edge: Edge| json!({ "from": edge.from, "to": edge.to, "is_replacement": edge.is_replacement });
        json!({
            "flow": self.flow.uuid,
            "nodes": self.jobs.iter().map(node).collect::<Vec<_>>(),
            "edges": self.edges().into_iter().map(edge).collect::<Vec<_>>(),
            "mermaid": self.mermaid(),
        })
    }

    fn blocks(&self) -> Vec<Block> {
        vec![Block::Text(self.mermaid())]
    }
}
