//! `jf submit` of a flow that Python serialized: what jobflow-remote's `submit_flow` does, without Python.

use std::collections::BTreeSet;

use bson::{Bson, Document};
use clap::Args;
use indexmap::IndexSet;
use uuid::Uuid;

use super::source::Serialized;
use crate::cli::error::CliError;
use crate::cli::session::Session;
use crate::config::{Project, UnknownName};
use crate::jobflow::flow::{ExternalReferences, FlowError, SerializedFlow, additional_stores};
use crate::jobflow::run_config::RunConfig;
use crate::model::job::{NewFlow, NewJob};

/// What is said of a whole serialized flow, beyond its worker, resources and priority.
#[derive(Debug, Clone, Default, PartialEq, Args)]
#[command(next_help_heading = "For a Flow or Job of jobflow, as JSON or YAML")]
pub(super) struct JobflowOptions {
    /// Use this `exec_config` of the project for the jobs that name none
    #[arg(long, value_name = "NAME")]
    exec_config: Option<String>,
    /// Put the outputs into this one of the project's `optional_jobstores`
    #[arg(long, value_name = "NAME")]
    jobstore: Option<String>,
    /// Let jobs refer to outputs of jobs outside the flow
    #[arg(long)]
    allow_external_references: bool,
}

/// What jobs are given that say nothing themselves.
pub(super) struct Given {
    pub(super) worker: Option<String>,
    pub(super) priority: Option<i32>,
    pub(super) resources: Option<Document>,
}

impl JobflowOptions {
    /// Refuses these options for flows that are not jobflow's.
    pub(super) fn refuse_otherwise(&self) -> Result<(), CliError> {
        if *self == Self::default() {
            return Ok(());
        }
        let options =
            "--exec-config, --jobstore and --allow-external-references are for a Flow or Job of jobflow";
        Err(CliError::usage(options).hint("in a flow file, `exec_config` is a key of a job or of `defaults`"))
    }

    /// Returns the flow to be inserted, every name in it checked against the project; or all that is wrong with it.
    pub(super) fn compile(
        &self,
        serialized: Serialized,
        given: Given,
        project: &Project,
        session: &Session,
    ) -> Result<NewFlow, CliError> {
        let external = match self.allow_external_references {
            true => ExternalReferences::Allowed,
            false => ExternalReferences::Refused,
        };
        let shown = serialized.shown;
        let flow = SerializedFlow::submitted(serialized.value, external, &mut || Uuid::new_v4().to_string())
            .map_err(|error| refused(&shown, &error))?;
        let first = project.default_worker().map(|(name, _)| name.to_owned());
        let defaults = RunConfig {
            worker: given.worker.or(first).unwrap_or_default(),
            priority: given.priority.unwrap_or_default(),
            exec_config: self.exec_config.clone().map(Bson::String),
            resources: given.resources,
        };
        let mut faults = Faults::default();
        let mut jobs = Vec::new();
        for mut member in flow.members {
            let parents = std::mem::take(&mut member.parents);
            match defaults.new_job(member, parents) {
                Ok(job) => jobs.push(job),
                Err(error) => faults.add(error.to_string()),
            }
        }
        self.check_names(&jobs, project, &mut faults);
        faults.into_result(&shown)?;
        Ok(NewFlow {
            uuid: flow.uuid,
            name: flow.name,
            metadata: flow.metadata,
            jobstore: self.jobstore.clone(),
            jobs,
            created_on: session.clock.now(),
        })
    }

    fn check_names(&self, jobs: &[NewJob], project: &Project, faults: &mut Faults) {
        let stores = match additional_store_names(project, self.jobstore.as_deref()) {
            Ok(stores) => Some(stores),
            Err(error) => {
                faults.add_unknown(None, &error);
                None
            }
        };
        for job in jobs {
            if job.worker.is_empty() {
                faults.add(format!("the project `{}` has no workers", project.name));
            } else if let Err(error) = project.chosen_worker(&job.worker) {
                faults.add_unknown(Some(job), &error);
            }
            if let Some(Bson::String(name)) = &job.exec_config
                && let Err(error) = project.execution_config(name)
            {
                faults.add_unknown(Some(job), &error);
            }
            let missing = stores
                .iter()
                .flat_map(|stores| additional_stores(&job.job).filter(|name| !stores.contains(name)));
            for name in missing {
                faults.add(format!(
                    "the job {} stores into `{name}`, which is no additional store",
                    name_of(job)
                ));
            }
        }
    }
}

/// Returns the names of the additional stores that jobs of a flow with this job store can use.
fn additional_store_names<'project>(
    project: &'project Project,
    jobstore: Option<&str>,
) -> Result<BTreeSet<&'project str>, UnknownName> {
    let chosen = match jobstore {
        Some(name) => project.optional_jobstore(name)?,
        None => &project.jobstore,
    };
    Ok(chosen.additional_stores.keys().map(String::as_str).collect())
}

fn name_of(job: &NewJob) -> &str {
    job.job.get_str("name").unwrap_or(&job.key.uuid)
}

fn refused(shown: &str, error: &FlowError) -> CliError {
    let refused = CliError::input(format!("{shown} cannot be submitted: {error}"));
    match error {
        FlowError::External(_) => {
            refused.hint("--allow-external-references allows it, if those jobs are in the same database")
        }
        _ => refused,
    }
}

/// All that is wrong, each once.
#[derive(Default)]
struct Faults {
    lines: IndexSet<String>,
}

/// So many are shown.
const FAULT_LIMIT: usize = 50;

impl Faults {
    fn add(&mut self, line: String) {
        self.lines.insert(line);
    }

    /// Adds a name that the project does not have; only the first job that uses it is named.
    fn add_unknown(&mut self, job: Option<&NewJob>, error: &UnknownName) {
        let what = error.to_string();
        if self.lines.iter().any(|line| line.starts_with(&what)) {
            return;
        }
        let of_job = job.map(|job| format!(" (job {})", name_of(job))).unwrap_or_default();
        let hint = error.hint.as_deref().map(|hint| format!(": {hint}")).unwrap_or_default();
        self.lines.insert(format!("{what}{of_job}{hint}"));
    }

    fn into_result(self, shown: &str) -> Result<(), CliError> {
        let count = match self.lines.len() {
            0 => return Ok(()),
            1 => "a fault".to_owned(),
            count => format!("{count} faults"),
        };
        let lines: String = self.lines.iter().take(FAULT_LIMIT).map(|line| format!("\n  {line}")).collect();
        Err(CliError::input(format!("{shown} has {count}; nothing was submitted:{lines}")))
    }
}
