//! What every command has at hand: the options of the whole program, the output, the time, the project, the stores.

use clap::Args;
use jiff::Zoned;
use jiff::tz::TimeZone;

use super::error::{CliError, Trace};
use super::output::{self, Advice, ColorChoice, Form, Output, View};
use super::time::Zone;
use crate::config::{self, Environment, GeneralSettings, Loaded, Project};
use crate::model::Timestamp;
use crate::model::clock::Clock;
use crate::runner::clock::SystemClock;
use crate::runner::connect;
use crate::store::admin::Admin;
use crate::store::{Queue, Stores};

/// Options of every command.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Options of every command")]
pub struct GlobalOptions {
    /// Act on this project; else the one of `JFREMOTE_PROJECT`, else the only one there is
    #[arg(short, long, global = true, value_name = "NAME")]
    pub project: Option<String>,
    /// Print results as JSON, under stable names
    #[arg(long, global = true)]
    pub json: bool,
    /// Use colours; `NO_COLOR` turns them off
    #[arg(
        long,
        alias = "col",
        global = true,
        value_name = "WHEN",
        default_value = "auto",
        num_args = 0..=1,
        default_missing_value = "always"
    )]
    pub color: ColorChoice,
    /// Print errors with all their inner detail
    #[arg(long, alias = "fe", global = true)]
    pub full_exc: bool,
}

impl GlobalOptions {
    /// Returns for whom the output is.
    pub(super) fn form(&self) -> Form {
        if self.json { Form::Json } else { Form::People }
    }
}

/// The current time, for the store and for people.
#[derive(Debug, Clone)]
pub(super) struct Now {
    pub(super) at: Timestamp,
    pub(super) zoned: Zoned,
}

/// One run of the program.
pub struct Session {
    pub(super) options: GlobalOptions,
    pub(super) environment: Environment,
    pub(super) output: Box<dyn Output>,
    pub(super) clock: Box<dyn Clock>,
    pub(super) zone: Zone,
}

impl Session {
    /// Returns a session with the machine's environment, clock and time zone.
    pub(super) fn new(options: GlobalOptions) -> Self {
        let environment = Environment::of_process();
        // Settings that cannot be read are told by the first command that needs them.
        let hints = GeneralSettings::read(&environment).map_or(true, |settings| settings.cli_suggestions);
        let advice = if hints { Advice::Shown } else { Advice::Hidden };
        let output = output::open(options.form(), options.color, advice);
        Self { options, environment, output, clock: Box::new(SystemClock), zone: Zone(TimeZone::system()) }
    }

    /// Prints the view on stdout.
    pub(super) fn show(&self, view: &dyn View) -> Result<(), CliError> {
        Ok(self.output.show(view)?)
    }

    /// Prints a line for people on stderr.
    pub(super) fn remark(&self, line: &str) -> Result<(), CliError> {
        Ok(self.output.remark(line)?)
    }

    /// Returns the current time.
    pub(super) fn now(&self) -> Now {
        let at = self.clock.now();
        let moment = jiff::Timestamp::from_millisecond(at.timestamp_millis()).unwrap_or_default();
        Now { at, zoned: moment.to_zoned(self.zone.0.clone()) }
    }

    /// Returns the settings that hold for every project.
    pub(super) fn settings(&self) -> Result<GeneralSettings, CliError> {
        Ok(GeneralSettings::read(&self.environment)?)
    }

    /// Returns how much of an error is printed.
    pub(super) fn trace(&self) -> Trace {
        let always = || GeneralSettings::read(&self.environment).is_ok_and(|settings| settings.cli_full_exc);
        if self.options.full_exc || always() { Trace::Full } else { Trace::Messages }
    }

    /// Returns the project that the options, the settings or its being the only one choose.
    pub(super) fn load(&self) -> Result<Loaded, CliError> {
        let named = self.options.project.as_deref();
        Ok(config::select(named, &self.settings()?, &self.environment, &[])?)
    }

    /// Returns the project of [`Session::load`] alone.
    pub(super) fn project(&self) -> Result<Project, CliError> {
        Ok(self.load()?.project)
    }

    /// Returns the project with its stores open, their schema up to date.
    pub(super) async fn open(&self) -> Result<OpenProject, CliError> {
        self.open_project(self.project()?).await
    }

    /// Returns this project with its stores open, their schema up to date.
    pub(super) async fn open_project(&self, project: Project) -> Result<OpenProject, CliError> {
        let stores = connect::open_stores(&project).await?;
        stores.queue.migrate().await?;
        Ok(OpenProject { project, stores })
    }
}

/// A project with its stores open.
pub(super) struct OpenProject {
    pub(super) project: Project,
    pub(super) stores: Stores,
}

impl OpenProject {
    /// Returns the store of jobs and flows as its administrator has it.
    pub(super) async fn admin(&self) -> Result<Box<dyn Admin>, CliError> {
        Ok(connect::open_admin(&self.project).await?)
    }

    /// Returns the store of jobs and flows.
    pub(super) fn queue(&self) -> &dyn Queue {
        self.stores.queue.as_ref()
    }
}
