//! One command as a flow of one job.

use std::str::FromStr;

use clap::Args;

use super::source::Source;
use crate::cli::error::CliError;
use crate::flowfile::{self, duration_seconds, memory_bytes};
use crate::model::resources::Resources;

/// What surrounds a single command.
#[derive(Debug, Clone, Default, PartialEq, Args)]
#[command(next_help_heading = "For one command; all but --name and --env also for jobflow's flows")]
pub(super) struct CommandOptions {
    /// Name of the job; without it the program's
    #[arg(short, long)]
    name: Option<String>,
    /// Number of nodes
    #[arg(long, value_name = "N")]
    nodes: Option<u32>,
    /// Number of tasks (processes)
    #[arg(long, value_name = "N")]
    tasks: Option<u32>,
    /// Cores of each task
    #[arg(long, value_name = "N")]
    cpus: Option<u32>,
    /// Memory of each node, such as 2GB
    #[arg(long, value_name = "SIZE", value_parser = memory_bytes)]
    memory: Option<u64>,
    /// Longest run time, such as 30m or 1-12:00:00
    #[arg(long, value_name = "DURATION", value_parser = duration_seconds)]
    time: Option<u64>,
    /// Number of GPUs
    #[arg(long, value_name = "N")]
    gpus: Option<u32>,
    /// Partition or queue of the scheduler
    #[arg(long, value_name = "NAME")]
    partition: Option<String>,
    /// Account that is charged
    #[arg(long, value_name = "NAME")]
    account: Option<String>,
    /// Quality of service
    #[arg(long, value_name = "NAME")]
    qos: Option<String>,
    /// Set an environment variable of the job
    #[arg(long = "env", value_name = "K=V")]
    environment: Vec<Variable>,
    /// Higher goes first
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    priority: Option<i32>,
}

impl CommandOptions {
    /// Returns the flow of the one job that runs `program`, or what is wrong with it.
    pub(super) fn source(&self, program: &[String]) -> Result<Source, CliError> {
        let variables: Vec<(String, String)> =
            self.environment.iter().map(|variable| (variable.0.clone(), variable.1.clone())).collect();
        let plan = flowfile::single_command(program, &variables, self.resources());
        let mut plan = plan.map_err(|fault| {
            let error = CliError::usage(fault.message);
            fault.hint.into_iter().fold(error, CliError::hint)
        })?;
        for job in &mut plan.jobs {
            job.priority = self.priority;
            if let Some(name) = &self.name {
                job.name.clone_from(name);
            }
        }
        if let Some(name) = &self.name {
            plan.name.clone_from(name);
        }
        Ok(Source::of_command(plan))
    }

    /// Refuses options that a flow file says for each of its jobs.
    pub(super) fn refuse_with_file(&self) -> Result<(), CliError> {
        if *self == Self::default() {
            return Ok(());
        }
        Err(CliError::usage("the options for one command do not go with a flow file")
            .hint("write them into the flow file, under `defaults`; `jf submit --format-help` explains it"))
    }

    /// Refuses what cannot be said of a flow of jobflow.
    pub(super) fn refuse_with_jobflow(&self) -> Result<(), CliError> {
        if self.name.is_none() && self.environment.is_empty() {
            return Ok(());
        }
        Err(CliError::usage("--name and --env are for one command, not for a Flow or Job of jobflow")
            .hint("jobs have their names in Python, and variables come from `--exec-config`"))
    }

    /// Returns what goes first, if that is said.
    pub(super) fn priority(&self) -> Option<i32> {
        self.priority
    }

    /// Returns what is asked of the scheduler; none leaves it to the worker.
    pub(super) fn resources(&self) -> Option<Resources> {
        let asked = Resources {
            nodes: self.nodes,
            tasks: self.tasks,
            cpus_per_task: self.cpus,
            memory_per_node_bytes: self.memory,
            walltime_seconds: self.time,
            gpus: self.gpus,
            partition: self.partition.clone(),
            account: self.account.clone(),
            qos: self.qos.clone(),
            ..Resources::default()
        };
        (asked != Resources::default()).then_some(asked)
    }
}

/// An environment variable with its value.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Variable(String, String);

impl FromStr for Variable {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('=') {
            Some((name, value)) if !name.is_empty() => Ok(Self(name.into(), value.into())),
            _ => Err("expected NAME=VALUE".into()),
        }
    }
}
