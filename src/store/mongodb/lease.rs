//! The lease of the acting runner, in the document that the Python side keeps its running runner in.
//!
//! `jf_auxiliary {running_runner: …}` shows our runner to the Python side in its own words; `jobferry_lease` beside it
//! is ours. Time is the server's (`$$NOW`), and each claim is one findAndModify: two claimants cannot both win,
//! whatever their clocks say. A Python runner has no expiry and no `jobferry_lease` of its own: it holds until it or
//! a person (`jf runner reset`) sets `running_runner` to null.

use std::time::Duration;

use ::mongodb::bson::{Bson, Document, doc};
use ::mongodb::options::ReturnDocument;
use futures::TryStreamExt as _;

use super::super::{Holder, Lease, LeaseAnswer, LeaseClaim, Standing};
use super::Server;
use super::access::{Access, Command, Fault, durable, number};
use super::insert::not_initialised;
use crate::model::Timestamp;

/// A Python daemon locks the document while it starts; a lock that is older was left by a killed one.
const START_LIMIT: Duration = Duration::from_secs(600);

/// Pings that the Python side keeps.
const PINGS_KEPT: i32 = -50;

fn runner_document() -> Document {
    doc! { "running_runner": { "$exists": true } }
}

/// Takes or renews the lease.
pub(super) async fn take(server: &Server, claim: &LeaseClaim) -> Result<LeaseAnswer, Fault> {
    let stored = server
        .auxiliary()
        .find_one_and_update(runner_document(), vec![taking(claim)])
        .return_document(ReturnDocument::After)
        .write_concern(durable())
        .await?;
    let stored = stored.ok_or_else(not_initialised)?;
    let lease = stored.get_document("jobferry_lease").ok();
    let is_ours = lease.is_some_and(|lease| lease.get_str("owner").is_ok_and(|owner| owner == claim.owner));
    if is_ours && owner_shown(&stored) == Some(claim.owner.as_str()) {
        if lease.is_some_and(|lease| lease.get("taken") == lease.get("renewed")) {
            show_ping(server, claim).await?;
        }
        return Ok(LeaseAnswer::Yours);
    }
    Ok(LeaseAnswer::Taken(read(&stored, Standing::Holds)))
}

/// Returns the stage that writes the claim where it may be written, and every field as it was where not.
fn taking(claim: &LeaseClaim) -> Document {
    let milliseconds = i64::try_from(claim.duration.as_millis()).unwrap_or(i64::MAX);
    let is_shown = doc! { "$eq": ["$running_runner.jobferry_owner", "$jobferry_lease.owner"] };
    let nobody_shown = doc! { "$lte": ["$running_runner", null] };
    let is_mine = doc! { "$eq": ["$jobferry_lease.owner", &claim.owner] };
    // A field that is missing is less than any time, and equal to another missing one.
    let ran_out = doc! { "$and": [
        { "$gt": ["$jobferry_lease.expires", null] },
        { "$lte": ["$jobferry_lease.expires", "$$NOW"] },
    ] };
    let no_lease = doc! { "$lte": ["$jobferry_lease", null] };
    let keeps = doc! { "$and": [&is_mine, { "$or": [&is_shown, &nobody_shown] }] };
    let nobody_has_it = doc! { "$or": [
        { "$and": [&no_lease, &nobody_shown] },
        { "$and": [&ran_out, { "$or": [&is_shown, &nobody_shown] }] },
    ] };
    let takes = doc! { "$and": [nobody_has_it, not_starting()] };
    let taken = doc! { "$cond": [&keeps, "$jobferry_lease.taken", "$$NOW"] };
    let lease = doc! {
        "owner": { "$literal": &claim.owner },
        "pid": i64::from(claim.holder.pid),
        "version": { "$literal": &claim.holder.version },
        "taken": taken,
        "renewed": "$$NOW",
        "expires": { "$add": ["$$NOW", milliseconds] },
    };
    let may = doc! { "$or": [keeps, takes] };
    doc! { "$set": {
        "jobferry_lease": { "$cond": [&may, lease, "$jobferry_lease"] },
        "running_runner": { "$cond": [&may, runner(claim), "$running_runner"] },
    } }
}

/// Returns the condition that no Python daemon is just starting.
fn not_starting() -> Document {
    let limit = i64::try_from(START_LIMIT.as_millis()).unwrap_or(i64::MAX);
    let recently = doc! { "$gt": ["$lock_time", { "$subtract": ["$$NOW", limit] }] };
    doc! { "$not": [{ "$and": [{ "$gt": ["$lock_id", null] }, recently] }] }
}

/// Returns the expression of the document that `jf runner info` of the Python side reads.
fn runner(claim: &LeaseClaim) -> Document {
    let holder = &claim.holder;
    doc! {
        "processes_info": null,
        "hostname": { "$literal": &holder.host },
        "mac_address": "",
        "user": { "$literal": &holder.user },
        "daemon_dir": { "$literal": &holder.daemon_dir },
        "project_name": { "$literal": &holder.project },
        "start_time": holder.started,
        "last_pinged": "$$NOW",
        "runner_options": { "$literal": {} },
        "jobferry_owner": { "$literal": &claim.owner },
    }
}

fn owner_shown(stored: &Document) -> Option<&str> {
    stored.get_document("running_runner").ok()?.get_str("jobferry_owner").ok()
}

/// Adds one ping, as the Python side does at each start.
async fn show_ping(server: &Server, claim: &LeaseClaim) -> Result<(), Fault> {
    let holder = &claim.holder;
    let ping = doc! {
        "daemon_id": holder.pid.to_string(),
        "runner_id": holder.pid.to_string(),
        "project_name": &holder.project,
        "hostname": &holder.host,
        "run_options": { "transfer": true, "complete": true, "queue": true, "checkout": true },
        "user": &holder.user,
        "daemon_dir": &holder.daemon_dir,
        "time": claim.at,
    };
    let statement = doc! {
        "q": { "runner_pings": { "$exists": true } },
        "u": { "$push": { "runner_pings": { "$each": [ping], "$slice": PINGS_KEPT } } },
    };
    let auxiliary = &server.names.auxiliary;
    Access::plain(server).write(Command::Update, auxiliary, &[statement]).await?.all()?;
    Ok(())
}

/// Ends the lease if `owner` holds it.
pub(super) async fn release(server: &Server, owner: &str) -> Result<(), Fault> {
    let mut filter = runner_document();
    filter.insert("jobferry_lease.owner", owner);
    let is_shown = doc! { "$eq": ["$running_runner.jobferry_owner", { "$literal": owner }] };
    let stage = doc! { "$set": {
        "jobferry_lease": null,
        "running_runner": { "$cond": [is_shown, null, "$running_runner"] },
    } };
    server.auxiliary().update_one(filter, vec![stage]).write_concern(durable()).await?;
    Ok(())
}

/// Returns the lease, ours or that of a Python runner.
pub(super) async fn lease(server: &Server) -> Result<Option<Lease>, Fault> {
    let ran_out = doc! { "$lte": ["$jobferry_lease.expires", "$$NOW"] };
    let stages = [doc! { "$match": runner_document() }, doc! { "$set": { "ran_out": ran_out } }];
    let found: Vec<Document> = server.auxiliary().aggregate(stages).await?.try_collect().await?;
    let stored = found.first().ok_or_else(not_initialised)?;
    let is_ours = has(stored, "jobferry_lease");
    if !is_ours && !has(stored, "running_runner") {
        return Ok(None);
    }
    let ran_out = is_ours && stored.get_bool("ran_out").unwrap_or(false) && !is_of_python(stored);
    Ok(Some(read(stored, if ran_out { Standing::RanOut } else { Standing::Holds })))
}

fn has(stored: &Document, field: &str) -> bool {
    stored.get_document(field).is_ok()
}

/// Whether the runner that is shown is not the one that has our lease.
fn is_of_python(stored: &Document) -> bool {
    let owner = stored.get_document("jobferry_lease").ok().and_then(|lease| lease.get_str("owner").ok());
    has(stored, "running_runner") && (owner.is_none() || owner_shown(stored) != owner)
}

fn read(stored: &Document, standing: Standing) -> Lease {
    let empty = Document::new();
    let runner = stored.get_document("running_runner").unwrap_or(&empty);
    if is_of_python(stored) || !has(stored, "jobferry_lease") {
        return python_lease(runner);
    }
    let lease = stored.get_document("jobferry_lease").unwrap_or(&empty);
    Lease {
        owner: text(lease, "owner"),
        holder: Holder { pid: pid(lease.get("pid")), version: text(lease, "version"), ..holder(runner) },
        renewed: time(lease, "renewed"),
        expires: time(lease, "expires"),
        standing,
    }
}

/// A Python runner, or one that is starting: it holds until somebody says otherwise.
fn python_lease(runner: &Document) -> Lease {
    Lease {
        owner: format!("jobflow-remote on {}", text(runner, "hostname")),
        holder: holder(runner),
        renewed: time(runner, "last_pinged"),
        expires: Timestamp::MAX,
        standing: Standing::Holds,
    }
}

fn holder(runner: &Document) -> Holder {
    let supervisor = runner.get_document("processes_info").and_then(|info| info.get_document("supervisord"));
    Holder {
        host: text(runner, "hostname"),
        pid: pid(supervisor.ok().and_then(|process| process.get("pid"))),
        user: text(runner, "user"),
        project: text(runner, "project_name"),
        daemon_dir: text(runner, "daemon_dir"),
        version: "jobflow-remote".to_owned(),
        started: time(runner, "start_time"),
    }
}

fn text(document: &Document, field: &str) -> String {
    document.get_str(field).unwrap_or_default().to_owned()
}

fn time(document: &Document, field: &str) -> Timestamp {
    document.get_datetime(field).copied().unwrap_or(Timestamp::from_millis(0))
}

fn pid(value: Option<&Bson>) -> u32 {
    value.and_then(number).and_then(|pid| u32::try_from(pid).ok()).unwrap_or_default()
}
