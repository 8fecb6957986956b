//! `jf job set`: what jobs will be run with.

use bson::{Bson, Document};
use clap::{Args, Subcommand};
use serde_json::Value;

use crate::cli::act::{self, Conduct, ErrorOption, Targets, WaitOption};
use crate::cli::error::{CliError, Exit};
use crate::cli::session::Session;
use crate::model::query::Detail;
use crate::store::actions::{Action, Merge, Properties};

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum SetCommand {
    /// Run jobs on another worker
    Worker(WorkerArgs),
    /// Run jobs with another `exec_config` of the project
    ExecConfig(ExecConfigArgs),
    /// Ask for other resources
    Resources(ResourcesArgs),
    /// Run jobs earlier or later than others: higher first
    Priority(PriorityArgs),
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Common {
    #[command(flatten)]
    targets: Targets,
    #[command(flatten)]
    wait: WaitOption,
    #[command(flatten)]
    errors: ErrorOption,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct WorkerArgs {
    /// Name of the worker
    #[arg(id = "new_worker", value_name = "WORKER")]
    worker: String,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct ExecConfigArgs {
    /// Name of the `exec_config`
    #[arg(value_name = "EXEC_CONFIG")]
    exec_config: String,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct ResourcesArgs {
    /// Resources: k=v,k=v (values are texts) or a JSON object
    #[arg(value_name = "K=V|JSON", value_parser = dictionary)]
    resources: Document,
    /// Leave nothing of the resources there are
    #[arg(short, long)]
    replace: bool,
    /// Read them as a `QResources` of qtoolkit
    #[arg(long, alias = "qr")]
    qresources: bool,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct PriorityArgs {
    /// The priority
    #[arg(allow_negative_numbers = true)]
    priority: i32,
    #[command(flatten)]
    common: Common,
}

impl SetCommand {
    pub(super) async fn run(self, session: &Session) -> Result<Exit, CliError> {
        let config = session.project()?;
        let (properties, common) = match self {
            Self::Worker(args) => {
                config.chosen_worker(&args.worker)?;
                (Properties { worker: Some(args.worker), ..Properties::default() }, args.common)
            }
            Self::ExecConfig(args) => {
                config.execution_config(&args.exec_config)?;
                let exec_config = Some(Bson::String(args.exec_config));
                (Properties { exec_config, ..Properties::default() }, args.common)
            }
            Self::Resources(args) => {
                let merge = if args.replace { Merge::Replace } else { Merge::Keep };
                let resources = if args.qresources { qresources(args.resources) } else { args.resources };
                (Properties { resources: Some(resources), merge, ..Properties::default() }, args.common)
            }
            Self::Priority(args) => {
                (Properties { priority: Some(args.priority), ..Properties::default() }, args.common)
            }
        };
        set(properties, common, session).await
    }
}

async fn set(properties: Properties, common: Common, session: &Session) -> Result<Exit, CliError> {
    let project = session.open().await?;
    let Some(chosen) = common.targets.choose(session, &project, Detail::Summary).await? else {
        return Ok(Exit::Success);
    };
    let conduct = Conduct::of(&common.wait, &act::BreakOption::default(), &common.errors);
    act::perform(session, &project, &chosen, &Action::Set(Box::new(properties)), &conduct).await
}

fn dictionary(text: &str) -> Result<Document, String> {
    if text.trim_start().starts_with('{') {
        let object: Value = serde_json::from_str(text).map_err(|error| format!("not JSON: {error}"))?;
        return match Bson::try_from(object).map_err(|error| error.to_string())? {
            Bson::Document(document) => Ok(document),
            _ => Err("not a JSON object".to_owned()),
        };
    }
    let pair = |pair: &str| match pair.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), Bson::from(value))),
        _ => Err(format!("`{pair}` is not of the form key=value")),
    };
    text.split(',').map(pair).collect()
}

/// Returns the fields as qtoolkit's class, whose counts are numbers; fields that are left out have its defaults.
fn qresources(fields: Document) -> Document {
    let mut object = bson::doc! {
        "@module": "qtoolkit.core.data_objects", "@class": "QResources", "@version": "0.1.7",
    };
    object.extend(fields.into_iter().map(|(key, value)| {
        let number = value.as_str().and_then(|text| text.parse::<i32>().ok());
        (key, number.map_or(value, Bson::from))
    }));
    object
}

#[cfg(test)]
mod tests {
    use bson::doc;

    use super::*;

    #[test]
    fn resources_are_pairs_or_json_and_qresources_count_in_numbers() {
        assert_eq!(dictionary("a=1,b=x=y"), Ok(doc! {"a": "1", "b": "x=y"}));
        assert_eq!(dictionary(r#"{"a": 1}"#).unwrap().get("a").and_then(Bson::as_i32), Some(1));
        assert!(dictionary("a").is_err() && dictionary("{").is_err());
        let object = qresources(doc! {"processes": "4", "account": "x"});
        assert_eq!(object.get_i32("processes").unwrap(), 4);
        assert_eq!(object.get_str("account").unwrap(), "x");
        assert_eq!(object.get_str("@class").unwrap(), "QResources");
    }
}
